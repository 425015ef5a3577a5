//! Temporary.
use crate::{load::LoadOutcome, record::RecordParts};
use regatta_report::{
    RunRecord,
    model::{self, Disclosure},
};
pub(crate) fn host_disclosure(_: &std::path::Path) -> Vec<Disclosure> {
    Vec::new()
}
pub(crate) fn hlog_write(_: &std::path::Path, _: &LoadOutcome) -> std::io::Result<()> {
    Ok(())
}
pub(crate) fn assemble(parts: RecordParts<'_>) -> RunRecord {
    let mut record = RunRecord {
        identity: parts.identity,
        phases: parts.phases,
        events: parts.events,
        files: parts.files,
        partial: parts.partial,
        failure: parts.failure,
        ..RunRecord::default()
    };
    for node in &parts.plan.nodes {
        record.nodes.push(model::Node {
            name: node.name.clone(),
            address: node.address.to_string(),
            ..model::Node::default()
        });
    }
    if let Some(load) = parts.loads.into_iter().next() {
        record.accounting = load.tally.measure.to_accounting();
        record.latency = load.latency;
        record.seconds = load.seconds;
        record.blocks = load.blocks;
    }
    record.processes = parts.samples.processes;
    record.invariants = parts.invariants;
    record
}
