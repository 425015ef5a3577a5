//! Checking signatures of keys that come again and again: what is known of a key is its point, found once.
//!
//! The equation of a batch is that of Bernstein, Duif, Lange, Schwabe and Yang, "High-speed high-security signatures"
//! (2012), section 5, with the cofactor and the encodings of ZIP 215: with `k = SHA-512(R, A, M)` and random `z` of 128
//! bits, `[8](-(sum z s) B + sum z R + sum (z k) A) = 0`, where the terms of one key are one term. Finding the point of a
//! key costs a third of a check where all keys differ, as those of validators do.

use crate::{PublicKey, Signature, familiar::Familiar};
use curve25519_dalek::{
    constants::ED25519_BASEPOINT_POINT,
    edwards::{CompressedEdwardsY, EdwardsPoint},
    scalar::Scalar,
    traits::{IsIdentity, VartimeMultiscalarMul},
};
use ed25519_dalek::{Digest, Sha512};
use rand::{CryptoRng, RngExt};
use std::{collections::BTreeMap, fmt};

/// Most claims of one batch. The tables of more points than these leave the second-level cache of today's processors:
/// a claim of 2,048 costs half as much again as one of 512.
pub(crate) const BATCH_MAX: usize = 512;
/// Most votes of one batch: the tables of more are 164 KiB and larger, which the allocator moves and gives back to the
/// system each time.
const VOTES_MAX: usize = 32;
/// Keys that are remembered; as many again are while they are forgotten. 200 bytes each.
const KEYS_MAX: usize = 4096;

/// One claim to check: `key` signed `message`.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// Who is said to have signed.
    pub key: PublicKey,
    /// What is said to be signed.
    pub message: &'a [u8],
    /// The signature.
    pub signature: Signature,
}

impl PublicKey {
    /// Whether `signature` over `message` is valid under this key, by the rule of its module.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &Signature) -> bool {
        Keyring::default().one_holds(&Claim {
            key: *self,
            message,
            signature: *signature,
        })
    }
}

/// Checks all claims at once and says whether *every one* holds, for keys that are not met again; see
/// [`Keyring::verify_all`].
#[must_use]
pub fn verify_all(claims: &[Claim<'_>], rng: &mut impl CryptoRng) -> bool {
    Keyring::default().verify_all(claims, rng)
}

/// Checks all claims and says for each whether it holds, for keys that are not met again; see [`Keyring::verify_each`].
#[must_use]
pub fn verify_each(claims: &[Claim<'_>], rng: &mut impl CryptoRng) -> Vec<bool> {
    Keyring::default().verify_each(claims, rng)
}

/// The points of public keys that were seen lately.
#[derive(Default)]
pub struct Keyring {
    recent: BTreeMap<PublicKey, EdwardsPoint>,
    /// What was recent before `recent` was full for the last time.
    older: BTreeMap<PublicKey, EdwardsPoint>,
    /// Those of the few that vote, if they are few.
    voters: Familiar,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyring({} keys)", self.recent.len() + self.older.len())
    }
}

impl Keyring {
    /// Checks all claims at once and says whether *every one* holds.
    ///
    /// `rng` weighs the claims so that two bad ones cannot cancel out: it must be unpredictable to whoever made the
    /// claims.
    #[must_use]
    pub fn verify_all(&mut self, claims: &[Claim<'_>], rng: &mut impl CryptoRng) -> bool {
        by_key(claims).chunks(BATCH_MAX).all(|batch| self.holds(batch, rng))
    }

    /// Checks all claims and says for each whether it holds.
    ///
    /// A few batches when all is well; on failure a batch is halved until the bad claims are alone, so a few bad ones
    /// among many cost a few more batches and not one check each. `rng` as for [`Keyring::verify_all`].
    #[must_use]
    pub fn verify_each(&mut self, claims: &[Claim<'_>], rng: &mut impl CryptoRng) -> Vec<bool> {
        each(claims, BATCH_MAX, |batch| self.holds(batch, rng))
    }

    /// As [`Keyring::verify_each`], for claims of keys that come again all the time, as votes do: where they are few, their
    /// multiples are made beforehand.
    #[must_use]
    pub fn verify_votes(&mut self, claims: &[Claim<'_>], rng: &mut impl CryptoRng) -> Vec<bool> {
        each(claims, VOTES_MAX, |batch| self.votes_hold(batch, rng))
    }

    /// The point of `key`; none when its bytes are not one.
    fn point(&mut self, key: &PublicKey) -> Option<EdwardsPoint> {
        if let Some(point) = self.recent.get(key) {
            return Some(*point);
        }
        let known = self.older.get(key).copied();
        let point = known.or_else(|| CompressedEdwardsY(key.0).decompress())?;
        if self.recent.len() >= KEYS_MAX {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.insert(*key, point);
        debug_assert!(self.recent.len() <= KEYS_MAX && self.older.len() <= KEYS_MAX);
        Some(point)
    }

    /// Whether every claim of one batch holds; those of one key stand together.
    fn holds(&mut self, batch: &[(usize, &Claim<'_>)], rng: &mut impl CryptoRng) -> bool {
        debug_assert!(batch.is_sorted_by_key(|(_, claim)| claim.key));
        if let [(_, claim)] = batch {
            return self.one_holds(claim);
        }
        let (mut base, mut scalars) = (Scalar::ZERO, Vec::with_capacity(2 * batch.len() + 1));
        let mut points = Vec::with_capacity(2 * batch.len() + 1);
        for of_key in batch.chunk_by(|(_, one), (_, other)| one.key == other.key) {
            let Some(key) = of_key.first().and_then(|(_, claim)| self.point(&claim.key)) else {
                return false;
            };
            let mut of_all = Scalar::ZERO;
            for (_, claim) in of_key {
                let Some(parts) = Parts::of(claim) else { return false };
                let weight = Scalar::from(rng.random::<u128>());
                base -= weight * parts.s;
                of_all += weight * parts.k;
                scalars.push(weight);
                points.push(parts.r.decompress());
            }
            scalars.push(of_all);
            points.push(Some(key));
        }
        scalars.push(base);
        points.push(Some(ED25519_BASEPOINT_POINT));
        let sum = EdwardsPoint::optional_multiscalar_mul(scalars, points);
        sum.is_some_and(|sum| sum.mul_by_cofactor().is_identity())
    }

    /// As [`Keyring::holds`], with the multiples of familiar keys.
    ///
    /// The first claim weighs 1 and not a random number: if another one does not hold, the sum depends on that one's weight,
    /// and if the first one alone does not, nothing can make up for it.
    fn votes_hold(&mut self, batch: &[(usize, &Claim<'_>)], rng: &mut impl CryptoRng) -> bool {
        if let [(_, claim)] = batch {
            return self.one_holds(claim);
        }
        let mut keys = Vec::with_capacity(batch.len());
        for (_, claim) in batch {
            let Some(point) = self.point(&claim.key) else {
                return false;
            };
            keys.push((claim.key, point));
        }
        self.voters.meet(&keys);
        let (mut factors, mut others) = (self.voters.factors(), Vec::with_capacity(2 * batch.len()));
        let mut first = None;
        for ((_, claim), (key, point)) in batch.iter().zip(keys) {
            let Some(parts) = Parts::of(claim) else { return false };
            let Some(r) = parts.r.decompress() else { return false };
            let weight = if first.is_none() {
                first = Some(r);
                Scalar::ONE
            } else {
                let weight = Scalar::from(rng.random::<u128>());
                others.push((weight, r));
                weight
            };
            factors[0] -= weight * parts.s;
            match self.voters.place(&key) {
                Some(place) => factors[place] += weight * parts.k,
                None => others.push((weight * parts.k, point)),
            }
        }
        let sum = self.voters.sum(&factors, &others).zip(first);
        sum.is_some_and(|(sum, first)| (sum + first).mul_by_cofactor().is_identity())
    }

    /// Whether this claim holds.
    pub(crate) fn one_holds(&mut self, claim: &Claim<'_>) -> bool {
        let (Some(key), Some(parts)) = (self.point(&claim.key), Parts::of(claim)) else {
            return false;
        };
        let Some(r) = parts.r.decompress() else { return false };
        let sum = EdwardsPoint::vartime_double_scalar_mul_basepoint(&parts.k, &-key, &parts.s);
        (sum - r).mul_by_cofactor().is_identity()
    }
}

/// What a claim says, as numbers.
struct Parts {
    r: CompressedEdwardsY,
    s: Scalar,
    k: Scalar,
}

impl Parts {
    /// None when `s` is not below the order of the group.
    fn of(claim: &Claim<'_>) -> Option<Self> {
        let Signature(bytes) = &claim.signature;
        let (r, s) = bytes.split_at(32);
        let (r, s): ([u8; 32], [u8; 32]) = (r.try_into().ok()?, s.try_into().ok()?);
        let mut hash = Sha512::new();
        hash.update(r);
        hash.update(claim.key.0);
        hash.update(claim.message);
        Some(Self {
            r: CompressedEdwardsY(r),
            s: Option::from(Scalar::from_canonical_bytes(s))?,
            k: Scalar::from_bytes_mod_order_wide(&hash.finalize().into()),
        })
    }
}

/// Says for each claim whether it holds, in equal batches of at most `most`, halving what does not hold together.
fn each(claims: &[Claim<'_>], most: usize, mut holds: impl FnMut(&[(usize, &Claim<'_>)]) -> bool) -> Vec<bool> {
    let mut valid = vec![false; claims.len()];
    let order = by_key(claims);
    let size = claims.len().div_ceil(claims.len().div_ceil(most).max(1)).max(1);
    let mut pending: Vec<_> = order.chunks(size).collect();
    while let Some(batch) = pending.pop() {
        if holds(batch) {
            batch.iter().for_each(|(position, _)| valid[*position] = true);
        } else if batch.len() > 1 {
            let (one, other) = batch.split_at(batch.len() / 2);
            pending.extend([one, other]);
        }
    }
    valid
}

/// Claims with their positions, those of one key together: a batch then has few keys.
fn by_key<'a, 'b>(claims: &'a [Claim<'b>]) -> Vec<(usize, &'a Claim<'b>)> {
    let mut order: Vec<_> = claims.iter().enumerate().collect();
    order.sort_by_key(|(_, claim)| claim.key);
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SecretKey, seed};
    use proptest::prelude::*;

    fn key(index: u8) -> SecretKey {
        SecretKey::from_seed([index; 32])
    }

    #[test]
    fn a_flipped_bit_anywhere_is_refused() {
        let (secret, message) = (key(1), b"vote".to_vec());
        let signature = secret.sign(&message);
        assert!(secret.public().verifies(&message, &signature));
        for bit in 0..512 {
            let mut forged = signature;
            forged.0[bit / 8] ^= 1 << (bit % 8);
            assert!(!secret.public().verifies(&message, &forged), "bit {bit}");
        }
        assert!(!key(2).public().verifies(&message, &signature));
        assert!(!secret.public().verifies(b"vota", &signature));
    }

    #[test]
    fn a_batch_finds_exactly_the_bad_claims() {
        let messages: Vec<Vec<u8>> = (0..40u8).map(|i| vec![i; 20]).collect();
        let mut claims: Vec<Claim<'_>> = messages
            .iter()
            .enumerate()
            .map(|(i, message)| {
                let secret = key(i as u8 % 5);
                Claim {
                    key: secret.public(),
                    message,
                    signature: secret.sign(message),
                }
            })
            .collect();
        let mut rng = seed::rng(7, "batch");
        assert!(verify_all(&claims, &mut rng));
        claims[3].signature.0[40] ^= 1;
        claims[17].key = key(9).public();
        assert!(!verify_all(&claims, &mut rng));
        let valid = verify_each(&claims, &mut rng);
        let bad: Vec<usize> = (0..40).filter(|&i| !valid[i]).collect();
        assert_eq!(bad, [3, 17]);
    }

    #[test]
    fn several_batches_find_the_bad_claims_of_each() {
        let message = [7; 32];
        let signed: Vec<_> = (0..8).map(|i| (key(i).public(), key(i).sign(&message))).collect();
        let mut claims: Vec<Claim<'_>> = (0..2 * BATCH_MAX + 9)
            .map(|i| Claim {
                key: signed[i % 8].0,
                message: &message,
                signature: signed[i % 8].1,
            })
            .collect();
        let mut rng = seed::rng(7, "batches");
        assert!(verify_all(&claims, &mut rng));
        let bad = [0, BATCH_MAX + 1, 2 * BATCH_MAX + 8];
        for position in bad {
            claims[position].signature.0[40] ^= 1;
            assert!(!verify_all(&claims, &mut rng));
        }
        let valid = verify_each(&claims, &mut rng);
        let found: Vec<usize> = (0..claims.len()).filter(|&i| !valid[i]).collect();
        assert_eq!(found, bad);
    }

    /// The case on which strict single checks and batches disagree: a small-order key and point.
    #[test]
    fn alone_and_in_a_batch_agree_on_small_order_points() {
        let mut identity = [0; 32];
        identity[0] = 1;
        let mut forged = [0; 64];
        forged[0] = 1;
        let small = Claim {
            key: PublicKey(identity),
            message: b"m",
            signature: Signature(forged),
        };
        let alone = small.key.verifies(small.message, &small.signature);
        let mut rng = seed::rng(7, "small");
        assert_eq!(verify_all(&[small, small], &mut rng), alone);
    }

    /// The eight points of small order, and second encodings of those that have them.
    fn small_order() -> Vec<[u8; 32]> {
        let torsion = curve25519_dalek::constants::EIGHT_TORSION.map(|point| point.compress().0);
        let minus_zero = |mut bytes: [u8; 32]| {
            bytes[31] |= 0x80;
            bytes
        };
        // y = p + 1, which is 1; with either sign of x = 0.
        let mut above = [0xff; 32];
        (above[0], above[31]) = (0xee, 0x7f);
        let mut all = torsion.to_vec();
        all.extend([minus_zero(torsion[0]), above, minus_zero(above)]);
        all
    }

    /// The rule as another implementation has it.
    fn oracle(claim: &Claim<'_>) -> bool {
        let Ok(key) = ed25519_zebra::VerificationKey::try_from(claim.key.0) else {
            return false;
        };
        let signature = ed25519_zebra::Signature::from(claim.signature.0);
        key.verify(&signature, claim.message).is_ok()
    }

    #[test]
    fn every_small_order_point_and_odd_encoding_counts_as_the_other_implementation_counts_it() {
        let mut accepted = 0;
        for key in small_order() {
            for r in small_order() {
                let mut signature = [0; 64];
                signature[..32].copy_from_slice(&r);
                let claim = Claim {
                    key: PublicKey(key),
                    message: b"Zcash",
                    signature: Signature(signature),
                };
                let (mut keys, mut rng) = (Keyring::default(), seed::rng(1, "small"));
                let alone = keys.verify_each(&[claim], &mut rng)[0];
                assert_eq!(alone, oracle(&claim), "A {key:02x?} R {r:02x?}");
                assert_eq!(keys.verify_all(&[claim, claim], &mut rng), alone);
                assert_eq!(keys.verify_votes(&[claim, claim], &mut rng), [alone; 2]);
                accepted += usize::from(alone);
            }
        }
        // ZIP 215 accepts all of them: every term vanishes with the cofactor.
        assert_eq!(accepted, small_order().len().pow(2));
    }

    proptest! {
        #[test]
        fn alone_in_a_batch_and_elsewhere_a_claim_counts_the_same(
            claims in proptest::collection::vec((0u8..5, 0u8..3, 0usize..700), 1..12)
        ) {
            // A bit of the signature, the key or the message is flipped where `bit` hits one.
            let message = |which: u8, bit: usize| {
                let mut bytes = vec![which; 20];
                if bit >= 690 {
                    bytes[bit - 690] ^= 1;
                }
                bytes
            };
            let made: Vec<(PublicKey, Vec<u8>, Signature)> = claims
                .iter()
                .map(|&(owner, which, bit)| {
                    let secret = SecretKey::from_seed([owner + 1; 32]);
                    let (mut key, mut signature) = (secret.public(), secret.sign(&message(which, 0)));
                    match bit {
                        0..64 => signature.0[bit] ^= 1 << (bit % 8),
                        64..96 => key.0[bit - 64] ^= 1,
                        _ => {}
                    }
                    (key, message(which, bit), signature)
                })
                .collect();
            let claims: Vec<Claim<'_>> = made
                .iter()
                .map(|(key, message, signature)| Claim { key: *key, message, signature: *signature })
                .collect();
            let expected: Vec<bool> = claims.iter().map(oracle).collect();
            let (mut keys, mut rng) = (Keyring::default(), seed::rng(7, "batch"));
            // Twice: the second time the keys are known.
            for _ in 0..2 {
                prop_assert_eq!(&keys.verify_each(&claims, &mut rng), &expected);
                prop_assert_eq!(&keys.verify_votes(&claims, &mut rng), &expected);
                prop_assert_eq!(keys.verify_all(&claims, &mut rng), expected.iter().all(|valid| *valid));
            }
        }
    }

    /// Errors that make up for each other where all claims weigh the same.
    #[test]
    fn two_bad_claims_do_not_make_up_for_each_other() {
        let secrets: Vec<SecretKey> = (1..5).map(|number| SecretKey::from_seed([number; 32])).collect();
        for (more, less) in [(0, 1), (1, 0), (1, 2), (2, 3)] {
            let signed = |(number, secret): (usize, &SecretKey)| {
                let mut signature = secret.sign(b"vote");
                let s = Scalar::from_canonical_bytes(signature.0[32..].try_into().unwrap()).unwrap();
                let error = [(more, Scalar::ONE), (less, -Scalar::ONE)];
                let error = error
                    .iter()
                    .find(|(of, _)| *of == number)
                    .map_or(Scalar::ZERO, |(_, by)| *by);
                signature.0[32..].copy_from_slice((s + error).as_bytes());
                (secret.public(), signature)
            };
            let made: Vec<_> = secrets.iter().enumerate().map(signed).collect();
            let claim = |&(key, signature): &(PublicKey, Signature)| Claim {
                key,
                message: b"vote",
                signature,
            };
            let claims: Vec<Claim<'_>> = made.iter().map(claim).collect();
            let expected: Vec<bool> = claims.iter().map(oracle).collect();
            assert_eq!(expected.iter().filter(|valid| !**valid).count(), 2);
            let (mut keys, mut rng) = (Keyring::default(), seed::rng(3, "errors"));
            assert_eq!(keys.verify_votes(&claims, &mut rng), expected);
            assert_eq!(keys.verify_each(&claims, &mut rng), expected);
        }
    }

    #[test]
    fn more_keys_than_can_be_familiar_count_as_they_do_and_those_of_today_take_the_room() {
        let signed = |number: u8| {
            let secret = SecretKey::from_seed([number; 32]);
            let mut signature = secret.sign(b"vote");
            signature.0[40] ^= u8::from(number.is_multiple_of(7));
            (secret.public(), signature)
        };
        let made: Vec<_> = (0..40).map(signed).collect();
        let claim = |&(key, signature): &(PublicKey, Signature)| Claim {
            key,
            message: b"vote",
            signature,
        };
        let claims: Vec<Claim<'_>> = made.iter().map(claim).collect();
        let (mut keys, mut rng) = (Keyring::default(), seed::rng(3, "many"));
        for part in claims.chunks(9).chain([&claims[..]]) {
            let expected: Vec<bool> = part.iter().map(oracle).collect();
            assert_eq!(keys.verify_votes(part, &mut rng), expected);
        }
        assert_eq!(keys.voters.len(), 16);
        let last = &claims[36..40];
        assert!(last.iter().all(|claim| keys.voters.place(&claim.key).is_none()));
        for _ in 0..300 {
            let _ = keys.verify_votes(last, &mut rng);
        }
        assert!(last.iter().all(|claim| keys.voters.place(&claim.key).is_some()));
    }

    #[test]
    fn a_flood_of_keys_takes_no_more_than_its_room() {
        let mut keys = Keyring::default();
        let first = SecretKey::from_seed([1; 32]).public();
        let mut bytes = [0; 32];
        for number in 0..5 * KEYS_MAX as u32 {
            bytes[..4].copy_from_slice(&number.to_le_bytes());
            let _ = keys.point(&PublicKey(bytes));
            if number % 100 == 0 {
                assert!(keys.point(&first).is_some());
            }
        }
        assert!(keys.recent.len() <= KEYS_MAX && keys.older.len() <= KEYS_MAX);
        assert!(
            keys.recent.contains_key(&first) || keys.older.contains_key(&first),
            "who is used stays"
        );
    }
}
