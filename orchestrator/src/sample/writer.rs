//! Sample files: one JSON object a line, each round written at once, within a bound of bytes.

use crate::sample::{HostSample, SampleError};
use regatta_report::model::Sample;
use serde::Serialize;
use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::Path,
};

/// A line of `processes.ndjson`.
#[derive(Debug, Serialize)]
pub(crate) struct ProcessLine<'a> {
    pub(crate) name: &'a str,
    pub(crate) pid: i32,
    pub(crate) threads: u64,
    #[serde(flatten)]
    pub(crate) sample: Sample,
}

/// The open files.
#[derive(Debug)]
pub(crate) struct SampleFiles {
    processes: File,
    host: File,
    bytes_left: u64,
    unwritten: u64,
}

impl SampleFiles {
    /// Makes the folder and the files in it; adds to files that are there.
    ///
    /// # Errors
    /// [`SampleError::File`]
    pub(crate) fn create(folder: &Path, bytes_max: u64) -> Result<Self, SampleError> {
        let failed = |path: &Path, source| SampleError::File {
            path: path.to_owned(),
            source,
        };
        fs::create_dir_all(folder).map_err(|source| failed(folder, source))?;
        let open = |name: &str| {
            let path = folder.join(name);
            let file = OpenOptions::new().create(true).append(true).open(&path);
            file.map_err(|source| failed(&path, source))
        };
        Ok(Self {
            processes: open("processes.ndjson")?,
            host: open("host.ndjson")?,
            bytes_left: bytes_max,
            unwritten: 0,
        })
    }

    /// Samples that were not written: the bound was reached, or the disk was full.
    pub(crate) fn unwritten(&self) -> u64 {
        self.unwritten
    }

    /// Writes one round.
    pub(crate) fn write(&mut self, processes: &[ProcessLine<'_>], host: &HostSample) {
        let (lines, count) = lines(processes);
        let processes = &mut self.processes;
        append(processes, &lines, count, &mut self.bytes_left, &mut self.unwritten);
        let (lines, count) = self::lines(std::slice::from_ref(host));
        append(&mut self.host, &lines, count, &mut self.bytes_left, &mut self.unwritten);
    }
}

fn lines<T: Serialize>(rows: &[T]) -> (Vec<u8>, u64) {
    let mut text = Vec::new();
    for row in rows {
        // Plain numbers and names always have a JSON form.
        if serde_json::to_writer(&mut text, row).is_ok() {
            text.push(b'\n');
        }
    }
    (text, rows.len() as u64)
}

/// One write a round: after a crash of the lab the file ends with a whole line, or with part of its last.
fn append(file: &mut File, lines: &[u8], count: u64, bytes_left: &mut u64, unwritten: &mut u64) {
    let size = lines.len() as u64;
    if size <= *bytes_left && file.write_all(lines).is_ok() {
        *bytes_left -= size;
    } else {
        *unwritten += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(at_ms: u64) -> ProcessLine<'static> {
        ProcessLine {
            name: "val-0",
            pid: 7,
            threads: 3,
            sample: Sample {
                at_ms,
                ..Sample::default()
            },
        }
    }

    #[test]
    fn every_round_is_on_disk_when_it_returns() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = SampleFiles::create(&folder.path().join("samples"), 1 << 20).unwrap();
        for at_ms in [1, 2] {
            files.write(&[line(at_ms)], &HostSample::default());
            let text = fs::read_to_string(folder.path().join("samples/processes.ndjson")).unwrap();
            let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
            assert_eq!(
                (last["name"].as_str(), last["at_ms"].as_u64()),
                (Some("val-0"), Some(at_ms))
            );
        }
        assert_eq!(files.unwritten(), 0);
    }

    #[test]
    fn the_bound_is_kept_and_what_is_missing_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = SampleFiles::create(folder.path(), 1000).unwrap();
        for at_ms in 0..20 {
            files.write(&[line(at_ms)], &HostSample::default());
        }
        let size = |name: &str| fs::metadata(folder.path().join(name)).unwrap().len();
        assert!(size("processes.ndjson") + size("host.ndjson") <= 1000);
        assert!(files.unwritten() > 30);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let error = SampleFiles::create(Path::new("/proc/nowhere"), 1).unwrap_err();
        assert!(error.to_string().contains("/proc/nowhere"), "{error}");
    }
}
