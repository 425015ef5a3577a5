//! The document against the JSON Schema of the scenario: every wrong key and value at once.
//!
//! What is wrong is reported and removed, so that its default applies and the checks of meaning can go on.

mod words;

use crate::{
    diagnostic::{Code, Problem},
    scenario::{Network, Scenario},
    suggest::{did_you_mean, nearest},
    units,
};
use serde_json::{Map, Value};
use words::{Wanted, describe, has_type, label, types, wanted, write_as};

/// All problems of `document`'s shape, and whether the rest of it can still be read; what can be left out is removed.
pub(super) fn check(document: &mut Value) -> (Vec<Problem>, bool) {
    let schema = schemars::schema_for!(Scenario).to_value();
    let mut walk = Walk {
        root: &schema,
        problems: Vec::new(),
    };
    let fit = walk.value(document, &schema, "");
    (walk.problems, fit == Fit::Good)
}

struct Walk<'a> {
    root: &'a Value,
    problems: Vec<Problem>,
}

/// Whether a value has its schema's shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// It has, perhaps after something optional was removed from it.
    Good,
    /// It has not and can be left out, when its key is optional.
    Bad,
    /// Something in it that cannot be left out has not: without it, checks of meaning would blame the innocent.
    Broken,
}

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

    fn report(&mut self, problem: Problem) -> Fit {
        self.problems.push(problem);
        Fit::Bad
    }

    fn value(&mut self, value: &mut Value, schema: &'a Value, path: &str) -> Fit {
        let schema = self.follow(schema);
        if schema["anyOf"].is_array() {
            return self.first_of_type(value, schema, path);
        }
        if schema["oneOf"].is_array() {
            return self.one_of(value, schema, path);
        }
        if !types(schema).any(|name| has_type(value, name)) {
            return self.mistyped(value, &wanted(schema), path);
        }
        match value {
            Value::Object(object) => self.object(object, schema, path),
            Value::Array(elements) => self.array(elements, schema, path),
            _ => self.scalar(value, schema, path),
        }
    }

    /// An untagged choice: the branch that has the value's type.
    fn first_of_type(&mut self, value: &mut Value, schema: &'a Value, path: &str) -> Fit {
        let branches: Vec<&Value> = list(&schema["anyOf"]).map(|branch| self.follow(branch)).collect();
        let fitting = branches
            .iter()
            .find(|branch| types(branch).any(|name| has_type(value, name)));
        match fitting {
            Some(branch) => self.value(value, branch, path),
            None => self.mistyped(value, &branches.into_iter().flat_map(wanted).collect::<Vec<_>>(), path),
        }
    }

    fn mistyped(&mut self, value: &Value, wanted: &[Wanted], path: &str) -> Fit {
        let names: Vec<&str> = wanted.iter().map(|wanted| wanted.name).collect();
        let message = format!(
            "{} must be {}, not {}",
            label(path),
            names.join(" or "),
            describe(value)
        );
        let help = write_as(path, wanted.first().map_or("{ ... }", |wanted| wanted.example));
        self.report(Problem::error(Code::WrongType, path, message).help(help))
    }

    /// A word of a list, a table told apart by `kind`, or a table told apart by its only key.
    fn one_of(&mut self, value: &mut Value, schema: &'a Value, path: &str) -> Fit {
        let branches: Vec<&Value> = list(&schema["oneOf"]).collect();
        if branches.iter().all(|branch| branch["type"] == "string") {
            return self.word(value, &branches, path);
        }
        let Value::Object(object) = value else {
            let table = Wanted {
                name: "a table",
                example: "{ ... }",
            };
            return self.mistyped(value, &[table], path);
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
                let problem = Problem::error(Code::MissingKey, path, format!("{} names no distribution", label(path)));
                let help = did_you_mean(object.keys().next().map_or("", String::as_str), names);
                self.report(Problem { help, ..problem })
            }
        }
    }

    fn tagged(&mut self, object: &mut Map<String, Value>, branches: &[&'a Value], path: &str) -> Fit {
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
                self.word(kind, &words, &super::join(path, "kind"));
                Fit::Broken
            }
        }
    }

    fn word(&mut self, value: &Value, branches: &[&Value], path: &str) -> Fit {
        let Some(text) = value.as_str() else {
            let word = Wanted {
                name: "a word in quotes",
                example: "\"...\"",
            };
            return self.mistyped(value, &[word], path);
        };
        let words = || branches.iter().filter_map(|branch| branch["const"].as_str());
        if words().any(|word| word == text) {
            return Fit::Good;
        }
        let problem = Problem::error(Code::UnknownWord, path, format!("{} cannot be `{text}`", label(path)));
        self.report(Problem {
            help: did_you_mean(text, words()),
            ..problem
        })
    }

    fn object(&mut self, object: &mut Map<String, Value>, schema: &'a Value, path: &str) -> Fit {
        let known = || {
            schema["properties"]
                .as_object()
                .into_iter()
                .flat_map(Map::keys)
                .map(String::as_str)
        };
        let others = schema.get("additionalProperties").filter(|others| others.is_object());
        let required: Vec<&str> = list(&schema["required"]).filter_map(Value::as_str).collect();
        let mut meant = Vec::new();
        let mut wrong = Vec::new();
        let mut worst = Fit::Good;
        for (name, value) in object.iter_mut() {
            let path = super::join(path, name);
            let property = schema["properties"].get(name);
            let fit = match property.or(others) {
                Some(schema) => self.value(value, schema, &path),
                None => {
                    meant.extend(nearest(name, known()));
                    let problem = Problem::error(Code::UnknownKey, path, format!("unknown key `{name}`")).at_key();
                    self.report(Problem {
                        help: did_you_mean(name, known()),
                        ..problem
                    })
                }
            };
            let optional = !required.contains(&name.as_str()) && (property.is_some() || others.is_none());
            match fit {
                Fit::Good => {}
                Fit::Bad if optional => wrong.push(name.clone()),
                Fit::Bad | Fit::Broken => worst = Fit::Broken,
            }
        }
        for name in &wrong {
            object.remove(name);
        }
        worst.max(self.missing(object, &required, &meant, path))
    }

    /// Reports required keys that are missing, unless an unknown key looks like a slip for one.
    fn missing(&mut self, object: &Map<String, Value>, required: &[&str], meant: &[&str], path: &str) -> Fit {
        let mut fit = Fit::Good;
        for name in required.iter().filter(|name| !object.contains_key(**name)) {
            fit = Fit::Broken;
            if !meant.contains(name) {
                let message = format!("{} has no `{name}`", label(path));
                self.report(Problem::error(Code::MissingKey, path, message).help(format!("add `{name} = ...`")));
            }
        }
        fit
    }

    fn array(&mut self, elements: &mut [Value], schema: &'a Value, path: &str) -> Fit {
        let prefix = schema["prefixItems"].as_array();
        if let Some(prefix) = prefix
            && elements.len() != prefix.len()
        {
            let (wanted_count, count) = (prefix.len(), elements.len());
            let message = format!("{} must have {wanted_count} elements, not {count}", label(path));
            let examples = prefix.iter().filter_map(|schema| Some(wanted(schema).first()?.example));
            let example = format!("[{}]", examples.collect::<Vec<_>>().join(", "));
            let problem = Problem::error(Code::WrongType, path, message);
            return self.report(problem.help(write_as(path, &example)));
        }
        let mut fit = Fit::Good;
        for (index, value) in elements.iter_mut().enumerate() {
            let schema = prefix.map_or(&schema["items"], |prefix| &prefix[index]);
            // An element cannot be left out: the others would change their positions.
            if self.value(value, schema, &super::join(path, &index.to_string())) != Fit::Good {
                fit = Fit::Broken;
            }
        }
        fit
    }

    fn scalar(&mut self, value: &Value, schema: &Value, path: &str) -> Fit {
        let format = schema["format"].as_str().unwrap_or("");
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let parsed = match format {
            "ipv4-network" => text.parse::<Network>().map(drop),
            _ => units::check_format(format, &text).map_err(|error| error.to_string()),
        };
        if let Err(error) = parsed {
            let problem = Problem::error(Code::BadQuantity, path, format!("{}: {error}", label(path)));
            let help = wanted(schema).first().map(|wanted| write_as(path, wanted.example));
            return self.report(Problem { help, ..problem });
        }
        if let Some((least, most)) = range(schema)
            && value.as_i64().is_some_and(|number| number < least || number > most)
        {
            let message = format!("{} must be from {least} to {most}, not {value}", label(path));
            let problem = Problem::error(Code::WrongType, path, message);
            return self.report(problem.help("use a number in that range"));
        }
        Fit::Good
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
