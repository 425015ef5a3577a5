//! Homogeneous HPaxos as a plain step function over digests and weights.
//!
//! [`Core::step`] takes an [`Input`] and appends [`Effect`]s; see their docs for the contract with the
//! layer above.

mod check;
mod core;
mod future;
mod height;
mod io;
mod mutants;
mod rounds;
mod signers;
mod tally;
mod types;
mod validators;
mod voting;

pub use check::{Scope, StructureError};
pub use core::Core;
pub use io::{Config, Draft, Effect, Input, WalRecord};
pub use signers::Signers;
pub use types::{
    Certificate, Commit, Content, Evidence, HEADER_BYTES_MAX, Justification, MESSAGE_BYTES_MAX, Message, Phase,
    Proposal, ROUND_MAX, SignatureClaim, Signed, Statement, TimeoutCertificate, TimeoutVote, header_digest,
};
pub use validators::{Validator, ValidatorSet, ValidatorSetError};

#[cfg(test)]
mod sim;
