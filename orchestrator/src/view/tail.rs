//! The last lines of a file.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

/// Bytes that are read from the file's end.
const BYTES_MAX: u64 = 32 * 1024;

/// The last lines of the file at `path`, at most `count`, oldest first, without what a terminal would obey.
///
/// # Errors
/// What the system said.
pub(crate) fn tail(path: &Path, count: usize) -> io::Result<Vec<String>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let from = length.saturating_sub(BYTES_MAX);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(BYTES_MAX).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let clean = |line: &str| line.chars().filter(|character| !character.is_control()).collect();
    // The first line is torn where the file begins before it.
    let lines: Vec<String> = text.lines().skip(usize::from(from > 0)).map(clean).collect();
    Ok(lines[lines.len().saturating_sub(count)..].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_of_a_long_file_are_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.log");
        assert!(tail(&path, 3).is_err());
        let line = |number: u32| format!("\u{1b}[31mline {number} of many\n");
        std::fs::write(&path, (0..5000).map(line).collect::<String>()).unwrap();
        assert_eq!(
            tail(&path, 2).unwrap(),
            ["[31mline 4998 of many", "[31mline 4999 of many"]
        );
        let all = tail(&path, usize::MAX).unwrap();
        assert!(all.len() > 500 && all.iter().all(|line| line.starts_with("[31mline ")));
    }
}
