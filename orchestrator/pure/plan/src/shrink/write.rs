//! A scenario as the text of a file that reads back as itself.

use crate::scenario::Scenario;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::fmt::Write;

/// Keys that are written although they have their defaults: whoever reads the file looks for them.
const KEPT: [&str; 4] = ["schema", "name", "question", "seed"];
/// Lists of absences may be long, and each of their keys is needed.
const ROWS: &str = "row";

/// The text of a scenario file: what has its default is left out, and the question stands at its top.
///
/// # Errors
/// Why the scenario is nothing that a file can say; no scenario that was read from one is.
pub fn to_toml(scenario: &Scenario) -> Result<String, serde_json::Error> {
    let mut document = without_nulls(serde_json::to_value(scenario)?);
    strip(&mut document, scenario);
    let mut text = String::new();
    for line in scenario.question.lines() {
        text += &format!("# {}\n", line.trim());
    }
    // Writing to a string cannot fail.
    let _ = write_document(&mut text, &document);
    Ok(text)
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            let members = object.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(members.map(|(key, value)| (key, without_nulls(value))).collect())
        }
        Value::Array(elements) => Value::Array(elements.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

/// Leaves out every key without which the document still says the same.
fn strip(document: &mut Value, scenario: &Scenario) {
    for pointer in pointers(document, "") {
        let Some((parent, key)) = pointer.rsplit_once('/') else {
            continue;
        };
        let mut shorter = document.clone();
        let removed = shorter
            .pointer_mut(parent)
            .and_then(Value::as_object_mut)
            .and_then(|object| object.remove(&unescaped(key)));
        let same = || Scenario::deserialize(&shorter).is_ok_and(|read| read == *scenario);
        if removed.is_some() && same() {
            *document = shorter;
        }
    }
}

/// Pointers to all keys that may be left out, the outermost first.
fn pointers(value: &Value, path: &str) -> Vec<String> {
    let mut found = Vec::new();
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                if path.is_empty() && KEPT.contains(&key.as_str()) || key == ROWS {
                    continue;
                }
                let inner = format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"));
                found.push(inner.clone());
                found.extend(pointers(value, &inner));
            }
        }
        Value::Array(elements) => {
            for (index, value) in elements.iter().enumerate() {
                found.extend(pointers(value, &format!("{path}/{index}")));
            }
        }
        _ => {}
    }
    found
}

fn unescaped(key: &str) -> String {
    key.replace("~1", "/").replace("~0", "~")
}

fn write_document(text: &mut String, document: &Value) -> std::fmt::Result {
    let members = document.as_object().into_iter().flatten();
    let (tables, plain): (Vec<_>, Vec<_>) = members.partition(|(_, value)| is_table(value));
    for (key, value) in plain {
        writeln!(text, "{} = {}", quoted_key(key), inline(value))?;
    }
    for (key, value) in tables {
        let key = quoted_key(key);
        match value {
            Value::Array(elements) => {
                for element in elements {
                    writeln!(text, "\n[[{key}]]")?;
                    write_members(text, element)?;
                }
            }
            table => {
                writeln!(text, "\n[{key}]")?;
                write_members(text, table)?;
            }
        }
    }
    Ok(())
}

/// Whether a value is written as a section of its own.
fn is_table(value: &Value) -> bool {
    match value {
        Value::Object(_) => true,
        Value::Array(elements) => !elements.is_empty() && elements.iter().all(Value::is_object),
        _ => false,
    }
}

fn write_members(text: &mut String, table: &Value) -> std::fmt::Result {
    for (key, value) in table.as_object().into_iter().flatten() {
        match value {
            // Long lists of tables or pairs stand in lines of their own.
            Value::Array(elements) if elements.iter().any(|element| element.is_object() || element.is_array()) => {
                writeln!(text, "{} = [", quoted_key(key))?;
                for element in elements {
                    writeln!(text, "    {},", inline(element))?;
                }
                writeln!(text, "]")?;
            }
            value => writeln!(text, "{} = {}", quoted_key(key), inline(value))?,
        }
    }
    Ok(())
}

/// A value on one line.
fn inline(value: &Value) -> String {
    match value {
        Value::Object(object) => inline_table(object),
        Value::Array(elements) => {
            let elements: Vec<String> = elements.iter().map(inline).collect();
            format!("[{}]", elements.join(", "))
        }
        Value::String(string) => toml_edit::Value::from(string.as_str()).to_string(),
        // JSON writes large numbers with an exponent and TOML wants a digit on each side of it.
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => integer.to_string(),
            (None, Some(float)) => toml_edit::Value::from(float).to_string(),
            (None, None) => number.to_string(),
        },
        other => other.to_string(),
    }
}

fn inline_table(object: &Map<String, Value>) -> String {
    let members: Vec<String> = object
        .iter()
        .map(|(key, value)| format!("{} = {}", quoted_key(key), inline(value)))
        .collect();
    if members.is_empty() {
        "{}".to_owned()
    } else {
        format!("{{ {} }}", members.join(", "))
    }
}

fn quoted_key(key: &str) -> String {
    toml_edit::Key::new(key).to_string()
}
