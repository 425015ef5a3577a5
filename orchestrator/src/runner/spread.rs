//! How decisions spread: when each node told of each block, compared on the clock that all processes of a host share.

use crate::load::{Endpoint, RunClock};
use futures::{StreamExt, stream};
use regatta_base::{Height, InstanceId};
use regatta_client::Client;
use regatta_plan::Plan;
use regatta_report::{Counts, model::Spread};
use std::{collections::BTreeMap, ops::Range, time::Duration};

/// Nodes that are asked at the same time.
const ASKED_AT_ONCE: usize = 32;
/// Times of one answer.
const TIMES: usize = 1000;
/// How long a node may take to answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// Decimal digits that are kept of a time.
const DIGITS: u32 = 3;

/// When one node told of its blocks: nanoseconds by height.
type Told = BTreeMap<Height, u64>;

/// Asks the nodes at `endpoints` about the blocks of `window`, in milliseconds of the run's clock. None where nodes have no
/// clock in common, or told of no block of the window together.
pub(super) async fn measure(
    plan: &Plan,
    endpoints: &[Endpoint],
    clock: RunClock,
    window: Range<u64>,
) -> Option<Spread> {
    if !plan.provider.is_on_this_machine() {
        return None;
    }
    let window = clock.monotonic_at(window.start)..clock.monotonic_at(window.end);
    let (mut each, mut last) = (Vec::new(), Vec::new());
    let mut spread = Spread::default();
    for instance in &plan.instances {
        let id: InstanceId = instance.id.parse().ok()?;
        let runs = |endpoint: &&Endpoint| plan.node(&endpoint.name).is_some_and(|node| instance.runs(node.index));
        let told: Vec<Told> = stream::iter(endpoints.iter().filter(runs))
            .map(|endpoint| ask(Client::new(endpoint.http).with_instance(id.clone())))
            .buffered(ASKED_AT_ONCE)
            .collect()
            .await;
        let told: Vec<Told> = told.into_iter().filter(|told| !told.is_empty()).collect();
        let blocks = compare(&told, &window);
        if !blocks.is_empty() {
            spread.nodes += told.len() as u64;
        }
        spread.blocks += blocks.len() as u64;
        last.extend(blocks.iter().filter_map(|block| block.last().copied()));
        each.extend(blocks.into_iter().flatten());
    }
    (spread.blocks > 0).then(|| Spread {
        each: Counts::of_values(each, DIGITS),
        last: Counts::of_values(last, DIGITS),
        ..spread
    })
}

/// All times that a node still knows. One that does not answer is left out: what the spread says is of those that do.
async fn ask(client: Client) -> Told {
    let mut told = Told::new();
    let mut from = 1;
    while let Ok(Ok(answer)) = tokio::time::timeout(DEADLINE, client.block_times(from, TIMES)).await {
        let Some(&(height, _)) = answer.times.last() else { break };
        if height < from {
            break;
        }
        from = height + 1;
        told.extend(answer.times);
    }
    told
}

/// For each block of the window that all nodes told of, microseconds from the first node to each other one, ascending.
fn compare(told: &[Told], window: &Range<u64>) -> Vec<Vec<u64>> {
    let [one, others @ ..] = told else {
        return Vec::new();
    };
    let block = |(height, at): (&Height, &u64)| {
        let mut times: Vec<u64> = others
            .iter()
            .map(|other| other.get(height).copied())
            .collect::<Option<_>>()?;
        times.push(*at);
        times.sort_unstable();
        let (first, rest) = times.split_first()?;
        let micros = rest.iter().map(|time| (time - first) / 1000).collect();
        window.contains(first).then_some(micros)
    };
    if others.is_empty() {
        return Vec::new();
    }
    one.iter().filter_map(block).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(times: &[(Height, u64)]) -> Told {
        times
            .iter()
            .map(|&(height, millis)| (height, millis * 1_000_000))
            .collect()
    }

    #[test]
    fn only_blocks_of_the_window_that_all_told_of_are_compared() {
        let nodes = [
            told(&[(1, 10), (2, 20), (3, 31), (4, 40)]),
            told(&[(1, 11), (2, 22), (3, 30)]),
            told(&[(2, 25), (3, 37), (4, 41)]),
        ];
        let window = 20_000_000..1_000_000_000;
        assert_eq!(compare(&nodes, &window), [[2000, 5000], [1000, 7000]]);
        assert_eq!(compare(&nodes, &(30_000_000..31_000_000)), [[1000, 7000]]);
        assert_eq!(
            compare(&nodes[..1], &window),
            Vec::<Vec<u64>>::new(),
            "one node spreads nothing"
        );
        assert_eq!(compare(&[], &window), Vec::<Vec<u64>>::new());
    }
}
