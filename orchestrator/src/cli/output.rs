//! Printing data to stdout. A reader that goes away (a pager, `head`) is no error.

use super::CliError;
use serde::Serialize;
use std::io::{ErrorKind, Write};

/// Writes `text` to stdout.
///
/// # Errors
/// When stdout cannot be written for another reason than a closed pipe.
pub(super) fn print(text: &str) -> Result<(), CliError> {
    let mut stdout = anstream::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Writes `value` as indented JSON.
///
/// # Errors
/// As [`print`].
pub(super) fn print_json<T: Serialize>(value: &T) -> Result<(), CliError> {
    print(&(serde_json::to_string_pretty(value)? + "\n"))
}

/// Rows as columns: left-aligned, as wide as their longest cell.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        text += cells.join("  ").trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_have_no_trailing_blanks() {
        let rows = [
            vec!["node".to_owned(), "height".to_owned()],
            vec!["val-10".to_owned(), String::new()],
        ];
        assert_eq!(table(&rows), "node    height\nval-10\n");
        assert_eq!(table(&[]), "");
    }
}
