//! The command line as a whole: it parses what its examples say, and its reference page is up to date.

use super::Arguments;
use crate::http::reference::check_generated;
use clap::{Command, CommandFactory, Parser, error::ErrorKind};
use std::fmt::Write;

/// Columns of the page; a terminal of another width wraps in other places.
const WIDTH: usize = 100;

#[test]
fn the_definition_is_consistent() {
    Arguments::command().debug_assert();
}

/// All commands under `command`, with their full names.
fn commands(command: &Command, name: &str, found: &mut Vec<(String, Command)>) {
    found.push((name.to_owned(), command.clone()));
    for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
        commands(verb, &format!("{name} {}", verb.get_name()), found);
    }
}

fn all_commands() -> Vec<(String, Command)> {
    let mut root = Arguments::command().term_width(WIDTH);
    root.build();
    let mut found = Vec::new();
    commands(&root, "regatta-node", &mut found);
    found
}

#[test]
fn the_reference_page_is_the_help_of_every_command() {
    let mut text = "# regatta-node\n\nThe help of every command, as the program prints it.\n".to_owned();
    for (name, mut command) in all_commands() {
        let help = command.render_long_help().to_string();
        write!(text, "\n## {name}\n\n```text\n{}\n```\n", help.trim_end()).unwrap();
    }
    check_generated("regatta-node.md", &text);
}

#[test]
fn every_example_in_the_help_parses() {
    let mut examples = 0;
    for (_, mut command) in all_commands() {
        let help = command.render_long_help().to_string();
        for line in help.lines().filter_map(|line| line.strip_prefix("  regatta-node ")) {
            let arguments = ["regatta-node"].into_iter().chain(line.split(' '));
            if let Err(error) = Arguments::try_parse_from(arguments) {
                panic!("{line}: {error}");
            }
            examples += 1;
        }
    }
    assert!(examples >= 10, "{examples}");
}

#[test]
fn every_verb_has_an_example_and_whatever_prints_data_knows_json() {
    for (name, command) in all_commands() {
        let verb = name.split(' ').nth(1);
        let depth = name.split(' ').count();
        if depth == 2 {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example"), "{name}");
        }
        let is_leaf = command.get_subcommands().next().is_none();
        if is_leaf && verb != Some("run") && verb != Some("help") {
            assert!(
                command.get_arguments().any(|argument| argument.get_id() == "json"),
                "{name}"
            );
        }
    }
}

#[test]
fn wrong_arguments_are_refused() {
    let cases: [(&[&str], ErrorKind); 7] = [
        (&[], ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand),
        (&["status"], ErrorKind::MissingRequiredArgument),
        (&["status", "--to", "nowhere"], ErrorKind::ValueValidation),
        (
            &["query", "account", "00", "--to", "127.0.0.1:1"],
            ErrorKind::ValueValidation,
        ),
        (
            &["send", "blob", "x", "--to", "127.0.0.1:1", "--count", "0"],
            ErrorKind::ValueValidation,
        ),
        (
            &["run", "--config", "f", "--log-format", "xml"],
            ErrorKind::InvalidValue,
        ),
        (
            &["send", "opaque", "x", "--to", "127.0.0.1:1"],
            ErrorKind::MissingRequiredArgument,
        ),
    ];
    for (arguments, kind) in cases {
        let line = ["regatta-node"].iter().chain(arguments);
        assert_eq!(
            Arguments::try_parse_from(line).unwrap_err().kind(),
            kind,
            "{arguments:?}"
        );
    }
}
