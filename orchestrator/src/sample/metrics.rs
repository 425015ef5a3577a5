//! A node's metrics in the form of a sample.

use regatta_api::metrics::Metric;
use regatta_client::Client;
use regatta_report::model::Traffic;
use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

/// How long a node may take to answer: a sample that comes later belongs to another second.
const DEADLINE: Duration = Duration::from_millis(800);

/// Protocols with the metrics of what was sent: messages, bytes.
const SENT: [(&str, Metric, Metric); 3] = [
    ("consensus", Metric::ConsensusFramesSent, Metric::ConsensusBytesSent),
    ("payload", Metric::PayloadFramesSent, Metric::PayloadBytesSent),
    ("sync", Metric::SyncFramesSent, Metric::SyncBytesSent),
];

/// The metrics of one node at one time.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Reading(BTreeMap<String, f64>);

/// Counters that are carried across restarts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) transactions: u64,
    pub(crate) messages_in: u64,
    pub(crate) messages_out: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    /// Messages and bytes sent, by protocol in the order of the table.
    sent: [(u64, u64); SENT.len()],
}

/// A client that asks a node again and again, over one connection.
pub(crate) fn client(http: SocketAddr) -> Client {
    Client::new(http).with_deadline(DEADLINE)
}

/// Asks a node; `None` when it does not answer in time.
pub(crate) async fn read(client: &Client) -> Option<Reading> {
    client.metrics().await.ok().map(Reading)
}

impl Reading {
    /// The value of a metric; 0 when the node does not have it.
    pub(crate) fn get(&self, metric: Metric) -> u64 {
        // A float from text: a negative or absurd one saturates.
        self.0.get(metric.row().name).map_or(0, |value| *value as u64)
    }

    /// The counters of this process alone.
    pub(crate) fn counters(&self) -> Counters {
        Counters::read(|metric| self.get(metric))
    }
}

impl Counters {
    /// The counters that `get` gives.
    pub(crate) fn read(get: impl Fn(Metric) -> u64) -> Self {
        Self {
            transactions: get(Metric::TransactionsExecuted),
            messages_in: get(Metric::FramesReceived),
            messages_out: get(Metric::FramesSent),
            bytes_in: get(Metric::FrameBytesReceived),
            bytes_out: get(Metric::FrameBytesSent),
            sent: SENT.map(|(_, messages, bytes)| (get(messages), get(bytes))),
        }
    }

    /// The sum of both: of a process and of those before it.
    pub(crate) fn plus(self, other: Self) -> Self {
        let mut sent = self.sent;
        for (sum, more) in sent.iter_mut().zip(other.sent) {
            *sum = (sum.0.saturating_add(more.0), sum.1.saturating_add(more.1));
        }
        Self {
            transactions: self.transactions.saturating_add(other.transactions),
            messages_in: self.messages_in.saturating_add(other.messages_in),
            messages_out: self.messages_out.saturating_add(other.messages_out),
            bytes_in: self.bytes_in.saturating_add(other.bytes_in),
            bytes_out: self.bytes_out.saturating_add(other.bytes_out),
            sent,
        }
    }

    /// Traffic by protocol: what is sent is told apart by its sender, what is received is not.
    pub(crate) fn traffic(&self) -> Vec<Traffic> {
        let row = |protocol: &str, messages_in, messages_out, bytes_in, bytes_out| Traffic {
            protocol: protocol.to_owned(),
            messages_in,
            messages_out,
            bytes_in,
            bytes_out,
        };
        let told = self.sent.iter().fold((0u64, 0u64), |sum, sent| {
            (sum.0.saturating_add(sent.0), sum.1.saturating_add(sent.1))
        });
        let mut rows: Vec<Traffic> = SENT
            .iter()
            .zip(self.sent)
            .map(|((name, ..), (messages, bytes))| row(name, 0, messages, 0, bytes))
            .collect();
        // What no protocol claims is shown too, so that the rows add up to the totals.
        rows.push(row(
            "other",
            self.messages_in,
            self.messages_out.saturating_sub(told.0),
            self.bytes_in,
            self.bytes_out.saturating_sub(told.1),
        ));
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(rows: &[(Metric, f64)]) -> Reading {
        Reading(
            rows.iter()
                .map(|(metric, value)| (metric.row().name.to_owned(), *value))
                .collect(),
        )
    }

    #[test]
    fn traffic_adds_up_to_the_totals() {
        let counters = reading(&[
            (Metric::FramesSent, 10.0),
            (Metric::FrameBytesSent, 1000.0),
            (Metric::FramesReceived, 7.0),
            (Metric::ConsensusFramesSent, 4.0),
            (Metric::ConsensusBytesSent, 300.0),
            (Metric::SyncFramesSent, 1.0),
        ])
        .counters();
        let traffic = counters.plus(counters).traffic();
        assert_eq!(traffic.iter().map(|row| row.messages_out).sum::<u64>(), 20);
        assert_eq!(traffic.iter().map(|row| row.bytes_out).sum::<u64>(), 2000);
        assert_eq!(traffic.iter().map(|row| row.messages_in).sum::<u64>(), 14);
        assert_eq!((traffic[0].protocol.as_str(), traffic[0].bytes_out), ("consensus", 600));
    }

    #[test]
    fn absurd_values_saturate() {
        let reading = reading(&[
            (Metric::Height, -1.0),
            (Metric::FramesSent, f64::NAN),
            (Metric::FrameBytesSent, 1e300),
        ]);
        assert_eq!(reading.get(Metric::Height), 0);
        assert_eq!(reading.counters().messages_out, 0);
        assert_eq!(reading.counters().plus(reading.counters()).bytes_out, u64::MAX);
    }
}
