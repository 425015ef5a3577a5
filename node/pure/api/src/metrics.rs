//! The one table of metrics: the node counts by it, the exposition prints it, the lab reads it.

/// How a metric behaves over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows while the process lives.
    Counter,
    /// May grow and shrink.
    Gauge,
}

/// One metric: its exported name and what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricRow {
    /// Exported name, unit last.
    pub name: &'static str,
    /// Counter or gauge.
    pub kind: MetricKind,
    /// One sentence for the `# HELP` line.
    pub help: &'static str,
}

macro_rules! metric_table {
    ($($(#[doc = $doc:literal])+ $variant:ident $kind:ident $name:literal;)+) => {
        /// Every metric of a node.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Metric {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Metric {
            /// All metrics, in the order of exposition.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Name, kind and help of this metric.
            #[must_use]
            pub fn row(self) -> MetricRow {
                match self {
                    $(Self::$variant => MetricRow {
                        name: $name,
                        kind: MetricKind::$kind,
                        help: concat!($($doc),+).trim_ascii(),
                    },)+
                }
            }
        }
    };
}

metric_table! {
    /// Height of the last executed block.
    Height Gauge "regatta_height_blocks";
    /// Rounds beyond the first that were entered.
    RoundsExtra Counter "regatta_rounds_extra_total";
    /// Transactions accepted from clients and other nodes.
    TransactionsAccepted Counter "regatta_transactions_accepted_total";
    /// Transactions refused, for any reason.
    TransactionsRejected Counter "regatta_transactions_rejected_total";
    /// Transactions executed, failed ones included.
    TransactionsExecuted Counter "regatta_transactions_executed_total";
    /// Transactions that failed in execution.
    TransactionsFailed Counter "regatta_transactions_failed_total";
    /// Transactions pending in the mempool.
    TransactionsPending Gauge "regatta_transactions_pending";
    /// Bytes pending in the mempool.
    MempoolBytes Gauge "regatta_mempool_bytes";
    /// Frames sent to peers.
    FramesSent Counter "regatta_frames_sent_total";
    /// Frames received from peers.
    FramesReceived Counter "regatta_frames_received_total";
    /// Bytes of frames sent to peers.
    FrameBytesSent Counter "regatta_frame_sent_bytes_total";
    /// Bytes of frames received from peers.
    FrameBytesReceived Counter "regatta_frame_received_bytes_total";
    /// Frames of consensus sent to peers.
    ConsensusFramesSent Counter "regatta_consensus_frames_sent_total";
    /// Bytes of consensus frames sent to peers.
    ConsensusBytesSent Counter "regatta_consensus_sent_bytes_total";
    /// Frames of transaction payload sent to peers.
    PayloadFramesSent Counter "regatta_payload_frames_sent_total";
    /// Bytes of payload frames sent to peers.
    PayloadBytesSent Counter "regatta_payload_sent_bytes_total";
    /// Frames of catch-up sent to peers.
    SyncFramesSent Counter "regatta_sync_frames_sent_total";
    /// Bytes of catch-up frames sent to peers.
    SyncBytesSent Counter "regatta_sync_sent_bytes_total";
    /// Frames dropped because a peer's queue was full.
    FramesDropped Counter "regatta_frames_dropped_total";
    /// Frames from peers that did not decode or broke the protocol.
    FramesInvalid Counter "regatta_frames_invalid_total";
    /// Connections refused because the other side is no configured peer or its handshake failed.
    ConnectionsRefused Counter "regatta_connections_refused_total";
    /// Links to configured peers that are up.
    PeersConnected Gauge "regatta_peers_connected";
    /// Requests that the control interface answered with an error.
    HttpErrors Counter "regatta_http_errors_total";
    /// Requests to the control interface.
    HttpRequests Counter "regatta_http_requests_total";
    /// Signatures checked.
    SignaturesChecked Counter "regatta_signatures_checked_total";
    /// Flushes of the journal to the device.
    JournalFlushes Counter "regatta_journal_flushes_total";
    /// Writes of the journal that took 50 ms or longer, with their flushes.
    JournalWritesSlow Counter "regatta_journal_writes_slow_total";
    /// The longest write of the journal since the start, with its flush.
    JournalWriteLongest Gauge "regatta_journal_write_longest_us";
    /// Bytes appended to the journal.
    JournalBytes Counter "regatta_journal_appended_bytes_total";
    /// Proofs that a validator contradicted itself that were kept.
    Evidence Counter "regatta_evidence_total";
    /// Proofs that a validator contradicted itself that were not kept, because there is no room for them.
    EvidenceDropped Counter "regatta_evidence_dropped_total";
    /// Releases that passed every check.
    ReleasesAccepted Counter "regatta_releases_accepted_total";
    /// Releases that a check refused.
    ReleasesRefused Counter "regatta_releases_refused_total";
    /// Pieces of released programs that were fetched or brought.
    ReleaseChunks Counter "regatta_release_chunks_total";
    /// Pieces of released programs that were not what was signed.
    ReleaseChunksBad Counter "regatta_release_chunks_bad_total";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_carry_the_prefix_and_kind() {
        let mut names = BTreeSet::new();
        for metric in Metric::ALL {
            let row = metric.row();
            assert!(names.insert(row.name), "{} twice", row.name);
            assert!(row.name.starts_with("regatta_"), "{}", row.name);
            assert_eq!(
                row.name.ends_with("_total"),
                row.kind == MetricKind::Counter,
                "{}",
                row.name
            );
            assert!(row.help.ends_with('.'), "{}", row.help);
        }
    }
}
