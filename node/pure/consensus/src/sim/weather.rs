//! The kinds of weather that the campaign goes through, one schedule after the other.

use super::{storm::Weather, world::Cast};
use crate::mutants::Knobs;
use rand::{RngExt, rngs::ChaCha8Rng, seq::IndexedRandom};
use regatta_base::seed;

/// A kind of weather.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A bad network among honest nodes, of any number.
    Network,
    /// Crashes between any two effects, with lost, torn and corrupt ends of logs.
    Crashes,
    /// Crashes that now and then take a whole log with them, of one validator at a time.
    Amnesia,
    /// A validator that forges, equivocates, withholds and denies, while votes are suppressed.
    Faulty,
    /// One that leads the second round and forges, while some do not hear of decisions.
    Forging,
    /// A faulty one among validators of unequal weights, with crashes.
    Weights,
    /// Validators that run twice with one key, in partitions by round.
    Twins,
    /// Leaders that collect votes, one of them forging now and then.
    Aggregates,
    /// Validators join, leave and change their weight meanwhile, a forging one among them.
    Changes,
    /// Twins beside a forging validator, seven in all.
    TwinsAndFaulty,
    /// Everything at once.
    Everything,
}

/// All kinds.
pub(super) const KINDS: [Kind; 11] = [
    Kind::Network,
    Kind::Crashes,
    Kind::Faulty,
    Kind::Forging,
    Kind::Weights,
    Kind::Aggregates,
    Kind::Changes,
    Kind::Twins,
    Kind::TwinsAndFaulty,
    Kind::Amnesia,
    Kind::Everything,
];

/// Rounds that twins are divided for.
const DIVIDED_ROUNDS: [u32; 4] = [4, 5, 6, 7];

/// The schedule with this number: its kind of weather, its seed, and its weather.
pub(super) fn schedule(number: u64, knobs: Knobs) -> (Kind, u64, Weather) {
    let kind = KINDS[(number % KINDS.len() as u64) as usize];
    let seed = number / KINDS.len() as u64;
    let mut rng = seed::rng(seed, "weather");
    let mut weather = kind.weather(&mut rng);
    weather.cast.knobs = knobs;
    (kind, seed, weather)
}

impl Kind {
    fn weather(self, rng: &mut ChaCha8Rng) -> Weather {
        match self {
            Self::Network => Weather {
                loss: rng.random_range(0.0..0.3),
                ..fair(equal(rng.random_range(1..=7)), rng)
            },
            Self::Crashes => Weather {
                crash: rng.random_range(0.005..0.04),
                ..fair(equal(4), rng)
            },
            Self::Amnesia => {
                let mut weather = Weather {
                    crash: rng.random_range(0.01..0.05),
                    lost: 0.5,
                    spells: rng.random_range(2..12),
                    ..fair(equal(choose(&[4, 4, 7], rng)), rng)
                };
                weather.cast.target = rng.random_range(2..6);
                weather
            }
            Self::Faulty => Weather {
                mischief: rng.random_range(0.02..0.5),
                crash: choose(&[0.0, 0.0, 0.02], rng),
                spells: rng.random_range(2..12),
                ..fair(with_faulty(equal(4), rng), rng)
            },
            Self::Forging => {
                let cast = Cast {
                    faulty: Some(2),
                    ..equal(4)
                };
                Weather {
                    mischief: rng.random_range(0.3..0.95),
                    loss: 0.02,
                    spells: 1,
                    suppress: &["vote2", "commit"],
                    ..fair(cast, rng)
                }
            }
            Self::Weights => Weather {
                mischief: 0.2,
                crash: 0.01,
                ..fair(with_faulty(Cast::of(&[3, 1, 4, 2, 3]), rng), rng)
            },
            Self::Aggregates => {
                let mut weather = Weather {
                    mischief: choose(&[0.0, 0.1], rng),
                    crash: choose(&[0.0, 0.01], rng),
                    ..fair(with_faulty(equal(choose(&[4, 7], rng)), rng), rng)
                };
                weather.cast.aggregates = true;
                weather
            }
            Self::Changes => Weather {
                mischief: 0.3,
                crash: 0.01,
                loss: rng.random_range(0.0..0.1),
                ..fair(changing(rng), rng)
            },
            Self::Twins => {
                let count: u16 = rng.random_range(4..=7);
                divided(with_twins(equal(count), (count - 1) / 3, rng), rng)
            }
            Self::TwinsAndFaulty => Weather {
                mischief: 0.1,
                ..divided(with_twins(with_faulty(equal(7), rng), 1, rng), rng)
            },
            Self::Everything => Weather {
                loss: rng.random_range(0.0..0.2),
                crash: rng.random_range(0.0..0.02),
                mischief: 0.25,
                spells: rng.random_range(0..12),
                ..fair(with_faulty(equal(choose(&[4, 7], rng)), rng), rng)
            },
        }
    }
}

/// Honest validators of equal weight, and perhaps a follower.
fn equal(count: u16) -> Cast {
    Cast::of(&vec![1; usize::from(count)])
}

fn with_faulty(cast: Cast, rng: &mut ChaCha8Rng) -> Cast {
    let faulty = rng.random_range(0..cast.weights.len() as u16);
    Cast {
        faulty: Some(faulty),
        ..cast
    }
}

/// Six nodes of which two to four join or leave, with one faulty in two of three cases.
fn changing(rng: &mut ChaCha8Rng) -> Cast {
    Cast {
        changes: vec![
            (3, vec![3, 3, 3, 3, 4, 0]),
            (4, vec![3, 3, 0, 3, 4, 4]),
            (5, vec![4, 3, 0, 3, 4, 4]),
            (6, vec![4, 0, 3, 3, 4, 4]),
        ],
        faulty: choose(&[None, Some(1), Some(3)], rng),
        target: 7,
        ..Cast::of(&[3, 3, 3, 3, 0, 0])
    }
}

/// So many twins among those that are honest so far.
fn with_twins(mut cast: Cast, count: u16, rng: &mut ChaCha8Rng) -> Cast {
    while cast.twins.len() < usize::from(count) {
        let twin = rng.random_range(0..cast.weights.len() as u16);
        if cast.dishonest().all(|signer| signer != twin) {
            cast.twins.push(twin);
        }
    }
    cast
}

fn fair(cast: Cast, rng: &mut ChaCha8Rng) -> Weather {
    Weather {
        cast: Cast {
            followers: rng.random_range(0..2),
            target: cast.target.max(2),
            ..cast
        },
        loss: 0.05,
        crash: 0.0,
        lost: 0.0,
        mischief: 0.0,
        calm_ms: 2_500,
        spells: 4,
        suppress: &[],
        divided: 0,
    }
}

/// Partitions by round instead of by time, for as long as the longest of those rounds may take.
fn divided(cast: Cast, rng: &mut ChaCha8Rng) -> Weather {
    Weather {
        divided: choose(&DIVIDED_ROUNDS, rng),
        loss: 0.0,
        calm_ms: 7_000,
        spells: 0,
        ..fair(cast, rng)
    }
}

fn choose<T: Copy>(among: &[T], rng: &mut ChaCha8Rng) -> T {
    *among.choose(rng).unwrap()
}
