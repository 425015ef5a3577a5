//! Inventories of hosts: `[[host]]` tables from a file or a command, as if the scenario itself had them.

use super::{Origin, Reader, SCENARIO_BYTES_MAX, Source};
use crate::diagnostic::{Code, Problem};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Key of the provider that names a file.
pub(super) const FILE: &str = "inventory";
/// Key of the provider that names a command.
pub(super) const COMMAND: &str = "inventory_command";
/// The only key of an inventory.
const HOSTS: &str = "host";

/// Hosts, and where each of their keys stands below the list.
type Hosts = (Vec<Value>, BTreeMap<String, Origin>);

impl Source {
    /// Adds the hosts of `text`, which `key` of the provider names; `name` is for messages.
    pub(super) fn add_inventory(&mut self, key: &'static str, name: &str, text: &str) {
        self.inventories.push((name.to_owned(), text.to_owned()));
        let document = self.inventories.len();
        let path = format!("provider.{key}");
        match read(document, text) {
            Ok(hosts) => self.add_hosts(&path, hosts),
            Err((message, span)) => {
                if let Some(value) = span {
                    let origin = Origin::File {
                        document,
                        key: None,
                        value,
                    };
                    self.origins.insert(path.clone(), origin);
                }
                let problem = Problem::error(Code::BadInventory, path, format!("`{name}`: {message}"));
                self.unread.push(
                    problem.help("write [[host]] tables with the keys of [[provider.host]], or the same as JSON"),
                );
            }
        }
        self.included.insert(key);
        self.interpret();
        // Interpreting made the scenario anew, so what other files said has to be said again.
        for (file, text) in self.files.clone() {
            self.include_trace(&file, &text);
        }
    }

    fn add_hosts(&mut self, path: &str, (hosts, origins): Hosts) {
        let Some(list) = self.document.as_mut().and_then(list_of_hosts) else {
            // The scenario's own list has another type, which is reported.
            return;
        };
        let first = list.len();
        list.extend(hosts);
        let named = self.origins.get(path).cloned();
        for index in first..list.len() {
            let host = format!("provider.host.{index}");
            // JSON has no places: what is wrong with it is shown where the inventory is named.
            self.origins.extend(named.clone().map(|origin| (host, origin)));
        }
        for (inner, origin) in origins {
            let (index, rest) = inner.split_once('.').unwrap_or((&inner, ""));
            let index = first + index.parse::<usize>().unwrap_or(0);
            let dot = if rest.is_empty() { "" } else { "." };
            self.origins.insert(format!("provider.host.{index}{dot}{rest}"), origin);
        }
    }
}

/// The list `provider.host`, made where there is none.
fn list_of_hosts(document: &mut Value) -> Option<&mut Vec<Value>> {
    let provider = document.as_object_mut()?.entry("provider");
    let provider = provider.or_insert_with(|| Value::Object(Map::new())).as_object_mut()?;
    provider
        .entry(HOSTS)
        .or_insert_with(|| Value::Array(Vec::new()))
        .as_array_mut()
}

/// What is wrong with an inventory, and where in it.
type Wrong = (String, Option<std::ops::Range<usize>>);

fn read(document: usize, text: &str) -> Result<Hosts, Wrong> {
    if text.len() > SCENARIO_BYTES_MAX {
        let message = format!("{} bytes exceed the limit of {SCENARIO_BYTES_MAX}", text.len());
        return Err((message, None));
    }
    if is_json(text) {
        let value = serde_json::from_str(text).map_err(|error| (format!("not JSON: {error}"), None))?;
        return Ok((
            hosts(without_nulls(value)).map_err(|message| (message, None))?,
            BTreeMap::new(),
        ));
    }
    let toml = toml_edit::Document::parse(text)
        .map_err(|error| (format!("not TOML: {}", error.message().trim()), error.span()))?;
    let mut origins = BTreeMap::new();
    let reader = &mut Reader {
        document,
        origins: &mut origins,
    };
    let value = reader.item(toml.as_item(), "");
    let span = value.as_object().and_then(|object| {
        let other = object.keys().find(|key| *key != HOSTS)?;
        toml.get_key_value(other).and_then(|(key, _)| key.span())
    });
    let hosts = hosts(value).map_err(|message| (message, span))?;
    let below = format!("{HOSTS}.");
    let origins = origins
        .into_iter()
        .filter_map(|(path, origin)| Some((path.strip_prefix(&below)?.to_owned(), origin)));
    Ok((hosts, origins.collect()))
}

/// Whether a text means to be JSON: TOML begins with a key or with `[[host]]`.
fn is_json(text: &str) -> bool {
    let text = text.trim_start();
    let list = text.strip_prefix('[').map(str::trim_start);
    text.starts_with('{') || list.is_some_and(|inner| inner.starts_with(['{', ']']))
}

/// The hosts of `{ "host": [...] }`, or of a list alone.
fn hosts(value: Value) -> Result<Vec<Value>, String> {
    let list = match value {
        Value::Object(mut object) => {
            let list = object.remove(HOSTS);
            if let Some(other) = object.keys().next() {
                return Err(format!("unknown key `{other}`: an inventory has `{HOSTS}` alone"));
            }
            list.unwrap_or_else(|| Value::Array(Vec::new()))
        }
        other => other,
    };
    match list {
        Value::Array(hosts) if hosts.is_empty() => Err("it has no hosts".to_owned()),
        Value::Array(hosts) => Ok(hosts),
        _ => Err(format!("`{HOSTS}` is not a list")),
    }
}

/// Programs write null for what they do not know; in a scenario it is left out.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            let known = object.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(known.map(|(key, value)| (key, without_nulls(value))).collect())
        }
        Value::Array(elements) => Value::Array(elements.into_iter().map(without_nulls).collect()),
        other => other,
    }
}
