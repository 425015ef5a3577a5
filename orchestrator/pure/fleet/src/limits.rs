//! Hard limits between the lab and its agents: neither side sends more, and neither accepts it.

/// Version of what this crate describes; both sides must speak the same.
pub const PROTOCOL: u32 = 1;
/// Largest frame in bytes, without the four that state its length.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// Bytes of a file in one [`crate::Chunk`], before compression. The last chunk of a file is shorter.
pub const CHUNK_BYTES: usize = 512 * 1024;
/// Largest program in bytes.
pub const PROGRAM_BYTES_MAX: u64 = 512 << 20;
/// Most digests that one order asks for.
pub const DIGESTS_MAX: usize = 1024;
/// Most files and folders that one order places.
pub const FILES_MAX: usize = 4096;
/// Most nodes of one run on one host.
pub const NODES_MAX: usize = 512;
/// Most arguments of a node.
pub const ARGUMENTS_MAX: usize = 64;
/// Longest argument in bytes.
pub const ARGUMENT_BYTES_MAX: usize = 4096;
/// Most runs that one agent keeps at once.
pub const RUNS_MAX: usize = 16;
/// Most connections of one agent at once.
pub const CONNECTIONS_MAX: usize = 16;
/// Most programs that one agent offers to other hosts at once.
pub const SHARES_MAX: usize = 32;
/// Longest transfer of a program from host to host, in milliseconds.
pub const SHARE_DEADLINE_MS: u64 = 300_000;
/// Most fault timers of one run on one host.
pub const TIMERS_MAX: usize = 10_000;
/// Most pinned keys.
pub const KEYS_MAX: usize = 64;
/// Most bytes that one [`crate::OrderBody::Read`] returns.
pub const READ_BYTES_MAX: usize = CHUNK_BYTES;
/// Most entries of one listing.
pub const ENTRIES_MAX: usize = 8192;
/// Most bytes of events that an agent keeps for a run.
pub const BACKLOG_BYTES_MAX: usize = 4 << 20;
/// Longest lease, in milliseconds: a day.
pub const LEASE_MS_MAX: u64 = 24 * 3600 * 1000;
/// Shortest lease, in milliseconds: a second.
pub const LEASE_MS_MIN: u64 = 1000;
/// Shortest time between two samples, in milliseconds.
pub const SAMPLE_MS_MIN: u64 = 100;
/// Longest grace period of a stop, in milliseconds.
pub const GRACE_MS_MAX: u64 = 120_000;
/// Most bytes of one node's log.
pub const LOG_BYTES_MAX: u64 = 1 << 30;
/// Orders that the lab may send before the first of them is answered.
pub const ORDERS_IN_FLIGHT_MAX: usize = 32;
