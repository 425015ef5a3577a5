//! Rules for what is not code: scenarios, documents, snapshots, and words that belong to one machine.

use super::finding::{File, Finding};
use std::collections::BTreeSet;

/// Documents that are generated from types and must be there.
const GENERATED: [&str; 6] = [
    "docs/reference/control-interface.md",
    "docs/reference/metrics.md",
    "docs/reference/openapi.json",
    "docs/reference/regatta-node.md",
    "docs/reference/scenario.md",
    "docs/reference/scenario.schema.json",
];
/// Beginnings of paths that mean something on one machine only. In halves, so that this file passes its own rule.
const MACHINE: [&str; 5] = [
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
    concat!("C:\\", "Us", "ers"),
];

/// A scenario opens with the question that it answers.
pub fn scenario_question(file: &File) -> Vec<Finding> {
    let opening: Vec<&str> = file.text.lines().take_while(|line| line.starts_with('#')).collect();
    let asks = opening.first().is_some_and(|line| line.len() > 10) && opening.iter().any(|line| line.contains('?'));
    if asks {
        Vec::new()
    } else {
        vec![file.finding(1, "does not open with a question")]
    }
}

/// Nothing names a place that only one machine has.
pub fn machine_paths(file: &File) -> Vec<Finding> {
    let mut found = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        let named = MACHINE.iter().filter(|path| line.contains(**path));
        found.extend(named.map(|path| file.finding(index + 1, format!("names `{path}`, which one machine has"))));
    }
    found
}

/// Relative links of a document lead somewhere: to a file or folder of the workspace, and to a heading that is there.
pub fn links(file: &File, all: &[File], folders: &BTreeSet<String>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (line, target) in link_targets(&file.text) {
        if target.contains("://") || target.starts_with("mailto:") {
            continue;
        }
        let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
        let path = if path.is_empty() {
            file.path.clone()
        } else {
            resolve(&file.path, path)
        };
        let document = all.iter().find(|other| other.path == path);
        if document.is_none() && !folders.contains(path.trim_end_matches('/')) {
            found.push(file.finding(line, format!("links to `{target}`, which is not there")));
        } else if !anchor.is_empty() && !document.is_some_and(|document| headings(document).contains(anchor)) {
            found.push(file.finding(line, format!("links to `{target}`, which has no such heading")));
        }
    }
    found
}

/// Targets of inline links outside code blocks, with their lines.
fn link_targets(text: &str) -> Vec<(usize, String)> {
    let mut targets = Vec::new();
    let mut fenced = false;
    for (index, line) in text.lines().enumerate() {
        fenced ^= line.trim_start().starts_with("```");
        let starts = line.match_indices("](").filter(|_| !fenced);
        targets.extend(starts.filter_map(|(at, _)| {
            let rest = &line[at + 2..];
            Some((index + 1, rest[..rest.find(')')?].to_owned()))
        }));
    }
    targets
}

/// `relative` as seen from the folder of `from`.
fn resolve(from: &str, relative: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in relative.split('/') {
        match part {
            "." | "" => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Anchors of a document's headings, as browsers of repositories make them.
fn headings(document: &File) -> BTreeSet<String> {
    let lines = document.text.lines().filter(|line| line.starts_with('#'));
    let anchor = |line: &str| {
        let text = line.trim_start_matches('#').trim().to_lowercase();
        let kept = text
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    lines.map(anchor).collect()
}

/// Generated documents are kept with the source, so that they can be read without building.
pub fn generated(paths: &BTreeSet<&str>) -> Vec<Finding> {
    let missing = GENERATED.iter().filter(|path| !paths.contains(*path));
    let finding = |path: &&str| {
        File {
            path: (*path).to_owned(),
            text: String::new(),
        }
        .finding(1, "is missing")
    };
    missing.map(finding).collect()
}

/// A snapshot that was not reviewed is not kept.
pub fn unreviewed(paths: &BTreeSet<&str>) -> Vec<Finding> {
    let pending = paths
        .iter()
        .filter(|path| path.ends_with(".snap.new") || path.ends_with(".pending-snap"));
    let finding = |path: &&str| {
        File {
            path: (*path).to_owned(),
            text: String::new(),
        }
        .finding(1, "is not reviewed")
    };
    pending.map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_without_a_question_is_found() {
        let file = |text: &str| File::new("topologies/a.toml", text);
        assert_eq!(
            scenario_question(&file("# How fast is it on\n# this machine, and why?\nschema = 1\n")),
            []
        );
        for text in [
            "schema = 1\n# How fast is it on this machine?\n",
            "# This shows how fast it is.\n",
            "# Why?\n",
            "",
        ] {
            assert_eq!(scenario_question(&file(text)).len(), 1, "{text}");
        }
    }

    #[test]
    fn a_machine_path_is_found() {
        for path in MACHINE {
            let file = File::new("a.rs", &format!("//! A.\nlet a = \"{path}x\";\n"));
            assert_eq!(machine_paths(&file).len(), 1, "{path}");
            assert_eq!(machine_paths(&file)[0].line, 2);
        }
        assert_eq!(machine_paths(&File::new("a.rs", "/proc/self /tmp/x")), []);
    }

    #[test]
    fn broken_links_are_found() {
        let all = [
            File::new("docs/a.md", "# One thing: that, and\n"),
            File::new("README.md", ""),
        ];
        let folders = BTreeSet::from(["docs".to_owned()]);
        let check = |from: &str, text: &str| links(&File::new(from, text), &all, &folders).len();
        assert_eq!(
            check(
                "README.md",
                "[a](docs/a.md) [b](docs/) [c](https://x.y) [d](docs/a.md#one-thing-that-and)"
            ),
            0
        );
        assert_eq!(check("docs/a.md", "[a](../README.md)\n```\n[x](none)\n```\n"), 0);
        assert_eq!(check("README.md", "[a](docs/b.md)"), 1);
        assert_eq!(check("README.md", "[a](docs/a.md#two)"), 1);
        assert_eq!(check("docs/a.md", "[a](README.md)"), 1);
    }

    #[test]
    fn missing_documents_and_pending_snapshots_are_found() {
        let all = BTreeSet::from(GENERATED);
        assert_eq!(generated(&all), []);
        assert_eq!(generated(&BTreeSet::new()).len(), GENERATED.len());
        assert_eq!(unreviewed(&BTreeSet::from(["a/b.snap"])), []);
        assert_eq!(
            unreviewed(&BTreeSet::from(["a/b.snap.new", "a/c.pending-snap"])).len(),
            2
        );
    }
}
