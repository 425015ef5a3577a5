//! The machines and links that the `sim` provider plays nodes on.

use super::{
    Draft,
    links::{delay_ns, ppm, regions},
};
use crate::{PlannedWorld, defaults, scenario::ProviderKind};

/// The simulated world of a scenario; none where nodes are real.
pub(super) fn world(draft: &Draft<'_>) -> Option<PlannedWorld> {
    let scenario = draft.scenario;
    let provider = &scenario.provider;
    if provider.kind != ProviderKind::Sim {
        return None;
    }
    let link = scenario.link.clone().unwrap_or_default();
    let regions = regions(draft);
    let delay = |from: &String, to: &String| delay_ns(&link, from, to).unwrap_or(defaults::SIMULATED_HOP.0);
    let row = |from: &String| regions.iter().map(|to| delay(from, to)).collect();
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
        directions: draft.directions.clone(),
    })
}
