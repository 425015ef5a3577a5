//! Numbers as people read them: three significant digits, units, thousands separated by commas.

use crate::result::{BlockCost, Estimate, Quantile, QuantileValue};

/// An integer with thousands separators, e.g. `12,345`.
#[must_use]
pub fn integer(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number with about three significant digits and thousands separators, e.g. `4,998`, `12.3`, `0.0456`.
#[must_use]
pub fn number(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let size = value.abs();
    if size >= 99.95 || size == 0.0 {
        let sign = if value <= -0.5 { "-" } else { "" };
        return format!("{sign}{}", integer(size.round() as u64));
    }
    let decimals = if size >= 9.995 {
        1
    } else if size >= 0.9995 {
        2
    } else {
        // As many as it takes to show two digits of a small number, within reason.
        (2 - size.log10().floor() as i32 - 1).clamp(2, 6) as usize
    };
    format!("{value:.decimals$}")
}

/// A duration in microseconds with a fitting unit, e.g. `850 µs`, `12.3 ms`, `1.31 s`.
#[must_use]
pub fn duration_us(us: f64) -> String {
    let (scale, unit) = duration_unit(us);
    format!("{} {unit}", number(us / scale))
}

/// Microseconds of the unit that suits a duration, and its name.
fn duration_unit(us: f64) -> (f64, &'static str) {
    match us.abs() {
        size if size >= 999_500.0 => (1e6, "s"),
        size if size >= 999.5 => (1e3, "ms"),
        _ => (1.0, "µs"),
    }
}

/// A duration with its interval in one unit, e.g. `1.31 s [1.24, 1.42]`.
#[must_use]
pub fn duration_estimate(us: &Estimate) -> String {
    let (scale, unit) = duration_unit(us.value);
    format!("{} {unit} {}", number(us.value / scale), bounds(us, scale))
}

/// The interval alone in the unit of the value, e.g. `[1.24, 1.42]`.
#[must_use]
pub fn duration_bounds(us: &Estimate) -> String {
    bounds(us, duration_unit(us.value).0)
}

/// A plain number with its interval, e.g. `4,998 [4,960, 5,031]`.
#[must_use]
pub fn estimate(value: &Estimate) -> String {
    format!("{} {}", number(value.value), bounds(value, 1.0))
}

/// The interval of a plain number, e.g. `[4,960, 5,031]`.
#[must_use]
pub fn number_bounds(value: &Estimate) -> String {
    bounds(value, 1.0)
}

/// An interval in units of `scale`.
fn bounds(value: &Estimate, scale: f64) -> String {
    format!("[{}, {}]", number(value.low / scale), number(value.high / scale))
}

/// A size in bytes with a decimal unit, e.g. `1.20 MB`.
#[must_use]
pub fn bytes(value: f64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"];
    let mut scaled = value;
    let mut unit = 0;
    while scaled.abs() >= 999.5 && unit + 1 < units.len() {
        scaled /= 1000.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{} B", integer(value.max(0.0) as u64))
    } else {
        format!("{} {}", number(scaled), units[unit])
    }
}

/// How fast blocks come and what each costs, in words.
#[must_use]
pub fn block_cost(cost: &BlockCost) -> String {
    format!(
        "{} a second, each {} of CPU on all nodes together, {} a message; a node sends {} messages and {} for it",
        number(cost.blocks_per_s),
        duration_us(cost.nodes_us),
        duration_us(cost.message_us),
        number(cost.messages_per_node),
        bytes(cost.bytes_per_node)
    )
}

/// A large count in short, e.g. `12.3 k`.
#[must_use]
pub fn count(value: f64) -> String {
    match value.abs() {
        size if size >= 999_500_000.0 => format!("{} G", number(value / 1e9)),
        size if size >= 999_500.0 => format!("{} M", number(value / 1e6)),
        size if size >= 9_999.5 => format!("{} k", number(value / 1e3)),
        size if size.fract() == 0.0 => integer(size as u64),
        _ => number(value),
    }
}

/// A share as percent, e.g. `0.53 %`; tiny shares are not rounded to nothing.
#[must_use]
pub fn percent(share: f64) -> String {
    let value = share * 100.0;
    if value == 0.0 || (99.995..=100.005).contains(&value) {
        return format!("{value:.0} %");
    }
    if value.abs() < 0.01 {
        "< 0.01 %".to_owned()
    } else {
        format!("{} %", number(value))
    }
}

/// Milliseconds since the origin as seconds, e.g. `12.3 s`.
#[must_use]
pub fn moment(at_ms: u64) -> String {
    format!("{:.1} s", at_ms as f64 / 1000.0)
}

/// The name of a quantile, e.g. `p99` or `p99.9`.
#[must_use]
pub fn quantile_name(q: f64) -> String {
    let text = format!("{:.3}", q * 100.0);
    format!("p{}", text.trim_end_matches('0').trim_end_matches('.'))
}

/// What may be said about a quantile, e.g. `1.31 s [1.24, 1.42]` or `needs 1,000 blocks, has 120`.
#[must_use]
pub fn quantile(quantile: &Quantile) -> String {
    match quantile.value {
        QuantileValue::Nothing => "nothing final".to_owned(),
        QuantileValue::Measured(estimate) => duration_estimate(&estimate),
        QuantileValue::NeedsBlocks { needed, have } => {
            format!("needs {} blocks, has {}", integer(needed), integer(have))
        }
        QuantileValue::AtLeastTimeout { timeout_ms } => format!(">= {}", duration_us(timeout_ms as f64 * 1000.0)),
    }
}

/// The first `length` characters of a digest.
#[must_use]
pub fn short(digest: &str, length: usize) -> String {
    digest.chars().take(length).collect()
}

/// `1 block`, `2 blocks`.
#[must_use]
pub fn plural(value: u64, word: &str) -> String {
    format!("{} {word}{}", integer(value), if value == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_digits() {
        let cases = [
            (0.0, "0"),
            (4998.4, "4,998"),
            (12.34, "12.3"),
            (1.305, "1.30"),
            (0.04561, "0.046"),
            (99.97, "100"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text, "{value}");
        }
        assert_eq!(number(-1234.0), "-1,234");
        assert_eq!(number(f64::NAN), "–");
        assert_eq!(integer(1_000_000), "1,000,000");
        assert_eq!(integer(0), "0");
    }

    #[test]
    fn durations_choose_their_unit_after_rounding() {
        assert_eq!(duration_us(850.0), "850 µs");
        assert_eq!(duration_us(12_345.0), "12.3 ms");
        assert_eq!(duration_us(999_900.0), "1.00 s");
        let estimate = Estimate {
            value: 1_310_000.0,
            low: 1_240_000.0,
            high: 1_420_000.0,
        };
        assert_eq!(duration_estimate(&estimate), "1.31 s [1.24, 1.42]");
        assert_eq!(moment(12_345), "12.3 s");
    }

    #[test]
    fn sizes_counts_and_shares() {
        assert_eq!(bytes(999.0), "999 B");
        assert_eq!(bytes(1_200_000.0), "1.20 MB");
        assert_eq!(count(12_345.0), "12.3 k");
        assert_eq!(count(9_999.0), "9,999");
        assert_eq!(count(8.0), "8");
        assert_eq!(percent(0.0), "0 %");
        assert_eq!(percent(1.0), "100 %");
        assert_eq!(percent(0.00001), "< 0.01 %");
        assert_eq!(percent(0.0123), "1.23 %");
    }

    #[test]
    fn quantiles_say_what_is_known() {
        assert_eq!(quantile_name(0.999), "p99.9");
        assert_eq!(quantile_name(0.5), "p50");
        let q = |value| quantile(&Quantile { q: 0.99, value });
        assert_eq!(
            q(QuantileValue::NeedsBlocks {
                needed: 1000,
                have: 120
            }),
            "needs 1,000 blocks, has 120"
        );
        assert_eq!(q(QuantileValue::AtLeastTimeout { timeout_ms: 10_000 }), ">= 10.0 s");
        assert_eq!(q(QuantileValue::Nothing), "nothing final");
        assert_eq!(plural(1, "block"), "1 block");
        assert_eq!(plural(2000, "block"), "2,000 blocks");
    }
}
