//! The random campaign: numbered schedules in every kind of weather, on all processors, and what it
//! prints when one of them breaks a promise.

use super::{
    script::replay,
    shrink::{Failure, calm},
    storm::{Outcome, play},
    weather::{KINDS, Kind, schedule},
};
use crate::mutants::Knobs;
use std::{
    collections::BTreeMap,
    ops::Range,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

/// Schedules in an ordinary test run.
const SCHEDULES: u64 = 100_000;
/// Schedules of a long campaign, unless `REGATTA_SCHEDULES` says otherwise.
const LONG_SCHEDULES: u64 = 10_000_000;
/// A long campaign says every so many schedules how far it is.
const PROGRESS: u64 = 1_000_000;

/// What a campaign came to.
#[derive(Debug, Default)]
struct Summary {
    schedules: BTreeMap<Kind, u64>,
    events: u64,
    /// Schedules in which somebody got to the fifth round or beyond.
    long: BTreeMap<Kind, u64>,
    cpu_seconds: f64,
}

/// Plays the schedules with these numbers on all processors.
///
/// # Panics
/// When one of them breaks a promise, with its number and a script that is as short as it gets.
fn survive(numbers: Range<u64>, progress: u64) -> Summary {
    let (next, failed) = (AtomicU64::new(numbers.start), AtomicBool::new(false));
    let work = || {
        let mut summary = Summary::default();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= numbers.end || failed.load(Ordering::Relaxed) {
                break;
            }
            let (kind, seed, weather) = schedule(number, Knobs::default());
            let outcome = play(seed, &weather);
            if !outcome.violations.is_empty() {
                failed.store(true, Ordering::Relaxed);
                panic!("{}", describe(number, &outcome, Knobs::default()));
            }
            summary.add(kind, &outcome);
            if number % progress == progress - 1 {
                println!("{} schedules", number + 1 - numbers.start);
            }
        }
        summary.cpu_seconds = cpu_seconds();
        summary
    };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..processors).map(|_| scope.spawn(work)).collect();
        let mut total = Summary::default();
        for worker in workers {
            match worker.join() {
                Ok(summary) => total.merge(&summary),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        total
    })
}

/// The number, the violations and the shortest script of a schedule.
fn describe(number: u64, outcome: &Outcome, knobs: Knobs) -> String {
    let (kind, seed, weather) = schedule(number, knobs);
    let head = format!(
        "schedule {number} ({kind:?}, seed {seed}): {:#?}\n{weather:?}",
        outcome.violations
    );
    match Failure::find(seed, &weather) {
        Some(failure) => format!("{head}\n{}", failure.shrink().script()),
        None => format!(
            "{head}\nno script: it takes the clock to show this, in this weather too\n{:?}",
            calm(seed, &weather)
        ),
    }
}

impl Summary {
    fn add(&mut self, kind: Kind, outcome: &Outcome) {
        *self.schedules.entry(kind).or_default() += 1;
        *self.long.entry(kind).or_default() += u64::from(outcome.rounds >= 4);
        self.events += outcome.events as u64;
    }

    fn merge(&mut self, other: &Self) {
        for (kind, count) in &other.schedules {
            *self.schedules.entry(*kind).or_default() += count;
        }
        for (kind, count) in &other.long {
            *self.long.entry(*kind).or_default() += count;
        }
        self.events += other.events;
        self.cpu_seconds += other.cpu_seconds;
    }

    fn print(&self, numbers: &Range<u64>) {
        let total: u64 = self.schedules.values().sum();
        println!(
            "schedules {} to {}, {} events",
            numbers.start,
            numbers.end - 1,
            self.events
        );
        for (kind, count) in &self.schedules {
            println!(
                "  {kind:?}: {count}, of which {} to round 4 and beyond",
                self.long[kind]
            );
        }
        if self.cpu_seconds > 0.0 {
            let rate = total as f64 / self.cpu_seconds;
            println!(
                "  {:.1} CPU seconds, {rate:.0} schedules per CPU second",
                self.cpu_seconds
            );
        }
    }
}

/// What this thread has used so far, where the kernel tells.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split(' ').next().and_then(|first| first.parse::<f64>().ok());
    nanoseconds.unwrap_or_default() / 1e9
}

#[test]
fn a_hundred_thousand_schedules_break_nothing() {
    let summary = survive(0..SCHEDULES, u64::MAX);
    summary.print(&(0..SCHEDULES));
    assert_eq!(summary.schedules.len(), KINDS.len());
    assert_eq!(summary.schedules.values().sum::<u64>(), SCHEDULES);
    for kind in [Kind::Twins, Kind::TwinsAndFaulty] {
        let (long, all) = (summary.long[&kind], summary.schedules[&kind]);
        assert!(5 * long > all, "only {long} of {all} {kind:?} get to round 4");
    }
}

/// `REGATTA_SCHEDULES` schedules from number `REGATTA_FIRST` on.
#[test]
#[ignore = "runs for as long as it is told to"]
fn a_long_campaign_breaks_nothing() {
    let first = variable("REGATTA_FIRST").unwrap_or(SCHEDULES);
    let numbers = first..first + variable("REGATTA_SCHEDULES").unwrap_or(LONG_SCHEDULES);
    survive(numbers.clone(), PROGRESS).print(&numbers);
}

#[expect(clippy::disallowed_methods, reason = "whoever starts a campaign says how long it is")]
fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

#[test]
fn a_failure_is_described_by_its_number_its_seed_and_a_script() {
    let mutant = Knobs {
        decide_on_qc1: true,
        ..Knobs::default()
    };
    let number = KINDS.len() as u64;
    let (_, seed, weather) = schedule(number, mutant);
    let text = describe(number, &play(seed, &weather), mutant);
    let opening = format!("schedule {number} (Network, seed 1)");
    assert!(text.starts_with(&opening), "{text}");
    let script = &text[text.find("cast ").unwrap()..];
    assert_ne!(replay(mutant, script), [""; 0], "{text}");
}

#[test]
fn what_gets_stuck_is_shown_in_the_calmest_weather() {
    let (_, _, mut weather) = schedule(KINDS.len() as u64 - 1, Knobs::default());
    weather.cast.weights = vec![1, 1, 1, 3];
    weather.cast.faulty = Some(3);
    let calmest = calm(0, &weather);
    assert_eq!(
        (calmest.loss, calmest.crash, calmest.mischief, calmest.spells),
        (0.0, 0.0, 0.0, 0)
    );
    let stuck = play(0, &calmest).violations;
    assert!(stuck.len() == 1 && stuck[0].starts_with("liveness"), "{stuck:?}");
}

#[test]
fn a_rerun_is_the_same_to_the_last_event() {
    let mut traces = Vec::new();
    for number in 0..2 * KINDS.len() as u64 {
        let (_, seed, weather) = schedule(number, Knobs::default());
        let outcome = play(seed, &weather);
        assert_eq!(outcome, play(seed, &weather));
        traces.push(outcome.trace);
    }
    traces.sort_unstable();
    traces.dedup();
    assert_eq!(traces.len(), 2 * KINDS.len());
}

#[test]
fn after_the_last_block_the_network_is_silent() {
    let mut events = 0;
    for number in (0..20 * KINDS.len() as u64).step_by(KINDS.len()) {
        let (kind, seed, weather) = schedule(number, Knobs::default());
        assert_eq!(kind, Kind::Network);
        let outcome = play(seed, &weather);
        assert_eq!(outcome.late_messages, 0, "schedule {number}");
        events += outcome.events;
    }
    assert!(events > 2_000, "only {events} events");
}
