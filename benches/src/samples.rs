//! Signed transactions to work on.

use bytes::Bytes;
use regatta_apps::{CheckedTransaction, Domain, check_transactions, transaction};
use regatta_base::{ChainId, InstanceId, Keyring, SecretKey, seed};

/// Name of the network and of the instance that everything here is signed for.
const NAME: &str = "bench";
/// Payload of each transaction in bytes.
pub const PAYLOAD_BYTES: usize = 512;

/// The network that everything here is signed for.
#[must_use]
pub fn chain() -> ChainId {
    NAME.parse().expect("the name is a constant that fits")
}

/// Its one consensus instance.
#[must_use]
pub fn instance() -> InstanceId {
    NAME.parse().expect("the name is a constant that fits")
}

/// What transactions and batches are signed for.
#[must_use]
pub fn domain() -> Domain {
    Domain::new(&chain(), &instance())
}

/// The key of validator or sender `index`.
#[must_use]
pub fn key(kind: &str, index: usize) -> SecretKey {
    SecretKey::from_seed(seed::bytes(index as u64, kind))
}

/// `count` signed transactions of 512 bytes of payload by `senders` senders in turn.
#[must_use]
pub fn opaque(count: usize, senders: usize) -> Vec<Bytes> {
    let domain = domain();
    let keys: Vec<SecretKey> = (0..senders).map(|index| key("sender", index)).collect();
    let make = |index: usize| {
        let sequence = (index / senders) as u64 + 1;
        transaction::opaque(&domain, &keys[index % senders], sequence, &payload(index))
    };
    (0..count).map(make).collect()
}

/// `count` signed writes to as many keys by `senders` senders in turn.
#[must_use]
pub fn put(count: usize, senders: usize) -> Vec<Bytes> {
    let domain = domain();
    let keys: Vec<SecretKey> = (0..senders).map(|index| key("sender", index)).collect();
    let make = |index: usize| {
        let sequence = (index / senders) as u64 + 1;
        let name = format!("key-{index}");
        transaction::put(
            &domain,
            &keys[index % senders],
            sequence,
            name.as_bytes(),
            &payload(index),
        )
    };
    (0..count).map(make).collect()
}

/// The same transactions, checked.
#[must_use]
pub fn checked(transactions: Vec<Bytes>) -> Vec<CheckedTransaction> {
    let results = check_transactions(
        &domain(),
        transactions,
        &mut Keyring::default(),
        &mut seed::rng(1, "check"),
    );
    results.into_iter().flatten().collect()
}

fn payload(index: usize) -> Vec<u8> {
    seed::bytes(index as u64, "payload").repeat(PAYLOAD_BYTES / 32)
}
