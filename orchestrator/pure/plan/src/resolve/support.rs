//! What a scenario may say and this provider or version cannot do yet: refused, never ignored.

use std::collections::BTreeSet;

use super::Draft;
use crate::{
    defaults,
    diagnostic::Code,
    scenario::{ArrivalKind, Build, FaultKind, Generator, LoadMode, ProviderKind, TransactionKind},
};

/// Refuses everything of the schema that nothing carries out.
pub(super) fn check(draft: &mut Draft<'_>) {
    let scenario = draft.scenario;
    if scenario.schema != defaults::SCHEMA {
        let message = format!("schema {} is not one that this program reads", scenario.schema);
        draft.error(
            Code::SchemaVersion,
            "schema",
            message,
            format!("use schema = {}", defaults::SCHEMA),
        );
    }
    check_provider(draft);
    check_network(draft);
    check_load(draft);
    check_faults(draft);
}

fn check_faults(draft: &mut Draft<'_>) {
    let scenario = draft.scenario;
    let listed = scenario.fault.iter().enumerate();
    let listed = listed.map(|(index, fault)| (format!("fault.{index}.kind"), fault.kind));
    let drawn = scenario
        .nemesis
        .iter()
        .flat_map(|nemesis| nemesis.kinds.iter().enumerate());
    let drawn = drawn.map(|(index, kind)| (format!("nemesis.kinds.{index}"), *kind));
    for (path, kind) in listed.chain(drawn) {
        if !injects(scenario.provider.kind, kind) {
            unsupported(draft, &path, &format!("the fault `{kind}`"), "use kind = \"crash\"");
        } else if let Some(reason) = groups_refused(draft, kind) {
            let message = format!("the fault `{kind}` cannot be made here: {}", first_line(&reason));
            let help =
                "run as root, or in a control group that is delegated to you; `regatta doctor` shows what there is";
            draft.error(Code::Unsupported, &path, message, help);
        }
    }
}

/// Why this machine cannot limit what a fault of this kind limits.
fn groups_refused(draft: &Draft<'_>, kind: FaultKind) -> Option<String> {
    match kind {
        FaultKind::Cpu => draft.host.cgroups_refused.clone(),
        FaultKind::Memory => draft.host.memory_limits_refused.clone(),
        _ => None,
    }
}

/// Whether a provider can do this fault to its nodes.
fn injects(provider: ProviderKind, fault: FaultKind) -> bool {
    use FaultKind::{Cpu, Crash, DiskFull, DiskSlow, Link, Memory, Partition, Pause, Skew, Upgrade};
    let anywhere = matches!(fault, Crash | Pause | Partition | Link | Skew | DiskFull | DiskSlow);
    match provider {
        // A simulated node has no process to limit and no program to replace.
        ProviderKind::Sim => anywhere,
        ProviderKind::Local | ProviderKind::Netns | ProviderKind::Ssh => {
            anywhere || matches!(fault, Cpu | Memory | Upgrade)
        }
    }
}

fn unsupported(draft: &mut Draft<'_>, path: &str, what: &str, help: &str) {
    let provider = draft.scenario.provider.kind;
    draft.error(
        Code::Unsupported,
        path,
        format!("{what} is not supported by the `{provider}` provider yet"),
        help,
    );
}

fn check_provider(draft: &mut Draft<'_>) {
    let scenario = draft.scenario;
    let kind = scenario.provider.kind;
    if let Some(reason) = draft
        .host
        .namespaces_refused
        .clone()
        .filter(|_| kind == ProviderKind::Netns)
    {
        let message = format!("network namespaces are not to be had here: {}", first_line(&reason));
        let help = "run as root, or with CAP_NET_ADMIN and CAP_SYS_ADMIN and /dev/net/tun; or use kind = \"local\"";
        draft.error(Code::NoNamespaces, "provider.kind", message, help);
    }
    let provider = &scenario.provider;
    let simulated = [
        ("cores", provider.cores.is_some()),
        ("shared", provider.shared.is_some()),
        ("flush", provider.flush.is_some()),
    ];
    for (key, given) in simulated {
        if given && kind != ProviderKind::Sim {
            let path = format!("provider.{key}");
            unsupported(draft, &path, "a simulated machine", "remove it, or use kind = \"sim\"");
        }
    }
    for (name, build) in &scenario.build {
        let path = format!("build.{name}");
        if build.release.is_some() {
            unsupported(
                draft,
                &format!("{path}.release"),
                "a release",
                "build from source: source = \".\"",
            );
        }
        check_target(draft, &path, build);
        if build.source.is_some() == build.release.is_some() {
            let message = format!("build `{name}` needs exactly one of `source` and `release`");
            draft.error(Code::BadBuild, &path, message, "write source = \".\"");
        }
    }
    let upgrades = scenario.fault.iter().filter_map(|fault| fault.build.as_deref());
    let upgrades: BTreeSet<&str> = upgrades.collect();
    let to_begin_with = scenario.build.keys().filter(|name| !upgrades.contains(name.as_str()));
    if to_begin_with.count() > 1 {
        let what = "more than one build to begin with";
        unsupported(
            draft,
            "build",
            what,
            "keep one [build.NAME], and those that a fault `upgrade` names",
        );
    }
}

/// A target goes into the compiler's command line.
fn check_target(draft: &mut Draft<'_>, path: &str, build: &Build) {
    let Some(target) = &build.target else { return };
    let path = format!("{path}.target");
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !target.chars().all(plain)
        || target.starts_with('-')
        || target.split('-').filter(|part| !part.is_empty()).count() < 2
    {
        let message = format!(
            "`{}` is not a target of the compiler",
            target.chars().take(60).collect::<String>()
        );
        let help = "write it as target = \"x86_64-unknown-linux-musl\"; `rustup target list` shows all";
        draft.error(Code::BadBuild, &path, message, help);
    } else if draft.scenario.provider.kind != ProviderKind::Ssh {
        unsupported(draft, &path, "a program for other machines", "remove `target`");
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn check_network(draft: &mut Draft<'_>) {
    let scenario = draft.scenario;
    let links = scenario
        .link
        .iter()
        .flat_map(|link| [("reorder", link.reorder), ("duplicate", link.duplicate)]);
    for (key, share) in links {
        if share.is_some() && scenario.provider.kind.has_links_made_by_nodes() {
            let what = "an emulation of packets";
            unsupported(
                draft,
                &format!("link.{key}"),
                what,
                "remove it: a node's stream neither reorders nor repeats",
            );
        }
    }
    for (index, group) in scenario.group.iter().enumerate() {
        let (is_able, help) = match scenario.provider.kind {
            ProviderKind::Local | ProviderKind::Netns => (true, ""),
            // Nodes of a lab that others use cannot break the protocol, simulated ones neither.
            ProviderKind::Sim => {
                let help = "build the lab for tests: cargo run --release -p regatta --features byzantine -- run ...";
                (draft.host.simulates_misconduct, help)
            }
            ProviderKind::Ssh => (false, "use behaviour = \"honest\""),
        };
        if !group.behaviour.is_honest() && !is_able {
            let path = format!("group.{index}.behaviour");
            unsupported(draft, &path, "byzantine behaviour", help);
        }
    }
    for (name, rule) in &scenario.peering.rules {
        if matches!(rule, Generator::File { .. }) {
            unsupported(
                draft,
                &format!("peering.{name}.kind"),
                "a graph from a file",
                "list its edges in `edges`",
            );
        }
    }
}

fn check_load(draft: &mut Draft<'_>) {
    for (index, load) in draft.scenario.load.iter().enumerate() {
        let path = format!("load.{index}");
        if load.mode != LoadMode::Open {
            unsupported(draft, &format!("{path}.mode"), "this load mode", "use mode = \"open\"");
        }
        if load.arrivals == ArrivalKind::Replay {
            unsupported(
                draft,
                &format!("{path}.arrivals"),
                "a replayed load",
                "use \"poisson\" or \"constant\"",
            );
        }
        for kind in [TransactionKind::Kudos, TransactionKind::Multichat] {
            if load.mix.contains_key(kind.name()) {
                let what = format!("load of kind `{kind}`");
                unsupported(
                    draft,
                    &format!("{path}.mix.{kind}"),
                    &what,
                    "use `opaque`, `put` or `blob`",
                );
            }
        }
    }
}
