//! Whether a fault's keys say what its kind needs and nothing else, and whether it fits the phases.

use super::super::{Draft, phases};
use crate::{
    diagnostic::{Code, Problem},
    scenario::{Fault, FaultKind},
    units::{Duration, Size},
};

/// Most packets that a link may lose: what nodes can make of their own links, and more than any that is of use.
const LOSS_MAX: f64 = 0.5;
/// Longest delay of a link or a disk.
const DELAY_MAX: Duration = Duration::from_secs(60);
/// Least memory that a limit leaves.
const MEMORY_MIN: Size = Size(1 << 20);
/// Farthest that a clock is ahead.
const OFFSET_MAX: Duration = Duration::from_secs(3600);

/// What a kind of fault makes of a key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Must,
    May,
    No,
}

/// Checks the fault from `at_ms` to `until_ms`; false when it is not within the phases.
pub(super) fn check_time(draft: &mut Draft<'_>, path: &str, fault: &Fault, (at_ms, until_ms): (u64, u64)) -> bool {
    let end = phases(draft.scenario).load_ms();
    if fault.lasts.0 == 0 {
        let message = "a fault that lasts no time has no effect";
        draft.error(
            Code::FaultOutsidePhases,
            &format!("{path}.for"),
            message,
            "use for = \"5s\"",
        );
    }
    let load = Duration::from_millis(end);
    if at_ms >= end {
        let at = Duration::from_millis(at_ms);
        let message = format!("the fault starts at {at} and the load ends at {load}");
        draft.error(
            Code::FaultOutsidePhases,
            &format!("{path}.at"),
            message,
            "let it start earlier or lengthen `measure`",
        );
    } else if until_ms > end {
        let over = Duration::from_millis(until_ms);
        let message = format!("the fault lasts until {over} and the load ends at {load}");
        draft.error(
            Code::FaultOutsidePhases,
            &format!("{path}.for"),
            message,
            "shorten it or lengthen `measure`",
        );
    }
    until_ms <= end && fault.lasts.0 > 0
}

/// Keys that say nothing about this kind of fault, and those that it lacks.
pub(super) fn check(draft: &mut Draft<'_>, path: &str, fault: &Fault) {
    let kind = fault.kind;
    if fault.one_way && (fault.sets.is_empty() || !kind.is_on_links()) {
        let message = format!("`one_way` has no effect on the fault `{kind}`{}", without_sides(kind));
        draft.error(Code::NoEffect, &format!("{path}.one_way"), message, "remove it");
    }
    for (key, given, wanted) in keys(fault) {
        if given && wanted == Use::No {
            let message = format!("`{key}` has no effect on the fault `{kind}`");
            draft.problems.push(
                Problem::error(Code::NoEffect, format!("{path}.{key}"), message)
                    .at_key()
                    .help("remove it"),
            );
        } else if !given && wanted == Use::Must {
            let message = format!("the fault `{kind}` needs `{key}`");
            let help = format!("add `{key} = ...`");
            let code = if key == "nodes" {
                Code::NoNodes
            } else {
                Code::MissingKey
            };
            draft.error(code, path, message, help);
        }
    }
    let changes_link = fault.delay.is_some() || fault.jitter.is_some() || fault.loss.is_some() || fault.rate.is_some();
    if kind == FaultKind::Link && !changes_link {
        let message = "the fault `link` changes nothing";
        draft.error(
            Code::MissingKey,
            path,
            message,
            "add `delay`, `jitter`, `loss` or `rate`",
        );
    }
    check_amounts(draft, path, fault);
    if matches!(kind, FaultKind::DiskFull | FaultKind::DiskSlow) && !draft.scenario.node.durable {
        let message =
            format!("the fault `{kind}` holds back promises, and with durable = false none waits for the disk");
        draft.error(Code::Unsupported, path, message, "remove node.durable = false");
    }
}

fn without_sides(kind: FaultKind) -> &'static str {
    if kind == FaultKind::Link { " without `sets`" } else { "" }
}

/// Each key with whether it is given and what the kind makes of it.
fn keys(fault: &Fault) -> [(&'static str, bool, Use); 12] {
    use FaultKind::{Cpu, Crash, DiskSlow, Link, Memory, Partition, Skew, Upgrade};
    let kind = fault.kind;
    let only = |wanted: FaultKind, how: Use| if kind == wanted { how } else { Use::No };
    let has_sets = !fault.sets.is_empty();
    let nodes = match kind {
        Partition => Use::No,
        Link if has_sets => Use::No,
        _ => Use::Must,
    };
    let sets = match kind {
        Partition => Use::Must,
        Link => Use::May,
        _ => Use::No,
    };
    let delay = match kind {
        DiskSlow => Use::Must,
        _ => only(Link, Use::May),
    };
    let bridge = if kind.is_on_links() && has_sets {
        Use::May
    } else {
        Use::No
    };
    [
        ("sets", has_sets, sets),
        ("nodes", !fault.nodes.is_empty(), nodes),
        ("build", fault.build.is_some(), only(Upgrade, Use::Must)),
        ("offset", fault.offset.is_some(), only(Skew, Use::Must)),
        ("bridge", !fault.bridge.is_empty(), bridge),
        ("disk", fault.disk.is_some(), only(Crash, Use::May)),
        ("delay", fault.delay.is_some(), delay),
        ("jitter", fault.jitter.is_some(), only(Link, Use::May)),
        ("loss", fault.loss.is_some(), only(Link, Use::May)),
        ("rate", fault.rate.is_some(), only(Link, Use::May)),
        ("share", fault.share.is_some(), only(Cpu, Use::Must)),
        ("memory", fault.memory.is_some(), only(Memory, Use::Must)),
    ]
}

fn check_amounts(draft: &mut Draft<'_>, path: &str, fault: &Fault) {
    let mut refuse = |key: &str, message: String, help: &str| {
        draft.error(Code::BadAmount, &format!("{path}.{key}"), message, help);
    };
    if let Some(loss) = fault.loss.filter(|loss| loss.0 > LOSS_MAX) {
        let message = format!("a link that loses {loss} of its packets carries nothing that anybody waits for");
        refuse("loss", message, "use at most \"50%\", or a partition");
    }
    if let Some(delay) = fault.delay.filter(|delay| *delay > DELAY_MAX) {
        refuse(
            "delay",
            format!("a delay of {delay} is more than {DELAY_MAX}"),
            "use at most \"60s\"",
        );
    }
    if let Some(offset) = fault.offset.filter(|offset| *offset > OFFSET_MAX || offset.0 == 0) {
        refuse(
            "offset",
            format!("a clock cannot be {offset} ahead"),
            "use \"1ms\" to \"1h\"",
        );
    }
    if let Some(rate) = fault.rate.filter(|rate| rate.0 < 8_000) {
        refuse(
            "rate",
            format!("a vote takes longer than a second at {rate}"),
            "use at least \"8kbit\"",
        );
    }
    if let Some(share) = fault.share.filter(|share| share.0 < 0.01) {
        refuse(
            "share",
            format!("{share} of a core is nothing"),
            "use \"1%\" or more, or `pause`",
        );
    }
    if let Some(memory) = fault.memory.filter(|memory| *memory < MEMORY_MIN) {
        let help = "use \"1MiB\" or more, or `crash`";
        refuse("memory", format!("no program runs in {memory}"), help);
    }
}
