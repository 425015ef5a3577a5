//! What handling costs on a processor: the table that keeps throughput from being fiction.

mod measured;

pub use measured::MEASURED;

use crate::{Nanos, work::Amount};
use regatta_core::{Event, Protocol};

/// Costs in nanoseconds of one core, and in picoseconds for each byte.
///
/// Each row is the cost of one thing with everything around it: parsing, hashing, bookkeeping, system calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Costs {
    /// A turn of the node's task: waking up, looking at every queue.
    pub turn_ns: Nanos,
    /// Writing to one link in a turn: the system call and the record layer around it.
    pub write_ns: Nanos,
    /// Making one frame ready to be written.
    pub send_ns: Nanos,
    /// Encrypting, copying and sending.
    pub send_byte_ps: u64,
    /// Taking one frame from a link.
    pub receive_ns: Nanos,
    /// Receiving, copying and decrypting.
    pub receive_byte_ps: u64,
    /// Decoding and handling a frame of consensus.
    pub consensus_ns: Nanos,
    /// The same for each of its bytes.
    pub consensus_byte_ps: u64,
    /// Handling any other frame.
    pub frame_ns: Nanos,
    /// The same for each of its bytes.
    pub frame_byte_ps: u64,
    /// Handling the result of a job, or another small event.
    pub done_ns: Nanos,
    /// A signature that is checked alone.
    pub signature_ns: Nanos,
    /// What a batch of signatures costs beside its signatures.
    pub signature_batch_ns: Nanos,
    /// A signature in a batch.
    pub signature_batched_ns: Nanos,
    /// Parsing, hashing and checking a byte of transactions.
    pub transaction_byte_ps: u64,
    /// A transaction of a batch or submission beside its signature and bytes: id, bookkeeping, mempool.
    pub transaction_ns: Nanos,
    /// Executing a transaction.
    pub execute_ns: Nanos,
    /// Executing a block beside its transactions: the root of the state, statuses.
    pub block_ns: Nanos,
    /// A step of consensus: deciding, signing, encoding.
    pub step_ns: Nanos,
    /// Encoding one record for the journal.
    pub record_ns: Nanos,
    /// The same for each byte, writing it included.
    pub record_byte_ps: u64,
    /// The system calls of one flush.
    pub flush_ns: Nanos,
    /// A request of a client: HTTP, parsing, answering.
    pub request_ns: Nanos,
    /// An event to one subscriber.
    pub publish_ns: Nanos,
    /// A timer: mostly one with which a leader cuts a batch and proposes.
    pub tick_ns: Nanos,
    /// Both handshakes of a new connection, at one end.
    pub connect_ns: Nanos,
    /// Starting the program.
    pub start_ns: Nanos,
    /// Replaying a record at start.
    pub replay_ns: Nanos,
}

/// Nothing costs anything: only delays are left.
pub const FREE: Costs = Costs {
    turn_ns: 0,
    write_ns: 0,
    send_ns: 0,
    send_byte_ps: 0,
    receive_ns: 0,
    receive_byte_ps: 0,
    consensus_ns: 0,
    consensus_byte_ps: 0,
    frame_ns: 0,
    frame_byte_ps: 0,
    done_ns: 0,
    signature_ns: 0,
    signature_batch_ns: 0,
    signature_batched_ns: 0,
    transaction_byte_ps: 0,
    transaction_ns: 0,
    execute_ns: 0,
    block_ns: 0,
    step_ns: 0,
    record_ns: 0,
    record_byte_ps: 0,
    flush_ns: 0,
    request_ns: 0,
    publish_ns: 0,
    tick_ns: 0,
    connect_ns: 0,
    start_ns: 0,
    replay_ns: 0,
};

fn bytes(count: usize, byte_ps: u64) -> Nanos {
    count as u64 * byte_ps / 1000
}

impl Costs {
    /// What taking an event in costs the node's task. `protocol` tells frames apart.
    pub(crate) fn event(&self, event: &Event, protocol: Option<Protocol>) -> Nanos {
        match event {
            Event::PeerUp(_) => self.connect_ns,
            Event::Frame(_, frame) => self.received(frame.len(), protocol),
            Event::Submit { transactions, .. } => {
                let length: usize = transactions.iter().map(bytes::Bytes::len).sum();
                self.request_ns + self.transaction_ns * transactions.len() as u64 + bytes(length, self.receive_byte_ps)
            }
            Event::Tick => self.tick_ns,
            // A record that is durable and the like move a number or let a frame go.
            _ => self.done_ns,
        }
    }

    fn received(&self, length: usize, protocol: Option<Protocol>) -> Nanos {
        let transport = self.receive_ns + bytes(length, self.receive_byte_ps);
        let handling = if protocol == Some(Protocol::Consensus) {
            self.consensus_ns + bytes(length, self.consensus_byte_ps)
        } else {
            self.frame_ns + bytes(length, self.frame_byte_ps)
        };
        transport + handling
    }

    /// What sending one frame costs.
    pub(crate) fn sent(&self, length: usize) -> Nanos {
        self.send_ns + bytes(length, self.send_byte_ps)
    }

    /// What encoding and writing records costs the journal.
    pub(crate) fn flush(&self, records: u64, length: u64) -> Nanos {
        self.flush_ns + self.record_ns * records + length * self.record_byte_ps / 1000
    }

    /// What checking `count` signatures together costs.
    pub(crate) fn signatures(&self, count: usize) -> Nanos {
        match count {
            0 => 0,
            1 => self.signature_ns,
            more => {
                (self.signature_batch_ns + self.signature_batched_ns * more as u64).min(self.signature_ns * more as u64)
            }
        }
    }

    /// What a job costs, whichever core runs it.
    pub(crate) fn job(&self, amount: Amount) -> Nanos {
        self.signatures(amount.signatures)
            + self.transaction_ns * amount.transactions as u64
            + bytes(amount.bytes, self.transaction_byte_ps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_of_signatures_is_never_dearer_than_its_parts() {
        for count in 0..200 {
            let together = MEASURED.signatures(count);
            assert!(together <= MEASURED.signature_ns * count as u64, "{count}");
            assert!(together >= MEASURED.signatures(count.saturating_sub(1)), "{count}");
        }
        assert!(MEASURED.signatures(67) < MEASURED.signature_ns * 67 * 3 / 4);
    }

    #[test]
    fn frames_cost_by_their_length_and_protocol() {
        let cost = |length: usize, protocol| {
            let event = Event::Frame(0, vec![0; length].into());
            MEASURED.event(&event, Some(protocol))
        };
        assert!(cost(1000, Protocol::Consensus) > cost(100, Protocol::Consensus));
        assert!(cost(1000, Protocol::Consensus) > cost(1000, Protocol::Payload));
    }
}
