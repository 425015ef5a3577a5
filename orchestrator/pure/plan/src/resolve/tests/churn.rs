//! Nodes that come and go: the same for each seed, never below a quorum, and rows that say what distributions drew.

use super::{SOUND, assert_codes, outcome};
use crate::{
    Capabilities, Plan, PlannedAbsence, Source, Step,
    diagnostic::Code,
    resolve,
    scenario::{Churn, Leave, Scenario},
};
use proptest::prelude::*;

const DRAWN: &str = "[[churn]]\ngroup = \"full\"\nsession = { weibull = [0.6, \"8s\"] }\nrejoin = { exp = \"3s\" }\n";
const VALIDATORS: &str = "[[churn]]\ngroup = \"val\"\nsession = { exp = \"4s\" }\nrejoin = { exp = \"3s\" }\n";

fn plan(more: &str) -> Plan {
    outcome(&format!("{SOUND}{more}"))
        .unwrap_or_else(|problems| panic!("{problems}"))
        .plan
}

fn seeded(seed: u64, more: &str) -> Plan {
    outcome(&format!("seed = {seed}\n{SOUND}{more}"))
        .unwrap_or_else(|problems| panic!("{problems}"))
        .plan
}

#[test]
fn one_seed_gives_the_same_absences_and_another_seed_others() {
    let (one, again, other) = (seeded(3, DRAWN), seeded(3, DRAWN), seeded(4, DRAWN));
    assert!(one.churn.absences.len() > 4, "{:?}", one.churn);
    assert_eq!(one.digest(), again.digest());
    assert_eq!(one.churn, again.churn);
    assert_ne!(one.churn.absences, other.churn.absences);
    // Without churn nothing of it is in the plan, so that digests of others stay as they are.
    assert!(!serde_json::to_string(&plan("")).unwrap().contains("churn"));
    assert!(one.render().contains("is killed at "), "{}", one.render());
}

#[test]
fn a_node_is_away_once_at_a_time_and_returns_after_it_left() {
    let plan = seeded(5, &format!("{DRAWN}leave = \"stop\"\n"));
    for node in 4..8 {
        let mut before = 0;
        for absence in plan.churn.absences.iter().filter(|absence| absence.node == node) {
            assert!(absence.at_ms > before && absence.leave == Leave::Stop, "{absence:?}");
            let Some(until) = absence.until_ms else { break };
            assert!(until > absence.at_ms);
            before = until;
        }
    }
}

#[test]
fn each_absence_is_two_steps_on_the_timeline() {
    let plan = plan(
        "[[churn]]\nrow = [{ node = \"full-1\", at = \"2s\", until = \"4s\" }, { node = \"full-0\", at = \"0s\", until = \"3s\" }]\n",
    );
    let steps: Vec<(u64, &Step)> = plan
        .steps
        .iter()
        .filter(|step| matches!(step.step, Step::Leave { .. } | Step::Return { .. }))
        .map(|step| (step.at_ms.unwrap(), &step.step))
        .collect();
    let (leave, back) = (Step::Leave { absence: 1 }, Step::Return { absence: 1 });
    assert_eq!(
        steps,
        [(2000, &leave), (3000, &Step::Return { absence: 0 }), (4000, &back)]
    );
    // Who starts late is neither started nor waited for with the others.
    let spawned = plan.steps.iter().find_map(|step| match &step.step {
        Step::Spawn { nodes } => Some(nodes.clone()),
        _ => None,
    });
    assert_eq!(spawned.unwrap(), [0, 1, 2, 3, 5, 6, 7]);
    assert!(plan.steps.iter().any(|step| step.step == Step::WaitLinks { edges: 21 }));
    assert_eq!(plan.loads[0].targets, [5, 6, 7]);
}

#[test]
fn groups_that_join_late_start_at_their_time() {
    let late = SOUND.replace(
        "name = \"full\"\ncount = 4",
        "name = \"full\"\njoin = \"6s\"\ncount = 2",
    );
    let late = late.replace("[[load]]\n", "[[load]]\ntarget = \"val\"\n");
    let plan = outcome(&late).unwrap_or_else(|problems| panic!("{problems}")).plan;
    assert_eq!(plan.churn.late(), [4, 5]);
    assert!(plan.churn.absences.iter().all(|absence| absence.until_ms == Some(6000)));
    assert!(plan.render().contains("full-0 starts at 6s"), "{}", plan.render());
}

#[test]
fn validators_are_back_when_the_load_ends_and_followers_may_stay_away() {
    let row = |node: &str| format!("[[churn]]\nrow = [{{ node = \"{node}\", at = \"30s\", until = \"90s\" }}]\n");
    let end = plan("").phases.load_ms();
    assert_eq!(plan(&row("val-0")).churn.absences[0].until_ms, Some(end));
    let follower = plan(&row("full-0"));
    assert_eq!(follower.churn.absences[0].until_ms, None);
    assert_eq!(follower.churn.gone(), [4]);
}

#[test]
fn departures_without_a_quorum_are_put_off_unless_declared() {
    let rows = "[[churn]]\nrow = [{ node = \"val-0\", at = \"20s\", until = \"22s\" }, { node = \"val-2\", at = \"21s\", until = \"24s\" }]\n";
    let strict = plan(rows);
    assert_eq!(strict.churn.put_off, 1);
    // A second after the first is back; as long as it meant to.
    assert_eq!(
        (strict.churn.absences[1].at_ms, strict.churn.absences[1].until_ms),
        (23_000, Some(26_000))
    );
    assert!(strict.render().contains("1 departures put off"));
    let declared = plan(&format!("{rows}breaks_quorum = true\n"));
    assert_eq!((declared.churn.put_off, declared.churn.absences[1].at_ms), (0, 21_000));
}

#[test]
fn departures_wait_for_faults_of_their_node() {
    // The fault of `SOUND` takes val-1 from 8 s to 13 s.
    let met = plan("[[churn]]\nrow = [{ node = \"val-1\", at = \"7s\", until = \"9s\" }]\n");
    assert_eq!((met.churn.absences[0].at_ms, met.churn.put_off), (13_000, 1));
    let other = plan("[[churn]]\nrow = [{ node = \"val-2\", at = \"7s\", until = \"9s\" }]\n");
    assert_eq!(
        other.churn.absences[0].at_ms, 13_000,
        "two of four would be down at 8 s"
    );
}

#[test]
fn what_cannot_be_is_refused() {
    let refused = |more: &str, code: Code| {
        let problems = outcome(&format!("{SOUND}{more}")).unwrap_err();
        assert!(
            problems.0.iter().any(|problem| problem.code == code),
            "{more}: {problems}"
        );
    };
    let row = |row: &str| format!("[[churn]]\nrow = [{row}]\n");
    refused("[[churn]]\ngroup = \"full\"\n", Code::MissingKey);
    refused("[[churn]]\n", Code::MissingKey);
    refused("[[churn]]\ntrace = \"x.csv\"\n", Code::BadChurn);
    refused(&DRAWN.replace("0.6", "0.0"), Code::BadChurn);
    refused(&DRAWN.replace("\"3s\"", "\"0s\""), Code::BadChurn);
    refused(&format!("{DRAWN}{DRAWN}"), Code::BadChurn);
    refused(&row("{ node = \"full-9\", at = \"1s\" }"), Code::UnknownNode);
    refused(&row("{ node = \"val-0\", at = \"1s\" }"), Code::BadChurn);
    refused(
        &row("{ node = \"full-0\", at = \"5s\", until = \"4s\" }"),
        Code::BadChurn,
    );
    refused(&row("{ node = \"full-0\", at = \"900s\" }"), Code::FaultOutsidePhases);
    let twice =
        "{ node = \"full-0\", at = \"5s\", until = \"9s\" }, { node = \"full-0\", at = \"6s\", until = \"7s\" }";
    refused(&row(twice), Code::OverlappingFaults);
    let late = "{ node = \"val-0\", at = \"0s\", until = \"4s\" }, { node = \"val-2\", at = \"0s\", until = \"4s\" }";
    refused(&row(late), Code::QuorumBroken);
    assert_codes(&["group.val.join=0s"], &[Code::FaultOutsidePhases]);
    assert_codes(&["group.full.join=5s"], &[Code::NoNodes]);
}

#[test]
fn a_trace_is_read_beside_the_scenario() {
    let mut source = Source::read("s.toml", &format!("{SOUND}[[churn]]\ntrace = \"away.csv\"\n"), &[]);
    assert_eq!(source.files().into_iter().collect::<Vec<_>>(), ["away.csv"]);
    source.include("away.csv", "node,leave,return\nfull-2,3s,5s\nfull-2,8s,\n");
    let plan = resolve(&source, &Capabilities::default()).unwrap().plan;
    let times = |absence: &PlannedAbsence| (absence.node, absence.at_ms, absence.until_ms);
    assert_eq!(
        plan.churn.absences.iter().map(times).collect::<Vec<_>>(),
        [(6, 3000, Some(5000)), (6, 8000, None)]
    );
    let mut wrong = Source::read("s.toml", &format!("{SOUND}[[churn]]\ntrace = \"away.csv\"\n"), &[]);
    wrong.include("away.csv", "full-2;3s\n");
    let problems = resolve(&wrong, &Capabilities::default()).unwrap_err().to_string();
    assert!(
        problems.contains("`away.csv`: line 1") && problems.contains("s.toml:"),
        "{problems}"
    );
}

/// The scenario of a plan's text with its churn as rows.
fn as_rows(text: &str, plan: &Plan, breaks_quorum: bool) -> Scenario {
    let mut scenario = Source::read("s.toml", text, &[]).scenario().unwrap().clone();
    let name = |node: u32| plan.nodes[node as usize].name.clone();
    scenario.churn = vec![Churn {
        row: plan.churn.absences.iter().map(|absence| absence.row(name)).collect(),
        breaks_quorum,
        ..Churn::default()
    }];
    scenario
}

proptest! {
    #[test]
    fn a_quorum_is_there_at_every_moment(seed in 0_u64..1000, session in 1_u64..20, rejoin in 1_u64..20) {
        let more = VALIDATORS.replace("\"4s\"", &format!("\"{session}s\"")).replace("\"3s\"", &format!("\"{rejoin}s\""));
        let plan = seeded(seed, &format!("{more}{DRAWN}"));
        let instance = &plan.instances[0];
        let end = plan.phases.load_ms();
        let moments = plan.churn.absences.iter().map(|absence| absence.at_ms);
        for moment in moments.chain(plan.faults.iter().map(|fault| fault.at_ms)).filter(|at| *at < end) {
            let away = |node: u32| plan.churn.absences.iter().any(|absence| absence.node == node && absence.covers(moment, 0));
            let crashed = |node: u32| plan.faults.iter().any(|fault| fault.nodes.contains(&node) && fault.at_ms <= moment && moment < fault.until_ms);
            let up = instance.validators.iter().filter(|(node, _)| !away(*node) && !crashed(*node));
            prop_assert!(instance.is_quorum(up.map(|(_, weight)| weight).sum()), "at {moment}: {:?}", plan.churn);
            let both = instance.validators.iter().any(|(node, _)| away(*node) && crashed(*node));
            prop_assert!(!both, "a node leaves that has crashed at {moment}");
        }
    }

    #[test]
    fn rows_say_what_was_drawn(seed in 0_u64..1000, breaks_quorum: bool) {
        let text = format!("seed = {seed}\n{SOUND}{VALIDATORS}breaks_quorum = {breaks_quorum}\n");
        let drawn = outcome(&text).unwrap().plan;
        let rows = as_rows(&text, &drawn, breaks_quorum);
        let again = outcome(&super::properties::file(&rows)).unwrap().plan;
        prop_assert_eq!(again.churn.put_off, 0);
        prop_assert_eq!(again.churn.absences, drawn.churn.absences);
    }
}
