//! What the kernel tells about one process.

use crate::Usage;
use procfs::process::Process;
use std::{fs, os::unix::fs::MetadataExt, path::Path};

/// Most entries of a data folder that are added up: it has segments and a few files.
const ENTRIES_MAX: usize = 20_000;

/// Reads process `pid`; `None` when it is gone. Private memory only with `private`: it walks the page tables.
#[must_use]
pub fn usage(pid: i32, private: bool) -> Option<Usage> {
    let process = Process::new(pid).ok()?;
    let stat = process.stat().ok()?;
    if stat.state == 'Z' {
        return None; // Ended and not yet waited for: memory and descriptors are gone.
    }
    let ticks = procfs::ticks_per_second() as f64;
    Some(Usage {
        cpu_s: (stat.utime + stat.stime) as f64 / ticks,
        rss_bytes: stat.rss * procfs::page_size(),
        threads: u64::try_from(stat.num_threads).unwrap_or(0),
        descriptors: process.fd_count().map_or(0, |count| count as u64),
        private_bytes: if private { private_bytes(&process) } else { 0 },
    })
}

/// Memory that process `pid` alone holds and that no file backs, in bytes, as the kernel counts it anyway; `None` when it is
/// gone.
#[must_use]
pub fn own_bytes(pid: i32) -> Option<u64> {
    let status = Process::new(pid).ok()?.status().ok()?;
    status.rssanon.map(|kib| kib * 1024)
}

fn private_bytes(process: &Process) -> u64 {
    let Ok(rollup) = process.smaps_rollup() else {
        return 0;
    };
    let fields = rollup.memory_map_rollup.into_iter().map(|map| map.extension.map);
    let private = |fields: std::collections::HashMap<String, u64>| {
        ["Private_Clean", "Private_Dirty"]
            .iter()
            .filter_map(|name| fields.get(*name))
            .sum::<u64>()
    };
    fields.map(private).sum()
}

/// Bytes that the files under `folder` take on the disk.
#[must_use]
pub fn disk_bytes(folder: &Path) -> u64 {
    let mut left = ENTRIES_MAX;
    let mut folders = vec![folder.to_owned()];
    let mut bytes = 0;
    while let Some(folder) = folders.pop() {
        // A file that vanishes between listing and reading is no error: journals are rotated.
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if left == 0 {
                return bytes;
            }
            left -= 1;
            if metadata.is_dir() {
                folders.push(entry.path());
            } else {
                bytes += metadata.blocks() * 512;
            }
        }
    }
    bytes
}

/// Start time of a process in clock ticks since boot; `None` when it does not run: a process that has ended and that
/// its parent has not waited for is only a row in a table.
#[must_use]
pub fn start_ticks(pid: u32) -> Option<u64> {
    let process = Process::new(i32::try_from(pid).ok()?).ok()?;
    let stat = process.stat().ok()?;
    (!matches!(stat.state, 'Z' | 'X')).then_some(stat.starttime)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_threads_and_descriptors() {
        let usage = usage(std::process::id() as i32, true).unwrap();
        assert!(usage.rss_bytes > 0 && usage.threads > 0 && usage.descriptors > 0);
        assert!(usage.private_bytes > 0 && usage.private_bytes <= 2 * usage.rss_bytes);
        assert!(own_bytes(std::process::id() as i32).unwrap() > 0);
    }

    #[test]
    fn a_process_that_is_gone_gives_nothing() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id() as i32;
        child.wait().unwrap();
        assert_eq!((usage(pid, false), own_bytes(pid)), (None, None));
    }

    #[test]
    fn a_folder_counts_its_subfolders() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("sub")).unwrap();
        fs::write(folder.path().join("sub/file"), [1; 10_000]).unwrap();
        assert!(disk_bytes(folder.path()) >= 10_000);
        assert_eq!(disk_bytes(&folder.path().join("missing")), 0);
    }

    #[test]
    fn a_process_that_has_ended_and_was_not_waited_for_does_not_run() {
        let mut child = std::process::Command::new("/bin/true").spawn().unwrap();
        let pid = child.id();
        // Without waiting for it: its row stays in the table until `wait`.
        while std::fs::read_to_string(format!("/proc/{pid}/stat"))
            .unwrap()
            .split(' ')
            .nth(2)
            != Some("Z")
        {
            std::thread::yield_now();
        }
        assert_eq!(start_ticks(pid), None);
        child.wait().unwrap();
    }
}
