//! Random schedules in virtual time: loss, duplication, heavy tails, suppression of votes, partitions,
//! clock skew, crashes between any two effects, and one faulty validator; then calm.

use super::{host::Request, mischief, script::kind_of, world::World};
use crate::{Input, Message, mutants::Knobs};
use rand::{RngExt, rngs::ChaCha8Rng};
use regatta_base::{Height, seed};
use std::{collections::BTreeMap, rc::Rc};

/// From this virtual millisecond on everything works, except the faulty validator.
const CALM_MS: u64 = 2_500;
/// By this virtual millisecond everybody must have decided everything.
const DEADLINE_MS: u64 = 120_000;
/// So long after the last decision messages may still be on their way, in virtual milliseconds.
const ECHO_MS: u64 = 1_000;
/// Time between retry ticks in virtual milliseconds.
const TICK_MS: u64 = 150;

/// How bad the weather is.
#[derive(Debug, Clone)]
pub(super) struct Weather {
    pub(super) weights: Vec<u64>,
    /// Other weights from these heights on; nodes of weight 0 follow meanwhile.
    pub(super) changes: Vec<(Height, Vec<u64>)>,
    pub(super) faulty: Option<u16>,
    pub(super) followers: u16,
    /// Probability that a message is lost.
    pub(super) loss: f64,
    /// Probability that a step ends in a crash.
    pub(super) crash: f64,
    /// Probability that the faulty validator answers a message.
    pub(super) mischief: f64,
    /// How many spells of suppression there are.
    pub(super) spells: usize,
    /// How many blocks are to be decided.
    pub(super) target: Height,
}

/// What came of a schedule.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) violations: Vec<String>,
    /// Changes whenever anything happens in another order.
    pub(super) trace: u64,
    pub(super) events: usize,
    /// Messages still on their way a while after everything was decided.
    pub(super) late_messages: usize,
}

enum Event {
    Deliver { from: u16, to: u16, message: Rc<Message> },
    Input { who: u16, life: u32, input: Input },
    Answer { who: u16, life: u32, request: Request },
    Sync { who: u16, life: u32 },
    Tick(u16),
    Recover(u16),
}

/// A time in which some messages do not get through.
#[derive(Debug)]
struct Spell {
    from: u64,
    until: u64,
    /// Only messages of this kind, if one is given.
    kind: Option<&'static str>,
    /// Bit i: node i is cut off from the rest (or, with a kind, does not receive it).
    cut: u16,
}

struct Storm {
    world: World,
    weather: Weather,
    rng: ChaCha8Rng,
    now: u64,
    serial: u64,
    queue: BTreeMap<(u64, u64), Event>,
    spells: Vec<Spell>,
    skews: BTreeMap<u16, f64>,
    trace: u64,
    events: usize,
    done_at: Option<u64>,
    late_messages: usize,
}

/// Plays one schedule.
pub(super) fn play(seed: u64, weather: &Weather, knobs: Knobs) -> Outcome {
    let mut rng = seed::rng(seed, "storm");
    let weights = [vec![(1, weather.weights.clone())], weather.changes.clone()].concat();
    let mut world = World::changing(&weights, weather.faulty, weather.followers, knobs);
    world.target = weather.target;
    let skews = world
        .hosts
        .keys()
        .map(|who| (*who, rng.random_range(0.6..1.6)))
        .collect();
    let spells = (0..weather.spells).map(|_| Spell::random(&mut rng)).collect();
    let mut storm = Storm {
        world,
        weather: weather.clone(),
        rng,
        now: 0,
        serial: 0,
        queue: BTreeMap::new(),
        spells,
        skews,
        trace: 0xcbf2_9ce4_8422_2325,
        events: 0,
        done_at: None,
        late_messages: 0,
    };
    storm.run();
    Outcome {
        violations: storm.world.oracle.violations,
        trace: storm.trace,
        events: storm.events,
        late_messages: storm.late_messages,
    }
}

impl Spell {
    fn random(rng: &mut ChaCha8Rng) -> Self {
        let kinds = [
            None,
            Some("propose"),
            Some("vote1"),
            Some("vote2"),
            Some("vote2"),
            Some("timeout"),
        ];
        let from = rng.random_range(0..CALM_MS);
        Self {
            from,
            until: from + rng.random_range(50..800),
            kind: kinds[rng.random_range(0..kinds.len())],
            cut: rng.random(),
        }
    }

    fn stops(&self, now: u64, (from, to): (u16, u16), kind: &str) -> bool {
        let cut = |who: u16| self.cut >> (who % 16) & 1 == 1;
        (self.from..self.until).contains(&now)
            && match self.kind {
                Some(stopped) => stopped == kind && cut(to),
                None => cut(from) != cut(to),
            }
    }
}

impl Storm {
    fn run(&mut self) {
        let everyone: Vec<u16> = self.world.hosts.keys().copied().collect();
        for who in everyone {
            self.at(
                self.now,
                Event::Input {
                    who,
                    life: 0,
                    input: Input::Start,
                },
            );
            self.at(
                self.now,
                Event::Input {
                    who,
                    life: 0,
                    input: Input::Work,
                },
            );
            self.at(self.now + u64::from(who), Event::Tick(who));
        }
        while let Some(((now, _), event)) = self.queue.pop_first() {
            self.now = now;
            self.handle(event);
            self.events += 1;
            if !self.world.oracle.violations.is_empty() || self.is_over() {
                return;
            }
            if now > DEADLINE_MS {
                let places: Vec<_> = self
                    .world
                    .hosts
                    .values()
                    .map(|host| (host.core.height(), host.core.round()))
                    .collect();
                self.world.oracle.blame(format!("liveness: stuck at {places:?}"));
                return;
            }
        }
    }

    /// Whether everything was decided, and then some time for echoes went by.
    fn is_over(&mut self) -> bool {
        let target = self.weather.target;
        let mut hosts = self.world.hosts.values();
        let done = hosts.all(|host| host.alive && host.chain.len() as Height >= target);
        if done && self.now > CALM_MS {
            self.done_at.get_or_insert(self.now);
        }
        self.done_at.is_some_and(|at| self.now > at + 2 * ECHO_MS)
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Deliver { from, to, message } => {
                self.note(to, kind_of(&message));
                self.late_messages += usize::from(self.done_at.is_some_and(|at| self.now > at + ECHO_MS));
                self.input(to, Input::Recv(Message::clone(&message)), Some(from));
            }
            Event::Input { who, life, input } => {
                if self.world.hosts[&who].life == life {
                    self.note(who, "input");
                    self.input(who, input, None);
                }
            }
            Event::Answer { who, life, request } => {
                if self.world.hosts[&who].alive && self.world.hosts[&who].life == life {
                    self.answer(who, request);
                }
            }
            Event::Sync { who, life } => {
                if self.world.hosts[&who].alive && self.world.hosts[&who].life == life {
                    self.note(who, "sync");
                    self.release(who);
                }
            }
            Event::Tick(who) => {
                self.at(self.now + TICK_MS, Event::Tick(who));
                self.input(who, Input::Retry, None);
            }
            Event::Recover(who) => {
                self.note(who, "recover");
                let truncate = self.rng.random_bool(0.5);
                self.world.hosts.get_mut(&who).unwrap().recover(truncate);
                self.settle(who, None);
                self.work(who);
            }
        }
    }

    fn input(&mut self, who: u16, input: Input, from: Option<u16>) {
        let doomed = self.now < CALM_MS && self.rng.random_bool(self.weather.crash);
        let limit = if doomed {
            self.rng.random_range(0..5)
        } else {
            usize::MAX
        };
        let host = self.world.hosts.get_mut(&who).unwrap();
        if !host.alive {
            return;
        }
        host.input(input, limit);
        if doomed {
            self.crash(who);
        } else {
            self.settle(who, from);
        }
    }

    /// Some of what happened last may have been synced and sent, and some of the rest may survive.
    fn crash(&mut self, who: u16) {
        self.note(who, "crash");
        if self.rng.random_bool(0.5) {
            self.release(who);
        }
        let kept = self.rng.random_range(0..4);
        self.world.hosts.get_mut(&who).unwrap().crash(kept);
        let back = self.now + self.rng.random_range(20..600);
        self.at(back, Event::Recover(who));
    }

    /// Schedules the answers to what `who` asked for and the next sync of its log.
    fn settle(&mut self, who: u16, from: Option<u16>) {
        let host = self.world.hosts.get_mut(&who).unwrap();
        let life = host.life;
        for request in std::mem::take(&mut host.requests) {
            match request {
                Request::Timer(id, after) => {
                    let after = (after as f64 * self.skews[&who]) as u64;
                    let input = Input::Timer(id);
                    self.at(self.now + after, Event::Input { who, life, input });
                }
                Request::Behind(height) => {
                    for commit in self.world.public_from(height) {
                        let message = Rc::new(Message::Commit(commit));
                        self.wire(who, from.unwrap_or(who), &message);
                    }
                }
                request => {
                    let delay = self.rng.random_range(0..10);
                    self.at(self.now + delay, Event::Answer { who, life, request });
                }
            }
        }
        if self.world.hosts[&who].has_unsynced() {
            let delay = self.rng.random_range(0..8);
            self.at(self.now + delay, Event::Sync { who, life });
        }
    }

    fn answer(&mut self, who: u16, request: Request) {
        let moves = matches!(request, Request::Apply(_) | Request::Sync);
        if let Some(input) = self.world.answer(who, request) {
            self.input(who, input, None);
        }
        if moves {
            self.work(who);
        }
    }

    fn work(&mut self, who: u16) {
        if self.world.hosts[&who].alive && self.world.has_work(who) {
            self.input(who, Input::Work, None);
        }
    }

    fn release(&mut self, who: u16) {
        for message in self.world.release(who) {
            let message = Rc::new(message);
            let others: Vec<u16> = self.world.hosts.keys().copied().filter(|to| *to != who).collect();
            for to in others {
                self.wire(who, to, &message);
            }
            if self.rng.random_bool(self.weather.mischief) {
                let from = self.weather.faulty.unwrap_or_default();
                for (to, message) in mischief::act(&mut self.world, &mut self.rng) {
                    self.wire(from, to, &Rc::new(message));
                }
            }
        }
    }

    /// Sends one copy, or none, or two.
    fn wire(&mut self, from: u16, to: u16, message: &Rc<Message>) {
        let rough = self.now < CALM_MS;
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
