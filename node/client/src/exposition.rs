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
