//! What this host and this program are.

use crate::limits::limitable;
use nix::sys::{
    resource::{Resource, getrlimit},
    statvfs::statvfs,
    utsname::uname,
};
use procfs::{CpuInfo, Current, Meminfo};
use regatta_base::Digest;
use regatta_fleet::HostFacts;
use regatta_process::cgroup::{CgroupError, OwnGroups};
use std::{fs, io, path::Path};

/// Looks at the host; `folder` says which disk is meant, `groups` which control groups nodes get.
pub(crate) fn host_facts(folder: &Path, groups: &Result<OwnGroups, String>) -> HostFacts {
    let name = uname().ok();
    let text = |part: fn(&nix::sys::utsname::UtsName) -> &std::ffi::OsStr| {
        name.as_ref()
            .map(|name| part(name).to_string_lossy().into_owned())
            .unwrap_or_default()
    };
    let memory = Meminfo::current().ok();
    let soft = |resource| getrlimit(resource).map_or(0, |(soft, _)| soft);
    let clock = fs::read_to_string("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    HostFacts {
        hostname: text(|name| name.nodename()),
        arch: std::env::consts::ARCH.to_owned(),
        kernel: format!("{} {}", text(|name| name.sysname()), text(|name| name.release())),
        cpu_model: CpuInfo::current()
            .ok()
            .and_then(|info| info.model_name(0).map(str::to_owned))
            .unwrap_or_default(),
        cores: std::thread::available_parallelism().map_or(0, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX)),
        memory_bytes: memory.as_ref().map_or(0, |memory| memory.mem_total),
        memory_available_bytes: memory.and_then(|memory| memory.mem_available).unwrap_or(0),
        disk_free_bytes: free_bytes(folder),
        descriptors: soft(Resource::RLIMIT_NOFILE),
        processes: soft(Resource::RLIMIT_NPROC),
        clock_source: clock.unwrap_or_default().trim().to_owned(),
        systemd: runs_systemd(),
        groups: match groups {
            Ok(groups) => format!("nodes have their own: {}", groups.describe()),
            Err(why) => format!("nodes have a session of their own and no group: {why}"),
        },
        limits: limitable(groups),
    }
}

/// Where nodes of the agent of `folder` get control groups of their own, or why they get none.
pub(crate) fn own_groups(folder: &Path) -> Result<OwnGroups, String> {
    if runs_systemd() {
        return Err("systemd keeps the agent and its nodes together".to_owned());
    }
    let first_line = |error: CgroupError| error.to_string().lines().next().unwrap_or_default().to_owned();
    let owner = Digest::of_bytes(folder.as_os_str().as_encoded_bytes()).short();
    OwnGroups::find(&owner).map_err(first_line)
}

/// Whether systemd is process 1, by the folder that it makes for that question.
pub(crate) fn runs_systemd() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// Bytes that this user may still write to the disk of `folder`; 0 when the system does not say.
pub(crate) fn free_bytes(folder: &Path) -> u64 {
    statvfs(folder).map_or(0, |disk| disk.blocks_available() * disk.fragment_size())
}

/// Digest of the program that runs, whatever has become of its file meanwhile.
///
/// # Errors
/// What the system said.
pub(crate) fn own_digest() -> io::Result<Digest> {
    digest_of(Path::new("/proc/self/exe"))
}

/// Digest of a file.
///
/// # Errors
/// What the system said.
pub(crate) fn digest_of(path: &Path) -> io::Result<Digest> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(fs::File::open(path)?)?;
    Ok(Digest(*hasher.finalize().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_has_cores_memory_and_a_disk() {
        let facts = host_facts(&std::env::temp_dir(), &Err("none are mounted".to_owned()));
        assert!(facts.groups.contains("no group: none are mounted"), "{}", facts.groups);
        assert!(facts.limits.is_empty(), "{:?}", facts.limits);
        assert!(facts.cores > 0 && facts.memory_bytes > 0 && facts.disk_free_bytes > 0 && facts.descriptors > 0);
        assert!(
            facts.kernel.starts_with("Linux ") && !facts.hostname.is_empty(),
            "{facts:?}"
        );
    }

    #[test]
    fn the_running_program_is_the_file_that_was_started() {
        let path = std::env::current_exe().unwrap();
        assert_eq!(own_digest().unwrap(), Digest::of_bytes(&fs::read(path).unwrap()));
    }
}
