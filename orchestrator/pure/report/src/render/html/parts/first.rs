//! The first screen: chips, the four numbers, what identifies the run.

use super::{Card, Chip, mark};
use crate::{
    format,
    model::NamedText,
    result::{QuantileValue, RunResult},
};

/// The aspects of the verdict.
pub(in crate::render::html) fn chips(result: &RunResult) -> Vec<Chip<'_>> {
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
pub(in crate::render::html) fn cards(result: &RunResult) -> Vec<Card> {
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

/// A quantile as one of the first numbers.
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

/// What identifies the run besides its command.
pub(in crate::render::html) fn digests(result: &RunResult) -> Vec<NamedText> {
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
        .flat_map(|node| [node.binary_digest.as_str(), node.binary_digest_end.as_str()])
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
