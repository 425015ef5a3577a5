//! What a record adds up to: window, quantiles, goodput, accounting, generator, steadiness, cost, nodes.

mod checks;
mod churn;
mod instances;
mod recovery;
mod resources;
mod window;

pub(crate) use churn::steps;

use crate::{
    model::{Block, RunRecord},
    result::{Estimate, Quantile, QuantileValue, Summary, Window},
    stats::{self, BlockSample},
};
use regatta_base::seed;
use std::collections::BTreeMap;

/// The quantiles that every report prints.
pub(crate) const QUANTILES: [f64; 4] = [0.5, 0.9, 0.99, 0.999];

/// Adds a record up; the same record gives the same summary on every machine.
#[must_use]
pub fn summarise(record: &RunRecord) -> Summary {
    let window = window::find(record);
    let blocks: Vec<&Block> = record
        .blocks
        .iter()
        .filter(|block| window.contains(block.at_ms))
        .collect();
    let accounting = checks::accounting(&record.accounting);
    let response = quantiles(record, &blocks, accounting.lost_share);
    let goodput_per_s = goodput(record.identity.seed, &window, &blocks);
    Summary {
        offered_per_s: offered(record, &window),
        block_interval_ms: interval(record.identity.seed, &blocks),
        generator: checks::generator(record),
        steady: checks::steady(record, &window),
        cpu: resources::cost(record, &window, &blocks),
        block_cost: resources::block_cost(record, &window),
        nodes: resources::nodes(record, &window),
        instances: instances::summaries(record, &window),
        recoveries: recovery::recoveries(record),
        churn: churn::summary(record),
        window,
        response,
        goodput_per_s,
        accounting,
    }
}

/// Each quantile with what the run can say about it.
fn quantiles(record: &RunRecord, blocks: &[&Block], lost_share: f64) -> Vec<Quantile> {
    let loaded: Vec<&[(u64, u64)]> = blocks
        .iter()
        .map(|block| block.latency.0.as_slice())
        .filter(|counts| !counts.is_empty())
        .collect();
    let have = loaded.len() as u64;
    let mut rng = seed::rng(record.identity.seed, "report response quantiles");
    debug_assert!(loaded.len() <= record.blocks.len());
    let estimates = BlockSample::new(loaded).quantiles(&QUANTILES, &mut rng);
    let judged = QUANTILES.iter().enumerate().map(|(index, &q)| {
        let needed = stats::blocks_needed(q);
        // A quantile above the share that became final is a statement about transactions that never did.
        let value = if record.accounting.intended > 0 && lost_share > 1.0 - q + 1e-12 {
            QuantileValue::AtLeastTimeout {
                timeout_ms: record.latency.timeout_ms,
            }
        } else {
            match &estimates {
                None => QuantileValue::Nothing,
                Some(_) if have < needed => QuantileValue::NeedsBlocks { needed, have },
                Some(estimates) => QuantileValue::Measured(estimates[index]),
            }
        };
        Quantile { q, value }
    });
    judged.collect()
}

/// Successful transactions for each second of the window, with the pieces between two blocks as units of resampling.
fn goodput(seed: u64, window: &Window, blocks: &[&Block]) -> Option<Estimate> {
    let mut since = window.start_ms;
    let mut pieces = Vec::with_capacity(blocks.len() + 1);
    for block in blocks {
        debug_assert!(window.contains(block.at_ms), "only blocks of the window count");
        pieces.push((block.ok as f64, block.at_ms.saturating_sub(since) as f64 / 1000.0));
        since = block.at_ms;
    }
    // What follows the last block counts as time without a result, so that a stall cannot flatter the rate.
    pieces.push((0.0, window.end_ms.saturating_sub(since) as f64 / 1000.0));
    stats::ratio(&pieces, &mut seed::rng(seed, "report goodput"))
}

/// Mean time between consecutive blocks of one instance, in milliseconds.
fn interval(seed: u64, blocks: &[&Block]) -> Option<Estimate> {
    let mut before: BTreeMap<&str, u64> = BTreeMap::new();
    let mut gaps: Vec<(f64, f64)> = Vec::with_capacity(blocks.len());
    for block in blocks {
        let since = before.insert(&block.instance, block.at_ms);
        gaps.extend(since.map(|since| (block.at_ms.saturating_sub(since) as f64, 1.0)));
    }
    stats::ratio(&gaps, &mut seed::rng(seed, "report block interval"))
}

/// Mean intended rate over the full seconds of the window.
fn offered(record: &RunRecord, window: &Window) -> f64 {
    let inside: Vec<u64> = window::full_seconds(record, window)
        .map(|second| second.intended)
        .collect();
    if inside.is_empty() {
        0.0
    } else {
        inside.iter().sum::<u64>() as f64 / inside.len() as f64
    }
}

#[cfg(test)]
mod tests;
