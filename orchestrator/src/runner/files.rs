//! The files of a report, and the list of what else the run's folder holds.

use crate::{
    hlog,
    load::LoadOutcome,
    rundir::{RunDir, RunDirError, at},
};
use regatta_report::{RunResult, model::RawFile, render};
use std::{fs, path::Path, time::SystemTime};

/// Files and folders of a run with raw data, and what they hold.
const RAW: [(&str, &str); 7] = [
    ("scenario.toml", "the scenario as it was run"),
    ("plan.json", "the plan with every choice made"),
    ("journal.ndjson", "every step and event with its times"),
    ("build", "signed manifests of the programs"),
    ("samples", "samples of processes and host"),
    ("latency", "histograms of each load by the second"),
    ("logs", "what the nodes wrote"),
];
/// Most files that a report lists of one folder.
const LISTED_MAX: usize = 500;

/// Raw files of the run, with their sizes so far.
pub(super) fn list(run: &RunDir) -> Vec<RawFile> {
    let mut files = Vec::new();
    for (name, description) in RAW {
        let path = run.path(name);
        if path.is_dir() {
            let entries = fs::read_dir(&path).into_iter().flatten().flatten();
            let mut names: Vec<String> = entries
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .take(LISTED_MAX)
                .collect();
            names.sort();
            files.extend(
                names
                    .iter()
                    .map(|file| raw_file(run.root(), &format!("{name}/{file}"), description)),
            );
        } else if path.is_file() {
            files.push(raw_file(run.root(), name, description));
        }
    }
    files
}

fn raw_file(root: &Path, path: &str, description: &str) -> RawFile {
    RawFile {
        path: path.to_owned(),
        description: description.to_owned(),
        size_bytes: fs::metadata(root.join(path)).map_or(0, |metadata| metadata.len()),
    }
}

/// Writes the three histograms of each load by the second; `origin` is the start of the run's clock.
pub(super) fn write_hlogs(run: &RunDir, loads: &[LoadOutcome], origin: SystemTime) -> Result<(), RunDirError> {
    for outcome in loads {
        let path = run.path(&format!("latency/load-{}.hlog", outcome.load));
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(at(folder))?;
        }
        hlog::write(&path, &outcome.latency, origin).map_err(at(&path))?;
    }
    Ok(())
}

/// Writes every form of the report; `result.json` comes last, since its presence says that the run is finished.
pub(crate) fn write_report(run: &RunDir, result: &RunResult) -> Result<(), RunDirError> {
    let malformed = |reason: String| RunDirError::Malformed {
        path: run.path("result.json"),
        reason,
    };
    let mut artefacts = render::artefacts(result).map_err(|error| malformed(error.to_string()))?;
    artefacts.sort_by_key(|artefact| artefact.path == "result.json");
    for artefact in artefacts {
        let path = run.path(&artefact.path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(at(folder))?;
        }
        fs::write(&path, &artefact.bytes).map_err(at(&path))?;
    }
    Ok(())
}
