//! Data on stdout: a line of JSON for programs, or text for people.

use super::error::CliError;
use serde::Serialize;
use std::io::Write;

/// Writes `value` as one line of JSON, or as `human` says.
pub(crate) fn print<T: Serialize>(json: bool, value: &T, human: impl FnOnce(&T) -> String) -> Result<(), CliError> {
    let mut text = if json {
        serde_json::to_string(value).map_err(CliError::failure)?
    } else {
        human(value)
    };
    text.push('\n');
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Lays rows out in columns, the first row being the head.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let lines = rows.iter().map(|row| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A row of a table.
pub(crate) fn row<const N: usize>(cells: [&dyn std::fmt::Display; N]) -> Vec<String> {
    cells.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_end_without_blanks() {
        let rows = [row([&"NAME", &"HEIGHT"]), row([&"näme-of-5", &7]), row([&"x", &""])];
        assert_eq!(table(&rows), "NAME       HEIGHT\nnäme-of-5  7\nx");
        assert_eq!(table(&[]), "");
    }
}
