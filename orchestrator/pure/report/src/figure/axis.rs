//! Scales, ticks and the frame that charts share.

use super::scene::{Anchor, Ink, LABEL, Mark, Point, Scene, text_width};

/// Maps values to pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scale {
    /// Equal steps for equal differences.
    Linear { from: f64, to: f64 },
    /// Equal steps for equal ratios; both ends are above zero.
    Log { from: f64, to: f64 },
}

impl Scale {
    /// A linear scale over the values with round ends; `zero` makes it begin at 0.
    pub(crate) fn linear(values: impl IntoIterator<Item = f64>, zero: bool) -> Self {
        let (mut low, mut high) = range(values).unwrap_or((0.0, 1.0));
        if zero {
            low = low.min(0.0);
        }
        if high - low < 1e-9 {
            (low, high) = (low - f64::from(u8::from(!zero)), high + 1.0);
        }
        let step = round_step(high - low, 5.0);
        debug_assert!(step > 0.0, "ticks go upwards");
        Self::Linear {
            from: (low / step + 1e-9).floor() * step,
            to: (high / step - 1e-9).ceil() * step,
        }
    }

    /// A logarithmic scale over the values above zero, its ends at 1, 2 or 5 times a power of ten.
    pub(crate) fn log(values: impl IntoIterator<Item = f64>) -> Self {
        let (low, high) = range(values.into_iter().filter(|&value| value > 0.0)).unwrap_or((1.0, 10.0));
        let (mut from, mut to) = (one_two_five(low, f64::le), one_two_five(high, f64::ge));
        // Less than a factor of four is a flat line on a wide scale.
        if to / from < 4.0 {
            (from, to) = (one_two_five(from / 1.9, f64::le), one_two_five(to * 1.9, f64::ge));
        }
        Self::Log { from, to }
    }

    /// The share of the way from its lower to its upper end, cut to 0 to 1.
    pub(crate) fn share(self, value: f64) -> f64 {
        let share = match self {
            Self::Linear { from, to } => (value - from) / (to - from),
            Self::Log { from, to } => (value.max(from) / from).ln() / (to / from).ln(),
        };
        if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 }
    }

    /// Where labels go.
    pub(crate) fn ticks(self) -> Vec<f64> {
        match self {
            Self::Linear { from, to } => {
                let step = round_step(to - from, 5.0);
                let count = ((to - from) / step + 1e-6).floor() as usize;
                let first = (from / step - 1e-6).ceil() * step;
                (0..=count)
                    .map(|index| first + index as f64 * step)
                    .filter(|tick| *tick <= to + step * 1e-6)
                    .collect()
            }
            Self::Log { from, to } => log_ticks(from, to),
        }
    }
}

/// Smallest and largest of the finite values.
fn range(values: impl IntoIterator<Item = f64>) -> Option<(f64, f64)> {
    values
        .into_iter()
        .filter(|value| value.is_finite())
        .fold(None, |range, value| match range {
            None => Some((value, value)),
            Some((low, high)) => Some((value.min(low), value.max(high))),
        })
}

/// The round number (1, 2 or 5 times a power of ten) that makes about `steps` steps of a span.
fn round_step(span: f64, steps: f64) -> f64 {
    let raw = (span / steps).max(1e-12);
    let power = 10_f64.powf(raw.log10().floor());
    let factor = raw / power;
    debug_assert!((0.99..10.01).contains(&factor), "one digit before the point");
    let round = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .find(|&round| factor <= round + 1e-9)
        .unwrap_or(10.0);
    round * power
}

/// The nearest 1, 2 or 5 times a power of ten on one side of a value.
fn one_two_five(value: f64, is_beyond: fn(&f64, &f64) -> bool) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let candidates = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
    let beyond = |candidate: &&f64| is_beyond(candidate, &value);
    // The largest one below or the smallest one above.
    let found = if is_beyond(&0.0, &1.0) {
        candidates.iter().rfind(beyond)
    } else {
        candidates.iter().find(beyond)
    };
    found.copied().unwrap_or(value)
}

/// Ticks at 1, 2 and 5 times powers of ten, or at powers alone where those would crowd.
fn log_ticks(from: f64, to: f64) -> Vec<f64> {
    let decades = (to / from).log10();
    let factors: &[f64] = if decades > 3.5 { &[1.0] } else { &[1.0, 2.0, 5.0] };
    let first = from.log10().floor() as i32;
    let last = to.log10().ceil() as i32;
    let all = (first..=last).flat_map(|power| factors.iter().map(move |factor| factor * 10_f64.powi(power)));
    all.filter(|tick| *tick >= from * (1.0 - 1e-9) && *tick <= to * (1.0 + 1e-9))
        .collect()
}

/// The text of a tick without idle zeros: `50 ms` rather than `50.0 ms`, and a bare `0`.
fn tick_text(tick: f64, show: impl Fn(f64) -> String) -> String {
    if tick == 0.0 {
        return "0".to_owned();
    }
    let text = show(tick);
    let (number, unit) = text
        .split_once(' ')
        .map_or((text.as_str(), ""), |(number, unit)| (number, unit));
    let number = if number.contains('.') {
        number.trim_end_matches('0').trim_end_matches('.')
    } else {
        number
    };
    if unit.is_empty() {
        number.to_owned()
    } else {
        format!("{number} {unit}")
    }
}

/// A plotting area with its two scales.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    /// Left edge.
    pub(crate) left: f64,
    /// Upper edge.
    pub(crate) top: f64,
    /// Right edge.
    pub(crate) right: f64,
    /// Lower edge.
    pub(crate) bottom: f64,
    /// Horizontal scale.
    pub(crate) x: Scale,
    /// Vertical scale.
    pub(crate) y: Scale,
}

impl Frame {
    /// An area of a height below `top`, from the labels of the vertical axis to `margin` short of the page's edge.
    pub(crate) fn wide(top: f64, height: f64, margin: f64, x: Scale, y: Scale) -> Self {
        let (left, right, bottom) = (62.0, super::WIDE - margin, top + height);
        debug_assert!(left < right && top < bottom, "a frame has an inside");
        Self {
            left,
            top,
            right,
            bottom,
            x,
            y,
        }
    }

    /// The pixel of a pair of values.
    pub(crate) fn at(&self, x: f64, y: f64) -> Point {
        (self.x_at(x), self.y_at(y))
    }

    /// The horizontal pixel of a value.
    pub(crate) fn x_at(&self, x: f64) -> f64 {
        self.left + (self.right - self.left) * self.x.share(x)
    }

    /// The vertical pixel of a value.
    pub(crate) fn y_at(&self, y: f64) -> f64 {
        self.bottom - (self.bottom - self.top) * self.y.share(y)
    }

    /// Horizontal grid lines with labels, and what the axis shows above them.
    pub(crate) fn y_axis(&self, scene: &mut Scene, title: &str, show: impl Fn(f64) -> String) {
        let mut last: Option<f64> = None;
        for tick in self.y.ticks() {
            let y = self.y_at(tick);
            scene.line(vec![(self.left, y), (self.right, y)], Ink::Grid, 1.0);
            // Labels that would lie on each other are left out; the lines stay.
            if last.is_none_or(|last| (last - y).abs() >= LABEL + 2.0) {
                scene.label((self.left - 8.0, y), tick_text(tick, &show), Ink::Muted, Anchor::End);
                last = Some(y);
            }
        }
        scene.heading((self.left - 8.0 - 40.0, self.top - 18.0), title, Anchor::Start);
    }

    /// A base line with labels below it, and what the axis shows at its right end.
    pub(crate) fn x_axis(&self, scene: &mut Scene, title: &str, show: impl Fn(f64) -> String) {
        scene.line(
            vec![(self.left, self.bottom), (self.right, self.bottom)],
            Ink::Axis,
            1.0,
        );
        let mut free_from = f64::MIN;
        for tick in self.x.ticks() {
            let x = self.x_at(tick);
            scene.line(vec![(x, self.bottom), (x, self.bottom + 4.0)], Ink::Axis, 1.0);
            let text = tick_text(tick, &show);
            let (below, width) = (self.bottom + 14.0, text_width(&text, LABEL));
            // A wide label at the edge would leave the canvas.
            let middle = x.min(scene.width - width / 2.0);
            if middle - width / 2.0 >= free_from {
                scene.label((middle, below), text, Ink::Muted, Anchor::Middle);
                free_from = middle + width / 2.0 + 4.0;
            }
        }
        scene.label((self.right, self.bottom + 31.0), title, Ink::Muted, Anchor::End);
    }

    /// A filled shape between a line and the base.
    pub(crate) fn area(&self, scene: &mut Scene, values: &[Point], ink: Ink) {
        if let (Some(first), Some(last)) = (values.first(), values.last()) {
            let base = [(self.x_at(last.0), self.bottom), (self.x_at(first.0), self.bottom)];
            let points = values.iter().map(|&(x, y)| self.at(x, y)).chain(base).collect();
            scene.add(Mark::Area { points }, ink, 0.14);
        }
    }

    /// A line through values.
    pub(crate) fn series(&self, scene: &mut Scene, values: &[Point], ink: Ink, width: f64) {
        scene.line(values.iter().map(|&(x, y)| self.at(x, y)).collect(), ink, width);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn linear_scales_have_round_ends() {
        assert_eq!(Scale::linear([3.0, 97.0], true), Scale::Linear { from: 0.0, to: 100.0 });
        assert_eq!(
            Scale::linear([0.0, 97.0], true).ticks(),
            [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]
        );
        assert_eq!(Scale::linear([], true), Scale::Linear { from: 0.0, to: 1.0 });
        assert_eq!(Scale::linear([5.0], false), Scale::Linear { from: 4.0, to: 6.0 });
    }

    #[test]
    fn ticks_carry_no_idle_zeros() {
        assert_eq!(tick_text(50.0, |v| format!("{v:.1} ms")), "50 ms");
        assert_eq!(tick_text(2.5, |v| format!("{v:.2}")), "2.5");
        assert_eq!(tick_text(100.0, |v| v.to_string()), "100");
        assert_eq!(tick_text(0.0, |_| "0 µs".to_owned()), "0");
    }

    #[test]
    fn log_scales_enclose_their_values() {
        assert_eq!(Scale::log([13.0, 700.0]), Scale::Log { from: 10.0, to: 1000.0 });
        assert_eq!(
            Scale::log([13.0, 700.0]).ticks(),
            [10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0]
        );
        assert_eq!(Scale::log([]), Scale::Log { from: 1.0, to: 10.0 });
        assert_eq!(Scale::log([0.0, -3.0]), Scale::Log { from: 1.0, to: 10.0 });
        assert!((Scale::log([10.0, 1000.0]).share(100.0) - 0.5).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn every_value_lies_on_its_scale(values in prop::collection::vec(1e-3_f64..1e9, 1..20)) {
            for scale in [Scale::linear(values.clone(), false), Scale::linear(values.clone(), true), Scale::log(values.clone())] {
                let (Scale::Linear { from, to } | Scale::Log { from, to }) = scale;
                for value in &values {
                    prop_assert!(from <= value * (1.0 + 1e-9) && *value <= to * (1.0 + 1e-9), "{scale:?} {value}");
                }
                let ticks = scale.ticks();
                prop_assert!((2..=14).contains(&ticks.len()), "{scale:?} {ticks:?}");
            }
        }
    }
}
