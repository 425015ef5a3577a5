//! What a load leaves behind: accounting by phase, latencies, blocks, and the fate of every transaction.

use regatta_base::TransactionId;
use regatta_report::model::{Accounting, Block, Latency, NamedText, Rejection, Second};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A cheap view of a running load for the heartbeat.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct LoadProgress {
    /// Transactions whose time has come.
    pub intended: u64,
    /// Transactions handed to a connection.
    pub sent: u64,
    /// Transactions acknowledged.
    pub accepted: u64,
    /// Transactions final and ok.
    pub finalised: u64,
    /// Transactions final and failed.
    pub failed: u64,
    /// Transactions refused.
    pub rejected: u64,
    /// Transactions that could not be sent.
    pub not_sent: u64,
    /// Transactions whose connection broke before an answer.
    pub lost: u64,
    /// Transactions sent and neither final nor refused.
    pub in_flight: u64,
    /// Transactions intended in the last whole second.
    pub offered_per_s: u64,
    /// Transactions that became final in the last whole second.
    pub final_per_s: u64,
    /// Median response so far in microseconds: of the measure phase once it has begun.
    pub p50_us: u64,
    /// 99th percentile of the response so far in microseconds.
    pub p99_us: u64,
    /// Median response of the newest whole second with answers, in microseconds.
    pub recent_p50_us: u64,
    /// 99th percentile of the same.
    pub recent_p99_us: u64,
    /// 99th percentile of the generator's lag so far in microseconds.
    pub lag_p99_us: u64,
}

/// Where transactions ended. `intended` is the sum of all the other fields.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Transactions of the schedule.
    pub intended: u64,
    /// Never left the generator, by reason.
    pub not_sent: BTreeMap<String, u64>,
    /// Refused with an answer, by reason.
    pub rejected: BTreeMap<String, u64>,
    /// Acknowledged, and not final in time.
    pub timed_out: u64,
    /// Sent, never answered, and not final.
    pub unknown: u64,
    /// Final and executed with success.
    pub ok: u64,
    /// Final and executed with failure.
    pub failed: u64,
}

impl Tally {
    /// Transactions that have an end; equals `intended` when the identity closes.
    #[must_use]
    pub fn ended(&self) -> u64 {
        let sum = |reasons: &BTreeMap<String, u64>| reasons.values().sum::<u64>();
        sum(&self.not_sent) + sum(&self.rejected) + self.timed_out + self.unknown + self.ok + self.failed
    }

    /// Adds another tally to this one.
    pub fn add(&mut self, other: &Self) {
        let merge = |into: &mut BTreeMap<String, u64>, from: &BTreeMap<String, u64>| {
            for (reason, count) in from {
                *into.entry(reason.clone()).or_default() += count;
            }
        };
        self.intended += other.intended;
        merge(&mut self.not_sent, &other.not_sent);
        merge(&mut self.rejected, &other.rejected);
        self.timed_out += other.timed_out;
        self.unknown += other.unknown;
        self.ok += other.ok;
        self.failed += other.failed;
    }

    /// The same numbers in the report's form.
    #[must_use]
    pub fn to_accounting(&self) -> Accounting {
        let rejection = |(reason, &count): (&String, &u64)| Rejection {
            reason: reason.clone(),
            count,
        };
        Accounting {
            intended: self.intended,
            not_sent: self.not_sent.values().sum(),
            rejected: self.rejected.iter().map(rejection).collect(),
            timed_out: self.timed_out,
            unknown: self.unknown,
            finalised_ok: self.ok,
            finalised_failed: self.failed,
        }
    }
}

/// Tallies by the phase in which transactions were intended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseTally {
    /// Load before the window.
    pub warmup: Tally,
    /// The window.
    pub measure: Tally,
    /// Load after the window.
    pub cooldown: Tally,
}

impl PhaseTally {
    /// All phases together.
    #[must_use]
    pub fn total(&self) -> Tally {
        let mut total = self.warmup.clone();
        total.add(&self.measure);
        total.add(&self.cooldown);
        total
    }
}

/// Where one transaction ended, as its submitter saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submission {
    /// Its id.
    pub id: TransactionId,
    /// Whether it left the generator at all, or may have.
    pub sent: bool,
    /// Whether its target acknowledged it: it must not be lost.
    pub acknowledged: bool,
    /// Whether it was reported final: it must be in the ledger.
    pub finalised: bool,
    /// Position of its target in the load's targets.
    pub target: u32,
}

/// Every transaction of a load, for the checks.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Submitted {
    /// Names of the targets.
    pub targets: Vec<String>,
    /// One row a transaction, in the order of the schedule.
    pub rows: Vec<Submission>,
}

/// Everything that one load leaves behind.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LoadOutcome {
    /// Position of the load in the plan.
    pub load: u32,
    /// Accounting by phase.
    pub tally: PhaseTally,
    /// Headline histograms of the measure phase, and histograms of every second of the load.
    pub latency: Latency,
    /// Counts for each second since the origin.
    pub seconds: Vec<Second>,
    /// Latencies by block, in height order; `transactions` counts the load's own.
    pub blocks: Vec<Block>,
    /// Every transaction.
    pub submitted: Submitted,
    /// Finals that came after their timeout: counted as timed out.
    pub late: u64,
    /// Finals that were learnt by reading blocks because a subscription had broken.
    pub resolved: u64,
    /// Answers whose id was not that of the transaction sent.
    pub mismatched: u64,
    /// Times that a subscription broke, by target.
    pub breaks: BTreeMap<String, u64>,
    /// How the generator ran: for the disclosure list.
    pub disclosure: Vec<NamedText>,
    /// The schedule was cut short by order.
    pub stopped: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identity_counts_every_field_once() {
        let reasons = |count| BTreeMap::from([("a".to_owned(), count), ("b".to_owned(), 1)]);
        let tally = Tally {
            intended: 100,
            not_sent: reasons(4),
            rejected: reasons(9),
            timed_out: 15,
            unknown: 20,
            ok: 30,
            failed: 20,
        };
        assert_eq!(tally.ended(), tally.intended);
        let phases = PhaseTally {
            warmup: tally.clone(),
            measure: tally.clone(),
            cooldown: Tally::default(),
        };
        let total = phases.total();
        assert_eq!((total.intended, total.ended()), (200, 200));
        assert_eq!(total.not_sent["a"], 8);
        assert_eq!(total.to_accounting().rejected.len(), 2);
    }
}
