//! What runs here ends before the memory is gone: the kernel would end what it likes, and the lab is often the largest.
//!
//! ```text
//! Guard::of(plan).shortage(cluster)     waits until less is left than is to stay, here or on a host of the fleet; says who
//!                                       holds how much
//! ```

use crate::cluster::Cluster;
use regatta_plan::Plan;
use regatta_process::{
    memory::{Room, Rooms, Whose, floor_bytes},
    own_bytes,
};
use regatta_report::format;
use std::{collections::BTreeMap, fmt, sync::PoisonError, time::Duration};

/// How often is looked. Three thousand nodes whose queues grew took 200 MB a second.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// Longest time that nodes get to stop by themselves when memory is short.
pub(crate) const RELIEF_GRACE: Duration = Duration::from_secs(2);
/// Groups of a scenario that are named one by one.
const GROUPS_NAMED_MAX: usize = 8;

/// Somebody whose memory is nearly gone.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Short {
    room: Room,
    /// What was to stay, in bytes.
    floor_bytes: u64,
}

/// What the processes of one group of a scenario hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Held {
    processes: u64,
    bytes: u64,
    /// The one that holds most, and how much that is.
    most: (String, u64),
}

/// Less memory is left than is to stay, and who holds what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shortage {
    short: Short,
    /// By the name of the group, the one that holds most first.
    groups: Vec<(String, Held)>,
    /// What this program holds, in bytes.
    lab_bytes: u64,
}

/// Looks at the memory of this machine and of the control groups that this program is in.
#[derive(Debug)]
pub(crate) struct Guard {
    rooms: Rooms,
    floor: Option<u64>,
}

impl Guard {
    /// Keeps what `plan` wants to stay, or what is usual.
    pub(crate) fn of(plan: &Plan) -> Self {
        Self {
            rooms: Rooms::find(),
            floor: plan.budget.memory_floor_bytes,
        }
    }

    /// Waits until less is left than is to stay; then says who holds how much.
    pub(crate) async fn shortage(&self, cluster: &Cluster) -> Shortage {
        loop {
            let rooms = self.rooms.read().into_iter().chain(cluster.rooms_elsewhere());
            if let Some(short) = shortest(rooms.collect(), self.floor) {
                let holders = match &short.room.whose {
                    Whose::Host(host) => holders_on(cluster, host),
                    Whose::Machine | Whose::Group(_) => holders(cluster),
                };
                return Shortage::new(short, &holders);
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
}

/// Who of `rooms` has less left than is to stay, and lacks most of it; without a `floor`, what is usual for each.
fn shortest(rooms: Vec<Room>, floor: Option<u64>) -> Option<Short> {
    let lacking = |short: &Short| short.floor_bytes.saturating_sub(short.room.available_bytes);
    let rooms = rooms.into_iter().map(|room| Short {
        floor_bytes: floor.unwrap_or_else(|| floor_bytes(room.total_bytes)),
        room,
    });
    rooms.filter(|short| lacking(short) > 0).max_by_key(lacking)
}

/// Everything of the cluster that runs on this machine: its group, its name, and the memory that it alone holds.
fn holders(cluster: &Cluster) -> Vec<(String, String, u64)> {
    let plan = cluster.plan();
    let nodes = plan.nodes.iter().map(|node| (node.index, &node.group, &node.name));
    let programs = plan
        .processes
        .iter()
        .map(|other| (other.place, &other.group, &other.name));
    let all = nodes.chain(programs).filter_map(|(place, group, name)| {
        let bytes = own_bytes(cluster.pid(place)?.cast_signed())?;
        Some((group.clone(), name.clone(), bytes))
    });
    all.collect()
}

/// The nodes on a host: what each holds as its host told last, with the pages that it shares.
fn holders_on(cluster: &Cluster, host: &str) -> Vec<(String, String, u64)> {
    let plan = cluster.plan();
    let elsewhere = cluster.elsewhere();
    let told = elsewhere.lock().unwrap_or_else(PoisonError::into_inner);
    let is_there = |place: u32| plan.hosts.get(place as usize).is_some_and(|there| there.name == host);
    let nodes = plan.nodes.iter().filter(|node| node.host.is_some_and(is_there));
    let held = nodes.filter_map(|node| {
        let (usage, _) = told.get(&node.name)?;
        Some((node.group.clone(), node.name.clone(), usage.rss_bytes))
    });
    held.collect()
}

impl Shortage {
    /// A machine that has nothing left.
    #[cfg(test)]
    pub(crate) fn of_everything() -> Self {
        let room = Room {
            whose: Whose::Machine,
            total_bytes: 1 << 30,
            available_bytes: 0,
        };
        let short = Short { room, floor_bytes: 1 };
        Self::new(short, &[])
    }

    fn new(short: Short, holders: &[(String, String, u64)]) -> Self {
        let mut groups: BTreeMap<&String, Held> = BTreeMap::new();
        for (group, name, bytes) in holders {
            let held = groups.entry(group).or_default();
            held.processes += 1;
            held.bytes += bytes;
            if held.processes == 1 || *bytes > held.most.1 {
                held.most = (name.clone(), *bytes);
            }
        }
        let mut groups: Vec<(String, Held)> = groups.into_iter().map(|(name, held)| (name.clone(), held)).collect();
        groups.sort_by_key(|(_, held)| std::cmp::Reverse(held.bytes));
        Self {
            short,
            groups,
            lab_bytes: own_bytes(std::process::id().cast_signed()).unwrap_or(0),
        }
    }
}

fn bytes(count: u64) -> String {
    format::bytes(count as f64)
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Short { room, floor_bytes } = &self.short;
        let whose = match &room.whose {
            Whose::Machine => "the machine".to_owned(),
            other @ (Whose::Group(_) | Whose::Host(_)) => other.to_string(),
        };
        let [left, total, floor] = [room.available_bytes, room.total_bytes, *floor_bytes].map(bytes);
        write!(
            f,
            "memory is nearly gone: {whose} has {left} of {total} left, {floor} are to stay"
        )?;
        if let Some((group, held)) = self.groups.first() {
            write!(f, "; group `{group}` holds most, {}", bytes(held.bytes))?;
        }
        for (group, held) in self.groups.iter().take(GROUPS_NAMED_MAX) {
            let mean = bytes(held.bytes / held.processes.max(1));
            let (name, most) = &held.most;
            write!(
                f,
                "\n  group `{group}`: {} in {} processes, {mean} each, most `{name}` with {}",
                bytes(held.bytes),
                held.processes,
                bytes(*most)
            )?;
        }
        let more = self.groups.len().saturating_sub(GROUPS_NAMED_MAX);
        if more > 0 {
            write!(f, "\n  and {more} more groups")?;
        }
        let lab = bytes(self.lab_bytes);
        write!(
            f,
            "\n  this program: {lab}\n  help: fewer nodes, a lower rate of [[load]], or more memory; "
        )?;
        f.write_str("budget.memory_floor says how much is to stay")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn room(whose: Whose, total: u64, left: u64) -> Room {
        Room {
            whose,
            total_bytes: total,
            available_bytes: left,
        }
    }

    #[test]
    fn who_lacks_most_is_short_and_nobody_who_has_enough() {
        let machine = |left| room(Whose::Machine, 100 * GIB, left);
        let group = |left| room(Whose::Group("/g".into()), 2 * GIB, left);
        let of = |rooms: Vec<Room>| shortest(rooms, None).map(|short| (short.room.whose, short.floor_bytes));
        assert_eq!(of(vec![machine(4 * GIB), group(GIB)]), None);
        let floor = floor_bytes(100 * GIB);
        assert_eq!(of(vec![machine(floor)]), None, "exactly what is to stay is enough");
        assert_eq!(of(vec![machine(floor - 1), group(GIB)]), Some((Whose::Machine, floor)));
        let small = floor_bytes(2 * GIB);
        assert_eq!(
            of(vec![machine(floor - 1), group(0)]),
            Some((Whose::Group("/g".into()), small))
        );
        let host = room(Whose::Host("far-1".to_owned()), 2 * GIB, small - 1);
        let (whose, _) = of(vec![machine(4 * GIB), host]).unwrap();
        assert_eq!(whose.to_string(), "host `far-1`");
        assert_eq!(of(Vec::new()), None, "a system that does not say is not guarded");
    }

    #[test]
    fn what_the_scenario_wants_to_stay_counts_instead() {
        let rooms = || vec![room(Whose::Machine, 100 * GIB, 50 * GIB)];
        assert_eq!(shortest(rooms(), Some(51 * GIB)).unwrap().floor_bytes, 51 * GIB);
        assert_eq!(shortest(rooms(), Some(GIB)), None);
    }

    #[test]
    fn the_message_says_what_was_short_who_held_it_and_what_to_do() {
        let short = shortest(vec![room(Whose::Machine, 24 * GIB, GIB / 2)], None).unwrap();
        let holder = |group: &str, name: &str, mib: u64| (group.to_owned(), name.to_owned(), mib << 20);
        let holders = [
            holder("val", "val-0", 100),
            holder("full", "full-0", 300),
            holder("full", "full-1", 500),
        ];
        let text = Shortage::new(short, &holders).to_string();
        let first = text.lines().next().unwrap();
        for part in [
            "the machine has 537 MB of 25.8 GB left",
            "group `full` holds most, 839 MB",
        ] {
            assert!(first.contains(part), "{first}");
        }
        assert!(
            text.contains("group `full`: 839 MB in 2 processes, 419 MB each, most `full-1` with 524 MB"),
            "{text}"
        );
        assert!(
            text.find("group `full`:") < text.find("group `val`:"),
            "the largest first: {text}"
        );
        assert!(
            text.contains("\n  this program: ") && text.contains("\n  help: fewer nodes"),
            "{text}"
        );
    }
}
