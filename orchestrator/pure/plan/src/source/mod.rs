//! A scenario file with overrides: from text to a typed scenario, with the place of every key.

mod overrides;
mod shape;

use crate::{
    diagnostic::{Code, Diagnostic, Diagnostics, Place, Problem},
    scenario::Scenario,
};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::{collections::BTreeMap, ops::Range};

/// Largest scenario file in bytes.
pub const SCENARIO_BYTES_MAX: usize = 1024 * 1024;

/// Where a key of the effective document comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Origin {
    /// The file: spans of the key's name, when it has one, and of its value.
    File {
        key: Option<Range<usize>>,
        value: Range<usize>,
    },
    /// The override with this position.
    Override(usize),
}

/// A scenario file with overrides applied.
///
/// Reading never fails: what is wrong with the shape waits in it for [`crate::resolve()`], which reports it
/// together with what is wrong with the meaning.
#[derive(Debug, Clone)]
pub struct Source {
    file: String,
    text: String,
    overrides: Vec<String>,
    origins: BTreeMap<String, Origin>,
    scenario: Option<Scenario>,
    problems: Vec<Problem>,
}

impl Source {
    /// Reads `text`, the content of `file` (a name for messages only), with `key=value` overrides.
    #[must_use]
    pub fn read(file: &str, text: &str, overrides: &[String]) -> Self {
        let mut source = Self {
            file: file.to_owned(),
            text: text.to_owned(),
            overrides: overrides.to_vec(),
            origins: BTreeMap::new(),
            scenario: None,
            problems: Vec::new(),
        };
        if let Some(document) = source.parse() {
            source.interpret(document);
        }
        source
    }

    /// The typed scenario, when the document has its shape.
    #[must_use]
    pub fn scenario(&self) -> Option<&Scenario> {
        self.scenario.as_ref()
    }

    /// Problems of the document's shape, without those that only a resolution finds.
    pub(crate) fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Gives problems found by key their places, and sorts them.
    pub(crate) fn locate(&self, problems: Vec<Problem>) -> Diagnostics {
        let located = problems.into_iter().map(|problem| {
            let place = self.place(&problem.path, problem.at_key);
            let Problem {
                code,
                severity,
                path: key,
                message,
                help,
                ..
            } = problem;
            Diagnostic {
                code,
                severity,
                place,
                key,
                message,
                help,
            }
        });
        let mut diagnostics = Diagnostics(located.collect());
        diagnostics.sort();
        diagnostics
    }

    fn parse(&mut self) -> Option<Value> {
        if self.text.len() > SCENARIO_BYTES_MAX {
            let message = format!("{} bytes exceed the limit of {SCENARIO_BYTES_MAX}", self.text.len());
            self.problems.push(Problem::error(Code::Syntax, "", message));
            return None;
        }
        match toml_edit::Document::parse(self.text.as_str()) {
            Ok(document) => {
                let mut origins = BTreeMap::new();
                let value = from_item(document.as_item(), "", &mut origins);
                self.origins = origins;
                Some(value)
            }
            Err(error) => {
                let span = error.span().unwrap_or(0..0);
                self.origins
                    .insert(String::new(), Origin::File { key: None, value: span });
                self.problems.push(Problem::error(
                    Code::Syntax,
                    "",
                    format!("not TOML: {}", error.message().trim()),
                ));
                None
            }
        }
    }

    fn interpret(&mut self, mut document: Value) {
        for position in 0..self.overrides.len() {
            self.apply(position, &mut document);
        }
        let (problems, readable) = shape::check(&mut document);
        self.problems.extend(problems);
        if !readable {
            return;
        }
        match Scenario::deserialize(&document) {
            Ok(scenario) => self.scenario = Some(scenario),
            // The shape check words everything that it knows better; this is the net below it.
            Err(error) if self.problems.is_empty() => {
                self.problems
                    .push(Problem::error(Code::WrongType, "", error.to_string()));
            }
            Err(_) => {}
        }
    }

    fn apply(&mut self, position: usize, document: &mut Value) {
        let text = self.overrides[position].clone();
        match overrides::apply(&text, document) {
            Ok(path) => {
                let prefix = format!("{path}.");
                self.origins.retain(|key, _| *key != path && !key.starts_with(&prefix));
                self.origins.insert(path, Origin::Override(position));
            }
            Err((message, help)) => {
                // The override's own text is the path, so that the problem points at it.
                self.origins.insert(text.clone(), Origin::Override(position));
                self.problems.push(Problem {
                    help,
                    ..Problem::error(Code::BadOverride, text, message)
                });
            }
        }
    }

    /// The place of `path`, or of the nearest key above it that is written somewhere.
    fn place(&self, path: &str, at_key: bool) -> Place {
        let mut path = path;
        let mut exact = true;
        loop {
            match self.origins.get(path) {
                Some(Origin::Override(position)) => {
                    return Place::Override {
                        text: self.overrides[*position].clone(),
                    };
                }
                Some(Origin::File { key, value }) => {
                    let span = if at_key || !exact {
                        key.as_ref().unwrap_or(value)
                    } else {
                        value
                    };
                    return self.file_place(span.clone());
                }
                None => {}
            }
            exact = false;
            match path.rfind('.') {
                Some(dot) => path = &path[..dot],
                None if path.is_empty() => return self.file_place(0..0),
                None => path = "",
            }
        }
    }

    fn file_place(&self, span: Range<usize>) -> Place {
        let before = self.text.get(..span.start).unwrap_or(&self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        Place::File {
            file: self.file.clone(),
            line,
            column,
            span,
        }
    }
}

/// The key below `path` called `part`.
fn join(path: &str, part: &str) -> String {
    if path.is_empty() {
        part.to_owned()
    } else {
        format!("{path}.{part}")
    }
}

fn from_item(item: &toml_edit::Item, path: &str, origins: &mut BTreeMap<String, Origin>) -> Value {
    match item {
        toml_edit::Item::None => Value::Null,
        toml_edit::Item::Value(value) => from_value(value, path, origins),
        toml_edit::Item::Table(table) => from_table(table, path, origins),
        toml_edit::Item::ArrayOfTables(tables) => {
            let elements = tables.iter().enumerate().map(|(index, table)| {
                let path = join(path, &index.to_string());
                record(&path, None, table.span(), origins);
                from_table(table, &path, origins)
            });
            Value::Array(elements.collect())
        }
    }
}

fn from_table(table: &dyn toml_edit::TableLike, path: &str, origins: &mut BTreeMap<String, Origin>) -> Value {
    let mut object = Map::new();
    for (name, item) in table.iter() {
        let path = join(path, name);
        let key = table.get_key_value(name).and_then(|(key, _)| key.span());
        record(&path, key, item.span(), origins);
        object.insert(name.to_owned(), from_item(item, &path, origins));
    }
    Value::Object(object)
}

fn from_value(value: &toml_edit::Value, path: &str, origins: &mut BTreeMap<String, Origin>) -> Value {
    match value {
        toml_edit::Value::String(text) => Value::String(text.value().clone()),
        toml_edit::Value::Integer(number) => Value::from(*number.value()),
        toml_edit::Value::Float(number) => Value::from(*number.value()),
        toml_edit::Value::Boolean(boolean) => Value::Bool(*boolean.value()),
        // Nothing in a scenario is a date: null, which TOML lacks, has no type that fits anywhere.
        toml_edit::Value::Datetime(_) => Value::Null,
        toml_edit::Value::Array(array) => {
            let elements = array.iter().enumerate().map(|(index, value)| {
                let path = join(path, &index.to_string());
                record(&path, None, value.span(), origins);
                from_value(value, &path, origins)
            });
            Value::Array(elements.collect())
        }
        toml_edit::Value::InlineTable(table) => from_table(table, path, origins),
    }
}

fn record(path: &str, key: Option<Range<usize>>, value: Option<Range<usize>>, origins: &mut BTreeMap<String, Origin>) {
    if let Some(value) = value.or_else(|| key.clone()) {
        origins.insert(path.to_owned(), Origin::File { key, value });
    }
}
