//! How much memory there still is: of the machine, and of every control group that this process is in and that has a limit.
//!
//! ```text
//! Rooms::find()          which groups limit this process; once
//!   .read() -> [Room]    what each of them and the machine have left; often
//! floor_bytes(total)     what of that should stay
//! ```

use crate::cgroup::{mount, own_group};
use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

/// Least memory that should stay on a machine of usual size, in bytes: what a kernel with some thousand processes and the lab
/// need to end all of them.
const FLOOR_BYTES_MIN: u64 = 256 << 20;
/// The share of all memory that should stay, in hundredths.
const FLOOR_PERCENT: u64 = 3;
/// On a small machine no more than this part of its memory is asked for.
const FLOOR_PART_MAX: u64 = 8;

/// Whose memory it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// That of the machine.
    Machine,
    /// That of the control group in this folder, which this process is in.
    Group(PathBuf),
    /// That of another machine, which tells of it; its name.
    Host(String),
}

/// What somebody has of memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// Whose it is.
    pub whose: Whose,
    /// All of it, in bytes.
    pub total_bytes: u64,
    /// What processes may still take, in bytes: pages of files that can be read again count as free.
    pub available_bytes: u64,
}

/// How control groups of either version tell of their memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Files {
    limit: &'static str,
    used: &'static str,
    /// Lines of `memory.stat` with the bytes of files, which the kernel takes back as for the machine.
    given_back: [&'static str; 2],
}

const VERSION_1: Files = Files {
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    given_back: ["total_active_file", "total_inactive_file"],
};
const VERSION_2: Files = Files {
    limit: "memory.max",
    used: "memory.current",
    given_back: ["active_file", "inactive_file"],
};

/// Where to read how much memory there is.
#[derive(Debug, Clone)]
pub struct Rooms {
    groups: Vec<(PathBuf, Files)>,
}

/// What of `total_bytes` of memory should stay free: 3 %, at least 256 MiB, and never more than an eighth.
#[must_use]
pub fn floor_bytes(total_bytes: u64) -> u64 {
    let share = total_bytes / 100 * FLOOR_PERCENT;
    share.max(FLOOR_BYTES_MIN).min(total_bytes / FLOOR_PART_MAX)
}

impl Rooms {
    /// Finds the control groups that may limit this process: its own and all above it.
    #[must_use]
    pub fn find() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Self::of(&read("/proc/self/cgroup"), &read("/proc/self/mounts"))
    }

    /// The same by what the system says of groups and mounts.
    fn of(groups: &str, mounts: &str) -> Self {
        let one = mount(mounts, "cgroup", "memory").zip(own_group(groups, "memory"));
        let two = mount(mounts, "cgroup2", "").zip(own_group(groups, ""));
        let (found, files) = match (one, two) {
            (Some(one), _) => (one, VERSION_1),
            (None, Some(two)) => (two, VERSION_2),
            (None, None) => return Self { groups: Vec::new() },
        };
        let (root, group) = found;
        let own = root.join(group);
        // A group that a container hides is not under its mount; the mount itself is the container's own then.
        let up = own.ancestors().take_while(|folder| folder.starts_with(&root));
        Self {
            groups: up.map(|folder| (folder.to_owned(), files)).collect(),
        }
    }

    /// What the machine and each group with a limit have left; nothing where the system does not say.
    #[must_use]
    pub fn read(&self) -> Vec<Room> {
        let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| machine(&text));
        let all = machine.as_ref().map_or(u64::MAX, |room| room.total_bytes);
        let group = |(folder, files): &(PathBuf, Files)| {
            let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
            let [limit, used, stat] = [files.limit, files.used, "memory.stat"].map(read);
            group(&limit?, &used?, &stat?, files.given_back, all).map(|(total_bytes, available_bytes)| Room {
                whose: Whose::Group(folder.clone()),
                total_bytes,
                available_bytes,
            })
        };
        machine
            .iter()
            .cloned()
            .chain(self.groups.iter().filter_map(group))
            .collect()
    }
}

/// The machine's memory by `/proc/meminfo`, which counts in KiB.
fn machine(text: &str) -> Option<Room> {
    let line = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        kib.checked_mul(1024)
    };
    Some(Room {
        whose: Whose::Machine,
        total_bytes: line("MemTotal:")?,
        available_bytes: line("MemAvailable:")?,
    })
}

/// Limit of a group and what it leaves, in bytes; none where it limits nothing that the machine does not.
fn group(limit: &str, used: &str, stat: &str, given_back: [&str; 2], machine_bytes: u64) -> Option<(u64, u64)> {
    // `max` is no number.
    let limit: u64 = limit.trim().parse().ok().filter(|limit| *limit < machine_bytes)?;
    let used: u64 = used.trim().parse().ok()?;
    let files = stat.lines().filter_map(|line| {
        let (name, bytes) = line.split_once(' ')?;
        given_back.contains(&name).then(|| bytes.trim().parse::<u64>().ok())?
    });
    let held = used.saturating_sub(files.fold(0, u64::saturating_add));
    Some((limit, limit.saturating_sub(held)))
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Machine => f.write_str("the machine"),
            Self::Host(name) => write!(f, "host `{name}`"),
            Self::Group(folder) => write!(f, "control group {}", Path::display(folder)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn the_floor_is_a_share_and_small_machines_keep_most_of_theirs() {
        assert_eq!(floor_bytes(100 << 30), (100 << 30) / 100 * 3);
        assert_eq!(floor_bytes(8192 * MIB), 256 * MIB, "3 % would be less");
        assert_eq!(floor_bytes(512 * MIB), 64 * MIB, "an eighth is less");
        assert_eq!(floor_bytes(0), 0);
    }

    #[test]
    fn the_machine_tells_in_kib_or_not_at_all() {
        let text = "MemTotal:       24689732 kB\nMemFree: 5 kB\nMemAvailable:   10 kB\n";
        let room = machine(text).unwrap();
        assert_eq!((room.total_bytes, room.available_bytes), (24_689_732 * 1024, 10 * 1024));
        assert_eq!(machine("MemTotal: 5 kB\nMemAvailable: x kB\n"), None);
        assert_eq!(machine("MemAvailable: 5 kB\n"), None);
    }

    #[test]
    fn a_group_leaves_what_its_limit_and_old_files_do() {
        let stat = "inactive_file 20\nactive_file 10\ntotal_inactive_file 40\nanon 7\n";
        let of = |limit, used, stat, files: Files| group(limit, used, stat, files.given_back, 1000);
        assert_eq!(of("100\n", "90\n", stat, VERSION_2), Some((100, 40)));
        assert_eq!(of("100\n", "90\n", stat, VERSION_1), Some((100, 50)));
        assert_eq!(of("100\n", "190\n", "", VERSION_2), Some((100, 0)));
        assert_eq!(of("max\n", "90\n", stat, VERSION_2), None);
        assert_eq!(of("1000\n", "90\n", stat, VERSION_2), None, "no less than the machine");
        assert_eq!(of("100\n", "", stat, VERSION_2), None);
        let endless = format!("active_file {0}\ninactive_file {0}\n", u64::MAX);
        assert_eq!(of("100\n", "90\n", &endless, VERSION_2), Some((100, 100)));
    }

    #[test]
    fn every_group_above_counts_and_those_of_a_container_end_at_its_mount() {
        let unified = "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n";
        let folders = |rooms: Rooms| rooms.groups.into_iter().map(|(folder, _)| folder).collect::<Vec<_>>();
        let found = folders(Rooms::of("0::/user.slice/lab.scope\n", unified));
        let expected = [
            "/sys/fs/cgroup/user.slice/lab.scope",
            "/sys/fs/cgroup/user.slice",
            "/sys/fs/cgroup",
        ];
        assert_eq!(found, expected.map(PathBuf::from));
        let both = format!("{unified}cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n");
        let found = Rooms::of("4:memory:/a\n0::/\n", &both);
        assert_eq!(found.groups[0], (PathBuf::from("/sys/fs/cgroup/memory/a"), VERSION_1));
        assert!(Rooms::of("", unified).groups.is_empty() && Rooms::of("0::/\n", "").groups.is_empty());
    }

    #[test]
    fn this_machine_says_what_it_has() {
        let rooms = Rooms::find().read();
        assert_eq!(rooms[0].whose, Whose::Machine);
        for room in rooms {
            assert!(
                room.available_bytes > 0 && room.available_bytes <= room.total_bytes,
                "{room:?}"
            );
        }
    }
}
