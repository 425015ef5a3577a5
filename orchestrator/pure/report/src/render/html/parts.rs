//! What the page shows besides figures, as texts.

use crate::{
    Counts,
    figure::{Ink, sparkline},
    format,
    model::{Disclosure, NamedText, Process, ProcessKind, Role, RunRecord, Sample},
    result::{ChipState, NodeSummary, QuantileValue, RunResult},
};

/// An aspect of the verdict.
pub(super) struct Chip<'a> {
    pub(super) class: &'static str,
    pub(super) icon: &'static str,
    pub(super) aspect: &'a str,
    pub(super) text: &'a str,
}

/// One of the numbers of the first screen.
pub(super) struct Card {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) unit: String,
    pub(super) interval: String,
    pub(super) note: String,
}

/// A row of the table of nodes; cells are trusted HTML made of numbers and drawings.
pub(super) struct NodeRow<'a> {
    pub(super) name: &'a str,
    pub(super) role: &'static str,
    pub(super) symbol: &'static str,
    pub(super) address: &'a str,
    pub(super) cells: Vec<String>,
}

/// An event.
pub(super) struct EventRow<'a> {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) kind: &'static str,
    pub(super) node: &'a str,
    pub(super) text: &'a str,
}

/// An invariant or objective.
pub(super) struct Check<'a> {
    pub(super) class: &'static str,
    pub(super) icon: &'static str,
    pub(super) word: &'static str,
    pub(super) name: &'a str,
    pub(super) evidence: &'a str,
    pub(super) numbers: String,
}

/// A quantile of the three latencies.
pub(super) struct QuantileRow {
    pub(super) name: String,
    pub(super) response: String,
    pub(super) service: String,
    pub(super) lag: String,
}

/// A heading with its disclosures.
pub(super) struct Section<'a> {
    pub(super) title: &'a str,
    pub(super) lines: Vec<&'a Disclosure>,
}

/// A raw file.
pub(super) struct FileRow<'a> {
    pub(super) path: &'a str,
    pub(super) description: &'a str,
    pub(super) size: String,
}

/// Class and sign of a state: the sign says it without colour.
pub(super) fn mark(state: ChipState) -> (&'static str, &'static str) {
    match state {
        ChipState::Good => ("good", "✓"),
        ChipState::Doubtful => ("doubtful", "?"),
        ChipState::Bad => ("bad", "✕"),
    }
}

pub(super) fn chips(result: &RunResult) -> Vec<Chip<'_>> {
    let chip = |chip: &'_ crate::result::Chip| mark(chip.state);
    let chips = result.verdict.chips.iter();
    chips
        .map(|c| Chip {
            class: chip(c).0,
            icon: chip(c).1,
            aspect: &c.aspect,
            text: &c.text,
        })
        .collect()
}

/// Goodput, median, the highest quantile that can be told, and cost.
pub(super) fn cards(result: &RunResult) -> Vec<Card> {
    let summary = &result.summary;
    let mut cards = Vec::new();
    if let Some(rate) = &summary.goodput_per_s {
        cards.push(Card {
            name: "Goodput".to_owned(),
            value: format::number(rate.value),
            unit: "tx/s".to_owned(),
            interval: format!("95 % {}", format::number_bounds(rate)),
            note: format!("of {} offered", format::number(summary.offered_per_s)),
        });
    }
    let told =
        |value: &QuantileValue| matches!(value, QuantileValue::Measured(_) | QuantileValue::AtLeastTimeout { .. });
    let median = summary.response.iter().find(|quantile| quantile.q == 0.5);
    // The same quantile as in the verdict's sentence; rarer ones are in the table of quantiles.
    let tail = summary
        .response
        .iter()
        .rfind(|quantile| (0.5..=0.99).contains(&quantile.q) && told(&quantile.value));
    let tail = tail.filter(|quantile| quantile.q > 0.5);
    let next = summary
        .response
        .iter()
        .find(|quantile| tail.is_none_or(|tail| quantile.q > tail.q) && quantile.q > 0.5);
    let beyond = next.map_or_else(String::new, |next| {
        let name = format::quantile_name(next.q);
        match next.value {
            QuantileValue::NeedsBlocks { needed, .. } => format!("{name} needs {}", format::plural(needed, "block")),
            _ => format!("{name} {}", format::quantile(next)),
        }
    });
    cards.extend(median.map(|quantile| latency_card("Response, median", quantile, "final - intended")));
    cards.extend(tail.map(|quantile| {
        latency_card(
            &format!("Response, {}", format::quantile_name(quantile.q)),
            quantile,
            &beyond,
        )
    }));
    if let Some(cpu) = &summary.cpu {
        let text = format::duration_us(cpu.nodes_us_per_tx.value);
        let (value, unit) = text.split_once(' ').unwrap_or((&text, ""));
        cards.push(Card {
            name: "CPU per transaction".to_owned(),
            value: value.to_owned(),
            unit: unit.to_owned(),
            interval: format!("95 % {}", format::duration_bounds(&cpu.nodes_us_per_tx)),
            note: format!("all nodes; lab {} more", format::duration_us(cpu.lab_us_per_tx)),
        });
    }
    cards
}

fn latency_card(name: &str, quantile: &crate::result::Quantile, note: &str) -> Card {
    let text = match &quantile.value {
        QuantileValue::Measured(us) => format::duration_us(us.value),
        _ => format::quantile(quantile),
    };
    let interval = match &quantile.value {
        QuantileValue::Measured(us) => format!("95 % {}", format::duration_bounds(us)),
        _ => String::new(),
    };
    // The unit is set smaller; words are not a unit.
    let (value, unit) = text.rsplit_once(' ').filter(|_| text.len() < 12).unwrap_or((&text, ""));
    let [value, unit, name, note] = [value, unit, name, note].map(str::to_owned);
    Card {
        name,
        value,
        unit,
        interval,
        note,
    }
}

pub(super) fn digests(result: &RunResult) -> Vec<NamedText> {
    let identity = &result.record.identity;
    let line = |name: &str, value: String| NamedText {
        name: name.to_owned(),
        value,
    };
    let dirty = if identity.dirty {
        " with uncommitted changes"
    } else {
        ""
    };
    let mut lines = vec![
        line("commit", format!("{}{dirty}", identity.commit)),
        line("plan", identity.plan_digest.clone()),
    ];
    lines.extend(identity.digests.iter().cloned());
    let mut binaries: Vec<&str> = result
        .record
        .nodes
        .iter()
        .map(|node| node.binary_digest.as_str())
        .collect();
    binaries.sort_unstable();
    binaries.dedup();
    let unnamed = binaries
        .iter()
        .filter(|binary| !binary.is_empty() && identity.digests.iter().all(|d| d.value != **binary));
    lines.extend(unnamed.map(|binary| line("node binary", (*binary).to_owned())));
    lines.push(line("seed", identity.seed.to_string()));
    lines.retain(|line| !line.value.is_empty());
    lines
}

pub(super) fn nodes(result: &RunResult) -> Vec<NodeRow<'_>> {
    let record = &result.record;
    let rows = record.nodes.iter().zip(&result.summary.nodes).map(|(node, summary)| {
        let is_its = |process: &&Process| process.kind == ProcessKind::Node && process.name == node.name;
        let samples = record
            .processes
            .iter()
            .find(is_its)
            .map_or(&[][..], |process| &process.samples);
        NodeRow {
            name: &node.name,
            role: node.role.as_str(),
            symbol: match node.role {
                Role::Validator => "◆",
                Role::Full => "●",
                Role::Observer => "▲",
            },
            address: &node.address,
            cells: cells(summary, samples),
        }
    });
    rows.collect()
}

fn cells(summary: &NodeSummary, samples: &[Sample]) -> Vec<String> {
    const COLUMNS: usize = 13;
    if !summary.sampled {
        return vec!["–".to_owned(); COLUMNS];
    }
    let busy: Vec<f64> = samples
        .windows(2)
        .map(|pair| (pair[1].cpu_s - pair[0].cpu_s).max(0.0))
        .collect();
    let memory: Vec<f64> = samples.iter().map(|sample| sample.rss_bytes as f64).collect();
    vec![
        format::integer(summary.height),
        format::integer(summary.transactions),
        sparkline(&busy, Ink::Series(0), "CPU over time"),
        format!("{:.1} %", summary.cpu_percent),
        sparkline(&memory, Ink::Series(2), "memory over time"),
        format::bytes(summary.rss_max_bytes as f64),
        format::count(summary.messages_in as f64),
        format::count(summary.messages_out as f64),
        format::bytes(summary.bytes_in as f64),
        format::bytes(summary.bytes_out as f64),
        summary.peers.to_string(),
        format::bytes(summary.disk_bytes as f64),
        summary.restarts.to_string(),
    ]
}

pub(super) fn events(result: &RunResult) -> Vec<EventRow<'_>> {
    let row = |event: &'_ crate::model::Event| (format::moment(event.start_ms), event.kind.as_str());
    let events = result.record.events.iter();
    events
        .map(|event| {
            let (from, kind) = row(event);
            let to = if event.end_ms > event.start_ms {
                format::moment(event.end_ms)
            } else {
                String::new()
            };
            EventRow {
                from,
                to,
                kind,
                node: &event.node,
                text: &event.text,
            }
        })
        .collect()
}

pub(super) fn invariants(result: &RunResult) -> Vec<Check<'_>> {
    let check = |invariant: &'_ crate::model::Invariant| {
        let numbers = invariant
            .numbers
            .iter()
            .map(|n| format!("{} {}", format::count(n.value), n.name));
        (
            mark(if invariant.holds {
                ChipState::Good
            } else {
                ChipState::Bad
            }),
            numbers.collect::<Vec<String>>().join(", "),
        )
    };
    let invariants = result.record.invariants.iter();
    invariants
        .map(|invariant| {
            let ((class, icon), numbers) = check(invariant);
            let word = if invariant.holds { "holds" } else { "violated" };
            Check {
                class,
                icon,
                word,
                name: &invariant.name,
                evidence: &invariant.evidence,
                numbers,
            }
        })
        .collect()
}

pub(super) fn objectives(result: &RunResult) -> Vec<Check<'_>> {
    let objectives = result.record.objectives.iter();
    objectives
        .map(|objective| {
            let (state, word) = match objective.met {
                Some(true) => (ChipState::Good, "met"),
                Some(false) => (ChipState::Bad, "missed"),
                None => (ChipState::Doubtful, "open"),
            };
            let (class, icon) = mark(state);
            let numbers = objective.wanted.clone();
            Check {
                class,
                icon,
                word,
                name: &objective.metric,
                evidence: &objective.observed,
                numbers,
            }
        })
        .collect()
}

/// The disclosures under their headings, in the order of first mention.
pub(super) fn environment(result: &RunResult) -> Vec<Section<'_>> {
    let mut sections: Vec<Section<'_>> = Vec::new();
    for line in &result.record.environment {
        match sections.iter_mut().find(|section| section.title == line.section) {
            Some(section) => section.lines.push(line),
            None => sections.push(Section {
                title: &line.section,
                lines: vec![line],
            }),
        }
    }
    sections
}

/// How the figures were made, with the numbers of this run.
pub(super) fn method(result: &RunResult) -> Vec<String> {
    let summary = &result.summary;
    let window = &summary.window;
    let mut lines = loads(&result.record);
    lines.push(
        "Response latency is final - intended: a transaction that the generator or the system delayed counts in full. \
         Service is final - sent, lag is sent - intended. All stamps are of the submitting client's monotonic clock."
            .to_owned(),
    );
    let cut = match window.cut_ms {
        _ if window.cut_refused => "MSER-5 would have cut more than half as warm-up and was refused".to_owned(),
        0 => "MSER-5 found no warm-up in it".to_owned(),
        cut => format!(
            "MSER-5 cut {} of warm-up from its front",
            format::duration_us(cut as f64 * 1000.0)
        ),
    };
    lines.push(format!(
        "The window is {} long, from {} to {}, with {}, of which {} carried load; {cut}. Nothing behind the first \
         fault counts as warm-up.",
        format::duration_us(window.seconds() * 1e6),
        format::moment(window.start_ms),
        format::moment(window.end_ms),
        format::plural(window.blocks, "block"),
        format::integer(window.loaded_blocks)
    ));
    lines.push(
        "Intervals are 95 %, from resampling whole blocks, since the transactions of a block share its fate. A \
         quantile q is printed with at least 10 / (1 - q) blocks; when more than 1 - q of all intended transactions \
         did not become final it is at least the timeout."
            .to_owned(),
    );
    let generator = &summary.generator;
    let [p50, p99, limit] =
        [generator.lag_p50_us, generator.lag_p99_us, generator.lag_limit_us].map(|us| format::duration_us(us as f64));
    lines.push(format!(
        "The generator sent {} of what was intended, with a lag of {p50} in the median and {p99} at p99; a p99 above \
         {limit} would make the run invalid.",
        format::percent(generator.sent_share)
    ));
    if let Some(steady) = &summary.steady {
        lines.push(format!(
            "Steadiness: the backlog changes by {} of the offered rate per second (Theil-Sen), the halves of the \
             window differ by {}.",
            format::percent(steady.backlog_slope_share),
            format::percent(steady.halves_difference)
        ));
    }
    lines
}

fn loads(record: &RunRecord) -> Vec<String> {
    let loads = record.loads.iter();
    loads
        .map(|load| {
            let label = load.label.as_ref().map_or(String::new(), |label| format!(" ({label})"));
            let loop_text = match load.mode {
                crate::model::LoadMode::Open => "open loop: arrivals were scheduled before the run",
                crate::model::LoadMode::Closed => "closed loop: not a latency test",
                crate::model::LoadMode::Saturate => "as many as the system takes",
            };
            format!("Load {}{label}: {}; {loop_text}.", load.name, load.description)
        })
        .collect()
}

pub(super) fn files(result: &RunResult) -> Vec<FileRow<'_>> {
    let files = result.record.files.iter();
    files
        .map(|file| FileRow {
            path: &file.path,
            description: &file.description,
            size: format::bytes(file.size_bytes as f64),
        })
        .collect()
}

/// What may be said about each quantile of the three latencies.
pub(super) fn quantiles(result: &RunResult) -> Vec<QuantileRow> {
    let latency = &result.record.latency;
    if latency.response.overall.is_empty() && result.record.accounting.intended == 0 {
        return Vec::new();
    }
    let raw = |counts: &Counts, q| {
        counts
            .quantile(q)
            .map_or_else(|| "–".to_owned(), |us| format::duration_us(us as f64))
    };
    let rows = result.summary.response.iter().map(|quantile| QuantileRow {
        name: format::quantile_name(quantile.q),
        response: format::quantile(quantile),
        service: raw(&latency.service.overall, quantile.q),
        lag: raw(&latency.lag.overall, quantile.q),
    });
    rows.collect()
}
