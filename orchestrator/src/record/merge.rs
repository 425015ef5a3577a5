//! Several loads into one series: histograms, seconds and blocks.

use crate::load::LoadOutcome;
use regatta_plan::Plan;
use regatta_report::{
    Counts,
    model::{Block, HistogramSet, Interval, Latency, Second},
};
use std::collections::BTreeMap;

/// The histograms of all loads together.
pub(super) fn latency(loads: &[LoadOutcome]) -> Latency {
    let counts = |part: fn(&Latency) -> &Counts| Counts::merged(loads.iter().map(|load| part(&load.latency)));
    Latency {
        timeout_ms: loads.iter().map(|load| load.latency.timeout_ms).max().unwrap_or(0),
        response: set(loads, |latency| &latency.response),
        service: set(loads, |latency| &latency.service),
        lag: set(loads, |latency| &latency.lag),
        accepted: counts(|latency| &latency.accepted),
        included: counts(|latency| &latency.included),
        executed: counts(|latency| &latency.executed),
    }
}

fn set(loads: &[LoadOutcome], part: fn(&Latency) -> &HistogramSet) -> HistogramSet {
    let sets = || loads.iter().map(|load| part(&load.latency));
    let mut seconds: BTreeMap<u32, Vec<&Counts>> = BTreeMap::new();
    for interval in sets().flat_map(|set| &set.intervals) {
        seconds.entry(interval.second).or_default().push(&interval.counts);
    }
    let interval = |(second, parts): (u32, Vec<&Counts>)| Interval {
        second,
        counts: Counts::merged(parts),
    };
    HistogramSet {
        overall: Counts::merged(sets().map(|set| &set.overall)),
        intervals: seconds.into_iter().map(interval).collect(),
    }
}

/// Counts of all loads by second, from the origin on and without gaps.
pub(super) fn seconds(loads: &[LoadOutcome]) -> Vec<Second> {
    let all = || loads.iter().flat_map(|load| &load.seconds);
    let end = all().map(|second| second.second + 1).max().unwrap_or(0);
    let empty = |second| Second {
        second,
        ..Second::default()
    };
    let mut seconds: Vec<Second> = (0..end).map(empty).collect();
    for part in all() {
        let sum = &mut seconds[part.second as usize];
        sum.intended += part.intended;
        sum.sent += part.sent;
        sum.finalised += part.finalised;
        sum.failed += part.failed;
        sum.rejected += part.rejected;
    }
    seconds
}

/// Blocks of all loads, in height order; where several instances ran, in the order of their times.
pub(super) fn blocks(plan: &Plan, loads: Vec<LoadOutcome>) -> Vec<Block> {
    let mut blocks: BTreeMap<(String, u64), Block> = BTreeMap::new();
    for load in loads {
        let instance = plan.loads.get(load.load as usize).map(|load| load.instance.clone());
        let instance = instance.unwrap_or_default();
        for block in load.blocks {
            let key = (instance.clone(), block.height);
            match blocks.get_mut(&key) {
                Some(known) => join(known, &block),
                None => drop(blocks.insert(key, block)),
            }
        }
    }
    let several = plan.instances.len() > 1;
    let mut blocks: Vec<Block> = blocks.into_values().collect();
    if several {
        blocks.sort_by_key(|block| (block.at_ms, block.height));
    }
    blocks
}

/// Two loads' views of one block.
fn join(known: &mut Block, other: &Block) {
    known.at_ms = known.at_ms.min(other.at_ms);
    known.ok += other.ok;
    known.transactions = known.transactions.max(other.transactions).max(known.ok);
    known.latency = Counts::merged([&known.latency, &other.latency]);
}
