//! Every default of a scenario in one table: `Default`, serde and the reference page all read it.

use crate::units::{Duration, Ratio, Size};
use std::net::Ipv4Addr;

/// Version of the scenario format that this crate reads.
pub const SCHEMA: u32 = 1;
/// Seed of everything random.
pub const SEED: u64 = 1;
/// Node address range of the loopback backend: room for 65,534 nodes, away from 127.0.0.1.
pub const NETWORK: (Ipv4Addr, u8) = (Ipv4Addr::new(127, 60, 0, 0), 16);
/// Port between nodes, the same on every node.
pub const P2P_PORT: u16 = 7000;
/// Port of the control interface, the same on every node.
pub const HTTP_PORT: u16 = 7001;
/// Name of the build that groups run unless they say otherwise.
pub const BUILD: &str = "main";
/// Where that build comes from when no `[build]` is given: this checkout.
pub const SOURCE: &str = ".";
/// Weight of a validator.
pub const WEIGHT: u64 = 1;
/// Least time between two blocks.
pub const BLOCK_INTERVAL: Duration = Duration::from_millis(50);
/// Base of the round timeout; round r waits base x (3 + 2r).
pub const ROUND_TIMEOUT: Duration = Duration::from_millis(300);
/// Most validators, all linked with each other, that send their votes to each other unless the scenario says otherwise:
/// beyond it frames, which grow with the square, cost more than the two hops that a leader's certificates take.
pub const ALL_TO_ALL_MAX: usize = 16;
/// Load before the measuring window.
pub const WARMUP: Duration = Duration::from_secs(5);
/// The measuring window.
pub const MEASURE: Duration = Duration::from_secs(30);
/// Load after the measuring window, so that its last transactions meet the same conditions.
pub const COOLDOWN: Duration = Duration::from_secs(2);
/// Longest wait for the last transactions after the load has ended.
pub const DRAIN: Duration = Duration::from_secs(10);
/// Offered transactions per second.
pub const RATE: f64 = 100.0;
/// Transaction payload in bytes.
pub const PAYLOAD: Size = Size(512);
/// Accounts that sign the load's transactions.
pub const SENDERS: u32 = 64;
/// Age at which a transaction that is not final counts as timed out.
pub const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest run from the first step to the report.
pub const WALL: Duration = Duration::from_secs(30 * 60);
/// Longest life of a cluster that stays up.
pub const LEASE: Duration = Duration::from_secs(2 * 3600);
/// Most bytes in the run's folder.
pub const DISK: Size = Size(4 << 30);
/// A batch of transactions leaves when it has this many bytes.
pub const BATCH_BYTES: Size = Size(256 << 10);
/// A batch leaves when its first transaction has waited this long.
pub const BATCH_DELAY: Duration = Duration::from_millis(5);
/// Most transactions that wait at one node.
pub const MEMPOOL_TRANSACTIONS: u32 = 200_000;
/// Most bytes that wait at one node.
pub const MEMPOOL_BYTES: Size = Size(256 << 20);
/// Most transactions of one sender that wait at one node.
pub const MEMPOOL_PER_SENDER: u32 = 16_384;
/// A node that is more blocks behind fetches a snapshot, where there are any.
pub const SNAPSHOT_LAG: u32 = 1000;
/// Snapshots that a node keeps.
pub const KEEP_SNAPSHOTS: u32 = 2;
/// Bytes from which on a file of the journal takes no more records.
pub const JOURNAL_FILE: Size = Size(64 << 20);
/// Rewiring probability of a small world.
pub const REWIRE: Ratio = Ratio(0.1);
/// Links that each node of a scale-free graph brings along.
pub const SCALE_FREE_LINKS: u32 = 2;
/// Children of a tree's node.
pub const ARITY: u32 = 2;
/// A validator that has returned counts again after this time: it needs to start, to link and to catch up.
pub const CHURN_SETTLE: Duration = Duration::from_secs(1);
/// One way between two processes of one computer, from write to wake-up: links of simulated nodes without a delay.
pub const SIMULATED_HOP: Duration = Duration(60_000);
/// How much that varies.
pub const SIMULATED_JITTER: Ratio = Ratio(0.2);
/// Cores of a simulated machine.
pub const SIMULATED_CORES: u32 = 2;
/// Time that a simulated disk takes to make records durable.
pub const SIMULATED_FLUSH: Duration = Duration(500_000);
/// Random faults that are on at a time.
pub const NEMESIS_AT_ONCE: u32 = 3;
/// Nodes of a random fault.
pub const NEMESIS_NODES_MAX: u32 = 3;
/// Shortest and longest random fault.
pub const NEMESIS_LENGTH: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(10));
/// Longest rest before a random fault, and the rest of its nodes after it.
pub const NEMESIS_GAP: Duration = Duration::from_secs(5);
/// Delay of random link faults.
pub const NEMESIS_DELAY: Duration = Duration::from_millis(100);
/// Packets that random link faults lose.
pub const NEMESIS_LOSS: Ratio = Ratio(0.01);
/// How far clocks are ahead at most under random faults.
pub const NEMESIS_OFFSET: Duration = Duration::from_secs(2);
/// Port of SSH servers.
pub const SSH_PORT: u16 = 22;
/// Nodes on a host of a fleet.
pub const SLOTS: u32 = 1;
/// Hosts that one with a program hands it on to at once.
pub const FAN_OUT: u32 = 4;
/// Most of them.
pub const FAN_OUT_MAX: u32 = 16;
/// Programs for hosts of a fleet: static, so that they run whatever the host has installed.
pub const FLEET_TARGET: &str = "x86_64-unknown-linux-musl";
/// Longest wait until a program of others is ready.
pub const PROCESS_READY: Duration = Duration::from_millis(30_000);
