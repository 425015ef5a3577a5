//! Faults: crashes with lost tails, partitions, pauses, links that lose, reorder and duplicate.

use super::*;

#[test]
fn a_crashed_validator_returns_with_what_was_durable_and_catches_up() {
    let mut run = Run::new(setup(4, 4, 11));
    run.load(SECOND, 0);
    run.world.crash(3);
    assert!(!run.world.is_up(3));
    run.load(2 * SECOND, 0);
    assert!(run.ledger(3).is_empty());
    run.world.start(3);
    run.load(2 * SECOND, 0);
    run.pass(SECOND);
    assert_eq!(run.world.view(3).starts, 2);
    assert!(run.keeps_promises());
    assert!(run.agree() > 60, "{}", run.agree());
}

#[test]
fn what_was_not_flushed_is_lost_and_no_promise_with_it() {
    let mut setup = setup(4, 4, 12);
    // Slow enough that a crash always hits a flush.
    setup.disk.flush_ns = 15 * MILLISECOND;
    let mut run = Run::new(setup);
    for round in 0..6 {
        run.load(300 * MILLISECOND, 1);
        run.pass(round * MILLISECOND);
        // The host that promises is the one that crashes.
        run.world.crash(1);
        run.pass(100 * MILLISECOND);
        run.world.start(1);
        run.pass(700 * MILLISECOND);
    }
    run.pass(3 * SECOND);
    assert!(run.acknowledged.len() > 50, "{}", run.acknowledged.len());
    assert!(run.keeps_promises());
    run.agree();
}

#[test]
fn all_hosts_may_lose_their_power_at_once() {
    let mut run = Run::new(setup(4, 4, 13));
    run.load(SECOND, 2);
    let before = run.height(2);
    (0..4).for_each(|host| run.world.crash(host));
    (0..4).for_each(|host| run.world.start(host));
    run.pass(3 * SECOND);
    run.load(SECOND, 2);
    run.pass(SECOND);
    assert!(run.agree() as Height > before);
    assert!(run.keeps_promises());
}

/// Cuts hosts off from the others, in both directions.
fn part(run: &mut Run, side: &[usize], cut: bool) {
    for host in 0..run.world.len() {
        for &other in side.iter().filter(|_| !side.contains(&host)) {
            for (from, to) in [(host, other), (other, host)] {
                let done = if cut {
                    run.world.cut(from, to)
                } else {
                    run.world.mend(from, to)
                };
                assert!(done);
            }
        }
    }
}

#[test]
fn a_partition_without_a_quorum_stalls_and_heals() {
    for seconds in [3, 25] {
        let mut run = Run::new(setup(4, 4, 14));
        run.load(SECOND, 0);
        part(&mut run, &[2, 3], true);
        run.pass(SECOND);
        let stalled = run.height(0);
        run.pass(seconds * SECOND);
        assert_eq!(run.height(0), stalled, "nobody has a quorum");
        part(&mut run, &[2, 3], false);
        // Connections that were given up are dialled again within their longest wait.
        run.pass(12 * SECOND);
        run.load(SECOND, 0);
        run.pass(SECOND);
        assert!(
            run.agree() as Height > stalled + 10,
            "{} after {stalled}",
            run.height(0)
        );
        assert!(run.keeps_promises());
    }
}

/// What waits for its retransmission is not on the sender's card.
#[test]
fn links_that_were_not_cut_do_not_suffer_when_others_are_mended() {
    let mut setup = setup(4, 4, 22);
    setup.network.rate_bits = Some(1_000_000_000);
    let mut run = Run::new(setup);
    run.load(SECOND, 1);
    for (from, to) in [(0, 3), (3, 0)] {
        assert!(run.world.cut(from, to));
    }
    run.load(7 * SECOND, 1);
    for (from, to) in [(0, 3), (3, 0)] {
        assert!(run.world.mend(from, to));
    }
    let before = run.height(1);
    for _ in 0..60 {
        run.load(100 * MILLISECOND, 1);
        assert_eq!((run.world.view(1).peers, run.world.view(2).peers), (3, 3));
    }
    assert!(run.height(1) > before + 60, "{} after {before}", run.height(1));
    assert!(run.keeps_promises());
}

/// The next retransmission would come after 25 seconds.
#[test]
fn a_connection_that_was_silent_for_twenty_seconds_ends_although_it_is_open_again() {
    let mut run = Run::new(setup(4, 4, 23));
    run.load(SECOND, 1);
    part(&mut run, &[3], true);
    run.load(14 * SECOND, 1);
    part(&mut run, &[3], false);
    assert_eq!(run.world.view(3).peers, 3);
    let mut fewest = 3;
    for _ in 0..80 {
        run.load(100 * MILLISECOND, 1);
        fewest = fewest.min(run.world.view(3).peers);
    }
    assert!(fewest < 3, "they ended");
    assert_eq!(run.world.view(3).peers, 3, "and were made again");
    run.load(4 * SECOND, 1);
    assert!(
        run.height(3) + 3 > run.height(1),
        "{} of {}",
        run.height(3),
        run.height(1)
    );
}

#[test]
fn the_side_with_a_quorum_goes_on_and_the_other_follows_later() {
    let mut run = Run::new(setup(4, 4, 15));
    part(&mut run, &[3], true);
    run.load(3 * SECOND, 0);
    assert!(run.height(0) > run.height(3) + 10);
    part(&mut run, &[3], false);
    run.load(8 * SECOND, 0);
    run.pass(SECOND);
    assert!(run.agree() as Height + 3 > run.height(0));
}

#[test]
fn a_direction_may_be_cut_alone() {
    let mut run = Run::new(setup(4, 4, 16));
    for other in 0..3 {
        assert!(run.world.cut(3, other));
    }
    run.load(3 * SECOND, 0);
    // It hears of every decision and nobody hears it.
    assert!(
        run.height(3) + 3 > run.height(0) && run.height(0) > 20,
        "{} {}",
        run.height(3),
        run.height(0)
    );
    assert!(!run.world.cut(0, 9), "no such link");
}

#[test]
fn a_paused_host_does_nothing_and_then_all_of_it() {
    let mut run = Run::new(setup(4, 4, 17));
    run.world.pause(3);
    let before = (run.height(3), run.world.view(3).cpu_ns);
    run.load(2 * SECOND, 0);
    let slack = 5 * MILLISECOND;
    assert_eq!(run.height(3), before.0);
    assert!(
        run.world.view(3).cpu_ns <= before.1 + slack,
        "a task that had begun ends"
    );
    run.world.resume(3);
    run.load(2 * SECOND, 0);
    run.pass(SECOND);
    assert!(run.agree() > 40, "{}", run.agree());
}

#[test]
fn links_that_lose_reorder_and_duplicate_cost_time_and_never_agreement() {
    let mut setup = setup(4, 4, 18);
    setup.network.loss_ppm = 20_000;
    setup.network.reorder_ppm = 100_000;
    setup.network.reorder_ns = 30 * MILLISECOND;
    setup.network.duplicate_ppm = 100_000;
    setup.network.rate_bits = Some(20_000_000);
    let mut run = Run::new(setup);
    run.load(4 * SECOND, 2);
    run.pass(4 * SECOND);
    assert!(run.keeps_promises());
    assert!(run.agree() > 20, "{}", run.agree());
}

#[test]
fn a_client_of_a_dead_host_is_told() {
    let mut run = Run::new(setup(4, 4, 19));
    run.world.crash(2);
    run.load(100 * MILLISECOND, 2);
    assert_eq!(run.lost, run.sent);
}

#[test]
fn two_worlds_of_one_network_differ_and_grafting_one_is_a_fork() {
    let run = |seed| {
        let mut run = Run::new(setup(4, 4, seed));
        run.load(SECOND, seed as usize % 4);
        run
    };
    let (one, other) = (run(20), run(21));
    let differ = one.ledger(0).iter().zip(other.ledger(0)).any(|(a, b)| *a != b);
    assert!(differ, "a fork is there to be found");
}

#[test]
fn a_validator_without_its_disk_returns_and_says_nothing_that_it_said_before() {
    let mut run = Run::new(setup(4, 4, 31));
    run.load(SECOND, 0);
    run.world.crash(3);
    run.world.lose_disk(3);
    run.load(SECOND, 0);
    run.world.start(3);
    run.load(2 * SECOND, 0);
    run.pass(2 * SECOND);
    assert_eq!(run.world.failure(3), None);
    assert_eq!(run.height(3), run.height(0));
    assert!(run.keeps_promises());
    assert!(run.agree() > 30, "{}", run.agree());
    // A disk does not go from under a node.
    run.world.lose_disk(0);
    assert!(run.height(0) > 30 && run.world.block(0, &instance(), 1).is_some());
}

#[test]
fn a_clock_that_jumps_ahead_and_back_stops_nobody() {
    let mut run = Run::new(setup(4, 4, 32));
    run.load(SECOND, 0);
    let ahead = Trouble {
        ahead_ms: 5000,
        ..Trouble::default()
    };
    run.world.trouble(2, ahead);
    let before = run.height(2);
    run.load(SECOND, 0);
    assert!(run.height(2) > before + 10, "{} after {before}", run.height(2));
    // Set back, it stands still for five seconds: the others go on, and it with them when its time has come.
    run.world.trouble(2, Trouble::default());
    run.load(6 * SECOND, 0);
    run.pass(2 * SECOND);
    assert_eq!(run.height(2), run.height(0));
    assert!(run.keeps_promises());
    run.agree();
}

#[test]
fn a_full_disk_keeps_promises_back_until_there_is_room() {
    let mut run = Run::new(setup(4, 4, 33));
    run.load(SECOND, 0);
    let full = Trouble {
        disk_full: true,
        ..Trouble::default()
    };
    // Two of four: no quorum can make its votes durable.
    run.world.trouble(2, full);
    run.world.trouble(3, full);
    run.pass(SECOND);
    let stalled = run.height(0);
    run.pass(2 * SECOND);
    assert_eq!(run.height(0), stalled);
    for host in [2, 3] {
        run.world.trouble(host, Trouble::default());
    }
    run.pass(SECOND);
    run.load(2 * SECOND, 0);
    run.pass(2 * SECOND);
    assert!(run.height(0) > stalled + 10, "{} after {stalled}", run.height(0));
    assert!(run.keeps_promises());
    run.agree();
}

#[test]
fn a_slow_disk_and_slow_links_show_in_the_time_of_blocks() {
    let blocks = |trouble: Trouble, shift: LinkShift| {
        let mut run = Run::new(setup(4, 4, 34));
        run.load(SECOND, 0);
        let before = run.height(0);
        for host in 0..4 {
            run.world.trouble(host, trouble);
            (0..4).filter(|other| *other != host).for_each(|other| {
                assert!(run.world.shift(host, other, shift));
            });
        }
        run.load(3 * SECOND, 0);
        run.agree();
        run.height(0) - before
    };
    let (fine, plain) = (Trouble::default(), LinkShift::default());
    let normal = blocks(fine, plain);
    let slow = Trouble {
        flush_ns: 100 * MILLISECOND,
        ..fine
    };
    let far = LinkShift {
        delay_ns: 100 * MILLISECOND,
        ..plain
    };
    assert!(2 * blocks(slow, plain) < normal, "{normal}");
    assert!(2 * blocks(fine, far) < normal, "{normal}");
}
