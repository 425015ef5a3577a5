//! What goes into the core and what comes out: inputs, effects, log records, configuration.

use crate::{
    check::Scope,
    types::{
        Certificate, Commit, Content, Evidence, Justification, Message, Proposal, Signed, Statement, TimeoutVote,
        header_digest,
    },
};
use regatta_base::{Digest, Height, PublicKey, Round, SecretKey, Signature, ValidatorSet};
use serde::{Deserialize, Serialize};

/// What a core needs to know once.
#[derive(Debug, Clone)]
pub struct Config {
    /// Chain, instance and the validators that decide `height`: the frame of every signature.
    pub scope: Scope,
    /// The same for `height + 1`.
    pub next_scope: Scope,
    /// Own key: this node votes at each height whose set has it. None for one that never votes nor proposes.
    pub key: Option<PublicKey>,
    /// Base of the round timeout in milliseconds: round r lasts `base * (3 + 2r)`.
    pub timeout_base_ms: u64,
    /// Greatest round timeout in milliseconds.
    pub timeout_cap_ms: u64,
    /// K: for how many heights a leader that let its turn pass must have signed nothing for its next turn to be given
    /// up at once; 0 never does that.
    pub silent_heights: u64,
    /// Whether a leader broadcasts the QC1 and the QC2 of its round when it forms them, for others that send
    /// their votes to it alone.
    pub leader_aggregates: bool,
    /// The first height at which this node may make statements: 0 when it knows all that it ever said, `Height::MAX`
    /// when it lost that and was not released yet ([`Amnesia`](crate::Amnesia)).
    pub speaks_from: Height,
    /// The first height that the layer above has not durably applied; 1 on a new chain.
    pub height: Height,
}

/// What happened.
#[allow(clippy::large_enum_variant)] // one at a time, never stored in bulk
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The first input after `new` or `recover`: resend what the log holds and ask neighbours how far they are.
    Start,
    /// Payload is pending for the current height. Holds until the height is left; say it again then.
    Work,
    /// A message whose claims were all verified, or an own one that [`Effect::SignSend`] asked to sign.
    Recv(Message),
    /// The timer with this id fired; ids of earlier rounds are ignored.
    Timer(u64),
    /// The answer to [`Effect::Build`].
    Built {
        /// As in the request.
        height: Height,
        /// As in the request.
        round: Round,
        /// The new header, at most `HEADER_BYTES_MAX` bytes.
        header: Vec<u8>,
    },
    /// The answer to [`Effect::Validate`]; leave it out for as long as the payload is not held.
    Validated {
        /// As in the request.
        height: Height,
        /// As in the request.
        round: Round,
        /// As in the request.
        digest: Digest,
        /// Whether a block with this header may follow.
        ok: bool,
    },
    /// A header in answer to [`Effect::NeedHeader`]; taken only if its digest is the one asked for.
    Header(Vec<u8>),
    /// The decided block of this height was executed: go on with the next height.
    Applied {
        /// The height.
        height: Height,
        /// The set that decides `height + 2`, if it is another one than that of `height + 1`.
        validators: Option<ValidatorSet>,
    },
    /// Blocks up to this height were fetched, verified and executed: go on behind it.
    Synced {
        /// The last height of those.
        height: Height,
        /// The sets that decide `height + 1` and `height + 2`.
        validators: [ValidatorSet; 2],
    },
    /// A validator signed a statement about a height that is decided already: it is alive. Only of interest where
    /// [`Core::lacks_sign_of`](crate::Core::lacks_sign_of) says so.
    Heard {
        /// Who.
        key: PublicKey,
        /// The height that the statement is about.
        height: Height,
    },
    /// The others' answers showed that this node said nothing from this height on ([`Amnesia::release`](crate::Amnesia::release)).
    Released {
        /// The first height at which it may make statements.
        speaks_from: Height,
    },
    /// A tick every few round-trip times; two without a step forward make the core send again. Followers
    /// need it too, although they never set a timer.
    Retry,
}

/// What is to be done, in order.
///
/// **The contract:** whatever leaves the process (`SignSend`, `Broadcast`, and acting on `Decide`
/// towards anybody outside) waits until every earlier `Persist` is durable. A crash may happen
/// between any two effects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Append to the write-ahead log.
    Persist(WalRecord),
    /// Sign this, give the signed message back at once as [`Input::Recv`] (own votes count too), and
    /// send it to everyone once durable.
    SignSend(Draft),
    /// Send to everyone; [`Message::Status`] to neighbours only, without relaying.
    Broadcast(Message),
    /// Give back [`Input::Timer`] with this id after so long; it replaces every earlier timer.
    SetTimer {
        /// Which timer.
        id: u64,
        /// Delay in milliseconds.
        after_ms: u64,
    },
    /// This node leads: answer with [`Input::Built`]. Replaces every earlier request.
    ///
    /// With a parent the block is for the next height, on a value that is certified and not decided yet: leave
    /// the request unanswered while no payload is pending beside the parent's, and forget it when this height is
    /// decided, since it is asked again then.
    Build {
        /// The height to build for.
        height: Height,
        /// The round to build for.
        round: Round,
        /// The header before it, where that is not decided.
        parent: Option<Vec<u8>>,
    },
    /// Fetch the payload of this proposal and check it: answer with [`Input::Validated`].
    Validate(Proposal),
    /// The leader of the next height proposes this, on a value of the current height that may yet be decided:
    /// fetch its payload and check what can be checked. Nothing is to be answered.
    Prefetch(Proposal),
    /// This header is final. Execute it and answer with [`Input::Applied`].
    Decide(Commit),
    /// Somebody broke the rules provably.
    Evidence(Evidence),
    /// Others claim to have decided up to this height: fetch those blocks, answer with [`Input::Synced`].
    NeedSync {
        /// The last height said to be decided; an unverified claim.
        height: Height,
    },
    /// A certified header is missing here: fetch it by digest, answer with [`Input::Header`].
    NeedHeader {
        /// The height it belongs to.
        height: Height,
        /// Its digest.
        digest: Digest,
    },
    /// The sender of the `Status` that was just given is behind: send it [`Message::Commit`] from this
    /// height on (and the blocks), as many as your limits allow.
    Behind {
        /// The height that the sender lacks.
        height: Height,
    },
}

/// A statement of this node before it is signed, with what travels beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// What is to be signed.
    pub statement: Statement,
    /// Own signer index in the set of the statement's height.
    pub signer: u16,
    pub(crate) attachment: Attachment,
}

/// The unsigned part of an own message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Attachment {
    None,
    Proposal {
        header: Vec<u8>,
        justification: Option<Justification>,
    },
    High(Option<Certificate>),
}

impl Draft {
    /// Signs with `secret`, which must be the key of the signer index in `scope`, that of the statement's height.
    #[must_use]
    pub fn sign(self, scope: &Scope, secret: &SecretKey) -> Message {
        let signature = secret.sign(&scope.signing_bytes(&self.statement));
        self.signed(signature)
    }

    /// Joins a signature made elsewhere over [`Scope::signing_bytes`] of the statement.
    #[must_use]
    pub fn signed(self, signature: Signature) -> Message {
        let vote = Signed {
            statement: self.statement,
            signer: self.signer,
            signature,
        };
        match self.attachment {
            Attachment::None => Message::Vote(vote),
            Attachment::Proposal { header, justification } => Message::Proposal(Proposal {
                vote,
                header,
                justification,
            }),
            Attachment::High(high) => Message::Timeout(TimeoutVote { vote, high }),
        }
    }

    /// The round of the statement.
    #[must_use]
    pub fn round(&self) -> Round {
        self.statement.round
    }

    pub(crate) fn proposal(
        (signer, height, round): (u16, Height, Round),
        header: Vec<u8>,
        justification: Option<Justification>,
    ) -> Self {
        let content = Content::Propose(header_digest(&header));
        Self {
            attachment: Attachment::Proposal { header, justification },
            ..Self::vote(signer, height, round, content)
        }
    }

    pub(crate) fn timeout((signer, height, round): (u16, Height, Round), high: Option<Certificate>) -> Self {
        let content = Content::Timeout(high.as_ref().map(|high| high.round));
        Self {
            attachment: Attachment::High(high),
            ..Self::vote(signer, height, round, content)
        }
    }

    pub(crate) fn vote(signer: u16, height: Height, round: Round, content: Content) -> Self {
        let statement = Statement { height, round, content };
        Self {
            statement,
            signer,
            attachment: Attachment::None,
        }
    }
}

/// What survives a crash; encodes to at most `MESSAGE_BYTES_MAX` bytes.
///
/// A store may drop every record whose [`height`](WalRecord::height) is at most the last durably
/// applied height (`Config::height - 1` at the next start); the core ignores those.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum WalRecord {
    /// Own proposal.
    Propose {
        /// Its height.
        height: Height,
        /// Its round.
        round: Round,
        /// The header.
        #[serde(with = "serde_bytes")]
        header: Vec<u8>,
        /// What was attached.
        justification: Option<Justification>,
    },
    /// Own first vote for a header that an earlier record holds.
    Vote1 {
        /// Its height.
        height: Height,
        /// Its round.
        round: Round,
        /// What was voted for.
        digest: Digest,
    },
    /// Own second vote: for the digest of this QC1, in its height and round. The QC1 is the lock.
    Vote2 {
        /// The QC1.
        quorum: Certificate,
    },
    /// Own timeout.
    Timeout {
        /// Its height.
        height: Height,
        /// The round that was given up.
        round: Round,
        /// The QC1 of the own greatest `Vote2` at that time.
        high: Option<Certificate>,
    },
    /// The certificate of the round before through which a round was entered.
    Entry(Justification),
    /// The decision.
    Decide(Commit),
    /// Own first vote with the header that it is for. Who forms a quorum keeps the header too: when everybody loses power
    /// and the proposer does not return, a later leader has to propose it again.
    FirstVote {
        /// Its height.
        height: Height,
        /// Its round.
        round: Round,
        /// What was voted for.
        #[serde(with = "serde_bytes")]
        header: Vec<u8>,
    },
}

impl WalRecord {
    /// The height that the record belongs to.
    #[must_use]
    pub fn height(&self) -> Height {
        match self {
            Self::Propose { height, .. }
            | Self::Vote1 { height, .. }
            | Self::FirstVote { height, .. }
            | Self::Timeout { height, .. } => *height,
            Self::Vote2 { quorum } => quorum.height,
            Self::Entry(entry) => entry.height(),
            Self::Decide(commit) => commit.height(),
        }
    }

    /// The header that the record holds.
    #[must_use]
    pub fn header(&self) -> Option<&[u8]> {
        match self {
            Self::Propose { header, .. } | Self::FirstVote { header, .. } => Some(header),
            Self::Decide(commit) => Some(&commit.header),
            Self::Vote1 { .. } | Self::Vote2 { .. } | Self::Timeout { .. } | Self::Entry(_) => None,
        }
    }
}
