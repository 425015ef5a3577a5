//! The metrics of two runs side by side, judged on a logarithmic scale.

use super::{Change, ChangeKind};
use crate::{
    format,
    result::{Estimate, NodeSummary, Quantile, QuantileValue, RunResult, Summary},
};

/// Half of a 95 % interval in standard errors.
const Z: f64 = 1.96;

/// Which direction is worse.
#[derive(Clone, Copy)]
enum Worse {
    More,
    Less,
}

/// Every metric of either run.
pub(super) fn changes(base: &RunResult, head: &RunResult, margin: f64) -> Vec<Change> {
    let [a, b] = [&base.summary, &head.summary];
    let mut all = vec![estimated(
        "goodput",
        a.goodput_per_s,
        b.goodput_per_s,
        Worse::Less,
        margin,
        |e| format!("{} tx/s {}", format::number(e.value), format::number_bounds(e)),
    )];
    for (a, b) in a.response.iter().zip(&b.response) {
        all.push(quantile(a, b, margin));
    }
    let cpu = |summary: &Summary| summary.cpu.map(|cpu| cpu.nodes_us_per_tx);
    all.push(estimated(
        "CPU per transaction",
        cpu(a),
        cpu(b),
        Worse::More,
        margin,
        format::duration_estimate,
    ));
    let interval = |summary: &Summary| {
        let scaled = |e: Estimate| Estimate {
            value: e.value * 1e3,
            low: e.low * 1e3,
            high: e.high * 1e3,
        };
        summary.block_interval_ms.map(scaled)
    };
    let mut blocks = estimated(
        "block interval",
        interval(a),
        interval(b),
        Worse::More,
        margin,
        format::duration_estimate,
    );
    // A longer interval is no loss by itself: latency and goodput tell whether it is.
    blocks.kind = ChangeKind::Shown;
    all.push(blocks);
    let most = |summary: &Summary| {
        summary
            .nodes
            .iter()
            .map(|node| node.rss_max_bytes as f64)
            .reduce(f64::max)
    };
    all.push(shown("largest memory of a node", most(a), most(b), format::bytes));
    let [sent_a, sent_b] = [base, head].map(sent_per_transaction);
    all.push(shown("bytes sent per transaction", sent_a, sent_b, format::bytes));
    let [base_block, head_block] = [base, head].map(|result| per_block(result, |node| node.messages_out));
    all.push(shown("messages sent per block", base_block, head_block, format::number));
    let [base_block, head_block] = [base, head].map(|result| per_block(result, |node| node.bytes_out));
    all.push(shown("bytes sent per block", base_block, head_block, format::bytes));
    all.retain(|change| change.base != "–" || change.head != "–");
    all
}

/// Bytes that all nodes sent for each transaction that succeeded.
fn sent_per_transaction(result: &RunResult) -> Option<f64> {
    let sent: f64 = result.summary.nodes.iter().map(|node| node.bytes_out as f64).sum();
    let ok = result.record.accounting.finalised_ok;
    (ok > 0 && sent > 0.0).then(|| sent / ok as f64)
}

/// What all nodes did for each block of the longest ledger.
fn per_block(result: &RunResult, what: fn(&NodeSummary) -> u64) -> Option<f64> {
    let nodes = &result.summary.nodes;
    let blocks = nodes.iter().map(|node| node.height).max().unwrap_or(0);
    let sum: u64 = nodes.iter().map(what).sum();
    (blocks > 0 && sum > 0).then(|| sum as f64 / blocks as f64)
}

/// A metric with an interval on both sides, judged.
fn estimated(
    metric: &str,
    base: Option<Estimate>,
    head: Option<Estimate>,
    worse: Worse,
    margin: f64,
    show: impl Fn(&Estimate) -> String,
) -> Change {
    let text = |value: Option<Estimate>| value.as_ref().map_or_else(|| "–".to_owned(), &show);
    let change = base.zip(head).and_then(|(base, head)| relative(&base, &head));
    let kind = change.map_or(ChangeKind::Shown, |change| judge(&change, worse, margin));
    Change {
        metric: metric.to_owned(),
        base: text(base),
        head: text(head),
        change,
        kind,
    }
}

/// A number without an interval: shown, not judged.
fn shown(metric: &str, base: Option<f64>, head: Option<f64>, show: fn(f64) -> String) -> Change {
    let point = |value| Estimate {
        value,
        low: value,
        high: value,
    };
    let change = base
        .zip(head)
        .and_then(|(base, head)| relative(&point(base), &point(head)));
    let text = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), show);
    Change {
        metric: metric.to_owned(),
        base: text(base),
        head: text(head),
        change,
        kind: ChangeKind::Shown,
    }
}

/// A quantile of the response latency, which a run may not be able to tell.
fn quantile(base: &Quantile, head: &Quantile, margin: f64) -> Change {
    let measured = |quantile: &Quantile| match quantile.value {
        QuantileValue::Measured(estimate) => Some(estimate),
        _ => None,
    };
    let name = format!("response {}", format::quantile_name(base.q));
    let mut change = estimated(
        &name,
        measured(base),
        measured(head),
        Worse::More,
        margin,
        format::duration_estimate,
    );
    [change.base, change.head] = [base, head].map(format::quantile);
    // A tail that got lost is worse than any that was measured, and the other way round.
    let lost = |quantile: &Quantile| matches!(quantile.value, QuantileValue::AtLeastTimeout { .. });
    if measured(base).is_some() && lost(head) {
        change.kind = ChangeKind::Worse;
    } else if lost(base) && measured(head).is_some() {
        change.kind = ChangeKind::Better;
    }
    change
}

/// Head / base - 1 with an interval: standard errors of the logarithms add up in squares.
fn relative(base: &Estimate, head: &Estimate) -> Option<Estimate> {
    let usable = |e: &Estimate| e.value > 0.0 && e.low > 0.0 && e.high.is_finite();
    if !usable(base) || !usable(head) {
        return None;
    }
    let error = |e: &Estimate| (e.high / e.low).ln() / (2.0 * Z);
    let middle = (head.value / base.value).ln();
    let half = Z * error(base).hypot(error(head));
    let back = |log: f64| log.exp() - 1.0;
    Some(Estimate {
        value: back(middle),
        low: back(middle - half),
        high: back(middle + half),
    })
}

/// Judges a relative change against the margin, both on the logarithmic scale.
fn judge(change: &Estimate, worse: Worse, margin: f64) -> ChangeKind {
    debug_assert!(
        margin >= 0.0 && change.low <= change.high,
        "an interval within a margin"
    );
    let log = |share: f64| (1.0 + share).ln();
    let [value, low, high] = match worse {
        Worse::More => [log(change.value), log(change.low), log(change.high)],
        Worse::Less => [-log(change.value), -log(change.high), -log(change.low)],
    };
    let limit = log(margin);
    if value > limit && low > 0.0 {
        ChangeKind::Worse
    } else if value < -limit && high < 0.0 {
        ChangeKind::Better
    } else if low >= -limit && high <= limit {
        ChangeKind::Unchanged
    } else {
        ChangeKind::Inconclusive
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn estimate(value: f64, low: f64, high: f64) -> Estimate {
        Estimate { value, low, high }
    }

    #[test]
    fn relative_change_on_known_values() {
        let exact = relative(&estimate(100.0, 100.0, 100.0), &estimate(110.0, 110.0, 110.0)).unwrap();
        assert!((exact.value - 0.1).abs() < 1e-12 && (exact.low - 0.1).abs() < 1e-12);
        // Equal errors on both sides make the interval wider by the square root of two.
        let wide = relative(&estimate(1.0, 0.9, 1.0 / 0.9), &estimate(1.0, 0.9, 1.0 / 0.9)).unwrap();
        let expected = (2.0_f64.sqrt() * (1.0_f64 / 0.9).ln()).exp() - 1.0;
        assert!((wide.high - expected).abs() < 1e-12, "{wide:?}");
        assert!(relative(&estimate(0.0, 0.0, 0.0), &estimate(1.0, 1.0, 1.0)).is_none());
    }

    #[test]
    fn judgement_needs_both_size_and_certainty() {
        let cases = [
            ((0.10, 0.05, 0.15), ChangeKind::Worse),
            ((0.10, -0.01, 0.20), ChangeKind::Inconclusive),
            ((0.04, 0.03, 0.06), ChangeKind::Inconclusive),
            ((0.02, -0.01, 0.04), ChangeKind::Unchanged),
            ((0.00, -0.30, 0.40), ChangeKind::Inconclusive),
            ((-0.10, -0.15, -0.06), ChangeKind::Better),
            ((-0.10, -0.25, 0.02), ChangeKind::Inconclusive),
        ];
        for ((value, low, high), expected) in cases {
            assert_eq!(
                judge(&estimate(value, low, high), Worse::More, 0.05),
                expected,
                "{value}"
            );
        }
        assert_eq!(
            judge(&estimate(-0.10, -0.15, -0.06), Worse::Less, 0.05),
            ChangeKind::Worse
        );
        assert_eq!(
            judge(&estimate(0.10, 0.06, 0.15), Worse::Less, 0.05),
            ChangeKind::Better
        );
    }

    #[test]
    fn a_metric_of_one_side_is_shown_only() {
        let one = estimated("x", Some(estimate(1.0, 1.0, 1.0)), None, Worse::More, 0.05, |e| {
            e.value.to_string()
        });
        assert_eq!(
            (one.base.as_str(), one.head.as_str(), one.kind),
            ("1", "–", ChangeKind::Shown)
        );
        assert!(one.change.is_none());
        let plain = shown("x", Some(1.0), Some(9.0), |value| value.to_string());
        assert_eq!(
            plain.kind,
            ChangeKind::Shown,
            "a number without an interval fails nothing"
        );
    }

    proptest! {
        #[test]
        fn swapping_the_sides_swaps_better_and_worse(a in 1.0_f64..1e6, b in 1.0_f64..1e6, spread in 0.0_f64..0.3, margin in 0.0_f64..0.5) {
            let around = |value: f64| estimate(value, value * (1.0 - spread), value / (1.0 - spread));
            let [there, back] = [(a, b), (b, a)].map(|(base, head)| relative(&around(base), &around(head)).unwrap());
            let mirrored = match judge(&there, Worse::More, margin) {
                ChangeKind::Worse => ChangeKind::Better,
                ChangeKind::Better => ChangeKind::Worse,
                other => other,
            };
            prop_assert_eq!(judge(&back, Worse::More, margin), mirrored);
        }
    }
}
