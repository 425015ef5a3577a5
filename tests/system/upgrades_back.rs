//! Upgrades that need two signatures, that go back on purpose, and that go back because the new program never catches up.

use super::support::{
    network::Network,
    releases::{Made, Signer},
    wait::until,
};
use regatta_api::view::{ReleaseStage, UpgradeView};
use regatta_base::{Digest, SecretKey};
use regatta_seal::{Bundle, Document};

/// A document with the signatures of both under each of its parts.
fn by_both(one: &Signer, other: &SecretKey, made: &Made) -> Document {
    let mut document = one.document(made);
    let bundle = Bundle::sign(&made.manifest, other);
    let mut release = made.release.clone();
    release.build = bundle.digest();
    let second = release.sign(&bundle, other);
    document.signatures.extend(second.signatures);
    document.manifest_signatures.extend(second.manifest_signatures);
    document
}

/// Brings a release and all pieces of its program to one node.
fn bring(network: &Network, index: usize, document: &Document, made: &Made) {
    let taken = network.offer(index, document).unwrap();
    let pieces = taken.missing.into_iter();
    pieces.for_each(|chunk| network.bring(index, &made.piece(chunk)).unwrap());
}

/// Another build of the node with `tail` behind its end.
fn build(signer: &Signer, tail: &[u8]) -> Vec<u8> {
    [signer.next_build().as_slice(), tail].concat()
}

fn running(network: &Network, index: usize) -> Result<Digest, String> {
    network
        .ask(network.client(index).version())
        .map(|version| version.binary)
}

/// Waits until every node has become the program of the release, and not only tries it.
fn wait_all_run(network: &mut Network, made: &Made, number: u64) {
    let is_settled = |view: &UpgradeView| {
        let release = view.release.as_ref();
        release.is_some_and(|release| release.number == number && release.stage == ReleaseStage::Settled)
            && view.running == made.digest()
    };
    until("all to run the released program", || {
        for index in 0..network.nodes.len() {
            let view = network.upgrade(index)?;
            if !is_settled(&view) {
                return Err(format!("node {index}: {view:?}"));
            }
        }
        Ok(())
    });
    for index in 0..network.nodes.len() {
        network.wait_ready(index);
    }
}

#[test]
fn two_of_three_keys_must_have_signed_and_one_that_signs_twice_is_one() {
    let signer = Signer::new();
    let (second, third) = (SecretKey::from_seed([71; 32]), SecretKey::from_seed([72; 32]));
    let mut network = Network::new(4, 0).trusting(&signer);
    for node in &mut network.nodes {
        node.config
            .upgrade
            .trusted_keys
            .extend([second.public(), third.public()]);
        node.config.upgrade.threshold = 2;
    }
    let mut network = network.started();
    let old = running(&network, 0).unwrap();
    let made = signer.make(1, signer.next_build(), network.height(0) + 40, 10);
    let alone = signer.document(&made);
    let both = by_both(&signer, &second, &made);
    let twice = |document: &Document| {
        let mut twice = document.clone();
        twice.signatures.extend(document.signatures.clone());
        twice.manifest_signatures.extend(document.manifest_signatures.clone());
        twice
    };
    let stranger = by_both(&signer, &SecretKey::from_seed([99; 32]), &made);
    let mut build_by_one = both.clone();
    build_by_one.manifest_signatures.truncate(1);
    let mut release_by_one = both.clone();
    release_by_one.signatures.truncate(1);
    for (index, bad) in [alone.clone(), twice(&alone), stranger, build_by_one, release_by_one]
        .into_iter()
        .enumerate()
    {
        let refused = network.offer(index % 4, &bad).unwrap_err();
        assert!(refused.contains("1 valid signatures"), "{index}: {refused}");
    }
    (0..4).for_each(|index| assert_eq!(network.upgrade(index).unwrap().release, None));
    assert_eq!(running(&network, 1), Ok(old));
    bring(&network, 1, &both, &made);
    wait_all_run(&mut network, &made, 1);
    network.assert_agreement();
    // The one that was not asked the first time counts as much.
    let next = signer.make(2, build(&signer, b", again"), network.height(0) + 40, 10);
    bring(&network, 3, &by_both(&signer, &third, &next), &next);
    wait_all_run(&mut network, &next, 2);
    network.assert_agreement();
    assert!((0..4).all(|index| !network.process(index).has_ended()));
}

#[test]
fn a_network_goes_back_to_an_older_build_only_where_the_release_allows_it() {
    let signer = Signer::new();
    let mut network = Network::new(4, 0).trusting(&signer).started();
    // Sealed in this order, so that the second has the greater sequence.
    let mut older = signer.make(3, build(&signer, b", older"), 0, 10);
    let newer = signer.make(1, build(&signer, b", newer"), network.height(0) + 40, 10);
    let sequence = older.manifest.sequence;
    assert!(sequence < newer.manifest.sequence);
    bring(&network, 0, &signer.document(&newer), &newer);
    wait_all_run(&mut network, &newer, 1);
    for index in 0..4 {
        assert_eq!(network.upgrade(index).unwrap().sequence_min, newer.manifest.sequence);
    }
    older.release.activate_at = network.height(0) + 40;
    for allowed in [None, Some(sequence + 1)] {
        (older.release.number, older.release.allow_rollback_to) = (2, allowed);
        let refused = network.offer(2, &signer.document(&older)).unwrap_err();
        assert!(refused.contains("sequence"), "{allowed:?}: {refused}");
    }
    (older.release.number, older.release.allow_rollback_to) = (3, Some(sequence));
    bring(&network, 2, &signer.document(&older), &older);
    wait_all_run(&mut network, &older, 3);
    network.assert_agreement();
    // The node that is started by hand as the first program becomes the one that the network went back to.
    network.kill(1);
    network.start(1);
    network.wait_ready(1);
    assert_eq!(running(&network, 1), Ok(older.digest()));
    network.assert_agreement();
}

#[test]
fn a_proven_program_that_never_catches_up_again_is_given_up_after_three_starts() {
    let signer = Signer::new();
    let mut network = Network::new(4, 0).trusting(&signer).started();
    let old = running(&network, 0).unwrap();
    let made = signer.make(1, signer.next_build(), network.height(0) + 40, 10);
    bring(&network, 0, &signer.document(&made), &made);
    wait_all_run(&mut network, &made, 1);
    // With nobody else there it cannot catch up, whichever program it is.
    (0..4).for_each(|index| network.kill(index));
    let mut in_vain = 0;
    loop {
        network.start(3);
        let program = until("the node to answer", || running(&network, 3));
        if program == old {
            break;
        }
        assert_eq!(program, made.digest());
        in_vain += 1;
        assert!(in_vain <= 3, "it is still not given up");
        network.kill(3);
    }
    // That it became the new program counts as well, when it was killed before it had noted that it caught up.
    assert!(in_vain >= 2, "it was given up after {in_vain} starts");
    let failure = network.upgrade(3).unwrap().failure.expect("it says why");
    assert_eq!(failure.number, 1);
    assert!(
        failure.reason.contains("started 3 times and never caught up"),
        "{failure:?}"
    );
    // The others run the new one, and all agree.
    (0..3).for_each(|index| network.start(index));
    for index in 0..4 {
        network.wait_ready(index);
    }
    let programs: Vec<_> = (0..4).map(|index| running(&network, index).unwrap()).collect();
    assert_eq!(programs, [made.digest(), made.digest(), made.digest(), old]);
    network.assert_agreement();
    // It stays so: what failed here is not tried again, and a later release is.
    let next = signer.make(2, build(&signer, b", mended"), network.height(0) + 40, 10);
    bring(&network, 3, &signer.document(&next), &next);
    wait_all_run(&mut network, &next, 2);
    network.assert_agreement();
}
