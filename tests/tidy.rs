//! Rules that the source tree keeps. Each is a function over text with a test of its own that it bites.

#[cfg(test)]
mod tidy {
    pub mod finding;
    pub mod lock;
    pub mod manifests;
    pub mod purity;
    pub mod rust_files;
    pub mod source;
    pub mod texts;
    pub mod tree;
}

use regatta_tests::workspace_root;
use std::{collections::BTreeSet, sync::LazyLock};
use tidy::{
    finding::{File, Finding},
    lock,
    manifests::{self, Package},
    purity, rust_files, texts,
    tree::Tree,
};

static TREE: LazyLock<Tree> = LazyLock::new(|| Tree::read(&workspace_root()));

/// Fails with every breach, a line each.
fn assert_tidy(mut findings: Vec<Finding>) {
    findings.sort();
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{} breaches:\n{}", lines.len(), lines.join("\n"));
}

fn rust() -> impl Iterator<Item = &'static File> {
    TREE.files.iter().filter(|file| file.has_extension("rs"))
}

fn packages() -> Vec<Package> {
    let manifests = TREE.files.iter().filter(|file| file.path.ends_with("Cargo.toml"));
    manifests.filter_map(Package::read).collect()
}

#[test]
fn the_tree_is_read() {
    assert!(rust().count() > 100, "only {} Rust files", rust().count());
    assert!(packages().len() >= 12, "only {} packages", packages().len());
}

#[test]
fn every_file_opens_with_a_sentence() {
    assert_tidy(rust().flat_map(rust_files::opening).collect());
}

#[test]
fn files_and_functions_are_short() {
    for long in rust().flat_map(rust_files::long_functions) {
        println!("{long}");
    }
    assert_tidy(rust().flat_map(rust_files::size).collect());
}

#[test]
fn nothing_is_left_for_later() {
    assert_tidy(rust().flat_map(rust_files::unfinished).collect());
}

#[test]
fn production_code_does_not_unwrap() {
    let tests = rust_files::test_only(&TREE.files);
    let production = rust().filter(|file| !tests.contains(&file.path));
    assert_tidy(production.flat_map(rust_files::unwraps).collect());
}

#[test]
fn whole_system_tests_wait_for_conditions() {
    // The one pause between two looks at a condition has a place of its own.
    let waiting = |file: &&File| file.path.starts_with("tests/system") && !file.path.ends_with("/wait.rs");
    assert_tidy(rust().filter(waiting).flat_map(rust_files::sleeps_in_tests).collect());
}

#[test]
fn packages_depend_downwards() {
    assert_tidy(packages().iter().flat_map(manifests::floors).collect());
}

#[test]
fn the_lab_links_no_node() {
    assert_tidy(manifests::lab_links_no_node(&packages()));
}

#[test]
fn pure_packages_have_no_runtime() {
    assert_tidy(packages().iter().flat_map(manifests::pure_packages).collect());
}

#[test]
fn lints_and_versions_are_said_once() {
    assert_tidy(packages().iter().flat_map(manifests::shared).collect());
}

#[test]
fn outsiders_are_few_and_needed() {
    assert_tidy(manifests::outsiders(TREE.file("Cargo.toml"), &packages()));
}

#[test]
fn outsiders_come_from_one_place() {
    assert_tidy(lock::sources(TREE.file("Cargo.lock")));
}

#[test]
fn pure_folders_ban_what_is_impure() {
    let bans = ["node/pure/clippy.toml", "orchestrator/pure/clippy.toml"];
    let mut findings: Vec<Finding> = bans.iter().flat_map(|path| purity::bans(TREE.file(path))).collect();
    let paths: Vec<&str> = TREE.files.iter().map(|file| file.path.as_str()).collect();
    findings.extend(purity::hidden_bans(&paths));
    findings.extend(
        rust()
            .filter(|file| file.path.contains("/pure/"))
            .flat_map(purity::lifted_bans),
    );
    assert_tidy(findings);
}

#[test]
fn every_scenario_asks_a_question() {
    let scenarios = TREE.files.iter().filter(|file| file.path.starts_with("topologies/"));
    let scenarios: Vec<&File> = scenarios.filter(|file| file.has_extension("toml")).collect();
    assert!(!scenarios.is_empty());
    assert_tidy(scenarios.into_iter().flat_map(texts::scenario_question).collect());
}

#[test]
fn nothing_names_one_machine() {
    assert_tidy(TREE.files.iter().flat_map(texts::machine_paths).collect());
}

#[test]
fn links_of_documents_lead_somewhere() {
    let documents = TREE.files.iter().filter(|file| file.has_extension("md"));
    assert_tidy(
        documents
            .flat_map(|file| texts::links(file, &TREE.files, &TREE.folders))
            .collect(),
    );
}

#[test]
fn generated_documents_and_snapshots_are_in_order() {
    let paths: BTreeSet<&str> = TREE.files.iter().map(|file| file.path.as_str()).collect();
    assert_tidy([texts::generated(&paths), texts::unreviewed(&paths)].concat());
}
