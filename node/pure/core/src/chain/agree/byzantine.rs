//! Misconduct, for tests only: what a faulty validator says instead of what the core asked for.
//!
//! Everything is really signed and travels as it would from an honest node. Payload, catch-up and what others say
//! are treated honestly, so that a run shows what consensus stands and not what a client loses that trusts a faulty
//! node.

use crate::{
    chain::{Chain, encoded, gossip::key_of},
    context::Context,
    event::{PeerIndex, Time},
    header::Header,
};
use regatta_api::testing::Behaviour;
use regatta_base::{Digest, Height, Round};
use regatta_consensus::{Content, Message, Proposal, Signed, Statement, header_digest};
use std::collections::VecDeque;

/// Statements that may wait to be said late; beyond it the oldest is said at once.
const HELD_MAX: usize = 1024;

/// Two proposals of one round.
#[derive(Debug)]
struct Fork {
    height: Height,
    round: Round,
    shown: Digest,
    twin: Digest,
}

/// What a misbehaving node remembers.
#[derive(Debug, Default)]
pub(in crate::chain) struct Misconduct {
    behaviour: Behaviour,
    fork: Option<Fork>,
    held: VecDeque<(Time, Message)>,
}

impl Misconduct {
    pub(in crate::chain) fn new(behaviour: Behaviour) -> Self {
        Self {
            behaviour,
            ..Self::default()
        }
    }

    pub(in crate::chain) fn next_deadline(&self) -> Option<Time> {
        self.held.front().map(|(at, _)| *at)
    }
}

impl Chain {
    /// Says something else than `message`, or nothing; `false` when it is to be said as it is.
    pub(super) fn misbehaves(&mut self, ctx: &mut Context<'_>, message: &Message) -> bool {
        let is_status = matches!(message, Message::Status { .. });
        match self.misconduct.behaviour {
            Behaviour::Honest => false,
            _ if is_status => false,
            Behaviour::Silent => true,
            Behaviour::Delay => {
                let due = ctx.now + self.config.round_timeout_ms;
                self.misconduct.held.push_back((due, message.clone()));
                if self.misconduct.held.len() > HELD_MAX
                    && let Some((_, oldest)) = self.misconduct.held.pop_front()
                {
                    self.say(ctx, &oldest);
                }
                true
            }
            Behaviour::Equivocate => self.equivocates(ctx, message),
        }
    }

    /// Says what was held back for long enough.
    pub(super) fn say_held(&mut self, ctx: &mut Context<'_>) {
        while self.misconduct.next_deadline().is_some_and(|at| at <= ctx.now)
            && let Some((_, message)) = self.misconduct.held.pop_front()
        {
            self.say(ctx, &message);
        }
    }

    fn equivocates(&mut self, ctx: &mut Context<'_>, message: &Message) -> bool {
        match message {
            Message::Proposal(proposal) => self.forks(ctx, proposal),
            Message::Vote(vote) => {
                let other = self
                    .other_vote(&vote.statement)
                    .and_then(|content| self.resigned(ctx, vote, content));
                if let Some(other) = other {
                    self.say(ctx, &Message::Vote(other));
                }
                false
            }
            _ => false,
        }
    }

    /// Shows half of the neighbours another proposal; `false` when there is no other that they would take.
    fn forks(&mut self, ctx: &mut Context<'_>, proposal: &Proposal) -> bool {
        let Statement { height, round, .. } = proposal.vote.statement;
        let said = self.misconduct.fork.as_ref();
        if said.is_some_and(|fork| (fork.height, fork.round) == (height, round)) {
            return false;
        }
        let Ok(mut header) = Header::decode(&proposal.header) else {
            return false;
        };
        if header.batches.pop().is_none() {
            return false;
        }
        let header = header.encode();
        let twin = header_digest(&header);
        let Some(vote) = self.resigned(ctx, &proposal.vote, Content::Propose(twin)) else {
            return false;
        };
        let justification = proposal.justification.clone();
        let other = Proposal {
            vote,
            header,
            justification,
        };
        let (odd, even): (Vec<PeerIndex>, Vec<PeerIndex>) = super::messages::voting_links(ctx)
            .into_iter()
            .partition(|peer| peer % 2 == 1);
        self.keep_header(proposal);
        self.keep_header(&other);
        self.say_to(&Message::Proposal(proposal.clone()), even);
        self.say_to(&Message::Proposal(other), odd);
        self.misconduct.fork = Some(Fork {
            height,
            round,
            shown: proposal.digest(),
            twin,
        });
        true
    }

    /// The vote of the same kind for the other proposal.
    fn other_vote(&self, statement: &Statement) -> Option<Content> {
        let fork = self.misconduct.fork.as_ref()?;
        if (fork.height, fork.round) != (statement.height, statement.round) {
            return None;
        }
        let other = |digest| if digest == fork.shown { fork.twin } else { fork.shown };
        match statement.content {
            Content::Vote1(digest) => Some(Content::Vote1(other(digest))),
            Content::Vote2(digest) => Some(Content::Vote2(other(digest))),
            Content::Propose(_) | Content::Timeout(_) => None,
        }
    }

    /// Signs something else in place of `own`; `None` when that is not a statement of this node.
    fn resigned(&self, ctx: &Context<'_>, own: &Signed, content: Content) -> Option<Signed> {
        let scope = self.ledger.sets().at(own.statement.height)?;
        if scope.validators().get(own.signer)?.key != ctx.secret.public() {
            return None;
        }
        let statement = Statement {
            content,
            ..own.statement
        };
        Some(Signed {
            statement,
            signer: own.signer,
            signature: ctx.secret.sign(&scope.signing_bytes(&statement)),
        })
    }

    fn say(&mut self, ctx: &Context<'_>, message: &Message) {
        if let Message::Proposal(proposal) = message {
            self.keep_header(proposal);
        }
        self.say_to(message, super::messages::voting_links(ctx));
    }

    fn say_to(&mut self, message: &Message, targets: Vec<PeerIndex>) {
        let bytes = encoded(message);
        if let Some(key) = key_of(message) {
            for peer in self.agreement.gossip.spread(key, &bytes, targets.into_iter()) {
                self.outbox.push(peer, bytes.clone(), true);
            }
        }
    }
}
