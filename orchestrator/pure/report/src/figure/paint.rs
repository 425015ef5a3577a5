//! Scenes through plotters' backends: SVG that follows the page's theme, SVG that stands alone, and PNG.

use super::{
    Figure,
    scene::{Anchor, Ink, Mark, Point, Scene},
};
use plotters::prelude::{BitMapBackend, DrawingBackend, FontFamily, FontStyle, IntoFont, RGBColor, SVGBackend};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, ShapeStyle, TextStyle, register_font};

/// Backends know whole pixels only: drawing four times as large keeps a quarter of a pixel.
const FINE: f64 = 4.0;
/// The bitmap is drawn this much larger than logical pixels, then averaged down to `PNG_SCALE` for smooth edges.
const PNG_FINE: f64 = 4.0;
/// Pixels of the PNG for each logical pixel.
const PNG_SCALE: f64 = 2.0;
/// plotters' font sizes are this much larger than those of CSS.
const FONT_RATIO: f64 = 1.24;
/// The registered face of bitmaps: Ubuntu Light, under the Ubuntu Font Licence 1.0.
const FACE: &str = "figure";

/// Why a figure could not be drawn.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot draw figure `{figure}`: {reason}")]
pub struct DrawError {
    /// The figure's name.
    pub figure: String,
    /// What the backend said.
    pub reason: String,
}

impl Figure {
    /// The figure for a page that defines the colour variables, without a namespace.
    ///
    /// # Errors
    /// [`DrawError`] when the backend refuses a mark.
    pub fn inline_svg(&self) -> Result<String, DrawError> {
        let body = draw_body(&self.scene).map_err(|reason| self.error(&reason))?;
        Ok(format!("<svg role=\"img\" {}{body}</svg>", self.svg_head(&self.scene)))
    }

    /// The figure as a file of its own, in the light theme.
    ///
    /// # Errors
    /// [`DrawError`] when the backend refuses a mark.
    pub fn svg(&self) -> Result<String, DrawError> {
        let scene = self.titled();
        let body = svg_body(&scene).map_err(|reason| self.error(&reason))?;
        let (width, height) = (scene.width, scene.height);
        Ok(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" width=\"{width}\" height=\"{height}\" \
             font-family=\"system-ui, sans-serif\" {}<rect width=\"100%\" height=\"100%\" fill=\"#FFFFFF\"/>{body}</svg>\n",
            self.svg_head(&scene)
        ))
    }

    /// What an SVG element says about itself: its canvas and the words for who cannot see it.
    fn svg_head(&self, scene: &Scene) -> String {
        let id = &self.id;
        let words = format!("{} {}", self.description, self.context);
        let [title, description] = [&self.title, words.trim_end()].map(escape);
        format!(
            "viewBox=\"0 0 {} {}\" stroke-linejoin=\"round\" aria-labelledby=\"{id}-t {id}-d\">\
             <title id=\"{id}-t\">{title}</title><desc id=\"{id}-d\">{description}</desc>",
            scene.width * FINE,
            scene.height * FINE
        )
    }

    /// The figure as a PNG file in the light theme, two pixels to a logical one.
    ///
    /// # Errors
    /// [`DrawError`] when the backend refuses a mark or the encoder its size.
    pub fn png(&self) -> Result<Vec<u8>, DrawError> {
        let registered = register_font(FACE, FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT);
        registered.map_err(|_| self.error(&"the font is not readable"))?;
        let scene = self.titled();
        let (width, height) = ((scene.width * PNG_FINE) as u32, (scene.height * PNG_FINE) as u32);
        let mut pixels = vec![0xff; width as usize * height as usize * 3];
        {
            let mut backend = BitMapBackend::with_buffer(&mut pixels, (width, height));
            draw(&scene, &mut backend, PNG_FINE, FontFamily::Name(FACE)).map_err(|reason| self.error(&reason))?;
        }
        let by = (PNG_FINE / PNG_SCALE) as usize;
        encode(
            &shrink(&pixels, width as usize, by),
            width / by as u32,
            height / by as u32,
        )
        .map_err(|reason| self.error(&reason))
    }

    /// The scene with its title above and a margin around: what a page would give it.
    fn titled(&self) -> Scene {
        const TITLE: f64 = 17.0;
        const MARGIN: f64 = 20.0;
        const TOP: f64 = 52.0;
        let mut scene = Scene::new(self.scene.width + 2.0 * MARGIN, self.scene.height + TOP + MARGIN / 2.0);
        let title = Mark::Text {
            at: (MARGIN, MARGIN + TITLE / 2.0),
            text: self.title.clone(),
            size: TITLE,
            anchor: Anchor::Start,
            bold: true,
        };
        scene.add(title, Ink::Text, 1.0);
        scene.marks.extend(
            self.scene
                .marks
                .iter()
                .map(|(mark, ink, opacity)| (mark.moved(MARGIN, TOP), *ink, *opacity)),
        );
        scene
    }

    /// A failure of this figure.
    fn error(&self, reason: &dyn std::fmt::Display) -> DrawError {
        DrawError {
            figure: self.id.clone(),
            reason: reason.to_string(),
        }
    }
}

/// The marks of a scene as SVG elements with the colours of the page's theme.
pub(super) fn draw_body(scene: &Scene) -> Result<String, String> {
    let mut body = svg_body(scene)?;
    for (name, (r, g, b)) in Ink::all() {
        body = body.replace(&format!("\"#{r:02X}{g:02X}{b:02X}\""), &format!("\"var(--{name})\""));
    }
    Ok(body)
}

/// The marks of a scene as SVG elements with the light theme's colours.
fn svg_body(scene: &Scene) -> Result<String, String> {
    let mut text = String::new();
    let size = ((scene.width * FINE) as u32, (scene.height * FINE) as u32);
    {
        let mut backend = SVGBackend::with_string(&mut text, size);
        draw(scene, &mut backend, FINE, FontFamily::SansSerif)?;
    }
    let body = text.split_once('>').map_or("", |(_, body)| body);
    Ok(compact(body.trim_end().trim_end_matches("</svg>")))
}

/// Draws every mark in order through any backend.
fn draw<B: DrawingBackend>(scene: &Scene, backend: &mut B, scale: f64, face: FontFamily<'_>) -> Result<(), String> {
    for (mark, ink, opacity) in &scene.marks {
        let (r, g, b) = ink.light();
        let colour = RGBColor(r, g, b).mix(*opacity);
        draw_mark(mark, colour, backend, scale, face)?;
    }
    backend.present().map_err(|error| error.to_string())
}

/// One mark through a backend, `scale` backend pixels to a logical one.
fn draw_mark<B: DrawingBackend>(
    mark: &Mark,
    colour: plotters::style::RGBAColor,
    backend: &mut B,
    scale: f64,
    face: FontFamily<'_>,
) -> Result<(), String> {
    let at = |point: &Point| ((point.0 * scale).round() as i32, (point.1 * scale).round() as i32);
    let stroke = |width: f64| ShapeStyle {
        color: colour,
        filled: false,
        stroke_width: (width * scale).round() as u32,
    };
    let drawn = match mark {
        Mark::Line { points, width } if points.len() == 2 => {
            backend.draw_line(at(&points[0]), at(&points[1]), &stroke(*width))
        }
        Mark::Line { points, width } => backend.draw_path(points.iter().map(at), &stroke(*width)),
        Mark::Area { points } => backend.fill_polygon(points.iter().map(at), &colour.filled()),
        Mark::Rect { at: corner, size } => {
            let far = (corner.0 + size.0, corner.1 + size.1);
            backend.draw_rect(at(corner), at(&far), &colour.filled(), true)
        }
        Mark::Circle { centre, radius, filled } => {
            backend.draw_circle(at(centre), (radius * scale).round() as u32, &stroke(1.5), *filled)
        }
        Mark::Text {
            at: point,
            text,
            size,
            anchor,
            bold,
        } => {
            let font = (face, size * scale * FONT_RATIO).into_font();
            let weight = if *bold { FontStyle::Bold } else { FontStyle::Normal };
            let horizontal = match anchor {
                Anchor::Start => HPos::Left,
                Anchor::Middle => HPos::Center,
                Anchor::End => HPos::Right,
            };
            let style = TextStyle::from(font.style(weight))
                .color(&colour)
                .pos(Pos::new(horizontal, VPos::Center));
            let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            // The bitmap font is laid out a little too high for its centre.
            let sunk = if matches!(face, FontFamily::Name(_)) {
                (point.0, point.1 + size * 0.2)
            } else {
                *point
            };
            backend.draw_text(&clean, &style, at(&sunk))
        }
    };
    drawn.map_err(|error| error.to_string())
}

/// Leaves out what SVG assumes anyway and what the page sets once: about a third of the text.
fn compact(body: &str) -> String {
    let mut text = body.replace('\n', "");
    for idle in [
        " opacity=\"1\"",
        " stroke=\"none\" stroke-width=\"6\"",
        " stroke=\"none\"",
        " font-family=\"sans-serif\"",
        " text-anchor=\"start\"",
    ] {
        text = text.replace(idle, "");
    }
    text.replace(" \"/>", "\"/>")
}

/// Averages squares of `by` pixels: smooth edges from a larger drawing.
fn shrink(pixels: &[u8], width: usize, by: usize) -> Vec<u8> {
    debug_assert!(by > 0 && width.is_multiple_of(by), "whole squares only");
    let row = width * 3;
    let sums = pixels.chunks_exact(row * by).flat_map(|rows| {
        let mut sums = vec![0_u32; row / by];
        for (index, value) in rows.iter().enumerate() {
            let column = index % row;
            // Three channels lie side by side, so that `by` pixels span `3 * by` bytes.
            sums[column / (3 * by) * 3 + column % 3] += u32::from(*value);
        }
        sums
    });
    sums.map(|sum| (sum / (by * by) as u32) as u8).collect()
}

/// RGB pixels as a PNG file.
fn encode(pixels: &[u8], width: u32, height: u32) -> Result<Vec<u8>, png::EncodingError> {
    debug_assert_eq!(
        pixels.len(),
        width as usize * height as usize * 3,
        "three bytes for each pixel"
    );
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    // Figures are mostly flat: the fast way costs a few kilobytes and saves most of the time.
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(bytes)
}

/// Text for the contents or a quoted attribute of an XML or HTML element; control characters become a mark.
#[must_use]
pub(crate) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\n' | '\t' => safe.push(' '),
            other if other.is_control() || matches!(other, '\u{fffe}' | '\u{ffff}') => safe.push('\u{fffd}'),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::Table;
    use proptest::prelude::*;

    fn figure(scene: Scene) -> Figure {
        Figure {
            id: "made-up".to_owned(),
            title: "A <title>".to_owned(),
            description: "What there is".to_owned(),
            context: "and when".to_owned(),
            table: Table::default(),
            scene,
        }
    }

    fn every_mark() -> Scene {
        let mut scene = Scene::new(100.0, 50.0);
        scene.line(vec![(0.0, 0.0), (10.0, 10.25)], Ink::Series(0), 1.5);
        scene.line(vec![(0.0, 0.0), (10.0, 10.0), (20.0, 0.0)], Ink::Series(1), 1.0);
        scene.add(
            Mark::Area {
                points: vec![(1.0, 1.0), (2.0, 2.0), (3.0, 1.0)],
            },
            Ink::Good,
            0.5,
        );
        scene.rect((5.0, 5.0), (10.0, 4.0), Ink::Bad, 0.25);
        scene.dot((50.0, 25.0), 3.0, Ink::Text, 1.0);
        scene.add(
            Mark::Circle {
                centre: (60.0, 25.0),
                radius: 3.0,
                filled: false,
            },
            Ink::Muted,
            1.0,
        );
        scene.label((20.0, 20.0), "a & b", Ink::Axis, Anchor::Middle);
        scene.heading((30.0, 20.0), "head", Anchor::End);
        scene
    }

    #[test]
    fn every_mark_becomes_its_element() {
        let svg = figure(every_mark()).inline_svg().unwrap();
        for (element, count) in [
            ("<line", 1),
            ("<polyline", 1),
            ("<polygon", 1),
            ("<rect", 1),
            ("<circle", 2),
            ("<text", 2),
        ] {
            assert_eq!(svg.matches(element).count(), count, "{element} in {svg}");
        }
        assert!(svg.contains("viewBox=\"0 0 400 200\""), "{svg}");
        assert!(
            svg.contains("x2=\"40\" y2=\"41\""),
            "a quarter of a pixel is kept: {svg}"
        );
        assert!(svg.contains("a &amp; b") && svg.contains("A &lt;title&gt;"), "{svg}");
        assert!(svg.contains("What there is and when"), "{svg}");
    }

    #[test]
    fn inline_figures_carry_no_idle_attributes() {
        let svg = figure(every_mark()).inline_svg().unwrap();
        for idle in [
            "opacity=\"1\"",
            "font-family",
            "text-anchor=\"start\"",
            "stroke=\"none\"",
            "\n",
        ] {
            assert!(!svg.contains(idle), "{idle} in {svg}");
        }
        assert!(svg.contains("opacity=\"0.25\""));
    }

    #[test]
    fn a_file_has_a_background_and_its_title() {
        let svg = figure(every_mark()).svg().unwrap();
        assert!(svg.starts_with("<svg xmlns=") && svg.ends_with("</svg>\n"), "{svg}");
        assert!(svg.contains("<rect width=\"100%\" height=\"100%\" fill=\"#FFFFFF\"/>"));
        assert_eq!(
            svg.matches("A &lt;title&gt;").count(),
            2,
            "once for readers, once drawn"
        );
        assert!(!svg.contains("var("), "a file stands alone");
    }

    #[test]
    fn averaging_squares_on_known_pixels() {
        let black_and_white = [0, 0, 0, 255, 255, 255, 0, 0, 0, 255, 255, 255];
        assert_eq!(shrink(&black_and_white, 2, 2), [127, 127, 127]);
        let two = [10, 20, 30, 10, 20, 30, 90, 80, 70, 90, 80, 70].repeat(2);
        assert_eq!(shrink(&two, 4, 2), [10, 20, 30, 90, 80, 70]);
        assert_eq!(shrink(&two, 4, 1), two);
    }

    #[test]
    fn a_bitmap_shows_the_marks() {
        let mut scene = Scene::new(40.0, 20.0);
        scene.rect((0.0, 0.0), (40.0, 20.0), Ink::Bad, 1.0);
        let bytes = figure(scene).png().unwrap();
        let mut reader = png::Decoder::new(bytes.as_slice()).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size()];
        let info = reader.next_frame(&mut pixels).unwrap();
        let (r, g, b) = Ink::Bad.light();
        let red = pixels.chunks_exact(3).filter(|pixel| **pixel == [r, g, b]).count();
        assert!(red >= 79 * 39, "{red} of {} pixels", info.width * info.height);
        assert_eq!(pixels[..3], [255, 255, 255], "the margin is paper");
        let dark = pixels
            .chunks_exact(3)
            .filter(|pixel| pixel.iter().all(|&value| value < 110))
            .count();
        assert!(dark > 20, "the title is drawn in the bitmap font");
    }

    #[test]
    fn moving_moves_every_kind_of_mark() {
        let scene = every_mark();
        let moved = |mark: &Mark| mark.moved(3.0, 4.0).moved(-3.0, -4.0);
        assert!(scene.marks.iter().all(|(mark, ..)| moved(mark) == *mark));
        assert!(scene.marks.iter().all(|(mark, ..)| mark.moved(3.0, 4.0) != *mark));
    }

    proptest! {
        #[test]
        fn escaped_text_holds_no_markup(text in "\\PC{0,40}|[<>&\"'\u{0}-\u{1f}]{0,20}") {
            let safe = escape(&text);
            prop_assert!(!safe.contains(['<', '>', '"', '\'']));
            prop_assert!(!safe.chars().any(char::is_control));
            let entities = ["&lt;", "&gt;", "&amp;", "&quot;", "&#39;"];
            let bare = safe.match_indices('&').filter(|(at, _)| !entities.iter().any(|entity| safe[*at..].starts_with(entity)));
            prop_assert_eq!(bare.count(), 0);
        }
    }
}
