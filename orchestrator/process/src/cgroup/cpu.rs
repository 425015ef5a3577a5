//! Less time on processors for a group, and how often that held it back.

use super::{CgroupError, PERIOD_US, Version, counter, put};
use regatta_fleet::Throttled;
use std::path::{Path, PathBuf};

/// The limit of a group's time on processors, on or off. The group is another's.
#[derive(Debug)]
pub(super) struct CpuLimit {
    version: Version,
    path: PathBuf,
    /// Counters when the newest limit began.
    before: Throttled,
}

impl CpuLimit {
    /// None yet, for the group at `path`.
    pub(super) fn of(version: Version, path: PathBuf) -> Self {
        let before = version.throttled(&path);
        Self { version, path, before }
    }

    /// Leaves the group so many microseconds of a core in each period.
    pub(super) fn limit(&mut self, quota_us: u64) -> Result<(), CgroupError> {
        self.before = self.version.throttled(&self.path);
        self.version.leave_time(&self.path, quota_us)
    }

    /// What the newest limit has done so far.
    pub(super) fn seen(&self) -> Throttled {
        self.version.throttled(&self.path).since(self.before)
    }

    /// Takes the limit away.
    pub(super) fn lift(&self) -> Result<(), CgroupError> {
        self.version.free_time(&self.path)
    }
}

impl Version {
    /// Limits time on processors.
    pub(super) fn leave_time(self, group: &Path, quota_us: u64) -> Result<(), CgroupError> {
        match self {
            Self::One => {
                put(group, "cpu.cfs_period_us", &PERIOD_US.to_string())?;
                put(group, "cpu.cfs_quota_us", &quota_us.to_string())
            }
            Self::Two => put(group, "cpu.max", &format!("{quota_us} {PERIOD_US}")),
        }
    }

    fn free_time(self, group: &Path) -> Result<(), CgroupError> {
        match self {
            Self::One => put(group, "cpu.cfs_quota_us", "-1"),
            Self::Two => put(group, "cpu.max", "max"),
        }
    }

    /// Periods that the group had under a limit so far; both versions count alike.
    fn throttled(self, group: &Path) -> Throttled {
        Throttled {
            periods: counter(group, "cpu.stat", "nr_periods"),
            throttled: counter(group, "cpu.stat", "nr_throttled"),
        }
    }
}
