//! Rules for the pure folders: the bans exist, each has a reason, and nobody lifts one in passing.

use super::finding::{File, Finding};
use toml::{Table, Value};

/// What every pure folder bans, by path.
const BANNED: [&str; 14] = [
    "std::collections::HashMap",
    "std::collections::HashSet",
    "std::env::var",
    "std::fs::File",
    "std::fs::read",
    "std::fs::write",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::UdpSocket",
    "std::thread::sleep",
    "std::thread::spawn",
    "std::time::Instant",
    "std::time::Instant::now",
    "std::time::SystemTime",
];
/// Lists of bans in a `clippy.toml`.
const LISTS: [&str; 2] = ["disallowed-types", "disallowed-methods"];

/// The bans of a pure folder are complete and each says why.
pub fn bans(file: &File) -> Vec<Finding> {
    let table: Table = file.text.parse().unwrap_or_default();
    let entries = LISTS.iter().filter_map(|list| table.get(*list)?.as_array()).flatten();
    let entries: Vec<&Value> = entries.collect();
    let text = |entry: &Value, key: &str| {
        let value = entry.get(key).and_then(Value::as_str);
        value.unwrap_or_default().to_owned()
    };
    let paths: Vec<String> = entries.iter().map(|entry| text(entry, "path")).collect();
    let missing = BANNED.iter().filter(|path| !paths.iter().any(|ban| ban == *path));
    let mut found: Vec<Finding> = missing
        .map(|path| file.finding(1, format!("does not ban `{path}`")))
        .collect();
    for entry in entries.iter().filter(|entry| text(entry, "reason").len() < 10) {
        found.push(file.finding(1, format!("bans `{}` without a reason", text(entry, "path"))));
    }
    found
}

/// The nearest `clippy.toml` counts and hides those above it, so none stands below a pure folder's own.
pub fn hidden_bans(paths: &[&str]) -> Vec<Finding> {
    let hides = |path: &&&str| {
        let below = path.split_once("/pure/").map(|(_, below)| below);
        below.is_some_and(|below| below.contains('/') && below.ends_with("clippy.toml"))
    };
    let finding = |path: &&str| {
        File {
            path: (*path).to_owned(),
            text: String::new(),
        }
        .finding(1, "hides the bans")
    };
    paths.iter().filter(hides).map(finding).collect()
}

/// Pure code keeps the bans; a test that does not says why.
pub fn lifted_bans(file: &File) -> Vec<Finding> {
    let lines = file.text.lines().enumerate();
    lines
        .filter(|(_, line)| line.contains("clippy::disallowed_") && !line.contains("reason = \""))
        .map(|(index, _)| file.finding(index + 1, "lifts a ban without a reason"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete() -> String {
        let entry = |path: &&str| format!("{{ path = \"{path}\", reason = \"is an input\" }},");
        format!(
            "disallowed-methods = [{}]\n",
            BANNED.iter().map(entry).collect::<String>()
        )
    }

    #[test]
    fn missing_and_unexplained_bans_are_found() {
        let file = |text: &str| File::new("node/pure/clippy.toml", text);
        assert_eq!(bans(&file(&complete())), []);
        assert_eq!(bans(&file("")).len(), BANNED.len());
        assert_eq!(
            bans(&file(&complete().replace("std::env::var", "std::env::vars"))).len(),
            1
        );
        assert_eq!(bans(&file(&complete().replacen("is an input", "", 1))).len(), 1);
    }

    #[test]
    fn hidden_and_lifted_bans_are_found() {
        assert_eq!(hidden_bans(&["clippy.toml", "node/pure/clippy.toml"]), []);
        assert_eq!(
            hidden_bans(&["node/pure/base/clippy.toml", "node/pure/base/.clippy.toml"]).len(),
            2
        );
        let lifted = File::new("a.rs", "#[allow(clippy::disallowed_types)]\nfn a() {}\n");
        assert_eq!(lifted_bans(&lifted).len(), 1);
        let explained = File::new("a.rs", "#[expect(clippy::disallowed_types, reason = \"a tool\")]\n");
        assert_eq!(lifted_bans(&explained), []);
    }
}
