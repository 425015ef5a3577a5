//! Judge a scenario's objective on a measured metric.

use crate::{
    format,
    model::Objective,
    result::{QuantileValue, Summary},
};

/// Which side of its value a bound allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Less than the value.
    Below,
    /// At most the value.
    AtMost,
    /// At least the value.
    AtLeast,
    /// More than the value.
    Above,
}

impl Side {
    /// Whether an observed number is on the allowed side.
    fn allows(self, observed: f64, bound: f64) -> bool {
        match self {
            Self::Below => observed < bound,
            Self::AtMost => observed <= bound,
            Self::AtLeast => observed >= bound,
            Self::Above => observed > bound,
        }
    }
}

/// What an objective demands of a number.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    /// The side that is allowed.
    pub side: Side,
    /// The limit in the metric's base unit: microseconds, a share from 0 to 1, or transactions per second.
    pub value: f64,
    /// The bound as the scenario writes it, e.g. `< 900ms`.
    pub text: String,
}

/// Judges `latency_pNN` (microseconds), `goodput` (share of the offered rate) or `goodput_rate` (transactions per
/// second); `None` for any other metric, which the caller must judge itself.
#[must_use]
pub fn judge(metric: &str, bound: &Bound, summary: &Summary) -> Option<Objective> {
    let (observed, met) = if let Some(digits) = metric.strip_prefix("latency_p") {
        latency(digits, bound, summary)?
    } else {
        let goodput = summary.goodput_per_s;
        match metric {
            "goodput" if summary.offered_per_s <= 0.0 => ("nothing was offered".to_owned(), None),
            "goodput" => decide(
                goodput.map(|rate| rate.value / summary.offered_per_s),
                bound,
                format::percent,
            ),
            "goodput_rate" => decide(goodput.map(|rate| rate.value), bound, |rate| {
                format!("{} tx/s", format::number(rate))
            }),
            _ => return None,
        }
    };
    Some(Objective {
        metric: metric.to_owned(),
        wanted: bound.text.clone(),
        limit: Some(bound.value),
        observed,
        met,
        evidence: window(summary),
    })
}

/// The time and the samples that a metric of the whole window rests on.
fn window(summary: &Summary) -> String {
    let window = &summary.window;
    let [from, to] = [window.start_ms, window.end_ms].map(format::moment);
    format!("{from} to {to}, {}", format::plural(window.loaded_blocks, "block"))
}

/// What was observed as text, and whether the bound allows it.
fn decide(observed: Option<f64>, bound: &Bound, show: impl Fn(f64) -> String) -> (String, Option<bool>) {
    let Some(observed) = observed else {
        return ("not measured".to_owned(), None);
    };
    (show(observed), Some(bound.side.allows(observed, bound.value)))
}

/// `digits` are those after the point of the quantile: `50`, `99`, `999`.
fn latency(digits: &str, bound: &Bound, summary: &Summary) -> Option<(String, Option<bool>)> {
    let decimals = i32::try_from(digits.len()).ok().filter(|&length| length <= 6)?;
    let q = f64::from(digits.parse::<u32>().ok()?) / 10_f64.powi(decimals);
    let quantile = summary.response.iter().find(|quantile| (quantile.q - q).abs() < 1e-9)?;
    let met = match quantile.value {
        QuantileValue::Measured(estimate) => Some(bound.side.allows(estimate.value, bound.value)),
        // At least the timeout: that settles every limit up to the timeout, and nothing beyond it.
        QuantileValue::AtLeastTimeout { timeout_ms } if timeout_ms as f64 * 1000.0 >= bound.value => {
            Some(matches!(bound.side, Side::AtLeast | Side::Above))
        }
        _ => None,
    };
    Some((format::quantile(quantile), met))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::{Estimate, Quantile};

    fn summary(value: QuantileValue) -> Summary {
        Summary {
            response: vec![Quantile { q: 0.99, value }],
            offered_per_s: 1000.0,
            goodput_per_s: Some(Estimate {
                value: 990.0,
                low: 980.0,
                high: 1000.0,
            }),
            ..Summary::default()
        }
    }

    fn below(value: f64) -> Bound {
        Bound {
            side: Side::Below,
            value,
            text: "< it".to_owned(),
        }
    }

    #[test]
    fn latency_is_judged_by_what_is_known() {
        let measured = summary(QuantileValue::Measured(Estimate {
            value: 900_000.0,
            low: 1.0,
            high: 2.0,
        }));
        assert_eq!(
            judge("latency_p99", &below(900_001.0), &measured).unwrap().met,
            Some(true)
        );
        assert_eq!(
            judge("latency_p99", &below(900_000.0), &measured).unwrap().met,
            Some(false)
        );
        let few = summary(QuantileValue::NeedsBlocks { needed: 1000, have: 3 });
        assert_eq!(judge("latency_p99", &below(1.0), &few).unwrap().met, None);
        let lost = summary(QuantileValue::AtLeastTimeout { timeout_ms: 10_000 });
        assert_eq!(judge("latency_p99", &below(900_000.0), &lost).unwrap().met, Some(false));
        assert_eq!(judge("latency_p99", &below(20_000_000.0), &lost).unwrap().met, None);
    }

    #[test]
    fn goodput_is_a_share_or_a_rate() {
        let at_least = |value| Bound {
            side: Side::AtLeast,
            value,
            text: String::new(),
        };
        let summary = summary(QuantileValue::Nothing);
        assert_eq!(judge("goodput", &at_least(0.98), &summary).unwrap().met, Some(true));
        assert_eq!(judge("goodput", &at_least(0.995), &summary).unwrap().met, Some(false));
        assert_eq!(
            judge("goodput_rate", &at_least(990.0), &summary).unwrap().met,
            Some(true)
        );
        assert_eq!(
            judge(
                "goodput_rate",
                &Bound {
                    side: Side::Above,
                    ..at_least(990.0)
                },
                &summary
            )
            .unwrap()
            .met,
            Some(false)
        );
        assert!(judge("stall", &at_least(1.0), &summary).is_none());
        assert!(judge("latency_pxx", &at_least(1.0), &summary).is_none());
        assert!(judge("latency_p75", &at_least(1.0), &summary).is_none());
    }
}
