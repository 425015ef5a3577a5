//! Reads the text that a node's `/metrics` answers with.

use std::collections::BTreeMap;

/// Why text is no exposition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is no sample: `{text}`")]
pub struct ExpositionError {
    /// Line number, from 1.
    pub line: usize,
    /// The line, cut to 80 characters.
    pub text: String,
}

/// Maps each series (name, with its labels if it has any) to its value.
///
/// # Errors
/// [`ExpositionError`] names the first line that is neither a comment nor a sample.
pub fn parse(text: &str) -> Result<BTreeMap<String, f64>, ExpositionError> {
    let mut samples = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (series, value) = sample(line).ok_or_else(|| ExpositionError {
            line: index + 1,
            text: line.chars().take(80).collect(),
        })?;
        samples.insert(series.to_owned(), value);
    }
    Ok(samples)
}

/// Splits `name{labels} value [timestamp]`; label values may hold blanks.
fn sample(line: &str) -> Option<(&str, f64)> {
    let end = match line.rfind('}') {
        Some(brace) => brace + 1,
        None => line.find(' ')?,
    };
    let (series, rest) = line.split_at(end);
    let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
    (!series.is_empty()).then_some((series, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn comments_labels_and_timestamps_are_understood() {
        let text = "# TYPE up gauge\nup 1\n\nrpc{le=\"0.5\",path=\"a b\"} 2e3 1700000000\nnan NaN\n";
        let samples = parse(text).unwrap();
        assert_eq!(samples["up"], 1.0);
        assert_eq!(samples["rpc{le=\"0.5\",path=\"a b\"}"], 2000.0);
        assert!(samples["nan"].is_nan());
    }

    #[test]
    fn the_first_bad_line_is_named() {
        for bad in ["up", "up one", " 1", "{"] {
            let error = parse(&format!("ok 1\n{bad}\n")).unwrap_err();
            assert_eq!(
                error,
                ExpositionError {
                    line: 2,
                    text: bad.to_owned()
                }
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_never_panics(text in "(\\PC|\n|\\{|\\}| ){0,100}") {
            let _ = parse(&text);
        }

        #[test]
        fn what_is_written_is_read(value in any::<u32>(), name in "[a-z_]{1,20}") {
            let samples = parse(&format!("{name} {value}\n")).unwrap();
            prop_assert_eq!(samples.get(&name), Some(&f64::from(value)));
        }
    }
}
