//! A comparison as text, Markdown and JSON.

use super::{Change, ChangeKind, Comparison, Outcome};
use crate::{format, render::markdown_text};

/// Most differences that a text lists.
const DIFFERENCES_MAX: usize = 24;

impl Outcome {
    /// The outcome in one word, in capitals.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Unchanged => "UNCHANGED",
            Self::Better => "BETTER",
            Self::Worse => "WORSE",
            Self::Inconclusive => "INCONCLUSIVE",
            Self::Incomparable => "INCOMPARABLE",
        }
    }
}

impl ChangeKind {
    /// The change in one word; the word that fails a comparison is in capitals.
    fn word(self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Better => "better",
            Self::Worse => "WORSE",
            Self::Inconclusive => "inconclusive",
            Self::Shown => "",
        }
    }
}

impl Comparison {
    /// One sentence: the outcome, what got worse or better, and the margin.
    #[must_use]
    pub fn sentence(&self) -> String {
        let named = |kind| -> Vec<String> {
            let metrics = self.metrics.iter().filter(|change| change.kind == kind);
            metrics
                .map(|change| format!("{} {}", change.metric, change_text(change)))
                .collect()
        };
        let mut parts = vec![self.outcome.word().to_owned()];
        if self.outcome == Outcome::Incomparable {
            let [base, head] = [&self.base, &self.head].map(|side| format!("{} is {}", side.run, side.status.word()));
            parts.extend([base, head]);
        } else {
            for (kind, word) in [(ChangeKind::Worse, "worse"), (ChangeKind::Better, "better")] {
                let names = named(kind);
                if !names.is_empty() {
                    parts.push(format!("{word}: {}", names.join(", ")));
                }
            }
        }
        parts.push(format!("margin {}", format::percent(self.margin)));
        parts.join(" · ")
    }

    /// The comparison for a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        let head = ["metric", "base", "head", "change", ""].map(str::to_owned);
        let rows = self.metrics.iter().map(|change| {
            let cells = [&change.metric, &change.base, &change.head].map(String::clone);
            let [metric, base, head] = cells;
            [metric, base, head, change_text(change), change.kind.word().to_owned()]
        });
        let rows: Vec<[String; 5]> = std::iter::once(head).chain(rows).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths = [0, 1, 2, 3, 4].map(width);
        let mut text = format!(
            "{}\n\nbase  {}\nhead  {}\n\n",
            self.sentence(),
            side(&self.base),
            side(&self.head)
        );
        for row in &rows {
            let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
            text += cells.collect::<Vec<String>>().join("  ").trim_end();
            text.push('\n');
        }
        if !self.differences.is_empty() {
            text += "\nnot the same in both runs:\n";
        }
        for difference in self.differences.iter().take(DIFFERENCES_MAX) {
            let [base, head] = [&difference.base, &difference.head].map(|value| clip(value));
            text += &format!("  {}: {base} -> {head}\n", difference.what);
        }
        text += "\nIntervals cover chance within each run, not between runs.\n";
        // Control characters of a name must not reach a terminal.
        text.chars()
            .map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c })
            .collect()
    }

    /// The comparison for a comment.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = format!("### {}\n\n", markdown_text(&self.sentence()));
        text += "| metric | base | head | change | |\n|---|---:|---:|---:|---|\n";
        for change in &self.metrics {
            let cells = [&change.metric, &change.base, &change.head]
                .map(|cell| markdown_text(cell))
                .join(" | ");
            text += &format!("| {cells} | {} | {} |\n", change_text(change), change.kind.word());
        }
        text.push('\n');
        for difference in self.differences.iter().take(DIFFERENCES_MAX) {
            let [what, base, head] =
                [&difference.what, &clip(&difference.base), &clip(&difference.head)].map(|t| markdown_text(t));
            text += &format!("- {what}: {base} → {head}\n");
        }
        let [base, head] = [&self.base, &self.head].map(|one| markdown_text(&side(one)));
        text + &format!("\nBase {base}, head {head}. Intervals cover chance within each run, not between runs.\n")
    }

    /// The comparison as one JSON document.
    ///
    /// # Errors
    /// When a number has no JSON form.
    pub fn json(&self) -> Result<String, serde_json::Error> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}

/// A run in one line.
fn side(side: &super::Side) -> String {
    format!("{} ({}, {})", side.run, side.scenario, clip(&side.commit))
}

/// Long values such as digests are told apart by their first characters.
fn clip(value: &str) -> String {
    const LENGTH: usize = 48;
    if value.chars().count() <= LENGTH {
        value.to_owned()
    } else {
        format::short(value, LENGTH - 1) + "…"
    }
}

/// A relative change with its interval, e.g. `+4.2 % [+1.0, +7.5]`.
fn change_text(change: &Change) -> String {
    let Some(share) = &change.change else {
        return String::new();
    };
    let signed = |value: f64| format!("{:+.1}", value * 100.0);
    if share.low == share.high {
        return format!("{} %", signed(share.value));
    }
    format!(
        "{} % [{}, {}]",
        signed(share.value),
        signed(share.low),
        signed(share.high)
    )
}
