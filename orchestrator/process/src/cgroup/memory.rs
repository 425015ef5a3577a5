//! Less memory for a node: a group that it lives in from its start, so that all it holds counts when the limit comes.
//!
//! The system charges memory to the group that a process is in when it takes it, and leaves it there when the process moves.
//! A group made when a fault begins would leave out what the node holds by then.

use super::{CgroupError, Place, Version, at, counter, enter, known, name, put, remove};
use regatta_fleet::Starved;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// A limit that is none, in bytes: for the probe whether limits can be written.
const AMPLE_BYTES: u64 = 1 << 50;

/// What a limit does at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// It holds.
    Holds,
    /// The node holds more and cannot give it back. Version 2 kills it then; version 1 refuses the limit.
    HeldMore,
}

/// The limit of a group's memory, on or off. The group is another's.
#[derive(Debug)]
pub(super) struct MemoryLimit {
    version: Version,
    path: PathBuf,
    /// Counters when the newest limit began.
    kills_before: u64,
    hits_before: u64,
    held_more: Option<u64>,
}

/// A group for the memory of one process, which is removed with this value.
#[derive(Debug)]
pub struct MemoryGroup {
    limit: MemoryLimit,
    home: PathBuf,
}

impl MemoryLimit {
    /// None yet, for the group at `path`.
    pub(super) fn of(version: Version, path: PathBuf) -> Self {
        Self {
            version,
            path,
            kills_before: 0,
            hits_before: 0,
            held_more: None,
        }
    }

    /// Leaves the group so many bytes.
    pub(super) fn limit(&mut self, bytes: u64) -> Result<Begun, CgroupError> {
        let version = self.version;
        self.kills_before = version.kills(&self.path);
        self.hits_before = version.hits(&self.path);
        self.held_more = None;
        version.forget_peak(&self.path);
        match version.leave(&self.path, bytes) {
            Ok(()) => Ok(Begun::Holds),
            Err(CgroupError::Refused { error, .. }) if error.kind() == io::ErrorKind::ResourceBusy => {
                self.held_more = Some(version.used(&self.path));
                Ok(Begun::HeldMore)
            }
            Err(error) => Err(error),
        }
    }

    /// What the newest limit has done so far.
    pub(super) fn seen(&self) -> Starved {
        Starved {
            peak_bytes: self.held_more.unwrap_or_else(|| self.version.peak(&self.path)),
            hits: self.version.hits(&self.path).saturating_sub(self.hits_before),
            killed: self.was_starved(),
            held_more: self.held_more.is_some(),
        }
    }

    /// Takes the limit away.
    pub(super) fn lift(&self) -> Result<(), CgroupError> {
        self.version.free(&self.path)
    }

    /// Whether the kernel killed a process for want of memory since the newest limit began.
    pub(super) fn was_starved(&self) -> bool {
        self.version.kills(&self.path) > self.kills_before
    }
}

impl MemoryGroup {
    /// Makes one for `what`, with nobody in it.
    ///
    /// # Errors
    /// [`CgroupError`] when the system refuses.
    pub fn make(place: &Place, what: &str) -> Result<Self, CgroupError> {
        let path = place.parent.join(name(what));
        at(&path, fs::create_dir(&path).or_else(known))?;
        Ok(Self {
            limit: MemoryLimit::of(place.version, path),
            home: place.home.clone(),
        })
    }

    /// Puts a process that was just started into it.
    ///
    /// # Errors
    /// [`CgroupError`] when the system refuses.
    pub fn enter(&self, pid: u32) -> Result<(), CgroupError> {
        enter(&self.limit.path, pid)
    }

    /// Leaves it so many bytes.
    ///
    /// # Errors
    /// [`CgroupError`] when the system refuses.
    pub fn limit(&mut self, bytes: u64) -> Result<Begun, CgroupError> {
        self.limit.limit(bytes)
    }

    /// Takes the limit away and says what it did.
    ///
    /// # Errors
    /// [`CgroupError`] when the system refuses.
    pub fn lift(&self) -> Result<Starved, CgroupError> {
        let seen = self.limit.seen();
        self.limit.lift().map(|()| seen)
    }

    /// Whether the kernel killed a process for want of memory since the newest limit began.
    #[must_use]
    pub fn was_starved(&self) -> bool {
        self.limit.was_starved()
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        if self.limit.path.exists() {
            // What stays is empty once its process has ended, and the next sweep takes it.
            let _ = remove(&self.limit.path, &self.home);
        }
    }
}

/// Whether the limit of a group can be written.
pub(super) fn probe(place: &Place, group: &Path) -> Result<(), CgroupError> {
    place.version.leave(group, AMPLE_BYTES)
}

impl Version {
    /// Limits memory; what is held does not hide in swap.
    fn leave(self, group: &Path, bytes: u64) -> Result<(), CgroupError> {
        match self {
            Self::One => {
                put_if_there(group, "memory.swappiness", "0")?;
                put(group, "memory.limit_in_bytes", &bytes.to_string())
            }
            Self::Two => {
                put_if_there(group, "memory.swap.max", "0")?;
                put(group, "memory.max", &bytes.to_string())
            }
        }
    }

    fn free(self, group: &Path) -> Result<(), CgroupError> {
        match self {
            Self::One => put(group, "memory.limit_in_bytes", "-1"),
            Self::Two => {
                put(group, "memory.max", "max")?;
                put_if_there(group, "memory.swap.max", "max")
            }
        }
    }

    /// Has the peak count from now on. Older systems of version 2 cannot; theirs is since the node's start.
    fn forget_peak(self, group: &Path) {
        let file = match self {
            Self::One => "memory.max_usage_in_bytes",
            Self::Two => "memory.peak",
        };
        let _ = fs::write(group.join(file), "0");
    }

    fn peak(self, group: &Path) -> u64 {
        number(
            group,
            match self {
                Self::One => "memory.max_usage_in_bytes",
                Self::Two => "memory.peak",
            },
        )
    }

    fn used(self, group: &Path) -> u64 {
        number(
            group,
            match self {
                Self::One => "memory.usage_in_bytes",
                Self::Two => "memory.current",
            },
        )
    }

    /// How often the group came up against its limit.
    fn hits(self, group: &Path) -> u64 {
        match self {
            Self::One => number(group, "memory.failcnt"),
            Self::Two => counter(group, "memory.events", "max"),
        }
    }

    /// How many processes the kernel killed in it.
    fn kills(self, group: &Path) -> u64 {
        let file = match self {
            Self::One => "memory.oom_control",
            Self::Two => "memory.events",
        };
        counter(group, file, "oom_kill")
    }
}

/// As [`put`], for what not every system has.
fn put_if_there(group: &Path, file: &str, text: &str) -> Result<(), CgroupError> {
    match group.join(file).exists() {
        true => put(group, file, text),
        false => Ok(()),
    }
}

/// The number in a file of a group; 0 where the system does not show it.
fn number(group: &Path, file: &str) -> u64 {
    let text = fs::read_to_string(group.join(file)).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Controller, skip},
        *,
    };
    use std::{
        os::unix::process::ExitStatusExt,
        process::{Child, Command, Stdio},
        time::{Duration, Instant},
    };

    /// A process that takes `mib` MiB when it is given a line.
    fn hungry(mib: u32) -> Child {
        let script = format!("read line; x=$(head -c {}m /dev/zero | tr '\\0' x); read line", mib);
        Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn group(what: &str) -> Option<MemoryGroup> {
        let place = skip::or_skip(Place::find(Controller::Memory))?;
        Some(MemoryGroup::make(&place, what).unwrap())
    }

    #[test]
    fn a_process_that_needs_more_is_killed_and_the_group_knows() {
        use std::io::Write;
        let Some(mut group) = group("memory-3") else { return };
        let path = group.limit.path.clone();
        let mut child = hungry(64);
        group.enter(child.id()).unwrap();
        assert_eq!(group.limit(16 << 20).unwrap(), Begun::Holds);
        assert!(!group.was_starved());
        child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
        let until = Instant::now() + Duration::from_secs(30);
        while !group.was_starved() {
            assert!(Instant::now() < until, "nobody was killed");
            std::thread::yield_now();
        }
        // Whichever process of the group it was: the shell ends by it or at the end of its input.
        drop(child.stdin.take());
        let status = child.wait().unwrap();
        assert!(status.signal().is_none_or(|signal| signal == 9), "{status}");
        let seen = group.lift().unwrap();
        assert!(seen.killed && seen.hits > 0 && seen.peak_bytes <= 17 << 20, "{seen:?}");
        assert_eq!(seen.to_string(), "killed by the kernel, it needed more");
        // Others of the pipeline may still be ending, which the group is not removed before.
        while !fs::read_to_string(path.join("cgroup.procs")).unwrap().is_empty() {
            assert!(Instant::now() < until, "somebody stays");
            std::thread::yield_now();
        }
        drop(group);
        assert!(!path.exists(), "nothing is left");
    }

    #[test]
    fn a_process_that_needs_less_lives_and_its_peak_is_known() {
        let Some(mut group) = group("memory-2") else { return };
        let mut child = hungry(1);
        group.enter(child.id()).unwrap();
        assert_eq!(group.limit(256 << 20).unwrap(), Begun::Holds);
        let seen = group.lift().unwrap();
        assert!(!seen.killed && !seen.held_more && seen.hits == 0, "{seen:?}");
        assert!(seen.to_string().starts_with("lived with at most "), "{seen}");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
