//! The lines on stderr that show how a run goes.

use crate::runner::{Heartbeat, Observer, Progress};
use anstream::eprintln;
use regatta_plan::Step;
use regatta_report::format;
use std::{
    io::IsTerminal,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Time between two heartbeats where a person watches, and where a file does.
const INTERVALS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));
/// Least time between two lines of the build tool.
const BUILD_LINE_INTERVAL: Duration = Duration::from_secs(2);

/// Prints progress to stderr.
#[derive(Debug)]
pub(crate) struct Printer {
    terminal: bool,
    last_line: Mutex<Option<Instant>>,
}

impl Printer {
    /// Prints to this process's stderr.
    pub(crate) fn new() -> Self {
        Self {
            terminal: std::io::stderr().is_terminal(),
            last_line: Mutex::new(None),
        }
    }

    /// Whether enough time has passed for another line of a chatty source.
    fn may_print(&self) -> bool {
        let mut last = self.last_line.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|last| last.elapsed() >= BUILD_LINE_INTERVAL);
        if due {
            *last = Some(Instant::now());
        }
        due
    }
}

impl Observer for Printer {
    fn tell(&self, progress: &Progress<'_>) {
        match progress {
            Progress::Run(run) => eprintln!("run       {}", run.id()),
            Progress::StepStarted(step) => {
                // The one step that may take minutes without another line.
                if let Step::Build { build } = &step.step {
                    eprintln!("          building {build} ...");
                }
            }
            Progress::StepEnded {
                step,
                took,
                error: None,
            } => {
                eprintln!("{:>8.2}s  {}", took.as_secs_f64(), step.step);
            }
            Progress::StepEnded {
                step,
                took,
                error: Some(error),
            } => {
                eprintln!("{:>8.2}s  {}: FAILED\nerror: {error}", took.as_secs_f64(), step.step);
            }
            Progress::Build(line) => {
                if line.starts_with("error") || self.may_print() {
                    eprintln!("          {}", line.trim());
                }
            }
            Progress::Prepared(built, total) => {
                if built == total || self.may_print() {
                    eprintln!(
                        "          {} of {} transactions signed",
                        format::integer(*built as u64),
                        format::integer(*total as u64)
                    );
                }
            }
            Progress::Ending(why) => eprintln!("ending the run: {why}"),
            Progress::Heartbeat(beat) => eprintln!("{}", heartbeat_line(beat)),
            Progress::Refused(why) => eprintln!("not done: {why}"),
            // Only for those who draw.
            Progress::Look(_) | Progress::Orders(_) => {}
        }
    }

    fn heartbeat_interval(&self) -> Duration {
        if self.terminal { INTERVALS.0 } else { INTERVALS.1 }
    }
}

/// One heartbeat as one line.
fn heartbeat_line(beat: &Heartbeat) -> String {
    let mut parts = vec![format!(
        "{:>8.1}s  {:<9}",
        beat.elapsed_ms as f64 / 1000.0,
        beat.phase.as_str()
    )];
    if let Some((low, high)) = beat.heights {
        parts.push(if low == high {
            format!("height {high}")
        } else {
            format!("heights {low}-{high}")
        });
    }
    if let Some(load) = &beat.load {
        parts.push(format!(
            "{} tx/s of {} offered",
            format::integer(load.final_per_s),
            format::integer(load.offered_per_s)
        ));
        if load.p99_us > 0 {
            let (p50, p99) = (
                format::duration_us(load.p50_us as f64),
                format::duration_us(load.p99_us as f64),
            );
            parts.push(format!("p50 {p50} p99 {p99}"));
        }
        parts.push(format!("lag p99 {}", format::duration_us(load.lag_p99_us as f64)));
        parts.push(format!("in flight {}", format::integer(load.in_flight)));
        let lost = load.rejected + load.not_sent + load.failed;
        if lost > 0 {
            parts.push(format!("refused or failed {}", format::integer(lost)));
        }
    }
    if beat.disk_bytes > 0 {
        parts.push(format!("disk {}", format::bytes(beat.disk_bytes as f64)));
    }
    if !beat.faults.is_empty() {
        parts.push(format!("FAULT {}", beat.faults.join("; ")));
    }
    parts.join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::LoadProgress;
    use regatta_report::model::PhaseKind;

    #[test]
    fn a_heartbeat_says_what_matters_and_leaves_out_what_is_not_known() {
        let mut beat = Heartbeat {
            elapsed_ms: 12_300,
            phase: PhaseKind::Measure,
            heights: None,
            load: None,
            faults: Vec::new(),
            disk_bytes: 0,
        };
        assert_eq!(heartbeat_line(&beat), "    12.3s  measure  ");
        beat.heights = Some((7, 9));
        beat.load = Some(LoadProgress {
            offered_per_s: 1000,
            final_per_s: 998,
            p50_us: 20_000,
            p99_us: 45_000,
            ..LoadProgress::default()
        });
        beat.faults = vec!["crash val-1".to_owned()];
        let line = heartbeat_line(&beat);
        for part in [
            "heights 7-9",
            "998 tx/s of 1,000 offered",
            "p50 20",
            "p99 45",
            "FAULT crash val-1",
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
        assert!(!line.contains("refused"), "{line}");
    }

    #[test]
    fn chatty_sources_are_slowed_down() {
        let printer = Printer::new();
        assert!(printer.may_print());
        assert!(!printer.may_print());
    }
}
