//! Tests of the whole protocol: hosts with a log that loses its tail, a faulty validator, twins, oracles
//! that watch what leaves each host, directed scripts, and random schedules in virtual time.
//!
//! [`stage`] moves everybody one step at a time; [`script`] says the steps, [`storm`] draws them, [`shrink`]
//! leaves out what does not matter. `docs/testing-consensus.md` says what runs where.

mod archive;
mod attacks;
mod campaign;
mod disk;
mod faulty;
mod gate;
mod golden;
mod groups;
mod host;
mod literal;
mod mischief;
mod moves;
mod oracle;
mod pipeline;
mod rules;
mod script;
mod scripts;
mod shrink;
mod stage;
mod storm;
mod trace;
mod weather;
mod world;

use crate::{Scope, Statement, Validator, ValidatorSet};
use regatta_base::{Height, PublicKey, Signature};
use std::{collections::BTreeMap, rc::Rc};

/// A scope of validators with these weights; keys are fake and name the node. One of weight 0 is none.
pub(crate) fn scope(weights: &[u64]) -> Scope {
    let all = weights.iter().enumerate().map(|(who, &weight)| Validator {
        key: key(who as u16),
        weight,
    });
    let members = all.filter(|member| member.weight > 0);
    let validators = ValidatorSet::new(members.collect()).unwrap();
    Scope::new(&"sim".parse().unwrap(), &"main".parse().unwrap(), validators)
}

/// The fake key of node `who`.
pub(crate) fn key(who: u16) -> PublicKey {
    PublicKey([who as u8; 32])
}

/// A signature of the simulator: cheap, and forgeable only by test code that means to.
pub(crate) fn sign(scope: &Scope, signer: u16, statement: &Statement) -> Signature {
    let member = scope.validators().get(signer);
    let key = member.map_or_else(|| key(signer), |member| member.key);
    fake(key, &scope.signing_bytes(statement))
}

/// Which validators decide which height: those of the last entry whose height is not greater.
#[derive(Debug, Clone)]
pub(super) struct Sets(Rc<BTreeMap<Height, Scope>>);

impl Sets {
    /// The weights of all nodes from each of these heights on; the first height must be 1.
    pub(super) fn new(weights: &[(Height, Vec<u64>)]) -> Self {
        let scopes = weights.iter().map(|(height, weights)| (*height, scope(weights)));
        let sets = Self(Rc::new(scopes.collect()));
        for pair in sets.0.values().collect::<Vec<_>>().windows(2) {
            pair[1].validators().may_follow(pair[0].validators()).unwrap();
        }
        sets
    }

    pub(super) fn at(&self, height: Height) -> &Scope {
        self.0.range(..=height.max(1)).next_back().unwrap().1
    }

    /// The set of `height` if it is not that of the height before.
    pub(super) fn change(&self, height: Height) -> Option<ValidatorSet> {
        self.0.get(&height).map(|scope| scope.validators().clone())
    }

    /// The node behind a signer of `height`.
    pub(super) fn who(&self, height: Height, signer: u16) -> Option<u16> {
        let member = self.at(height).validators().get(signer)?;
        Some(u16::from(member.key.0[0]))
    }

    /// The signer index of a node at `height`.
    pub(super) fn signer(&self, height: Height, who: u16) -> Option<u16> {
        self.at(height).validators().index_of(&key(who))
    }
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

/// FNV-1a over whole words, spread over a signature: a campaign makes millions of these.
fn fake(key: PublicKey, message: &[u8]) -> Signature {
    let mut state = 0xcbf2_9ce4_8422_2325u64 ^ message.len() as u64;
    for part in key.0.chunks(8).chain(message.chunks(8)) {
        let mut word = [0; 8];
        word[..part.len()].copy_from_slice(part);
        state = (state ^ u64::from_le_bytes(word)).wrapping_mul(0x0100_0000_01b3);
        state ^= state >> 29;
    }
    let mut whole = [0; 64];
    for (place, byte) in whole.iter_mut().enumerate() {
        *byte = state.to_le_bytes()[place % 8];
    }
    Signature(whole)
}
