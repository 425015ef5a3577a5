//! Directed scripts: a few words a line, no virtual time, every step explicit.
//!
//! `deliver`/`drop [KIND..] [to N..]` moves or loses pending messages (kinds `propose vote1 vote2 timeout
//! quorum tc commit status`); `work`, `timeout`, `retry`, `crash`, `recover`, `hold`, `sync` take nodes;
//! `limit N K` lets the next input of N carry out K effects, sync, and then crash; `faulty KIND H R
//! HEADER [with N..] [to N..]` sends what the faulty validator signs; `expect` says what must hold. A
//! header made by node N at height H and round R in its L-th life is called `N.H.R.L`.

use super::{host::Request, world::World};
use crate::{Content, Input, Message, header_digest, mutants::Knobs};
use regatta_base::Height;
use std::collections::{BTreeMap, BTreeSet};

struct Envelope {
    from: u16,
    to: u16,
    message: Message,
}

/// The state of a running script.
struct Lab {
    world: World,
    pending: Vec<Envelope>,
    timers: BTreeMap<u16, u64>,
    held: BTreeSet<u16>,
    limits: BTreeMap<u16, usize>,
    evidence: usize,
}

/// Runs `script` and returns the violations that the oracles saw.
///
/// # Panics
/// When an `expect` line does not hold, with the line.
pub(super) fn run(weights: &[u64], faulty: Option<u16>, knobs: Knobs, script: &str) -> Vec<String> {
    run_in(World::new(weights, faulty, 1, knobs), script)
}

/// [`run`] in a world of any kind.
pub(super) fn run_in(world: World, script: &str) -> Vec<String> {
    let mut lab = Lab {
        world,
        pending: Vec::new(),
        timers: BTreeMap::new(),
        held: BTreeSet::new(),
        limits: BTreeMap::new(),
        evidence: 0,
    };
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        lab.line(line, words[0], &words[1..]);
    }
    lab.world.oracle.violations
}

impl Lab {
    fn line(&mut self, line: &str, verb: &str, words: &[&str]) {
        match verb {
            "target" => self.world.target = words[0].parse().unwrap(),
            "deliver" => self.deliver(words),
            "drop" => self.pending.retain(|envelope| !matches(envelope, words)),
            "work" => self.each(words, |_| Some(Input::Work)),
            "timeout" => self.each(words, |timer| timer.map(Input::Timer)),
            "retry" => self.each(words, |_| Some(Input::Retry)),
            "hold" => self.held.extend(nodes(words)),
            "sync" => nodes(words).for_each(|who| {
                self.held.remove(&who);
                self.release(who);
            }),
            "limit" => {
                self.limits.insert(words[0].parse().unwrap(), words[1].parse().unwrap());
            }
            "crash" => nodes(words).for_each(|who| self.world.hosts.get_mut(&who).unwrap().crash(0)),
            "recover" => nodes(words).for_each(|who| {
                self.world.hosts.get_mut(&who).unwrap().recover(true);
                self.settle(who, None);
            }),
            "faulty" => self.faulty(words),
            "expect" => assert!(self.holds(words), "`{line}` does not hold\n{}", self.describe()),
            _ => panic!("no such verb: {line}"),
        }
    }

    fn each(&mut self, words: &[&str], input: impl Fn(Option<u64>) -> Option<Input>) {
        for who in nodes(words) {
            if let Some(input) = input(self.timers.get(&who).copied()) {
                self.input(who, input, None);
            }
        }
    }

    /// Delivers what matches, and what comes of it and matches too.
    fn deliver(&mut self, words: &[&str]) {
        while let Some(place) = self.pending.iter().position(|envelope| matches(envelope, words)) {
            let envelope = self.pending.remove(place);
            self.input(envelope.to, Input::Recv(envelope.message), Some(envelope.from));
        }
    }

    fn input(&mut self, who: u16, input: Input, from: Option<u16>) {
        let limit = self.limits.remove(&who);
        let host = self.world.hosts.get_mut(&who).unwrap();
        host.input(input, limit.unwrap_or(usize::MAX));
        if limit.is_some() {
            host.requests.clear();
            self.release(who);
            self.world.hosts.get_mut(&who).unwrap().crash(0);
        }
        self.settle(who, from);
    }

    /// Answers requests until none is left, then lets out what may leave.
    fn settle(&mut self, who: u16, from: Option<u16>) {
        loop {
            let requests = std::mem::take(&mut self.world.hosts.get_mut(&who).unwrap().requests);
            if requests.is_empty() {
                break;
            }
            for request in requests {
                self.request(who, request, from);
            }
        }
        if !self.held.contains(&who) {
            self.release(who);
        }
    }

    fn request(&mut self, who: u16, request: Request, from: Option<u16>) {
        match request {
            Request::Timer(id, _) => {
                self.timers.insert(who, id);
            }
            Request::Behind(height) => {
                for commit in self.world.public_from(height) {
                    let message = Message::Commit(commit);
                    let to = from.unwrap();
                    self.pending.push(Envelope { from: who, to, message });
                }
            }
            other => {
                let moved = matches!(other, Request::Apply(_) | Request::Sync);
                if let Some(answer) = self.world.answer(who, other) {
                    self.world.hosts.get_mut(&who).unwrap().input(answer, usize::MAX);
                }
                if moved && self.world.has_work(who) {
                    self.world.hosts.get_mut(&who).unwrap().input(Input::Work, usize::MAX);
                }
            }
        }
    }

    fn release(&mut self, who: u16) {
        self.evidence += self.world.hosts[&who].evidence.len();
        for message in self.world.release(who) {
            let others = self.world.hosts.keys().filter(|to| **to != who);
            self.pending.extend(others.map(|&to| Envelope {
                from: who,
                to,
                message: message.clone(),
            }));
        }
    }

    /// `faulty propose|vote1|vote2|timeout H R HEADER [with N..] [to N..]`.
    fn faulty(&mut self, words: &[&str]) {
        let (height, round): (Height, u32) = (words[1].parse().unwrap(), words[2].parse().unwrap());
        let header = self.world.make(words[3]);
        let digest = header_digest(&header);
        let faulty = self.world.faulty.as_ref().unwrap();
        let message = match words[0] {
            "propose" => faulty.propose(height, round, &header, &list(words, "with")),
            "vote1" => faulty.say(height, round, Content::Vote1(digest)),
            "vote2" => faulty.say(height, round, Content::Vote2(digest)),
            "timeout" => faulty.say(height, round, Content::Timeout(None)),
            "quorum" => Message::Quorum(faulty.quorum(height, round).unwrap().clone()),
            other => panic!("the faulty cannot {other}"),
        };
        let from = faulty.who;
        self.pending.extend(list(words, "to").into_iter().map(|to| Envelope {
            from,
            to,
            message: message.clone(),
        }));
    }

    fn holds(&self, words: &[&str]) -> bool {
        match words {
            ["silent"] => self.pending.is_empty(),
            ["evidence", count] => self.evidence == count.parse::<usize>().unwrap(),
            ["clean"] => self.world.oracle.violations.is_empty(),
            ["decided", height, header] => {
                let height = height.parse().unwrap();
                self.world.oracle.decided.get(&height) == Some(&header_digest(header.as_bytes()))
            }
            ["undecided", height] => !self.world.oracle.decided.contains_key(&height.parse().unwrap()),
            ["pending", kind, count] => {
                let count: usize = count.parse().unwrap();
                self.pending
                    .iter()
                    .filter(|envelope| kind_of(&envelope.message) == *kind)
                    .count()
                    == count
            }
            ["at", height, round, who @ ..] => nodes(who).all(|who| {
                let core = &self.world.hosts[&who].core;
                (core.height(), core.round()) == (height.parse().unwrap(), round.parse().unwrap())
            }),
            _ => panic!("no such expectation: {words:?}"),
        }
    }

    fn describe(&self) -> String {
        let mut text = String::new();
        for (who, host) in &self.world.hosts {
            text += &format!("{who}: at {}/{}\n", host.core.height(), host.core.round());
        }
        for envelope in &self.pending {
            let kind = kind_of(&envelope.message);
            text += &format!("pending {kind} {} -> {}\n", envelope.from, envelope.to);
        }
        text + &self.world.oracle.violations.join("\n")
    }
}

fn matches(envelope: &Envelope, words: &[&str]) -> bool {
    let kinds: Vec<&&str> = words.iter().take_while(|word| **word != "to").collect();
    let to = list(words, "to");
    let kind = kinds.is_empty() || kinds.contains(&&kind_of(&envelope.message));
    kind && (to.is_empty() || to.contains(&envelope.to))
}

fn nodes(words: &[&str]) -> impl Iterator<Item = u16> {
    words.iter().map(|word| word.parse().unwrap())
}

/// The numbers that follow the word `name`.
fn list(words: &[&str], name: &str) -> Vec<u16> {
    let after = words.iter().skip_while(|word| **word != name).skip(1);
    after.map_while(|word| word.parse().ok()).collect()
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
