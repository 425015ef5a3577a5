//! The rules of rounds, votes and timeouts as a transition system: one height, four equal validators,
//! one of them faulty, and a network that delivers whatever was said to whom it likes, or never.
//!
//! What was said is never unsaid, so the network needs no state of its own: a rule may fire as soon as
//! the statements that it needs exist. The faulty validator needs none either: it says everything at any
//! time, and each rule that counts votes simply counts it in. Entering a round is part of the first act
//! in it, because entering alone only forbids acts in earlier rounds, which is the same as not acting.

use stateright::{Model, Property};

/// Honest validators; the faulty one is the fourth.
pub const HONEST: usize = 3;
/// Rounds that are looked at.
pub const ROUNDS: usize = 3;
/// Honest votes that make a quorum together with the faulty one.
const QUORUM: usize = 2;

/// What may be decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    A,
    B,
}

const VALUES: [Value; 2] = [Value::A, Value::B];

/// Everything that one honest validator said, by round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Node {
    round: usize,
    vote1: [Option<Value>; ROUNDS],
    vote2: [Option<Value>; ROUNDS],
    left: [bool; ROUNDS],
}

/// Everything that honest validators said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct State {
    /// Of rounds with an honest leader.
    proposed: [Option<Value>; ROUNDS],
    /// In ascending order: which of them is which does not matter.
    nodes: [Node; HONEST],
}

/// One statement of one validator about one round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    Propose(usize, Value),
    Vote1(usize, usize, Value),
    Vote2(usize, usize, Value),
    Leave(usize, usize),
}

/// The rules, or all but one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    None,
    /// A timeout certificate takes the least high and not the greatest.
    LeastHigh,
    /// `Safe` holds as soon as there is a timeout certificate, whatever its high.
    SafeIgnoresHigh,
    /// A timeout states no high.
    SilentAboutHigh,
    /// `Vote2` is cast in rounds that were given up.
    VoteAfterLeaving,
    /// A timeout certificate needs a weak quorum only.
    WeakCertificate,
}

/// The transition system.
#[derive(Debug, Clone)]
pub struct Height {
    pub defect: Defect,
    /// By round: whether the faulty validator leads it.
    pub faulty_leads: [bool; ROUNDS],
}

impl State {
    fn votes1(&self, round: usize, value: Value) -> usize {
        self.nodes
            .iter()
            .filter(|node| node.vote1[round] == Some(value))
            .count()
    }

    fn quorum1(&self, round: usize, value: Value) -> bool {
        self.votes1(round, value) >= QUORUM
    }

    fn quorum1_value(&self, round: usize) -> Option<Value> {
        VALUES.into_iter().find(|value| self.quorum1(round, *value))
    }

    /// Whether a QC2 for `value` exists or could be put together in `round`.
    pub fn decides(&self, round: usize, value: Value) -> bool {
        let votes = self.nodes.iter().filter(|node| node.vote2[round] == Some(value));
        votes.count() >= QUORUM
    }

    pub fn decided(&self, value: Value) -> bool {
        (0..ROUNDS).any(|round| self.decides(round, value))
    }

    fn canonical(mut self) -> Self {
        self.nodes.sort_unstable();
        self
    }
}

impl Node {
    /// The round of its greatest `Vote2` up to `round`: what its timeout of `round` states.
    fn high(&self, round: usize) -> Option<usize> {
        (0..=round).rev().find(|earlier| self.vote2[*earlier].is_some())
    }

    /// The validator once it is in `round`, or in the later one where it was.
    fn at(&mut self, round: usize) -> &mut Self {
        self.round = self.round.max(round);
        self
    }

    fn gave_up(&self, round: usize) -> bool {
        (round..ROUNDS).any(|later| self.left[later])
    }
}

impl Height {
    /// Every high that a timeout certificate of `round` can have; none inside where nobody was locked.
    fn certified_highs(&self, state: &State, round: usize) -> Vec<Option<usize>> {
        let left: Vec<&Node> = state.nodes.iter().filter(|node| node.left[round]).collect();
        let needed = if self.defect == Defect::WeakCertificate {
            QUORUM - 1
        } else {
            QUORUM
        };
        // The faulty one states any high that it can prove, or none.
        let mut claims = vec![None];
        claims.extend(
            (0..=round)
                .filter(|high| state.quorum1_value(*high).is_some())
                .map(Some),
        );
        let mut highs = Vec::new();
        for members in 0u32..1 << left.len() {
            let members: Vec<&&Node> = (0..)
                .zip(&left)
                .filter(|(bit, _)| members >> bit & 1 == 1)
                .map(|(_, node)| node)
                .collect();
            if members.len() < needed {
                continue;
            }
            for claim in &claims {
                highs.push(self.certified_high(&members, *claim, round));
            }
        }
        highs.sort_unstable();
        highs.dedup();
        highs
    }

    fn certified_high(&self, members: &[&&Node], claim: Option<usize>, round: usize) -> Option<usize> {
        let stated = |node: &&&Node| match self.defect {
            Defect::SilentAboutHigh => None,
            _ => node.high(round),
        };
        let stated = members.iter().map(stated).chain([claim]);
        match self.defect {
            Defect::LeastHigh => stated.min().flatten(),
            _ => stated.max().flatten(),
        }
    }

    /// Rule `Safe(r, v, J)` for the best J that exists.
    fn safe(&self, state: &State, round: usize, value: Value) -> bool {
        let Some(previous) = round.checked_sub(1) else {
            return true;
        };
        state.quorum1(previous, value) || self.safe_by_timeouts(state, previous, value)
    }

    fn safe_by_timeouts(&self, state: &State, previous: usize, value: Value) -> bool {
        let admits = |high: Option<usize>| match high {
            Some(high) if self.defect != Defect::SafeIgnoresHigh => state.quorum1(high, value),
            _ => true,
        };
        self.certified_highs(state, previous).into_iter().any(admits)
    }

    /// Whether there is something through which a validator may have come to `round`.
    fn enterable(&self, state: &State, node: &Node, round: usize) -> bool {
        let Some(previous) = round.checked_sub(1) else {
            return true;
        };
        let justified = VALUES.into_iter().any(|value| self.proposes(state, round, value));
        // One honest timeout and the faulty one's are a weak quorum.
        let joined = state.nodes.iter().any(|node| node.gave_up(round));
        // Who gave a round up follows its QC1 to the next.
        let followed = node.left[previous] && state.quorum1_value(previous).is_some();
        let certified = state.quorum1_value(round).is_some() || !self.certified_highs(state, previous).is_empty();
        justified || joined || followed || certified
    }

    fn proposes(&self, state: &State, round: usize, value: Value) -> bool {
        if self.faulty_leads[round] {
            self.safe(state, round, value)
        } else {
            state.proposed[round] == Some(value)
        }
    }

    fn acts_of(&self, state: &State, (place, node): (usize, &Node), round: usize, acts: &mut Vec<Act>) {
        let here = node.round <= round && !node.gave_up(round);
        let first = node.vote1[round].is_none() && node.vote2[round].is_none();
        for value in VALUES {
            if here && first && self.proposes(state, round, value) {
                acts.push(Act::Vote1(place, round, value));
            }
            if self.may_vote2(state, node, round, value) {
                acts.push(Act::Vote2(place, round, value));
            }
        }
        // Giving the last round up leads nowhere.
        if here && round + 1 < ROUNDS && self.enterable(state, node, round) {
            acts.push(Act::Leave(place, round));
        }
    }

    fn may_vote2(&self, state: &State, node: &Node, round: usize, value: Value) -> bool {
        let late = node.gave_up(round) && self.defect != Defect::VoteAfterLeaving;
        let here = node.round <= round || self.defect == Defect::VoteAfterLeaving;
        here && !late && node.vote2[round].is_none() && state.quorum1(round, value)
    }
}

impl Model for Height {
    type State = State;
    type Action = Act;

    fn init_states(&self) -> Vec<State> {
        vec![State::default()]
    }

    fn actions(&self, state: &State, acts: &mut Vec<Act>) {
        for round in 0..ROUNDS {
            let free = !self.faulty_leads[round] && state.proposed[round].is_none();
            for value in VALUES.into_iter().filter(|_| free) {
                if self.safe(state, round, value) {
                    acts.push(Act::Propose(round, value));
                }
            }
            for (place, node) in state.nodes.iter().enumerate() {
                // Equal neighbours have equal choices.
                if place == 0 || state.nodes[place - 1] != *node {
                    self.acts_of(state, (place, node), round, acts);
                }
            }
        }
    }

    fn next_state(&self, state: &State, act: Act) -> Option<State> {
        let mut next = *state;
        match act {
            Act::Propose(round, value) => next.proposed[round] = Some(value),
            Act::Vote1(place, round, value) => next.nodes[place].at(round).vote1[round] = Some(value),
            Act::Vote2(place, round, value) => next.nodes[place].at(round).vote2[round] = Some(value),
            Act::Leave(place, round) => next.nodes[place].at(round).left[round] = true,
        }
        Some(next.canonical())
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("agreement", |_, state: &State| {
                !(state.decided(Value::A) && state.decided(Value::B))
            }),
            Property::sometimes("decides in round 0", |_, state: &State| state.decides(0, Value::A)),
            Property::sometimes("decides a new value after a timeout certificate", |_, state: &State| {
                state.decides(1, Value::B) && state.quorum1_value(0).is_none() && state.votes1(0, Value::A) > 0
            }),
            Property::sometimes(
                "decides a locked value after two timeout certificates",
                |_, state: &State| {
                    let locked = state.nodes.iter().any(|node| node.vote2[0] == Some(Value::A));
                    state.decides(2, Value::A) && locked && !state.decides(0, Value::A) && !state.decides(1, Value::A)
                },
            ),
            Property::sometimes("is locked on two values in two rounds", |_, state: &State| {
                state.nodes.iter().any(|node| node.vote2[0] == Some(Value::A))
                    && state.nodes.iter().any(|node| node.vote2[1] == Some(Value::B))
            }),
        ]
    }
}
