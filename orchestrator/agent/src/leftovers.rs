//! What an agent that was killed may have left running: noted while it runs, ended by the next agent of the folder.
//!
//! Nodes end with their agent when they are told to ask for that, and when they heed the end of their stdin. A program
//! that does neither is found here: by its process id, its start time and the boot, so that no other process is meant.

use crate::root::{Root, about};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use regatta_fleet::Started;
use regatta_process::start_ticks;
use std::{
    fs, io,
    path::PathBuf,
    time::{Duration, Instant},
};

/// How long a process may take to go after SIGKILL.
const GONE_DEADLINE: Duration = Duration::from_secs(10);
/// Time between two looks at whether it has gone.
const GONE_PAUSE: Duration = Duration::from_millis(5);
/// Longest note in bytes.
const NOTE_BYTES_MAX: usize = 512;

/// The note of a running process; the file goes with the value.
#[derive(Debug)]
pub(crate) struct Note(PathBuf);

impl Note {
    /// Notes that a process was started.
    ///
    /// # Errors
    /// What the system said.
    pub(crate) fn of(root: &Root, started: &Started) -> io::Result<Self> {
        let path = root.processes().join(started.pid.to_string());
        let note = Self(path);
        fs::write(&note.0, text(started.start_ticks, &boot()))?;
        Ok(note)
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        // One that stays names a process that has ended, which the next agent sees.
        let _ = fs::remove_file(&self.0);
    }
}

fn text(start_ticks: u64, boot: &str) -> String {
    format!("{start_ticks} {boot}\n")
}

/// Which boot of the host this is.
fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// Ends the processes that an earlier agent of `root` left. Whoever calls holds the agent's lock. Returns how many there
/// were.
///
/// # Errors
/// What the system said, or that a process does not go.
pub(crate) fn end_leftovers(root: &Root) -> io::Result<usize> {
    let boot = boot();
    let mut ended = 0;
    for entry in fs::read_dir(root.processes()).map_err(about("processes"))?.flatten() {
        let note = fs::read(entry.path()).unwrap_or_default();
        let pid = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        if let Some(pid) = pid.filter(|_| note.len() <= NOTE_BYTES_MAX) {
            // Ids of processes are given again; start times of one boot are not, for the same id.
            let ticks = start_ticks(pid).filter(|&ticks| note == text(ticks, &boot).as_bytes());
            if let Some(ticks) = ticks {
                end(pid, ticks)?;
                ended += 1;
            }
        }
        fs::remove_file(entry.path()).map_err(about(entry.path().display()))?;
    }
    Ok(ended)
}

fn end(pid: u32, ticks: u64) -> io::Result<()> {
    let began = Instant::now();
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL)?;
    while start_ticks(pid) == Some(ticks) {
        if began.elapsed() > GONE_DEADLINE {
            return Err(io::Error::other(format!(
                "process {pid} of an earlier agent does not end"
            )));
        }
        std::thread::sleep(GONE_PAUSE);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command};

    fn sleeper() -> (Child, Started) {
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        let (node, pid) = ("val-0".parse().unwrap(), child.id());
        let start_ticks = start_ticks(pid).unwrap();
        (child, Started { node, pid, start_ticks })
    }

    #[test]
    fn a_process_that_was_noted_is_ended_and_one_that_only_has_its_id_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::open(folder.path()).unwrap();
        let ((mut ours, noted), (mut other, mut stranger)) = (sleeper(), sleeper());
        stranger.start_ticks += 1;
        // As when the agent is killed: the notes stay.
        std::mem::forget(Note::of(&root, &noted).unwrap());
        std::mem::forget(Note::of(&root, &stranger).unwrap());
        fs::write(root.processes().join("no-number"), "9").unwrap();
        // It is a child of this test, and stays in the table until somebody waits for it: as ended.
        assert_eq!(end_leftovers(&root).unwrap(), 1);
        assert_eq!(start_ticks(noted.pid), None);
        assert!(start_ticks(stranger.pid).is_some(), "not ours");
        assert_eq!(fs::read_dir(root.processes()).unwrap().count(), 0);
        other.kill().unwrap();
        other.wait().unwrap();
        ours.wait().unwrap();
    }

    #[test]
    fn a_note_goes_with_its_process() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::open(folder.path()).unwrap();
        let (mut child, started) = sleeper();
        drop(Note::of(&root, &started).unwrap());
        assert_eq!(end_leftovers(&root).unwrap(), 0);
        assert!(start_ticks(started.pid).is_some());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
