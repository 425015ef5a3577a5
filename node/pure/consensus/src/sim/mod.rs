//! Tests of the whole protocol: hosts with a log that loses its tail, a faulty validator, oracles
//! that watch what leaves each host, directed scripts, and random schedules in virtual time.

mod campaign;
mod faulty;
mod host;
mod mischief;
mod oracle;
mod script;
mod scripts;
mod storm;
mod world;

use crate::{Scope, Statement, Validator, ValidatorSet};
use regatta_base::{Digest, PublicKey, Signature};

/// A scope of validators with these weights; keys are fake and name the signer.
pub(crate) fn scope(weights: &[u64]) -> Scope {
    let members = weights.iter().enumerate().map(|(index, &weight)| Validator {
        key: key(index as u16),
        weight,
    });
    let validators = ValidatorSet::new(members.collect()).unwrap();
    Scope::new(&"sim".parse().unwrap(), &"main".parse().unwrap(), validators)
}

/// The fake key of node `who`.
pub(crate) fn key(who: u16) -> PublicKey {
    PublicKey([who as u8; 32])
}

/// A signature of the simulator: cheap, and forgeable only by test code that means to.
pub(crate) fn sign(scope: &Scope, signer: u16, statement: &Statement) -> Signature {
    fake(key(signer), &scope.signing_bytes(statement))
}

/// Whether every signature that `message` claims is the simulator's.
pub(crate) fn verifies(scope: &Scope, message: &crate::Message) -> bool {
    let claims = message.claims(scope);
    claims.is_ok_and(|claims| {
        claims
            .iter()
            .all(|claim| fake(claim.key, &claim.message) == claim.signature)
    })
}

fn fake(key: PublicKey, message: &[u8]) -> Signature {
    let half = Digest::of("fake signature", &[&key.0, message]).0;
    let mut whole = [0; 64];
    whole[..32].copy_from_slice(&half);
    whole[32..].copy_from_slice(&half);
    Signature(whole)
}
