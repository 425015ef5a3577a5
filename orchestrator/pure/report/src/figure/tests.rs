//! Figures of made-up runs: which there are, what they say, and what their files hold.

use super::*;
use crate::{
    evaluate,
    fixture::{self, EIGHT, HUNDRED, SMALL},
    model::RunRecord,
};

mod content;

#[test]
fn a_full_run_has_every_figure() {
    let figures = figures(&evaluate(fixture::record(EIGHT), false));
    let ids: Vec<&str> = figures.iter().map(|figure| figure.id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "latency-throughput",
            "time-strip",
            "accounting",
            "percentiles",
            "stages",
            "throughput",
            "latency-over-time",
            "backlog",
            "blocks",
            "topology",
            "protocols",
            "cpu",
            "memory",
            "traffic"
        ]
    );
    for figure in &figures {
        assert!(
            !figure.title.is_empty() && figure.description.len() > 30,
            "{}",
            figure.id
        );
        assert!(!figure.table.rows.is_empty(), "{}", figure.id);
        assert!(
            figure.table.rows.iter().all(|row| row.len() == figure.table.head.len()),
            "{}",
            figure.id
        );
    }
}

#[test]
fn an_empty_record_has_no_figure() {
    assert!(figures(&evaluate(RunRecord::default(), false)).is_empty());
}

#[test]
fn marks_stay_on_the_canvas() {
    for shape in [SMALL, EIGHT, HUNDRED] {
        for figure in figures(&evaluate(fixture::record(shape), false)) {
            let (width, height) = (figure.scene.width, figure.scene.height);
            for (mark, ..) in &figure.scene.marks {
                let points = match mark {
                    scene::Mark::Line { points, .. } | scene::Mark::Area { points } => points.clone(),
                    scene::Mark::Rect { at, size } => vec![*at, (at.0 + size.0, at.1 + size.1)],
                    scene::Mark::Circle { centre, .. } => vec![*centre],
                    scene::Mark::Text { at, .. } => vec![*at],
                };
                let inside =
                    |p: &(f64, f64)| (-1.0..=width + 1.0).contains(&p.0) && (-1.0..=height + 1.0).contains(&p.1);
                assert!(points.iter().all(inside), "{} {mark:?}", figure.id);
            }
        }
    }
}

#[test]
fn inline_figures_take_every_colour_from_the_page() {
    for figure in figures(&evaluate(fixture::record(EIGHT), false)) {
        let svg = figure.inline_svg().unwrap();
        assert!(!svg.contains("=\"#"), "{}", figure.id);
        assert!(svg.contains("<title id=") && svg.contains("<desc id="), "{}", figure.id);
        assert!(figure.svg().unwrap().contains("xmlns=\"http://www.w3.org/2000/svg\""));
    }
}

#[test]
fn names_cannot_break_out_of_a_figure() {
    let mut record = fixture::record(SMALL);
    record.nodes[0].name = "</text><script>alert(1)</script>\u{1b}".to_owned();
    record.nodes[0].region = "\"><script>".to_owned();
    let result = evaluate(record, false);
    for figure in figures(&result) {
        for svg in [figure.inline_svg().unwrap(), figure.svg().unwrap()] {
            assert!(!svg.contains("<script") && !svg.contains('\u{1b}'), "{}", figure.id);
        }
    }
}

#[test]
fn png_files_are_images_of_twice_the_size() {
    let figures = figures(&evaluate(fixture::record(SMALL), false));
    let figure = figures.iter().find(|figure| figure.id == "stages").unwrap();
    let bytes = figure.png().unwrap();
    let reader = png::Decoder::new(bytes.as_slice()).read_info().unwrap();
    // The title and margins come on top.
    let least = ((figure.scene.width * 2.0) as u32, (figure.scene.height * 2.0) as u32);
    assert!(reader.info().width > least.0 && reader.info().height > least.1);
    assert_eq!(reader.info().width % 2, 0);
    assert!(bytes.len() < 200_000, "{}", bytes.len());
}
