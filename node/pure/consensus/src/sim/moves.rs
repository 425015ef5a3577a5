//! The moves that schedules are made of: what a random schedule records, what the shrinker leaves out,
//! and what a script says step by step.

use super::disk::Damage;
use std::fmt;

/// One step. Equal moves from equal starts lead to equal ends; a move that does not fit changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Move {
    /// `start|work|timeout|retry N`: an input that is no message.
    Cue(Cue, u16),
    /// `give LABEL to N`: a message that was sent before arrives, be it for the first time or not.
    Give(Parcel, u16),
    /// `answer N REQUEST`: the layer above answers the oldest open request of that name.
    Answer(u16, &'static str),
    /// `sync N`: the log is durable and what waited for it leaves.
    Sync(u16),
    /// `cut N K`: of the next input of N only so many effects are carried out.
    Cut(u16, usize),
    /// `crash N keep|torn|flip|lost K`: N dies, and what was not synced is cut or damaged, or all is lost.
    Crash(u16, Damage),
    /// `recover N [whole]`: N starts again, with decided heights still in its log if `whole`.
    Recover(u16, bool),
    /// `faulty KIND H R HEADER [with N..]`: the faulty validator signs something.
    Faulty(Act),
}

/// An input that is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cue {
    Start,
    Work,
    Timeout,
    Retry,
}

/// A message by what it says: `KIND SENDER H/R WHAT`, and which one of those that say the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parcel {
    pub(super) label: String,
    pub(super) copy: usize,
}

/// What the faulty validator signs. Headers go by their text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Act {
    pub(super) kind: ActKind,
    pub(super) height: u64,
    pub(super) round: u32,
    pub(super) header: String,
    /// Whose timeouts justify the proposal.
    pub(super) with: Vec<u16>,
}

/// The kinds of what the faulty validator signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ActKind {
    Propose,
    /// A proposal with the QC1 of the round before, and not with a timeout certificate.
    Extend,
    Vote1,
    Vote2,
    Timeout,
    Quorum,
}

const CUES: [(Cue, &str); 4] = [
    (Cue::Start, "start"),
    (Cue::Work, "work"),
    (Cue::Timeout, "timeout"),
    (Cue::Retry, "retry"),
];
const ACTS: [(ActKind, &str); 6] = [
    (ActKind::Propose, "propose"),
    (ActKind::Extend, "extend"),
    (ActKind::Vote1, "vote1"),
    (ActKind::Vote2, "vote2"),
    (ActKind::Timeout, "timeout"),
    (ActKind::Quorum, "quorum"),
];
/// The names of requests.
pub(super) const REQUESTS: [&str; 5] = ["build", "validate", "apply", "sync", "header"];

impl Move {
    /// The node that gets an input by this move.
    pub(super) fn receiver(&self) -> Option<u16> {
        match self {
            Self::Cue(_, who) | Self::Give(_, who) | Self::Answer(who, _) | Self::Recover(who, _) => Some(*who),
            Self::Sync(_) | Self::Cut(..) | Self::Crash(..) | Self::Faulty(_) => None,
        }
    }

    /// Reads a line of a script; none if it says anything else than one move.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |place: usize| words.get(place)?.parse().ok();
        let count = |place: usize| words.get(place)?.parse().ok();
        let cue = CUES.iter().find(|(_, name)| Some(name) == words.first());
        if let (Some((cue, _)), 2) = (cue, words.len()) {
            return Some(Self::Cue(*cue, number(1)?));
        }
        match *words.first()? {
            "give" => {
                let to = words.iter().position(|word| *word == "to")?;
                Some(Self::Give(Parcel::parse(&words[1..to])?, number(to + 1)?))
            }
            "answer" => {
                let request = REQUESTS.iter().find(|name| Some(*name) == words.get(2))?;
                Some(Self::Answer(number(1)?, request))
            }
            "sync" if words.len() == 2 => Some(Self::Sync(number(1)?)),
            "cut" => Some(Self::Cut(number(1)?, count(2)?)),
            "crash" => Some(Self::Crash(number(1)?, Damage::parse(words.get(2)?, count(3)?)?)),
            "recover" if words.len() == 2 => Some(Self::Recover(number(1)?, true)),
            "recover" if words.get(2) == Some(&"whole") => Some(Self::Recover(number(1)?, false)),
            "faulty" if !words.contains(&"to") => Some(Self::Faulty(Act::parse(&words[1..])?)),
            _ => None,
        }
    }
}

impl Parcel {
    fn parse(words: &[&str]) -> Option<Self> {
        let (copy, label) = match words.split_last()? {
            (last, rest) if last.starts_with('#') => (last[1..].parse().ok()?, rest),
            _ => (0, words),
        };
        let label = label.join(" ");
        Some(Self { label, copy })
    }
}

impl Act {
    /// Reads `KIND H R HEADER [with N..]`; what follows is somebody else's.
    pub(super) fn parse(words: &[&str]) -> Option<Self> {
        let (kind, _) = ACTS.iter().find(|(_, name)| Some(name) == words.first())?;
        Some(Self {
            kind: *kind,
            height: words.get(1)?.parse().ok()?,
            round: words.get(2)?.parse().ok()?,
            header: (*words.get(3)?).to_owned(),
            with: numbers_after(words, "with"),
        })
    }
}

/// The numbers that follow the word `name`.
pub(super) fn numbers_after(words: &[&str], name: &str) -> Vec<u16> {
    let after = words.iter().skip_while(|word| **word != name).skip(1);
    after.map_while(|word| word.parse().ok()).collect()
}

fn name_of<T: PartialEq + Copy>(names: &[(T, &'static str)], value: T) -> &'static str {
    let found = names.iter().find(|(other, _)| *other == value);
    found.map_or("?", |(_, name)| name)
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cue(cue, who) => write!(f, "{} {who}", name_of(&CUES, *cue)),
            Self::Give(parcel, to) => write!(f, "give {parcel} to {to}"),
            Self::Answer(who, request) => write!(f, "answer {who} {request}"),
            Self::Sync(who) => write!(f, "sync {who}"),
            Self::Cut(who, effects) => write!(f, "cut {who} {effects}"),
            Self::Crash(who, damage) => write!(f, "crash {who} {damage}"),
            Self::Recover(who, true) => write!(f, "recover {who}"),
            Self::Recover(who, false) => write!(f, "recover {who} whole"),
            Self::Faulty(act) => write!(f, "faulty {act}"),
        }
    }
}

impl fmt::Display for Parcel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label)?;
        match self.copy {
            0 => Ok(()),
            copy => write!(f, " #{copy}"),
        }
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = name_of(&ACTS, self.kind);
        write!(f, "{kind} {} {} {}", self.height, self.round, self.header)?;
        if !self.with.is_empty() {
            f.write_str(" with")?;
        }
        self.with.iter().try_for_each(|signer| write!(f, " {signer}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_move_reads_back_from_its_text() {
        let lines = [
            "start 0",
            "work 1",
            "timeout 2",
            "retry 3",
            "give vote1 2 1/0 1.1.0.0 to 3",
            "give propose 1 1/1 X #2 to 0",
            "answer 0 build",
            "answer 4 header",
            "sync 2",
            "cut 1 3",
            "crash 1 keep 0",
            "crash 1 torn 99",
            "recover 1",
            "recover 1 whole",
            "faulty propose 1 1 X with 1 3",
            "faulty timeout 1 0 X",
        ];
        for line in lines {
            assert_eq!(Move::parse(line).unwrap().to_string(), line);
        }
        for other in [
            "work 1 2",
            "answer 0 tea",
            "deliver",
            "give vote1 2 1/0",
            "faulty vote1 1 0 A to 0",
            "",
        ] {
            assert_eq!(Move::parse(other), None, "{other}");
        }
    }
}
