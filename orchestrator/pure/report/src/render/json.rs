//! The result as a versioned JSON document, and its schema.

use super::RenderError;
use crate::result::{RESULT_VERSION, RunResult};
use serde_json::Value;

/// Why a document is not a result that this version can read.
#[derive(Debug, thiserror::Error)]
pub enum ResultError {
    /// Not JSON, or not a result.
    #[error("not a result document: {0}\nhelp: give the result.json of a run folder")]
    Malformed(#[from] serde_json::Error),
    /// Written by another version.
    #[error(
        "the result has version {found}, this program reads version {RESULT_VERSION}\nhelp: use the program that wrote it"
    )]
    Version {
        /// Version of the document.
        found: u64,
    },
    /// A number that no run can have counted.
    #[error("the number {0} is too large to be a count or a time of a run")]
    TooLarge(u64),
    /// More numbers than any run records.
    #[error("the result holds more than {NUMBERS_MAX} numbers")]
    TooMany,
}

/// Largest integer besides the seed: 2^43 bytes are 8.8 TB, as many microseconds are 100 days.
const INTEGER_MAX: u64 = 1 << 43;
/// Most numbers of a document; with [`INTEGER_MAX`] no sum of them overflows 64 bits.
const NUMBERS_MAX: usize = 1 << 21;

/// The result as JSON on one line that ends with a line feed.
///
/// # Errors
/// [`RenderError::Json`] when a number has no JSON form.
pub fn json(result: &RunResult) -> Result<String, RenderError> {
    Ok(serde_json::to_string(result)? + "\n")
}

/// Reads a result document.
///
/// # Errors
/// [`ResultError`] when it is malformed or of another version.
pub fn parse(text: &str) -> Result<RunResult, ResultError> {
    let document: serde_json::Value = serde_json::from_str(text)?;
    let found = document.get("version").and_then(serde_json::Value::as_u64);
    match found {
        Some(found) if found != u64::from(RESULT_VERSION) => Err(ResultError::Version { found }),
        _ => {
            check_numbers(&document)?;
            let mut result: RunResult = serde_json::from_value(document)?;
            normalise(&mut result);
            Ok(result)
        }
    }
}

/// Refuses numbers whose sums could overflow; the seed is no count and may be any number.
fn check_numbers(document: &Value) -> Result<(), ResultError> {
    let mut open = vec![document];
    let mut numbers = 0;
    while let Some(value) = open.pop() {
        if let Some(large) = value.as_u64().filter(|&integer| integer > INTEGER_MAX) {
            return Err(ResultError::TooLarge(large));
        }
        numbers += usize::from(value.is_number());
        if numbers > NUMBERS_MAX {
            return Err(ResultError::TooMany);
        }
        let members = value
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(name, _)| *name != "seed");
        open.extend(members.map(|(_, inner)| inner));
        open.extend(value.as_array().into_iter().flatten());
    }
    Ok(())
}

/// A document from outside may be in any order; everything else relies on ascending values and times.
fn normalise(result: &mut RunResult) {
    let record = &mut result.record;
    record.blocks.sort_by_key(|block| block.at_ms);
    record.seconds.sort_by_key(|second| second.second);
    record
        .processes
        .iter_mut()
        .for_each(|process| process.samples.sort_by_key(|sample| sample.at_ms));
    let latency = &mut result.record.latency;
    for set in [&mut latency.response, &mut latency.service, &mut latency.lag] {
        set.overall.normalise();
        set.intervals
            .iter_mut()
            .for_each(|interval| interval.counts.normalise());
    }
    for counts in [&mut latency.accepted, &mut latency.included, &mut latency.executed] {
        counts.normalise();
    }
    result
        .record
        .blocks
        .iter_mut()
        .for_each(|block| block.latency.normalise());
}

/// The JSON Schema of [`json`]'s document.
///
/// # Errors
/// [`RenderError::Json`] when the schema cannot be written.
pub fn schema() -> Result<String, RenderError> {
    let mut schema = schemars::schema_for!(RunResult);
    schema.insert(
        "title".to_owned(),
        format!("Regatta run result, version {RESULT_VERSION}").into(),
    );
    Ok(serde_json::to_string_pretty(&schema)? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        evaluate,
        fixture::{self, SMALL},
    };
    use proptest::prelude::*;

    /// Checks what the schema says about types, required and known properties, items and closed choices.
    fn complaints(schema: &Value, root: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
        if let Some(name) = schema["$ref"].as_str() {
            let target = name.trim_start_matches("#/$defs/");
            let mut rest = value.clone();
            // Properties beside a reference belong to this level, not to the target.
            for own in schema["properties"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(own, _)| own)
            {
                rest.as_object_mut().map(|object| object.remove(own));
            }
            complaints(&root["$defs"][target], root, &rest, path, found);
        }
        for key in ["anyOf", "oneOf"] {
            if let Some(choices) = schema[key].as_array() {
                let fits = |choice: &&Value| {
                    let mut inner = Vec::new();
                    complaints(choice, root, value, path, &mut inner);
                    inner.is_empty()
                };
                if !choices.iter().any(|choice| fits(&choice)) {
                    found.push(format!("{path}: fits no choice"));
                }
            }
        }
        let types: Vec<&str> = match &schema["type"] {
            Value::String(name) => vec![name],
            Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
            _ => vec![],
        };
        let is = |name: &&str| match *name {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            _ => value.is_null(),
        };
        if !types.is_empty() && !types.iter().any(is) {
            found.push(format!("{path}: is not {types:?}"));
        }
        let listed = schema["enum"]
            .as_array()
            .is_some_and(|choices| !choices.contains(value));
        if listed || schema.get("const").is_some_and(|only| only != value) {
            found.push(format!("{path}: is not one of the choices"));
        }
        members(schema, root, value, path, found);
    }

    fn members(schema: &Value, root: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
        for name in schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
        {
            if value.get(name).is_none() {
                found.push(format!("{path}.{name}: is missing"));
            }
        }
        if let (Some(properties), Some(object)) = (schema["properties"].as_object(), value.as_object()) {
            for (name, inner) in object {
                match properties.get(name) {
                    Some(property) => complaints(property, root, inner, &format!("{path}.{name}"), found),
                    None if schema.get("$ref").is_none() && schema.get("oneOf").is_none() => {
                        found.push(format!("{path}.{name}: is unknown"));
                    }
                    None => {}
                }
            }
        }
        if let (true, Some(array)) = (schema["items"].is_object(), value.as_array()) {
            for (index, inner) in array.iter().enumerate() {
                complaints(&schema["items"], root, inner, &format!("{path}[{index}]"), found);
            }
        }
    }

    fn check(document: &Value) -> Vec<String> {
        let schema: Value = serde_json::from_str(&schema().unwrap()).unwrap();
        let mut found = Vec::new();
        complaints(&schema, &schema, document, "result", &mut found);
        found
    }

    #[test]
    fn the_schema_accepts_results_and_refuses_others() {
        let document = serde_json::to_value(evaluate(fixture::record(SMALL), false)).unwrap();
        assert_eq!(check(&document), Vec::<String>::new());
        assert_eq!(
            check(&serde_json::to_value(RunResult::default()).unwrap()),
            Vec::<String>::new()
        );
        let plant = |pointer: &str, value: Value| {
            let mut wrong = document.clone();
            *wrong.pointer_mut(pointer).unwrap() = value;
            check(&wrong)
        };
        assert!(!plant("/verdict/status", "fine".into()).is_empty());
        assert!(!plant("/record/nodes/0/role", 3.into()).is_empty());
        assert!(!plant("/summary/window/start_ms", "soon".into()).is_empty());
        assert!(!plant("/record/accounting", serde_json::json!({})).is_empty());
    }

    #[test]
    fn a_result_survives_the_round_trip() {
        let result = evaluate(fixture::record(SMALL), false);
        let again = parse(&json(&result).unwrap()).unwrap();
        assert_eq!(again.record, result.record);
        assert_eq!(again.verdict, result.verdict);
        assert_eq!(crate::summarise(&again.record), result.summary);
    }

    #[test]
    fn any_seed_can_be_read_back() {
        let mut record = fixture::record(SMALL);
        record.identity.seed = u64::MAX;
        let read = parse(&json(&evaluate(record, false)).unwrap()).unwrap();
        assert_eq!(read.record.identity.seed, u64::MAX);
    }

    #[test]
    fn other_documents_are_refused() {
        assert!(matches!(parse("{"), Err(ResultError::Malformed(_))));
        assert!(matches!(
            parse("{\"version\": 99}"),
            Err(ResultError::Version { found: 99 })
        ));
        assert!(parse("{\"version\": 1}").is_err());
        let large = "{\"version\": 1, \"summary\": [9999999999999999]}";
        assert!(matches!(
            parse(large),
            Err(ResultError::TooLarge(9_999_999_999_999_999))
        ));
        let message = parse("{\"version\": 99}").unwrap_err().to_string();
        assert!(message.contains("help:"), "{message}");
    }

    /// Replaces one number of the document.
    fn damage(document: &mut Value, index: prop::sample::Index, choice: u8) {
        fn numbers<'a>(value: &'a mut Value, found: &mut Vec<&'a mut Value>) {
            match value {
                Value::Number(_) => found.push(value),
                Value::Array(items) => items.iter_mut().for_each(|item| numbers(item, found)),
                Value::Object(members) => members.iter_mut().for_each(|(_, inner)| numbers(inner, found)),
                _ => {}
            }
        }
        let mut all = Vec::new();
        numbers(document, &mut all);
        let chosen = index.index(all.len());
        *all[chosen] = match choice % 5 {
            0 => 0.into(),
            1 => INTEGER_MAX.into(),
            2 => 1_000_000.into(),
            3 => u64::MAX.into(),
            _ => 0.5.into(),
        };
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn no_text_panics_the_reader(text in "\\PC{0,80}") {
            let _ = parse(&text);
        }

        #[test]
        fn a_damaged_document_is_refused_or_rendered(picks in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
            let mut record = fixture::record(SMALL);
            record.blocks.truncate(40);
            record.seconds.truncate(8);
            record.processes.iter_mut().for_each(|process| process.samples.truncate(4));
            let mut document = serde_json::to_value(evaluate(record, false)).unwrap();
            for (index, choice) in picks {
                damage(&mut document, index, choice);
            }
            if let Ok(result) = parse(&document.to_string()) {
                super::super::html(&result).unwrap();
                let text = super::super::text(&evaluate(result.record, true), "report.html");
                prop_assert!(text.ends_with("report: report.html\n"));
            }
        }

        #[test]
        fn unordered_histograms_are_put_in_order(values in prop::collection::vec((0_u64..1000, 0_u64..5), 0..20)) {
            let mut result = RunResult { version: RESULT_VERSION, ..RunResult::default() };
            result.record.latency.response.overall = crate::Counts(values);
            let read = parse(&json(&result).unwrap()).unwrap();
            let ordered = &read.record.latency.response.overall.0;
            prop_assert!(ordered.windows(2).all(|pair| pair[0].0 < pair[1].0));
        }
    }
}
