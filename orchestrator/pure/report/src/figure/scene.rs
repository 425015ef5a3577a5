//! A drawing as a list of marks in logical pixels, independent of any output format.

/// What a mark is for; each output maps it to a colour of its own theme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ink {
    /// Text and strong lines.
    Text,
    /// Secondary text.
    Muted,
    /// Grid lines.
    Grid,
    /// Axis lines and edges of the topology.
    Axis,
    /// The surface that figures lie on.
    Surface,
    /// Data, first to sixth series.
    Series(usize),
    /// Good outcomes.
    Good,
    /// Losses and faults.
    Bad,
}

/// The name of the CSS variable and the light colour of each ink.
const INKS: [(Ink, &str, (u8, u8, u8)); 13] = [
    (Ink::Text, "ink", (0x1a, 0x20, 0x2a)),
    (Ink::Muted, "muted", (0x5a, 0x65, 0x72)),
    (Ink::Grid, "grid", (0xe6, 0xe8, 0xeb)),
    (Ink::Axis, "axis", (0xb9, 0xc0, 0xc9)),
    (Ink::Surface, "surface", (0xff, 0xff, 0xff)),
    (Ink::Series(0), "s1", (0x1f, 0x5f, 0xae)),
    (Ink::Series(1), "s2", (0xc2, 0x62, 0x0c)),
    (Ink::Series(2), "s3", (0x0b, 0x7f, 0x73)),
    (Ink::Series(3), "s4", (0x76, 0x4a, 0xb3)),
    (Ink::Series(4), "s5", (0xb9, 0x33, 0x63)),
    (Ink::Series(5), "s6", (0x6f, 0x71, 0x17)),
    (Ink::Good, "good", (0x19, 0x7a, 0x48)),
    (Ink::Bad, "bad", (0xbd, 0x2f, 0x28)),
];

impl Ink {
    /// Every ink with its CSS variable and light colour.
    pub(crate) fn all() -> impl Iterator<Item = (&'static str, (u8, u8, u8))> {
        INKS.iter().map(|&(_, name, rgb)| (name, rgb))
    }

    /// Its colour in the light theme.
    pub(crate) fn light(self) -> (u8, u8, u8) {
        let wanted = if let Self::Series(index) = self {
            Self::Series(index % 6)
        } else {
            self
        };
        INKS.iter()
            .find(|(ink, ..)| *ink == wanted)
            .map_or((0, 0, 0), |&(_, _, rgb)| rgb)
    }
}

/// Where text stands relative to its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Anchor {
    /// The point is its left end.
    Start,
    /// The point is its centre.
    Middle,
    /// The point is its right end.
    End,
}

/// A point in logical pixels, y downwards.
pub(crate) type Point = (f64, f64);

/// One thing to draw.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Mark {
    /// Connected line segments.
    Line { points: Vec<Point>, width: f64 },
    /// A filled polygon.
    Area { points: Vec<Point> },
    /// A filled rectangle from its upper left corner.
    Rect { at: Point, size: Point },
    /// A circle, filled or as an outline.
    Circle { centre: Point, radius: f64, filled: bool },
    /// A line of text, vertically centred on its point.
    Text {
        at: Point,
        text: String,
        size: f64,
        anchor: Anchor,
        bold: bool,
    },
}

impl Mark {
    /// The same mark somewhere else.
    pub(crate) fn moved(&self, dx: f64, dy: f64) -> Self {
        let by = |point: &Point| (point.0 + dx, point.1 + dy);
        let mut mark = self.clone();
        match &mut mark {
            Self::Line { points, .. } | Self::Area { points } => points.iter_mut().for_each(|point| *point = by(point)),
            Self::Rect { at, .. } | Self::Text { at, .. } => *at = by(at),
            Self::Circle { centre, .. } => *centre = by(centre),
        }
        mark
    }
}

/// Marks in drawing order on a canvas.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scene {
    pub(crate) width: f64,
    pub(crate) height: f64,
    pub(crate) marks: Vec<(Mark, Ink, f64)>,
}

/// Text size of axis labels and legends, logical pixels.
pub(crate) const LABEL: f64 = 12.0;

impl Scene {
    /// An empty canvas.
    pub(crate) fn new(width: f64, height: f64) -> Self {
        debug_assert!(width > 0.0 && height > 0.0, "a canvas has an area");
        Self {
            width,
            height,
            marks: Vec::new(),
        }
    }

    /// Adds a mark with an opacity from 0 to 1.
    pub(crate) fn add(&mut self, mark: Mark, ink: Ink, opacity: f64) {
        debug_assert!((0.0..=1.0).contains(&opacity), "an opacity is a share");
        self.marks.push((mark, ink, opacity));
    }

    /// A straight or broken line.
    pub(crate) fn line(&mut self, points: Vec<Point>, ink: Ink, width: f64) {
        if points.len() > 1 {
            self.add(Mark::Line { points, width }, ink, 1.0);
        }
    }

    /// A dashed straight line.
    pub(crate) fn dashed(&mut self, from: Point, to: Point, ink: Ink) {
        const DASH: f64 = 5.0;
        let length = (to.0 - from.0).hypot(to.1 - from.1);
        let dashes = (length / (2.0 * DASH)).ceil().max(1.0) as usize;
        for index in 0..dashes {
            let at = |step: f64| {
                let share = (step * DASH / length).min(1.0);
                (from.0 + (to.0 - from.0) * share, from.1 + (to.1 - from.1) * share)
            };
            let first = 2.0 * index as f64;
            self.line(vec![at(first), at(first + 1.0)], ink, 1.2);
        }
    }

    /// A filled rectangle with an opacity.
    pub(crate) fn rect(&mut self, at: Point, size: Point, ink: Ink, opacity: f64) {
        self.add(Mark::Rect { at, size }, ink, opacity);
    }

    /// A filled circle.
    pub(crate) fn dot(&mut self, centre: Point, radius: f64, ink: Ink, opacity: f64) {
        let filled = true;
        self.add(Mark::Circle { centre, radius, filled }, ink, opacity);
    }

    /// A label in the usual size.
    pub(crate) fn label(&mut self, at: Point, text: impl Into<String>, ink: Ink, anchor: Anchor) {
        self.add(
            Mark::Text {
                at,
                text: text.into(),
                size: LABEL,
                anchor,
                bold: false,
            },
            ink,
            1.0,
        );
    }

    /// A bold label in the usual size.
    pub(crate) fn heading(&mut self, at: Point, text: impl Into<String>, anchor: Anchor) {
        self.add(
            Mark::Text {
                at,
                text: text.into(),
                size: LABEL,
                anchor,
                bold: true,
            },
            Ink::Text,
            1.0,
        );
    }

    /// A value with a 95 % interval in both directions: a cross with end ticks and a dot.
    pub(crate) fn cross(&mut self, centre: Point, x: (f64, f64), y: (f64, f64), ink: Ink) {
        const TICK: f64 = 4.0;
        self.line(vec![(x.0, centre.1), (x.1, centre.1)], ink, 1.6);
        self.line(vec![(centre.0, y.0), (centre.0, y.1)], ink, 1.6);
        for end in [x.0, x.1] {
            self.line(vec![(end, centre.1 - TICK), (end, centre.1 + TICK)], ink, 1.6);
        }
        for end in [y.0, y.1] {
            self.line(vec![(centre.0 - TICK, end), (centre.0 + TICK, end)], ink, 1.6);
        }
        self.dot(centre, 4.0, ink, 1.0);
    }

    /// Legend entries side by side from `at`: a line sample each, told apart by position and text as well as colour.
    pub(crate) fn legend(&mut self, at: Point, entries: &[(&str, Ink)]) {
        let mut x = at.0;
        for (text, ink) in entries {
            self.line(vec![(x, at.1), (x + 16.0, at.1)], *ink, 2.4);
            self.label((x + 22.0, at.1), *text, Ink::Muted, Anchor::Start);
            x += 22.0 + text_width(text, LABEL) + 20.0;
        }
    }
}

/// A rough width of a text in a proportional sans-serif face.
pub(crate) fn text_width(text: &str, size: f64) -> f64 {
    text.chars().count() as f64 * size * 0.54
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ink_has_a_colour_of_its_own() {
        let mut colours: Vec<_> = Ink::all().map(|(_, rgb)| rgb).collect();
        colours.sort_unstable();
        colours.dedup();
        assert_eq!(colours.len(), INKS.len());
        assert_eq!(Ink::Series(7).light(), Ink::Series(1).light());
    }

    #[test]
    fn dashes_end_where_the_line_ends() {
        let mut scene = Scene::new(100.0, 10.0);
        scene.dashed((0.0, 5.0), (93.0, 5.0), Ink::Axis);
        assert_eq!(scene.marks.len(), 10);
        let Mark::Line { points, .. } = &scene.marks[9].0 else {
            panic!()
        };
        assert_eq!(points[1], (93.0, 5.0));
    }
}
