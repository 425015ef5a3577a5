//! Traces of churn: lines of `node,leave,return`.

use crate::{scenario::Absence, units::Duration};

/// The first line of a trace may name its columns.
const HEAD: &str = "node,leave,return";
/// Most lines of a trace.
pub const TRACE_LINES_MAX: usize = 20_000;

/// The absences of a trace. Empty lines and lines that begin with `#` say nothing.
pub(super) fn rows(text: &str) -> Result<Vec<Absence>, String> {
    let lines = text.lines().zip(1_u32..).map(|(line, number)| (line.trim(), number));
    let told = lines.filter(|(line, _)| !line.is_empty() && !line.starts_with('#') && *line != HEAD);
    let mut rows = Vec::new();
    for (line, number) in told {
        if rows.len() == TRACE_LINES_MAX {
            return Err(format!("more than {TRACE_LINES_MAX} absences"));
        }
        rows.push(row(line).map_err(|error| format!("line {number}: {error}"))?);
    }
    Ok(rows)
}

fn row(line: &str) -> Result<Absence, String> {
    let columns: Vec<&str> = line.split(',').map(str::trim).collect();
    let [node, leave, back] = columns[..] else {
        return Err(format!("`{line}` is not `node,leave,return`"));
    };
    let time = |text: &str| text.parse::<Duration>().map_err(|error| error.to_string());
    Ok(Absence {
        node: node.to_owned(),
        at: time(leave)?,
        until: if back.is_empty() { None } else { Some(time(back)?) },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_become_absences() {
        let rows = rows("node,leave,return\n# a comment\n\nfull-0, 5s, 9s\nfull-1,0s,\n").unwrap();
        let row = |node: &str, at, until: Option<u64>| Absence {
            node: node.to_owned(),
            at: Duration::from_secs(at),
            until: until.map(Duration::from_secs),
        };
        assert_eq!(rows, [row("full-0", 5, Some(9)), row("full-1", 0, None)]);
    }

    #[test]
    fn a_wrong_line_is_named() {
        let error = rows("full-0,5s,9s\nfull-1,soon,9s\n").unwrap_err();
        assert!(error.starts_with("line 2: `soon` is not a duration"), "{error}");
        assert!(rows("full-0,5s\n").unwrap_err().contains("is not `node,leave,return`"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,200}") {
            let _ = rows(&text);
        }
    }
}
