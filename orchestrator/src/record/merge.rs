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
                None => {
                    let instance = instance.clone();
                    blocks.insert(key, Block { instance, ..block });
                }
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A load with blocks at these heights, each with some latencies.
    fn load(index: u32, blocks: &[(u64, Vec<u64>)]) -> LoadOutcome {
        let block = |(height, micros): &(u64, Vec<u64>)| Block {
            instance: String::new(),
            height: *height,
            at_ms: height * 50 + u64::from(index),
            transactions: micros.len() as u64,
            ok: micros.len() as u64,
            latency: Counts::of_values(micros.iter().copied(), 3),
        };
        let second = |(height, micros): &(u64, Vec<u64>)| Second {
            second: *height as u32,
            intended: micros.len() as u64,
            ..Second::default()
        };
        let interval = |(height, micros): &(u64, Vec<u64>)| Interval {
            second: *height as u32,
            counts: Counts::of_values(micros.iter().copied(), 3),
        };
        let set = HistogramSet {
            overall: Counts::of_values(blocks.iter().flat_map(|(_, micros)| micros.iter().copied()), 3),
            intervals: blocks.iter().map(interval).collect(),
        };
        LoadOutcome {
            load: index,
            blocks: blocks.iter().map(block).collect(),
            seconds: blocks.iter().map(second).collect(),
            latency: Latency {
                response: set,
                ..Latency::default()
            },
            ..LoadOutcome::default()
        }
    }

    fn blocks_strategy() -> impl Strategy<Value = Vec<(u64, Vec<u64>)>> {
        let micros = proptest::collection::vec(1u64..1_000_000, 0..5);
        proptest::collection::btree_map(0u64..12, micros, 0..8).prop_map(|blocks| blocks.into_iter().collect())
    }

    fn plan() -> Plan {
        super::super::tests::plan()
    }

    proptest! {
        #[test]
        fn merging_loses_nothing_and_keeps_the_order(first in blocks_strategy(), second in blocks_strategy()) {
            let count = |blocks: &[(u64, Vec<u64>)]| blocks.iter().map(|(_, micros)| micros.len() as u64).sum::<u64>();
            let total = count(&first) + count(&second);
            let loads = vec![load(0, &first), load(1, &second)];
            let merged = latency(&loads).response;
            prop_assert_eq!(merged.overall.total(), total);
            prop_assert_eq!(merged.intervals.iter().map(|i| i.counts.total()).sum::<u64>(), total);
            prop_assert!(merged.intervals.windows(2).all(|pair| pair[0].second < pair[1].second));
            let all = seconds(&loads);
            prop_assert_eq!(all.iter().map(|second| second.intended).sum::<u64>(), total);
            prop_assert!(all.iter().enumerate().all(|(index, second)| second.second as usize == index));
            let merged = blocks(&plan(), loads);
            prop_assert_eq!(merged.iter().map(|block| block.ok).sum::<u64>(), total);
            prop_assert_eq!(merged.iter().map(|block| block.latency.total()).sum::<u64>(), total);
            prop_assert!(merged.windows(2).all(|pair| pair[0].height < pair[1].height));
            prop_assert!(merged.iter().all(|block| block.transactions >= block.ok));
        }
    }

    #[test]
    fn equal_heights_of_two_instances_are_two_blocks() {
        let mut plan = plan();
        let mut other = plan.instances[0].clone();
        other.id = "side".to_owned();
        plan.instances.push(other);
        plan.loads[1].instance = "side".to_owned();
        let loads = vec![load(0, &[(1, vec![5]), (2, vec![5])]), load(1, &[(1, vec![5])])];
        let order: Vec<(u64, u64)> = blocks(&plan, loads)
            .iter()
            .map(|block| (block.height, block.at_ms))
            .collect();
        assert_eq!(order, [(1, 50), (1, 51), (2, 100)]);
    }
}
