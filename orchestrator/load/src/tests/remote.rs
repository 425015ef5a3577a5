//! A generator behind a pair of streams does what one in this process does, and its loss is noticed on both sides.

use super::{
    double::{Double, Mode},
    endpoint, spec,
};
use crate::{
    Connected, LoadError, LoadHandle, LoadSpec, Prepared, RemoteError, RunClock,
    remote::{Remote, wire},
    serve,
};
use proptest::prelude::*;
use std::time::Duration;
use tokio::{
    io::{AsyncWriteExt, DuplexStream, duplex, split},
    task::JoinHandle,
};

const LONG: Duration = Duration::from_secs(60);

/// A generator in a task, and the lab's handle of it.
fn generator(clock: RunClock) -> (Remote, JoinHandle<Result<(), RemoteError>>) {
    let (here, there) = duplex(1 << 16);
    let (input, output) = split(there);
    let serving = tokio::spawn(serve(input, output));
    let (input, output) = split(here);
    (Remote::open(0, "host-a".to_owned(), clock, input, output), serving)
}

async fn connect(remote: Remote, spec: LoadSpec) -> Result<Connected, LoadError> {
    let mut seen = 0;
    let prepared = remote.prepare(spec, |progress| seen = progress.total).await?;
    Prepared::There(prepared).connect().await
}

async fn start(remote: Remote, spec: LoadSpec) -> LoadHandle {
    let clock = spec.clock;
    connect(remote, spec).await.unwrap().start(clock.now_ns()).unwrap()
}

fn targeting(double: &Double, rate: f64, duration_ms: u64) -> LoadSpec {
    let mut spec = spec(rate, duration_ms);
    spec.targets = vec![double.endpoint.clone()];
    spec
}

#[tokio::test]
async fn books_that_come_by_wire_close_and_say_where_they_are_from() {
    let double = Double::start(0, Mode::Finalise).await;
    let spec = targeting(&double, 2000.0, 100);
    let (remote, serving) = generator(spec.clock);
    let mut handle = start(remote, spec).await;
    assert_eq!(handle.load(), 0);
    handle.scheduled().await;
    let outcome = handle.drain(LONG).await.unwrap();
    serving.await.unwrap().unwrap();
    let total = outcome.tally.total();
    assert_eq!((total.intended, total.ok, total.ended()), (200, 200, 200));
    assert_eq!(outcome.submitted.rows.len(), 200);
    assert_eq!(outcome.latency.response.overall.total(), 200);
    let told: Vec<&str> = outcome.disclosure.iter().map(|line| line.value.as_str()).collect();
    assert!(told.contains(&"on host-a"), "{told:?}");
    assert!(told.iter().any(|line| line.contains("us of the lab's")), "{told:?}");
}

#[tokio::test]
async fn seconds_and_blocks_stand_on_the_runs_time_line() {
    let double = Double::start(0, Mode::Finalise).await;
    let spec = targeting(&double, 1000.0, 50);
    let clock = spec.clock;
    // The run began 3 s ago: whoever took its own start as the origin would count in second 0.
    let clock = RunClock::with_origin(RunClock::monotonic_ns() - 3_000_000_000 - clock.now_ns() % 1000);
    let (remote, _serving) = generator(clock);
    let handle = start(remote, LoadSpec { clock, ..spec }).await;
    let outcome = handle.drain(LONG).await.unwrap();
    let first = outcome.seconds.iter().find(|second| second.intended > 0).unwrap();
    assert!(first.second >= 3, "{first:?}");
}

#[tokio::test]
async fn an_order_to_stop_arrives() {
    let double = Double::start(0, Mode::Finalise).await;
    let mut spec = targeting(&double, 500.0, 3_600_000);
    spec.limits.prepared_bytes = 1 << 20;
    let (remote, _serving) = generator(spec.clock);
    let handle = start(remote, spec).await;
    while handle.progress().finalised == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    handle.stop();
    let outcome = handle.drain(LONG).await.unwrap();
    assert!(outcome.stopped);
    assert_eq!(outcome.tally.total().ended(), outcome.tally.total().intended);
}

#[tokio::test]
async fn a_target_that_does_not_answer_is_named_with_the_host() {
    let mut spec = spec(100.0, 50);
    spec.targets = vec![endpoint(3)];
    let (remote, serving) = generator(spec.clock);
    let error = connect(remote, spec).await.unwrap_err().to_string();
    assert!(error.contains("full-3") && error.contains("host-a"), "{error}");
    assert!(serving.await.unwrap().is_err());
}

#[tokio::test]
async fn a_connection_that_is_cut_ends_the_load_on_both_sides() {
    let double = Double::start(0, Mode::Finalise).await;
    let mut spec = targeting(&double, 500.0, 3_600_000);
    spec.limits.prepared_bytes = 1 << 20;
    let (here, there) = duplex(1 << 16);
    let (input, output) = split(there);
    let serving = tokio::spawn(serve(input, output));
    let (lab, cut) = relay(here);
    let (input, output) = split(lab);
    let remote = Remote::open(0, "host-a".to_owned(), spec.clock, input, output);
    let handle = start(remote, spec).await;
    while handle.progress().finalised == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    cut.abort();
    let error = handle.drain(LONG).await.unwrap_err();
    assert!(matches!(error, LoadError::Remote { .. }), "{error}");
    assert!(error.to_string().contains("help:"), "{error}");
    assert!(serving.await.unwrap().is_err(), "the generator ended too");
}

/// A stream that ends in `far`, through a task that can be cut.
fn relay(mut far: DuplexStream) -> (DuplexStream, JoinHandle<()>) {
    let (near, mut middle) = duplex(1 << 16);
    let task = tokio::spawn(async move {
        let _ = tokio::io::copy_bidirectional(&mut middle, &mut far).await;
    });
    (near, task)
}

#[tokio::test]
async fn a_lab_that_asks_out_of_order_is_refused() {
    let (mut here, there) = duplex(1 << 16);
    let (input, output) = split(there);
    let serving = tokio::spawn(serve(input, output));
    wire::send(&mut here, &wire::Ask::Connect).await.unwrap();
    let told: wire::Told = wire::receive(&mut here).await.unwrap().unwrap();
    assert!(matches!(told, wire::Told::Failed(text) if text.contains("specification")));
    assert!(matches!(serving.await.unwrap(), Err(RemoteError::Protocol(_))));
}

#[test]
fn a_frame_that_claims_too_much_is_refused_unread() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let claimed = (wire::FRAME_BYTES_MAX as u32 + 1).to_le_bytes();
    let read = runtime.block_on(wire::receive::<wire::Ask>(claimed.as_slice()));
    assert!(matches!(read, Err(RemoteError::Protocol(_))), "{read:?}");
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic_either_side(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut here, there) = duplex(1 << 16);
            let (input, output) = split(there);
            let serving = tokio::spawn(serve(input, output));
            here.write_all(&bytes).await.unwrap();
            drop(here);
            let served = serving.await.unwrap();
            prop_assert!(served.is_err(), "no lab says that");
            Ok(())
        })?;
        let told = runtime.block_on(wire::receive::<wire::Told>(bytes.as_slice()));
        prop_assert!(told.is_err() || bytes.is_empty() || told.is_ok_and(|told| told.is_some()));
    }
}
