//! Doubts about the measurement that only the lab can have.

use crate::{
    load::LoadOutcome,
    sample::{HostSample, SampleOutcome},
};
use regatta_report::{
    format,
    model::{Finding, Phase, PhaseKind, Process, Sample},
};

/// Most time that the hypervisor may take from this machine, as a share of all cores.
const STEAL_MAX: f64 = 0.05;
/// Most time in which some task may wait for memory.
const MEMORY_PRESSURE_MAX: f64 = 0.10;
/// Time that processes which are not of this run may take, as a share of all cores, before the run is in doubt, and
/// before it is void.
const FOREIGN_MAX: (f64, f64) = (0.25, 0.5);
/// Fewer samples than this inside the window show nothing.
const SAMPLES_MIN: usize = 3;

fn finding(code: &str, void: bool, text: String) -> Finding {
    Finding {
        code: code.to_owned(),
        void,
        text,
    }
}

/// What the books of the loads give reason to doubt.
pub(super) fn of_loads(loads: &[LoadOutcome]) -> Vec<Finding> {
    let mismatched: u64 = loads.iter().map(|load| load.mismatched).sum();
    let text = || {
        let answers = format::plural(mismatched, "answer");
        finding(
            "wrong-answers",
            true,
            format!("{answers} named another transaction than was sent"),
        )
    };
    (mismatched > 0).then(text).into_iter().collect()
}

/// Whether the machine had time for this run during the measure phase.
pub(super) fn of_host(samples: &SampleOutcome, phases: &[Phase]) -> Vec<Finding> {
    let Some(window) = phases.iter().find(|phase| phase.kind == PhaseKind::Measure) else {
        return Vec::new();
    };
    let inside: Vec<&HostSample> = samples
        .host
        .iter()
        .filter(|sample| (window.start_ms..=window.end_ms).contains(&sample.at_ms))
        .collect();
    if inside.len() < SAMPLES_MIN {
        return Vec::new();
    }
    let mean =
        |value: fn(&HostSample) -> f64| inside.iter().map(|sample| value(sample)).sum::<f64>() / inside.len() as f64;
    let foreign = mean(|sample| sample.cpu_share) - own_share(&samples.processes, window);
    let mut findings = Vec::new();
    let mut judge = |code, (what, whole): (&str, &str), observed: f64, limit: f64, void| {
        if observed > limit {
            let [observed, limit] = [observed, limit].map(format::percent);
            let text = format!("host pressure: {what} {observed} of the {whole}, the limit is {limit}");
            findings.push(finding(code, void, text));
        }
    };
    let steal = mean(|sample| sample.steal_share);
    let memory = mean(|sample| sample.pressure_memory);
    judge("host-steal", ("the hypervisor took", "machine"), steal, STEAL_MAX, true);
    judge(
        "host-memory",
        ("tasks waited for memory", "time"),
        memory,
        MEMORY_PRESSURE_MAX,
        true,
    );
    let (doubtful, void) = FOREIGN_MAX;
    let is_void = foreign > void;
    let limit = if is_void { void } else { doubtful };
    judge(
        "host-foreign",
        ("other processes took", "machine"),
        foreign,
        limit,
        is_void,
    );
    findings
}

/// CPU of all watched processes during the window as a share of all cores.
fn own_share(processes: &[Process], window: &Phase) -> f64 {
    let used = |process: &Process| {
        let inside = |sample: &&Sample| (window.start_ms..=window.end_ms).contains(&sample.at_ms);
        let first = process.samples.iter().find(inside)?;
        let last = process.samples.iter().rev().find(inside)?;
        let seconds = last.at_ms.saturating_sub(first.at_ms) as f64 / 1000.0;
        (seconds > 0.0).then(|| (last.cpu_s - first.cpu_s) / seconds)
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    processes.iter().filter_map(used).sum::<f64>() / cores
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(cpu_share: f64, steal_share: f64) -> SampleOutcome {
        let sample = |at_ms| HostSample {
            at_ms,
            cpu_share,
            steal_share,
            ..HostSample::default()
        };
        SampleOutcome {
            host: (0..10).map(|second| sample(second * 1000)).collect(),
            ..SampleOutcome::default()
        }
    }

    fn codes(samples: &SampleOutcome, start_ms: u64) -> Vec<String> {
        let window = Phase {
            kind: PhaseKind::Measure,
            start_ms,
            end_ms: 9000,
        };
        of_host(samples, &[window])
            .into_iter()
            .map(|finding| finding.code)
            .collect()
    }

    #[test]
    fn a_quiet_host_gives_no_doubt() {
        assert!(codes(&host(0.2, 0.01), 0).is_empty());
    }

    #[test]
    fn steal_and_foreign_load_void_the_run() {
        assert_eq!(codes(&host(0.9, 0.2), 0), ["host-steal", "host-foreign"]);
        assert_eq!(codes(&host(0.4, 0.0), 0), ["host-foreign"]);
        let void = |cpu_share| {
            let window = Phase {
                kind: PhaseKind::Measure,
                start_ms: 0,
                end_ms: 9000,
            };
            of_host(&host(cpu_share, 0.0), &[window])[0].void
        };
        assert!(!void(0.4) && void(0.6));
        // Too few samples in the window say nothing.
        assert!(codes(&host(0.9, 0.2), 8000).is_empty());
    }

    #[test]
    fn the_runs_own_load_is_not_foreign() {
        let mut samples = host(0.9, 0.0);
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        let sample = |at_ms: u64| Sample {
            at_ms,
            cpu_s: 0.85 * cores * at_ms as f64 / 1000.0,
            ..Sample::default()
        };
        samples.processes.push(Process {
            samples: (0..10).map(|second| sample(second * 1000)).collect(),
            ..Process::default()
        });
        assert!(codes(&samples, 0).is_empty());
    }

    #[test]
    fn wrong_answers_void_the_run() {
        let load = LoadOutcome {
            mismatched: 1,
            ..LoadOutcome::default()
        };
        assert!(of_loads(&[load])[0].void);
        assert!(of_loads(&[LoadOutcome::default()]).is_empty());
    }
}
