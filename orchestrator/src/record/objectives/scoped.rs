//! Objectives on the time outside faults, during them, or after them.

use super::objective;
use regatta_plan::{Comparison, Metric, Scope, objective::Objective as Planned};
use regatta_report::{
    Counts, RunRecord, format,
    model::{Block, Event, EventKind, Objective, PhaseKind},
    result::{Recovery, Summary},
};
use std::collections::BTreeMap;

/// Milliseconds from the first number to the second.
type Span = (u64, u64);

/// Judges an objective on one part of the measuring window.
pub(super) fn judge(planned: &Planned, record: &RunRecord, summary: &Summary) -> Option<Objective> {
    let spans = spans(record, planned.scope);
    let seconds = spans.iter().map(|(from, to)| to - from).sum::<u64>() as f64 / 1000.0;
    let inside = |block: &&Block| spans.iter().any(|(from, to)| (*from..*to).contains(&block.at_ms));
    let blocks: Vec<&Block> = record.blocks.iter().filter(inside).collect();
    let latency = Counts::merged(blocks.iter().map(|block| &block.latency));
    let rate = (seconds > 0.0).then(|| blocks.iter().map(|block| block.ok).sum::<u64>() as f64 / seconds);
    let quantile = |q: f64| latency.quantile(q).map(|us| us as f64 / 1000.0);
    let milliseconds = |value: f64| format::duration_us(value * 1000.0);
    let (value, show): (Option<f64>, &dyn Fn(f64) -> String) = match planned.metric {
        Metric::Stall => (stall(record, planned.scope), &milliseconds),
        Metric::LatencyP50 => (quantile(0.5), &milliseconds),
        Metric::LatencyP90 => (quantile(0.9), &milliseconds),
        Metric::LatencyP99 => (quantile(0.99), &milliseconds),
        Metric::LatencyP999 => (quantile(0.999), &milliseconds),
        Metric::GoodputRate => (rate, &|rate| format!("{} tx/s", format::number(rate))),
        Metric::Goodput => {
            let offered = Some(summary.offered_per_s).filter(|offered| *offered > 0.0);
            (
                rate.zip(offered).map(|(rate, offered)| rate / offered),
                &format::percent,
            )
        }
        _ => return None,
    };
    let which = match planned.scope {
        Scope::OutsideFaults => "outside faults",
        Scope::DuringFaults => "during faults",
        Scope::All => "in all",
    };
    let evidence = format!(
        "{seconds:.1} s {which}, {}, {}",
        format::plural(blocks.len() as u64, "block"),
        format::plural(latency.total(), "transaction")
    );
    let judged = match value.filter(|_| seconds > 0.0) {
        Some(value) => objective(planned, show(value), planned.is_met_by(value)),
        None => objective(planned, "not measured".to_owned(), None),
    };
    Some(Objective { evidence, ..judged })
}

fn faults(record: &RunRecord) -> impl Iterator<Item = &Event> {
    record.events.iter().filter(|event| event.kind == EventKind::Fault)
}

/// The parts of the measuring window that count, by the times at which faults were observed.
fn spans(record: &RunRecord, scope: Scope) -> Vec<Span> {
    let Some(window) = record.phases.iter().find(|phase| phase.kind == PhaseKind::Measure) else {
        return Vec::new();
    };
    let mut under: Vec<Span> = faults(record)
        .map(|fault| (fault.start_ms.max(window.start_ms), fault.end_ms.min(window.end_ms)))
        .filter(|(from, to)| from < to)
        .collect();
    under.sort_unstable();
    let (mut during, mut outside, mut free) = (Vec::new(), Vec::new(), window.start_ms);
    for (from, to) in under {
        if from > free {
            outside.push((free, from));
        }
        let from = from.max(free);
        if to > from {
            during.push((from, to));
        }
        free = free.max(to);
    }
    outside.extend((free < window.end_ms).then_some((free, window.end_ms)));
    match scope {
        Scope::All => vec![(window.start_ms, window.end_ms)],
        Scope::OutsideFaults => outside,
        Scope::DuringFaults => during,
    }
}

/// The longest time in the measure phase without a new block, in milliseconds: of those that no fault touches, or of those
/// that one does, if so wanted. Of several instances that of the worst one.
pub(super) fn stall(record: &RunRecord, scope: Scope) -> Option<f64> {
    let window = record.phases.iter().find(|phase| phase.kind == PhaseKind::Measure)?;
    let mut times: BTreeMap<&str, Vec<u64>> = record
        .instances
        .iter()
        .map(|instance| (instance.id.as_str(), Vec::new()))
        .collect();
    if times.is_empty() {
        times.insert("", Vec::new());
    }
    for block in &record.blocks {
        if (window.start_ms..window.end_ms).contains(&block.at_ms) {
            times.entry(&block.instance).or_default().push(block.at_ms);
        }
    }
    let longest = times.into_values().map(|mut times| {
        times.extend([window.start_ms, window.end_ms]);
        times.sort_unstable();
        let under_fault = |from: u64, to: u64| faults(record).any(|fault| fault.start_ms < to && fault.end_ms > from);
        let gaps = times.windows(2).filter(|gap| match scope {
            Scope::All => true,
            Scope::OutsideFaults => !under_fault(gap[0], gap[1]),
            Scope::DuringFaults => under_fault(gap[0], gap[1]),
        });
        gaps.map(|gap| (gap[1] - gap[0]) as f64).reduce(f64::max)
    });
    longest.flatten().reduce(f64::max)
}

/// Judges the worst of what followed each fault. A fault after which it did not come in the time that was watched counts
/// as that time or more; when that does not settle it, the fault is left out, and the evidence says so.
pub(super) fn after_faults(planned: &Planned, summary: &Summary, time: impl Fn(&Recovery) -> Option<u64>) -> Objective {
    let all = &summary.recoveries;
    let allows_more = matches!(planned.comparison, Comparison::Above | Comparison::AtLeast);
    let settled = |recovery: &&Recovery| time(recovery).is_some() || recovery.watched_ms as f64 >= planned.bound;
    let judged: Vec<&Recovery> = all.iter().filter(settled).collect();
    let value = |recovery: &Recovery| time(recovery).map_or((true, recovery.watched_ms), |ms| (false, ms));
    let Some(worst) = judged.iter().max_by_key(|recovery| value(recovery)) else {
        let observed = if all.is_empty() {
            "no fault ended before the load"
        } else {
            "too soon to tell"
        };
        return objective(planned, observed.to_owned(), None);
    };
    let shown = |ms: u64| format::duration_us(ms as f64 * 1000.0);
    let (observed, met) = match time(worst) {
        Some(ms) => (shown(ms), planned.is_met_by(ms as f64)),
        None => (format!("not within {}", shown(worst.watched_ms)), Some(allows_more)),
    };
    let of = format::plural(all.len() as u64, "fault");
    Objective {
        evidence: format!("after {} of {of}, worst after `{}`", judged.len(), worst.fault),
        ..objective(planned, observed, met)
    }
}
