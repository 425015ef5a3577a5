//! Whole runs of stand-in nodes: what each kind of trouble does to a run.

use super::*;
use crate::{
    cluster::http_address,
    provider::check_free,
    rundir::{JournalLine, read_journal, sweep},
    testing::{
        block_on,
        standin::{Behaviour, LAST_WORDS, order_death, script},
        whole_plan,
    },
};
use regatta_plan::Step;
use regatta_report::result::Status;
use std::{net::SocketAddr, sync::Mutex};

/// Phases that are as short as they may be.
const SHORT: &str = "[phases]\nwarmup = \"0s\"\nmeasure = \"1s\"\ncooldown = \"0s\"\ndrain = \"1s\"\n";
/// Phases that only end by an interrupt.
const LONG: &str = "[phases]\nwarmup = \"0s\"\nmeasure = \"10m\"\ncooldown = \"0s\"\ndrain = \"1s\"\n";

/// Does something when a step of a kind begins, as somebody outside would.
struct Script {
    when: fn(&Step) -> bool,
    what: Box<dyn Fn() + Send + Sync>,
    seen: Mutex<Vec<String>>,
}

impl std::fmt::Debug for Script {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Script")
    }
}

impl Observer for Script {
    fn tell(&self, progress: &Progress<'_>) {
        match progress {
            Progress::StepStarted(step) if (self.when)(&step.step) => (self.what)(),
            Progress::Ending(why) => self.seen.lock().unwrap().push((*why).to_owned()),
            Progress::Heartbeat(_) => self.seen.lock().unwrap().push("heartbeat".to_owned()),
            _ => {}
        }
    }

    fn heartbeat_interval(&self) -> Duration {
        Duration::from_millis(20)
    }
}

/// A folder of runs with one job.
struct Lab {
    folder: tempfile::TempDir,
    job: Job,
    interrupts: Interrupts,
}

impl Lab {
    fn new(behaviour: Behaviour, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let job = Job {
            plan: whole_plan(more),
            scenario_text: "# a test\n".to_owned(),
            base: folder.path().to_owned(),
            runs: folder.path().join("runs"),
            given: BTreeMap::from([("main".to_owned(), script(folder.path(), behaviour))]),
            signing: Default::default(),
            reproduce: "regatta run whole.toml".to_owned(),
            strict: false,
            unreported: false,
        };
        Self {
            folder,
            job,
            interrupts: Interrupts::new(),
        }
    }

    fn run(&self) -> Done {
        self.run_and(|_| false, || {})
    }

    /// Runs the job; `what` is done when a step begins that `when` is about.
    fn run_and(&self, when: fn(&Step) -> bool, what: impl Fn() + Send + Sync + 'static) -> Done {
        let script = Arc::new(Script {
            when,
            what: Box::new(what),
            seen: Mutex::default(),
        });
        let observer: Arc<dyn Observer> = Arc::clone(&script) as _;
        let finished = block_on(run(self.job.clone(), observer, self.interrupts.clone())).unwrap();
        // Whatever happened: nobody is left, and the addresses are free.
        check_free(&self.job.plan).unwrap();
        let seen = script.seen.lock().unwrap().clone();
        Done { finished, seen }
    }

    fn http(&self, node: usize) -> SocketAddr {
        http_address(&self.job.plan.nodes[node])
    }

    fn program(&self) -> PathBuf {
        let store = self.job.runs.join(crate::rundir::STORE_FOLDER);
        let mut programs = std::fs::read_dir(store)
            .unwrap()
            .flatten()
            .map(|entry| entry.path().join("regatta-node"));
        programs.find(|path| path.is_file()).unwrap()
    }
}

struct Done {
    finished: Finished,
    seen: Vec<String>,
}

impl Done {
    fn journal(&self) -> Vec<Entry> {
        let lines: Vec<JournalLine> = read_journal(&self.finished.run).unwrap();
        lines.into_iter().map(|line| line.entry).collect()
    }

    fn steps(&self) -> Vec<Step> {
        let started = |entry| match entry {
            Entry::StepStarted { step, .. } => Some(step),
            _ => None,
        };
        self.journal().into_iter().filter_map(started).collect()
    }

    fn starts_of(&self, name: &str) -> usize {
        let is = |entry: &&Entry| matches!(entry, Entry::NodeStarted { node, .. } if node == name);
        self.journal().iter().filter(is).count()
    }

    fn failure(&self) -> &str {
        self.finished.result.record.failure.as_deref().unwrap_or_default()
    }
}

#[test]
fn a_run_does_every_step_journals_it_and_leaves_a_report() {
    let lab = Lab::new(Behaviour::Healthy, SHORT);
    let done = lab.run();
    let record = &done.finished.result.record;
    assert_eq!(
        (record.failure.as_deref(), record.partial),
        (None, false),
        "{:?}",
        record.events
    );
    let planned: Vec<Step> = lab.job.plan.steps.iter().map(|step| step.step.clone()).collect();
    assert_eq!(
        done.steps(),
        planned[..planned.len() - 1],
        "all but the report, which the journal precedes"
    );
    let ended = |entry: &&Entry| matches!(entry, Entry::StepEnded { error: None, .. });
    assert_eq!(done.journal().iter().filter(ended).count(), planned.len() - 1);
    assert!(matches!(done.journal().last(), Some(Entry::LabEnded { .. })));
    assert!(done.seen.contains(&"heartbeat".to_owned()));
    for file in [
        "result.json",
        "report.html",
        "report.md",
        "junit.xml",
        "build/main.manifest",
        "logs/val-0.log",
    ] {
        assert!(done.finished.run.path(file).is_file(), "{file}");
    }
    let kinds: Vec<&str> = record.phases.iter().map(|phase| phase.kind.as_str()).collect();
    assert_eq!(kinds, ["start", "measure", "drain", "stop"]);
    let measured = record.phases[1];
    assert_eq!(
        measured.end_ms - measured.start_ms,
        1000,
        "the window is the planned one"
    );
    assert_eq!(record.identity.run, done.finished.run.id());
    assert_eq!(record.nodes[0].binary_digest.len(), 64);
}

#[test]
fn a_node_that_dies_at_start_is_the_error_with_its_last_lines() {
    let lab = Lab::new(Behaviour::DiesAtStart, SHORT);
    let done = lab.run();
    assert!(done.failure().contains("exit code 7"), "{}", done.failure());
    let events = &done.finished.result.record.events;
    let told = events
        .iter()
        .any(|event| event.text.contains(LAST_WORDS) && event.text.contains(".log"));
    assert!(told, "{events:?}");
    assert_eq!(done.finished.result.verdict.exit_code, 1);
    assert!(
        !done
            .steps()
            .iter()
            .any(|step| matches!(step, Step::Measure { .. } | Step::Check))
    );
}

#[test]
fn a_node_that_runs_another_program_is_refused() {
    let done = Lab::new(Behaviour::Impostor, SHORT).run();
    assert!(done.failure().contains("runs program 00000000"), "{}", done.failure());
    assert_eq!(done.finished.result.verdict.status, Status::Broken);
}

#[test]
fn nodes_that_never_get_ready_are_named_with_what_they_wait_for() {
    let mut lab = Lab::new(Behaviour::NeverReady, SHORT);
    for step in &mut lab.job.plan.steps {
        if matches!(step.step, Step::WaitLinks { .. }) {
            step.deadline_ms = 4000;
        }
    }
    let done = lab.run();
    assert!(
        done.failure().contains("3 of 3 nodes are not ready"),
        "{}",
        done.failure()
    );
    let events = &done.finished.result.record.events;
    assert!(
        events.iter().any(|event| event.text.contains("val-1: a miracle")),
        "{events:?}"
    );
}

#[test]
fn an_interrupt_in_mid_run_ends_it_cleanly_and_marks_the_report() {
    let lab = Lab::new(Behaviour::Healthy, LONG);
    let interrupts = lab.interrupts.clone();
    let done = lab.run_and(
        |step| matches!(step, Step::Measure { .. }),
        move || interrupts.raise(Interrupt::Signal("SIGINT".to_owned())),
    );
    let record = &done.finished.result.record;
    assert!(record.partial && record.failure.is_none());
    assert!(
        done.seen.contains(&"interrupted by SIGINT".to_owned()),
        "{:?}",
        done.seen
    );
    let tail: Vec<String> = done
        .steps()
        .iter()
        .rev()
        .take(4)
        .rev()
        .map(ToString::to_string)
        .collect();
    assert_eq!(tail, ["drain, at most 1 s", "collect", "stop", "check"]);
}

#[test]
fn an_interrupt_before_the_load_ends_the_run_without_a_measurement() {
    let lab = Lab::new(Behaviour::Healthy, LONG);
    let interrupts = lab.interrupts.clone();
    let done = lab.run_and(
        |step| matches!(step, Step::WaitLinks { .. }),
        move || interrupts.raise(Interrupt::Signal("SIGTERM".to_owned())),
    );
    assert!(done.finished.result.record.partial);
    assert_eq!(done.steps().last(), Some(&Step::Stop));
}

#[test]
fn a_node_that_dies_in_mid_run_ends_the_load_and_fails_the_run() {
    let lab = Lab::new(Behaviour::Healthy, LONG);
    let victim = lab.http(1);
    let done = lab.run_and(|step| matches!(step, Step::Measure { .. }), move || order_death(victim));
    assert!(
        done.failure().contains("`val-1` ended by itself: exit code 7"),
        "{}",
        done.failure()
    );
    assert_eq!(done.finished.result.verdict.exit_code, 1);
    assert!(
        done.steps().contains(&Step::Check),
        "what was measured is still checked"
    );
}

#[test]
fn a_crashed_node_is_started_again_with_its_data_and_the_run_goes_on() {
    let fault =
        "[[fault]]\nat = \"100ms\"\nfor = \"300ms\"\nkind = \"crash\"\nnodes = [\"val-1\"]\nbreaks_quorum = true\n";
    let lab = Lab::new(Behaviour::Healthy, &format!("{SHORT}{fault}"));
    let done = lab.run();
    assert_eq!(done.failure(), "");
    assert_eq!((done.starts_of("val-1"), done.starts_of("val-0")), (2, 1));
    let events = &done.finished.result.record.events;
    let fault = events.iter().find(|event| event.text == "crash val-1").unwrap();
    assert!(fault.node == "val-1" && fault.end_ms > fault.start_ms, "{fault:?}");
    let killed =
        |entry: &Entry| matches!(entry, Entry::NodeEnded { exit, ordered: true, .. } if exit.contains("signal 9"));
    assert!(done.journal().iter().any(killed));
}

#[test]
fn a_program_altered_in_mid_run_is_not_started_again() {
    let fault =
        "[[fault]]\nat = \"100ms\"\nfor = \"400ms\"\nkind = \"crash\"\nnodes = [\"val-1\"]\nbreaks_quorum = true\n";
    let lab = Lab::new(Behaviour::Healthy, &format!("{LONG}{fault}"));
    let runs = Lab {
        folder: tempfile::tempdir().unwrap(),
        job: lab.job.clone(),
        interrupts: lab.interrupts.clone(),
    };
    let done = lab.run_and(
        |step| matches!(step, Step::Inject { .. }),
        move || {
            let path = runs.program();
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, "#!/bin/sh\necho gotcha\n").unwrap();
        },
    );
    assert!(done.failure().contains("altered after sealing"), "{}", done.failure());
    assert_eq!(done.starts_of("val-1"), 1);
    // It was not undone: neither the journal nor the report says that it was.
    let journal = done.journal();
    assert!(!journal.iter().any(|entry| matches!(entry, Entry::FaultEnded { .. })));
    let failed = |entry: &&Entry| matches!(entry, Entry::HealingFailed { fault: 0, text, error } if text == "crash val-1" && error.contains("altered after sealing"));
    assert_eq!(journal.iter().filter(failed).count(), 1, "{journal:?}");
    let record = &done.finished.result.record;
    let told = |text: &str| record.events.iter().find(|event| event.text.contains(text));
    assert!(told("crash val-1: healing failed").is_some(), "{:?}", record.events);
    let fault = told("crash val-1 (never undone)").unwrap();
    let end_ms = record.phases.last().unwrap().end_ms;
    assert!(
        fault.kind == regatta_report::model::EventKind::Fault && fault.end_ms >= end_ms,
        "{fault:?}"
    );
    assert_eq!(done.finished.result.verdict.exit_code, 1);
}

#[test]
fn a_full_folder_ends_the_run_with_its_reason() {
    let mut lab = Lab::new(Behaviour::Healthy, LONG);
    lab.job.plan.budget.disk_bytes = 10;
    let done = lab.run();
    assert!(done.failure().contains("disk quota reached"), "{}", done.failure());
    assert_eq!(done.finished.result.verdict.exit_code, 1);
}

#[test]
fn a_used_up_budget_of_time_ends_the_run_with_its_reason() {
    let mut lab = Lab::new(Behaviour::Healthy, LONG);
    lab.job.plan.budget.wall_ms = 2000;
    let done = lab.run();
    assert!(done.failure().contains("budget.wall"), "{}", done.failure());
}

#[test]
fn a_missing_program_fails_before_anything_starts() {
    let mut lab = Lab::new(Behaviour::Healthy, SHORT);
    lab.job.given = BTreeMap::from([("main".to_owned(), lab.folder.path().join("absent"))]);
    let done = lab.run();
    assert!(
        done.failure().starts_with("build main") && done.failure().contains("absent"),
        "{}",
        done.failure()
    );
    assert_eq!(done.starts_of("val-0"), 0);
    assert!(sweep(&lab.job.runs).is_empty(), "the run has ended by itself");
}

#[test]
fn an_address_in_use_names_its_holder() {
    let lab = Lab::new(Behaviour::Healthy, SHORT);
    let holder = std::net::TcpListener::bind(lab.http(2)).unwrap();
    let interrupts = Interrupts::new();
    let script = Script {
        when: |_| false,
        what: Box::new(|| {}),
        seen: Mutex::default(),
    };
    let finished = block_on(run(lab.job.clone(), Arc::new(script), interrupts)).unwrap();
    drop(holder);
    let failure = finished.result.record.failure.unwrap_or_default();
    assert!(
        failure.contains("full-0") && failure.contains(&format!("process {}", std::process::id())),
        "{failure}"
    );
}
