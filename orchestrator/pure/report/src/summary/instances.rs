//! Each consensus instance by itself: its blocks, its rate, its latency.

use super::{QUANTILES, goodput, interval};
use crate::{
    model::{Accounting, Block, Instance, RunRecord},
    result::{InstanceSummary, QuantileValue, Window},
    stats::{self, BlockSample},
};
use regatta_base::seed;

/// A summary for each instance of the record, in its order.
pub(super) fn summaries(record: &RunRecord, window: &Window) -> Vec<InstanceSummary> {
    let one = |instance: &Instance| {
        let inside = |block: &&Block| window.contains(block.at_ms) && block.instance == instance.id;
        let blocks: Vec<&Block> = record.blocks.iter().filter(inside).collect();
        let seed = record.identity.seed;
        InstanceSummary {
            id: instance.id.clone(),
            blocks: blocks.len() as u64,
            block_interval_ms: interval(seed, &blocks),
            goodput_per_s: goodput(seed, window, &blocks),
            response_p50: quantile(record, &instance.accounting, &blocks, QUANTILES[0]),
            response_p99: quantile(record, &instance.accounting, &blocks, QUANTILES[2]),
        }
    };
    record.instances.iter().map(one).collect()
}

/// As of the whole run: a quantile above the share that became final says nothing.
fn quantile(record: &RunRecord, accounting: &Accounting, blocks: &[&Block], q: f64) -> QuantileValue {
    let finalised = accounting.finalised_ok + accounting.finalised_failed;
    let lost = accounting.intended.saturating_sub(finalised) as f64;
    if accounting.intended > 0 && lost / accounting.intended as f64 > 1.0 - q + 1e-12 {
        return QuantileValue::AtLeastTimeout {
            timeout_ms: record.latency.timeout_ms,
        };
    }
    let loaded = blocks.iter().map(|block| block.latency.0.as_slice());
    let loaded: Vec<&[(u64, u64)]> = loaded.filter(|counts| !counts.is_empty()).collect();
    let (needed, have) = (stats::blocks_needed(q), loaded.len() as u64);
    let mut rng = seed::rng(record.identity.seed, "report instance quantiles");
    match BlockSample::new(loaded).quantiles(&[q], &mut rng) {
        None => QuantileValue::Nothing,
        Some(_) if have < needed => QuantileValue::NeedsBlocks { needed, have },
        Some(estimates) => QuantileValue::Measured(estimates[0]),
    }
}
