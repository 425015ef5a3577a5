//! The reference page of all keys and the JSON Schema, made from the types.

use crate::{Code, Metric, Scenario, Unit, scenario::TransactionKind};
use serde_json::Value;
use std::{collections::BTreeMap, fmt::Write};

const HEAD: &str = "\
# Scenario files: every key

<!-- Generated from the types of `regatta-plan`; `cargo test -p regatta-plan -- --ignored rewrite` writes it anew. -->

A scenario file describes a whole experiment. Every key is listed here with its type, its default and its meaning;
a key that is not listed is an error. What a provider cannot do yet parses and is refused as `T041`.
Durations are written `\"500ms\"`, `\"10s\"`, `\"2h\"`; sizes `\"64KiB\"`, `\"4GiB\"` or a number of bytes; fractions
`\"5%\"` or `0.05`. Any key can be set on the command line: `--set phases.measure=30s`, `--set load.0.rate=2000`,
`--set group.val.count=7`.

The least scenario that runs:

```toml
[[group]]
name = \"val\"
count = 4
role = \"validator\"

[peering]
core = { kind = \"full_mesh\", of = \"val\" }

[[consensus]]
id = \"main\"
```
";

/// The JSON Schema of a scenario (draft 2020-12).
#[must_use]
pub fn json_schema() -> Value {
    schemars::schema_for!(Scenario).to_value()
}

/// The reference page of all keys, metrics and problems, as Markdown.
#[must_use]
pub fn markdown() -> String {
    let schema = json_schema();
    let mut page = Page {
        root: &schema,
        text: HEAD.to_owned(),
    };
    // Writing to a string cannot fail.
    let _ = page.write();
    page.text
}

struct Page<'a> {
    root: &'a Value,
    text: String,
}

impl<'a> Page<'a> {
    fn write(&mut self) -> std::fmt::Result {
        let properties = sorted(&self.root["properties"]);
        let (tables, plain): (Vec<_>, Vec<_>) = properties
            .into_iter()
            .partition(|(_, schema)| self.table(schema).is_some());
        writeln!(self.text, "\n## Top of the file\n")?;
        self.rows(&plain, &self.root["required"])?;
        for (name, schema) in tables {
            let Some((heading, definition)) = self.table(schema) else {
                continue;
            };
            writeln!(
                self.text,
                "\n## `{}`\n\n{}",
                heading.replace("KEY", name),
                description(schema)
            )?;
            self.section(definition)?;
        }
        self.words()?;
        self.metrics()?;
        self.codes()
    }

    /// How a property is headed in TOML and the definition of its table, when it is one or a list or map of such.
    fn table(&self, schema: &'a Value) -> Option<(&'static str, &'a Value)> {
        let inner = [
            ("[KEY]", schema),
            ("[KEY]", &schema["anyOf"][0]),
            ("[[KEY]]", &schema["items"]),
            ("[KEY.NAME]", &schema["additionalProperties"]),
        ];
        inner
            .into_iter()
            .find_map(|(heading, schema)| Some((heading, self.definition(schema)?)))
    }

    fn definition(&self, schema: &'a Value) -> Option<&'a Value> {
        let name = schema["$ref"].as_str()?.strip_prefix("#/$defs/")?;
        Some(&self.root["$defs"][name]).filter(|definition| definition["type"] == "object")
    }

    fn section(&mut self, definition: &'a Value) -> std::fmt::Result {
        let properties = sorted(&definition["properties"]);
        writeln!(self.text)?;
        self.rows(&properties, &definition["required"])?;
        for (name, schema) in properties {
            if let Some(inner) = self.definition(&schema["items"]) {
                writeln!(self.text, "\nEach `{name}`: {}\n", description(inner))?;
                self.rows(&sorted(&inner["properties"]), &inner["required"])?;
            }
        }
        let rules = &definition["additionalProperties"]["$ref"];
        match rules.as_str().and_then(|rules| rules.strip_prefix("#/$defs/")) {
            Some(name) => self.kinds(&self.root["$defs"][name]),
            None => Ok(()),
        }
    }

    /// The variants of a table told apart by `kind`.
    fn kinds(&mut self, definition: &'a Value) -> std::fmt::Result {
        for variant in definition["oneOf"].as_array().into_iter().flatten() {
            let kind = variant["properties"]["kind"]["const"].as_str().unwrap_or_default();
            writeln!(
                self.text,
                "\n### `NAME = {{ kind = \"{kind}\", ... }}`\n\n{}\n",
                description(variant)
            )?;
            let mut properties = sorted(&variant["properties"]);
            properties.retain(|(name, _)| *name != "kind");
            self.rows(&properties, &variant["required"])?;
        }
        Ok(())
    }

    fn rows(&mut self, properties: &[(&'a str, &'a Value)], required: &Value) -> std::fmt::Result {
        writeln!(self.text, "| key | type | default | meaning |\n|---|---|---|---|")?;
        for (name, schema) in properties {
            let is_required = required
                .as_array()
                .is_some_and(|names| names.iter().any(|required| required == name));
            let default = match &schema["default"] {
                _ if is_required => "required".to_owned(),
                Value::Null => "none".to_owned(),
                value => format!("`{value}`"),
            };
            writeln!(
                self.text,
                "| `{name}` | {} | {default} | {} |",
                self.kind_of(schema),
                description(schema)
            )?;
        }
        Ok(())
    }

    /// The type of a value in words; words of a list are linked to where they are explained.
    fn kind_of(&self, schema: &Value) -> String {
        if let Some(name) = schema["$ref"]
            .as_str()
            .and_then(|reference| reference.strip_prefix("#/$defs/"))
        {
            let definition = &self.root["$defs"][name];
            return match definition["oneOf"][0]["const"].is_string() {
                true => format!("[{name}](#{})", name.to_lowercase()),
                false if definition["type"] == "object" => "table".to_owned(),
                false => self.kind_of(definition),
            };
        }
        let branches = schema["anyOf"]
            .as_array()
            .or(schema["oneOf"].as_array())
            .into_iter()
            .flatten();
        let branches: Vec<String> = branches
            .filter(|branch| branch["type"] != "null")
            .map(|branch| self.kind_of(branch))
            .collect();
        if !branches.is_empty() {
            return branches.join(" or ");
        }
        let kind = match &schema["type"] {
            Value::Array(kinds) => kinds.iter().find(|kind| **kind != "null").unwrap_or(&Value::Null),
            kind => kind,
        };
        let kind = schema["format"]
            .as_str()
            .and_then(of_format)
            .or(kind.as_str())
            .unwrap_or("value");
        match kind {
            "array" => format!("list of {}", self.element(schema)),
            "object" if schema["additionalProperties"].is_object() => {
                format!("table of {}", self.kind_of(&schema["additionalProperties"]))
            }
            "object" => {
                let fields = sorted(&schema["properties"]).into_iter().rev();
                let fields: Vec<String> = fields
                    .map(|(name, schema)| format!("{name} = {}", self.kind_of(schema)))
                    .collect();
                format!("{{ {} }}", fields.join(", "))
            }
            kind => kind.to_owned(),
        }
    }

    fn element(&self, schema: &Value) -> String {
        match schema["prefixItems"].as_array() {
            Some(items) => {
                let items: Vec<String> = items.iter().map(|item| self.kind_of(item)).collect();
                format!("[{}]", items.join(", "))
            }
            None => self.kind_of(&schema["items"]),
        }
    }

    /// All types whose values are words of a list.
    fn words(&mut self) -> std::fmt::Result {
        let kinds = schemars::schema_for!(TransactionKind).to_value();
        writeln!(self.text, "\n## Words")?;
        self.word_table("Keys of `mix`", &kinds)?;
        for (name, definition) in sorted(&self.root["$defs"]) {
            if definition["oneOf"][0]["const"].is_string() {
                self.word_table(name, definition)?;
            }
        }
        Ok(())
    }

    fn word_table(&mut self, name: &str, definition: &Value) -> std::fmt::Result {
        writeln!(
            self.text,
            "\n### {name}\n\n{}\n\n| word | meaning |\n|---|---|",
            description(definition)
        )?;
        for word in definition["oneOf"].as_array().into_iter().flatten() {
            writeln!(
                self.text,
                "| `{}` | {} |",
                word["const"].as_str().unwrap_or_default(),
                description(word)
            )?;
        }
        Ok(())
    }

    fn metrics(&mut self) -> std::fmt::Result {
        writeln!(
            self.text,
            "\n## Metrics for `[slo]`\n\n| metric | bound | meaning |\n|---|---|---|"
        )?;
        for metric in Metric::ALL {
            let bound = match metric.unit() {
                Unit::Invariant => "`always`",
                Unit::Milliseconds => "a duration: `< 900ms`",
                Unit::Fraction => "a fraction: `>= 98%`",
                Unit::PerSecond => "transactions per second: `>= 1000`",
                Unit::Bytes => "a size: `<= 64MiB`",
                Unit::CpuSeconds => "CPU seconds: `< 0.5s`",
            };
            writeln!(self.text, "| `{metric}` | {bound} | {} |", metric.meaning())?;
        }
        writeln!(
            self.text,
            "\nThe bounds of `stall`, latencies and goodput may end in `outside faults` or `during faults`: then only that time counts."
        )
    }

    fn codes(&mut self) -> std::fmt::Result {
        writeln!(self.text, "\n## Problems\n\n| code | meaning |\n|---|---|")?;
        for code in Code::ALL {
            writeln!(self.text, "| `{code}` | {} |", code.meaning())?;
        }
        Ok(())
    }
}

/// The members of an object in the order of their names, whichever order the map has.
fn sorted(object: &Value) -> Vec<(&str, &Value)> {
    let members: BTreeMap<&str, &Value> = object
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.as_str(), value))
        .collect();
    members.into_iter().collect()
}

fn description(schema: &Value) -> String {
    schema["description"]
        .as_str()
        .unwrap_or_default()
        .replace('\n', " ")
        .replace('|', "\\|")
}

/// What a format is called where it says more than the type.
fn of_format(format: &str) -> Option<&'static str> {
    Some(match format {
        "duration" => "duration",
        "size" => "size",
        "bit-rate" => "bit rate",
        "ratio" => "fraction",
        "portion" => "fraction or number",
        "ipv4-network" => "IPv4 range",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn path(name: &str) -> PathBuf {
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../docs/reference")).join(name)
    }

    #[test]
    fn the_page_is_up_to_date() {
        let written = std::fs::read_to_string(path("scenario.md")).unwrap();
        assert!(
            written == markdown(),
            "run `cargo test -p regatta-plan -- --ignored rewrite`"
        );
    }

    #[test]
    fn the_schema_is_up_to_date() {
        let written = std::fs::read_to_string(path("scenario.schema.json")).unwrap();
        let written: Value = serde_json::from_str(&written).unwrap();
        assert!(
            written == json_schema(),
            "run `cargo test -p regatta-plan -- --ignored rewrite`"
        );
    }

    #[test]
    #[ignore = "writes files: run it after a change of the types"]
    #[expect(clippy::disallowed_methods, reason = "a test that keeps generated files in step")]
    fn rewrite() {
        std::fs::create_dir_all(path("")).unwrap();
        std::fs::write(path("scenario.md"), markdown()).unwrap();
        let schema = serde_json::to_string_pretty(&json_schema()).unwrap();
        std::fs::write(path("scenario.schema.json"), schema + "\n").unwrap();
    }

    #[test]
    fn every_key_has_a_meaning() {
        for line in markdown().lines().filter(|line| line.starts_with("| `")) {
            let cells: Vec<&str> = line.trim_matches('|').split(" | ").collect();
            assert!(cells.iter().all(|cell| !cell.trim().is_empty()), "{line}");
        }
    }

    #[test]
    fn the_least_scenario_runs() {
        let text = HEAD
            .split("```toml")
            .nth(1)
            .and_then(|rest| rest.split("```").next())
            .unwrap();
        let source = crate::Source::read("least.toml", text, &[]);
        let resolved = crate::resolve(&source, &crate::Capabilities::default()).unwrap();
        assert_eq!(resolved.plan.nodes.len(), 4);
        assert!(resolved.warnings.is_empty(), "{}", resolved.warnings);
    }
}
