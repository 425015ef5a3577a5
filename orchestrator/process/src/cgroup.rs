//! Control groups of processes, of either version of them: one for a fault that takes time on processors or memory away, or
//! one that a process lives in from its start to its end.
//!
//! A group is named after the lab or agent that made it. One that is killed leaves empty groups, since its nodes end with it;
//! the next one removes them.

mod cpu;
mod memory;
mod own;
#[cfg(test)]
mod skip;

pub use memory::{Begun, MemoryGroup};
pub use own::{OwnGroup, OwnGroups};

use crate::start_ticks;
use cpu::CpuLimit;
use regatta_fleet::Throttled;
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Beginning of the names of all groups of labs.
const PREFIX: &str = "regatta-";
/// Time over which a limit holds, in microseconds: what the kernel takes by itself.
const PERIOD_US: u64 = 100_000;
/// Shortest time on the processor in a period that the kernel accepts, in microseconds.
const QUOTA_US_MIN: u64 = 1000;

/// Why there is no group.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// The system has none that limits this, or does not show it.
    #[error(
        "no control group here limits {}\n  help: mount cgroup2, or the `{}` controller of version 1",
        .0.what(),
        .0.name()
    )]
    None(Controller),
    /// The system refused.
    #[error(
        "control group `{path}`: {error}\n  help: run as root, or in a group that is delegated to you (systemd-run --user --scope -p Delegate=yes)"
    )]
    Refused {
        /// The group, or a file of it.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// Version of control groups: they differ in how a limit is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// What a group limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Controller {
    /// Time on processors.
    Cpu,
    /// Memory.
    Memory,
    /// How many processes there are.
    Pids,
}

/// Where groups are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    version: Version,
    /// The group that new ones are made in.
    parent: PathBuf,
    /// The group that processes go back to: that of the lab.
    home: PathBuf,
}

/// A group with one process in it, which is removed with this value.
#[derive(Debug)]
pub struct Limited {
    path: PathBuf,
    home: PathBuf,
    cpu: CpuLimit,
    is_lifted: bool,
}

fn at<T>(path: &Path, result: io::Result<T>) -> Result<T, CgroupError> {
    result.map_err(|error| CgroupError::Refused {
        path: path.to_owned(),
        error,
    })
}

impl Controller {
    /// As the system calls it.
    fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Pids => "pids",
        }
    }

    fn what(self) -> &'static str {
        match self {
            Self::Cpu => "time on processors",
            Self::Memory => "memory",
            Self::Pids => "the number of processes",
        }
    }
}

impl Place {
    /// Finds where this process may make groups that limit so, and makes one to see.
    ///
    /// # Errors
    /// [`CgroupError`] when it may not.
    pub fn find(controller: Controller) -> Result<Self, CgroupError> {
        let none = || CgroupError::None(controller);
        let _alone = try_alone();
        let (groups, mounts) = system_says().ok_or_else(none)?;
        let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        let place = Self::of(controller, &groups, &mounts, &read).ok_or_else(none)?;
        let probe = place.parent.join(name(&format!("probe-{}", controller.name())));
        at(&probe, fs::create_dir(&probe).or_else(known))?;
        let limit = match controller {
            Controller::Cpu => place.version.leave_time(&probe, QUOTA_US_MIN),
            Controller::Memory => memory::probe(&place, &probe),
            Controller::Pids => Ok(()),
        };
        at(&probe, fs::remove_dir(&probe))?;
        limit.map(|()| place)
    }

    /// Where groups of version 2 can be made, whatever they limit.
    ///
    /// # Errors
    /// [`CgroupError::None`] when the system does not say.
    fn find_unified() -> Result<Option<Self>, CgroupError> {
        let _alone = try_alone();
        let (groups, mounts) = system_says().ok_or(CgroupError::None(Controller::Pids))?;
        Ok(Self::unified(&groups, &mounts))
    }

    /// Where that is, by what the system says of groups and mounts; `read` reads a file of a group.
    fn of(controller: Controller, groups: &str, mounts: &str, read: &dyn Fn(&Path) -> String) -> Option<Self> {
        let wanted = controller.name();
        if let (Some(group), Some(root)) = (own_group(groups, wanted), mount(mounts, "cgroup", wanted)) {
            let home = root.join(group);
            return Some(Self {
                version: Version::One,
                parent: home.clone(),
                home,
            });
        }
        let unified = Self::unified(groups, mounts)?;
        let controls = read(&unified.parent.join("cgroup.subtree_control"));
        let limits = controls.split_whitespace().any(|name| name == wanted);
        limits.then_some(unified)
    }

    /// Where groups of version 2 are made, whatever they limit.
    fn unified(groups: &str, mounts: &str) -> Option<Self> {
        let (group, root) = (own_group(groups, "")?, mount(mounts, "cgroup2", "")?);
        let home = root.join(&group);
        // Only the root may hold processes beside groups with limits; elsewhere new groups stand beside the lab's own.
        let parent = if group.is_empty() {
            root
        } else {
            home.parent()?.to_owned()
        };
        Some(Self {
            version: Version::Two,
            parent,
            home,
        })
    }

    /// Leaves process `pid` so many millionths of one processor, in a group for node `node`.
    ///
    /// # Errors
    /// [`CgroupError`] when the system refuses; no group is left then.
    pub fn limit(&self, node: u32, pid: u32, share_ppm: u32) -> Result<Limited, CgroupError> {
        let path = self.parent.join(name(&node.to_string()));
        at(&path, fs::create_dir(&path).or_else(known))?;
        let mut limited = Limited {
            cpu: CpuLimit::of(self.version, path.clone()),
            path,
            home: self.home.clone(),
            is_lifted: false,
        };
        let procs = limited.path.join("cgroup.procs");
        let entered = limited
            .cpu
            .limit(quota_us(share_ppm))
            .and_then(|()| at(&procs, fs::write(&procs, pid.to_string())));
        if let Err(error) = entered {
            limited.lift()?;
            return Err(error);
        }
        Ok(limited)
    }

    /// Removes the empty groups that labs and agents left that died; how many groups that were. Only an empty one can be
    /// removed, so that no process is ever touched: one whose processes are just ending is left to the next sweep.
    ///
    /// # Errors
    /// [`CgroupError`] when one cannot be removed.
    pub fn sweep(&self) -> Result<usize, CgroupError> {
        let mut removed = 0;
        for group in self.left_behind()? {
            removed += usize::from(is_removed(&group)?);
        }
        Ok(removed)
    }

    /// Groups of labs and agents that are no more.
    fn left_behind(&self) -> Result<Vec<PathBuf>, CgroupError> {
        let entries = at(&self.parent, fs::read_dir(&self.parent))?.flatten();
        let left = entries.filter(|entry| entry.file_name().to_str().is_some_and(is_of_the_dead));
        Ok(left.map(|entry| entry.path()).collect())
    }

    /// One line for people.
    pub fn describe(&self) -> String {
        let version = self.version.number();
        format!("control groups of version {version} in {}", self.parent.display())
    }
}

/// The groups of this process, and all mounts.
fn system_says() -> Option<(String, String)> {
    let read = |path| fs::read_to_string(path).ok();
    Some((read("/proc/self/cgroup")?, read("/proc/self/mounts")?))
}

/// One thread tries at a time: a trial has one name, and while it lasts this process may be in a group that goes away.
fn try_alone() -> MutexGuard<'static, ()> {
    static TRYING: Mutex<()> = Mutex::new(());
    TRYING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts a process into a group. One that has ended already shows elsewhere.
fn enter(group: &Path, pid: u32) -> Result<(), CgroupError> {
    let procs = group.join("cgroup.procs");
    match fs::write(&procs, pid.to_string()) {
        Err(error) if error.raw_os_error() == Some(nix::libc::ESRCH) => Ok(()),
        other => at(&procs, other),
    }
}

/// The group of this process in the hierarchy of a controller, without the slash that it begins with.
pub(crate) fn own_group(groups: &str, controller: &str) -> Option<String> {
    groups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let found = fields.next()?.split(',').any(|name| name == controller);
        found.then(|| fields.next().unwrap_or("/").trim_start_matches('/').to_owned())
    })
}

/// Where a file system of this kind and with this option, unless it is empty, is mounted.
pub(crate) fn mount(mounts: &str, kind: &str, option: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        let has = option.is_empty() || fields.get(3)?.split(',').any(|name| name == option);
        (*fields.get(2)? == kind && has).then(|| PathBuf::from(fields[1]))
    })
}

impl Version {
    fn number(self) -> u32 {
        match self {
            Self::One => 1,
            Self::Two => 2,
        }
    }
}

/// The quota of a period for so many millionths of one processor, in microseconds.
fn quota_us(share_ppm: u32) -> u64 {
    (PERIOD_US * u64::from(share_ppm) / 1_000_000).max(QUOTA_US_MIN)
}

impl Limited {
    /// Gives the process its time back, removes the group, and says how often the process was held back.
    ///
    /// # Errors
    /// [`CgroupError`] when the system refuses.
    pub fn lift(mut self) -> Result<Throttled, CgroupError> {
        self.is_lifted = true;
        let seen = self.cpu.seen();
        remove(&self.path, &self.home).map(|()| seen)
    }
}

/// Brings the processes of a group back to `home` and removes it.
fn remove(group: &Path, home: &Path) -> Result<(), CgroupError> {
    let (procs, home) = (group.join("cgroup.procs"), home.join("cgroup.procs"));
    for pid in at(&procs, fs::read_to_string(&procs))?.lines() {
        match fs::write(&home, pid) {
            // It has ended in the meantime.
            Err(error) if error.raw_os_error() == Some(nix::libc::ESRCH) => {}
            other => at(&home, other)?,
        }
    }
    at(group, fs::remove_dir(group))
}

impl Drop for Limited {
    fn drop(&mut self) {
        if !self.is_lifted {
            // What stays is empty once its process has ended, and the next lab's sweep takes it.
            let _ = remove(&self.path, &self.home);
        }
    }
}

/// Removes an empty group; whether it is gone by this. One that holds processes stays, and another may have removed it.
fn is_removed(group: &Path) -> Result<bool, CgroupError> {
    match fs::remove_dir(group) {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.kind(), io::ErrorKind::ResourceBusy | io::ErrorKind::NotFound) => Ok(false),
        Err(error) => at(group, Err(error)),
    }
}

fn put(group: &Path, file: &str, text: &str) -> Result<(), CgroupError> {
    let path = group.join(file);
    at(&path, fs::write(&path, text))
}

/// The number after `key` in a file of a group; 0 where the system does not show it.
fn counter(group: &Path, file: &str, key: &str) -> u64 {
    let text = fs::read_to_string(group.join(file)).unwrap_or_default();
    let value = |line: &str| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok();
    text.lines().find_map(value).unwrap_or(0)
}

/// The name of this program's group for `what`.
fn name(what: &str) -> String {
    let own = std::process::id();
    format!("{PREFIX}{own}-{}-{what}", start_ticks(own).unwrap_or_default())
}

/// Whether a group was made by a lab or an agent that is no more: a process id counts only with its start time.
fn is_of_the_dead(name: &str) -> bool {
    let mut numbers = name
        .strip_prefix(PREFIX)
        .into_iter()
        .flat_map(|rest| rest.splitn(3, '-'));
    let pid = numbers.next().and_then(|text| text.parse::<u32>().ok());
    let ticks = numbers.next().and_then(|text| text.parse::<u64>().ok());
    match (pid, ticks, numbers.next()) {
        (Some(pid), Some(ticks), Some(_)) => start_ticks(pid) != Some(ticks),
        _ => false,
    }
}

/// A group of this name is this lab's own: nothing else has its number and start time.
fn known(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::AlreadyExists {
        Ok(())
    } else {
        Err(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        process::{Child, Command, Stdio},
        time::{Duration, Instant},
    };

    const MOUNTS: &str = "proc /proc proc rw 0 0\ncgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,nosuid,cpu,cpuacct 0 0\n";
    const UNIFIED: &str = "cgroup2 /sys/fs/cgroup cgroup2 rw,nsdelegate 0 0\n";

    fn place(groups: &str, mounts: &str, controls: &str) -> Option<Place> {
        Place::of(Controller::Cpu, groups, mounts, &|_| controls.to_owned())
    }

    #[test]
    fn both_versions_are_found_where_they_limit_processors() {
        let one = place("4:memory:/a\n2:cpu,cpuacct:/b\n0::/c\n", MOUNTS, "").unwrap();
        assert_eq!(
            (one.version, one.parent),
            (Version::One, PathBuf::from("/sys/fs/cgroup/cpu,cpuacct/b"))
        );
        let two = place("0::/user.slice/lab.scope\n", UNIFIED, "cpu memory").unwrap();
        assert_eq!(two.version, Version::Two);
        assert_eq!(two.parent, Path::new("/sys/fs/cgroup/user.slice"));
        assert_eq!(two.home, Path::new("/sys/fs/cgroup/user.slice/lab.scope"));
        assert_eq!(
            place("0::/\n", UNIFIED, "cpu").unwrap().parent,
            Path::new("/sys/fs/cgroup")
        );
        assert_eq!(place("0::/a/b\n", UNIFIED, "memory pids"), None);
        assert_eq!(place("4:memory:/a\n", MOUNTS, ""), None);
        assert_eq!(place("", "", ""), None);
        let memory = |controls: &str| {
            Place::of(Controller::Memory, "4:memory:/a\n0::/u/b\n", UNIFIED, &|_| {
                controls.to_owned()
            })
        };
        assert_eq!(memory("cpu memory").unwrap().parent, Path::new("/sys/fs/cgroup/u"));
        assert_eq!(memory("cpu"), None);
    }

    #[test]
    fn groups_of_dead_labs_are_told_apart() {
        let own = name("3");
        assert!(!is_of_the_dead(&own), "{own}");
        let pid = std::process::id();
        assert!(
            is_of_the_dead(&format!("regatta-{pid}-1-3")),
            "the number was used again"
        );
        for other in ["", "regatta-", "regatta-x-1-3", "user.slice", "regatta-1-2"] {
            assert!(!is_of_the_dead(other), "{other}");
        }
    }

    /// A process that does nothing but work.
    fn busy() -> Child {
        Command::new("sh")
            .args(["-c", "while :; do :; done"])
            .stdin(Stdio::null())
            .spawn()
            .unwrap()
    }

    fn cpu_ticks(pid: u32) -> u64 {
        let process = procfs::process::Process::new(pid as i32).and_then(|process| process.stat());
        process.map_or(0, |stat| stat.utime + stat.stime)
    }

    /// Seen in a busy run of all tests: one thread removed the group with which another one had just begun to try.
    #[test]
    fn threads_that_try_groups_at_once_are_not_in_each_others_way() {
        if skip::or_skip(Place::find(Controller::Memory)).is_none() {
            return;
        }
        let tries = || (0..20).try_for_each(|_| Place::find(Controller::Memory).map(drop));
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(tries)).collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap().unwrap());
        });
    }

    #[test]
    fn a_limited_process_gets_its_share_until_the_limit_is_lifted() {
        let Some(place) = skip::or_skip(Place::find(Controller::Cpu)) else {
            return;
        };
        let mut child = busy();
        let pid = child.id();
        let limited = place.limit(7, pid, 20_000).unwrap();
        let path = limited.path.clone();
        assert_eq!(
            fs::read_to_string(path.join("cgroup.procs")).unwrap().trim(),
            pid.to_string()
        );
        let (begun, before) = (Instant::now(), cpu_ticks(pid));
        while begun.elapsed() < Duration::from_secs(2) {
            std::hint::spin_loop();
        }
        // 2 % of 2 s are 4 ticks of 10 ms; a process without a limit would have far more even on a busy machine.
        let used = cpu_ticks(pid) - before;
        assert!(used <= 20, "{used} ticks in {:?}", begun.elapsed());
        let seen = limited.lift().unwrap();
        assert!(seen.throttled > 0 && seen.periods >= seen.throttled, "{seen:?}");
        assert!(!path.exists());
        let home = fs::read_to_string(place.home.join("cgroup.procs")).unwrap();
        assert!(home.lines().any(|line| line == pid.to_string()), "it is back");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn what_a_dead_lab_left_is_swept_and_the_rest_stays() {
        let Some(place) = skip::or_skip(Place::find(Controller::Cpu)) else {
            return;
        };
        let left = place.parent.join(format!("{PREFIX}{}-1-9", std::process::id()));
        fs::create_dir(&left).unwrap();
        let mut child = busy();
        let own = place.limit(8, child.id(), 500_000).unwrap();
        assert!(place.sweep().unwrap() >= 1);
        assert!(!left.exists() && own.path.is_dir());
        child.kill().unwrap();
        child.wait().unwrap();
        own.lift().unwrap();
        let gone = place.limit(8, child.id(), 500_000).unwrap_err();
        assert!(matches!(gone, CgroupError::Refused { .. }), "{gone}");
        assert!(
            !place.parent.join(name("8")).exists(),
            "nothing is left of a group that was refused"
        );
    }
}
