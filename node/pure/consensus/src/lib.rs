//! Homogeneous HPaxos as a plain step function over digests and weights.
//!
//! The core decides one block header for each height among validators of which less than a third, by
//! weight, is faulty. It knows keys, weights and digests, and nothing of blocks, networks, disks or
//! clocks: [`Core::step`] takes an [`Input`] and appends [`Effect`]s. The same core runs in a node and
//! in a simulator.
//!
//! # Contract with the layer above
//! * **Verify before input.** Decode a [`Message`] with at most [`MESSAGE_BYTES_MAX`] bytes, take its
//!   [`Message::claims`], verify them (in batches), and only then give it as [`Input::Recv`]. The core
//!   checks shape and weights again, and no signature.
//! * **Sign after output.** [`Effect::SignSend`] asks for an own statement: sign it, give the message
//!   back as `Recv` at once, since own votes count too, and send it when the log allows.
//! * **Log before sending.** Effects are carried out in order. What leaves the process waits until every
//!   earlier [`Effect::Persist`] is durable. A crash may come between any two effects;
//!   [`Core::recover`] then goes on from whatever prefix of the log survived.
//! * **Say when there is work.** Without [`Input::Work`] and without messages from others the core is
//!   silent: no proposal, no timer, no retry. A node that missed a whole height while nothing else
//!   happens learns of it with the next message, or from a [`Message::Status`] sent now and then.
//! * **Headers are opaque**, named by [`header_digest`], so that every header proves itself.
//!
//! # Validators
//! Each height has its own validator set, in whose order its signers are numbered and whose hash its
//! signatures cover. The set of height h + 2 is settled by the block of height h, with
//! [`Input::Applied`]: while a height is decided, its own set and that of the next height are known
//! ([`Core::scope_at`]), so that votes which overtake a decision can be verified. What claims to be of
//! a later height cannot, and is not kept. This node votes at the heights whose set has its key, under
//! the number that the set gives it. How much may change from one set to the next:
//! [`ValidatorSet::may_follow`], which the layer above holds to.
//!
//! # Protocol
//! A height is an independent instance, entered when the height before is decided and applied. A quorum
//! is more than two thirds of the weight, a weak quorum at least one third.
//! ```text
//! QC1 = quorum of Vote1(h, r, v)    QC2 = quorum of Vote2(h, r, v)
//! TC(h, r) = quorum of Timeout(h, r, high_i), with the QC1 of the greatest high
//!
//! enter (h, 0)      on Applied(h - 1)                                        Core::advance
//! enter (h, r)      on TC(h, r - 1), a justified Propose(h, r), QC1(h, r),
//!                   or QC1(h, r - 1) if r - 1 was given up                   Core::enter
//! leader (h, r)     weighted round robin; proposes a new header, or the
//!                   TC's high value if there is one, with the TC attached    Core::lead
//! leader (h + 1, 0) on QC1(h, r, v): proposes with parent v, once; the others
//!                   fetch its payload, and vote only after Decide(h) = v     Core::build_ahead
//! Safe(h, r, v, J)  r = 0, or J = QC1(h, r - 1, v),
//!                   or J = TC(h, r - 1) with no high or high.value = v       Core::is_safe
//! Vote1             for the first safe, valid, payload-held Propose at the
//!                   current r, unless Timeout(r) was sent                    Core::vote1
//! Vote2             on QC1 at the current r, unless Timeout(r) was sent;
//!                   that QC1 becomes high                                    Core::vote2
//! Decide            on QC2 at any r                                          Core::decided
//! Timeout(r, high)  when the timer fires, the proposal is invalid, or the
//!                   leader equivocated                                       Core::give_up
//! Timeout at once  when the round starts, if its leader let its last turn pass
//!                   and signed nothing since, for K heights                  Core::skip_silent
//! join r' >= r      on a weak quorum of Timeout(r') or beyond                Core::join
//! retry             own statements of r, the certificate through which r was
//!                   entered, Status(h); only Status is answered              Core::send_again
//! timer             base * (3 + 2r), capped, while there is work             Core::arm_timer
//! ```
//! Each statement is persisted before it is said. After recovery the own statements of the log count as
//! said: at most one of a kind in each round, no vote in a round that was given up, no timeout that
//! denies an own `Vote2`.
//!
//! Proposing ahead makes a block take two hops instead of three and touches no vote: a height is still entered when
//! the one before is decided, and the layer above judges the proposal then. If another value than v is decided, it
//! finds it invalid, and the round is given up at once. One proposal for each round holds for it as for others: it
//! is logged, and stands when its height is entered.
//!
//! Skipping a silent leader is a timeout like any other, only earlier, so that no safety rests on it, and no liveness
//! either: without it each round costs its timer. Nobody can silence a correct leader: each node judges by its own
//! timers and by signatures, one statement clears a leader, timeouts are statements too, and two thirds have to give
//! a round up. Who withholds a leader's messages from some could have made them time out anyway.
//!
//! A validator that lost its log makes no statement at all, also not ahead of time, before the layer above has asked the
//! others where they stand and gave [`Input::Released`]. It follows meanwhile: it decides by certificates and asks
//! with `Status`. Where it may speak again, and why that suffices: [`Amnesia::release`]. Who was released counts as
//! knowing itself, and answers others, from there on ([`Core::remembers`]). A loss of memory is one of the faults that
//! less than a third of the weight may have until then; when more forget at once, nobody is released.
//!
//! Why it is safe: if QC2(r, v) exists, a quorum sent `Vote2(r, v)` before giving r up, so that every
//! TC(r') with r' >= r contains a correct one of them, whose high is at least r; by induction over r'
//! every QC1 after r is for v, so the greatest high of that TC is for v, and `Safe` admits nothing else.
//!
//! # Deviations from the paper
//! * HPaxos sends 1a, 1b and 2a messages that carry their causal past. Here a proposal is the 1a, `Vote1`
//!   a fresh 1b, `Vote2` a 2a, `Timeout` a non-fresh 1b, and certificates stand for the past.
//! * A TC frees the locks above its high, as in the paper a later 2a for another value does: a quorum that gave
//!   the round up without them can never complete a QC2 there. Such a `Vote1` is no fresh 1b on paper.
//! * There is one learner, hence one quorum system, and at most one 2a for each round.
//! * A proposal that is not safe is ignored and not taken as a reason to give the round up: the
//!   leader's signature does not cover the justification, which a relay may have swapped.
//! * `Vote2` beside `Timeout(r' >= r)` is evidence only if the timeout denies the vote (high < r): a
//!   correct validator votes, then gives up and says so.
//! * `high` grows with own `Vote2`s only, not with every QC1 seen; a TC takes the maximum anyway.
//! * A node that holds QC2 and not the header stops voting, spreads the QC2, and fetches the header.
//! * Who gave round r up enters r + 1 on QC1(r) alone: its leader may propose that value again, justified by the
//!   QC1, and a faulty one may show such a proposal to one node only, which then never gives r up.
//! * A leader counts as silent only after it let a turn pass, and not because its votes were not seen: where votes
//!   travel to the round's leader alone, or a quorum is complete before the last votes come, most validators are
//!   heard of seldom. A crashed leader therefore costs one timeout, and one that returns is heard with its first
//!   statement, be it about a height that is decided already ([`Input::Heard`]).
//! * The record of a first vote holds the header, which the paper takes for granted: what may be locked must not be lost
//!   with its proposer.
//! * `Vote1` is left out where `Vote2` of the same round was cast already.
//!
//! # Bounds
//! Statements of 8 rounds behind and ahead of the current one, one for each signer and kind; 8 messages
//! for each signer of the next height, the furthest dropped first; 8 headers; one accusation for each
//! signer and height.

mod ahead;
mod check;
mod core;
mod future;
mod height;
mod io;
mod mutants;
mod recall;
mod rounds;
mod signers;
mod silence;
mod tally;
mod types;
mod voting;

pub use check::{Scope, StructureError};
pub use core::Core;
pub use io::{Config, Draft, Effect, Input, WalRecord};
pub use recall::{Amnesia, Recall, SignedRecall};
pub use regatta_base::validators::{Validator, ValidatorSet, ValidatorSetError};
pub use signers::Signers;
pub use tally::ROUNDS_AWAY_MAX;
pub use types::{
    Certificate, Commit, Content, Evidence, HEADER_BYTES_MAX, Justification, MESSAGE_BYTES_MAX, Message, Phase,
    Proposal, ROUND_MAX, SignatureClaim, Signed, Statement, TimeoutCertificate, TimeoutVote, header_digest,
};

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod sim;
