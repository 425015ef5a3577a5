//! Changes of the validator set: who joins, who leaves, who gets another weight.
//!
//! The members themselves decide: a change holds when validators of more than two thirds of the weight have
//! signed it. It names the version of the set that it changes, which grows by one with each change, so that
//! none takes effect twice or on another set than its signers looked at.

use crate::domain::{Domain, TransactionError, change_digest};
use bytes::Bytes;
use regatta_base::{PublicKey, SecretKey, Signature, Validator, ValidatorSet, ValidatorSetError, limits};

/// First byte of a change.
pub(crate) const CHANGE_TAG: u8 = 3;
/// Bytes of a key and a weight.
const ENTRY_BYTES: usize = 32 + 8;
/// Bytes of a key and a signature.
const SIGNER_BYTES: usize = 32 + 64;

/// A change of the validator set, borrowed from its bytes: keys in ascending order, signers too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangeView<'a> {
    /// The version of the set that it changes; 0 for the first one.
    pub version: u64,
    entries: &'a [[u8; ENTRY_BYTES]],
    signers: &'a [[u8; SIGNER_BYTES]],
}

impl<'a> ChangeView<'a> {
    /// Takes apart what follows the tag; checks layout, order and sizes, not the signatures.
    pub(crate) fn parse(rest: &'a [u8]) -> Result<Self, TransactionError> {
        use TransactionError::{Malformed, TooLarge};
        let (version, rest) = rest.split_first_chunk::<8>().ok_or(Malformed)?;
        let (count, rest) = rest.split_first_chunk::<2>().ok_or(Malformed)?;
        let count = usize::from(u16::from_be_bytes(*count));
        let (entries, rest) = rest.split_at_checked(count * ENTRY_BYTES).ok_or(Malformed)?;
        let (entries, _) = entries.as_chunks::<ENTRY_BYTES>();
        let (signers, surplus) = rest.as_chunks::<SIGNER_BYTES>();
        let ascend = |keys: &mut dyn Iterator<Item = &'a [u8]>| keys.is_sorted_by(|a, b| a < b);
        let in_order = ascend(&mut entries.iter().map(|entry| &entry[..32]))
            && ascend(&mut signers.iter().map(|signer| &signer[..32]));
        if entries.is_empty() || signers.is_empty() || !surplus.is_empty() || !in_order {
            return Err(Malformed);
        }
        if entries.len() > limits::VALIDATORS_MAX || signers.len() > limits::VALIDATORS_MAX {
            return Err(TooLarge);
        }
        let version = u64::from_be_bytes(*version);
        Ok(Self {
            version,
            entries,
            signers,
        })
    }

    /// Keys with the weights that they get; 0 takes the vote away.
    pub fn entries(&self) -> impl Iterator<Item = (PublicKey, u64)> + 'a {
        self.entries.iter().map(|entry| {
            let (key, weight) = halves::<32, 8, ENTRY_BYTES>(entry);
            (PublicKey(key), u64::from_be_bytes(weight))
        })
    }

    /// Who signed, with which signature.
    pub fn signers(&self) -> impl Iterator<Item = (PublicKey, Signature)> + 'a {
        self.signers.iter().map(|signer| {
            let (key, signature) = halves::<32, 64, SIGNER_BYTES>(signer);
            (PublicKey(key), Signature(signature))
        })
    }

    /// Bytes of the signers at the end.
    pub(crate) fn signed_bytes(&self) -> usize {
        self.signers.len() * SIGNER_BYTES
    }

    /// The weight of the signers in `set`.
    #[must_use]
    pub fn weight_in(&self, set: &ValidatorSet) -> u64 {
        let signers = self.signers().filter_map(|(key, _)| set.index_of(&key));
        signers.map(|signer| set.weight(signer)).sum()
    }

    /// The set that `set` becomes: who stays keeps its place, who joins comes last, in the order of the keys.
    ///
    /// # Errors
    /// [`ValidatorSetError`] when that is no valid set; how much may change is judged apart.
    pub fn applied_to(&self, set: &ValidatorSet) -> Result<ValidatorSet, ValidatorSetError> {
        let mut members = set.members().to_vec();
        for (key, weight) in self.entries() {
            match set.index_of(&key) {
                Some(signer) => members[usize::from(signer)].weight = weight,
                None => members.push(Validator { key, weight }),
            }
        }
        members.retain(|member| member.weight > 0);
        ValidatorSet::new(members)
    }
}

fn halves<const A: usize, const B: usize, const N: usize>(bytes: &[u8; N]) -> ([u8; A], [u8; B]) {
    let (mut first, mut second) = ([0; A], [0; B]);
    first.copy_from_slice(&bytes[..A]);
    second.copy_from_slice(&bytes[A..]);
    (first, second)
}

/// The bytes that the members sign: a change of set `version` that gives each key that weight, 0 for none. The last
/// of several entries of one key counts.
#[must_use]
pub fn propose(version: u64, changes: &[(PublicKey, u64)]) -> Vec<u8> {
    let sorted: std::collections::BTreeMap<PublicKey, u64> = changes.iter().copied().collect();
    let mut body = vec![CHANGE_TAG];
    body.extend_from_slice(&version.to_be_bytes());
    body.extend_from_slice(&u16::try_from(sorted.len()).unwrap_or(u16::MAX).to_be_bytes());
    for (key, weight) in sorted {
        body.extend_from_slice(&key.0);
        body.extend_from_slice(&weight.to_be_bytes());
    }
    body
}

/// One member's agreement to what [`propose`] made.
#[must_use]
pub fn agree(domain: &Domain, body: &[u8], secret: &SecretKey) -> (PublicKey, Signature) {
    (secret.public(), secret.sign(&change_digest(domain, body).0))
}

/// The bytes of the transaction that these members agree to.
#[must_use]
pub fn join(body: &[u8], agreements: &[(PublicKey, Signature)]) -> Bytes {
    let sorted: std::collections::BTreeMap<PublicKey, Signature> = agreements.iter().copied().collect();
    let mut bytes = body.to_vec();
    for (key, signature) in sorted {
        bytes.extend_from_slice(&key.0);
        bytes.extend_from_slice(&signature.0);
    }
    bytes.into()
}

/// [`join`] of what each of these keys agrees to.
#[must_use]
pub fn sign(domain: &Domain, body: &[u8], secrets: &[SecretKey]) -> Bytes {
    let agreements: Vec<_> = secrets.iter().map(|secret| agree(domain, body, secret)).collect();
    join(body, &agreements)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{View, check_transactions, transaction_id};
    use proptest::prelude::*;
    use regatta_base::{Keyring, seed};

    fn domain() -> Domain {
        Domain::new(&"test".parse().unwrap(), &"main".parse().unwrap())
    }

    fn secret(index: u8) -> SecretKey {
        SecretKey::from_seed([index; 32])
    }

    fn check(bytes: &Bytes) -> Result<(), TransactionError> {
        let checked = check_transactions(
            &domain(),
            vec![bytes.clone()],
            &mut Keyring::default(),
            &mut seed::rng(1, "test"),
        )
        .remove(0)?;
        assert_eq!(checked.sender, None);
        Ok(())
    }

    fn change() -> Bytes {
        let body = propose(7, &[(secret(5).public(), 2), (secret(1).public(), 0)]);
        sign(&domain(), &body, &[secret(1), secret(2), secret(3)])
    }

    #[test]
    fn what_is_built_is_what_is_read() {
        let bytes = change();
        assert_eq!(check(&bytes), Ok(()));
        let Ok(View::Validators(view)) = View::parse(&bytes) else {
            panic!("no change of the validators")
        };
        assert_eq!(view.version, 7);
        let entries: Vec<_> = view.entries().collect();
        assert!(entries.contains(&(secret(5).public(), 2)) && entries.contains(&(secret(1).public(), 0)));
        assert_eq!(view.signers().count(), 3);
        let member = |index| Validator {
            key: secret(index).public(),
            weight: u64::from(index),
        };
        let set = ValidatorSet::new((1..=4).map(member).collect()).unwrap();
        assert_eq!(view.weight_in(&set), 6);
        let applied = view.applied_to(&set).unwrap();
        let keys: Vec<_> = applied
            .members()
            .iter()
            .map(|member| (member.key, member.weight))
            .collect();
        let expected = [2, 3, 4, 5].map(|index| secret(index).public());
        assert_eq!(keys, expected.into_iter().zip([2, 3, 4, 2]).collect::<Vec<_>>());
    }

    #[test]
    fn every_byte_is_protected_and_one_bad_signature_is_enough() {
        let bytes = change();
        for position in 1..bytes.len() {
            let mut forged = bytes.to_vec();
            forged[position] ^= 1;
            assert!(check(&forged.into()).is_err(), "byte {position}");
        }
        let elsewhere = Domain::new(&"test".parse().unwrap(), &"side".parse().unwrap());
        let other = sign(&elsewhere, &propose(0, &[(secret(1).public(), 1)]), &[secret(1)]);
        assert_eq!(check(&other), Err(TransactionError::BadSignature));
    }

    #[test]
    fn there_is_one_form() {
        let (a, b) = (secret(1), secret(2));
        let body = propose(0, &[(a.public(), 1)]);
        let [x, y] = [agree(&domain(), &body, &a), agree(&domain(), &body, &b)];
        let right = join(&body, &[x, y]);
        assert_eq!(join(&body, &[y, x, y]), right, "sorted, once each");
        let signer = |(key, signature): (PublicKey, Signature)| [&key.0[..], &signature.0].concat();
        let (low, high) = if x.0 < y.0 { (x, y) } else { (y, x) };
        for wrong in [
            vec![],
            [signer(high), signer(low)].concat(),
            [signer(low), signer(low)].concat(),
        ] {
            assert_eq!(
                check(&[&body[..], &wrong].concat().into()),
                Err(TransactionError::Malformed)
            );
        }
        let empty = propose(0, &[]);
        assert_eq!(check(&sign(&domain(), &empty, &[a])), Err(TransactionError::Malformed));
        let ids = [right.clone(), join(&body, &[x])].map(|bytes| transaction_id(&domain(), &bytes).unwrap());
        assert_ne!(ids[0], ids[1], "whoever signs makes another transaction");
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), count in 0u8..4) {
            let mut tagged = vec![CHANGE_TAG, 0, 0, 0, 0, 0, 0, 0, 0, 0, count];
            tagged.extend(bytes);
            let _ = View::parse(&tagged);
            let _ = check(&tagged.into());
        }
    }
}
