//! Every form of a report, as texts and bytes.

mod churn;
mod csv;
mod html;
mod instances;
mod json;
mod junit;
mod links;
mod markdown;
mod programs;
mod recovery;
mod rest;
mod spread;
mod text;

use crate::{
    figure::{DrawError, figures},
    result::RunResult,
};

pub use csv::{nodes_csv, samples_csv, seconds_csv};
pub use html::html;
pub use json::{ResultError, json, parse, schema};
pub use junit::junit;
pub(crate) use markdown::escape as markdown_text;
pub use markdown::markdown;
pub use text::text;

/// Why a report could not be rendered.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// A figure could not be drawn.
    #[error(transparent)]
    Draw(#[from] DrawError),
    /// The page could not be filled in.
    #[error("cannot fill in the report page: {0}")]
    Page(#[from] askama::Error),
    /// The result could not be written as JSON.
    #[error("cannot write the result as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// A file of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artefact {
    /// Path relative to the run's folder.
    pub path: String,
    /// What it holds.
    pub description: &'static str,
    /// Its contents.
    pub bytes: Vec<u8>,
}

/// Every file of the report: `report.html`, `report.md`, `result.json`, its schema, CSV, JUnit and figures.
///
/// # Errors
/// [`RenderError`] names the figure or document that could not be made.
pub fn artefacts(result: &RunResult) -> Result<Vec<Artefact>, RenderError> {
    let document = |path: &str, description, text: String| Artefact {
        path: path.to_owned(),
        description,
        bytes: text.into_bytes(),
    };
    let mut all = vec![
        document(
            "report.html",
            "the report as one page that needs nothing else",
            html(result)?,
        ),
        document("report.md", "the report in short, for a comment", markdown(result)),
        document("result.json", "the whole result as one document", json(result)?),
        document("result.schema.json", "JSON Schema of result.json", schema()?),
        document(
            "seconds.csv",
            "counts and latencies for each second",
            seconds_csv(result),
        ),
        document("nodes.csv", "one row for each node", nodes_csv(result)),
        document("samples.csv", "every sample of every process", samples_csv(result)),
        document("junit.xml", "checks and objectives as test cases", junit(result)),
    ];
    for figure in figures(result) {
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

#[cfg(test)]
mod tests;
