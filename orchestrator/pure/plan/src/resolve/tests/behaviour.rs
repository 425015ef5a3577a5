//! Validators that misbehave: how many an instance stands, and which program they run.

use super::*;
use crate::scenario::Behaviour;

/// Three honest validators and one that equivocates, without a fault.
const ONE_OF_FOUR: &str = r#"name = "test"
[[group]]
name = "val"
count = 3
role = "validator"
[[group]]
name = "bad"
count = 1
role = "validator"
behaviour = "equivocate"
[[group]]
name = "full"
count = 2
role = "full"
[peering]
mesh = { kind = "full_mesh", of = "all" }
[[consensus]]
id = "main"
byzantine = 1
[[load]]
rate = 10
"#;

const CRASH: &str = "[[fault]]\nat = \"8s\"\nfor = \"5s\"\nkind = \"crash\"\nnodes = [\"val-1\"]\n";

/// The problems of [`ONE_OF_FOUR`] with overrides, as people read them.
fn problems(text: &str, overrides: &[&str]) -> String {
    let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
    match resolve(&Source::read("s.toml", text, &overrides), &host()) {
        Ok(resolved) => resolved.warnings.to_string(),
        Err(problems) => problems.to_string(),
    }
}

#[test]
fn only_those_that_misbehave_run_the_build_that_can() {
    let plan = outcome(ONE_OF_FOUR).unwrap().plan;
    let source = BuildSource::Byzantine(".".to_owned());
    assert_eq!(plan.builds.get("main-byzantine"), Some(&source));
    for node in &plan.nodes {
        let (build, behaviour) = if node.group == "bad" {
            ("main-byzantine", Behaviour::Equivocate)
        } else {
            ("main", Behaviour::Honest)
        };
        assert_eq!(
            (node.build.as_str(), node.behaviour),
            (build, behaviour),
            "{}",
            node.name
        );
    }
    let text = plan.render();
    assert!(
        text.contains("(equivocate)") && text.contains("build main-byzantine"),
        "{text}"
    );
}

#[test]
fn a_third_of_the_weight_is_too_much_and_nobody_counts_on_it() {
    insta::assert_snapshot!(problems(ONE_OF_FOUR, &["consensus.main.validators={val=1,bad=2}"]), @r#"
    error[T022]: weight 2 of 5 misbehaves: a third or more can break agreement
      --> s.toml:17:1
       = help: add honest validators, or use behaviour = "honest"
    "#);
    insta::assert_snapshot!(problems(ONE_OF_FOUR, &["consensus.main.byzantine=0"]), @r#"
    error[T022]: 1 validators misbehave and the instance is meant to stand 0
      --> --set consensus.main.byzantine=0
       = help: use byzantine = 1 and at least 4 validators
    "#);
    insta::assert_snapshot!(problems(ONE_OF_FOUR, &["group.full.behaviour=silent"]), @r#"
    error[T048]: `full` never votes, so that `behaviour` has no effect
      --> --set group.full.behaviour=silent
       = help: remove it, or use role = "validator"
    "#);
    insta::assert_snapshot!(problems(&format!("{ONE_OF_FOUR}{CRASH}"), &[]), @r#"
    error[T023]: at 8s instance `main` has weight 2 of 4 left: no quorum
      --> s.toml:22:1
       = help: crash fewer validators at a time, or say breaks_quorum = true
    "#);
}

#[test]
fn other_machines_get_honest_nodes_only() {
    let text = problems(
        ONE_OF_FOUR,
        &["provider.kind=ssh", "provider.host=[{addr=\"a\",host_key=\"k\"}]"],
    );
    assert!(
        text.contains("byzantine behaviour is not supported by the `ssh` provider"),
        "{text}"
    );
}

#[test]
fn simulated_nodes_misbehave_in_a_lab_for_tests_alone() {
    let text = problems(ONE_OF_FOUR, &["provider.kind=sim"]);
    assert!(
        text.contains("the `sim` provider") && text.contains("--features byzantine"),
        "{text}"
    );
    let host = Capabilities {
        simulates_misconduct: true,
        ..host()
    };
    let source = Source::read("s.toml", ONE_OF_FOUR, &["provider.kind=sim".to_owned()]);
    assert!(resolve(&source, &host).is_ok());
}
