//! A parity as text, Markdown, JSON and one page.

use super::{Parity, Row, Side};
use crate::{
    figure::{DrawError, Figure, Table},
    render::{Artefact, RenderError, markdown_text},
    result::RunResult,
};
use askama::Template;
use regatta_base::Digest;

/// Most differences that a text lists.
const DIFFERENCES_MAX: usize = 40;

#[derive(Template)]
#[template(path = "parity.html")]
struct Page<'a> {
    nonce: String,
    parity: &'a Parity,
    sentence: String,
    sides: [(&'static str, &'a Side); 2],
    rows: Vec<[String; 4]>,
    figures: Vec<Drawn>,
    differences: &'a [String],
}

/// A figure ready to be put in.
struct Drawn {
    id: String,
    title: String,
    description: String,
    svg: String,
    table: Table,
}

/// The ratio with its interval, e.g. `0.90 [0.85, 0.96]`.
fn ratio(row: &Row) -> String {
    let Some(ratio) = &row.ratio else {
        return "–".to_owned();
    };
    if ratio.low == ratio.high {
        return format!("{:.2}", ratio.value);
    }
    format!("{:.2} [{:.2}, {:.2}]", ratio.value, ratio.low, ratio.high)
}

impl Parity {
    fn cells(&self) -> Vec<[String; 4]> {
        let cells = |row: &Row| [row.figure.clone(), row.real.clone(), row.simulated.clone(), ratio(row)];
        self.rows.iter().map(cells).collect()
    }

    /// The parity for a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        let head = ["figure", "real", "simulated", "simulated / real"].map(str::to_owned);
        let rows: Vec<[String; 4]> = std::iter::once(head).chain(self.cells()).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths = [0, 1, 2, 3].map(width);
        let mut text = format!("{}: {}\n", self.scenario, self.sentence());
        for problem in &self.problems {
            text += &format!("caution: {problem}\n");
        }
        text.push('\n');
        for row in &rows {
            let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
            text += cells.collect::<Vec<String>>().join("  ").trim_end();
            text.push('\n');
        }
        // Control characters of a name must not reach a terminal.
        text.chars()
            .map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c })
            .collect()
    }

    /// The parity for a comment.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = format!(
            "# Parity: {}, simulated against real\n\n",
            markdown_text(&self.scenario)
        );
        if !self.question.is_empty() {
            text += &format!("{}\n\n", markdown_text(&self.question));
        }
        text += &format!("{}.\n\n", markdown_text(&self.sentence()));
        for problem in &self.problems {
            text += &format!("**Caution**: {}.\n\n", markdown_text(problem));
        }
        text += "| figure | real | simulated | simulated / real |\n|---|---:|---:|---:|\n";
        for row in self.cells() {
            text += &format!("| {} |\n", row.map(|cell| markdown_text(&cell)).join(" | "));
        }
        for (name, side) in [("Real", &self.real), ("Simulated", &self.simulated)] {
            let [run, sentence] = [&side.run, &side.sentence].map(|text| markdown_text(text));
            text += &format!("\n{name}: {run}, commit {}: {sentence}.\n", markdown_text(&side.commit));
        }
        text +=
            "\nIntervals cover chance within each run, not between runs. Memory of simulated nodes is not modelled.\n";
        if !self.reproduce.is_empty() {
            text += &format!("\n```sh\n{}\n```\n", self.reproduce.replace("```", ""));
        }
        text
    }

    /// The parity as one JSON document.
    ///
    /// # Errors
    /// When a number has no JSON form.
    pub fn json(&self) -> Result<String, serde_json::Error> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// The parity as one page that needs nothing else.
    ///
    /// # Errors
    /// [`RenderError`] when a figure cannot be drawn.
    pub fn html(&self, real: &RunResult, simulated: &RunResult) -> Result<String, RenderError> {
        let figures = self.figures(real, simulated);
        let drawn: Result<Vec<Drawn>, DrawError> = figures.iter().map(drawn).collect();
        // Names the page's own style sheet: nobody who chose a name in the run could know it beforehand.
        let digest = Digest::of("regatta parity style nonce v1", &[self.json()?.as_bytes()]).to_string();
        let page = Page {
            nonce: digest.chars().take(32).collect(),
            parity: self,
            sentence: self.sentence(),
            sides: [("real", &self.real), ("simulated", &self.simulated)],
            rows: self.cells(),
            figures: drawn?,
            differences: &self.differences[..self.differences.len().min(DIFFERENCES_MAX)],
        };
        Ok(page.render()?)
    }

    /// Every file: `parity.html`, `parity.md`, `parity.json` and the figures.
    ///
    /// # Errors
    /// [`RenderError`] names the figure or document that could not be made.
    pub fn artefacts(&self, real: &RunResult, simulated: &RunResult) -> Result<Vec<Artefact>, RenderError> {
        let document = |path: &str, description, text: String| Artefact {
            path: path.to_owned(),
            description,
            bytes: text.into_bytes(),
        };
        let mut all = vec![
            document("parity.html", "both runs on one page", self.html(real, simulated)?),
            document("parity.md", "both runs in short, for a comment", self.markdown()),
            document("parity.json", "both runs as one document", self.json()?),
        ];
        for figure in self.figures(real, simulated) {
            let path = |extension| format!("figures/{}.{extension}", figure.id);
            all.push(document(&path("svg"), "figure", figure.svg()?));
            all.push(Artefact {
                path: path("png"),
                description: "figure",
                bytes: figure.png()?,
            });
        }
        Ok(all)
    }
}

fn drawn(figure: &Figure) -> Result<Drawn, DrawError> {
    Ok(Drawn {
        id: figure.id.clone(),
        title: figure.title.clone(),
        description: figure.description.clone(),
        svg: figure.inline_svg()?,
        table: figure.table.clone(),
    })
}
