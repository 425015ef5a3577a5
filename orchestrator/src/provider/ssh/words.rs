//! What is told of hosts, in words for the report.

use crate::fleet::HostClient;
use regatta_fleet::ClockBounds;
use regatta_report::format;
use std::{collections::BTreeMap, sync::Arc};

/// What hosts say of control groups of nodes, with the host, or how many hosts, that say so.
pub(super) fn groups_in_words<'a>(clients: impl Iterator<Item = &'a Arc<HostClient>>) -> Vec<(String, String)> {
    let mut said: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for client in clients {
        let names = said.entry(client.hello().facts.groups).or_default();
        names.push(client.target().name.clone());
    }
    let of = |names: Vec<String>| match names.len() {
        1 => names.concat(),
        more => format!("{more} hosts"),
    };
    said.into_iter().map(|(words, names)| (words, of(names))).collect()
}

pub(super) fn facts_text(client: &HostClient) -> String {
    let facts = client.hello().facts;
    let bytes = |bytes: u64| format::bytes(bytes as f64);
    format!(
        "{} ({}), {} cores, {} of {} memory free, {} disk free, clock {}",
        facts.cpu_model,
        facts.kernel,
        facts.cores,
        bytes(facts.memory_available_bytes),
        bytes(facts.memory_bytes),
        bytes(facts.disk_free_bytes),
        facts.clock_source
    )
}

/// Bounds between two clocks in words. Clocks count from the start of each machine, so only the width is of use.
pub(super) fn clock_text(bounds: ClockBounds, steps: u32) -> String {
    let known = match bounds {
        ClockBounds::UNKNOWN => "not known".to_owned(),
        bounds => format!("known to ± {} µs", format::integer(bounds.half_width_us())),
    };
    match steps {
        0 => known,
        steps => format!("{known}; one of the two stepped {steps} times"),
    }
}
