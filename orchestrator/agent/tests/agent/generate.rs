//! A load generator in a process of its own, asked over pipes as over an SSH session.

use regatta_load::{
    LoadError, LoadHandle, LoadSpec, Prepared, RunClock,
    remote::Remote,
    tests::{
        double::{Double, Mode},
        spec,
    },
};
use std::{process::Stdio, time::Duration};
use tokio::process::{Child, Command};

const LONG: Duration = Duration::from_secs(60);

/// The program, and the lab's handle of its load.
fn generator(clock: RunClock) -> (Remote, Child) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_regatta-agent"))
        .arg("generate")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let (input, output) = (child.stdout.take().unwrap(), child.stdin.take().unwrap());
    (Remote::open(0, "host-a".to_owned(), clock, input, output), child)
}

async fn start(remote: Remote, spec: LoadSpec) -> LoadHandle {
    let clock = spec.clock;
    let prepared = Prepared::There(remote.prepare(spec, |_| {}).await.unwrap());
    prepared.connect().await.unwrap().start(clock.now_ns()).unwrap()
}

fn targeting(double: &Double, duration_ms: u64) -> LoadSpec {
    let mut spec = spec(500.0, duration_ms);
    spec.targets = vec![double.endpoint.clone()];
    spec.limits.prepared_bytes = 1 << 20;
    spec
}

#[tokio::test]
async fn the_books_of_a_generator_close_and_it_ends() {
    let double = Double::start(0, Mode::Finalise).await;
    let spec = targeting(&double, 200);
    let (remote, mut child) = generator(spec.clock);
    let outcome = start(remote, spec).await.drain(LONG).await.unwrap();
    let total = outcome.tally.total();
    assert_eq!((total.intended, total.ok, total.ended()), (100, 100, 100));
    assert!(child.wait().await.unwrap().success(), "it has delivered everything");
}

#[tokio::test]
async fn a_generator_ends_with_its_session() {
    let double = Double::start(0, Mode::Finalise).await;
    let spec = targeting(&double, 3_600_000);
    let (remote, mut child) = generator(spec.clock);
    let handle = start(remote, spec).await;
    while handle.progress().finalised == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(handle);
    let status = tokio::time::timeout(LONG, child.wait()).await.unwrap().unwrap();
    assert!(!status.success(), "a load that nobody counts is no success");
}

#[tokio::test]
async fn a_generator_that_is_killed_is_missed() {
    let double = Double::start(0, Mode::Finalise).await;
    let spec = targeting(&double, 3_600_000);
    let (remote, mut child) = generator(spec.clock);
    let handle = start(remote, spec).await;
    child.kill().await.unwrap();
    let error = handle.drain(LONG).await.unwrap_err();
    assert!(
        matches!(&error, LoadError::Remote { host, .. } if host == "host-a"),
        "{error}"
    );
}
