//! Upgrades over the air: a network changes its program under load, goes back where it has to, and resumes.

use super::support::{
    network::Network,
    releases::{Made, Signer},
    wait::until,
};
use regatta_api::{Reject, view::ReleaseStage};
use regatta_base::{Digest, SecretKey, TransactionId};
use std::time::{Duration, Instant};

/// What a program says at `version`, and does at `run`.
fn script(run: &str) -> Vec<u8> {
    format!("#!/bin/sh\n[ \"$1\" = version ] && exit 0\n{run}\n").into_bytes()
}

fn running(network: &Network, index: usize) -> Result<Digest, String> {
    network
        .ask(network.client(index).version())
        .map(|version| version.binary)
}

/// Submits through whoever answers, until a look gives a value; then waits until every transaction is executed.
fn under_load<T>(network: &Network, what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let sender = SecretKey::from_seed([91; 32]);
    let mut sent: Vec<TransactionId> = Vec::new();
    let found = until(what, || {
        let sequence = sent.len() as u64 + 1;
        let transaction = network.put(&sender, sequence, &format!("key-{sequence}"), "value");
        // A node that switches may have taken it and not answered: the next one says that it is there already.
        let through = (0..network.nodes.len()).find_map(|turn| {
            let index = (sent.len() + turn) % network.nodes.len();
            let results = network.submit(index, vec![transaction.clone()]).ok()?.results;
            let result = results.into_iter().next()?;
            let is_taken = matches!(result.rejected, None | Some(Reject::Duplicate | Reject::StaleSequence));
            result.id.filter(|_| is_taken)
        });
        sent.extend(through);
        look()
    });
    assert!(sent.len() > 20, "{} transactions are no load", sent.len());
    for id in &sent {
        network.wait_executed(0, id);
    }
    found
}

fn wait_settled(network: &Network, index: usize, number: u64) {
    until("the release to be settled", || {
        let view = network.upgrade(index)?;
        let is_settled = |release: &regatta_api::view::ReleaseView| {
            release.number == number && release.stage == ReleaseStage::Settled
        };
        view.release
            .as_ref()
            .filter(|release| is_settled(release))
            .map(drop)
            .ok_or(format!("{view:?}"))
    });
}

/// The command line brings a release and its program to a node.
fn send(signer: &Signer, network: &Network, index: usize, made: &Made) -> super::support::process::Ended {
    let folder = tempfile::tempdir().unwrap();
    signer.write(made, folder.path());
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    network.command(index, &["send", "release", &path("next.release"), &path("next")])
}

#[test]
fn a_network_changes_its_program_under_load_while_one_node_stays_as_it_is() {
    let signer = Signer::new();
    let mut network = Network::new(4, 2).trusting(&signer);
    // The last one trusts nobody: the network runs on two programs afterwards.
    network.nodes[5].config.upgrade.trusted_keys.clear();
    let mut network = network.started();
    let old = running(&network, 0).unwrap();
    let pids: Vec<u32> = (0..6).map(|index| network.process(index).pid()).collect();
    let made = signer.make(1, signer.next_build(), network.height(0) + 50, 25);
    let sent = send(&signer, &network, 0, &made);
    assert!(sent.success().contains("release 1"), "{}", sent.stdout);
    let new = made.digest();
    under_load(&network, "all that trust the key to run the new program", || {
        let programs: Vec<_> = (0..5).map(|index| running(&network, index)).collect();
        let all_new = programs.iter().all(|program| *program == Ok(new));
        if all_new { Ok(()) } else { Err(format!("{programs:?}")) }
    });
    for (index, pid) in pids.into_iter().enumerate() {
        assert_eq!(network.process(index).pid(), pid);
        assert!(!network.process(index).has_ended());
        network.wait_ready(index);
    }
    (0..5).for_each(|index| wait_settled(&network, index, 1));
    assert_eq!(running(&network, 5), Ok(old));
    assert_eq!(network.upgrade(5).unwrap().release, None);
    assert_eq!(network.upgrade(2).unwrap().failure, None);
    network.assert_agreement();
    // Whoever starts the old program from now on gets the new one.
    network.kill(1);
    network.start(1);
    network.wait_ready(1);
    assert_eq!(running(&network, 1), Ok(new));
    let shown = network.command(1, &["query", "release"]);
    assert!(shown.success().contains("release 1    settled"), "{}", shown.stdout);
    network.assert_agreement();
}

#[test]
fn a_program_that_ends_at_once_is_given_up_everywhere_and_the_network_goes_on() {
    let signer = Signer::new();
    let mut network = Network::new(4, 0).trusting(&signer).started();
    let old = running(&network, 0).unwrap();
    let made = signer.make(1, script("exit 9"), network.height(0) + 20, 20);
    send(&signer, &network, 2, &made).success();
    under_load(&network, "all to give the program up", || {
        let views: Vec<_> = (0..4).map(|index| network.upgrade(index)).collect();
        let failed = |view: &Result<regatta_api::view::UpgradeView, String>| {
            view.as_ref().is_ok_and(|view| view.failure.is_some())
        };
        if views.iter().all(failed) {
            Ok(())
        } else {
            Err(format!("{views:?}"))
        }
    });
    for index in 0..4 {
        assert!(!network.process(index).has_ended());
        network.wait_ready(index);
        let view = network.upgrade(index).unwrap();
        assert_eq!((view.running, view.sequence_min), (old, 0));
        let failure = view.failure.unwrap();
        assert!(failure.reason.contains("exit status: 9"), "{failure:?}");
    }
    network.assert_agreement();
    // A later release is not held back by the one that failed.
    let next = signer.make(2, signer.next_build(), network.height(0) + 20, 20);
    send(&signer, &network, 1, &next).success();
    under_load(&network, "all to run the later release", || {
        let programs: Vec<_> = (0..4).map(|index| running(&network, index)).collect();
        let all_new = programs.iter().all(|program| *program == Ok(next.digest()));
        if all_new { Ok(()) } else { Err(format!("{programs:?}")) }
    });
    network.assert_agreement();
}

#[test]
fn a_program_that_never_catches_up_and_one_that_cannot_say_what_it_is_are_given_up() {
    let signer = Signer::new();
    let mut network = Network::new(1, 0).trusting(&signer);
    network.nodes[0].config.upgrade.trial_ms = 1000;
    let mut network = network.started();
    let old = running(&network, 0).unwrap();
    let reason = |network: &Network, number: u64| {
        until("the program to be given up", || {
            let failure = network.upgrade(0)?.failure;
            let own = failure.filter(|failure| failure.number == number);
            own.map(|failure| failure.reason)
                .ok_or_else(|| "none failed".to_owned())
        })
    };
    // It is fetched and put together, but the node is not even ended for it.
    let made = signer.make(1, b"#!/bin/sh\nexit 7\n".to_vec(), network.height(0) + 5, 5);
    send(&signer, &network, 0, &made).success();
    assert!(reason(&network, 1).contains("exit status: 7"));
    let made = signer.make(2, script("exec sleep 600"), network.height(0) + 5, 5);
    send(&signer, &network, 0, &made).success();
    let late = reason(&network, 2);
    assert!(late.contains("did not catch up within 1s"), "{late}");
    assert_eq!(running(&network, 0), Ok(old));
    assert!(!network.process(0).has_ended());
    network.stop(0);
}

#[test]
fn a_restart_in_the_middle_of_the_pieces_asks_only_for_the_others() {
    let signer = Signer::new();
    let mut network = Network::new(4, 0).trusting(&signer).started();
    let made = signer.make(1, signer.next_build(), 1_000_000_000, 20);
    let taken = network.offer(0, &signer.document(&made)).unwrap();
    let all = taken.missing.len() as u64;
    let half = all / 2;
    let bring = |network: &Network, pieces: std::ops::Range<u64>| {
        pieces.for_each(|chunk| network.bring(0, &made.piece(chunk as u32)).unwrap());
    };
    let wait_held = |network: &Network, index: usize, held: u64| {
        until(&format!("node {index} to hold {held} pieces"), || {
            let release = network.upgrade(index)?.release.ok_or("no release")?;
            if release.chunks_held == held {
                Ok(release.stage)
            } else {
                Err(format!("{release:?}"))
            }
        })
    };
    bring(&network, 0..half);
    wait_held(&network, 3, half);
    network.kill(3);
    network.start(3);
    network.wait_ready(3);
    assert_eq!(wait_held(&network, 3, half), ReleaseStage::Fetching);
    assert_eq!(network.metrics(3)["regatta_release_chunks_total"], 0.0);
    bring(&network, half..all);
    for index in 0..4 {
        wait_held(&network, index, all);
    }
    let fetched = network.metrics(3)["regatta_release_chunks_total"];
    assert_eq!(fetched, (all - half) as f64, "each piece is fetched once");
    until("the program to be put together", || {
        let release = network.upgrade(3)?.release.ok_or("no release")?;
        if release.stage == ReleaseStage::Ready {
            Ok(())
        } else {
            Err(format!("{release:?}"))
        }
    });
}

#[test]
fn a_node_that_is_told_to_stop_in_the_middle_of_a_trial_stops() {
    let signer = Signer::new();
    let mut network = Network::new(1, 0).trusting(&signer).started();
    let made = signer.make(1, script("exec sleep 600"), network.height(0) + 5, 5);
    send(&signer, &network, 0, &made).success();
    until("the trial to begin", || {
        let log = network.process(0).stderr();
        if log.contains("trying the released program") {
            Ok(())
        } else {
            Err(log)
        }
    });
    let began = Instant::now();
    network.stop(0);
    assert!(began.elapsed() < Duration::from_secs(30));
    network.start(0);
    network.wait_ready(0);
}
