//! A scenario file with overrides: from text to a typed scenario, with the place of every key.

mod inventory;
mod overrides;
mod shape;
mod trace;

use crate::{
    diagnostic::{Code, Diagnostic, Diagnostics, Place, Problem},
    scenario::{ProviderKind, Scenario},
};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

/// Largest scenario file in bytes.
pub const SCENARIO_BYTES_MAX: usize = 1024 * 1024;

/// Where a key of the effective document comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Origin {
    /// The file, or an inventory: spans of the key's name, when it has one, and of its value.
    File {
        /// 0 for the scenario, otherwise the position of an inventory plus one.
        document: usize,
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
    /// The document without overrides, and with the hosts of inventories.
    document: Option<Value>,
    /// Names and texts of inventories.
    inventories: Vec<(String, String)>,
    /// Keys of the provider whose hosts are in the document.
    included: BTreeSet<&'static str>,
    /// Names and texts of other files.
    files: Vec<(String, String)>,
    scenario: Option<Scenario>,
    /// Problems of reading texts.
    unread: Vec<Problem>,
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
            document: None,
            inventories: Vec::new(),
            included: BTreeSet::new(),
            files: Vec::new(),
            scenario: None,
            unread: Vec::new(),
            problems: Vec::new(),
        };
        source.document = source.parse();
        source.interpret();
        source
    }

    /// Files that the scenario names, each once.
    #[must_use]
    pub fn files(&self) -> BTreeSet<String> {
        let churn = self.scenario.iter().flat_map(|scenario| &scenario.churn);
        let inventory = self.scenario.iter().filter(|scenario| is_fleet(scenario));
        let inventory = inventory.filter_map(|scenario| scenario.provider.inventory.clone());
        churn.filter_map(|churn| churn.trace.clone()).chain(inventory).collect()
    }

    /// Puts the content of a file of [`Source::files`] into the scenario. What is wrong with it is reported with
    /// everything else.
    pub fn include(&mut self, file: &str, text: &str) {
        self.files.push((file.to_owned(), text.to_owned()));
        let inventory = self
            .scenario
            .as_ref()
            .and_then(|scenario| scenario.provider.inventory.as_deref());
        if inventory == Some(file) {
            // The scenario is made anew, with all files.
            self.add_inventory(inventory::FILE, file, text);
        } else {
            self.include_trace(file, text);
        }
    }

    /// The program with its arguments that prints more hosts, when the scenario names one that was not run yet.
    #[must_use]
    pub fn inventory_command(&self) -> Option<&[String]> {
        let scenario = self.scenario.as_ref().filter(|scenario| is_fleet(scenario))?;
        scenario.provider.inventory_command.as_deref()
    }

    /// Puts what the command of [`Source::inventory_command`] printed into the scenario. What is wrong with it is reported
    /// with everything else.
    pub fn include_command(&mut self, output: &str) {
        let name = self.inventory_command().unwrap_or_default().join(" ");
        self.add_inventory(inventory::COMMAND, &name, output);
    }

    fn include_trace(&mut self, file: &str, text: &str) {
        let Some(scenario) = &mut self.scenario else { return };
        for (index, churn) in scenario.churn.iter_mut().enumerate() {
            if churn.trace.as_deref() != Some(file) {
                continue;
            }
            churn.trace = None;
            match trace::rows(text) {
                Ok(rows) => churn.row.extend(rows),
                Err(error) => {
                    let path = format!("churn.{index}.trace");
                    let problem = Problem::error(Code::BadChurn, path, format!("`{file}`: {error}"));
                    self.problems.push(problem.help("write lines such as full-0,5s,9s"));
                }
            }
        }
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
        diagnostics.sort(&self.file);
        diagnostics
    }

    fn parse(&mut self) -> Option<Value> {
        if self.text.len() > SCENARIO_BYTES_MAX {
            let message = format!("{} bytes exceed the limit of {SCENARIO_BYTES_MAX}", self.text.len());
            self.unread.push(Problem::error(Code::Syntax, "", message));
            return None;
        }
        match toml_edit::Document::parse(self.text.as_str()) {
            Ok(document) => {
                let mut origins = BTreeMap::new();
                let value = Reader {
                    document: 0,
                    origins: &mut origins,
                }
                .item(document.as_item(), "");
                self.origins = origins;
                Some(value)
            }
            Err(error) => {
                let span = error.span().unwrap_or(0..0);
                let origin = Origin::File {
                    document: 0,
                    key: None,
                    value: span,
                };
                self.origins.insert(String::new(), origin);
                let message = format!("not TOML: {}", error.message().trim());
                let help = "compare the line with an example of docs/reference/scenario.md";
                self.unread.push(Problem::error(Code::Syntax, "", message).help(help));
                None
            }
        }
    }

    /// Makes the scenario of the document as it is by now.
    fn interpret(&mut self) {
        self.problems = self.unread.clone();
        let Some(mut document) = self.document.clone() else {
            return;
        };
        for position in 0..self.overrides.len() {
            self.apply(position, &mut document);
        }
        let (problems, readable) = shape::check(&mut document);
        self.problems.extend(problems);
        if !readable {
            return;
        }
        match Scenario::deserialize(&document) {
            Ok(scenario) => self.scenario = Some(self.without_included(scenario)),
            // The shape check words everything that it knows better; this is the net below it.
            Err(error) if self.problems.is_empty() => {
                self.problems
                    .push(Problem::error(Code::WrongType, "", error.to_string()));
            }
            Err(_) => {}
        }
    }

    /// The scenario without the names of inventories whose hosts it has.
    fn without_included(&self, mut scenario: Scenario) -> Scenario {
        if self.included.contains(inventory::FILE) {
            scenario.provider.inventory = None;
        }
        if self.included.contains(inventory::COMMAND) {
            scenario.provider.inventory_command = None;
        }
        scenario
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
        // An override may have made the whole table that `path` is.
        let below = format!("{path}.");
        let made = self
            .origins
            .range(below.clone()..)
            .next()
            .filter(|(key, _)| key.starts_with(&below));
        if let (None, Some((_, Origin::Override(position)))) = (self.origins.get(path), made) {
            return Place::Override {
                text: self.overrides[*position].clone(),
            };
        }
        let mut path = path;
        let mut exact = true;
        loop {
            match self.origins.get(path) {
                Some(Origin::Override(position)) => {
                    return Place::Override {
                        text: self.overrides[*position].clone(),
                    };
                }
                Some(Origin::File { document, key, value }) => {
                    let span = if at_key || !exact {
                        key.as_ref().unwrap_or(value)
                    } else {
                        value
                    };
                    return self.file_place(*document, span.clone());
                }
                None => {}
            }
            exact = false;
            match path.rfind('.') {
                Some(dot) => path = &path[..dot],
                None if path.is_empty() => return self.file_place(0, 0..0),
                None => path = "",
            }
        }
    }

    fn file_place(&self, document: usize, span: Range<usize>) -> Place {
        let inventory = document
            .checked_sub(1)
            .and_then(|position| self.inventories.get(position));
        let (file, text) = match inventory {
            Some((name, text)) => (name, text),
            None => (&self.file, &self.text),
        };
        let before = text.get(..span.start).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        Place::File {
            file: file.clone(),
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

/// Whether inventories are read: other providers have no use for hosts.
fn is_fleet(scenario: &Scenario) -> bool {
    scenario.provider.kind == ProviderKind::Ssh
}

/// Turns TOML into values and remembers where each of them stands.
struct Reader<'a> {
    document: usize,
    origins: &'a mut BTreeMap<String, Origin>,
}

impl Reader<'_> {
    fn item(&mut self, item: &toml_edit::Item, path: &str) -> Value {
        match item {
            toml_edit::Item::None => Value::Null,
            toml_edit::Item::Value(value) => self.value(value, path),
            toml_edit::Item::Table(table) => self.table(table, path),
            toml_edit::Item::ArrayOfTables(tables) => {
                let elements = tables.iter().enumerate().map(|(index, table)| {
                    let path = join(path, &index.to_string());
                    self.record(&path, None, table.span());
                    self.table(table, &path)
                });
                Value::Array(elements.collect())
            }
        }
    }

    fn table(&mut self, table: &dyn toml_edit::TableLike, path: &str) -> Value {
        let mut object = Map::new();
        for (name, item) in table.iter() {
            let path = join(path, name);
            let key = table.get_key_value(name).and_then(|(key, _)| key.span());
            self.record(&path, key, item.span());
            object.insert(name.to_owned(), self.item(item, &path));
        }
        Value::Object(object)
    }

    fn value(&mut self, value: &toml_edit::Value, path: &str) -> Value {
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
                    self.record(&path, None, value.span());
                    self.value(value, &path)
                });
                Value::Array(elements.collect())
            }
            toml_edit::Value::InlineTable(table) => self.table(table, path),
        }
    }

    fn record(&mut self, path: &str, key: Option<Range<usize>>, value: Option<Range<usize>>) {
        if let Some(value) = value.or_else(|| key.clone()) {
            let document = self.document;
            self.origins
                .insert(path.to_owned(), Origin::File { document, key, value });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"# größer
name = "x"
net.p2p_port = 7000
[[group]]
name = "val"
count = 4
[[group]]
name = "full"
regions = { eu = 1, us = [1, 22] }
[peering]
"mesh" = { kind = "ring", of = "\u00fc", k = 3 }
edges = [["a", "b"], ["c", "d"]]
"#;

    fn at(path: &str, at_key: bool, overrides: &[&str]) -> String {
        let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
        let source = Source::read("f.toml", FILE, &overrides);
        match source.place(path, at_key) {
            Place::File { line, column, span, .. } => format!("{line}:{column} {}", &FILE[span]),
            Place::Override { text } => format!("--set {text}"),
        }
    }

    #[test]
    fn every_key_and_value_has_its_place() {
        for (path, key, value) in [
            ("name", "2:1 name", "2:8 \"x\""),
            ("net.p2p_port", "3:5 p2p_port", "3:16 7000"),
            ("group.0", "4:1 [[group]]", "4:1 [[group]]"),
            ("group.0.count", "6:1 count", "6:9 4"),
            ("group.1.name", "8:1 name", "8:8 \"full\""),
            ("group.1.regions.us.1", "9:30 22", "9:30 22"),
            (
                "peering.mesh",
                "11:1 \"mesh\"",
                "11:10 { kind = \"ring\", of = \"\\u00fc\", k = 3 }",
            ),
            ("peering.mesh.k", "11:42 k", "11:46 3"),
            ("peering.edges.1.0", "12:23 \"c\"", "12:23 \"c\""),
        ] {
            assert_eq!(at(path, true, &[]), key, "{path}");
            assert_eq!(at(path, false, &[]), value, "{path}");
        }
    }

    #[test]
    fn what_is_not_written_is_placed_at_what_it_would_be_part_of() {
        assert_eq!(at("group.1.count", false, &[]), "7:1 [[group]]");
        assert_eq!(at("peering.mesh.of.x", false, &[]), "11:27 of");
        assert_eq!(at("phases.measure", false, &[]), "1:1 ");
    }

    #[test]
    fn overrides_take_the_place_of_what_they_replace() {
        let set = ["group.full.regions={eu=2}", "phases.measure=3s", "group.0.count=7"];
        assert_eq!(at("group.1.regions.eu", false, &set), "--set group.full.regions={eu=2}");
        assert_eq!(
            at("group.1.regions.us.1", false, &set),
            "--set group.full.regions={eu=2}"
        );
        assert_eq!(at("phases.measure", false, &set), "--set phases.measure=3s");
        assert_eq!(at("phases", false, &set), "--set phases.measure=3s");
        assert_eq!(at("group.0.count", true, &set), "--set group.0.count=7");
        assert_eq!(at("group.0.name", false, &set), "5:8 \"val\"");
        assert_eq!(at("seed", false, &["seed=1", "seed=2"]), "--set seed=2");
    }

    #[test]
    fn columns_count_characters_and_not_bytes() {
        let source = Source::read("f.toml", "question = \"größer\" x", &[]);
        let Place::File { line, column, .. } = source.locate(source.problems().to_vec()).0.remove(0).place else {
            panic!("a syntax error is in the file");
        };
        assert_eq!((line, column), (1, 21));
    }

    #[test]
    fn a_file_beyond_the_limit_is_refused_unread() {
        let source = Source::read("f.toml", &"#".repeat(SCENARIO_BYTES_MAX + 1), &[]);
        assert!(source.scenario().is_none());
        assert_eq!(source.problems()[0].code, Code::Syntax);
    }

    #[test]
    fn a_sound_file_gives_its_scenario() {
        let text = "name = \"x\"\nseed = 3\n[phases]\nmeasure = \"9s\"\n";
        let source = Source::read("f.toml", text, &["seed=4".to_owned()]);
        let scenario = source.scenario().unwrap();
        assert_eq!((scenario.seed, scenario.phases.measure.millis()), (4, 9000));
        assert!(source.problems().is_empty());
    }
}
