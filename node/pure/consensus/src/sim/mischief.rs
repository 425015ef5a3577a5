//! What the faulty validator does in random schedules: it answers what it sees with forged proposals,
//! double votes and denials, to whom it likes.

use super::{
    faulty::Faulty,
    moves::{Act, ActKind},
    world::World,
};
use rand::{Rng, RngExt, seq::IndexedRandom};
use regatta_base::{Height, Round};

/// Headers that it may invent for one place.
const FORGERIES: u32 = 4;

/// Random acts of the faulty validator, each for one honest node.
pub(super) fn act(world: &World, rng: &mut impl Rng) -> Vec<(u16, Act)> {
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
        return lead(world, faulty, (height, round), rng);
    }
    vote(world, faulty, (height, round), rng)
}

/// One or two proposals, for one part of the others each, with own votes for what each part saw.
fn lead(world: &World, faulty: &Faulty, place: (Height, Round), rng: &mut impl Rng) -> Vec<(u16, Act)> {
    let (height, round) = place;
    let first = pick_header(faulty, place, rng);
    let second = pick_header(faulty, place, rng);
    // What does most harm is one thing that everybody hears; next to it comes telling everybody something else.
    let united = rng.random_bool(0.4);
    let equivocate = !united && rng.random_bool(0.7);
    let kind = match round {
        0 => ActKind::Propose,
        _ if rng.random_bool(0.1) => ActKind::Extend,
        _ => ActKind::Propose,
    };
    let mut with = match round.checked_sub(1) {
        Some(previous) => faulty.least_locked(height, previous),
        None => Vec::new(),
    };
    if rng.random_bool(0.3) {
        with = world.hosts.keys().copied().collect();
    }
    // Between telling everybody and keeping it from almost everybody.
    let withheld = if united { 0.0 } else { rng.random_range(0.0..0.7) };
    let mut acts = Vec::new();
    for &to in world.hosts.keys() {
        if rng.random_bool(withheld) {
            continue;
        }
        let header = if equivocate && rng.random_bool(0.5) {
            &second
        } else {
            &first
        };
        let act = |kind| Act {
            kind,
            height,
            round,
            header: header.clone(),
            with: Vec::new(),
        };
        let proposal = Act {
            with: with.clone(),
            ..act(kind)
        };
        acts.extend([proposal, act(ActKind::Vote1), act(ActKind::Vote2)].map(|act| (to, act)));
    }
    acts
}

/// Votes for something that somebody proposed, or the denial of having voted.
fn vote(world: &World, faulty: &Faulty, (height, round): (Height, Round), rng: &mut impl Rng) -> Vec<(u16, Act)> {
    let mut acts = Vec::new();
    for &to in world.hosts.keys() {
        let header = known_header(world, faulty, (height, round), rng);
        let kind = match rng.random_range(0..8) {
            0 | 1 => ActKind::Vote1,
            2 | 3 => ActKind::Vote2,
            4 | 5 => ActKind::Timeout,
            6 => ActKind::Quorum,
            _ => continue,
        };
        let with = Vec::new();
        acts.push((
            to,
            Act {
                kind,
                height,
                round,
                header,
                with,
            },
        ));
    }
    acts
}

/// A new header, or one that was proposed at this height before.
fn pick_header(faulty: &Faulty, (height, round): (Height, Round), rng: &mut impl Rng) -> String {
    let old = old_headers(faulty, height);
    match old.choose(rng) {
        Some(header) if rng.random_bool(0.4) => header.clone(),
        _ => format!("forged.{height}.{round}.{}", rng.random_range(0..FORGERIES)),
    }
}

/// What a QC1 of that place is for, or what somebody proposed at that height.
fn known_header(world: &World, faulty: &Faulty, place: (Height, Round), rng: &mut impl Rng) -> String {
    let (height, round) = place;
    let known = old_headers(faulty, height);
    let locked = faulty.quorum(height, round);
    let locked = locked.and_then(|quorum| world.headers.get(&quorum.digest));
    match (locked, known.choose(rng)) {
        (Some(header), _) if rng.random_bool(0.5) => text(header),
        (_, Some(header)) => header.clone(),
        _ => "nothing".to_owned(),
    }
}

fn old_headers(faulty: &Faulty, height: Height) -> Vec<String> {
    let of_height = faulty.headers.iter().filter(move |(place, _)| *place == height);
    of_height.map(|(_, header)| text(header)).collect()
}

fn text(header: &[u8]) -> String {
    String::from_utf8_lossy(header).into_owned()
}
