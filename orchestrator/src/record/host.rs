//! The disclosure list of the machine: whoever reads a figure should know where it was measured.

use nix::{
    sys::{
        resource::{Resource, getrlimit},
        statvfs::statvfs,
        utsname::uname,
    },
    time::{ClockId, clock_getres},
};
use procfs::{
    CpuInfo, CpuPressure, Current, IoPressure, LoadAverage, Meminfo, MemoryPressure, PressureRecord, process,
};
use regatta_report::{format, model::Disclosure};
use std::{fs, path::Path};

/// Discloses this machine and the file system that `folder` is on. What the kernel does not tell is said to be unknown.
#[must_use]
pub fn host_disclosure(folder: &Path) -> Vec<Disclosure> {
    let mut lines = Vec::new();
    let mut add = |section: &str, name: &str, value: Option<String>| {
        lines.push(Disclosure {
            section: section.to_owned(),
            name: name.to_owned(),
            value: value.unwrap_or_else(|| "unknown".to_owned()),
        });
    };
    let info = CpuInfo::current().ok();
    let info = info.as_ref();
    add(
        "machine",
        "CPU model",
        info.and_then(|info| info.model_name(0)).map(str::to_owned),
    );
    let cores = std::thread::available_parallelism().ok();
    add("machine", "cores", cores.map(|cores| cores.to_string()));
    add("machine", "virtualisation", info.map(virtualisation));
    add("machine", "memory", Meminfo::current().ok().map(|info| memory(&info)));
    add("machine", "kernel", kernel());
    add("machine", "clock", Some(clock()));
    add("machine", "frequency governor", governor());
    add("limits", "open files", limit(Resource::RLIMIT_NOFILE));
    add("limits", "processes", limit(Resource::RLIMIT_NPROC));
    add(
        "pressure",
        "load average",
        LoadAverage::current().ok().as_ref().map(load),
    );
    add(
        "pressure",
        "CPU",
        CpuPressure::current().ok().map(|pressure| some(&pressure.some)),
    );
    add(
        "pressure",
        "memory",
        MemoryPressure::current().ok().map(|pressure| some(&pressure.some)),
    );
    add(
        "pressure",
        "disk",
        IoPressure::current().ok().map(|pressure| some(&pressure.some)),
    );
    add("disk", "file system", file_system(folder));
    add("disk", "free", free(folder));
    lines
}

fn virtualisation(info: &CpuInfo) -> String {
    let hypervisor = info.flags(0).is_some_and(|flags| flags.contains(&"hypervisor"));
    let product = fs::read_to_string("/sys/class/dmi/id/product_name").unwrap_or_default();
    match (hypervisor, product.trim()) {
        (true, "") => "under a hypervisor".to_owned(),
        (true, product) => format!("under a hypervisor ({product})"),
        (false, _) => "none that the CPU shows".to_owned(),
    }
}

fn memory(info: &Meminfo) -> String {
    let total = format::bytes(info.mem_total as f64);
    let available = info
        .mem_available
        .map_or("unknown".to_owned(), |bytes| format::bytes(bytes as f64));
    format!(
        "{total}, {available} available, swap {}",
        format::bytes(info.swap_total as f64)
    )
}

fn kernel() -> Option<String> {
    let name = uname().ok()?;
    let text = |part: &std::ffi::OsStr| part.to_string_lossy().into_owned();
    Some(format!(
        "{} {} {}",
        text(name.sysname()),
        text(name.release()),
        text(name.machine())
    ))
}

fn clock() -> String {
    let source = fs::read_to_string("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    let source = source.map_or("unknown source".to_owned(), |source| source.trim().to_owned());
    let resolution = clock_getres(ClockId::CLOCK_MONOTONIC).map_or(0, |time| time.tv_nsec());
    format!("one machine, one monotonic clock: {source}, resolution {resolution} ns")
}

fn governor() -> Option<String> {
    let text = fs::read_to_string("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").ok()?;
    Some(text.trim().to_owned())
}

fn limit(resource: Resource) -> Option<String> {
    let (soft, hard) = getrlimit(resource).ok()?;
    let text = |limit: u64| {
        if limit == u64::MAX {
            "unlimited".to_owned()
        } else {
            format::integer(limit)
        }
    };
    Some(format!("{} soft, {} hard", text(soft), text(hard)))
}

fn load(load: &LoadAverage) -> String {
    format!("{} {} {} over 1, 5 and 15 minutes", load.one, load.five, load.fifteen)
}

fn some(record: &PressureRecord) -> String {
    format!(
        "some task waited {} % of the last 10 s, {} % of the last minute",
        record.avg10, record.avg60
    )
}

/// The mount with the longest path that `folder` lies under.
fn file_system(folder: &Path) -> Option<String> {
    let folder = folder.canonicalize().ok()?;
    let mounts = process::Process::myself().ok()?.mountinfo().ok()?;
    let under = mounts
        .0
        .into_iter()
        .filter(|mount| folder.starts_with(&mount.mount_point));
    let mount = under.max_by_key(|mount| mount.mount_point.as_os_str().len())?;
    let source = mount.mount_source.unwrap_or_default();
    Some(format!("{} on {source}", mount.fs_type))
}

fn free(folder: &Path) -> Option<String> {
    let stat = statvfs(folder).ok()?;
    Some(format::bytes(
        stat.blocks_available() as f64 * stat.fragment_size() as f64,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_of_the_list_has_a_line() {
        let lines = host_disclosure(&std::env::temp_dir());
        for name in [
            "CPU model",
            "cores",
            "virtualisation",
            "kernel",
            "clock",
            "open files",
            "load average",
            "file system",
        ] {
            let line = lines.iter().find(|line| line.name == name).unwrap();
            assert!(!line.value.is_empty(), "{name}");
        }
        let known = lines.iter().filter(|line| line.value != "unknown").count();
        assert!(known >= 8, "{lines:?}");
    }

    #[test]
    fn a_folder_that_is_missing_leaves_the_rest() {
        let lines = host_disclosure(Path::new("/nowhere/at/all"));
        let system = lines.iter().find(|line| line.name == "file system").unwrap();
        assert_eq!(system.value, "unknown");
        assert!(lines.len() > 10);
    }
}
