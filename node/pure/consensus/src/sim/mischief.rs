//! What the faulty validator does in random schedules: it answers what it sees with forged proposals,
//! double votes and denials, to whom it likes.

use super::{faulty::Faulty, world::World};
use crate::{Content, Message, header_digest};
use rand::{Rng, RngExt, seq::IndexedRandom};
use regatta_base::{Digest, Height, Round};

/// Random acts of the faulty validator, each for one honest node.
pub(super) fn act(world: &mut World, rng: &mut impl Rng) -> Vec<(u16, Message)> {
    let Some(faulty) = &world.faulty else { return Vec::new() };
    let (height, round) = faulty.latest;
    let Some(index) = faulty.index(height) else {
        return Vec::new();
    };
    let leads = |round: Round| world.sets.at(height).validators().leader(height, round) == index;
    // Lead wherever possible: that is where the harm is.
    if let Some(round) = [round, round + 1].into_iter().find(|round| leads(*round))
        && rng.random_bool(0.6)
    {
        return lead(world, height, round, rng);
    }
    vote(world, height, round, rng)
}

/// One or two proposals, for one part of the others each, with own votes for what each part saw.
fn lead(world: &mut World, height: Height, round: Round, rng: &mut impl Rng) -> Vec<(u16, Message)> {
    let first = pick_header(world, height, round, rng);
    let second = pick_header(world, height, round, rng);
    let equivocate = rng.random_bool(0.5);
    let Some(faulty) = &world.faulty else { return Vec::new() };
    let mut signers = match round.checked_sub(1) {
        Some(previous) => faulty.least_locked(height, previous),
        None => Vec::new(),
    };
    if rng.random_bool(0.3) {
        signers = world.hosts.keys().copied().collect();
    }
    let mut acts = Vec::new();
    for &to in world.hosts.keys() {
        if rng.random_bool(0.2) {
            continue;
        }
        let header = if equivocate && rng.random_bool(0.5) {
            &second
        } else {
            &first
        };
        let digest = header_digest(header);
        acts.push((to, faulty.propose(height, round, header, &signers)));
        acts.push((to, faulty.say(height, round, Content::Vote1(digest))));
        acts.push((to, faulty.say(height, round, Content::Vote2(digest))));
    }
    acts.retain(|(_, message)| message.check(world.sets.at(height)).is_ok());
    acts
}

/// Votes for something that somebody proposed, or the denial of having voted.
fn vote(world: &World, height: Height, round: Round, rng: &mut impl Rng) -> Vec<(u16, Message)> {
    let Some(faulty) = &world.faulty else { return Vec::new() };
    let mut acts = Vec::new();
    for &to in world.hosts.keys() {
        let digest = known_digest(faulty, height, round, rng);
        acts.push(match rng.random_range(0..8) {
            0 | 1 => (to, faulty.say(height, round, Content::Vote1(digest))),
            2 | 3 => (to, faulty.say(height, round, Content::Vote2(digest))),
            4 | 5 => (to, faulty.say(height, round, Content::Timeout(None))),
            6 => match faulty.quorum(height, round) {
                Some(quorum) => (to, Message::Quorum(quorum.clone())),
                None => continue,
            },
            _ => continue,
        });
    }
    acts
}

/// A new header, or one that was proposed at this height before.
fn pick_header(world: &mut World, height: Height, round: Round, rng: &mut impl Rng) -> Vec<u8> {
    let old: Vec<Vec<u8>> = world
        .faulty
        .iter()
        .flat_map(|faulty| old_headers(faulty, height))
        .collect();
    match old.choose(rng) {
        Some(header) if rng.random_bool(0.4) => header.clone(),
        _ => world.make(&format!("forged.{height}.{round}.{}", rng.random_range(0..4))),
    }
}

fn known_digest(faulty: &Faulty, height: Height, round: Round, rng: &mut impl Rng) -> Digest {
    let known: Vec<Vec<u8>> = old_headers(faulty, height).collect();
    match (faulty.quorum(height, round), known.choose(rng)) {
        (Some(quorum), _) if rng.random_bool(0.5) => quorum.digest,
        (_, Some(header)) => header_digest(header),
        _ => Digest::ZERO,
    }
}

fn old_headers(faulty: &Faulty, height: Height) -> impl Iterator<Item = Vec<u8>> {
    let of_height = faulty.headers.iter().filter(move |(place, _)| *place == height);
    of_height.map(|(_, header)| header.clone())
}
