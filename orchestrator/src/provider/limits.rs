//! What this machine allows: descriptors, processes, memory, disk.

use nix::sys::{
    resource::{Resource, getrlimit, setrlimit},
    statvfs::statvfs,
};
use regatta_process::memory::Rooms;
use std::path::Path;

/// More descriptors than the largest plan needs.
const DESCRIPTORS_MAX: u64 = 1 << 19;

/// Limits of this machine and of this user on it. What cannot be read counts as unlimited: a plan must not be refused
/// because a file of `/proc` is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HostLimits {
    /// Logical processors that this process may use.
    pub cores: u32,
    /// Memory of the machine in bytes, or of the control group with less left.
    pub memory_total_bytes: u64,
    /// Memory of the same that processes may still take, in bytes.
    pub memory_available_bytes: u64,
    /// Open descriptors of one process without asking for more.
    pub descriptors_soft: u64,
    /// Most open descriptors of one process.
    pub descriptors_hard: u64,
    /// Most open descriptors of all processes.
    pub descriptors_total: u64,
    /// Most processes and threads together.
    pub processes: u64,
    /// Free bytes where runs are kept.
    pub disk_free_bytes: u64,
}

impl HostLimits {
    /// Reads the limits; `runs` need not exist yet.
    pub(crate) fn read(runs: &Path) -> Self {
        let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((u64::MAX, u64::MAX));
        let total: Option<u64> = number_in("/proc/sys/fs/file-max");
        // A container may leave less than the machine has.
        let tightest = Rooms::find().read().into_iter().min_by_key(|room| room.available_bytes);
        Self {
            cores: std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32),
            memory_total_bytes: tightest.as_ref().map_or(u64::MAX, |room| room.total_bytes),
            memory_available_bytes: tightest.as_ref().map_or(u64::MAX, |room| room.available_bytes),
            descriptors_soft: soft,
            descriptors_hard: reachable_descriptors(),
            descriptors_total: total.unwrap_or(u64::MAX),
            processes: tasks_allowed(),
            disk_free_bytes: disk_free(runs).unwrap_or(u64::MAX),
        }
    }
}

/// Raises the soft limit on open descriptors as far as it goes: the lab holds a few for every node.
///
/// Returns the limit afterwards; a refusal leaves it as it was.
pub(crate) fn raise_descriptor_limit() -> u64 {
    let Ok((soft, _)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return 0;
    };
    let hard = reachable_descriptors();
    match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(_) => soft,
    }
}

/// Most open descriptors that this process may come to: whoever has the right raises the hard limit too, up to what the
/// system has for anybody.
fn reachable_descriptors() -> u64 {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((u64::MAX, u64::MAX));
    let most = number_in("/proc/sys/fs/nr_open").unwrap_or(hard).min(DESCRIPTORS_MAX);
    if most <= hard || setrlimit(Resource::RLIMIT_NOFILE, soft, most).is_err() {
        return hard;
    }
    most
}

/// Most processes and threads: what this user may have, and what the system numbers and keeps.
fn tasks_allowed() -> u64 {
    let (user, _) = getrlimit(Resource::RLIMIT_NPROC).unwrap_or((u64::MAX, u64::MAX));
    let system = ["/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"];
    system.into_iter().filter_map(number_in).fold(user, u64::min)
}

fn number_in(path: &str) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Free bytes on the file system of `path` or of the nearest folder above it that exists.
fn disk_free(path: &Path) -> Option<u64> {
    let absolute = std::path::absolute(path).ok()?;
    let existing = absolute.ancestors().find(|folder| folder.exists())?;
    let facts = statvfs(existing).ok()?;
    Some(facts.blocks_available() * facts.fragment_size())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_something_of_everything() {
        let folder = tempfile::tempdir().unwrap();
        let limits = HostLimits::read(&folder.path().join("not/yet/there"));
        assert!(limits.cores >= 1 && limits.memory_total_bytes >= limits.memory_available_bytes);
        assert!(limits.disk_free_bytes > 0 && limits.disk_free_bytes < u64::MAX);
        assert!(raise_descriptor_limit() >= limits.descriptors_soft);
        assert_eq!(
            raise_descriptor_limit(),
            limits.descriptors_hard,
            "what was told can be had"
        );
        assert!(limits.processes > 0 && limits.processes < u64::MAX);
    }
}
