//! Hosts of the `ssh` provider: what each says about itself, and which nodes it gets.

mod key;
mod place;
mod words;

use super::Draft;
use crate::{
    PlannedHost, defaults,
    diagnostic::Code,
    scenario::{Control, Distribute, Host, ProviderKind, Scenario},
    units::Size,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

/// Whether hosts may be without a pinned key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pinning {
    /// A run talks to hosts that it knows.
    Needed,
    /// Somebody is about to look at the keys.
    Later,
}

/// Checks what needs no nodes and makes the hosts.
pub(super) fn check(draft: &mut Draft<'_>, pinning: Pinning) {
    let provider = &draft.scenario.provider;
    if provider.kind != ProviderKind::Ssh {
        check_unused(draft);
        return;
    }
    for (key, given) in [
        ("inventory", provider.inventory.is_some()),
        ("inventory_command", provider.inventory_command.is_some()),
    ] {
        if given {
            let message = format!("`{key}` was not read");
            let help = "write the hosts as [[provider.host]], or let the lab read the scenario from its file";
            draft.error(Code::BadInventory, &format!("provider.{key}"), message, help);
            return;
        }
    }
    if provider.host.is_empty() {
        let message = "the `ssh` provider has no hosts";
        let help = "add [[provider.host]] with addr, slots and host_key, or inventory = \"hosts.toml\"";
        draft.error(Code::NoNodes, "provider.kind", message, help);
        return;
    }
    for (index, host) in provider.host.iter().enumerate() {
        words::check(draft, &format!("provider.host.{index}"), host);
        key::check(draft, index, host, pinning);
        draft.hosts.push(planned(index as u32, host));
    }
    key::check_unique(draft);
    check_names(draft);
    check_addresses(draft);
    check_fan_out(draft);
    resolve_jumps(draft);
}

/// Hosts that one with a program hands it on to at once; 0 where the lab sends to all.
pub(super) fn fan_out(scenario: &Scenario) -> u32 {
    let provider = &scenario.provider;
    match (provider.kind, provider.distribute.unwrap_or_default()) {
        (ProviderKind::Ssh, Distribute::Tree) => provider.fan_out.unwrap_or(defaults::FAN_OUT),
        _ => 0,
    }
}

/// How the lab reaches the control interfaces of nodes.
pub(super) fn control(scenario: &Scenario) -> Control {
    let is_fleet = scenario.provider.kind == ProviderKind::Ssh;
    scenario.provider.control.filter(|_| is_fleet).unwrap_or_default()
}

fn check_fan_out(draft: &mut Draft<'_>) {
    let provider = &draft.scenario.provider;
    let Some(fan_out) = provider.fan_out else {
        return;
    };
    let max = defaults::FAN_OUT_MAX;
    if !(1..=max).contains(&fan_out) {
        let message = format!("`fan_out` is {fan_out}; a host hands a program on to 1 to {max} others at once");
        let help = format!("write a number from 1 to {max}, or distribute = \"direct\"");
        draft.error(Code::BadAmount, "provider.fan_out", message, help);
    } else if provider.distribute.unwrap_or_default() == Distribute::Direct {
        let message = "`fan_out` says nothing where the lab sends to all hosts";
        let help = "add distribute = \"tree\", or remove it";
        draft.warning(Code::NoEffect, "provider.fan_out", message, help);
    }
}

/// Keys that other providers have no use for: a scenario of a fleet may well be tried on one machine first.
fn check_unused(draft: &mut Draft<'_>) {
    let provider = &draft.scenario.provider;
    let given = [
        ("host", !provider.host.is_empty()),
        ("inventory", provider.inventory.is_some()),
        ("inventory_command", provider.inventory_command.is_some()),
        ("tolerate", provider.tolerate.is_some()),
        ("distribute", provider.distribute.is_some()),
        ("fan_out", provider.fan_out.is_some()),
        ("control", provider.control.is_some()),
    ];
    let kind = provider.kind;
    for (key, _) in given.into_iter().filter(|(_, given)| *given) {
        let message = format!("the `{kind}` provider has no use for `{key}`");
        let help = "remove it, or use kind = \"ssh\"";
        draft.warning(Code::NoEffect, &format!("provider.{key}"), message, help);
    }
}

fn planned(index: u32, host: &Host) -> PlannedHost {
    PlannedHost {
        index,
        name: name_of(host).to_owned(),
        addr: host.addr.clone(),
        port: host.port.unwrap_or(defaults::SSH_PORT),
        user: host.user.clone(),
        ip: ip_of(host).unwrap_or(Ipv4Addr::UNSPECIFIED),
        region: host.region.clone(),
        slots: host.slots.unwrap_or(defaults::SLOTS),
        memory_bytes: host.memory.map(|size| size.0),
        host_key: host.host_key.as_deref().map(key::without_comment),
        key: host.key.clone(),
        jump: None,
        dir: host.dir.clone(),
        spare: host.spare,
    }
}

fn name_of(host: &Host) -> &str {
    host.name.as_deref().unwrap_or(&host.addr)
}

/// The address of its nodes, when it says one.
fn ip_of(host: &Host) -> Option<Ipv4Addr> {
    host.ip.or_else(|| host.addr.parse().ok())
}

fn check_names(draft: &mut Draft<'_>) {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let provider = &draft.scenario.provider;
    let mut twice = Vec::new();
    for (index, host) in provider.host.iter().enumerate() {
        if seen.insert(name_of(host), index).is_some() {
            twice.push((index, host));
        }
    }
    for (index, host) in twice {
        let key = if host.name.is_some() { "name" } else { "addr" };
        let message = format!("there are two hosts `{}`", name_of(host));
        let help = "give each host a `name` of its own";
        draft.error(
            Code::DuplicateName,
            &format!("provider.host.{index}.{key}"),
            message,
            help,
        );
    }
}

/// Two hosts with one SSH server are one host; two hosts whose nodes have one address share its ports.
fn check_addresses(draft: &mut Draft<'_>) {
    let mut servers: BTreeMap<(String, u16), String> = BTreeMap::new();
    let mut addresses: BTreeMap<Ipv4Addr, String> = BTreeMap::new();
    let mut problems = Vec::new();
    for host in &draft.hosts {
        let path = format!("provider.host.{}", host.index);
        let server = (host.addr.clone(), host.port);
        if let Some(other) = servers.insert(server, host.name.clone()) {
            let message = format!(
                "`{other}` and `{}` are one SSH server: {}:{}",
                host.name, host.addr, host.port
            );
            problems.push((
                format!("{path}.addr"),
                message,
                "remove one of them and raise `slots` of the other",
            ));
            continue;
        }
        if host.slots == 0 || host.ip.is_unspecified() {
            continue;
        }
        if let Some(other) = addresses.insert(host.ip, host.name.clone()) {
            let message = format!(
                "nodes of `{other}` and of `{}` would share the address {}",
                host.name, host.ip
            );
            let help = "give each host's nodes an `ip` of their own, or make them one host with more slots";
            problems.push((format!("{path}.ip"), message, help));
        }
    }
    for (path, message, help) in problems {
        draft.error(Code::DuplicateHost, &path, message, help);
    }
}

/// Turns names into positions; a chain of jumps must end at a host that is reached directly.
fn resolve_jumps(draft: &mut Draft<'_>) {
    let scenario = draft.scenario;
    for (index, host) in scenario.provider.host.iter().enumerate() {
        let Some(jump) = &host.jump else { continue };
        let path = format!("provider.host.{index}.jump");
        match draft.hosts.iter().position(|other| other.name == *jump) {
            Some(other) => draft.hosts[index].jump = Some(other as u32),
            None => {
                let message = format!("there is no host `{jump}` to jump over");
                let problem = crate::diagnostic::Problem::error(Code::BadJump, path, message);
                let known: Vec<&str> = scenario.provider.host.iter().map(name_of).collect();
                draft.unknown(problem, jump, known);
            }
        }
    }
    for index in 0..draft.hosts.len() {
        let mut seen = BTreeSet::new();
        let mut at = index;
        while let Some(next) = draft.hosts[at].jump {
            if !seen.insert(next) {
                break;
            }
            at = next as usize;
        }
        if seen.contains(&(index as u32)) {
            let message = format!("`{}` is reached over itself", draft.hosts[index].name);
            let help = "let the first host of a chain have no `jump`";
            draft.error(Code::BadJump, &format!("provider.host.{index}.jump"), message, help);
        }
    }
}

/// Places the nodes, once they are there.
pub(super) fn resolve(draft: &mut Draft<'_>) {
    if draft.scenario.provider.kind != ProviderKind::Ssh || draft.hosts.is_empty() {
        return;
    }
    if place::place(draft) {
        check_ports(draft);
        check_memory(draft);
        warn_idle(draft);
    }
}

/// Every slot of a host takes two ports.
fn check_ports(draft: &mut Draft<'_>) {
    let net = &draft.scenario.net;
    let most = draft
        .hosts
        .iter()
        .map(|host| draft.nodes.iter().filter(|node| node.host == Some(host.index)).count());
    let most = most.max().unwrap_or(0) as u32;
    let (low, high) = (net.p2p_port.min(net.http_port), net.p2p_port.max(net.http_port));
    if u32::from(high) + place::PORTS_PER_SLOT * most.saturating_sub(1) > u32::from(u16::MAX) {
        let key = if high == net.p2p_port { "p2p_port" } else { "http_port" };
        let message = format!("{most} nodes of one host need ports beyond {}", u16::MAX);
        draft.error(
            Code::BadPort,
            &format!("net.{key}"),
            message,
            "use a lower port, or fewer slots",
        );
    }
    let apart = u32::from(high - low);
    if apart > 0 && apart.is_multiple_of(place::PORTS_PER_SLOT) && apart / place::PORTS_PER_SLOT < most {
        let message =
            format!("p2p_port and http_port are {apart} apart: of {most} nodes on one host, some would share a port");
        let help = format!("use http_port = {}", u32::from(net.p2p_port) + 1);
        draft.error(Code::BadPort, "net.http_port", message, help);
    }
}

fn check_memory(draft: &mut Draft<'_>) {
    let each = super::host::NODE_MEMORY;
    let mut problems = Vec::new();
    for host in &draft.hosts {
        let nodes = draft.nodes.iter().filter(|node| node.host == Some(host.index)).count() as u64;
        let needed = Size(each.0 * nodes);
        if let Some(memory) = host.memory_bytes.filter(|memory| *memory < needed.0) {
            let message = format!(
                "{nodes} nodes of {each} on `{}` need more than its {}",
                host.name,
                Size(memory)
            );
            let help = format!("use slots = {}", memory / each.0);
            problems.push((format!("provider.host.{}.memory", host.index), message, help));
        }
    }
    for (path, message, help) in problems {
        draft.error(Code::OutOfMemory, &path, message, help);
    }
}

/// Hosts that cost something and do nothing.
fn warn_idle(draft: &mut Draft<'_>) {
    let has_work = |host: &PlannedHost| {
        let jumped = draft.hosts.iter().any(|other| other.jump == Some(host.index));
        host.spare || jumped || draft.nodes.iter().any(|node| node.host == Some(host.index))
    };
    let idle: Vec<String> = draft
        .hosts
        .iter()
        .filter(|host| !has_work(host))
        .map(|host| format!("`{}`", host.name))
        .collect();
    if let Some(first) = idle.first() {
        let message = match idle.len() {
            1 => format!("host {first} gets no node"),
            more => format!("{more} hosts get no node, {first} first of all"),
        };
        draft.warning(
            Code::NoEffect,
            "provider.host",
            message,
            "remove them, or write spare = true",
        );
    }
}

/// Hosts that may fail once no spare is left; whoever they are, their loss must leave every quorum.
pub(super) fn tolerance(draft: &mut Draft<'_>) {
    let Some(tolerated) = draft.scenario.provider.tolerate else {
        return;
    };
    let used: BTreeSet<u32> = draft.nodes.iter().filter_map(|node| node.host).collect();
    let lost = tolerated.of(used.len());
    draft.hosts_lost_max = u32::try_from(lost).unwrap_or(u32::MAX);
    let broken = draft.instances.iter().find_map(|instance| {
        let mut weights: BTreeMap<Option<u32>, u64> = BTreeMap::new();
        for &(node, weight) in &instance.validators {
            *weights.entry(draft.nodes[node as usize].host).or_default() += weight;
        }
        let mut weights: Vec<u64> = weights.into_values().collect();
        weights.sort_unstable_by(|a, b| b.cmp(a));
        let left = weights.iter().skip(lost).sum();
        (lost > 0 && !instance.is_quorum(left)).then(|| (instance.id.clone(), left, instance.total_weight()))
    });
    if let Some((id, left, total)) = broken {
        let message =
            format!("without {lost} hosts, instance `{id}` may have weight {left} of {total} left: no quorum");
        let help = "tolerate fewer, add spare hosts, or place validators on more hosts";
        draft.error(Code::QuorumBroken, "provider.tolerate", message, help);
    }
}
