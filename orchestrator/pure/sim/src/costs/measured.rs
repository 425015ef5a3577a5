//! The table of costs as it was measured; `cargo bench -p regatta-benches --bench costs -- --write` writes this file.

use super::Costs;

/// Values for one core of a server processor, November 2026. What signatures, steps, frames, results of jobs, timers and executed
/// transactions cost is what that command measured, in the node's own code inside a simulated network. What turns, writes
/// and the bytes of transport cost is estimated from single streams; whole runs (`reports/parity`) show what that makes
/// of CPU and latency.
pub const MEASURED: Costs = Costs {
    turn_ns: 9_000,
    write_ns: 6_000,
    send_ns: 700,
    send_byte_ps: 1_500,
    receive_ns: 900,
    receive_byte_ps: 1_500,
    consensus_ns: 639,
    consensus_byte_ps: 6_988,
    frame_ns: 0,
    frame_byte_ps: 554,
    done_ns: 1_863,
    signature_ns: 17_807,
    signature_batch_ns: 2_753,
    signature_batched_ns: 9_799,
    transaction_byte_ps: 1_000,
    transaction_ns: 1_200,
    execute_ns: 891,
    block_ns: 25_000,
    step_ns: 22_286,
    record_ns: 1_000,
    record_byte_ps: 700,
    flush_ns: 25_000,
    request_ns: 60_000,
    publish_ns: 12_000,
    tick_ns: 13_356,
    connect_ns: 1_300_000,
    start_ns: 3_000_000,
    replay_ns: 20_000,
};
