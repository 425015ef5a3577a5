//! A line the size of a word, for table cells.

use super::{
    axis::Scale,
    paint::draw_body,
    scene::{Ink, Mark, Scene},
};

const WIDTH: f64 = 84.0;
const HEIGHT: f64 = 18.0;
/// Points of one line: what fits the width and keeps a hundred rows small.
const POINTS_MAX: usize = 28;

/// The values as an inline SVG from zero to their largest, named by `label`; empty for fewer than two values.
pub(crate) fn sparkline(values: &[f64], ink: Ink, label: &str) -> String {
    if values.len() < 2 {
        return String::new();
    }
    let step = values.len().div_ceil(POINTS_MAX);
    let thinned: Vec<f64> = values
        .chunks(step)
        .map(|chunk| chunk.iter().copied().fold(0.0, f64::max))
        .collect();
    let top = Scale::Linear {
        from: 0.0,
        to: thinned.iter().copied().fold(1e-9, f64::max),
    };
    let x = |index: usize| 1.0 + (WIDTH - 2.0) * index as f64 / (thinned.len() - 1).max(1) as f64;
    let points = thinned
        .iter()
        .enumerate()
        .map(|(i, &value)| (x(i), HEIGHT - 1.5 - (HEIGHT - 3.0) * top.share(value)));
    let mut scene = Scene::new(WIDTH, HEIGHT);
    scene.add(
        Mark::Line {
            points: points.collect(),
            width: 1.3,
        },
        ink,
        1.0,
    );
    let body = draw_body(&scene).unwrap_or_default();
    format!(
        "<svg class=\"spark\" role=\"img\" viewBox=\"0 0 336 72\" aria-label=\"{}\">{body}</svg>",
        super::escape(label)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparkline_is_small_and_named() {
        let values: Vec<f64> = (0..1000).map(f64::from).collect();
        let svg = sparkline(&values, Ink::Series(0), "cpu of <b>");
        assert!(svg.len() < 700, "{}", svg.len());
        assert!(
            svg.contains("aria-label=\"cpu of &lt;b&gt;\"") && svg.contains("var(--s1)"),
            "{svg}"
        );
        assert_eq!(sparkline(&[1.0], Ink::Series(0), "x"), "");
    }
}
