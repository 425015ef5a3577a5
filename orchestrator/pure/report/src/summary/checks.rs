//! Whether a measurement may be believed: the accounting identity, the generator and the steady state.

use crate::{
    histogram::Counts,
    model::{Accounting, RunRecord, Second},
    result::{AccountingCheck, GeneratorCheck, SteadyCheck, Window},
    stats::theil_sen,
    summary::window,
};

/// Least limit for the generator's lag p99 in microseconds.
const LAG_LIMIT_US_MIN: u64 = 5_000;
/// Share of the response median that the generator's lag p99 may reach.
const LAG_SHARE_MAX: f64 = 0.05;
/// Least share of intended transactions that must have been sent.
const SENT_SHARE_MIN: f64 = 0.99;
/// Largest backlog slope of a steady run, as a share of the offered rate.
const SLOPE_SHARE_MAX: f64 = 0.01;
/// Largest difference between the halves of a steady run.
const HALVES_DIFFERENCE_MAX: f64 = 0.05;
/// Fewer seconds than this cannot show steadiness.
const STEADY_SECONDS_MIN: usize = 6;

/// Adds up where transactions ended and compares with what was intended.
pub(super) fn accounting(accounting: &Accounting) -> AccountingCheck {
    let rejected = accounting
        .rejected
        .iter()
        .fold(0_u64, |sum, rejection| sum.saturating_add(rejection.count));
    let finalised = accounting.finalised_ok.saturating_add(accounting.finalised_failed);
    let ends = [
        accounting.not_sent,
        rejected,
        accounting.timed_out,
        accounting.unknown,
        finalised,
    ];
    let difference = i128::from(accounting.intended) - ends.iter().map(|&end| i128::from(end)).sum::<i128>();
    let lost = accounting.intended.saturating_sub(finalised);
    AccountingCheck {
        closes: difference == 0,
        difference: difference.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64,
        rejected,
        finalised,
        lost_share: share(lost, accounting.intended),
    }
}

/// Judges the generator by its lag and by what it left unsent.
pub(super) fn generator(record: &RunRecord) -> GeneratorCheck {
    let lag = &record.latency.lag.overall;
    let at = |counts: &Counts, q| counts.quantile(q).unwrap_or(0);
    let response_p50 = at(&record.latency.response.overall, 0.5);
    let lag_limit_us = LAG_LIMIT_US_MIN.max((response_p50 as f64 * LAG_SHARE_MAX) as u64);
    let accounting = &record.accounting;
    let sent = accounting.intended.saturating_sub(accounting.not_sent);
    let sent_share = if accounting.intended == 0 {
        1.0
    } else {
        share(sent, accounting.intended)
    };
    let lag_p99_us = at(lag, 0.99);
    GeneratorCheck {
        lag_p50_us: at(lag, 0.5),
        lag_p99_us,
        lag_limit_us,
        sent_share,
        valid: lag_p99_us <= lag_limit_us && sent_share >= SENT_SHARE_MIN,
    }
}

/// Judges whether backlog and goodput were level over the window.
pub(super) fn steady(record: &RunRecord, window: &Window) -> Option<SteadyCheck> {
    let seconds: Vec<&Second> = window::full_seconds(record, window).collect();
    let offered = seconds.iter().map(|second| second.intended).sum::<u64>() as f64 / seconds.len().max(1) as f64;
    // A run with a fault in it is not meant to be steady.
    let disturbed = window::first_fault(record, window).is_some();
    if seconds.len() < STEADY_SECONDS_MIN || offered <= 0.0 || disturbed {
        return None;
    }
    let mut backlog = 0.0;
    let points: Vec<(f64, f64)> = seconds
        .iter()
        .map(|second| {
            backlog += second.sent as f64 - (second.finalised + second.failed + second.rejected) as f64;
            (f64::from(second.second), backlog)
        })
        .collect();
    let slope = theil_sen(&points)?;
    let slope_share = slope.value / offered;
    // A slope that may as well be none is no trend: at low rates chance alone exceeds the limit.
    let trend = slope.low > 0.0 || slope.high < 0.0;
    let half = seconds.len() / 2;
    let done = |part: &[&Second]| part.iter().map(|second| second.finalised).sum::<u64>() as f64;
    // Halves of equal length: an odd second in the middle belongs to neither.
    let (first, second) = (done(&seconds[..half]), done(&seconds[seconds.len() - half..]));
    let mean = f64::midpoint(first, second);
    let halves_difference = if mean > 0.0 { (first - second).abs() / mean } else { 0.0 };
    // Arrivals are random: three standard deviations of a difference of two counts are no sign of drift.
    let by_chance = if mean > 0.0 { 3.0 * (2.0 / mean).sqrt() } else { 0.0 };
    Some(SteadyCheck {
        backlog_slope_share: slope_share,
        halves_difference,
        steady: (slope_share.abs() < SLOPE_SHARE_MAX || !trend)
            && halves_difference <= HALVES_DIFFERENCE_MAX.max(by_chance),
    })
}

/// A part of a whole; nothing is no part of nothing.
fn share(part: u64, whole: u64) -> f64 {
    debug_assert!(part <= whole, "{part} of {whole}");
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
