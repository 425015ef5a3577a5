//! The scenario's objectives, judged on what the run recorded.

mod scoped;

use regatta_plan::{Comparison, Metric, Plan, Scope, objective::Objective as Planned};
use regatta_report::{
    RunRecord, format,
    model::{Links, Objective, ProcessKind},
    objective::{Bound, Side, judge},
    result::Summary,
};

/// Judges every objective of the plan.
pub(super) fn judge_all(plan: &Plan, record: &RunRecord, summary: &Summary) -> Vec<Objective> {
    plan.objectives
        .iter()
        .map(|planned| judge_one(planned, record, summary))
        .collect()
}

fn judge_one(planned: &Planned, record: &RunRecord, summary: &Summary) -> Objective {
    let side = match planned.comparison {
        Comparison::Always => return invariant(planned, record),
        Comparison::Below => Side::Below,
        Comparison::AtMost => Side::AtMost,
        Comparison::Above => Side::Above,
        Comparison::AtLeast => Side::AtLeast,
    };
    let reported = match planned.metric {
        _ if planned.scope != Scope::All => scoped::judge(planned, record, summary),
        Metric::LatencyP50 | Metric::LatencyP90 | Metric::LatencyP99 | Metric::LatencyP999 => {
            bounded(planned, side, 1000.0, summary)
        }
        Metric::Goodput | Metric::GoodputRate => bounded(planned, side, 1.0, summary),
        Metric::FirstBlock => Some(scoped::after_faults(planned, summary, |recovery| {
            recovery.first_block_ms
        })),
        Metric::Recovery => Some(scoped::after_faults(planned, summary, |recovery| recovery.steady_ms)),
        _ => None,
    };
    reported.unwrap_or_else(|| own(planned, record, summary))
}

/// What the report judges itself, in its own unit.
fn bounded(planned: &Planned, side: Side, scale: f64, summary: &Summary) -> Option<Objective> {
    let bound = Bound {
        side,
        value: planned.bound * scale,
        text: planned.text.clone(),
    };
    judge(planned.metric.name(), &bound, summary)
}

/// An invariant holds or does not; of several instances all must.
fn invariant(planned: &Planned, record: &RunRecord) -> Objective {
    let name = planned.metric.name();
    let checked: Vec<bool> = record
        .invariants
        .iter()
        .filter(|invariant| invariant.name == name)
        .map(|invariant| invariant.holds)
        .collect();
    let met = (!checked.is_empty()).then(|| checked.iter().all(|holds| *holds));
    let observed = match met {
        Some(true) => "holds",
        Some(false) => "violated",
        None => "not checked",
    };
    objective(planned, observed.to_owned(), met)
}

fn objective(planned: &Planned, observed: String, met: Option<bool>) -> Objective {
    Objective {
        metric: planned.metric.name().to_owned(),
        wanted: planned.text.clone(),
        limit: None,
        observed,
        met,
        evidence: String::new(),
    }
}

/// What only the lab can judge, in the plan's unit.
fn own(planned: &Planned, record: &RunRecord, summary: &Summary) -> Objective {
    let milliseconds = |value: f64| format::duration_us(value * 1000.0);
    let (value, show): (Option<f64>, &dyn Fn(f64) -> String) = match planned.metric {
        Metric::Stall => (scoped::stall(record, Scope::All), &milliseconds),
        Metric::LagP99 => {
            let measured = !record.latency.lag.overall.is_empty();
            let lag = summary.generator.lag_p99_us as f64 / 1000.0;
            (measured.then_some(lag), &milliseconds)
        }
        Metric::Rejected => {
            let intended = record.accounting.intended;
            let share = summary.accounting.rejected as f64 / intended as f64;
            ((intended > 0).then_some(share), &format::percent)
        }
        Metric::Memory => (memory(record), &format::bytes),
        Metric::LinkError => (record.links.as_ref().and_then(Links::error), &format::percent),
        // Microseconds a transaction are milliseconds for a thousand.
        Metric::Cpu => (summary.cpu.map(|cpu| cpu.nodes_us_per_tx.value / 1000.0), &|seconds| {
            format!("{} s per 1,000 tx", format::number(seconds))
        }),
        _ => (None, &format::number),
    };
    match value {
        Some(value) => objective(planned, show(value), planned.is_met_by(value)),
        None => objective(planned, "not measured".to_owned(), None),
    }
}

/// The greatest resident memory of a node in bytes.
fn memory(record: &RunRecord) -> Option<f64> {
    let nodes = record
        .processes
        .iter()
        .filter(|process| process.kind == ProcessKind::Node);
    let samples = nodes.flat_map(|process| &process.samples);
    samples.map(|sample| sample.rss_bytes as f64).reduce(f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use regatta_report::model::{Block, Event, EventKind, Invariant, Phase, PhaseKind, Process, Sample};
    use regatta_report::{Counts, result::Recovery};

    fn planned(metric: Metric, comparison: Comparison, bound: f64) -> Planned {
        Planned {
            metric,
            comparison,
            bound,
            scope: Scope::All,
            text: "as written".to_owned(),
        }
    }

    /// Blocks each 100 ms from 1 s to 3 s, except between 2 s and 2.6 s, where there is a fault until 2.5 s.
    fn record() -> RunRecord {
        let times = (10..=20).chain(26..=30).map(|tenth| tenth * 100);
        RunRecord {
            phases: vec![Phase {
                kind: PhaseKind::Measure,
                start_ms: 1000,
                end_ms: 3100,
            }],
            blocks: times
                .map(|at_ms| Block {
                    at_ms,
                    ..Block::default()
                })
                .collect(),
            events: vec![Event {
                kind: EventKind::Fault,
                start_ms: 2050,
                end_ms: 2500,
                ..Event::default()
            }],
            ..RunRecord::default()
        }
    }

    fn met(planned: &Planned, record: &RunRecord) -> Option<bool> {
        judge_one(planned, record, &Summary::default()).met
    }

    #[test]
    fn a_stall_is_the_longest_gap_and_faults_can_be_left_out() {
        assert_eq!(scoped::stall(&record(), Scope::All), Some(600.0));
        assert_eq!(scoped::stall(&record(), Scope::OutsideFaults), Some(100.0));
        let mut objective = planned(Metric::Stall, Comparison::Below, 500.0);
        assert_eq!(met(&objective, &record()), Some(false));
        objective.scope = Scope::OutsideFaults;
        assert_eq!(met(&objective, &record()), Some(true));
        objective.scope = Scope::DuringFaults;
        assert_eq!(met(&objective, &record()), Some(false));
    }

    #[test]
    fn latency_and_goodput_are_told_apart_by_faults() {
        let mut record = record();
        for block in &mut record.blocks {
            let slow = block.at_ms == 2600;
            (block.ok, block.latency) = (5, Counts(vec![(if slow { 700_000 } else { 20_000 }, 5)]));
        }
        // The block at 2.6 s ends the time that the fault took.
        record.events[0].end_ms = 2650;
        let summary = Summary {
            offered_per_s: 50.0,
            ..Summary::default()
        };
        let judged = |metric, comparison, bound, scope| {
            let objective = Planned {
                scope,
                ..planned(metric, comparison, bound)
            };
            judge_one(&objective, &record, &summary)
        };
        let p99 = |scope| judged(Metric::LatencyP99, Comparison::Below, 100.0, scope);
        assert_eq!(p99(Scope::OutsideFaults).met, Some(true));
        assert_eq!(p99(Scope::DuringFaults).met, Some(false));
        assert_eq!(
            p99(Scope::DuringFaults).evidence,
            "0.6 s during faults, 1 block, 5 transactions"
        );
        let goodput = |scope| judged(Metric::Goodput, Comparison::AtLeast, 0.9, scope).met;
        assert_eq!(goodput(Scope::OutsideFaults), Some(true));
        assert_eq!(goodput(Scope::DuringFaults), Some(false));
        record.events.clear();
        assert_eq!(
            judge_one(
                &Planned {
                    scope: Scope::DuringFaults,
                    ..planned(Metric::LatencyP99, Comparison::Below, 100.0)
                },
                &record,
                &summary
            )
            .met,
            None,
            "there was no such time"
        );
    }

    #[test]
    fn what_follows_a_fault_is_judged_by_the_worst_of_them() {
        let recovery = |first, steady, watched_ms| Recovery {
            fault: "crash val-1".to_owned(),
            watched_ms,
            first_block_ms: first,
            steady_ms: steady,
            ..Recovery::default()
        };
        let judged = |metric, recoveries: &[Recovery]| {
            let summary = Summary {
                recoveries: recoveries.to_vec(),
                ..Summary::default()
            };
            judge_one(&planned(metric, Comparison::Below, 500.0), &record(), &summary)
        };
        let good = recovery(Some(100), Some(200), 9000);
        assert_eq!(judged(Metric::FirstBlock, std::slice::from_ref(&good)).met, Some(true));
        assert_eq!(
            judged(Metric::FirstBlock, &[good.clone(), recovery(Some(600), None, 900)]).met,
            Some(false)
        );
        let never = judged(Metric::Recovery, &[good.clone(), recovery(Some(100), None, 900)]);
        assert_eq!((never.met, never.observed.as_str()), (Some(false), "not within 900 ms"));
        // The next fault came too soon to tell.
        let soon = judged(Metric::Recovery, &[good, recovery(Some(100), None, 300)]);
        assert_eq!(
            (soon.met, soon.evidence.as_str()),
            (Some(true), "after 1 of 2 faults, worst after `crash val-1`")
        );
        assert_eq!(judged(Metric::Recovery, &[]).met, None);
    }

    #[test]
    fn without_blocks_the_whole_window_is_a_stall() {
        let mut record = record();
        record.blocks.clear();
        assert_eq!(scoped::stall(&record, Scope::All), Some(2100.0));
        assert_eq!(scoped::stall(&RunRecord::default(), Scope::All), None);
    }

    #[test]
    fn of_two_instances_the_worse_one_stalls() {
        let mut record = record();
        let instance = |id: &str| regatta_report::model::Instance {
            id: id.to_owned(),
            ..Default::default()
        };
        record.instances = vec![instance("a"), instance("b")];
        record
            .blocks
            .iter_mut()
            .for_each(|block| block.instance = "a".to_owned());
        assert_eq!(
            scoped::stall(&record, Scope::All),
            Some(2100.0),
            "b has no block at all"
        );
        let of_b: Vec<Block> = record
            .blocks
            .iter()
            .map(|block| Block {
                instance: "b".to_owned(),
                ..block.clone()
            })
            .collect();
        record.blocks.extend(of_b);
        assert_eq!(scoped::stall(&record, Scope::All), Some(600.0));
    }

    #[test]
    fn an_invariant_of_two_instances_must_hold_in_both() {
        let objective = planned(Metric::Agreement, Comparison::Always, 0.0);
        let mut record = record();
        assert_eq!(met(&objective, &record), None);
        for holds in [true, false] {
            record.invariants.push(Invariant {
                name: "agreement".to_owned(),
                holds,
                ..Invariant::default()
            });
        }
        assert_eq!(met(&objective, &record), Some(false));
        record.invariants.pop();
        assert_eq!(met(&objective, &record), Some(true));
    }

    #[test]
    fn memory_is_that_of_the_largest_node() {
        let process = |kind, rss_bytes| Process {
            kind,
            samples: vec![Sample {
                rss_bytes,
                ..Sample::default()
            }],
            ..Process::default()
        };
        let mut record = record();
        record.processes = vec![
            process(ProcessKind::Node, 5),
            process(ProcessKind::Lab, 900),
            process(ProcessKind::Node, 7),
        ];
        assert_eq!(memory(&record), Some(7.0));
        assert_eq!(
            met(&planned(Metric::Memory, Comparison::Below, 8.0), &record),
            Some(true)
        );
    }

    #[test]
    fn latency_bounds_are_given_in_milliseconds_and_judged_in_microseconds() {
        let objective = judge_one(
            &planned(Metric::LatencyP99, Comparison::Below, 900.0),
            &record(),
            &regatta_report::summarise(&record()),
        );
        assert_eq!(
            (objective.metric.as_str(), objective.limit),
            ("latency_p99", Some(900_000.0))
        );
        assert_eq!(objective.met, None);
    }

    #[test]
    fn every_metric_is_judged_or_said_not_to_be_measured() {
        for &metric in Metric::ALL {
            let objective = judge_one(
                &planned(metric, Comparison::Below, 1.0),
                &RunRecord::default(),
                &Summary::default(),
            );
            assert_eq!(objective.metric, metric.name());
            assert!(!objective.observed.is_empty());
        }
    }
}
