//! The document against the JSON Schema of the scenario: every wrong key and value at once.
//!
//! What is wrong is reported and removed, so that its default applies and the checks of meaning can go on.

use crate::{
    diagnostic::{Code, Problem},
    scenario::{Network, Scenario},
    suggest::{did_you_mean, nearest},
    units,
};
use serde_json::{Map, Value};

/// All problems of `document`'s shape; what can be left out is removed from it.
pub(super) fn check(document: &mut Value) -> Vec<Problem> {
    let schema = schemars::schema_for!(Scenario).to_value();
    let mut walk = Walk {
        root: &schema,
        problems: Vec::new(),
    };
    walk.value(document, &schema, "");
    walk.problems
}

struct Walk<'a> {
    root: &'a Value,
    problems: Vec<Problem>,
}

/// Whether a value has its schema's shape.
type Fits = bool;

impl<'a> Walk<'a> {
    /// Follows `$ref` and takes the null branch off optional values, which TOML cannot write.
    fn follow(&self, schema: &'a Value) -> &'a Value {
        let mut schema = schema;
        loop {
            if let Some(name) = schema["$ref"]
                .as_str()
                .and_then(|reference| reference.strip_prefix("#/$defs/"))
            {
                schema = &self.root["$defs"][name];
                continue;
            }
            let branches: Vec<&Value> = list(&schema["anyOf"])
                .filter(|branch| branch["type"] != "null")
                .collect();
            match branches[..] {
                [only] => schema = only,
                _ => return schema,
            }
        }
    }

    fn report(&mut self, problem: Problem) -> Fits {
        self.problems.push(problem);
        false
    }

    fn value(&mut self, value: &mut Value, schema: &'a Value, path: &str) -> Fits {
        let schema = self.follow(schema);
        if schema["anyOf"].is_array() {
            return self.first_of_type(value, schema, path);
        }
        if schema["oneOf"].is_array() {
            return self.one_of(value, schema, path);
        }
        if !types(schema).any(|name| has_type(value, name)) {
            let wanted = schema["format"]
                .as_str()
                .and_then(format_name)
                .map_or_else(|| type_names(schema), str::to_owned);
            let message = format!("{} must be {wanted}, not {}", label(path), describe(value));
            return self.report(Problem::error(Code::WrongType, path, message));
        }
        match value {
            Value::Object(object) => self.object(object, schema, path),
            Value::Array(elements) => self.array(elements, schema, path),
            _ => self.scalar(value, schema, path),
        }
    }

    /// An untagged choice: the branch that has the value's type.
    fn first_of_type(&mut self, value: &mut Value, schema: &'a Value, path: &str) -> Fits {
        let branches: Vec<&Value> = list(&schema["anyOf"]).map(|branch| self.follow(branch)).collect();
        let fitting = branches
            .iter()
            .find(|branch| types(branch).any(|name| has_type(value, name)));
        match fitting {
            Some(branch) => self.value(value, branch, path),
            None => {
                let names: Vec<String> = branches.iter().map(|branch| type_names(branch)).collect();
                let message = format!(
                    "{} must be {}, not {}",
                    label(path),
                    names.join(" or "),
                    describe(value)
                );
                self.report(Problem::error(Code::WrongType, path, message))
            }
        }
    }

    /// A word of a list, a table told apart by `kind`, or a table told apart by its only key.
    fn one_of(&mut self, value: &mut Value, schema: &'a Value, path: &str) -> Fits {
        let branches: Vec<&Value> = list(&schema["oneOf"]).collect();
        if branches.iter().all(|branch| branch["type"] == "string") {
            return self.word(value, &branches, path);
        }
        let Value::Object(object) = value else {
            let message = format!("{} must be a table, not {}", label(path), describe(value));
            return self.report(Problem::error(Code::WrongType, path, message));
        };
        if branches
            .iter()
            .all(|branch| branch["properties"]["kind"]["const"].is_string())
        {
            return self.tagged(object, &branches, path);
        }
        let names = branches.iter().filter_map(|branch| branch["required"][0].as_str());
        let chosen = branches.iter().find(|branch| {
            branch["required"][0]
                .as_str()
                .is_some_and(|key| object.contains_key(key))
        });
        match chosen {
            Some(branch) => self.object(object, branch, path),
            None => {
                let problem = Problem::error(Code::MissingKey, path, format!("{} says no distribution", label(path)));
                let help = did_you_mean(object.keys().next().map_or("", String::as_str), names);
                self.report(Problem { help, ..problem })
            }
        }
    }

    fn tagged(&mut self, object: &mut Map<String, Value>, branches: &[&'a Value], path: &str) -> Fits {
        let kinds: Vec<&str> = branches
            .iter()
            .filter_map(|branch| branch["properties"]["kind"]["const"].as_str())
            .collect();
        let Some(kind) = object.get("kind") else {
            let help = did_you_mean("", kinds);
            let problem = Problem::error(Code::MissingKey, path, format!("{} has no `kind`", label(path)));
            return self.report(Problem { help, ..problem });
        };
        let chosen = branches
            .iter()
            .find(|branch| branch["properties"]["kind"]["const"] == *kind);
        match chosen {
            Some(branch) => self.object(object, branch, path),
            None => {
                let words: Vec<&Value> = branches.iter().map(|branch| &branch["properties"]["kind"]).collect();
                self.word(kind, &words, &super::join(path, "kind"))
            }
        }
    }

    fn word(&mut self, value: &Value, branches: &[&Value], path: &str) -> Fits {
        let Some(text) = value.as_str() else {
            let message = format!("{} must be a word in quotes, not {}", label(path), describe(value));
            return self.report(Problem::error(Code::WrongType, path, message));
        };
        let words = || branches.iter().filter_map(|branch| branch["const"].as_str());
        if words().any(|word| word == text) {
            return true;
        }
        let problem = Problem::error(Code::UnknownWord, path, format!("{} cannot be `{text}`", label(path)));
        self.report(Problem {
            help: did_you_mean(text, words()),
            ..problem
        })
    }

    fn object(&mut self, object: &mut Map<String, Value>, schema: &'a Value, path: &str) -> Fits {
        let none = Map::new();
        let properties = schema["properties"].as_object().unwrap_or(&none);
        // References into the schema live as long as the walk; the empty map has no elements to refer to.
        let lookup = |name: &str| schema["properties"].get(name);
        let others = schema.get("additionalProperties").filter(|others| others.is_object());
        let free_form = schema["additionalProperties"] == true;
        let mut meant = Vec::new();
        let mut wrong = Vec::new();
        for (name, value) in object.iter_mut() {
            let path = super::join(path, name);
            let fits = match lookup(name).or(others) {
                Some(schema) => self.value(value, schema, &path),
                None if free_form => true,
                None => {
                    meant.extend(nearest(name, properties.keys().map(String::as_str)));
                    let help = did_you_mean(name, properties.keys().map(String::as_str));
                    let problem = Problem::error(Code::UnknownKey, path, format!("unknown key `{name}`")).at_key();
                    self.report(Problem { help, ..problem })
                }
            };
            if !fits {
                wrong.push(name.clone());
            }
        }
        let missing: Vec<&str> = list(&schema["required"])
            .filter_map(Value::as_str)
            .filter(|name| !object.contains_key(*name))
            .collect();
        for name in missing.iter().filter(|name| !meant.contains(name)) {
            let message = format!("{} has no `{name}`", label(path));
            self.report(Problem::error(Code::MissingKey, path, message).help(format!("add `{name} = ...`")));
        }
        for name in &wrong {
            object.remove(name);
        }
        missing.is_empty() && !list(&schema["required"]).any(|name| wrong.iter().any(|wrong| name == wrong))
    }

    fn array(&mut self, elements: &mut [Value], schema: &'a Value, path: &str) -> Fits {
        if let Some(prefix) = schema["prefixItems"].as_array() {
            if elements.len() != prefix.len() {
                let message = format!(
                    "{} must have {} elements, not {}",
                    label(path),
                    prefix.len(),
                    elements.len()
                );
                return self.report(Problem::error(Code::WrongType, path, message));
            }
            let fits = elements.iter_mut().zip(prefix).enumerate();
            return fits.fold(true, |all, (index, (value, schema))| {
                self.value(value, schema, &super::join(path, &index.to_string())) && all
            });
        }
        let fits = elements.iter_mut().enumerate();
        fits.fold(true, |all, (index, value)| {
            self.value(value, &schema["items"], &super::join(path, &index.to_string())) && all
        })
    }

    fn scalar(&mut self, value: &Value, schema: &Value, path: &str) -> Fits {
        let format = schema["format"].as_str().unwrap_or("");
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let parsed = match format {
            "ipv4-network" => text.parse::<Network>().map(drop),
            _ => units::check_format(format, &text).map_err(|error| error.to_string()),
        };
        if let Err(error) = parsed {
            return self.report(Problem::error(
                Code::BadQuantity,
                path,
                format!("{}: {error}", label(path)),
            ));
        }
        if let Some((least, most)) = range(schema)
            && value.as_i64().is_some_and(|number| number < least || number > most)
        {
            let message = format!("{} must be from {least} to {most}, not {value}", label(path));
            return self.report(Problem::error(Code::WrongType, path, message));
        }
        true
    }
}

/// The integers that the schema's format can hold, as far as TOML can write them.
fn range(schema: &Value) -> Option<(i64, i64)> {
    match schema["format"].as_str()? {
        "uint16" => Some((0, i64::from(u16::MAX))),
        "uint32" => Some((0, i64::from(u32::MAX))),
        "uint64" | "size" => Some((0, i64::MAX)),
        _ => None,
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// The schema's types: one or several names, without null.
fn types(schema: &Value) -> impl Iterator<Item = &str> {
    let one = schema["type"].as_str();
    let several = list(&schema["type"]).filter_map(Value::as_str);
    one.into_iter().chain(several).filter(|name| *name != "null")
}

fn has_type(value: &Value, name: &str) -> bool {
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

fn type_names(schema: &Value) -> String {
    let names = types(schema).map(|name| match name {
        "string" => "a string",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "a list",
        _ => "a table",
    });
    names.collect::<Vec<_>>().join(" or ")
}

/// What a format is called where its type alone says too little.
fn format_name(format: &str) -> Option<&'static str> {
    Some(match format {
        "duration" => "a duration such as \"10s\"",
        "size" => "a size such as \"4GiB\"",
        "bit-rate" => "a rate such as \"1Gbit\"",
        "ratio" => "a fraction such as \"5%\"",
        _ => return None,
    })
}

fn describe(value: &Value) -> String {
    match value {
        Value::Null => "a date, infinity or nan".to_owned(),
        Value::Bool(_) => "a boolean".to_owned(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(_) => "a string".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a table".to_owned(),
    }
}

/// How messages name a key.
fn label(path: &str) -> String {
    if path.is_empty() {
        "the scenario".to_owned()
    } else {
        format!("`{path}`")
    }
}
