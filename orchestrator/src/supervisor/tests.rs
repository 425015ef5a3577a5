//! A supervised cluster of stand-ins, from its start to its end.

use super::*;
use crate::build::Programs;
use crate::testing::{
    block_on,
    standin::{Behaviour, order_death, script},
    whole_plan,
};
use tokio::sync::mpsc::UnboundedReceiver;

/// A run whose programs are sealed, as `up` leaves it to its supervisor.
fn prepared(runs: &Path, behaviour: Behaviour) -> RunDir {
    prepared_with(runs, behaviour, &whole_plan(""))
}

fn prepared_with(runs: &Path, behaviour: Behaviour, plan: &Plan) -> RunDir {
    let run = RunDir::create(runs, plan, "", 0).unwrap();
    let given = BTreeMap::from([("main".to_owned(), script(runs, behaviour))]);
    let store = Store::open(&runs.join(STORE_FOLDER)).unwrap();
    let mut programs = Programs::new(plan, runs, given, store);
    block_on(programs.provide(&mut |_| {})).unwrap();
    programs.sealed()["main"].write_to(&run.path("build"), "main").unwrap();
    run
}

/// Supervises `run`, does `work` beside it, and returns how the supervision ended.
fn beside<W: Future<Output = ()>>(
    run: &RunDir,
    work: impl FnOnce(RunDir, UnboundedReceiver<Startup>) -> W,
) -> Result<(), SupervisorError> {
    let (tell, told) = mpsc::unbounded_channel();
    block_on(async {
        let tell = move |startup: &Startup| drop(tell.send(startup.clone()));
        let (ended, ()) = tokio::join!(supervise(run.root(), None, &tell), work(run.clone(), told));
        ended
    })
}

async fn until_ready(told: &mut UnboundedReceiver<Startup>) {
    while told.recv().await.unwrap() != Startup::Ready {}
}

async fn status(run: &RunDir) -> ClusterStatus {
    match ask(run, &Request::Status {}).await.unwrap() {
        Answer::Status(status) => status,
        other => panic!("{other:?}"),
    }
}

fn last_words(run: &RunDir) -> (u8, String) {
    let lines = crate::rundir::read_journal(run).unwrap();
    match lines.last().map(|line| line.entry.clone()) {
        Some(Entry::LabEnded { exit_code, sentence }) => (exit_code, sentence),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_cluster_tells_its_status_and_stops_when_asked() {
    let runs = tempfile::tempdir().unwrap();
    let run = prepared(runs.path(), Behaviour::Healthy);
    let ended = beside(&run, async |run, mut told| {
        until_ready(&mut told).await;
        let status = status(&run).await;
        assert!(status.ready && status.lease_left_s > 0);
        assert_eq!(status.nodes.len(), 3);
        for node in &status.nodes {
            assert_eq!(
                (node.state.as_str(), node.height, node.links),
                ("running", Some(0), Some((2, 2)))
            );
        }
        assert!(matches!(run.lock(), Err(RunDirError::Busy(_))));
        let stopped = ask(&run, &Request::Stop {}).await.unwrap();
        let nothing = Answer::Stopped {
            forced: Vec::new(),
            troubles: Vec::new(),
        };
        assert_eq!(stopped, nothing);
        // Whoever got this answer may take the addresses at once.
        crate::provider::check_free(&run.plan().unwrap()).unwrap();
    });
    ended.unwrap();
    assert_eq!(last_words(&run), (0, "stopped by request".to_owned()));
    assert!(crate::rundir::sweep(runs.path()).is_empty());
}

#[test]
fn a_node_that_ends_shows_in_the_status_and_the_others_stay() {
    let runs = tempfile::tempdir().unwrap();
    let run = prepared(runs.path(), Behaviour::Healthy);
    let victim = http_address(&run.plan().unwrap().nodes[1]);
    beside(&run, async |run, mut told| {
        until_ready(&mut told).await;
        order_death(victim);
        let mut states: Vec<String> = Vec::new();
        while !states.contains(&"exit code 7".to_owned()) {
            states = status(&run).await.nodes.into_iter().map(|node| node.state).collect();
        }
        assert_eq!(states, ["running", "exit code 7", "running"]);
        ask(&run, &Request::Stop {}).await.unwrap();
    })
    .unwrap();
}

#[test]
fn requests_that_make_no_sense_are_refused_and_the_cluster_stays() {
    let runs = tempfile::tempdir().unwrap();
    let run = prepared(runs.path(), Behaviour::Healthy);
    beside(&run, async |run, mut told| {
        until_ready(&mut told).await;
        let mut stream = UnixStream::connect(run.path("control.sock")).await.unwrap();
        send(&mut stream, &"make me a sandwich").await.unwrap();
        assert!(matches!(receive(&mut stream).await.unwrap(), Answer::Refused { .. }));
        // One that says nothing and goes away does not block the next.
        drop(UnixStream::connect(run.path("control.sock")).await.unwrap());
        assert!(status(&run).await.ready);
        ask(&run, &Request::Stop {}).await.unwrap();
    })
    .unwrap();
}

#[test]
fn a_lease_ends_a_cluster() {
    let runs = tempfile::tempdir().unwrap();
    let mut plan = whole_plan("");
    plan.budget.lease_ms = 1000;
    let run = prepared_with(runs.path(), Behaviour::Healthy, &plan);
    beside(&run, async |_, _| {}).unwrap();
    assert_eq!(last_words(&run), (0, "the lease of 1 s ended".to_owned()));
}

#[test]
fn a_cluster_that_does_not_start_leaves_nothing_and_says_why() {
    let runs = tempfile::tempdir().unwrap();
    let run = prepared(runs.path(), Behaviour::DiesAtStart);
    let error = beside(&run, async |_, _| {}).unwrap_err().to_string();
    assert!(
        error.contains("exit code 7") && error.contains(crate::testing::standin::LAST_WORDS),
        "{error}"
    );
    assert_eq!(last_words(&run).0, 1);
    crate::provider::check_free(&run.plan().unwrap()).unwrap();
}

#[test]
fn an_altered_seal_keeps_a_cluster_from_starting() {
    let runs = tempfile::tempdir().unwrap();
    let run = prepared(runs.path(), Behaviour::Healthy);
    let manifest = run.path("build/main.manifest");
    let mut bytes = std::fs::read(&manifest).unwrap();
    let last = bytes.len() - 2;
    bytes[last] ^= 1;
    std::fs::write(&manifest, bytes).unwrap();
    assert!(beside(&run, async |_, _| {}).is_err());
    assert!(
        crate::rundir::read_journal(&run)
            .unwrap()
            .iter()
            .all(|line| !matches!(line.entry, Entry::NodeStarted { .. }))
    );
}
