//! Random storms over the room, and the gate: they must notice each rule that is missing.

use super::scene::{Cast, Scene};
use crate::{Time, mutants::Knobs, tests::scripts::mesh};
use rand::{RngExt, seq::IndexedRandom};
use regatta_api::{config::VoteTopology, view::EvidenceKind};
use regatta_base::{Digest, Height};
use regatta_consensus::{Content, Message, Phase};
use std::collections::BTreeSet;

/// Storms of the ordinary run.
const STORMS: u64 = 165;
/// Storms within which each defect must be noticed.
const STORMS_OF_A_DEFECT: u64 = 110;
/// Between two proposals, where they come when the block before is decided.
pub(super) const INTERVAL_MS: Time = 10;
/// Longer than a height takes in these networks, and shorter than it takes until somebody asks again: 125 ms.
pub(super) const HEIGHT_MS_MAX: u64 = 110;
/// By then somebody has asked again at a height that does not go on, and nobody has given it up yet: the timeout of a
/// round is 300 ms.
pub(super) const ASKED_MS_MAX: u64 = 170;

/// Plays a storm and returns what went wrong.
fn storm(seed: u64, knobs: Knobs) -> BTreeSet<String> {
    match seed % 11 {
        0 => liars(seed, knobs, 4),
        1 => liars(seed, knobs, 7),
        2 => idle(seed, knobs),
        3 => tree(seed, knobs),
        4 => stuck(seed, knobs),
        5 => ahead(seed, knobs),
        6 => unheld(seed, knobs),
        7 => rivals(seed, knobs),
        8 => half_hearted(seed, knobs),
        9 => certificates(seed, knobs),
        _ => silence(seed, knobs),
    }
}

/// Everybody votes to everybody, and puppets say whatever may do harm whenever it may do most.
fn liars(seed: u64, knobs: Knobs, nodes: usize) -> BTreeSet<String> {
    let cast = Cast {
        nodes,
        edges: &mesh(nodes),
        topology: VoteTopology::AllToAll,
        interval: Some(INTERVAL_MS),
        faulty: (nodes - 1) / 3,
    };
    let mut scene = Scene::new(seed, knobs, &cast);
    scene.world.run(100);
    let mut seen = scene.newest_proposal();
    for _ in 0..60 {
        scene.go_on(1, HEIGHT_MS_MAX);
        let newest = scene.newest_proposal();
        let is_new = newest != seen;
        seen = newest;
        for puppet in scene.faulty() {
            for victim in scene.honest() {
                if is_new && scene.world.rng.random_bool(0.5) {
                    greet(&mut scene, victim, puppet);
                } else if scene.world.rng.random_bool(0.02) {
                    act(&mut scene, victim, puppet);
                }
            }
        }
    }
    scene.go_on(120, HEIGHT_MS_MAX);
    scene.check_rounds();
    scene.judge()
}

/// Blocks are proposed while the ones before are decided, and puppets forge proposals, in their own names and in those of
/// others. They vote by no word, so that everybody else needs every good proposal.
fn ahead(seed: u64, knobs: Knobs) -> BTreeSet<String> {
    let nodes = if seed.is_multiple_of(2) { 4 } else { 7 };
    let cast = Cast {
        nodes,
        edges: &mesh(nodes),
        topology: VoteTopology::AllToAll,
        interval: Some(0),
        faulty: (nodes - 1) / 3,
    };
    let mut scene = Scene::new(seed, knobs, &cast);
    scene.world.run(100);
    scene.world.steady = None;
    for _ in 0..120 {
        scene.go_on(1, HEIGHT_MS_MAX);
        for puppet in scene.faulty() {
            for victim in scene.honest() {
                scene.watch_room(victim);
                if scene.world.rng.random_bool(0.2) {
                    get_in_the_way(&mut scene, victim, puppet);
                }
            }
        }
    }
    scene.go_on(120, HEIGHT_MS_MAX);
    scene.check_rounds();
    scene.judge()
}

fn get_in_the_way(scene: &mut Scene, victim: usize, puppet: usize) {
    let next = scene.next(victim) + 1;
    let leader = scene.leader(next);
    if leader == puppet {
        scene.misplace(victim, puppet);
    } else if let Some(proposal) = scene.sent(next).filter(|_| leader != victim) {
        scene.misquote(victim, puppet, proposal);
    }
}

/// Lets time pass until the victim 0 decides a height whose block is proposed, and `who` leads the next one.
pub(super) fn await_turn_of(scene: &mut Scene, who: usize) -> (Height, Digest) {
    for _ in 0..1000 {
        scene.world.run(1);
        let next = scene.next(0);
        match scene.newest_proposal() {
            Some((height, digest)) if height == next && scene.leader(next + 1) == who => return (height, digest),
            _ => {}
        }
    }
    panic!("{who} never leads");
}

/// A height that is not decided, and a proposal of the next one whose payload is not here: it is asked for at once.
pub(super) fn unheld(seed: u64, knobs: Knobs) -> BTreeSet<String> {
    let cast = Cast {
        nodes: 4,
        edges: &mesh(4),
        topology: VoteTopology::AllToAll,
        interval: Some(0),
        faulty: 1,
    };
    let mut scene = Scene::new(seed, knobs, &cast);
    scene.world.run(100);
    let (height, _) = await_turn_of(&mut scene, 3);
    scene.block(|from, _, message| is_second_vote(message) || from == 3 && matches!(message, Message::Proposal(_)));
    scene.world.run(20);
    let (proposal, batch) = scene.some_proposal(3, height + 1);
    scene.tell(0, 3, &[Message::Proposal(proposal)]);
    scene.world.run(1);
    if !scene.world.node_mut(0).chain_for_tests().wants(&batch) {
        scene.blame("unheld: nobody asks for the payload of the next block");
    }
    scene.judge()
}

/// Five in a chain, who pass votes on and all of whom are needed, and two puppets that are linked with everybody.
pub(super) const CHAIN: Cast<'static> = Cast {
    nodes: 7,
    edges: &[
        (0, 1),
        (1, 2),
        (2, 3),
        (3, 4),
        (0, 5),
        (1, 5),
        (2, 5),
        (3, 5),
        (4, 5),
        (0, 6),
        (1, 6),
        (2, 6),
        (3, 6),
        (4, 6),
    ],
    topology: VoteTopology::Relay,
    interval: Some(INTERVAL_MS),
    faulty: 2,
};

/// The puppets forge votes in the name of whom their victim hears over others only.
fn rivals(seed: u64, knobs: Knobs) -> BTreeSet<String> {
    let mut scene = Scene::new(seed, knobs, &CHAIN);
    scene.world.run(100);
    scene.world.steady = None;
    for _ in 0..300 {
        scene.go_on(1, HEIGHT_MS_MAX);
        for victim in scene.honest() {
            forge_a_rival(&mut scene, victim);
        }
    }
    scene.go_on(120, HEIGHT_MS_MAX);
    scene.check_rounds();
    scene.judge()
}

/// Leaders collect votes; the puppets vote once for each block and never twice, and the first votes of three others are
/// lost, so that those whom a leader tells first of the first votes make no quorum of second ones.
pub(super) fn half_hearted(seed: u64, knobs: Knobs) -> BTreeSet<String> {
    let cast = Cast {
        nodes: 10,
        edges: &mesh(10),
        topology: VoteTopology::LeaderAggregate,
        interval: Some(INTERVAL_MS),
        faulty: 3,
    };
    let mut scene = Scene::new(seed, knobs, &cast);
    let unheard: Vec<usize> = (0..7)
        .collect::<Vec<_>>()
        .sample(&mut scene.world.rng, 3)
        .copied()
        .collect();
    scene.world.run(100);
    scene.block(move |from, _, message| is_first_vote(message) && unheard.contains(&from));
    let mut seen = None;
    for _ in 0..300 {
        scene.go_on(1, HEIGHT_MS_MAX);
        let newest = scene.newest_proposal();
        if let Some((height, digest)) = newest.filter(|_| newest != seen) {
            seen = newest;
            let leader = scene.leader(height);
            for puppet in scene.faulty().filter(|&puppet| puppet != leader) {
                let vote = scene.vote(puppet, height, Phase::One, digest);
                scene.tell(leader, puppet, &[vote]);
            }
        }
    }
    scene.check_rounds();
    scene.judge()
}

/// Leaders collect votes, the puppets vote by no word, so that everybody else has to hear of every quorum, and they forge
/// certificates of what is being voted on.
pub(super) fn certificates(seed: u64, knobs: Knobs) -> BTreeSet<String> {
    let cast = Cast {
        nodes: 7,
        edges: &mesh(7),
        topology: VoteTopology::LeaderAggregate,
        interval: Some(INTERVAL_MS),
        faulty: 2,
    };
    let mut scene = Scene::new(seed, knobs, &cast);
    scene.world.run(100);
    scene.world.steady = None;
    for _ in 0..300 {
        scene.go_on(1, HEIGHT_MS_MAX);
        for victim in scene.honest() {
            let height = scene.next(victim);
            let phase = *[Phase::One, Phase::Two].choose(&mut scene.world.rng).unwrap();
            // A leader that forges makes its own block late.
            let leads = [height, height + 1].map(|height| scene.leader(height));
            let puppet = scene.faulty().find(|puppet| !leads.contains(puppet));
            let digest = scene.proposal(height).filter(|_| scene.world.rng.random_bool(0.3));
            if let (Some(puppet), Some(digest)) = (puppet, digest) {
                let forged = scene.false_quorum(height, phase, digest);
                scene.tell(victim, puppet, &[forged]);
            }
        }
    }
    scene.go_on(120, HEIGHT_MS_MAX);
    scene.check_rounds();
    scene.judge()
}

/// Mostly of a vote that is just being checked, and else of any.
fn forge_a_rival(scene: &mut Scene, victim: usize) {
    let far: Vec<usize> = scene.honest().filter(|other| other.abs_diff(victim) > 1).collect();
    let (height, other) = (scene.next(victim), *far.choose(&mut scene.world.rng).unwrap());
    let phase = *[Phase::One, Phase::Two].choose(&mut scene.world.rng).unwrap();
    let any = scene.proposal(height).map(|digest| (other, height, phase, digest));
    let checked = scene.checking(victim).into_iter();
    let checked: Vec<_> = checked.filter(|(signer, ..)| far.contains(signer)).collect();
    if let Some((signer, height, phase, digest)) = checked.choose(&mut scene.world.rng).copied().or(any)
        && scene.world.rng.random_bool(0.5)
    {
        let puppet = scene.world.rng.random_range(5..7);
        let forged = scene.forged(signer, height, phase, digest);
        scene.impersonate(victim, puppet, forged);
    }
}

/// Something about a proposal that is still under way.
fn greet(scene: &mut Scene, victim: usize, puppet: usize) {
    let Some((height, digest)) = scene.newest_proposal() else {
        return;
    };
    if scene.leader(height) == victim || scene.next(victim) + 1 < height {
        return;
    }
    let honest: Vec<usize> = scene.honest().filter(|node| *node != victim).collect();
    let other = *honest.choose(&mut scene.world.rng).unwrap();
    match scene.world.rng.random_range(0..4) {
        0 | 1 => scene.deceive(victim, puppet, height, digest),
        2 => {
            let forged = scene.forged(other, height, Phase::One, digest);
            scene.impersonate(victim, puppet, forged);
        }
        _ => {
            let vote = scene.vote(puppet, height, Phase::One, digest);
            scene.tell(victim, puppet, &[vote]);
        }
    }
}

/// Something about the height that the victim decides. What contradicts itself is about blocks that nobody proposed: a
/// puppet that sent a bad vote for the right one before would hide its good one by that.
fn act(scene: &mut Scene, victim: usize, puppet: usize) {
    let height = scene.next(victim);
    let (one, two) = (scene.some_digest(), scene.some_digest());
    let real = scene.proposal(height).unwrap_or(one);
    let (phase, kind) = *[(Phase::One, EvidenceKind::Vote1), (Phase::Two, EvidenceKind::Vote2)]
        .choose(&mut scene.world.rng)
        .unwrap();
    match scene.world.rng.random_range(0..6) {
        0 => {
            let votes = [one, two].map(|digest| scene.vote(puppet, height, phase, digest));
            let [first, second] = votes;
            scene.contradict(victim, puppet, first, second, kind);
        }
        1 => {
            let first = scene.vote(puppet, height, Phase::Two, one);
            let second = scene.denial(puppet, height);
            scene.contradict(victim, puppet, first, second, EvidenceKind::VoteDenied);
        }
        2 => {
            let vote = scene.vote(puppet, height, phase, real);
            scene.tell(victim, puppet, &[vote]);
        }
        3 => {
            // It waits for a quorum that never comes.
            let vote = scene.vote(puppet, height + 1, phase, two);
            scene.tell(victim, puppet, &[vote]);
        }
        4 => {
            let forged = |_| {
                let digest = scene.some_digest();
                scene.forged(puppet, height + 1, phase, digest)
            };
            let flood: Vec<Message> = (0..50).map(forged).collect();
            scene.tell(victim, puppet, &flood);
        }
        _ => {
            let bad = scene.forged(puppet, height, phase, real);
            scene.tell(victim, puppet, &[bad]);
        }
    }
}

/// Nobody has anything to do; then one hears a vote, and later there is work.
pub(super) fn idle(seed: u64, knobs: Knobs) -> BTreeSet<String> {
    let cast = Cast {
        nodes: 4,
        edges: &mesh(4),
        topology: VoteTopology::AllToAll,
        interval: None,
        faulty: 1,
    };
    let mut scene = Scene::new(seed, knobs, &cast);
    scene.world.run(200);
    let victim = scene.world.rng.random_range(0..3);
    let digest = scene.some_digest();
    let phase = *[Phase::One, Phase::Two].choose(&mut scene.world.rng).unwrap();
    let vote = scene.vote(3, 1, phase, digest);
    scene.tell(victim, 3, &[vote]);
    scene.world.run(1);
    if !scene.is_busy(victim) {
        scene.blame("idle: a vote wakes nobody");
    }
    scene.world.run(700);
    let bytes = crate::tests::scripts::opaque(1, 1);
    scene.world.submit(victim, vec![bytes.clone()]);
    scene.world.run(3000);
    if scene
        .honest()
        .any(|node| !crate::tests::scripts::is_final(&scene.world, node, &bytes))
    {
        scene.blame("idle: work is left undone");
    }
    scene.judge()
}

/// Lets time pass until somebody proposes the next block.
pub(super) fn await_proposal(scene: &mut Scene) {
    let before = scene.newest_proposal();
    let most = scene.world.now + HEIGHT_MS_MAX;
    while scene.newest_proposal() == before && scene.world.now < most {
        scene.world.run(1);
    }
}

/// Votes are passed on over a random tree: nobody may hold them up on their way.
fn tree(seed: u64, knobs: Knobs) -> BTreeSet<String> {
    let mut rng = regatta_base::seed::rng(seed, "tree");
    let edges: Vec<(usize, usize)> = (1..7).map(|node| (rng.random_range(node / 2..node), node)).collect();
    let cast = Cast {
        nodes: 7,
        edges: &edges,
        topology: VoteTopology::Relay,
        interval: Some(INTERVAL_MS),
        faulty: 0,
    };
    let mut scene = Scene::new(seed, knobs, &cast);
    scene.go_on(250, HEIGHT_MS_MAX);
    scene.judge()
}

/// A height that gets no second votes but a puppet's: when somebody asks again, that one is checked and passed on.
pub(super) fn stuck(seed: u64, knobs: Knobs) -> BTreeSet<String> {
    let nodes = if seed.is_multiple_of(2) { 4 } else { 7 };
    let cast = Cast {
        nodes,
        edges: &mesh(nodes),
        topology: VoteTopology::AllToAll,
        interval: Some(INTERVAL_MS),
        faulty: (nodes - 1) / 3,
    };
    let mut scene = Scene::new(seed, knobs, &cast);
    scene.world.run(100);
    scene.block(|_, _, message| is_second_vote(message));
    let pause = scene.world.rng.random_range(20..60);
    scene.world.run(pause);
    let victim = scene.world.rng.random_range(0..nodes - cast.faulty);
    let height = scene.next(victim);
    let Some(digest) = scene.proposal(height) else {
        return scene.judge();
    };
    let vote = scene.vote(nodes - 1, height, Phase::Two, digest);
    scene.tell(victim, nodes - 1, &[vote]);
    scene.world.run(ASKED_MS_MAX);
    if scene.waiting(victim).iter().any(|(of, ..)| *of == height) {
        scene.blame("stuck: a vote still waits after somebody asked again");
    }
    scene.judge()
}

pub(super) fn is_first_vote(message: &Message) -> bool {
    let content = message.signed().map(|signed| signed.statement.content);
    matches!(content, Some(Content::Vote1(_)))
}

pub(super) fn is_second_vote(message: &Message) -> bool {
    let content = message.signed().map(|signed| signed.statement.content);
    matches!(content, Some(Content::Vote2(_)))
}

/// A leader that seemed dead says a word.
pub(super) fn silence(seed: u64, knobs: Knobs) -> BTreeSet<String> {
    let cast = Cast {
        nodes: 4,
        edges: &mesh(4),
        topology: VoteTopology::AllToAll,
        interval: Some(INTERVAL_MS),
        faulty: 1,
    };
    let mut scene = Scene::new(seed, knobs, &cast);
    scene.world.run(100);
    scene.block(|from, _, _| from == 3);
    scene.world.run(700);
    let victim = scene.world.rng.random_range(0..3);
    for _ in 0..100 {
        scene.world.run(1);
        let (digest, height) = (scene.some_digest(), scene.next(victim) + 1);
        if scene.seems_dead(victim, 3) && scene.is_busy(victim) {
            let vote = scene.vote(3, height, Phase::Two, digest);
            scene.tell(victim, 3, &[vote]);
            scene.world.run(1);
            if scene.seems_dead(victim, 3) {
                scene.blame("silence: a leader that speaks seems dead");
            }
            break;
        }
    }
    scene.judge()
}

#[test]
fn storms_over_the_room_break_nothing() {
    for seed in 0..STORMS {
        assert_eq!(storm(seed, Knobs::default()), BTreeSet::new(), "storm {seed}");
    }
}

#[test]
fn no_defect_of_the_room_survives_the_storms() {
    for (name, knobs) in Knobs::each() {
        let caught = (0..STORMS_OF_A_DEFECT).find_map(|seed| {
            let violations = storm(seed, knobs);
            (!violations.is_empty()).then_some((seed, violations))
        });
        assert!(caught.is_some(), "{name} survives");
        println!("{name}: {caught:?}");
    }
}
