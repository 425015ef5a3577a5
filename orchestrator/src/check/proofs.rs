//! Certificates: each block was signed by more than two thirds of the weight of its height's validators, whom the
//! scenario gives at first and the chain of headers from then on.

use crate::check::{
    evidence::Evidence,
    ledger::{Ledger, Proof, Rules},
};
use rand::CryptoRng;
use regatta_base::{
    Digest, Height, PublicKey, decode, encode,
    keyring::{Claim, verify_each},
};
use regatta_report::model::Invariant;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Claims that are verified in one batch: larger ones gain little and take memory.
const BATCH: usize = 4096;
/// First bytes of everything that a validator signs.
const DOMAIN: &[u8] = b"regatta consensus v1";
/// The byte that stands for the second vote, whose quorum decides.
const VOTE2: u8 = 3;

/// The validators of one height and what they make of a certificate.
pub(crate) struct Judge {
    /// Keys and weights in the order of the signers' indices.
    pub(crate) validators: Vec<(PublicKey, u64)>,
    set: Digest,
    /// Domain, chain, instance and validator set: the beginning of everything that they sign.
    pub(crate) prefix: Vec<u8>,
    total: u128,
}

/// What a header says, as far as it matters here.
#[derive(Serialize, Deserialize)]
struct Header(Height, Digest, Vec<Digest>, Digest, Digest);

fn set_digest(validators: &[(PublicKey, u64)]) -> Digest {
    Digest::of("regatta validator set v1", &[&encode(&validators)])
}

fn prefix_of(rules: &Rules, set: &Digest) -> Vec<u8> {
    let mut prefix = DOMAIN.to_vec();
    for name in [rules.chain.as_str(), rules.instance.as_str()] {
        prefix.push(name.len() as u8);
        prefix.extend_from_slice(name.as_bytes());
    }
    prefix.extend_from_slice(&set.0);
    prefix
}

impl Judge {
    fn new(rules: &Rules, validators: Vec<(PublicKey, u64)>) -> Self {
        let set = set_digest(&validators);
        Self {
            prefix: prefix_of(rules, &set),
            set,
            total: validators.iter().map(|(_, weight)| u128::from(*weight)).sum(),
            validators,
        }
    }

    /// The exact bytes that a quorum signs to decide `proof`'s block: domain ‖ chain ‖ instance ‖ set ‖ kind ‖
    /// height ‖ round ‖ digest, as laid down in the reference of consensus statements.
    fn message(&self, proof: &Proof) -> Vec<u8> {
        let mut bytes = self.prefix.clone();
        bytes.push(VOTE2);
        bytes.extend_from_slice(&proof.height.to_be_bytes());
        bytes.extend_from_slice(&proof.round.to_be_bytes());
        bytes.extend_from_slice(&proof.hash.0);
        bytes
    }

    /// Why `proof` proves nothing, its signatures aside; the claims to verify otherwise.
    fn claims<'p>(&self, proof: &'p Proof) -> Result<Vec<Claim<'p>>, String> {
        if proof.message != self.message(proof) {
            return Err("the signed bytes do not name this block under the validators of its height".to_owned());
        }
        let (mut seen, mut weight, mut claims) = (BTreeSet::new(), 0u128, Vec::new());
        for (index, key, signature) in &proof.signers {
            let (known, own): (PublicKey, u64) = *self
                .validators
                .get(usize::from(*index))
                .ok_or_else(|| format!("signer {index} is no validator"))?;
            if known != *key {
                return Err(format!(
                    "signer {index} shows key {}, the set of its height has {}",
                    key.short(),
                    known.short()
                ));
            }
            if !seen.insert(*index) {
                return Err(format!("signer {index} is counted twice"));
            }
            weight += u128::from(own);
            claims.push(Claim {
                key: known,
                message: &proof.message,
                signature: *signature,
            });
        }
        if 3 * weight > 2 * self.total {
            Ok(claims)
        } else {
            Err(format!("weight {weight} of {} is no quorum", self.total))
        }
    }

    /// The judge of the height after `proof`'s block, if that has other validators: named by the block's header,
    /// which its certificate signs, and shown beside it.
    fn next(&self, rules: &Rules, proof: &Proof) -> Result<Option<Self>, String> {
        if Digest::of("regatta block header v1", &[&proof.header]) != proof.hash {
            return Err("the header is not the one that was decided".to_owned());
        }
        let header: Result<Header, _> = decode(&proof.header, proof.header.len());
        let Header(.., named) = header.map_err(|error| format!("the header does not decode: {error}"))?;
        if named == self.set {
            return Ok(None);
        }
        match &proof.next_validators {
            Some(validators) if set_digest(validators) == named => Ok(Some(Self::new(rules, validators.clone()))),
            _ => Err("the next validators are not those that the header names".to_owned()),
        }
    }
}

/// The validators of each height, by the first height that each set decides: the scenario's first, then what the
/// chain of headers that was read whole proves. A change in a block that no node has any more is not followed: what
/// others then signed counts as unproven.
///
/// `unproven` hears of each header that does not prove what it should.
pub(crate) fn judges(
    rules: &Rules,
    ledger: &Ledger,
    mut unproven: impl FnMut(&Proof, &str),
) -> BTreeMap<Height, Judge> {
    let mut judges = BTreeMap::from([(0, Judge::new(rules, rules.validators.clone()))]);
    let stretches = ledger.stretches();
    let chain: BTreeMap<Height, &Proof> = ledger
        .proofs
        .iter()
        .filter(|proof| Ledger::is_whole(&stretches, proof))
        .map(|proof| (proof.height, proof))
        .collect();
    for (height, proof) in chain {
        let next = judge_of(&judges, height).map(|judge| judge.next(rules, proof));
        match next {
            Some(Ok(Some(judge))) => {
                judges.insert(height + 1, judge);
            }
            Some(Err(why)) => unproven(proof, &why),
            Some(Ok(None)) | None => {}
        }
    }
    judges
}

/// The validators that decide `height`.
pub(crate) fn judge_of(judges: &BTreeMap<Height, Judge>, height: Height) -> Option<&Judge> {
    judges.range(..=height).next_back().map(|(_, judge)| judge)
}

/// Every height that any node still has, and every other block that was read in full, has a valid certificate by the
/// validators of its height.
pub(crate) fn certificates(rules: &Rules, ledger: &Ledger, rng: &mut impl CryptoRng) -> Invariant {
    let mut evidence = Evidence::new("certificates");
    let judges = judges(rules, ledger, |proof, why| {
        evidence.violation(|| describe(ledger, proof, why));
    });
    let mut batch: Vec<(usize, Claim<'_>)> = Vec::new();
    let (stretches, gone) = (ledger.stretches(), ledger.gone());
    let (mut signatures, mut proven) = (0u64, BTreeSet::new());
    for (position, proof) in ledger.proofs.iter().enumerate() {
        if Ledger::is_whole(&stretches, proof) {
            proven.insert(proof.height);
        }
        belongs(&mut evidence, ledger, proof);
        match judge_of(&judges, proof.height).map(|judge| judge.claims(proof)) {
            Some(Ok(claims)) => batch.extend(claims.into_iter().map(|claim| (position, claim))),
            Some(Err(why)) => evidence.violation(|| describe(ledger, proof, &why)),
            None => {}
        }
        if batch.len() >= BATCH || position + 1 == ledger.proofs.len() {
            signatures += batch.len() as u64;
            verify(&mut evidence, ledger, &batch, rng);
            batch.clear();
        }
    }
    for height in (gone + 1..=ledger.target).filter(|height| !proven.contains(height)) {
        evidence.violation(|| format!("no certificate of height {height} could be read"));
    }
    evidence.number("certificates", ledger.proofs.len() as u64);
    evidence.number("signatures", signatures);
    let mut looked_at = format!(
        "{} certificates with {signatures} valid signatures by more than 2/3 of the weight of each height's \
         validators, {} at first",
        ledger.proofs.len(),
        rules.validators.len()
    );
    if gone > 0 {
        looked_at.push_str(&format!("; those of blocks 1 to {gone} are gone with the blocks"));
    }
    evidence.finish(looked_at)
}

/// The block in full is the one that the same node lists at that height.
fn belongs(evidence: &mut Evidence, ledger: &Ledger, proof: &Proof) {
    let node = ledger.nodes.get(proof.node as usize);
    let row = node.and_then(|node| node.block(proof.height));
    if row.is_none_or(|row| row.hash != proof.hash) {
        evidence.violation(|| describe(ledger, proof, "the proven block is not the listed one"));
    }
}

fn verify(evidence: &mut Evidence, ledger: &Ledger, batch: &[(usize, Claim<'_>)], rng: &mut impl CryptoRng) {
    let claims: Vec<Claim<'_>> = batch.iter().map(|(_, claim)| *claim).collect();
    for ((position, claim), valid) in batch.iter().zip(verify_each(&claims, rng)) {
        if !valid {
            evidence.violation(|| {
                let why = format!("the signature of {} does not verify", claim.key.short());
                describe(ledger, &ledger.proofs[*position], &why)
            });
        }
    }
}

fn describe(ledger: &Ledger, proof: &Proof, why: &str) -> String {
    let node = ledger
        .nodes
        .get(proof.node as usize)
        .map_or("?", |node| node.node.as_str());
    format!("height {} on {node}: {why}", proof.height)
}
