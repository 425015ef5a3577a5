//! From a schedule that breaks a promise to a script that is short enough to read.
//!
//! Delta debugging by Zeller and Hildebrandt: Simplifying and Isolating Failure-Inducing Input (IEEE
//! Transactions on Software Engineering 28, 2002), figure 3, over the moves of the schedule.

use super::{
    moves::Move,
    stage::Stage,
    storm::{self, Weather, record},
    world::Cast,
};

/// A schedule that breaks a promise.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    cast: Cast,
    /// Whether requests and logs wait for moves of their own.
    slow: bool,
    moves: Vec<Move>,
    /// What it breaks: the first word of the violation.
    charge: String,
}

impl Failure {
    /// The schedule of `seed` up to its first violation, if it has one that moves alone show.
    pub(super) fn find(seed: u64, weather: &Weather) -> Option<Self> {
        let (outcome, moves) = record(seed, weather);
        let violation = outcome.violations.first()?;
        let failure = Self {
            cast: weather.cast.clone(),
            slow: true,
            moves,
            charge: charge(violation).to_owned(),
        };
        Some(failure).filter(|failure| failure.fails())
    }

    /// How many moves it takes.
    pub(super) fn len(&self) -> usize {
        self.moves.len()
    }

    /// The shortest part that still breaks the promise, in that no move of it can be left out.
    pub(super) fn shrink(mut self) -> Self {
        self.minimise();
        // Most violations do not need answers and syncs at a time of their own.
        let eager = Self {
            slow: false,
            ..self.clone()
        };
        if eager.fails() {
            self = eager;
            self.minimise();
        }
        self
    }

    /// The text that `script::replay` takes.
    pub(super) fn script(&self) -> String {
        let mut text = format!("# {}\n{}\n", self.charge, self.cast);
        if self.slow {
            text += "slowly\n";
        }
        for step in &self.moves {
            text += &format!("{step}\n");
        }
        text
    }

    fn fails(&self) -> bool {
        self.with(&self.moves)
    }

    /// Whether `moves` in place of its own break the same promise.
    fn with(&self, moves: &[Move]) -> bool {
        let violations = play(&self.cast, self.slow, moves);
        violations.iter().any(|violation| charge(violation) == self.charge)
    }

    fn minimise(&mut self) {
        let mut parts = 2;
        while self.moves.len() > 1 {
            let size = self.moves.len().div_ceil(parts);
            let without = |start: usize| {
                let end = (start + size).min(self.moves.len());
                [&self.moves[..start], &self.moves[end..]].concat()
            };
            let mut rests = (0..self.moves.len()).step_by(size).map(without);
            if let Some(rest) = rests.find(|rest| self.with(rest)) {
                drop(rests);
                self.moves = rest;
                parts = (parts - 1).max(2);
            } else if size == 1 {
                return;
            } else {
                parts = (parts * 2).min(self.moves.len());
            }
        }
    }
}

/// The calmest weather in which the schedule of `seed` still breaks a promise: for failures that take the
/// clock to show, like that of getting stuck.
pub(super) fn calm(seed: u64, weather: &Weather) -> Weather {
    let steps: [fn(&mut Weather); 6] = [
        |weather| weather.mischief = 0.0,
        |weather| weather.crash = 0.0,
        |weather| weather.loss = 0.0,
        |weather| weather.divided = 0,
        |weather| weather.spells = 0,
        |weather| weather.spells = 1,
    ];
    let mut calmest = weather.clone();
    for step in steps {
        let mut calmer = calmest.clone();
        step(&mut calmer);
        if calmer.spells <= calmest.spells && !storm::play(seed, &calmer).violations.is_empty() {
            calmest = calmer;
        }
    }
    calmest
}

/// Plays moves up to the first violation.
fn play(cast: &Cast, slow: bool, moves: &[Move]) -> Vec<String> {
    let mut stage = Stage::named(cast.clone());
    for step in moves {
        let fitted = stage.play(step);
        if let (true, false, Some(who)) = (fitted, slow, step.receiver()) {
            stage.settle(who);
            stage.sync(who);
        }
        stage.news.clear();
        if !stage.world.oracle.violations.is_empty() {
            break;
        }
    }
    stage.world.judge_end();
    stage.world.oracle.violations
}

fn charge(violation: &str) -> &str {
    violation.split(':').next().unwrap_or_default()
}
