//! The report as one page: no network, no script, light and dark, prints.

mod parts;

use super::{RenderError, churn, instances, links, programs, recovery, rest, spread};
use crate::{
    figure::{DrawError, Figure, Table, figures},
    model::{Accusation, Identity, NamedText},
    result::{ChipState, RunResult, Status},
    verdict::labels,
};
use askama::Template;
use parts::{Card, Check, Chip, EventRow, FileRow, NodeRow, QuantileRow, Section};
use regatta_base::Digest;

/// The figures of the first screen, in its order.
const FIRST: [&str; 3] = ["latency-throughput", "time-strip", "accounting"];
/// Figures of the first screen that speak of speed.
const SPEED: [&str; 1] = ["latency-throughput"];
/// Sections with their figures.
const SECTIONS: [(&str, &str, &[&str]); 4] = [
    ("latency", "Latency", &["percentiles", "stages", "latency-over-time"]),
    (
        "time",
        "Throughput and blocks",
        &["throughput", "backlog", "blocks", "churn"],
    ),
    ("network", "Network", &["topology", "protocols"]),
    ("resources", "Resources", &["cpu", "memory", "traffic"]),
];

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    nonce: String,
    identity: &'a Identity,
    word: &'static str,
    state: &'static str,
    icon: &'static str,
    sentence: &'a str,
    chips: Vec<Chip<'a>>,
    problems: &'a [String],
    labels: Vec<String>,
    cards: Vec<Card>,
    blocks: Option<String>,
    first: Vec<Drawn>,
    digests: Vec<NamedText>,
    quantiles: Vec<QuantileRow>,
    sections: Vec<FigureSection>,
    instances: Vec<Vec<String>>,
    recoveries: Vec<String>,
    instances_head: [&'static str; 11],
    links: Vec<String>,
    link_rows: Vec<Vec<String>>,
    links_head: [&'static str; links::HEAD.len()],
    nodes: Vec<NodeRow<'a>>,
    programs: Vec<[String; 5]>,
    programs_head: [&'static str; 5],
    events: Vec<EventRow<'a>>,
    invariants: Vec<Check<'a>>,
    accusations: &'a [Accusation],
    accusations_more: usize,
    objectives: Vec<Check<'a>>,
    environment: Vec<Section<'a>>,
    method: Vec<String>,
    files: Vec<FileRow<'a>>,
}

/// A figure ready to be put in.
struct Drawn {
    id: String,
    title: String,
    description: String,
    svg: String,
    table: Table,
}

struct FigureSection {
    id: &'static str,
    title: &'static str,
    figures: Vec<Drawn>,
}

/// The self-contained page.
///
/// # Errors
/// [`RenderError`] when a figure cannot be drawn.
pub fn html(result: &RunResult) -> Result<String, RenderError> {
    let all = figures(result);
    let speed = result.speed_counts();
    let first = FIRST.iter().filter(|&id| speed || !SPEED.contains(id));
    let mut sections = Vec::new();
    for (id, title, ids) in SECTIONS {
        let figures = draw(&all, ids.iter())?;
        if !figures.is_empty() {
            sections.push(FigureSection { id, title, figures });
        }
    }
    let verdict = &result.verdict;
    let (state, icon) = parts::mark(state(verdict.status));
    // The badge says the first word of the sentence.
    let sentence = verdict
        .sentence
        .strip_prefix(verdict.status.word())
        .unwrap_or(&verdict.sentence);
    let page = Page {
        nonce: nonce(result)?,
        identity: &result.record.identity,
        word: verdict.status.word(),
        state,
        icon,
        sentence: sentence.trim_start_matches(" · "),
        chips: parts::chips(result),
        // A single problem is in the sentence already.
        problems: if verdict.problems.len() > 1 {
            &verdict.problems
        } else {
            &[]
        },
        labels: labels(&result.record),
        cards: if speed { parts::cards(result) } else { Vec::new() },
        blocks: result
            .summary
            .block_cost
            .as_ref()
            .filter(|_| speed)
            .map(crate::format::block_cost),
        first: draw(&all, first)?,
        digests: parts::digests(result),
        quantiles: parts::quantiles(result),
        sections,
        instances: instances::rows(result),
        recoveries: spread::sentence(result)
            .into_iter()
            .chain(rest::sentence(result))
            .chain(churn::sentence(result))
            .chain(recovery::sentences(result))
            .collect(),
        instances_head: instances::HEAD,
        links: links::sentences(result),
        link_rows: links::rows(result),
        links_head: links::HEAD,
        nodes: parts::nodes(result),
        programs: programs::rows(result, programs::ROWS_MAX),
        programs_head: programs::HEAD,
        events: parts::events(result),
        invariants: parts::invariants(result),
        accusations: parts::accusations(result),
        accusations_more: parts::accusations_more(result),
        objectives: parts::objectives(result),
        environment: parts::environment(result),
        method: parts::method(result),
        files: parts::files(result),
    };
    Ok(page.render()?)
}

/// The colour class of a status.
fn state(status: Status) -> ChipState {
    match status {
        Status::Valid => ChipState::Good,
        Status::Inconclusive => ChipState::Doubtful,
        Status::Missed | Status::Invalid | Status::Broken | Status::Incorrect => ChipState::Bad,
    }
}

/// The figures of these names that the run has, drawn.
fn draw<'a>(all: &[Figure], ids: impl Iterator<Item = &'a &'a str>) -> Result<Vec<Drawn>, DrawError> {
    let chosen = ids.filter_map(|id| all.iter().find(|figure| figure.id == *id));
    chosen
        .map(|figure| {
            Ok(Drawn {
                id: figure.id.clone(),
                title: figure.title.clone(),
                description: figure.description.clone(),
                svg: figure.inline_svg()?,
                table: figure.table.clone(),
            })
        })
        .collect()
}

/// Names the page's own style sheet to the browser: nobody who chose a name in the run could know it beforehand.
fn nonce(result: &RunResult) -> Result<String, serde_json::Error> {
    let contents = serde_json::to_vec(result)?;
    let digest = Digest::of("regatta report style nonce v1", &[&contents]).to_string();
    Ok(digest.chars().take(32).collect())
}
