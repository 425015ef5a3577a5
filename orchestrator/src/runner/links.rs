//! Attestation: whether the links between namespaces are as the scenario asks, before, during and after the load.

use super::live::Live;
use crate::{
    cluster::Cluster,
    provider::{Probe, attested_model},
};
use regatta_link::{Model, Observed, Wanted};
use regatta_plan::{Plan, PlannedLinks};
use regatta_report::model::LinkProbe;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Most pairs that are measured in one go, and most of those whose directions have conditions of their own: these come
/// before all others, of which at least one is left to compare with.
const PAIRS_MAX: usize = 8;
const OWN_MAX: usize = 16;
/// Time between two measurements beside a load.
const INTERVAL: Duration = Duration::from_secs(3);

/// When links were measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    Before,
    During,
    After,
}

impl Moment {
    fn name(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::During => "during",
            Self::After => "after",
        }
    }
}

/// Measures the sampled pairs of `plan` in both directions; nothing where links are not emulated.
pub(super) async fn attest(cluster: &Arc<Cluster>, live: &Arc<Live>, moment: Moment) {
    let plan = Arc::clone(cluster.shared_plan());
    let Some(links) = plan.links.as_ref().filter(|links| !links.is_plain()) else {
        return;
    };
    let probes = probes(&plan, links, moment == Moment::During);
    measure(cluster, live, probes, moment).await;
}

/// Measures one pair after the other, lightly, until the task is ended. Times under a fault are left out.
pub(super) async fn keep_attesting(cluster: Arc<Cluster>, live: Arc<Live>) {
    let plan = Arc::clone(cluster.shared_plan());
    let Some(links) = plan.links.as_ref().filter(|links| !links.is_plain()) else {
        return;
    };
    let all = probes(&plan, links, true);
    let mut turn = all.iter().cycle();
    loop {
        tokio::time::sleep(INTERVAL).await;
        let Some(probe) = turn.next() else { return };
        if live.open_faults().is_empty() {
            measure(&cluster, &live, vec![*probe], Moment::During).await;
        }
    }
}

async fn measure(cluster: &Arc<Cluster>, live: &Arc<Live>, probes: Vec<Probe>, moment: Moment) {
    let at_ms = live.clock.now_ms();
    let (worker, asked) = (Arc::clone(cluster), probes.clone());
    let measured = tokio::task::spawn_blocking(move || worker.attest(&asked)).await;
    // A fault that began meanwhile is what was measured then.
    if moment == Moment::During && !live.open_faults().is_empty() {
        return;
    }
    let plan = cluster.shared_plan();
    let observed = measured.ok().and_then(Result::ok).unwrap_or_default();
    for (position, probe) in probes.iter().enumerate() {
        // What could not be measured counts as wrong: it was not shown to be in place.
        let observed = observed.get(position).cloned().unwrap_or_default();
        live.link_measured(row(plan, probe, &observed, (at_ms, moment)));
    }
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

fn row(plan: &Plan, probe: &Probe, observed: &Observed, at: (u64, Moment)) -> LinkProbe {
    let name = |place: u32| plan.name_at(place).to_owned();
    let micros = |nanos: u64| nanos as f64 / 1e3;
    let wanted = &probe.wanted;
    let (at_ms, moment) = at;
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
        wanted_rate_bits: wanted.rate_bits,
        rate_bits: observed.rate,
        error: observed.error(wanted),
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
}
