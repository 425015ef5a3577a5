//! `--set key=value`: changes one key of the document before anything is checked.

use crate::suggest::did_you_mean;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What is wrong with an override, and what to do about it.
type Refusal = (String, Option<String>);

/// Applies `key=value` to `document` and returns the key with list positions as numbers.
///
/// A part of the key that meets a list is a position, or the `name` or `id` of one of its elements. The value
/// is TOML; what is no TOML is a string, so that `phases.measure=30s` needs no quotes.
pub(super) fn apply(text: &str, document: &mut Value) -> Result<String, Refusal> {
    let help = || Some("write it as `phases.measure=30s` or `group.val.count=7`".to_owned());
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| (format!("`{text}` has no `=`"), help()))?;
    let parts: Vec<&str> = key.trim().split('.').map(str::trim).collect();
    if parts.iter().any(|part| part.is_empty()) {
        return Err((format!("`{key}` is not a key"), help()));
    }
    let mut target = document;
    let mut path = String::new();
    for part in parts {
        let step = resolve(target, part, &path)?;
        path = super::join(&path, &step);
        target = descend(target, &step);
    }
    *target = parse(value.trim());
    Ok(path)
}

/// The name of `part` inside `target`: as it is for a table, a position for a list.
fn resolve(target: &Value, part: &str, path: &str) -> Result<String, Refusal> {
    let Value::Array(elements) = target else {
        if target.is_object() || target.is_null() {
            return Ok(part.to_owned());
        }
        let help = format!("write it as `{path}=...`");
        return Err((
            format!("`{path}` is a single value and has no key `{part}`"),
            Some(help),
        ));
    };
    let names: Vec<&str> = elements.iter().filter_map(name_of).collect();
    if let Some(position) = elements.iter().position(|element| name_of(element) == Some(part)) {
        return Ok(position.to_string());
    }
    match part.parse::<usize>() {
        Ok(position) if position < elements.len() => Ok(position.to_string()),
        Ok(position) => {
            let message = format!("`{path}` has no element {position}: it has {}", elements.len());
            Err((message, Some("positions count from 0".to_owned())))
        }
        Err(_) => {
            let help = did_you_mean(part, names).or_else(|| Some(format!("use a position: `{path}.0.{part}=...`")));
            Err((format!("`{path}` is a list and has no element called `{part}`"), help))
        }
    }
}

fn name_of(element: &Value) -> Option<&str> {
    element
        .get("name")
        .or_else(|| element.get("id"))
        .and_then(Value::as_str)
}

/// The value called `step` in `target`, made when it is not there.
fn descend<'a>(target: &'a mut Value, step: &str) -> &'a mut Value {
    if let Value::Array(elements) = target {
        let position = step.parse::<usize>().unwrap_or(0);
        // `resolve` has found the position in this list.
        return &mut elements[position];
    }
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    &mut target[step]
}

fn parse(text: &str) -> Value {
    match text.parse::<toml_edit::Value>() {
        Ok(value) => super::Reader {
            document: 0,
            origins: &mut BTreeMap::new(),
        }
        .value(&value, ""),
        Err(_) => Value::String(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn sample() -> Value {
        json!({ "seed": 1, "group": [{ "name": "val", "count": 4 }], "load": [{ "rate": 5 }], "phases": {} })
    }

    #[test]
    fn keys_find_their_place() {
        let mut document = sample();
        for (text, path) in [
            ("seed=7", "seed"),
            ("group.val.count=7", "group.0.count"),
            ("load.0.rate={ ramp = [1, 2], over = \"3s\" }", "load.0.rate"),
            ("phases.measure=30s", "phases.measure"),
            ("budget.disk = 1GiB", "budget.disk"),
        ] {
            assert_eq!(apply(text, &mut document), Ok(path.to_owned()), "{text}");
        }
        let expected = json!({
            "seed": 7, "group": [{ "name": "val", "count": 7 }],
            "load": [{ "rate": { "ramp": [1, 2], "over": "3s" } }],
            "phases": { "measure": "30s" }, "budget": { "disk": "1GiB" },
        });
        assert_eq!(document, expected);
    }

    #[test]
    fn keys_that_lead_nowhere_are_refused_with_help() {
        for (text, part) in [
            ("seed", "no `=`"),
            ("a..b=1", "not a key"),
            ("load.7.rate=1", "no element 7"),
            ("seed.x=1", "single value"),
        ] {
            let (message, help) = apply(text, &mut sample()).unwrap_err();
            assert!(message.contains(part) && help.is_some(), "{message}");
        }
        let (_, help) = apply("group.vla.count=1", &mut sample()).unwrap_err();
        assert_eq!(help.as_deref(), Some("did you mean `val`?"));
    }

    proptest! {
        #[test]
        fn arbitrary_overrides_never_panic(text in ".{0,40}", key in "(group|load|seed|phases)(\\.[a-z0-9]{1,3}){0,3}=.{0,8}") {
            let _ = apply(&text, &mut sample());
            let _ = apply(&key, &mut sample());
        }
    }
}
