//! The stage: everybody, what they asked for, and what was sent, moved one step at a time. Random
//! schedules and scripts move the same stage, so that what one found the other can play again.

use super::{
    archive::{Archive, label},
    disk::Damage,
    host::Request,
    moves::{Act, ActKind, Cue, Move},
    trace,
    world::{Cast, World},
};
use crate::{Content, Input, Message, header_digest};
use std::{collections::BTreeMap, rc::Rc};

/// What came of a move, for whoever plays the network and the clock.
pub(super) enum News {
    /// `from` sent a message, to everybody unless `to` is given.
    Sent {
        from: u16,
        to: Option<u16>,
        message: Rc<Message>,
    },
    /// A timer of `who` is to fire after so many milliseconds, unless a later one replaces it.
    Timer { who: u16, id: u64, after_ms: u64 },
    /// `who` asked the layer above for something.
    Asked { who: u16, name: &'static str },
}

/// The stage.
pub(super) struct Stage {
    pub(super) world: World,
    pub(super) news: Vec<News>,
    /// The running timer of each node.
    pub(super) timers: BTreeMap<u16, u64>,
    open: BTreeMap<u16, Vec<Request>>,
    cuts: BTreeMap<u16, usize>,
    /// Kept only where somebody is going to name messages.
    archive: Option<Archive>,
    moves: Option<Vec<Move>>,
    /// Moves and what came of them, in words.
    trace: Option<String>,
}

impl Stage {
    /// A stage for speed: it records nothing and knows no names.
    pub(super) fn new(cast: Cast) -> Self {
        Self {
            world: World::new(cast),
            news: Vec::new(),
            timers: BTreeMap::new(),
            open: BTreeMap::new(),
            cuts: BTreeMap::new(),
            archive: None,
            moves: None,
            trace: None,
        }
    }

    /// A stage that knows messages by name.
    pub(super) fn named(cast: Cast) -> Self {
        let mut stage = Self::new(cast);
        stage.archive = Some(Archive::default());
        stage
    }

    /// A stage that writes down every move.
    pub(super) fn recording(cast: Cast) -> Self {
        let mut stage = Self::named(cast);
        stage.moves = Some(Vec::new());
        stage
    }

    /// A stage that writes down every move and every effect in words.
    pub(super) fn tracing(cast: Cast) -> Self {
        let mut stage = Self::recording(cast);
        stage.trace = Some(String::new());
        for host in stage.world.hosts.values_mut() {
            host.done = Some(Vec::new());
        }
        stage
    }

    /// Adds a line to the trace, if there is one.
    pub(super) fn note(&mut self, line: &str) {
        if let Some(trace) = &mut self.trace {
            trace.push_str(line);
            trace.push('\n');
        }
    }

    /// The trace so far.
    pub(super) fn take_trace(&mut self) -> String {
        self.trace.take().unwrap_or_default()
    }

    /// The moves so far, if they were recorded.
    pub(super) fn take_moves(&mut self) -> Vec<Move> {
        self.moves.take().unwrap_or_default()
    }

    /// Plays `step`; whether it fitted.
    pub(super) fn play(&mut self, step: &Move) -> bool {
        match step {
            Move::Cue(cue, who) => self.cue(*who, *cue),
            Move::Give(parcel, to) => {
                let found = self.archive.as_ref().and_then(|archive| archive.find(parcel));
                let from = parcel.label.split(' ').nth(1).and_then(|from| from.parse().ok());
                match (found, from) {
                    (Some(message), Some(from)) => self.give(from, *to, &message),
                    _ => false,
                }
            }
            Move::Answer(who, name) => self.answer(*who, name),
            Move::Sync(who) => self.sync(*who),
            Move::Cut(who, effects) => self.cut(*who, *effects),
            Move::Crash(who, damage) => self.crash(*who, *damage),
            Move::Recover(who, truncate) => self.recover(*who, *truncate),
            Move::Faulty(act) => self.faulty(act).is_some(),
        }
    }

    /// An input that is no message.
    pub(super) fn cue(&mut self, who: u16, cue: Cue) -> bool {
        let input = match cue {
            Cue::Start => Some(Input::Start),
            Cue::Work => Some(Input::Work),
            Cue::Timeout => self.timers.get(&who).copied().map(Input::Timer),
            Cue::Retry => Some(Input::Retry),
        };
        let alive = self.is_alive(who);
        let Some(input) = input.filter(|_| alive) else {
            return false;
        };
        self.record(|| Move::Cue(cue, who));
        self.input(who, input, None);
        if cue == Cue::Retry
            && let Some(released) = self.world.recall(who)
        {
            self.input(who, released, None);
        }
        true
    }

    /// `message`, which `from` sent, arrives at `to`.
    pub(super) fn give(&mut self, from: u16, to: u16, message: &Rc<Message>) -> bool {
        if !self.is_alive(to) {
            return false;
        }
        if let (Some(archive), Some(_)) = (&mut self.archive, &self.moves) {
            let parcel = archive.add(label(from, message, &self.world.headers), message);
            self.record(|| Move::Give(parcel, to));
        }
        if let Some(literal) = &mut self.world.literal {
            literal.heard(to, message);
        }
        self.input(to, Input::Recv(Message::clone(message)), Some(from));
        true
    }

    /// The layer above answers the oldest open request of that name, if it can.
    pub(super) fn answer(&mut self, who: u16, name: &'static str) -> bool {
        let open = self.open.entry(who).or_default();
        let Some(place) = open.iter().position(|request| request.name() == name) else {
            return false;
        };
        let request = open.remove(place);
        self.record(|| Move::Answer(who, name));
        if let Some(input) = self.world.answer(who, request) {
            self.input(who, input, None);
        }
        true
    }

    /// The log of `who` is durable, and what waited for it leaves.
    pub(super) fn sync(&mut self, who: u16) -> bool {
        if !self.is_alive(who) {
            return false;
        }
        self.moves.iter_mut().for_each(|moves| moves.push(Move::Sync(who)));
        let messages = self.world.release(who);
        if !messages.is_empty() {
            self.note(&format!("  {}", Move::Sync(who)));
        }
        for message in messages {
            self.send(who, None, Rc::new(message));
        }
        true
    }

    /// Of the next input of `who` only so many effects are carried out.
    pub(super) fn cut(&mut self, who: u16, effects: usize) -> bool {
        self.record(|| Move::Cut(who, effects));
        self.cuts.insert(who, effects);
        true
    }

    /// `who` dies, and what was not synced is damaged.
    pub(super) fn crash(&mut self, who: u16, damage: Damage) -> bool {
        if !self.is_alive(who) {
            return false;
        }
        self.record(|| Move::Crash(who, damage));
        self.open.remove(&who);
        self.timers.remove(&who);
        self.cuts.remove(&who);
        if let Some(host) = self.world.hosts.get_mut(&who) {
            let said = host.crash(damage);
            if let Some(literal) = &mut self.world.literal {
                literal.crashed(who, &said);
            }
        }
        true
    }

    /// `who` starts again; `truncate` drops from its log what the store may drop.
    pub(super) fn recover(&mut self, who: u16, truncate: bool) -> bool {
        let Some(host) = self.world.hosts.get_mut(&who).filter(|host| !host.alive) else {
            return false;
        };
        host.recover(truncate);
        self.record(|| Move::Recover(who, truncate));
        self.absorb(who, None);
        true
    }

    /// The faulty validator signs something. It is not sent yet.
    pub(super) fn faulty(&mut self, act: &Act) -> Option<Rc<Message>> {
        let header = self.world.make(&act.header);
        let (height, round) = (act.height, act.round);
        let faulty = self.world.faulty.as_ref()?;
        faulty.index(height)?;
        let digest = header_digest(&header);
        let message = match act.kind {
            ActKind::Propose => faulty.propose(height, round, &header, &act.with),
            ActKind::Extend => faulty.extend(height, round, &header)?,
            ActKind::Vote1 => faulty.say(height, round, Content::Vote1(digest)),
            ActKind::Vote2 => faulty.say(height, round, Content::Vote2(digest)),
            ActKind::Timeout => faulty.say(height, round, Content::Timeout(None)),
            ActKind::Quorum => Message::Quorum(faulty.quorum(height, round)?.clone()),
        };
        let (from, message) = (faulty.who, Rc::new(message));
        self.record(|| Move::Faulty(act.clone()));
        if let Some(archive) = &mut self.archive {
            archive.add(label(from, &message, &self.world.headers), &message);
        }
        Some(message)
    }

    /// Answers everything that `who` asked for, and what it asks for then.
    pub(super) fn settle(&mut self, who: u16) {
        let first = |stage: &Self| Some(stage.open.get(&who)?.first()?.name());
        while let Some(name) = first(self) {
            self.answer(who, name);
            if matches!(name, "apply" | "sync") && self.world.has_work(who) {
                self.cue(who, Cue::Work);
            }
        }
    }

    fn is_alive(&self, who: u16) -> bool {
        self.world.hosts.get(&who).is_some_and(|host| host.alive)
    }

    fn input(&mut self, who: u16, input: Input, from: Option<u16>) {
        let limit = self.cuts.remove(&who).unwrap_or(usize::MAX);
        if let Some(host) = self.world.hosts.get_mut(&who) {
            host.input(input, limit);
        }
        self.absorb(who, from);
    }

    /// Takes over what `who` asked for.
    fn absorb(&mut self, who: u16, from: Option<u16>) {
        self.world.judge(who);
        let host = self.world.hosts.get_mut(&who);
        let done = host.and_then(|host| host.done.as_mut()).map(std::mem::take);
        for effect in done.iter().flatten() {
            let line = format!("    {who} {}", trace::words(who, effect, &self.world.headers));
            self.note(&line);
        }
        let Some(host) = self.world.hosts.get_mut(&who) else {
            return;
        };
        for request in std::mem::take(&mut host.requests) {
            match request {
                Request::Timer(id, after_ms) => {
                    self.timers.insert(who, id);
                    self.news.push(News::Timer { who, id, after_ms });
                }
                Request::Behind(height) => {
                    for commit in self.world.public_from(height) {
                        self.send(who, from, Rc::new(Message::Commit(commit)));
                    }
                }
                request => {
                    let name = request.name();
                    self.news.push(News::Asked { who, name });
                    self.open.entry(who).or_default().push(request);
                }
            }
        }
    }

    fn send(&mut self, from: u16, to: Option<u16>, message: Rc<Message>) {
        if let Some(archive) = &mut self.archive {
            archive.add(label(from, &message, &self.world.headers), &message);
        }
        self.news.push(News::Sent { from, to, message });
    }

    fn record(&mut self, step: impl FnOnce() -> Move) {
        if self.moves.is_some() {
            let step = step();
            self.note(&format!("  {step}"));
            self.moves.iter_mut().for_each(|moves| moves.push(step.clone()));
        }
    }
}
