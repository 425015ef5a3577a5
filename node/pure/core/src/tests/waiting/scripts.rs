//! A directed script for each rule of the room: the node withstands it, and the node without the rule does not.

use super::{
    scene::{Cast, Scene},
    storm::{self, HEIGHT_MS_MAX, INTERVAL_MS},
};
use crate::{Time, mutants::Knobs, tests::scripts::mesh};
use regatta_api::{config::VoteTopology, view::EvidenceKind};
use regatta_base::{Digest, Height};
use regatta_consensus::{Message, Phase, Signed};
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
    ("wait_from_strangers", "room", a_leader_is_impersonated),
    ("trust_votes", "blame: who signed", |knobs| {
        a_stray_makes_a_quorum(0, knobs)
    }),
    ("trust_votes", "blame: who signed", |knobs| {
        a_stray_makes_a_quorum(1, knobs)
    }),
    ("count_refused", "slow", |knobs| a_stray_makes_a_quorum(0, knobs)),
    ("count_refused", "slow", |knobs| a_stray_makes_a_quorum(1, knobs)),
    ("blame_nobody", "blame: who signed", |knobs| {
        a_stray_makes_a_quorum(0, knobs)
    }),
    ("blame_nobody", "blame: who signed", |knobs| {
        a_stray_makes_a_quorum(1, knobs)
    }),
    ("blame_nobody", "blame: who signed", |knobs| {
        a_stray_makes_a_quorum(2, knobs)
    }),
    ("keep_rivals_out", "slow", one_votes_while_a_forgery_is_checked),
    ("forget_rivals", "slow", a_vote_counts_when_its_forgery_is_refused),
    ("drop_spares", "slow", |knobs| storm::certificates(1, knobs)),
    ("displace_proposal", "slow", a_leader_forges_a_second_proposal),
    ("wait_when_due", "slow", one_says_nothing),
    ("wait_without_payload", "unheld", |knobs| storm::unheld(1, knobs)),
    ("leave_out", "slow", |knobs| storm::half_hearted(1, knobs)),
    ("wait_beyond_decision", "room", a_proposal_comes_during_the_last_check),
];

/// Four that vote to each other; 3 is a puppet.
fn four(knobs: Knobs) -> Scene {
    four_every(INTERVAL_MS, knobs)
}

/// The same with a proposal each `interval` milliseconds, or as soon as the block before has its first quorum.
fn four_every(interval: Time, knobs: Knobs) -> Scene {
    let cast = Cast {
        nodes: 4,
        edges: &mesh(4),
        topology: VoteTopology::AllToAll,
        interval: Some(interval),
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

/// The puppet says nothing itself and signs badly in the name of 1, whose vote is needed and waits.
fn one_is_impersonated(knobs: Knobs) -> BTreeSet<String> {
    let mut scene = four(knobs);
    for _ in 0..3 {
        let (height, digest) = proposal(&mut scene);
        let [forged, vote] = tell_by_hand(&mut scene, 1, height, digest);
        scene.tell(0, 1, &[vote]);
        scene.impersonate(0, 3, forged);
        scene.go_on(150, HEIGHT_MS_MAX);
    }
    scene.judge()
}

/// While the vote that is forged in its name is being checked, 1 votes.
fn one_votes_while_a_forgery_is_checked(knobs: Knobs) -> BTreeSet<String> {
    let mut scene = four(knobs);
    for _ in 0..3 {
        let (height, digest) = proposal(&mut scene);
        let [forged, vote] = tell_by_hand(&mut scene, 1, height, digest);
        scene.impersonate(0, 3, forged);
        scene.tell(0, 1, &[vote]);
        scene.go_on(150, HEIGHT_MS_MAX);
    }
    scene.judge()
}

/// With what 0 and 1 vote the puppet's vote makes a quorum, and it is none: of a key outside the set, for another instance,
/// or of a signer that there is not. Then comes what 2 votes.
fn a_stray_makes_a_quorum(kind: usize, knobs: Knobs) -> BTreeSet<String> {
    let mut scene = four(knobs);
    for _ in 0..3 {
        let (height, digest) = proposal(&mut scene);
        let [_, vote] = tell_by_hand(&mut scene, 1, height, digest);
        scene.tell(0, 1, &[vote]);
        let stray = scene.strays(3, height, Phase::One, digest)[kind].clone();
        scene.slip_in(0, 3, stray);
        // Now the proposal arrives, and 0 votes.
        scene.go_on(150, HEIGHT_MS_MAX);
    }
    scene.judge()
}

/// The first vote of `who` about a height reaches 0 by hand alone; returns a forged one and the real one.
fn tell_by_hand(scene: &mut Scene, who: u16, height: Height, digest: Digest) -> [Message; 2] {
    scene.block(move |_, to, message| {
        let is_first = |vote: &Signed| vote.signer == who && vote.statement.height == height;
        to == 0 && message.signed().is_some_and(is_first) && storm::is_first_vote(message)
    });
    let forged = scene.forged(who.into(), height, Phase::One, digest);
    [forged, scene.vote(who.into(), height, Phase::One, digest)]
}

/// The vote of 2, which 1 brings, counts when one that the puppet forged in its name is refused. What 1 says itself waits
/// for 3 and 4.
fn a_vote_counts_when_its_forgery_is_refused(knobs: Knobs) -> BTreeSet<String> {
    let mut scene = Scene::new(1, knobs, &storm::CHAIN);
    scene.world.run(100);
    for _ in 0..3 {
        let (height, digest) = proposal(&mut scene);
        let [forged, vote] = tell_by_hand(&mut scene, 2, height, digest);
        scene.tell(0, 1, &[vote]);
        scene.impersonate(0, 5, forged);
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

/// Before the height of a proposal by `leader` 0 gets no second votes, and has that proposal waiting. Returns the height that
/// it decides, and its block.
fn before_a_batch(scene: &mut Scene, leader: usize) -> Option<(Height, Digest)> {
    let leads = scene.turns_of(leader);
    scene.block(move |_, to, message| to == 0 && storm::is_second_vote(message) && leads(message.height() + 1));
    let most = scene.world.now + 2 * HEIGHT_MS_MAX;
    while scene.ahead(0).is_none_or(|(height, _)| scene.leader(height) != leader) {
        if scene.world.now > most {
            scene.blame("slow: no proposal waits");
            return None;
        }
        scene.world.run(1);
    }
    let height = scene.next(0);
    scene.proposal(height).map(|digest| (height, digest))
}

/// The second votes of 1 and 2 come through after all.
fn decide(scene: &mut Scene, (height, digest): (Height, Digest)) {
    scene.block(|_, _, _| false);
    for voter in [1, 2] {
        let vote = scene.vote(voter, height, Phase::Two, digest);
        scene.tell(0, voter, &[vote]);
    }
}

/// The puppet's real proposal waits when its forged one comes.
fn a_leader_forges_a_second_proposal(knobs: Knobs) -> BTreeSet<String> {
    let mut scene = four_every(0, knobs);
    for _ in 0..3 {
        let Some(place) = before_a_batch(&mut scene, 3) else {
            break;
        };
        let genuine = scene.proposal(place.0 + 1).map(|digest| (place.0 + 1, digest));
        assert_eq!(scene.ahead(0), genuine, "it waits");
        scene.misplace(0, 3);
        decide(&mut scene, place);
        scene.go_on(150, HEIGHT_MS_MAX);
    }
    scene.check_rounds();
    scene.judge()
}

/// The puppet brings the proposal of 1 with a bad signature before 1 brings it itself.
fn a_leader_is_impersonated(knobs: Knobs) -> BTreeSet<String> {
    let mut scene = four_every(0, knobs);
    for _ in 0..3 {
        let (height, _) = storm::await_turn_of(&mut scene, 1);
        let proposal = loop {
            match scene.sent(height + 1) {
                Some(proposal) => break proposal,
                None => scene.world.run(1),
            }
        };
        scene.misquote(0, 3, proposal);
        scene.go_on(150, HEIGHT_MS_MAX);
    }
    scene.check_rounds();
    scene.judge()
}

/// The votes that decide a height are being checked when the next proposal comes.
fn a_proposal_comes_during_the_last_check(knobs: Knobs) -> BTreeSet<String> {
    let mut scene = four_every(0, knobs);
    let place = storm::await_turn_of(&mut scene, 3);
    scene
        .block(|_, to, message| to == 0 && (storm::is_second_vote(message) || matches!(message, Message::Proposal(_))));
    scene.world.run(6);
    let proposal = scene.sent(place.0 + 1).unwrap();
    decide(&mut scene, place);
    scene.tell(0, 3, &[Message::Proposal(proposal.clone())]);
    assert_eq!(scene.ahead(0), Some((place.0 + 1, proposal.digest())), "it waits");
    scene.world.run(0);
    if scene.next(0) > place.0 && scene.ahead(0).is_some() {
        scene.blame("room: a proposal waits although its height has begun");
    }
    scene.go_on(150, HEIGHT_MS_MAX);
    scene.judge()
}

fn along_a_path(knobs: Knobs) -> BTreeSet<String> {
    let edges: Vec<(usize, usize)> = (0..6).map(|node| (node, node + 1)).collect();
    let cast = Cast {
        nodes: 7,
        edges: &edges,
        topology: VoteTopology::Relay,
        interval: Some(INTERVAL_MS),
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

/// Of proposals one waits, however many come; and it paces the block after it from when it came.
#[test]
fn of_a_flood_of_proposals_one_waits_and_its_arrival_counts() {
    let mut scene = four_every(0, Knobs::default());
    let place = before_a_batch(&mut scene, 3).expect("a proposal waits");
    let (genuine, checked, arrived) = (scene.ahead(0), scene.world.checked, scene.world.now);
    scene.world.run(5);
    for _ in 0..100 {
        scene.misplace(0, 3);
    }
    assert_ne!(scene.ahead(0), genuine, "it is being checked");
    scene.world.run(0);
    assert_eq!(scene.ahead(0), None, "as is what came later");
    let pace = scene.world.node_mut(0).chain_for_tests().pace();
    assert_eq!(pace, Some((place.0 + 1, arrived)));
    let cost = scene.world.checked - checked;
    assert!(cost < 101 + 40, "each is checked once, and what else there is: {cost}");
    decide(&mut scene, place);
    scene.go_on(100, HEIGHT_MS_MAX);
    assert_eq!(scene.judge(), BTreeSet::new());
}

/// A proposal that waits is checked when a retry is due, although no vote ever comes.
#[test]
fn a_proposal_for_whose_company_nobody_comes_is_checked_by_the_next_retry() {
    let mut scene = four_every(0, Knobs::default());
    storm::await_turn_of(&mut scene, 3);
    scene.block(|_, _, message| storm::is_second_vote(message));
    scene.world.run(6);
    assert!(scene.ahead(0).is_some(), "it waits");
    scene.world.run(storm::ASKED_MS_MAX);
    assert_eq!(scene.ahead(0), None);
    assert_eq!(scene.judge(), BTreeSet::new());
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
