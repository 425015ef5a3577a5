//! YAML as people expect to read it: the little of it that manifests need, in the order in which it was built.
//!
//! Written here because the usual crate is no longer kept up, and because the order of keys and the form of texts belong to
//! what exports promise. Every text that could be read as something else is quoted as JSON quotes it, which YAML reads alike.

use std::fmt::Write;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Yaml {
    /// A text on one line.
    Text(String),
    /// A text of several lines, each of them ended.
    Block(String),
    /// A whole number.
    Number(u64),
    /// True or false.
    Flag(bool),
    /// Values one after the other.
    List(Vec<Yaml>),
    /// Values by name, in this order.
    Map(Vec<(String, Yaml)>),
}

/// A text.
pub(crate) fn text(text: impl Into<String>) -> Yaml {
    Yaml::Text(text.into())
}

/// Values by name.
pub(crate) fn map<const N: usize>(entries: [(&str, Yaml); N]) -> Yaml {
    Yaml::Map(entries.map(|(key, value)| (key.to_owned(), value)).into())
}

/// Texts one after the other.
pub(crate) fn texts<T: Into<String>>(all: impl IntoIterator<Item = T>) -> Yaml {
    Yaml::List(all.into_iter().map(text).collect())
}

/// Words that YAML, of one version or another, takes for something else than a text.
const TAKEN: [&str; 8] = ["true", "false", "yes", "no", "on", "off", "null", "y"];

impl Yaml {
    /// A document with a comment of `heading` lines at its top.
    pub(crate) fn document(&self, heading: &str) -> String {
        let mut out = String::new();
        for line in heading.lines() {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{}", format!("# {line}").trim_end());
        }
        self.body(&mut out, 0);
        out
    }

    /// Several documents in one file.
    pub(crate) fn documents(all: &[Self], heading: &str) -> String {
        let mut out = String::new();
        for (position, one) in all.iter().enumerate() {
            out += if position == 0 { "" } else { "---\n" };
            out += &one.document(if position == 0 { heading } else { "" });
        }
        out
    }

    /// Writes the value as what stands on lines of its own.
    fn body(&self, out: &mut String, indent: usize) {
        match self {
            Self::Map(entries) if !entries.is_empty() => {
                for (key, value) in entries {
                    pad(out, indent);
                    *out += &scalar(key);
                    out.push(':');
                    value.after_key(out, indent);
                }
            }
            Self::List(items) if !items.is_empty() => {
                for item in items {
                    pad(out, indent);
                    item.item(out, indent);
                }
            }
            other => {
                pad(out, indent);
                *out += &other.inline();
                out.push('\n');
            }
        }
    }

    /// Writes the value behind `key:`.
    fn after_key(&self, out: &mut String, indent: usize) {
        match self {
            Self::Map(entries) if !entries.is_empty() => {
                out.push('\n');
                self.body(out, indent + 2);
            }
            Self::List(items) if !items.is_empty() => {
                out.push('\n');
                self.body(out, indent + 2);
            }
            Self::Block(lines) if is_block(lines) => {
                *out += " |\n";
                for line in lines.lines() {
                    if !line.is_empty() {
                        pad(out, indent + 2);
                    }
                    *out += line;
                    out.push('\n');
                }
            }
            other => {
                out.push(' ');
                *out += &other.inline();
                out.push('\n');
            }
        }
    }

    /// Writes the value as an item of a list, whose first line is already indented.
    fn item(&self, out: &mut String, indent: usize) {
        *out += "- ";
        match self {
            Self::Map(entries) if !entries.is_empty() => {
                let mut inner = String::new();
                self.body(&mut inner, indent + 2);
                *out += inner.trim_start();
            }
            Self::List(items) if !items.is_empty() => {
                let mut inner = String::new();
                self.body(&mut inner, indent + 2);
                *out += inner.trim_start();
            }
            other => {
                *out += &other.inline();
                out.push('\n');
            }
        }
    }

    /// The value on one line.
    fn inline(&self) -> String {
        match self {
            Self::Text(text) => scalar(text),
            Self::Block(text) => quoted(text),
            Self::Number(number) => number.to_string(),
            Self::Flag(flag) => flag.to_string(),
            Self::List(items) => {
                let items: Vec<String> = items.iter().map(Self::inline).collect();
                format!("[{}]", items.join(", "))
            }
            Self::Map(entries) => {
                let entries: Vec<String> = entries
                    .iter()
                    .map(|(key, value)| format!("{}: {}", scalar(key), value.inline()))
                    .collect();
                format!("{{{}}}", entries.join(", "))
            }
        }
    }
}

fn pad(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

/// A text as it is where nothing can take it for something else, otherwise quoted.
fn scalar(text: &str) -> String {
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "_./-".contains(c));
    let taken = TAKEN.iter().any(|word| text.eq_ignore_ascii_case(word)) || text.eq_ignore_ascii_case("n");
    if begins && plain && !taken {
        text.to_owned()
    } else {
        quoted(text)
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out += "\\\"",
            '\\' => out += "\\\\",
            '\n' => out += "\\n",
            '\t' => out += "\\t",
            // Printable in the sense of YAML: everything else by number.
            ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}' => out.push(c),
            c if u32::from(c) > 0xffff => {
                let _ = write!(out, "\\U{:08x}", u32::from(c));
            }
            c => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
        }
    }
    out.push('"');
    out
}

/// Whether lines can stand as they are below a `|`.
fn is_block(lines: &str) -> bool {
    let plain = |c: char| c == '\n' || (' '..='~').contains(&c);
    let ended = lines.ends_with('\n') && !lines.ends_with("\n\n");
    ended && !lines.starts_with([' ', '\n']) && lines.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_look_as_people_write_them() {
        let value = map([
            ("name", text("a-b.c/d")),
            ("port", text("7000")),
            ("count", Yaml::Number(3)),
            ("on", Yaml::Flag(true)),
            ("no", text("no")),
            ("none", Yaml::List(Vec::new())),
            ("empty", Yaml::Map(Vec::new())),
            ("args", texts(["run", "--new", "x: y"])),
            (
                "list",
                Yaml::List(vec![
                    map([("a", text("1")), ("b", map([("c", text("d"))]))]),
                    texts(["x", "y"]),
                    map([("lines", Yaml::Block("one\n\n  two\n".to_owned()))]),
                ]),
            ),
            ("block", Yaml::Block("one\n\n  two\n".to_owned())),
            ("unended", Yaml::Block("one".to_owned())),
        ]);
        insta::assert_snapshot!(Yaml::documents(&[value, text("x")], "What it is.\n\nMore."), @r#"
        # What it is.
        #
        # More.
        name: a-b.c/d
        port: "7000"
        count: 3
        "on": true
        "no": "no"
        none: []
        empty: {}
        args:
          - run
          - "--new"
          - "x: y"
        list:
          - a: "1"
            b:
              c: d
          - - x
            - "y"
          - lines: |
              one

                two
        block: |
          one

            two
        unended: "one"
        ---
        x
        "#);
    }

    #[test]
    fn what_could_be_taken_for_something_else_is_quoted() {
        for plain in ["a", "/x/y", "Node", "a1.b_c-d"] {
            assert_eq!(scalar(plain), plain);
        }
        for other in [
            "",
            "1",
            "1.5",
            "-",
            "~",
            "TRUE",
            "Null",
            "n",
            "a b",
            "a:",
            "#x",
            "ä",
            ".5",
            "0x1f",
            "2020-01-01",
        ] {
            assert!(scalar(other).starts_with('"'), "{other}");
        }
        assert_eq!(
            quoted("a\"\\\n\u{1}\u{7f}ä\u{1f600}\u{feff}"),
            "\"a\\\"\\\\\\n\\u0001\\u007fä\\U0001f600\\ufeff\""
        );
    }
}
