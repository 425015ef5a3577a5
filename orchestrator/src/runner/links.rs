//! Attestation: whether the links between namespaces are as the scenario asks, before, during and after the load.

use super::live::Live;
use crate::{
    cluster::Cluster,
    provider::{Probe, attested_model},
};
use rand::seq::SliceRandom;
use regatta_link::{Model, Observed, Open, Rate, Wanted};
use regatta_plan::{Plan, PlannedLinks};
use regatta_report::model::LinkProbe;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Most pairs that are measured in one go, and most of those whose directions have conditions of their own: these come
/// before all others, of which at least one is left to compare with.
const PAIRS_MAX: usize = 8;
const OWN_MAX: usize = 16;
/// What one measurement beside a load takes, and the least time between two of them, in milliseconds.
const MEASURING_MS: u64 = 500;
const PAUSE_MS: u64 = 1000;
/// Most measurements beside a load.
const MEASUREMENTS_MAX: u64 = 400;
/// Each direction that is measured beside a load gets this many turns, so that its packets are enough to judge losses.
const TURNS: u64 = 4;
/// A rate beside a load is judged by the middle one of this many bursts: one alone is easily disturbed.
const BURSTS: usize = 3;
/// After a fault of links packets may arrive late for as long as it delayed them, and for this long, in milliseconds.
const SETTLE_MS: u64 = 1000;

/// When links were measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    Before,
    During,
    Throughout,
    After,
}

impl Moment {
    fn name(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::During => "during",
            Self::Throughout => "throughout",
            Self::After => "after",
        }
    }
}

/// Measures the sampled pairs of `plan` in both directions; nothing where links are not emulated.
pub(super) async fn attest(cluster: &Arc<Cluster>, live: &Arc<Live>, moment: Moment) {
    let plan = cluster.shared_plan();
    let Some(links) = plan.links.as_ref().filter(|links| !links.is_plain()) else {
        return;
    };
    let probes = probes(plan, links, false);
    let at_ms = live.clock.now_ms();
    let observed = observe(cluster, probes.clone()).await;
    for (probe, observed) in probes.iter().zip(&observed) {
        live.links.measured(row(plan, probe, observed, (at_ms, moment)));
    }
}

/// Measures one direction after the other, lightly, until the task is ended. Those that a fault changes are left out.
pub(super) async fn keep_attesting(cluster: Arc<Cluster>, live: Arc<Live>) {
    let plan = cluster.shared_plan();
    let Some(links) = plan.links.as_ref().filter(|links| !links.is_plain()) else {
        return;
    };
    let all = probes(plan, links, true);
    let turns = sampled(plan, &all);
    live.links.beside_load(|beside| {
        (beside.directions, beside.of_directions) = (turns.len() as u64, all.len() as u64);
    });
    let pause = Duration::from_millis(turn_ms(plan).saturating_sub(MEASURING_MS));
    let mut rates: BTreeMap<(u32, u32), Vec<Rate>> = BTreeMap::new();
    for probe in turns.iter().cycle() {
        tokio::time::sleep(pause).await;
        let at_ms = live.clock.now_ms();
        let is_disturbed = |since_ms| {
            let faults = live.open_faults();
            let is_faulty = |(from, to)| {
                faults.iter().any(|fault| fault.covers(from, to)) || live.links.was_faulty((from, to), since_ms)
            };
            is_faulty((probe.from, probe.to)) || is_faulty((probe.to, probe.from))
        };
        let mut observed = None;
        if !is_disturbed(at_ms.saturating_sub(SETTLE_MS)) {
            observed = observe(&cluster, vec![*probe]).await.pop();
        }
        // A fault that began meanwhile is what was measured then.
        let Some(mut observed) = observed.filter(|_| !is_disturbed(at_ms)) else {
            live.links.beside_load(|beside| beside.left_out += 1);
            continue;
        };
        let known = rates.entry((probe.from, probe.to)).or_default();
        known.push(observed.rate);
        observed.rate = Rate::middle(known, BURSTS);
        live.links
            .measured(row(plan, probe, &observed, (at_ms, Moment::During)));
        let (packets, bytes) = probe.cost();
        live.links.beside_load(|beside| {
            beside.measurements += 1;
            beside.packets += packets;
            beside.bytes += bytes;
        });
    }
}

/// Judges the packets of all measurements beside the load together, direction by direction: enough for losses, where those
/// of one measurement are not.
pub(super) fn conclude(cluster: &Arc<Cluster>, live: &Arc<Live>) {
    let plan = cluster.shared_plan();
    let Some(links) = &plan.links else { return };
    let at_ms = live.clock.now_ms();
    for probe in probes(plan, links, true) {
        let (from, to) = (plan.name_at(probe.from), plan.name_at(probe.to));
        let of = live
            .links
            .like(|row| row.moment == Moment::During.name() && row.from == from && row.to == to);
        if of.is_empty() {
            continue;
        }
        let sum = |count: fn(&LinkProbe) -> u64| of.iter().map(count).sum();
        let together = Observed {
            sent: sum(|row| row.sent),
            received: sum(|row| row.received),
            queued_out: sum(|row| row.queued_out),
            ..Observed::default()
        };
        live.links
            .measured(row(plan, &probe, &together, (at_ms, Moment::Throughout)));
    }
}

/// What `probes` find. What could not be measured was not shown to be in place: nothing observed counts as wrong.
async fn observe(cluster: &Arc<Cluster>, probes: Vec<Probe>) -> Vec<Observed> {
    let (worker, count) = (Arc::clone(cluster), probes.len());
    let measured = tokio::task::spawn_blocking(move || worker.attest(&probes)).await;
    let mut observed = measured.ok().and_then(Result::ok).unwrap_or_default();
    observed.resize_with(count, Observed::default);
    observed
}

/// From one measurement beside the load to the next, in milliseconds.
fn turn_ms(plan: &Plan) -> u64 {
    (plan.phases.measure_ms / MEASUREMENTS_MAX).max(MEASURING_MS + PAUSE_MS)
}

/// The directions of `all` that take turns beside the load: as many pairs as get enough turns, drawn from the seed. Those
/// whose directions have conditions of their own come first.
fn sampled(plan: &Plan, all: &[Probe]) -> Vec<Probe> {
    let is_own = |pair: &&[Probe]| {
        let directions = plan.links.iter().flat_map(|links| &links.directions);
        let mut covering = directions.filter(|own| pair.iter().any(|probe| own.covers(probe.from, probe.to)));
        covering.next().is_some()
    };
    let (mut own, mut common): (Vec<&[Probe]>, Vec<&[Probe]>) = all.chunks(2).partition(is_own);
    let mut rng = regatta_base::seed::rng(plan.seed, "attestation");
    own.shuffle(&mut rng);
    common.shuffle(&mut rng);
    let pairs = (plan.phases.measure_ms / turn_ms(plan) / TURNS / 2).max(1) as usize;
    own.into_iter().chain(common).take(pairs).flatten().copied().collect()
}

/// A pair for each two regions that have one, linked where possible, and for each other way in which directions have
/// conditions of their own; both directions.
fn probes(plan: &Plan, links: &PlannedLinks, light: bool) -> Vec<Probe> {
    let model = attested_model(plan, links);
    let classes = classes(&model);
    // Pairs whose directions have conditions of their own come first, and none of them is left out for others.
    let mut pairs: BTreeMap<(bool, usize, usize), (u32, u32)> = BTreeMap::new();
    let nodes = || 0..plan.places() as u32;
    let others = nodes().flat_map(|a| nodes().filter(move |&b| a < b).map(move |b| (a, b)));
    for (a, b) in plan.edges.iter().copied().chain(others) {
        let (x, y) = (classes[a as usize], classes[b as usize]);
        let is_common = !model.directions.iter().any(|own| own.covers(a, b) || own.covers(b, a));
        pairs.entry((is_common, x.min(y), x.max(y))).or_insert((a, b));
    }
    let (own, common): (Vec<_>, Vec<_>) = pairs.into_iter().partition(|((is_common, ..), _)| !is_common);
    let room = PAIRS_MAX.saturating_sub(own.len()).max(1);
    let (own_step, step) = (own.len().div_ceil(OWN_MAX).max(1), common.len().div_ceil(room).max(1));
    let probe = |from, to| Probe {
        from,
        to,
        wanted: Wanted::of(&model, from, to),
        light,
    };
    let chosen = own
        .into_iter()
        .step_by(own_step)
        .chain(common.into_iter().step_by(step));
    chosen.flat_map(|(_, (a, b))| [probe(a, b), probe(b, a)]).collect()
}

/// The class of each place: those of one region and at the same ends of the same directions have the same links.
fn classes(model: &Model) -> Vec<usize> {
    let mut known: BTreeMap<(usize, Vec<(bool, bool)>), usize> = BTreeMap::new();
    let place = |(place, region): (u32, &usize)| {
        let ends = model.directions.iter().map(|own| own.ends_at(place)).collect();
        let next = known.len();
        *known.entry((*region, ends)).or_insert(next)
    };
    (0..).zip(&model.regions).map(place).collect()
}

fn row(plan: &Plan, probe: &Probe, observed: &Observed, (at_ms, moment): (u64, Moment)) -> LinkProbe {
    let name = |place: u32| plan.name_at(place).to_owned();
    let micros = |nanos: u64| nanos as f64 / 1e3;
    let wanted = &probe.wanted;
    let judged = observed.judge(wanted);
    let (least, most) = match observed.rate {
        Rate::Between(least, most) => (Some(least), Some(most)),
        _ => (None, None),
    };
    // Losses beside the load are judged by all measurements together.
    let is_open = |open: &&Open| moment != Moment::During || **open != Open::FewPackets;
    LinkProbe {
        at_ms,
        moment: moment.name().to_owned(),
        from: name(probe.from),
        to: name(probe.to),
        wanted_delay_us: micros(wanted.path.delay_ns),
        delay_us: observed.delay_ns().map(micros),
        wanted_round_trip_us: micros(wanted.round_trip_ns()),
        round_trip_us: observed.round_trip_ns().map(micros),
        wanted_loss: f64::from(wanted.path.loss_ppm) / 1e6,
        sent: observed.sent,
        received: observed.received,
        queued_out: observed.queued_out,
        wanted_rate_bits: wanted.rate_bits,
        rate_bits: least,
        rate_bits_max: most,
        error: judged.error,
        not_judged: judged.open.iter().filter(is_open).map(Open::to_string).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::plan;
    use regatta_plan::PlannedDirection;

    #[test]
    fn every_pair_of_regions_is_sampled_in_both_directions() {
        let mut plan = plan(6);
        for (node, region) in plan.nodes.iter_mut().zip(["ap", "eu", "us"].iter().cycle()) {
            node.region = Some((*region).to_owned());
        }
        let links = PlannedLinks {
            regions: ["ap", "eu", "us"].map(str::to_owned).to_vec(),
            delay_ns: vec![vec![1, 2, 3], vec![4, 5, 6], vec![7, 8, 9]],
            ..crate::testing::links()
        };
        let probes = probes(&plan, &links, false);
        assert_eq!(probes.len(), 12);
        let mut delays: Vec<u64> = probes.iter().map(|probe| probe.wanted.path.delay_ns).collect();
        delays.sort_unstable();
        assert_eq!(delays, [1, 1, 2, 3, 4, 5, 5, 6, 7, 8, 9, 9]);
    }

    #[test]
    fn directions_of_their_own_are_sampled_beside_all_others() {
        let plan = plan(40);
        let own = |from: &[u32], to: &[u32], delay_ns, rate_bits| PlannedDirection {
            from: from.to_vec(),
            to: to.to_vec(),
            delay_ns,
            rate_bits,
            ..PlannedDirection::default()
        };
        let links = PlannedLinks {
            directions: vec![
                own(&[38], &[39], Some(7), None),
                own(&[20, 21], &[22, 23], None, Some(9)),
            ],
            ..crate::testing::links()
        };
        let probes = probes(&plan, &links, false);
        let of = |from, to| {
            let found = probes.iter().find(|probe| (probe.from, probe.to) == (from, to));
            found.map(|probe| (probe.wanted.path.delay_ns, probe.wanted.rate_bits))
        };
        assert_eq!((of(38, 39), of(39, 38)), (Some((7, None)), Some((0, None))));
        assert_eq!((of(20, 22), of(22, 20)), (Some((0, Some(9))), Some((0, None))));
        assert!(probes.len() > 4 && probes.len() <= 2 * PAIRS_MAX, "{probes:?}");
    }

    #[test]
    fn a_few_pairs_are_drawn_from_the_seed_and_own_directions_come_first() {
        let mut plan = plan(40);
        let regions = ["ap", "eu", "us"].map(str::to_owned).to_vec();
        for (node, region) in plan.nodes.iter_mut().zip(regions.iter().cycle()) {
            node.region = Some(region.clone());
        }
        let links = PlannedLinks {
            regions,
            delay_ns: vec![vec![1; 3]; 3],
            directions: vec![PlannedDirection {
                from: vec![38],
                to: vec![39],
                delay_ns: Some(7),
                ..PlannedDirection::default()
            }],
            ..crate::testing::links()
        };
        let all = probes(&plan, &links, true);
        plan.links = Some(links);
        plan.phases.measure_ms = 30_000;
        let ends = |plan: &Plan| -> Vec<(u32, u32)> {
            let turns = sampled(plan, &all);
            turns.iter().map(|probe| (probe.from, probe.to)).collect()
        };
        let turns = ends(&plan);
        assert_eq!((turns.len(), &turns[..2]), (4, &[(38, 39), (39, 38)][..]));
        assert_eq!((turns[2].0, turns[2].1), (turns[3].1, turns[3].0), "both ways");
        assert_eq!(ends(&plan), turns);
        let others = (0..50).filter(|&seed| {
            plan.seed = seed;
            ends(&plan) != turns
        });
        assert!(others.count() > 10, "the seed decides");
        plan.phases.measure_ms = 1000;
        assert_eq!(ends(&plan).len(), 2);
        plan.phases.measure_ms = 3_600_000;
        assert_eq!(ends(&plan).len(), all.len());
    }
}
