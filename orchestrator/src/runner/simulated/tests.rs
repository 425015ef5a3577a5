//! Whole simulated runs: labelled, checked, repeatable, and wrong where something is wrong.

mod instances;
#[cfg(feature = "byzantine")]
mod misconduct;

use super::*;
use crate::{
    check,
    rundir::RunDir,
    runner::{Finished, evidence::rules, run},
    testing::{block_on, whole_plan},
};
use regatta_report::{render, result::Status};
use std::collections::BTreeMap;

const SIMULATED: &str = "[provider]\nkind = \"sim\"\n\
    [phases]\nwarmup = \"500ms\"\nmeasure = \"3s\"\ncooldown = \"500ms\"\ndrain = \"20s\"\n\
    [[load]]\nrate = 40\ntarget = \"val-0\"\nmix = { opaque = 0.5, put = 0.5 }\n";

#[derive(Debug)]
struct Silent;

impl Observer for Silent {
    fn tell(&self, _: &Progress<'_>) {}

    fn heartbeat_interval(&self) -> Duration {
        Duration::ZERO
    }
}

/// A finished run in a folder of its own.
struct Done {
    finished: Finished,
    _folder: tempfile::TempDir,
}

fn simulate(more: &str, seed: u64) -> Done {
    let mut plan = whole_plan(&format!("{SIMULATED}{more}"));
    // The address range is that of this test alone and part of nothing here.
    plan.seed = seed;
    play(plan)
}

fn play(plan: Plan) -> Done {
    let folder = tempfile::tempdir().unwrap();
    let job = Job {
        plan,
        scenario_text: "# a test\n".to_owned(),
        base: folder.path().to_owned(),
        runs: folder.path().join("runs"),
        given: BTreeMap::new(),
        signing: Default::default(),
        reproduce: "regatta run whole.toml --provider sim".to_owned(),
        strict: false,
        unreported: false,
    };
    let finished = block_on(run(job, Arc::new(Silent), Interrupts::new())).unwrap();
    Done {
        finished,
        _folder: folder,
    }
}

impl Done {
    fn result(&self) -> &RunResult {
        &self.finished.result
    }

    fn run(&self) -> &RunDir {
        &self.finished.run
    }

    fn trace(&self) -> &str {
        let digests = &self.result().record.identity.digests;
        let trace = digests.iter().find(|digest| digest.name.contains("trace"));
        &trace.unwrap().value
    }

    fn assert_correct(&self) {
        let record = &self.result().record;
        assert_eq!(record.failure, None);
        assert!(record.invariants.len() >= 7, "{}", record.invariants.len());
        for invariant in &record.invariants {
            assert!(invariant.holds, "{}: {}", invariant.name, invariant.evidence);
        }
    }
}

#[test]
fn a_simulated_run_has_the_same_report_and_says_what_it_is() {
    let done = simulate("", 3);
    done.assert_correct();
    let (record, verdict) = (&done.result().record, &done.result().verdict);
    assert!(
        matches!(verdict.status, Status::Valid | Status::Inconclusive),
        "{}",
        verdict.sentence
    );
    assert!(verdict.sentence.contains("simulated"), "{}", verdict.sentence);
    assert!(
        !record.identity.commit.is_empty(),
        "simulated nodes are of some commit as well"
    );
    assert!(record.identity.simulated && record.identity.provider.contains("virtual time"));
    assert!(record.accounting.finalised_ok > 100, "{:?}", record.accounting);
    assert!(record.blocks.len() > 25, "{}", record.blocks.len());
    assert!(
        record
            .processes
            .iter()
            .all(|process| process.samples.len() > 4 && process.cpu_total_s > 0.0)
    );
    let window = record
        .phases
        .iter()
        .find(|phase| phase.kind == PhaseKind::Measure)
        .unwrap();
    assert_eq!(window.end_ms - window.start_ms, 3000, "virtual time is exact");
    let html = std::fs::read_to_string(done.run().path("report.html")).unwrap();
    assert!(html.contains("simulated") && html.contains(done.trace()));
    assert!(render::text(done.result(), "x").contains("simulated"));
    let disclosed = |name: &str| record.environment.iter().any(|line| line.name == name);
    assert!(disclosed("host-seconds per CPU second") && disclosed("clock"));
}

#[test]
fn one_seed_gives_one_trace_and_one_result() {
    let (first, again, other) = (simulate("", 5), simulate("", 5), simulate("", 6));
    assert_eq!(first.trace(), again.trace());
    assert_eq!(first.result().record.latency, again.result().record.latency);
    assert_eq!(first.result().record.blocks, again.result().record.blocks);
    assert_ne!(first.trace(), other.trace());
}

#[test]
fn crashes_pauses_and_partitions_happen_at_their_times_and_heal() {
    let faults = "[[fault]]\nat = \"500ms\"\nfor = \"500ms\"\nkind = \"crash\"\nnodes = [\"val-0\"]\nbreaks_quorum = true\n\
        [[fault]]\nat = \"1500ms\"\nfor = \"500ms\"\nkind = \"pause\"\nnodes = [\"val-1\"]\nbreaks_quorum = true\n\
        [[fault]]\nat = \"2500ms\"\nfor = \"1s\"\nkind = \"partition\"\nsets = [[\"val-0\"], [\"val-1\", \"full-0\"]]\n\
        breaks_quorum = true\n";
    let done = simulate(faults, 7);
    done.assert_correct();
    let record = &done.result().record;
    let texts: Vec<&str> = record.events.iter().map(|event| event.text.as_str()).collect();
    assert!(texts.contains(&"partition val-0 | val-1, full-0"), "{texts:?}");
    assert!(texts.contains(&"started again"), "{texts:?}");
    assert_eq!(record.processes[0].restarts, 1);
    // Two validators are no quorum without each other.
    for fault in record
        .events
        .iter()
        .filter(|event| event.kind == regatta_report::model::EventKind::Fault)
    {
        let inside = |at_ms: u64| at_ms > fault.start_ms + 200 && at_ms < fault.end_ms;
        let late = record.blocks.iter().find(|block| inside(block.at_ms));
        assert!(late.is_none(), "{}: {:?}", fault.text, late.map(|block| block.at_ms));
    }
    assert!(record.accounting.finalised_ok > 80, "{:?}", record.accounting);
}

#[test]
fn clocks_disks_and_links_go_wrong_and_heal() {
    let faults = "[[fault]]\nat = \"500ms\"\nfor = \"500ms\"\nkind = \"link\"\nnodes = [\"full-0\"]\ndelay = \"30ms\"\nloss = \"1%\"\n\
        [[fault]]\nat = \"600ms\"\nfor = \"600ms\"\nkind = \"skew\"\nnodes = [\"val-1\"]\noffset = \"300ms\"\n\
        [[fault]]\nat = \"1300ms\"\nfor = \"400ms\"\nkind = \"disk_slow\"\nnodes = [\"val-0\"]\ndelay = \"30ms\"\n\
        [[fault]]\nat = \"1800ms\"\nfor = \"500ms\"\nkind = \"disk_full\"\nnodes = [\"val-1\"]\nbreaks_quorum = true\n\
        [[fault]]\nat = \"2500ms\"\nfor = \"500ms\"\nkind = \"crash\"\ndisk = \"lost\"\nnodes = [\"full-0\"]\n";
    let done = simulate(faults, 8);
    done.assert_correct();
    let record = &done.result().record;
    let shaded = |text: &str| {
        let told = record.events.iter().find(|event| event.text.starts_with(text));
        let told = told.unwrap_or_else(|| panic!("{text}: {:?}", record.events));
        (told.start_ms, told.end_ms)
    };
    for text in [
        "link full-0 +30ms loss 1%",
        "skew val-1 +300ms",
        "disk_slow val-0 +30ms",
        "crash full-0 with its disk",
    ] {
        let (start, end) = shaded(text);
        assert!(end >= start + 400, "{text}: {start} to {end}");
    }
    // One of two validators cannot make its votes durable: nothing is decided.
    let (start, end) = shaded("disk_full val-1");
    let inside = |at_ms: u64| at_ms > start + 200 && at_ms < end;
    let late = record.blocks.iter().find(|block| inside(block.at_ms));
    assert!(late.is_none(), "{:?}", late.map(|block| block.at_ms));
    assert!(record.accounting.finalised_ok > 80, "{:?}", record.accounting);
}

#[test]
fn a_late_node_begins_with_a_snapshot_and_the_checks_know_it() {
    let more = "[node]\nsnapshot_interval = 10\nsnapshot_lag = 15\nkeep_blocks = 10\n\
        [[churn]]\nrow = [{ node = \"full-0\", at = \"0s\", until = \"2500ms\" }]\n";
    let done = simulate(more, 9);
    done.assert_correct();
    let (record, summary) = (&done.result().record, &done.result().summary);
    let fetched = record.churn.as_ref().unwrap().absences[0].fetched.unwrap();
    assert!(
        fetched.snapshot_height.unwrap() >= 10 && fetched.snapshot_bytes > 0,
        "{fetched:?}"
    );
    assert_eq!(summary.churn.as_ref().unwrap().by_snapshot, 1);
    let found = |name: &str| &record.invariants.iter().find(|one| one.name == name).unwrap().evidence;
    assert!(
        found("continuity").contains("begin with a snapshot, on blocks that others have: 1"),
        "{}",
        found("continuity")
    );
    assert!(
        found("no_loss").contains("by the word of validators"),
        "{}",
        found("no_loss")
    );
}

#[test]
fn nodes_leave_and_return_and_start_late_and_the_report_says_how_long_they_took() {
    let rows = "[[churn]]\nleave = \"stop\"\nrow = [{ node = \"full-0\", at = \"0s\", until = \"1s\" }, \
        { node = \"full-0\", at = \"2s\", until = \"2500ms\" }]\n\
        [[churn]]\nbreaks_quorum = true\nrow = [{ node = \"val-1\", at = \"1500ms\", until = \"1900ms\" }]\n";
    let done = simulate(rows, 11);
    done.assert_correct();
    let (record, summary) = (&done.result().record, &done.result().summary);
    let returns = record.invariants.iter().find(|invariant| invariant.name == "returns");
    assert!(
        returns.unwrap().evidence.starts_with("3 returns caught up"),
        "{:?}",
        returns
    );
    let absences = &record.churn.as_ref().unwrap().absences;
    let told: Vec<(&str, &str)> = absences
        .iter()
        .map(|one| (one.node.as_str(), one.how.as_str()))
        .collect();
    assert_eq!(
        told,
        [("full-0", "not started"), ("val-1", "killed"), ("full-0", "stopped")]
    );
    assert!(
        absences[0].blocks_behind.unwrap() > 10,
        "a late node begins with nothing: {absences:?}"
    );
    assert!(
        absences.iter().all(|one| one.caught_up_ms > one.returned_ms),
        "{absences:?}"
    );
    // At the times that the plan says, which are counted from the start of the load.
    let load = record
        .phases
        .iter()
        .find(|phase| phase.kind == PhaseKind::Warmup)
        .unwrap()
        .start_ms;
    assert_eq!(
        (absences[1].left_ms - load, absences[1].returned_ms.unwrap() - load),
        (1500, 1900)
    );
    let churn = summary.churn.as_ref().unwrap();
    assert_eq!(
        (churn.departures, churn.late_starts, churn.returns, churn.fewest_up),
        (2, 1, 2, 2)
    );
    assert!(record.accounting.finalised_ok > 80, "{:?}", record.accounting);
    let again = simulate(rows, 11);
    assert_eq!(done.trace(), again.trace());
    assert_eq!(again.result().record.churn, record.churn);
}

#[test]
fn a_node_that_stays_away_is_not_asked_for_its_ledger() {
    let done = simulate("[[churn]]\nrow = [{ node = \"full-0\", at = \"1s\" }]\n", 12);
    done.assert_correct();
    let record = &done.result().record;
    let convergence = record
        .invariants
        .iter()
        .find(|invariant| invariant.name == "convergence")
        .unwrap();
    assert!(convergence.evidence.starts_with("2 nodes"), "{}", convergence.evidence);
    assert_eq!(done.result().summary.churn.as_ref().unwrap().stay_away, 1);
}

/// A world of the plan of [`simulate`] after some seconds of load from elsewhere: another history of the same network.
fn other_history(plan: &Plan) -> World {
    let mut world = world::build(plan, plan.world.as_ref().unwrap()).unwrap().unwrap();
    world.run_until(1000 * MILLISECOND);
    let spec = crate::runner::load_spec(
        plan,
        &plan.loads[0],
        "another".to_owned(),
        crate::load::RunClock::start(),
    );
    let mut clients = super::clients::simulated_clients(spec.unwrap(), world.now(), 0).unwrap();
    while clients.next_at() < 4000 * MILLISECOND {
        world.run_until(clients.next_at());
        clients.act(&mut world);
    }
    world.run_until(6000 * MILLISECOND);
    world
}

#[test]
fn a_fork_with_valid_certificates_is_caught_by_the_same_checks() {
    let plan = whole_plan(SIMULATED);
    let rules = rules(&plan, &plan.instances[0]).unwrap();
    let names: Vec<(usize, String)> = plan.nodes.iter().map(|node| node.name.clone()).enumerate().collect();
    let read = |world: &World| {
        let target = check::simulated_target(&rules, world);
        check::read_simulated(&rules, world, &names, target, &[])
    };
    let mut second = plan.clone();
    second.loads[0].senders += 1;
    let (one, other) = (read(&other_history(&plan)), read(&other_history(&second)));
    let violated = |ledger: &check::Ledger| -> Vec<String> {
        let mut rng = regatta_base::seed::rng(1, "checks");
        // What was submitted is another test's matter.
        let own = check::Rules {
            exclusive: false,
            ..rules.clone()
        };
        let invariants = check::check(&own, ledger, &[], &mut rng);
        invariants
            .into_iter()
            .filter(|invariant| !invariant.holds)
            .map(|invariant| invariant.name)
            .collect()
    };
    assert_eq!(violated(&one), [""; 0]);
    assert_eq!(violated(&other), [""; 0], "each history alone is sound");
    let mut forked = one;
    forked.nodes[2].blocks = other.nodes[2].blocks.clone();
    forked.nodes[2].blocks.truncate(forked.target as usize);
    let found = violated(&forked);
    assert!(found.contains(&"agreement".to_owned()), "{found:?}");
}

#[test]
fn an_interrupt_ends_a_simulation_with_a_partial_report() {
    let folder = tempfile::tempdir().unwrap();
    let interrupts = Interrupts::new();
    interrupts.raise(Interrupt::Signal("SIGINT".to_owned()));
    let job = Job {
        plan: whole_plan(SIMULATED),
        scenario_text: String::new(),
        base: folder.path().to_owned(),
        runs: folder.path().join("runs"),
        given: BTreeMap::new(),
        signing: Default::default(),
        reproduce: String::new(),
        strict: false,
        unreported: false,
    };
    let finished = block_on(run(job, Arc::new(Silent), interrupts)).unwrap();
    assert!(finished.result.record.partial);
    assert!(finished.run.path("report.html").is_file());
}
