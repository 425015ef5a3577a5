//! What the scenario asks of the host and of the links, against what they have.

use super::{Draft, links};
use crate::{
    diagnostic::Code,
    scenario::{Net, Network, ProviderKind, Rate},
    units::{BitRate, Duration, Size},
};
use std::{collections::BTreeSet, net::Ipv4Addr};

/// Addresses of the loopback interface.
const LOOPBACK: Network = Network {
    base: Ipv4Addr::new(127, 0, 0, 0),
    prefix: 8,
};
/// Loopback addresses that systems use: localhost and the local resolver.
const RESERVED: [Ipv4Addr; 2] = [Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 53)];
/// Memory to count for one node: what is its own at rest, and a margin for queues several times as large. All share the
/// pages of their program.
pub(super) const NODE_MEMORY: Size = Size(6 << 20);
/// Memory to count for one simulated node: its state, queues and journal, all in the lab's process.
const SIMULATED_NODE_MEMORY: Size = Size(5 << 20);
/// Descriptors of a node beside those of its links: listeners, log, journal, clients.
const NODE_DESCRIPTORS: u64 = 64;
/// Descriptors of a link: one connection, and one more while both ends dial.
const LINK_DESCRIPTORS: u64 = 2;
/// Descriptors of the lab for each node: three pipes, the process, its log, and a connection over which it is sampled.
const LAB_DESCRIPTORS: u64 = 6;
/// Descriptors of the lab for each namespace: its handle and its device.
const NAMESPACE_DESCRIPTORS: u64 = 2;
/// Descriptors of the lab for itself, and for the few nodes that it asks something at a time.
const LAB_BASE_DESCRIPTORS: u64 = 256;
/// Processes and threads that the nodes leave alone.
const PROCESS_MARGIN: u64 = 64;
/// Threads of a node at rest; the system numbers them as it does processes.
const NODE_THREADS: u64 = 6;
/// Lowest port that needs no privilege.
const PORT_MIN: u16 = 1024;

/// Checks addresses, ports, memory, descriptors, processes and link rates.
pub(super) fn check(draft: &mut Draft<'_>) {
    let kind = draft.scenario.provider.kind;
    match kind {
        ProviderKind::Local | ProviderKind::Netns => {
            check_addresses(draft);
            check_ports(draft);
            check_descriptors(draft);
            check_processes(draft, (draft.nodes.len() as u64, NODE_THREADS), "nodes");
        }
        ProviderKind::Ssh => {
            check_range_unused(draft);
            check_ports(draft);
            check_lab(draft);
        }
        // A simulated node has neither addresses nor descriptors nor a process.
        ProviderKind::Sim => {}
    }
    check_memory(draft);
    check_delays(draft);
    check_rates(draft);
}

/// Checks that there may be `count` processes of so many threads each.
fn check_processes(draft: &mut Draft<'_>, (count, threads): (u64, u64), what: &str) {
    let most = draft.host.processes;
    if count.saturating_mul(threads) + PROCESS_MARGIN > most {
        let threads = if threads > 1 {
            format!(" of {threads} threads each")
        } else {
            String::new()
        };
        let message =
            format!("{count} {what}{threads} are more than the host's limit of {most} processes and threads allows");
        let help = format!("raise it (ulimit -u, kernel.pid_max, kernel.threads-max) or use fewer {what}");
        draft.error(Code::TooManyNodes, "group", message, help);
    }
}

/// What a lab needs for nodes that run elsewhere: connections to them, and an SSH client for each host.
fn check_lab(draft: &mut Draft<'_>) {
    let hosts = draft.hosts.len() as u64;
    check_processes(draft, (hosts, 1), "hosts");
    let needed = LAB_BASE_DESCRIPTORS + LAB_DESCRIPTORS * (draft.nodes.len() as u64 + hosts);
    let most = draft.host.descriptors_per_process;
    if needed > most {
        let message = format!("the lab needs {needed} open descriptors and the host allows {most}");
        let help = "raise the limit (ulimit -n) or use fewer nodes and hosts";
        draft.error(Code::OutOfDescriptors, "group", message, help);
    }
}

/// Nodes of a fleet have the addresses of their hosts.
fn check_range_unused(draft: &mut Draft<'_>) {
    let range = draft.scenario.net.ipv4;
    if range != Net::default().ipv4 {
        let message = format!("{range} has no effect: nodes of the `ssh` provider have their hosts' addresses");
        draft.warning(Code::NoEffect, "net.ipv4", message, "remove it");
    }
}

fn check_addresses(draft: &mut Draft<'_>) {
    let range = links::network(draft);
    let path = "net.ipv4";
    check_private(draft, range, path);
    if draft.scenario.provider.kind == ProviderKind::Local {
        let last = Ipv4Addr::from(u32::from(range.base).saturating_add((range.len() - 1) as u32));
        if !LOOPBACK.contains(range.base) || !LOOPBACK.contains(last) {
            let message = format!("{range} is not inside {LOOPBACK}, and the `local` provider has no other addresses");
            draft.error(
                Code::AddressRangeUnusable,
                path,
                message,
                "use ipv4 = \"127.60.0.0/16\"",
            );
        } else if let Some(reserved) = RESERVED.into_iter().find(|address| range.contains(*address)) {
            let message = format!("{range} contains {reserved}, which the system itself uses");
            draft.error(
                Code::AddressRangeUnusable,
                path,
                message,
                "use ipv4 = \"127.60.0.0/16\"",
            );
        }
    }
    for taken in &draft.host.taken_networks {
        if range.contains(taken.network.base) || taken.network.contains(range.base) {
            let message = format!("{range} collides with {}, which {} uses", taken.network, taken.by);
            draft.error(
                Code::AddressRangeTaken,
                path,
                message,
                "use another range, e.g. \"127.61.0.0/16\"",
            );
        }
    }
}

/// Namespaces take private addresses: a node that talks to any other would be a mistake of the scenario.
fn check_private(draft: &mut Draft<'_>, range: Network, path: &str) {
    if draft.scenario.provider.kind != ProviderKind::Netns {
        return;
    }
    let last = Ipv4Addr::from(u32::from(range.base).saturating_add((range.len() - 1) as u32));
    if !(range.base.is_private() && last.is_private()) {
        let message = format!("{range} is not a private range, and the `netns` provider uses no other addresses");
        draft.error(Code::AddressRangeUnusable, path, message, "use ipv4 = \"10.60.0.0/16\"");
    }
}

fn check_ports(draft: &mut Draft<'_>) {
    let net = &draft.scenario.net;
    for (key, port) in [("p2p_port", net.p2p_port), ("http_port", net.http_port)] {
        if port < PORT_MIN {
            let message = format!("port {port} needs privileges or does not exist");
            draft.error(
                Code::BadPort,
                &format!("net.{key}"),
                message,
                format!("use {PORT_MIN} or more"),
            );
        }
    }
    if net.p2p_port == net.http_port {
        let message = format!("p2p_port and http_port are both {}", net.http_port);
        draft.error(Code::BadPort, "net.http_port", message, "use two ports");
    }
}

fn check_memory(draft: &mut Draft<'_>) {
    let each = match draft.scenario.provider.kind {
        ProviderKind::Sim => SIMULATED_NODE_MEMORY,
        _ => NODE_MEMORY,
    };
    let needed = Size(each.0 * draft.nodes.len() as u64);
    // Hosts of a fleet say themselves what they have.
    let host = match draft.scenario.provider.kind {
        ProviderKind::Ssh => Size(u64::MAX),
        _ => Size(draft.host.memory_bytes),
    };
    let budget = draft.scenario.budget.memory;
    let count = draft.nodes.len();
    if needed > host {
        let most = host.0 / each.0;
        let message = format!(
            "{count} nodes of {each} need {} MiB and the host has {}",
            needed.0 >> 20,
            host.0 >> 20
        );
        draft.error(
            Code::OutOfMemory,
            "group",
            format!("{message} MiB"),
            format!("use at most {most} nodes"),
        );
    } else if let Some(budget) = budget.filter(|budget| needed > *budget) {
        let message = format!("{count} nodes of {each} need more than the budget of {budget}");
        draft.error(
            Code::OutOfMemory,
            "budget.memory",
            message,
            "raise the budget or use fewer nodes",
        );
    }
    if needed <= host {
        check_floor(draft, needed, host);
    }
}

/// What must stay is watched while nodes run; here only that it is likely to.
fn check_floor(draft: &mut Draft<'_>, needed: Size, host: Size) {
    let path = "budget.memory_floor";
    let floor = match (draft.scenario.provider.kind, draft.scenario.budget.memory_floor) {
        (ProviderKind::Local | ProviderKind::Netns, given) => given.unwrap_or(Size(draft.host.memory_floor_bytes)),
        (ProviderKind::Ssh, _) | (ProviderKind::Sim, None) => return,
        (ProviderKind::Sim, Some(_)) => {
            let message = "`memory_floor` has no effect: simulated nodes are no processes";
            return draft.warning(Code::NoEffect, path, message, "remove it");
        }
    };
    let left = Size(host.0 - needed.0);
    if left < floor {
        let message = format!(
            "{} nodes leave about {} MiB of memory, and a run ends when less than {} MiB are left",
            draft.nodes.len(),
            left.0 >> 20,
            floor.0 >> 20
        );
        draft.warning(
            Code::OutOfMemory,
            path,
            message,
            "use fewer nodes, or free memory before the run",
        );
    }
}

fn check_descriptors(draft: &mut Draft<'_>) {
    let count = draft.nodes.len() as u64;
    let node = NODE_DESCRIPTORS + LINK_DESCRIPTORS * u64::from(draft.facts.degree_max);
    let namespaces = u64::from(draft.scenario.provider.kind == ProviderKind::Netns) * NAMESPACE_DESCRIPTORS;
    let lab = LAB_BASE_DESCRIPTORS + (LAB_DESCRIPTORS + namespaces) * count;
    let most = draft.host.descriptors_per_process;
    if node.max(lab) > most {
        let who = if node > lab { "a node" } else { "the lab" };
        let message = format!(
            "{who} needs {} open descriptors and the host allows {most}",
            node.max(lab)
        );
        draft.error(
            Code::OutOfDescriptors,
            "group",
            message,
            "raise the limit (ulimit -n) or use fewer nodes and links",
        );
    }
    let links = 2 * LINK_DESCRIPTORS * draft.edges.len() as u64;
    let all = NODE_DESCRIPTORS * count + links + lab;
    if all > draft.host.descriptors_total {
        let message = format!(
            "all processes together need {all} descriptors and the host allows {}",
            draft.host.descriptors_total
        );
        draft.error(
            Code::OutOfDescriptors,
            "group",
            message,
            "raise fs.file-max or use fewer nodes and links",
        );
    }
}

/// Every pair of regions needs a delay as soon as one has.
fn check_delays(draft: &mut Draft<'_>) {
    let Some(link) = draft.scenario.link.as_ref().filter(|link| !link.matrix.is_empty()) else {
        return;
    };
    let regions: BTreeSet<String> = draft.nodes.iter().filter_map(|node| node.region.clone()).collect();
    for a in &regions {
        for b in regions.range(a.clone()..).skip(1) {
            let (there, back) = (format!("{a}-{b}"), format!("{b}-{a}"));
            if !link.matrix.contains_key(&there) && !link.matrix.contains_key(&back) {
                let help = format!("add \"{there}\" = \"40ms\"");
                draft.error(
                    Code::MissingDelay,
                    "link.matrix",
                    format!("`{a}` and `{b}` have no delay"),
                    help,
                );
            }
        }
    }
    for pair in link.matrix.keys().filter(|pair| *pair != "self") {
        let known = pair
            .split_once('-')
            .is_some_and(|(a, b)| regions.contains(a) && regions.contains(b));
        if !known {
            let message = format!("`{pair}` is not a pair of regions that nodes are in");
            draft.error(
                Code::UnknownRegion,
                &format!("link.matrix.{pair}"),
                message,
                "write it as \"eu-us\"",
            );
        }
    }
}

/// Each validator sends its share of the load to all its neighbours, and each node gets all of it once.
fn check_rates(draft: &mut Draft<'_>) {
    let Some(limit) = draft.scenario.link.as_ref().and_then(|link| link.rate) else {
        return;
    };
    let peak = |rate: &Rate| match *rate {
        Rate::Constant(rate) => rate,
        Rate::Ramp { ramp: (from, to), .. } => from.max(to),
    };
    let bytes: f64 = draft
        .scenario
        .load
        .iter()
        .map(|load| peak(&load.rate) * load.size.0 as f64)
        .sum();
    let voters = draft.instances.iter().flat_map(|instance| &instance.validators);
    let fan_out = voters
        .clone()
        .map(|&(node, _)| draft.graph.degree(node))
        .max()
        .unwrap_or(1);
    let share = f64::from(fan_out) / voters.count().max(1) as f64;
    let needed = bytes * 8.0 * share.max(1.0);
    if needed > limit.0 as f64 {
        let rounded = BitRate((needed / 1e6).ceil() as u64 * 1_000_000);
        let message = format!("the load needs about {rounded} on a link of {limit}");
        draft.error(
            Code::LinkOverloaded,
            "link.rate",
            message,
            "lower the load's rate or size, or raise the link's rate",
        );
    }
    let packet = Duration((draft.scenario.node.batch_bytes.0 as f64 * 8e9 / (limit.0 as f64).max(1.0)) as u64);
    if draft
        .scenario
        .consensus
        .iter()
        .any(|instance| packet > instance.round_timeout)
    {
        let message = format!("a full batch takes {packet} on a link of {limit}, longer than a round");
        draft.warning(
            Code::RoundTimeoutShort,
            "node.batch_bytes",
            message,
            "use smaller batches",
        );
    }
}
