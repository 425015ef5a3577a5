//! Hard limits of the protocol: nothing that a peer or client sends may exceed them.

/// Version of the protocol between nodes; neighbours with another one are refused. A build's manifest states it too.
pub const PEER_PROTOCOL_VERSION: u32 = 6;
/// Largest transaction in bytes, signature and header included.
pub const TRANSACTION_BYTES_MAX: usize = 256 * 1024;
/// Largest batch of transactions in bytes.
pub const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// Most batches that one block may order.
pub const BATCHES_PER_BLOCK_MAX: usize = 256;
/// Largest frame between two nodes in bytes; a batch and its envelope must fit.
pub const FRAME_BYTES_MAX: usize = BATCH_BYTES_MAX + 64 * 1024;
/// Largest request body of the control interface in bytes.
pub const REQUEST_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most transactions of one request of a client, and of what a node passes on to another one at once.
pub const REQUEST_TRANSACTIONS_MAX: usize = 16_384;
/// Most validators of one consensus instance.
pub const VALIDATORS_MAX: usize = 1024;
/// Most consensus instances of one node.
pub const INSTANCES_MAX: usize = 64;
/// Most static peers of one node.
pub const PEERS_MAX: usize = 512;
/// Largest key of a `put` in bytes.
pub const STATE_KEY_BYTES_MAX: usize = 256;
/// Largest value of a `put` in bytes.
pub const STATE_VALUE_BYTES_MAX: usize = 64 * 1024;
/// Most bytes of keys and values that the state of one instance may hold.
pub const STATE_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// How many sequence numbers behind a sender's highest one may still be used, once each.
pub const SEQUENCE_WINDOW: u64 = 1024;
/// For how many heights after the one its author knew a batch may be ordered.
pub const BATCH_LIFETIME_BLOCKS: u64 = 20_000;
