//! A directed script for each rule of the room: the node withstands it, and the node without the rule does not.

use super::{
    scene::{Cast, Scene},
    storm::{self, HEIGHT_MS_MAX},
};
use crate::{mutants::Knobs, tests::scripts::mesh};
use regatta_api::{config::VoteTopology, view::EvidenceKind};
use regatta_base::{Digest, Height};
use regatta_consensus::Phase;
use std::collections::BTreeSet;

/// Plays something and says what went wrong.
type Script = fn(Knobs) -> BTreeSet<String>;

/// The knob that removes a rule, what then breaks, and the script that shows it.
const SCRIPTS: &[(&str, &str, Script)] = &[
    // Whoever counts votes that nobody checked has a certificate that does not hold.
    ("trust_votes", "certificate", one_signs_badly),
    ("blame_all", "blame: an honest", one_signs_badly),
    ("blame_nobody", "blame: who signed", one_signs_badly),
    ("count_refused", "slow", one_signs_badly),
    ("forget_own", "slow", one_says_nothing),
    ("wait_from_strangers", "slow", one_is_impersonated),
    ("wait_when_contested", "evidence", one_votes_twice),
    ("wait_when_given_up", "evidence", one_denies_its_vote),
    ("wait_when_idle", "idle", |knobs| storm::idle(2, knobs)),
    ("wait_of_the_silent", "silence", |knobs| storm::silence(4, knobs)),
    ("wait_to_be_passed_on", "slow", along_a_path),
    ("wait_through_retries", "stuck", |knobs| storm::stuck(4, knobs)),
];

/// Four that vote to each other; 3 is a puppet.
fn four(knobs: Knobs) -> Scene {
    let cast = Cast {
        nodes: 4,
        edges: &mesh(4),
        topology: VoteTopology::AllToAll,
        empty_blocks: true,
        faulty: 1,
    };
    let mut scene = Scene::new(1, knobs, &cast);
    scene.world.run(100);
    scene
}

/// A proposal that has just been sent, by somebody else than the victim 0.
fn proposal(scene: &mut Scene) -> (Height, Digest) {
    loop {
        storm::await_proposal(scene);
        let (height, digest) = scene.newest_proposal().unwrap();
        if scene.leader(height) != 0 {
            return (height, digest);
        }
    }
}

fn one_signs_badly(knobs: Knobs) -> BTreeSet<String> {
    let mut scene = four(knobs);
    for _ in 0..3 {
        let (height, digest) = proposal(&mut scene);
        scene.deceive(0, 3, height, digest);
        let second = scene.forged(3, height, Phase::Two, digest);
        scene.tell(0, 3, &[second]);
        scene.go_on(140, HEIGHT_MS_MAX / 2);
    }
    scene.judge()
}

fn one_says_nothing(knobs: Knobs) -> BTreeSet<String> {
    let mut scene = four(knobs);
    scene.go_on(250, HEIGHT_MS_MAX);
    scene.judge()
}

/// The puppet says nothing itself and signs badly in the name of 1, whose vote is needed.
fn one_is_impersonated(knobs: Knobs) -> BTreeSet<String> {
    let mut scene = four(knobs);
    for _ in 0..3 {
        let (height, digest) = proposal(&mut scene);
        let forged = scene.forged(1, height, Phase::One, digest);
        scene.impersonate(0, 3, forged);
        scene.go_on(150, HEIGHT_MS_MAX);
    }
    scene.judge()
}

/// A node that has no second votes but its own, at its current height, with what was proposed there.
fn before_a_decision(scene: &mut Scene) -> (Height, Digest) {
    scene.block(|_, _, message| storm::is_second_vote(message));
    scene.world.run(40);
    let height = scene.next(0);
    (height, scene.proposal(height).unwrap())
}

fn one_votes_twice(knobs: Knobs) -> BTreeSet<String> {
    let mut scene = four(knobs);
    let (height, digest) = before_a_decision(&mut scene);
    let other = scene.some_digest();
    let [first, second] = [digest, other].map(|digest| scene.vote(3, height, Phase::Two, digest));
    scene.contradict(0, 3, first, second, EvidenceKind::Vote2);
    scene.judge()
}

fn one_denies_its_vote(knobs: Knobs) -> BTreeSet<String> {
    let mut scene = four(knobs);
    let (height, digest) = before_a_decision(&mut scene);
    let first = scene.vote(3, height, Phase::Two, digest);
    let second = scene.denial(3, height);
    scene.contradict(0, 3, first, second, EvidenceKind::VoteDenied);
    scene.judge()
}

fn along_a_path(knobs: Knobs) -> BTreeSet<String> {
    let edges: Vec<(usize, usize)> = (0..6).map(|node| (node, node + 1)).collect();
    let cast = Cast {
        nodes: 7,
        edges: &edges,
        topology: VoteTopology::Relay,
        empty_blocks: true,
        faulty: 0,
    };
    let mut scene = Scene::new(1, knobs, &cast);
    scene.go_on(250, HEIGHT_MS_MAX);
    scene.judge()
}

#[test]
fn every_rule_of_the_room_has_a_script_that_it_alone_withstands() {
    for (knob, mutant) in Knobs::each() {
        let of_knob: Vec<_> = SCRIPTS.iter().filter(|(name, ..)| *name == knob).collect();
        assert!(!of_knob.is_empty(), "no script is about the rule that `{knob}` removes");
        for (_, charge, script) in of_knob {
            assert_eq!(script(Knobs::default()), BTreeSet::new(), "{knob}");
            let violations = script(mutant);
            let caught = violations.iter().any(|violation| violation.starts_with(charge));
            assert!(caught, "{knob} survives: {violations:?}");
        }
    }
}

/// A vote of the next height waits until that height has another block; of one signer never more than four wait.
#[test]
fn a_vote_that_never_gets_a_quorum_is_let_go_and_a_flood_takes_no_room() {
    let mut scene = four(Knobs::default());
    storm::await_proposal(&mut scene);
    let height = scene.next(0) + 1;
    let digest = scene.some_digest();
    let lonely = [Phase::One, Phase::Two].map(|phase| scene.vote(3, height, phase, digest));
    scene.tell(0, 3, &lonely);
    let of_puppet = |scene: &mut Scene| {
        let waiting = scene.waiting(0).into_iter();
        waiting.filter(|(_, _, signer)| *signer == 3).count()
    };
    assert_eq!(of_puppet(&mut scene), 2, "they wait");
    let flood: Vec<_> = (0..500)
        .map(|mark: u16| Digest::of_bytes(&mark.to_be_bytes()))
        .map(|digest| scene.vote(3, height, Phase::One, digest))
        .collect();
    scene.tell(0, 3, &flood);
    assert!(of_puppet(&mut scene) <= 2);
    scene.go_on(100, HEIGHT_MS_MAX);
    assert!(scene.next(0) > height, "the chain goes on");
    assert!(
        scene.waiting(0).iter().all(|(of, ..)| *of > height),
        "what waited is gone"
    );
    assert_eq!(scene.judge(), BTreeSet::new());
}
