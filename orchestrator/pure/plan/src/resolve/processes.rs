//! Groups of programs of others become processes with names, addresses, regions and commands without placeholders.

use super::{Draft, NODES_MAX, links, nodes};
use crate::{
    PlannedProcess, ReadyWhen,
    diagnostic::{Code, Problem},
    scenario::{DiskFate, Fault, FaultKind, ProcessGroup, ProviderKind},
    suggest::did_you_mean,
};
use regatta_base::ids::check_name;
use std::net::Ipv4Addr;

/// Words of a command that stand for something of the process itself.
const WORDS: [&str; 4] = ["name", "index", "address", "region"];
/// Longest command in bytes, and longest wait until it is ready in milliseconds.
const COMMAND_BYTES_MAX: usize = 64 * 1024;
const READY_MS_MAX: u64 = 10 * 60 * 1000;

/// Makes the processes; the nodes are there.
pub(super) fn resolve(draft: &mut Draft<'_>) {
    let scenario = draft.scenario;
    let kind = scenario.provider.kind;
    if !scenario.process.is_empty() && !matches!(kind, ProviderKind::Local | ProviderKind::Netns) {
        let message = format!("programs of others are not supported by the `{kind}` provider yet");
        let help = "use provider.kind = \"netns\", or \"local\" where their links need no delays";
        draft.error(Code::Unsupported, "process.0", message, help);
        return;
    }
    for (index, group) in scenario.process.iter().enumerate() {
        add_group(draft, &format!("process.{index}"), group);
    }
    // Only now has everybody an address that a command may name.
    for index in 0..draft.processes.len() {
        fill_in(draft, index);
    }
}

/// How many processes the scenario asks for.
pub(super) fn count(draft: &Draft<'_>) -> u64 {
    draft.scenario.process.iter().map(|group| u64::from(group.count)).sum()
}

fn add_group(draft: &mut Draft<'_>, path: &str, group: &ProcessGroup) {
    let found = draft.problems.len();
    check_group(draft, path, group);
    if draft.problems.len() > found {
        return;
    }
    let network = links::network(draft);
    let regions = nodes::regions(draft, &format!("{path}.regions"), group.count, &group.regions);
    for (offset, region) in (0..group.count).zip(regions) {
        let place = (draft.nodes.len() + draft.processes.len()) as u32;
        let ready = group.ready.as_ref();
        draft.processes.push(PlannedProcess {
            place,
            name: format!("{}-{offset}", group.name),
            group: group.name.clone(),
            region,
            address: network.node_address(place).unwrap_or(Ipv4Addr::UNSPECIFIED),
            command: group.command.clone(),
            env: group.env.clone(),
            start: group.start,
            ready: match ready.map(|ready| (ready.port, ready.line.clone())) {
                Some((Some(port), _)) => ReadyWhen::Accepts(port),
                Some((None, Some(line))) => ReadyWhen::Says(line),
                _ => ReadyWhen::Runs,
            },
            ready_within_ms: ready.map_or(0, |ready| ready.within.millis()),
        });
    }
}

fn check_group(draft: &mut Draft<'_>, path: &str, group: &ProcessGroup) {
    let name = format!("{path}.name");
    if let Err(error) = check_name(&group.name) {
        draft.error(
            Code::BadName,
            &name,
            error.to_string(),
            "the name becomes part of file names",
        );
    }
    let is_taken = draft.groups.contains_key(&group.name) || ["all", "edges"].contains(&group.name.as_str());
    let is_node = |own: &str| draft.nodes.iter().any(|node| node.name == own);
    let is_other = draft
        .processes
        .iter()
        .any(|other| other.group == group.name || other.name == group.name);
    let first = format!("{}-0", group.name);
    if is_taken || is_other || is_node(&group.name) || is_node(&first) {
        let message = format!("`{}` already names a group, a node or a process", group.name);
        draft.error(Code::DuplicateName, &name, message, "give each a name of its own");
    }
    if group.count == 0 || count(draft) + draft.nodes.len() as u64 > NODES_MAX {
        let message = format!("{} processes beside {} nodes", count(draft), draft.nodes.len());
        let help = format!("use 1 or more, and at most {NODES_MAX} of both together");
        draft.error(Code::BadProcess, &format!("{path}.count"), message, help);
    }
    let bytes: usize = group.command.iter().map(String::len).sum();
    if group.command.first().is_none_or(|program| program.trim().is_empty()) || bytes > COMMAND_BYTES_MAX {
        let message = format!("`{}` has no program to run, or an endless command", group.name);
        let help = "write command = [\"python3\", \"-m\", \"http.server\", \"8000\"]";
        draft.error(Code::BadProcess, &format!("{path}.command"), message, help);
    }
    for key in group
        .env
        .keys()
        .filter(|key| key.is_empty() || key.contains(['=', '\0']))
    {
        let message = format!("`{key}` cannot name a variable");
        draft.error(
            Code::BadProcess,
            &format!("{path}.env"),
            message,
            "use letters, digits and `_`",
        );
    }
    check_ready(draft, path, group);
}

fn check_ready(draft: &mut Draft<'_>, path: &str, group: &ProcessGroup) {
    let Some(ready) = &group.ready else { return };
    let is_empty = ready.line.as_ref().is_some_and(String::is_empty) || ready.port == Some(0);
    if ready.port.is_some() == ready.line.is_some() || is_empty {
        let message = "readiness needs exactly one of `port` and `line`";
        draft.error(
            Code::BadProcess,
            &format!("{path}.ready"),
            message,
            "write ready = { port = 8000 }",
        );
    }
    if ready.within.millis() == 0 || ready.within.millis() > READY_MS_MAX {
        let message = format!("nobody waits {} for a program", ready.within);
        draft.error(
            Code::BadProcess,
            &format!("{path}.ready.within"),
            message,
            "use \"1s\" to \"10m\"",
        );
    }
}

/// Puts values in the place of the words of a process's command and environment.
fn fill_in(draft: &mut Draft<'_>, index: usize) {
    let process = draft.processes[index].clone();
    let group = draft
        .scenario
        .process
        .iter()
        .position(|group| group.name == process.group);
    let path = format!("process.{}", group.unwrap_or_default());
    let mut filled = process.clone();
    for (position, argument) in filled.command.iter_mut().enumerate() {
        match expand(draft, &process, argument) {
            Ok(text) => *argument = text,
            Err(problem) => return report(draft, &format!("{path}.command.{position}"), problem),
        }
    }
    for (key, value) in &mut filled.env {
        match expand(draft, &process, value) {
            Ok(text) => *value = text,
            Err(problem) => return report(draft, &format!("{path}.env.{key}"), problem),
        }
    }
    draft.processes[index] = filled;
}

/// What is wrong with a word, and what to do.
type Wrong = (String, String);

fn report(draft: &mut Draft<'_>, path: &str, (message, help): Wrong) {
    // All processes of a group have the same command: it is said once.
    if draft.problems.iter().all(|problem| problem.path != path) {
        draft
            .problems
            .push(Problem::error(Code::BadProcess, path, message).help(help));
    }
}

fn expand(draft: &Draft<'_>, process: &PlannedProcess, text: &str) -> Result<String, Wrong> {
    let brace = || "write `{{` and `}}` for braces".to_owned();
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        out.push_str(&rest[..at]);
        let (brace_here, after) = rest[at..].split_at(1);
        if let Some(after) = after.strip_prefix(brace_here) {
            out.push_str(brace_here);
            rest = after;
            continue;
        }
        let end = after.find('}').filter(|_| brace_here == "{");
        let Some(end) = end else {
            return Err((format!("`{text}` has a lone brace"), brace()));
        };
        out.push_str(&word(draft, process, &after[..end])?);
        rest = &after[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

fn word(draft: &Draft<'_>, process: &PlannedProcess, word: &str) -> Result<String, Wrong> {
    match word {
        "name" => return Ok(process.name.clone()),
        "index" => return Ok(process.name.rsplit('-').next().unwrap_or_default().to_owned()),
        "address" => return Ok(process.address.to_string()),
        "region" => return Ok(process.region.clone().unwrap_or_default()),
        _ => {}
    }
    let Some(name) = word.strip_prefix("address:") else {
        let nearest = did_you_mean(word, WORDS).unwrap_or_default();
        let help = format!(
            "{nearest}{}use {{name}}, {{index}}, {{address}}, {{region}} or {{address:NAME}}; `{{{{` stands for a brace",
            if nearest.is_empty() { "" } else { " " }
        );
        return Err((format!("`{{{word}}}` stands for nothing"), help));
    };
    let nodes = draft.nodes.iter().map(|node| (&node.name, node.address));
    let all = || {
        nodes
            .clone()
            .chain(draft.processes.iter().map(|other| (&other.name, other.address)))
    };
    let found = all().find(|(known, _)| *known == name);
    found.map(|(_, address)| address.to_string()).ok_or_else(|| {
        let help = did_you_mean(name, all().map(|(known, _)| known.as_str()));
        (
            format!("`{{{word}}}`: there is no node or process `{name}`"),
            help.unwrap_or_else(|| "name a node as GROUP-0".to_owned()),
        )
    })
}

/// The places of the processes that `name` stands for: a group, a process, a region or all.
pub(super) fn named(draft: &Draft<'_>, name: &str) -> Vec<u32> {
    let region = name.strip_prefix("region:");
    let is_meant = |process: &&PlannedProcess| match region {
        Some(region) => process.region.as_deref() == Some(region),
        None => name == "all" || process.group == name || process.name == name,
    };
    let meant = draft.processes.iter().filter(is_meant);
    meant.map(|process| process.place).collect()
}

/// The processes that `name`, written at `path` of a fault, stands for; none where it stands for none of them.
pub(super) fn select(draft: &mut Draft<'_>, name: &str, path: &str, fault: &Fault) -> Vec<u32> {
    let region = name.strip_prefix("region:");
    let chosen = named(draft, name);
    if chosen.is_empty() || suffers(draft, fault) {
        return chosen;
    }
    if name != "all" && region.is_none() {
        let what = if fault.kind.is_on_links() {
            "links between namespaces"
        } else {
            "nodes"
        };
        let message = format!(
            "`{name}` is a program of others, and the fault `{}` is one of {what}",
            fault.kind
        );
        let help = "use `crash`, `pause` or `cpu`; with provider.kind = \"netns\" also `partition` and `link`";
        draft.error(Code::BadSelection, path, message, help);
        return chosen;
    }
    Vec::new()
}

/// Whether processes suffer such a fault.
pub(super) fn suffers(draft: &Draft<'_>, fault: &Fault) -> bool {
    match fault.kind {
        FaultKind::Crash => fault.disk != Some(DiskFate::Lost),
        FaultKind::Pause | FaultKind::Cpu => true,
        FaultKind::Partition | FaultKind::Link => draft.scenario.provider.kind == ProviderKind::Netns,
        FaultKind::Skew | FaultKind::Upgrade | FaultKind::DiskFull | FaultKind::DiskSlow | FaultKind::Memory => false,
    }
}
