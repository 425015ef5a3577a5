//! Programs of others: their commands, and everything that may be wrong with them.

use super::{SOUND, assert_codes, rendered};
use crate::{Capabilities, Code, Plan, ReadyWhen, Source, Step, resolve};
use proptest::prelude::*;

const WEB: &str = "process=[{name=\"web\",count=2,command=[\"serve\",\"{address}:{index}\",\"{address:web-0}\",\
                   \"{address:val-1}\",\"{{x}}\"],env={NAME=\"{name}\"},ready={port=80}}]";

fn plan_with(overrides: &[&str]) -> Plan {
    let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
    let resolved = resolve(&Source::read("s.toml", SOUND, &overrides), &Capabilities::default());
    resolved.unwrap_or_else(|problems| panic!("{problems}")).plan
}

#[test]
fn processes_come_after_the_nodes_and_know_each_others_addresses() {
    let plan = plan_with(&[WEB]);
    let nodes = plan.nodes.len() as u32;
    let [first, second] = &plan.processes[..] else {
        panic!("{:?}", plan.processes)
    };
    assert_eq!((first.place, second.place), (nodes, nodes + 1));
    assert_eq!((second.name.as_str(), plan.name_at(nodes + 1)), ("web-1", "web-1"));
    let addresses = plan.addresses();
    let unique: std::collections::BTreeSet<_> = addresses.iter().collect();
    assert_eq!((unique.len(), addresses.len()), (plan.places(), plan.places()));
    let val = plan.node("val-1").unwrap().address;
    let expected = [
        format!("{}:1", second.address),
        first.address.to_string(),
        val.to_string(),
        "{x}".to_owned(),
    ];
    assert_eq!(second.command[1..], expected);
    assert_eq!(second.env["NAME"], "web-1");
    assert_eq!(second.ready, ReadyWhen::Accepts(80));
    let steps: Vec<&Step> = plan.steps.iter().map(|step| &step.step).collect();
    let at = |wanted: fn(&Step) -> bool| steps.iter().position(|step| wanted(step)).unwrap();
    let started = at(|step| matches!(step, Step::Processes { .. }));
    assert!(started < at(|step| matches!(step, Step::Spawn { .. })));
    let later = plan_with(&[WEB, "process.0.start=after_nodes"]);
    let links = later
        .steps
        .iter()
        .position(|step| matches!(step.step, Step::WaitLinks { .. }));
    assert!(matches!(later.steps[links.unwrap() + 1].step, Step::Processes { .. }));
}

#[test]
fn faults_reach_programs_by_name_and_group_and_only_those_that_can() {
    let with = |fault: &str| [WEB.to_owned(), format!("fault=[{{at=\"1s\",for=\"1s\",{fault}}}]")];
    let nodes = |fault: &str| {
        let [web, fault] = with(fault);
        plan_with(&[&web, &fault]).faults.remove(0).nodes
    };
    let count = plan_with(&[]).nodes.len() as u32;
    assert_eq!(nodes("kind=\"crash\",nodes=[\"web\"]"), [count, count + 1]);
    assert_eq!(nodes("kind=\"pause\",nodes=[\"web-1\",\"full-0\"]"), [4, count + 1]);
    let codes = |fault: &str, expected: &[Code]| {
        let [web, fault] = with(fault);
        assert_codes(&[&web, &fault], expected);
    };
    codes("kind=\"skew\",offset=\"1s\",nodes=[\"web\"]", &[Code::BadSelection]);
    codes("kind=\"crash\",disk=\"lost\",nodes=[\"web-0\"]", &[Code::BadSelection]);
    codes("kind=\"link\",delay=\"1ms\",nodes=[\"web-0\"]", &[Code::BadSelection]);
    codes("kind=\"crash\",nodes=[\"web-2\"]", &[Code::UnknownNode]);
}

#[test]
fn what_is_wrong_with_a_command() {
    insta::assert_snapshot!(rendered(&[WEB, "process.0.command=[\"x\",\"{adress}\"]"]), @r#"
    error[T075]: `{adress}` stands for nothing
      --> --set process.0.command=["x","{adress}"]
       = help: did you mean `address`? use {name}, {index}, {address}, {region} or {address:NAME}; `{{` stands for a brace
    "#);
    let bad = |more: &str, code: Code| assert_codes(&[WEB, more], &[code]);
    for command in [
        "[]",
        "[\"\"]",
        "[\"x\",\"{address:nobody-1}\"]",
        "[\"x\",\"{\"]",
        "[\"x\",\"}\"]",
        "[\"x\",\"{}\"]",
    ] {
        bad(&format!("process.0.command={command}"), Code::BadProcess);
    }
    bad("process.0.count=0", Code::BadProcess);
    bad("process.0.env={\"A=B\"=\"1\"}", Code::BadProcess);
    bad("process.0.ready={port=1,line=\"x\"}", Code::BadProcess);
    bad("process.0.ready={}", Code::BadProcess);
    bad("process.0.ready.within=0s", Code::BadProcess);
    bad("process.0.name=val", Code::DuplicateName);
    bad("process.0.name=val-0", Code::DuplicateName);
    bad("process.0.name=../x", Code::BadName);
    bad("provider.kind=sim", Code::Unsupported);
}

proptest! {
    #[test]
    fn no_argument_makes_the_plan_panic(argument in "[{}a-z:0-9-]{0,24}") {
        let command = format!("process.0.command=[\"x\",\"{argument}\"]");
        let overrides = [WEB.to_owned(), command];
        let _ = resolve(&Source::read("s.toml", SOUND, &overrides), &Capabilities::default());
    }
}
