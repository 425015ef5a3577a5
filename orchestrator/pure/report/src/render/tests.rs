//! Whole documents of made-up runs: sizes, isolation, escaping and what is left out.

use super::*;
use crate::{
    evaluate,
    fixture::{self, EIGHT, HUNDRED, SMALL},
    model::{Accounting, RunRecord},
};

fn page(record: RunRecord) -> String {
    html(&evaluate(record, false)).unwrap()
}

#[test]
fn the_page_fetches_and_runs_nothing() {
    let page = page(fixture::record(EIGHT));
    let policy = "http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'nonce-";
    assert!(page.contains(policy));
    for forbidden in [
        "<script", "http://", "https://", "//www", "src=", "url(", "@import", "style=\"", "onload", "<link", "<iframe",
    ] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    let links = page.match_indices("href=\"").map(|(at, _)| &page[at + 6..at + 7]);
    assert!(links.into_iter().all(|first| first == "#"));
}

#[test]
fn the_page_is_small_at_a_hundred_nodes() {
    let page = page(fixture::record(HUNDRED));
    assert!(page.len() < 400_000, "{} bytes", page.len());
    assert!(page.contains("full-79"));
}

#[test]
fn the_first_screen_is_in_order() {
    let page = page(fixture::record(EIGHT));
    let marks = [
        "class=\"verdict\"",
        "class=\"chips\"",
        "class=\"cards\"",
        "id=\"latency-throughput\"",
        "id=\"time-strip\"",
        "id=\"accounting\"",
        "id=\"reproduce\"",
        "id=\"latency\"",
        "id=\"network\"",
        "id=\"nodes\"",
        "id=\"events\"",
        "id=\"correctness\"",
        "id=\"environment\"",
        "id=\"method\"",
        "id=\"files\"",
    ];
    let places: Vec<usize> = marks
        .iter()
        .map(|mark| page.find(mark).unwrap_or_else(|| panic!("{mark}")))
        .collect();
    assert!(places.is_sorted(), "{places:?}");
    assert_eq!(page.matches("class=\"card\"").count(), 4);
    assert!(!page.contains("<b>gate</b>"));
}

#[test]
fn every_figure_of_the_page_has_title_words_and_table() {
    let page = page(fixture::record(EIGHT));
    let figures = page.matches("<figure").count();
    assert_eq!(figures, 14);
    for part in [
        "<figcaption><h3>",
        "<title id=",
        "<desc id=",
        "<details><summary>Data table",
    ] {
        assert_eq!(page.matches(part).count(), figures, "{part}");
    }
}

#[test]
fn names_from_outside_stay_text() {
    let mut record = fixture::record(EIGHT);
    let evil = "<script>alert(1)</script>\"'&";
    record.identity.scenario = evil.to_owned();
    record.identity.question = evil.to_owned();
    record.identity.reproduce = evil.to_owned();
    record.nodes[2].name = evil.to_owned();
    record.nodes[2].address = evil.to_owned();
    record.events[0].text = evil.to_owned();
    record.invariants[0].holds = false;
    record.invariants[0].evidence = evil.to_owned();
    record.accounting.rejected[0].reason = evil.to_owned();
    record.environment[0].value = evil.to_owned();
    record.loads[0].label = Some(evil.to_owned());
    record.files[0].path = evil.to_owned();
    let result = evaluate(record, false);
    assert!(!html(&result).unwrap().contains("<script"));
    // Markdown takes what stands between two backticks literally.
    assert!(
        markdown(&result)
            .split('`')
            .step_by(2)
            .all(|outside| !outside.contains("<script"))
    );
    assert!(!junit(&result).contains("<script"));
}

#[test]
fn an_incorrect_run_shows_no_speed_first() {
    let mut record = fixture::record(EIGHT);
    record.invariants[0].holds = false;
    let result = evaluate(record, false);
    let page = html(&result).unwrap();
    assert!(!page.contains("class=\"cards\"") && !page.contains("id=\"latency-throughput\""));
    assert!(page.contains("class=\"badge bad\"") && page.contains("INCORRECT"));
    assert!(!markdown(&result).contains("tx/s"));
}

#[test]
fn empty_and_fruitless_runs_render() {
    let empty = evaluate(RunRecord::default(), false);
    let mut fruitless = fixture::record(EIGHT);
    fruitless.blocks.clear();
    fruitless.latency = crate::model::Latency {
        timeout_ms: 10_000,
        ..Default::default()
    };
    fruitless.seconds.iter_mut().for_each(|second| second.finalised = 0);
    fruitless.accounting = Accounting {
        intended: 30_000,
        timed_out: 30_000,
        ..Accounting::default()
    };
    let fruitless = evaluate(fruitless, false);
    for result in [&empty, &fruitless] {
        let documents = [
            html(result).unwrap(),
            markdown(result),
            text(result, "report.html"),
            junit(result),
            seconds_csv(result),
        ];
        for document in documents {
            assert!(!document.contains("NaN") && !document.contains("inf "), "{document}");
        }
    }
    let page = html(&fruitless).unwrap();
    assert!(page.contains("none of 30,000 transactions became final"));
    assert!(
        page.contains("&gt;= 10.0 s") || page.contains("&#62;= 10.0") || page.contains("&#62;="),
        "the median is at least the timeout"
    );
    assert!(!page.contains("id=\"percentiles\""));
}

#[test]
fn markdown_fits_a_comment() {
    for shape in [SMALL, EIGHT, HUNDRED] {
        let mut record = fixture::record(shape);
        for index in 0..40 {
            record.invariants.push(crate::model::Invariant {
                name: format!("check {index}"),
                ..Default::default()
            });
        }
        let text = markdown(&evaluate(record, false));
        assert!(text.lines().count() <= super::markdown::LINES_MAX, "{text}");
        assert!(text.contains("Run again: `cargo run"), "{text}");
    }
}

#[test]
fn terminal_text_of_a_small_run() {
    insta::assert_snapshot!(text(
        &evaluate(fixture::record(SMALL), false),
        "runs/quickstart/report.html"
    ));
}

#[test]
fn terminal_text_names_what_is_unusual_among_many() {
    let mut record = fixture::record(HUNDRED);
    record.processes[77].restarts = 2;
    let text = text(&evaluate(record, false), "report.html");
    assert!(text.lines().count() < 50);
    assert!(
        text.contains("full-57") && text.contains("and 79 nodes like them"),
        "{text}"
    );
}

#[test]
fn all_files_are_made() {
    let full = fixture::record(SMALL);
    // Only what two figures need: every bitmap takes its time.
    let record = RunRecord {
        nodes: full.nodes,
        edges: full.edges,
        accounting: full.accounting,
        ..RunRecord::default()
    };
    let files = artefacts(&evaluate(record, false)).unwrap();
    let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
    for path in [
        "report.html",
        "report.md",
        "result.json",
        "result.schema.json",
        "junit.xml",
        "figures/topology.svg",
        "figures/topology.png",
    ] {
        assert!(paths.contains(&path), "{paths:?}");
    }
    assert!(files.iter().all(|file| !file.bytes.is_empty()));
}

/// Writes the reports of made-up runs for looking at; the folder's name is printed.
#[test]
#[ignore = "writes made-up reports to a temporary folder for looking at them"]
#[expect(clippy::disallowed_methods, reason = "a tool for people, not part of the crate")]
fn gallery() {
    let folder = std::env::temp_dir().join("regatta-gallery");
    let mut incorrect = fixture::record(EIGHT);
    incorrect.invariants[0].holds = false;
    incorrect.invariants[0].evidence = "height 412: full-2 has another state root than val-0".to_owned();
    let mut blob = fixture::record(SMALL);
    blob.loads[0].label = Some("unsigned, not executed".to_owned());
    blob.objectives[0].met = Some(false);
    let all = [
        ("eight", fixture::record(EIGHT)),
        ("hundred", fixture::record(HUNDRED)),
        ("blob", blob),
        ("incorrect", incorrect),
        ("empty", RunRecord::default()),
    ];
    for (name, record) in all {
        let result = evaluate(record, false);
        for file in artefacts(&result).unwrap() {
            let path = folder.join(name).join(file.path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, file.bytes).unwrap();
        }
        println!(
            "{}",
            text(&result, &folder.join(name).join("report.html").display().to_string())
        );
    }
}
