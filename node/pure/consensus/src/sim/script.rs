//! Scripts: a few words a line, no virtual time, every step explicit.
//!
//! `deliver`/`drop [KIND..] [to N..]` moves or loses pending messages (kinds `propose vote1 vote2 timeout
//! quorum tc commit status`); `work`, `timeout`, `retry`, `crash`, `recover`, `hold`, `sync` take nodes;
//! `limit N K` lets the next input of N carry out K effects, sync, and then crash; `faulty KIND H R
//! HEADER [with N..] [to N..]` sends what the faulty validator signs; `expect` says what must hold. A
//! header made by node N at height H and round R in its L-th life is called `N.H.R.L`.
//!
//! Requests to the layer above are answered and logs synced at once, unless the script says `slowly`.
//! What the shrinker prints starts with `cast` and says one [`Move`] a line. `#` opens a comment.

use super::{
    disk::Damage,
    moves::{Act, Cue, Move, numbers_after},
    stage::{News, Stage},
    world::Cast,
};
use crate::{Content, Message, header_digest, mutants::Knobs};
use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

struct Envelope {
    from: u16,
    to: u16,
    message: Rc<Message>,
}

/// The state of a running script.
struct Lab {
    stage: Stage,
    pending: Vec<Envelope>,
    /// Nothing happens by itself.
    slow: bool,
    held: BTreeSet<u16>,
    limits: BTreeMap<u16, usize>,
}

/// Runs `script` and returns the violations that the oracles saw.
///
/// # Panics
/// When an `expect` line does not hold, with the line.
pub(super) fn run(weights: &[u64], faulty: Option<u16>, knobs: Knobs, script: &str) -> Vec<String> {
    let cast = Cast {
        faulty,
        followers: 1,
        knobs,
        ..Cast::of(weights)
    };
    run_with(cast, script)
}

/// [`run`] with any cast.
pub(super) fn run_with(cast: Cast, script: &str) -> Vec<String> {
    let mut lab = Lab::new(Stage::named(cast));
    lab.run(script);
    lab.stage.world.judge_end();
    lab.stage.world.oracle.violations
}

/// Runs a script that opens with its cast.
pub(super) fn replay(knobs: Knobs, script: &str) -> Vec<String> {
    run_with(cast_of(knobs, script), script)
}

/// Runs a script that opens with its cast, and returns everything that happens in words.
pub(super) fn trace(script: &str) -> String {
    let mut lab = Lab::new(Stage::tracing(cast_of(Knobs::default(), script)));
    lab.run(script);
    for violation in &lab.stage.world.oracle.violations.clone() {
        lab.stage.note(violation);
    }
    lab.stage.take_trace()
}

fn cast_of(knobs: Knobs, script: &str) -> Cast {
    let first = script.lines().find(|line| line.starts_with("cast ")).unwrap();
    Cast::parse(first, knobs).unwrap()
}

impl Lab {
    fn new(stage: Stage) -> Self {
        Self {
            stage,
            pending: Vec::new(),
            slow: false,
            held: BTreeSet::new(),
            limits: BTreeMap::new(),
        }
    }

    fn run(&mut self, script: &str) {
        for line in script.lines().map(str::trim) {
            self.line(line);
        }
    }

    /// Carries out one line.
    fn line(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some((&verb, words)) = words.split_first() else {
            return;
        };
        self.stage.note(&format!("> {line}"));
        match verb {
            "cast" | "#" => {}
            "slowly" => self.slow = true,
            "target" => self.stage.world.cast.target = words[0].parse().unwrap(),
            "deliver" => self.deliver(words),
            "drop" => self.pending.retain(|envelope| !matches(envelope, words)),
            "work" => self.each(words, Cue::Work),
            "timeout" => self.each(words, Cue::Timeout),
            "retry" => self.each(words, Cue::Retry),
            "hold" => self.held.extend(nodes(words)),
            "sync" => nodes(words).for_each(|who| {
                self.held.remove(&who);
                self.sync(who);
            }),
            "limit" => {
                self.limits.insert(words[0].parse().unwrap(), words[1].parse().unwrap());
            }
            "expect" => assert!(self.holds(words), "`{line}` does not hold\n{}", self.describe()),
            "faulty" if words.contains(&"to") => self.faulty(words),
            "crash" => match Move::parse(line) {
                Some(step) => self.step(&step),
                None => nodes(words).for_each(|who| self.step(&Move::Crash(who, Damage::Keep(0)))),
            },
            "recover" if !words.contains(&"whole") => {
                nodes(words).for_each(|who| self.step(&Move::Recover(who, true)));
            }
            _ => match Move::parse(line) {
                Some(step) => self.step(&step),
                None => panic!("no such verb: {line}"),
            },
        }
    }

    /// Plays one move and, unless the script goes slowly, what follows from it.
    fn step(&mut self, step: &Move) {
        let fitted = self.stage.play(step);
        match step.receiver().filter(|_| fitted && !self.slow) {
            Some(who) => self.settle(who),
            None => self.collect(),
        }
    }

    fn each(&mut self, words: &[&str], cue: Cue) {
        for who in nodes(words) {
            self.input(who, |stage| stage.cue(who, cue));
        }
    }

    /// Delivers what matches, and what comes of it and matches too.
    fn deliver(&mut self, words: &[&str]) {
        while let Some(place) = self.pending.iter().position(|envelope| matches(envelope, words)) {
            let envelope = self.pending.remove(place);
            let Envelope { from, to, message } = envelope;
            self.input(to, |stage| stage.give(from, to, &message));
        }
    }

    fn input(&mut self, who: u16, input: impl FnOnce(&mut Stage) -> bool) {
        let limit = self.limits.remove(&who);
        if let Some(limit) = limit {
            self.stage.cut(who, limit);
        }
        input(&mut self.stage);
        if limit.is_some() {
            self.sync(who);
            self.stage.crash(who, Damage::Keep(0));
        } else if self.slow {
            self.collect();
        } else {
            self.settle(who);
        }
    }

    /// Answers requests until none is left, then lets out what may leave.
    fn settle(&mut self, who: u16) {
        self.stage.settle(who);
        if self.held.contains(&who) {
            self.collect();
        } else {
            self.sync(who);
        }
    }

    fn sync(&mut self, who: u16) {
        self.stage.sync(who);
        self.collect();
    }

    /// Puts what was sent among the pending messages.
    fn collect(&mut self) {
        for news in std::mem::take(&mut self.stage.news) {
            let News::Sent { from, to, message } = news else {
                continue;
            };
            let all = self.stage.world.hosts.keys().copied().filter(|who| *who != from);
            let to = to.map_or_else(|| all.collect(), |to| vec![to]);
            self.pending.extend(to.into_iter().map(|to| Envelope {
                from,
                to,
                message: Rc::clone(&message),
            }));
        }
    }

    /// `faulty KIND H R HEADER [with N..] to N..`.
    fn faulty(&mut self, words: &[&str]) {
        let act = Act::parse(words).unwrap();
        let message = self.stage.faulty(&act).unwrap();
        let from = self.stage.world.cast.faulty.unwrap();
        self.pending
            .extend(numbers_after(words, "to").into_iter().map(|to| Envelope {
                from,
                to,
                message: Rc::clone(&message),
            }));
    }

    fn holds(&self, words: &[&str]) -> bool {
        match words {
            ["silent"] => self.pending.is_empty(),
            ["evidence", count] => self.stage.world.evidence == count.parse::<usize>().unwrap(),
            ["clean"] => self.stage.world.oracle.violations.is_empty(),
            ["decided", height, header] => {
                let height = height.parse().unwrap();
                self.stage.world.oracle.decided.get(&height) == Some(&header_digest(header.as_bytes()))
            }
            ["undecided", height] => !self.stage.world.oracle.decided.contains_key(&height.parse().unwrap()),
            ["pending", kind, count] => {
                let count: usize = count.parse().unwrap();
                self.pending
                    .iter()
                    .filter(|envelope| kind_of(&envelope.message) == *kind)
                    .count()
                    == count
            }
            ["at", height, round, who @ ..] => nodes(who).all(|who| {
                let core = &self.stage.world.hosts[&who].core;
                (core.height(), core.round()) == (height.parse().unwrap(), round.parse().unwrap())
            }),
            _ => panic!("no such expectation: {words:?}"),
        }
    }

    fn describe(&self) -> String {
        let mut text = String::new();
        for (who, host) in &self.stage.world.hosts {
            text += &format!("{who}: at {}/{}\n", host.core.height(), host.core.round());
        }
        for envelope in &self.pending {
            let kind = kind_of(&envelope.message);
            text += &format!("pending {kind} {} -> {}\n", envelope.from, envelope.to);
        }
        text + &self.stage.world.oracle.violations.join("\n")
    }
}

fn matches(envelope: &Envelope, words: &[&str]) -> bool {
    let kinds: Vec<&&str> = words.iter().take_while(|word| **word != "to").collect();
    let to = numbers_after(words, "to");
    let kind = kinds.is_empty() || kinds.contains(&&kind_of(&envelope.message));
    kind && (to.is_empty() || to.contains(&envelope.to))
}

fn nodes(words: &[&str]) -> impl Iterator<Item = u16> {
    words.iter().map(|word| word.parse().unwrap())
}

/// The name of a message's kind in scripts and traces.
pub(super) fn kind_of(message: &Message) -> &'static str {
    match message {
        Message::Proposal(_) => "propose",
        Message::Vote(vote) if matches!(vote.statement.content, Content::Vote1(_)) => "vote1",
        Message::Vote(_) => "vote2",
        Message::Timeout(_) => "timeout",
        Message::Quorum(_) => "quorum",
        Message::TimeoutQuorum(_) => "tc",
        Message::Commit(_) => "commit",
        Message::Status { .. } => "status",
    }
}
