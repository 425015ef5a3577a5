//! Less memory for a node: a group that it lives in from its start, so that all it holds counts when the limit comes.
//!
//! The system charges memory to the group that a process is in when it takes it, and leaves it there when the process moves.
//! A group made when a fault begins would leave out what the node holds by then.

use super::{CgroupError, Controller, Place, Version, at, known, name, remove};
use regatta_plan::{Plan, PlannedFault, scenario::FaultKind, units::Size};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// A limit that is none, in bytes: for the probe whether limits can be written.
const AMPLE_BYTES: u64 = 1 << 50;

/// What became of a node under a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Most bytes of memory while the limit held.
    pub peak_bytes: u64,
    /// How often the node came up against it.
    pub hits: u64,
    /// Whether the kernel killed it for want of memory.
    pub killed: bool,
    /// Whether it held more than the limit from the beginning and could not give it back.
    pub held_more: bool,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peak = Size(self.peak_bytes / 1024 * 1024);
        if self.held_more {
            return write!(f, "held {peak}, more than the limit, and was killed");
        }
        if self.killed {
            return write!(f, "killed by the kernel, it needed more");
        }
        let times = if self.hits == 1 { "once" } else { "times" };
        match self.hits {
            0 => write!(f, "lived with at most {peak}, never at the limit"),
            1 => write!(f, "lived with at most {peak}, {times} at the limit"),
            hits => write!(f, "lived with at most {peak}, {hits} {times} at the limit"),
        }
    }
}

/// What a limit does at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begun {
    /// It holds.
    Holds,
    /// The node holds more and cannot give it back. Version 2 kills it then; version 1 refuses the limit.
    HeldMore,
}

#[derive(Debug)]
struct Group {
    path: PathBuf,
    /// Counters when the newest limit began.
    kills_before: u64,
    hits_before: u64,
    held_more: Option<u64>,
}

/// A group for each node whose memory a plan limits; all are gone with this value.
#[derive(Debug)]
pub(crate) struct Groups {
    place: Option<Place>,
    groups: Mutex<BTreeMap<u32, Group>>,
}

/// The nodes whose memory `plan` may limit.
fn limited(plan: &Plan) -> BTreeSet<u32> {
    let nodes = |fault: &PlannedFault| {
        let instance = fault.leads.as_ref().and_then(|id| plan.instance(id));
        let voters = instance.iter().flat_map(|instance| &instance.validators);
        let voters: Vec<u32> = voters.map(|(node, _)| *node).collect();
        voters
            .into_iter()
            .chain(fault.nodes.iter().copied())
            .collect::<Vec<_>>()
    };
    let faults = plan.faults.iter().filter(|fault| fault.kind == FaultKind::Memory);
    faults.flat_map(nodes).collect()
}

impl Groups {
    /// Makes a group for each node whose memory `plan` limits; none where it limits nobody's.
    ///
    /// # Errors
    /// [`CgroupError`] when the system has none, or refuses.
    pub(crate) fn of(plan: &Plan) -> Result<Self, CgroupError> {
        let nodes = limited(plan);
        let place = match nodes.is_empty() {
            true => None,
            false => Some(Place::find(Controller::Memory)?),
        };
        let made = Self {
            place,
            groups: Mutex::default(),
        };
        for node in nodes {
            made.make(node)?;
        }
        Ok(made)
    }

    fn make(&self, node: u32) -> Result<(), CgroupError> {
        let Some(place) = &self.place else { return Ok(()) };
        let path = place.parent.join(name(&format!("memory-{node}")));
        at(&path, fs::create_dir(&path).or_else(known))?;
        let group = Group {
            path,
            kills_before: 0,
            hits_before: 0,
            held_more: None,
        };
        self.groups().insert(node, group);
        Ok(())
    }

    fn groups(&self) -> MutexGuard<'_, BTreeMap<u32, Group>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the process of a node that was just started into the node's group, if it has one.
    ///
    /// # Errors
    /// [`CgroupError`] when the system refuses.
    pub(crate) fn enter(&self, node: u32, pid: u32) -> Result<(), CgroupError> {
        let groups = self.groups();
        let Some(group) = groups.get(&node) else { return Ok(()) };
        let procs = group.path.join("cgroup.procs");
        match fs::write(&procs, pid.to_string()) {
            // It has ended already, which shows elsewhere.
            Err(error) if error.raw_os_error() == Some(nix::libc::ESRCH) => Ok(()),
            other => at(&procs, other),
        }
    }

    /// Leaves the node so many bytes.
    ///
    /// # Errors
    /// [`CgroupError`] when the system refuses.
    pub(crate) fn limit(&self, node: u32, bytes: u64) -> Result<Begun, CgroupError> {
        let mut groups = self.groups();
        let (Some(place), Some(group)) = (&self.place, groups.get_mut(&node)) else {
            return Err(CgroupError::None(Controller::Memory));
        };
        let version = place.version;
        group.kills_before = version.kills(&group.path);
        group.hits_before = version.hits(&group.path);
        group.held_more = None;
        version.forget_peak(&group.path);
        match version.leave(&group.path, bytes) {
            Ok(()) => Ok(Begun::Holds),
            Err(CgroupError::Refused { error, .. }) if error.kind() == io::ErrorKind::ResourceBusy => {
                group.held_more = Some(version.used(&group.path));
                Ok(Begun::HeldMore)
            }
            Err(error) => Err(error),
        }
    }

    /// Takes the limit away and says what it did.
    ///
    /// # Errors
    /// [`CgroupError`] when the system refuses.
    pub(crate) fn lift(&self, node: u32) -> Result<Seen, CgroupError> {
        let groups = self.groups();
        let (Some(place), Some(group)) = (&self.place, groups.get(&node)) else {
            return Err(CgroupError::None(Controller::Memory));
        };
        let version = place.version;
        let seen = Seen {
            peak_bytes: group.held_more.unwrap_or_else(|| version.peak(&group.path)),
            hits: version.hits(&group.path).saturating_sub(group.hits_before),
            killed: version.kills(&group.path) > group.kills_before,
            held_more: group.held_more.is_some(),
        };
        version.free(&group.path)?;
        Ok(seen)
    }

    /// Whether the kernel killed the node for want of memory since the newest limit began.
    pub(crate) fn was_starved(&self, node: u32) -> bool {
        let groups = self.groups();
        match (&self.place, groups.get(&node)) {
            (Some(place), Some(group)) => place.version.kills(&group.path) > group.kills_before,
            _ => false,
        }
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        let Some(place) = &self.place else { return };
        for group in self.groups().values() {
            // What stays is empty once its process has ended, and the next lab's sweep takes it.
            let _ = remove(&group.path, &place.home);
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

fn put(group: &Path, file: &str, text: &str) -> Result<(), CgroupError> {
    let path = group.join(file);
    at(&path, fs::write(&path, text))
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

/// The number after `key` in a file of a group.
fn counter(group: &Path, file: &str, key: &str) -> u64 {
    let text = fs::read_to_string(group.join(file)).unwrap_or_default();
    let value = |line: &str| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok();
    text.lines().find_map(value).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{fault, plan};
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

    fn groups(nodes: &[u32]) -> Option<Groups> {
        let mut plan = plan(4);
        plan.faults = vec![fault(FaultKind::Memory, nodes)];
        match Groups::of(&plan) {
            Ok(groups) => Some(groups),
            // A machine without them says so, which is what its labs say as well.
            Err(error) => {
                assert!(error.to_string().contains("help:"), "{error}");
                None
            }
        }
    }

    #[test]
    fn whose_memory_may_be_limited_gets_a_group() {
        let mut plan = plan(4);
        assert!(limited(&plan).is_empty());
        plan.faults = vec![fault(FaultKind::Memory, &[2]), fault(FaultKind::Crash, &[1])];
        assert_eq!(limited(&plan), BTreeSet::from([2]));
        plan.faults[0].leads = Some("main".to_owned());
        assert_eq!(limited(&plan), BTreeSet::from([0, 1, 2, 3]));
    }

    #[test]
    fn a_process_that_needs_more_is_killed_and_the_group_knows() {
        use std::io::Write;
        let Some(groups) = groups(&[3]) else { return };
        let path = groups.groups()[&3].path.clone();
        let mut child = hungry(64);
        groups.enter(3, child.id()).unwrap();
        assert_eq!(groups.limit(3, 16 << 20).unwrap(), Begun::Holds);
        assert!(!groups.was_starved(3));
        child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
        let until = Instant::now() + Duration::from_secs(30);
        while !groups.was_starved(3) {
            assert!(Instant::now() < until, "nobody was killed");
            std::thread::yield_now();
        }
        // Whichever process of the group it was: the shell ends by it or at the end of its input.
        drop(child.stdin.take());
        let status = child.wait().unwrap();
        assert!(status.signal().is_none_or(|signal| signal == 9), "{status}");
        let seen = groups.lift(3).unwrap();
        assert!(seen.killed && seen.hits > 0 && seen.peak_bytes <= 17 << 20, "{seen:?}");
        assert_eq!(seen.to_string(), "killed by the kernel, it needed more");
        drop(groups);
        assert!(!path.exists(), "nothing is left");
    }

    #[test]
    fn a_process_that_needs_less_lives_and_its_peak_is_known() {
        let Some(groups) = groups(&[2]) else { return };
        let mut child = hungry(1);
        groups.enter(2, child.id()).unwrap();
        assert_eq!(groups.limit(2, 256 << 20).unwrap(), Begun::Holds);
        let seen = groups.lift(2).unwrap();
        assert!(!seen.killed && !seen.held_more && seen.hits == 0, "{seen:?}");
        assert!(seen.to_string().starts_with("lived with at most "), "{seen}");
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(
            matches!(groups.limit(0, 1), Err(CgroupError::None(_))),
            "it has no group"
        );
    }
}
