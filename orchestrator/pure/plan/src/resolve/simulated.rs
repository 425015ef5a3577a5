//! The machines and links that the `sim` provider plays nodes on.

use super::Draft;
use crate::{
    PlannedWorld, defaults,
    scenario::{Link, ProviderKind},
    units::Ratio,
};
use std::collections::BTreeSet;

/// The simulated world of a scenario; none where nodes are real.
pub(super) fn world(draft: &Draft<'_>) -> Option<PlannedWorld> {
    let scenario = draft.scenario;
    let provider = &scenario.provider;
    if provider.kind != ProviderKind::Sim {
        return None;
    }
    let link = scenario.link.clone().unwrap_or_default();
    let regions: BTreeSet<String> = draft
        .nodes
        .iter()
        .map(|node| node.region.clone().unwrap_or_default())
        .collect();
    let row = |from: &String| regions.iter().map(|to| delay_ns(&link, from, to)).collect();
    Some(PlannedWorld {
        delay_ns: regions.iter().map(row).collect(),
        // A loopback interface wakes its readers sooner or later; emulated links vary only as they are told to.
        jitter_ppm: match (link.jitter, link.matrix.is_empty()) {
            (None, true) => ppm(Some(defaults::SIMULATED_JITTER)),
            (jitter, _) => ppm(jitter),
        },
        loss_ppm: ppm(link.loss),
        reorder_ppm: ppm(link.reorder),
        duplicate_ppm: ppm(link.duplicate),
        rate_bits: link.rate.map(|rate| rate.0),
        cores: provider.cores.unwrap_or(defaults::SIMULATED_CORES),
        shared: provider.shared.unwrap_or(false),
        flush_ns: provider.flush.unwrap_or(defaults::SIMULATED_FLUSH).0,
        regions: regions.into_iter().collect(),
    })
}

fn delay_ns(link: &Link, from: &str, to: &str) -> u64 {
    let (there, back) = (format!("{from}-{to}"), format!("{to}-{from}"));
    let between = link.matrix.get(&there).or_else(|| link.matrix.get(&back));
    let found = if from == to { None } else { between };
    let found = found.or_else(|| link.matrix.get("self"));
    found.copied().unwrap_or(defaults::SIMULATED_HOP).0
}

/// A share in millionths.
fn ppm(ratio: Option<Ratio>) -> u32 {
    (ratio.map_or(0.0, |ratio| ratio.0) * 1e6).round().clamp(0.0, 1e6) as u32
}
