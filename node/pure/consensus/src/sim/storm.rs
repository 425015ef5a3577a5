//! Random schedules in virtual time: loss, duplication, heavy tails, suppression of votes, partitions,
//! clock skew, crashes between any two effects, and one faulty validator; then calm.

use super::{
    disk::Damage,
    groups::Groups,
    host::Host,
    mischief,
    moves::{Cue, Move},
    script::kind_of,
    stage::{News, Stage},
    world::Cast,
};
use crate::Message;
use rand::{RngExt, rngs::ChaCha8Rng};
use regatta_base::{Height, Round, seed};
use std::{collections::BTreeMap, rc::Rc};

/// By this virtual millisecond everybody must have decided everything.
const DEADLINE_MS: u64 = 120_000;
/// So long after the last decision messages may still be on their way, in virtual milliseconds.
const ECHO_MS: u64 = 1_000;
/// Time between retry ticks in virtual milliseconds.
const TICK_MS: u64 = 150;

/// How bad the weather is.
#[derive(Debug, Clone)]
pub(super) struct Weather {
    pub(super) cast: Cast,
    /// Probability that a message is lost.
    pub(super) loss: f64,
    /// Probability that a step ends in a crash.
    pub(super) crash: f64,
    /// Probability that a crash takes the whole log with it, if everybody else has theirs or is past it.
    pub(super) lost: f64,
    /// Probability that the faulty validator answers a message.
    pub(super) mischief: f64,
    /// From this virtual millisecond on everything works, except the dishonest validators.
    pub(super) calm_ms: u64,
    /// How many spells of suppression there are.
    pub(super) spells: usize,
    /// The kinds of messages that all spells suppress, if any are given; such spells come early and stay.
    pub(super) suppress: &'static [&'static str],
    /// For how many rounds of each height the nodes are divided into groups that do not hear each other.
    pub(super) divided: Round,
}

/// What came of a schedule.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) violations: Vec<String>,
    /// Changes whenever anything happens in another order.
    pub(super) trace: u64,
    pub(super) events: usize,
    /// The greatest round that anybody was in when all was decided.
    pub(super) rounds: Round,
    /// Messages still on their way a while after everything was decided.
    pub(super) late_messages: usize,
}

enum Event {
    Deliver { from: u16, to: u16, message: Rc<Message> },
    Cue { who: u16, life: u32, cue: Cue },
    Timer { who: u16, life: u32, id: u64 },
    Answer { who: u16, life: u32, name: &'static str },
    Sync { who: u16, life: u32 },
    Tick(u16),
    Recover(u16),
}

/// A time in which some messages do not get through.
#[derive(Debug)]
struct Spell {
    from: u64,
    until: u64,
    /// Only messages of these kinds, if any are given.
    kinds: &'static [&'static str],
    /// Bit i: node i is cut off from the rest (or, with kinds, does not receive them).
    cut: u16,
}

struct Storm {
    stage: Stage,
    weather: Weather,
    rng: ChaCha8Rng,
    now: u64,
    serial: u64,
    queue: BTreeMap<(u64, u64), Event>,
    spells: Vec<Spell>,
    skews: BTreeMap<u16, f64>,
    groups: Groups,
    trace: u64,
    events: usize,
    rounds: Round,
    done_at: Option<u64>,
    late_messages: usize,
}

/// Plays one schedule.
pub(super) fn play(seed: u64, weather: &Weather) -> Outcome {
    let mut storm = Storm::new(seed, weather, Stage::new(weather.cast.clone()));
    storm.run();
    storm.outcome()
}

/// Plays one schedule under the eyes of the literal model; also returns what honest nodes said, by kind.
pub(super) fn compare(seed: u64, weather: &Weather) -> (Outcome, BTreeMap<&'static str, u64>) {
    let cast = Cast {
        literal: true,
        ..weather.cast.clone()
    };
    let mut storm = Storm::new(seed, weather, Stage::new(cast));
    storm.run();
    let said = storm.stage.world.literal.take().map(|literal| literal.said);
    (storm.outcome(), said.unwrap_or_default())
}

/// Plays one schedule and writes down its moves.
pub(super) fn record(seed: u64, weather: &Weather) -> (Outcome, Vec<Move>) {
    let mut storm = Storm::new(seed, weather, Stage::recording(weather.cast.clone()));
    storm.run();
    let moves = storm.stage.take_moves();
    (storm.outcome(), moves)
}

impl Spell {
    fn random(weather: &Weather, rng: &mut ChaCha8Rng) -> Self {
        let kinds: [&[&str]; 6] = [&[], &["propose"], &["vote1"], &["vote2"], &["vote2"], &["timeout"]];
        let (from, lasts, kinds) = match weather.suppress {
            [] => {
                let kinds = kinds[rng.random_range(0..kinds.len())];
                (rng.random_range(0..weather.calm_ms), rng.random_range(50..800), kinds)
            }
            kinds => (rng.random_range(0..50), rng.random_range(600..weather.calm_ms), kinds),
        };
        Self {
            from,
            until: from + lasts,
            kinds,
            cut: rng.random(),
        }
    }

    fn stops(&self, now: u64, (from, to): (u16, u16), kind: &str) -> bool {
        let cut = |who: u16| self.cut >> (who % 16) & 1 == 1;
        (self.from..self.until).contains(&now)
            && match self.kinds {
                [] => cut(from) != cut(to),
                kinds => kinds.contains(&kind) && cut(to),
            }
    }
}

impl Storm {
    fn new(seed: u64, weather: &Weather, stage: Stage) -> Self {
        let mut rng = seed::rng(seed, "storm");
        let hosts: Vec<u16> = stage.world.hosts.keys().copied().collect();
        Self {
            skews: hosts.iter().map(|who| (*who, rng.random_range(0.6..1.6))).collect(),
            spells: (0..weather.spells).map(|_| Spell::random(weather, &mut rng)).collect(),
            groups: Groups::random(&hosts, weather.divided, &mut rng),
            weather: weather.clone(),
            stage,
            rng,
            now: 0,
            serial: 0,
            queue: BTreeMap::new(),
            trace: 0xcbf2_9ce4_8422_2325,
            events: 0,
            rounds: 0,
            done_at: None,
            late_messages: 0,
        }
    }

    fn outcome(self) -> Outcome {
        Outcome {
            violations: self.stage.world.oracle.violations,
            trace: self.trace,
            events: self.events,
            rounds: self.rounds,
            late_messages: self.late_messages,
        }
    }

    fn run(&mut self) {
        self.play();
        self.stage.world.judge_end();
    }

    fn play(&mut self) {
        let everyone: Vec<u16> = self.stage.world.hosts.keys().copied().collect();
        for who in everyone {
            for cue in [Cue::Start, Cue::Work] {
                self.at(self.now, Event::Cue { who, life: 0, cue });
            }
            self.at(self.now + u64::from(who), Event::Tick(who));
        }
        while let Some(((now, _), event)) = self.queue.pop_first() {
            self.now = now;
            self.handle(event);
            self.events += 1;
            if !self.stage.world.oracle.violations.is_empty() || self.is_over() {
                return;
            }
            if now > DEADLINE_MS {
                let hosts = self.stage.world.hosts.values();
                let places: Vec<_> = hosts.map(|host| (host.core.height(), host.core.round())).collect();
                let blame = format!("liveness: stuck at {places:?}");
                self.stage.world.oracle.blame(blame);
                return;
            }
        }
    }

    /// Whether everything was decided, and then some time for echoes went by.
    fn is_over(&mut self) -> bool {
        let cast = &self.stage.world.cast;
        let mut hosts = self.stage.world.hosts.values();
        let twin = |host: &Host| cast.twins.contains(&host.who);
        let done = hosts.all(|host| twin(host) || host.alive && host.chain.len() as Height >= cast.target);
        if done && self.done_at.is_none() {
            self.done_at = Some(self.now);
            // Nothing is left to disturb.
            self.weather.calm_ms = self.weather.calm_ms.min(self.now);
        }
        self.done_at.is_some_and(|at| self.now > at + 2 * ECHO_MS)
    }

    fn lives(&self, who: u16, life: u32) -> bool {
        let host = &self.stage.world.hosts[&who];
        host.alive && host.life == life
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Deliver { from, to, message } => {
                self.note(to, kind_of(&message));
                self.late_messages += usize::from(self.done_at.is_some_and(|at| self.now > at + ECHO_MS));
                self.input(to, |stage| stage.give(from, to, &message));
            }
            Event::Cue { who, life, cue } if self.lives(who, life) => {
                self.note(who, "cue");
                self.input(who, |stage| stage.cue(who, cue));
            }
            Event::Timer { who, life, id } if self.lives(who, life) && self.stage.timers.get(&who) == Some(&id) => {
                self.note(who, "timer");
                self.input(who, |stage| stage.cue(who, Cue::Timeout));
            }
            Event::Answer { who, life, name } if self.lives(who, life) => {
                self.input(who, |stage| stage.answer(who, name));
                if matches!(name, "apply" | "sync") {
                    self.work(who);
                }
            }
            Event::Sync { who, life } if self.lives(who, life) => {
                self.note(who, "sync");
                self.stage.sync(who);
                self.follow(who);
            }
            Event::Tick(who) => {
                self.at(self.now + TICK_MS, Event::Tick(who));
                self.input(who, |stage| stage.cue(who, Cue::Retry));
            }
            Event::Recover(who) => {
                self.note(who, "recover");
                let truncate = self.rng.random_bool(0.5);
                self.stage.recover(who, truncate);
                self.follow(who);
                self.work(who);
            }
            Event::Cue { .. } | Event::Timer { .. } | Event::Answer { .. } | Event::Sync { .. } => {}
        }
    }

    /// Plays an input, which a crash may cut short.
    fn input(&mut self, who: u16, input: impl FnOnce(&mut Stage) -> bool) {
        if !self.stage.world.hosts[&who].alive {
            return;
        }
        self.rounds = self.rounds.max(self.stage.world.hosts[&who].core.round());
        let doomed = self.now < self.weather.calm_ms && self.rng.random_bool(self.weather.crash);
        if doomed {
            let effects = self.rng.random_range(0..5);
            self.stage.cut(who, effects);
        }
        input(&mut self.stage);
        if doomed {
            self.crash(who);
        }
        self.follow(who);
    }

    /// Some of what happened last may have been synced and sent, and some of the rest may survive.
    fn crash(&mut self, who: u16) {
        self.note(who, "crash");
        if self.rng.random_bool(0.5) {
            self.stage.sync(who);
        }
        let lost = self.weather.lost > 0.0 && self.rng.random_bool(self.weather.lost);
        let mut others = self.stage.world.hosts.iter().filter(|(other, _)| **other != who);
        let damage = match self.rng.random_range(0..4) {
            _ if lost && others.all(|(_, host)| host.speaks_for_good()) => Damage::Lost,
            0 => Damage::Torn(self.rng.random_range(0..10_000)),
            1 => Damage::Flip(self.rng.random_range(0..80_000)),
            _ => Damage::Keep(self.rng.random_range(0..4)),
        };
        self.stage.crash(who, damage);
        let back = self.now + self.rng.random_range(20..600);
        self.at(back, Event::Recover(who));
    }

    fn work(&mut self, who: u16) {
        if self.stage.world.hosts[&who].alive && self.stage.world.has_work(who) {
            self.input(who, |stage| stage.cue(who, Cue::Work));
        }
    }

    /// Schedules what follows from the last move, and the next sync of the log.
    fn follow(&mut self, who: u16) {
        for news in std::mem::take(&mut self.stage.news) {
            let life = self.stage.world.hosts[&who].life;
            match news {
                News::Timer { who, id, after_ms } => {
                    let after = (after_ms as f64 * self.skews[&who]) as u64;
                    self.at(self.now + after, Event::Timer { who, life, id });
                }
                News::Asked { who, name } => {
                    let delay = self.rng.random_range(0..10);
                    self.at(self.now + delay, Event::Answer { who, life, name });
                }
                News::Sent { from, to, message } => self.spread(from, to, &message),
            }
        }
        let host = &self.stage.world.hosts[&who];
        if host.alive && host.has_unsynced() {
            let life = host.life;
            let delay = self.rng.random_range(0..8);
            self.at(self.now + delay, Event::Sync { who, life });
        }
    }

    fn spread(&mut self, from: u16, to: Option<u16>, message: &Rc<Message>) {
        if let Some(to) = to {
            self.wire(from, to, message);
            return;
        }
        let collector = self.collector(message);
        let others = self.stage.world.hosts.keys().copied().filter(|who| *who != from);
        for to in others
            .filter(|who| collector.is_none_or(|collector| collector == *who))
            .collect::<Vec<_>>()
        {
            self.wire(from, to, message);
        }
        let Some(faulty) = self.stage.world.cast.faulty else {
            return;
        };
        if self.rng.random_bool(self.weather.mischief) {
            for (to, act) in mischief::act(&self.stage.world, &mut self.rng) {
                if let Some(message) = self.stage.faulty(&act) {
                    self.wire(faulty, to, &message);
                }
            }
        }
    }

    /// The leader to whom alone a first vote goes where leaders collect votes; later rounds tell everybody.
    fn collector(&self, message: &Message) -> Option<u16> {
        let world = &self.stage.world;
        let Message::Vote(vote) = message else { return None };
        let (height, round) = (vote.statement.height, vote.statement.round);
        let leader = world.sets.at(height).validators().leader(height, round);
        let collects = world.cast.aggregates && round == 0;
        world.sets.who(height, leader).filter(|_| collects)
    }

    /// Sends one copy, or none, or two.
    fn wire(&mut self, from: u16, to: u16, message: &Rc<Message>) {
        let rough = self.now < self.weather.calm_ms;
        if rough && self.groups.part((from, to), message) {
            return;
        }
        let stopped = self
            .spells
            .iter()
            .any(|spell| spell.stops(self.now, (from, to), kind_of(message)));
        if rough && (stopped || self.rng.random_bool(self.weather.loss)) {
            return;
        }
        let copies = if rough && self.rng.random_bool(0.05) { 2 } else { 1 };
        for _ in 0..copies {
            let late = if rough && self.rng.random_bool(0.03) { 600 } else { 20 };
            let delay = self.rng.random_range(1..late);
            let message = Rc::clone(message);
            self.at(self.now + delay, Event::Deliver { from, to, message });
        }
    }

    fn at(&mut self, time: u64, event: Event) {
        self.serial += 1;
        self.queue.insert((time, self.serial), event);
    }

    /// FNV-1a over what happens, where and when.
    fn note(&mut self, who: u16, what: &str) {
        let bytes = self
            .now
            .to_be_bytes()
            .into_iter()
            .chain(who.to_be_bytes())
            .chain(what.bytes());
        for byte in bytes {
            self.trace = (self.trace ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
