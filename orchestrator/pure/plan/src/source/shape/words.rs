//! How messages speak of keys, values and types.

use serde_json::Value;

/// What a schema wants, with an example.
pub(super) struct Wanted {
    pub(super) name: &'static str,
    pub(super) example: &'static str,
}

/// What `schema`, which is no choice, wants: by its format where that says more, otherwise by each of its types.
pub(super) fn wanted(schema: &Value) -> Vec<Wanted> {
    let format = schema["format"].as_str().unwrap_or_default();
    let by_format = match format {
        "duration" => Some(("a duration", "\"10s\"")),
        "size" => Some(("a size", "\"4GiB\"")),
        "bit-rate" => Some(("a rate", "\"1Gbit\"")),
        "ratio" => Some(("a fraction", "\"5%\"")),
        "portion" => Some(("a share or a number", "\"5%\"")),
        "ipv4-network" => Some(("an IPv4 range", "\"127.60.0.0/16\"")),
        _ => None,
    };
    let by_type = types(schema).map(|name| match name {
        "string" => ("a string", "\"text\""),
        "integer" => ("a whole number", "4"),
        "number" => ("a number", "0.5"),
        "boolean" => ("true or false", "true"),
        "array" => ("a list", "[...]"),
        _ => ("a table", "{ ... }"),
    });
    let pairs: Vec<_> = by_format.map_or_else(|| by_type.collect(), |pair| vec![pair]);
    pairs
        .into_iter()
        .map(|(name, example)| Wanted { name, example })
        .collect()
}

/// How to write `example` at `path`.
pub(super) fn write_as(path: &str, example: &str) -> String {
    match path.rsplit('.').next() {
        Some(key) if !key.is_empty() && key.parse::<usize>().is_err() => format!("write e.g. {key} = {example}"),
        _ => format!("write e.g. {example}"),
    }
}

/// The schema's types: one or several names, without null.
pub(super) fn types(schema: &Value) -> impl Iterator<Item = &str> {
    let one = schema["type"].as_str();
    let several = schema["type"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    one.into_iter().chain(several).filter(|name| *name != "null")
}

/// Whether `value` is of the JSON Schema type `name`.
pub(super) fn has_type(value: &Value, name: &str) -> bool {
    match name {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}

/// What a value is.
pub(super) fn describe(value: &Value) -> String {
    match value {
        // TOML has no null: it stands for what JSON cannot hold.
        Value::Null => "a date, infinity or nan".to_owned(),
        Value::Bool(_) => "a boolean".to_owned(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(_) => "a string".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a table".to_owned(),
    }
}

/// How messages name a key.
pub(super) fn label(path: &str) -> String {
    if path.is_empty() {
        "the scenario".to_owned()
    } else {
        format!("`{path}`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn formats_say_more_than_types() {
        let names = |schema: Value| wanted(&schema).iter().map(|wanted| wanted.name).collect::<Vec<_>>();
        assert_eq!(
            names(json!({ "type": ["string", "integer", "null"], "format": "size" })),
            ["a size"]
        );
        assert_eq!(
            names(json!({ "type": "integer", "format": "uint32" })),
            ["a whole number"]
        );
        assert_eq!(names(json!({ "type": ["string", "number"] })), ["a string", "a number"]);
        assert_eq!(names(json!({ "$ref": "x" })), [""; 0]);
    }

    #[test]
    fn examples_name_the_key_and_not_a_position() {
        assert_eq!(write_as("phases.measure", "\"10s\""), "write e.g. measure = \"10s\"");
        assert_eq!(write_as("peering.edges.0", "[...]"), "write e.g. [...]");
        assert_eq!(write_as("", "{ ... }"), "write e.g. { ... }");
    }

    #[test]
    fn values_have_the_types_that_json_schema_says() {
        let values = [
            json!("x"),
            json!(3),
            json!(2.5),
            json!(true),
            json!([]),
            json!({}),
            Value::Null,
        ];
        let fitting = |name: &str| values.iter().filter(|value| has_type(value, name)).count();
        assert_eq!(
            ["string", "integer", "number", "boolean", "array", "object", "null"].map(fitting),
            [1, 1, 2, 1, 1, 1, 0]
        );
        let described: Vec<String> = values.iter().map(describe).collect();
        assert_eq!(
            described.iter().collect::<std::collections::BTreeSet<_>>().len(),
            values.len()
        );
    }
}
