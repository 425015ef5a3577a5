//! Fault timers: they run by the host's clock, also while nobody is connected.

use crate::support::{Build, Host, Lab, OBEDIENT, node, place, runs, until};
use regatta_fleet::{Answer, FaultTimer, NodeEvent, OrderBody, TimedFault, What};

/// What became of a timer: its number, whether it was undone, how late, and why not.
fn fault(event: &NodeEvent) -> Option<(u32, bool, u64, Option<String>)> {
    match event {
        NodeEvent::Fault {
            id,
            undone,
            planned_us,
            error,
        } => Some((*id, *undone, *planned_us, error.clone())),
        _ => None,
    }
}

fn timer(id: u32, fault: TimedFault, begin_us: u64, end_us: Option<u64>) -> FaultTimer {
    FaultTimer {
        id,
        node: node("val-0"),
        fault,
        begin_us,
        end_us,
    }
}

fn now_us(lab: &mut Lab) -> u64 {
    match lab.order(OrderBody::Clock { sent_us: 0 }) {
        Answer::Clock { answered_us, .. } => answered_us,
        other => panic!("{other:?}"),
    }
}

/// State of a process as the kernel names it.
fn state(pid: u32) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .and_then(|rest| rest.split_whitespace().next())
        .unwrap_or_default()
        .to_owned()
}

fn ready(host: &Host) -> (Lab, Build, u32) {
    let (mut lab, _) = host.lab("run-1", 60_000);
    let build = Build::of(OBEDIENT.as_bytes());
    lab.upload(&build);
    let pid = lab.start(&build, &["val-0"])[0].pid;
    lab.announced(1);
    (lab, build, pid)
}

#[test]
fn a_crash_and_a_restart_happen_while_nobody_is_connected() {
    let host = Host::new();
    let (mut lab, _, pid) = ready(&host);
    assert_eq!(lab.order(place("data/val-0/journal", "precious")), Answer::Done);
    let now = now_us(&mut lab);
    let crash = timer(
        3,
        TimedFault::Crash { lose_disk: true },
        now + 300_000,
        Some(now + 700_000),
    );
    assert_eq!(lab.order(OrderBody::Faults { timers: vec![crash] }), Answer::Done);
    let seen = lab.seen;
    drop(lab);
    until("the node ends", || (!runs(pid)).then_some(()));
    let (mut lab, _) = host.lab_again("run-1", 60_000, seen);
    let (event, (id, undone, planned_us, error)) = lab.event(fault);
    assert_eq!((id, undone, planned_us, error), (3, false, now + 300_000, None));
    assert!(event.at_us >= planned_us, "never early");
    let (_, started) = lab.event(|event| match event {
        NodeEvent::Started(started) => Some(started.clone()),
        _ => None,
    });
    assert!(started.pid != pid && runs(started.pid));
    let (event, (_, undone, planned_us, error)) = lab.event(fault);
    assert!(undone && error.is_none() && event.at_us >= planned_us);
    assert_eq!(lab.announced(1), ["ready val-0 again"]);
    assert!(
        !host.root().join("runs/run-1/data/val-0/journal").exists(),
        "its disk was lost"
    );
}

#[test]
fn a_pause_stops_a_node_and_lets_it_go_on() {
    let host = Host::new();
    let (mut lab, _, pid) = ready(&host);
    let now = now_us(&mut lab);
    let pause = timer(1, TimedFault::Pause, now, Some(now + 400_000));
    assert_eq!(lab.order(OrderBody::Faults { timers: vec![pause] }), Answer::Done);
    until("the node is stopped", || (state(pid) == "T").then_some(()));
    assert!(!lab.event(fault).1.1);
    assert!(lab.event(fault).1.1);
    until("the node goes on", || (state(pid) == "S").then_some(()));
}

#[test]
fn forgotten_timers_do_nothing_and_a_stop_leaves_nothing_to_start_again() {
    let host = Host::new();
    let (mut lab, _, pid) = ready(&host);
    let now = now_us(&mut lab);
    let crash = TimedFault::Crash { lose_disk: false };
    let timers = vec![timer(1, crash, now + 300_000, Some(now + 310_000))];
    assert_eq!(lab.order(OrderBody::Faults { timers }), Answer::Done);
    assert_eq!(lab.order(OrderBody::ForgetFaults), Answer::Done);
    let timers = vec![timer(2, TimedFault::Pause, now + 400_000, None)];
    assert_eq!(lab.order(OrderBody::Faults { timers }), Answer::Done);
    assert_eq!(lab.event(fault).1.0, 2, "the first one was forgotten");
    assert!(runs(pid));

    let timers = vec![timer(3, crash, now, Some(now + 900_000))];
    lab.order(OrderBody::Faults { timers });
    until("the node ends", || (!runs(pid)).then_some(()));
    assert!(matches!(
        lab.order(OrderBody::Stop { grace_ms: 1000 }),
        Answer::Stopped { .. }
    ));
    while now_us(&mut lab) < now + 1_200_000 {
        let answer = lab.order(OrderBody::Status);
        let Answer::Status { runs, .. } = answer else {
            panic!("{answer:?}")
        };
        let running = |status: &regatta_fleet::NodeStatus| matches!(status.state, regatta_fleet::NodeState::Running(_));
        assert!(!runs[0].nodes.iter().any(running), "started again after the stop");
    }
}

#[test]
fn timers_that_make_no_sense_are_refused_and_those_that_fail_say_so() {
    let host = Host::new();
    let (mut lab, _, pid) = ready(&host);
    let crash = TimedFault::Crash { lose_disk: false };
    let backwards = timer(1, crash, 9, Some(8));
    assert_eq!(
        lab.refused(OrderBody::Faults {
            timers: vec![backwards]
        })
        .what,
        What::Order
    );
    let mut stranger = timer(1, crash, 9, None);
    stranger.node = node("val-7");
    assert_eq!(
        lab.refused(OrderBody::Faults { timers: vec![stranger] }).what,
        What::Missing
    );
    assert!(runs(pid), "past times would have begun at once");
    lab.order(OrderBody::Stop { grace_ms: 1000 });
    lab.order(OrderBody::Faults {
        timers: vec![timer(4, crash, 0, None)],
    });
    let (_, (id, _, _, error)) = lab.event(fault);
    assert!(id == 4 && error.is_some_and(|error| error.contains("does not run")));
}
