//! Phases, limits and node options must be possible, and the run must fit in them.

use super::{Draft, load::OVERHEAD_BYTES, phases};
use crate::{
    Plan, PlannedHost,
    diagnostic::{Code, Problem},
    scenario::ProviderKind,
    units::{Duration, Size},
};
use regatta_base::limits::{BATCH_BYTES_MAX, TRANSACTION_BYTES_MAX};

/// Longest phase; beyond it a time in a scenario is a mistake.
const PHASE_MAX: Duration = Duration::from_secs(7 * 86_400);

/// Snapshots that a node may keep, and the sizes of a file of its journal: what nodes refuse beyond.
const KEEP_SNAPSHOTS: std::ops::RangeInclusive<u32> = 2..=16;
const JOURNAL_FILE: std::ops::RangeInclusive<u64> = 64 << 10..=1 << 30;

/// Shortest time that nodes on hosts go on while nobody looks after them.
const UNATTENDED_MIN: Duration = Duration::from_secs(10);

/// Checks what needs no nodes.
pub(super) fn check(draft: &mut Draft<'_>) {
    check_phases(draft);
    check_options(draft);
    check_snapshots(draft);
}

fn check_phases(draft: &mut Draft<'_>) {
    let lengths = draft.scenario.phases.clone();
    if lengths.measure.0 == 0 {
        draft.error(
            Code::BadPhase,
            "phases.measure",
            "the measuring window has no length",
            "use measure = \"30s\"",
        );
    }
    let all = [
        ("warmup", lengths.warmup),
        ("measure", lengths.measure),
        ("cooldown", lengths.cooldown),
        ("drain", lengths.drain),
    ];
    for (key, length) in all {
        if length > PHASE_MAX {
            let message = format!("{length} is longer than the limit of {PHASE_MAX}");
            draft.error(Code::BadPhase, &format!("phases.{key}"), message, "use a shorter phase");
        }
    }
    let phases = phases(draft.scenario);
    let needed = Duration::from_millis(
        phases
            .load_ms()
            .saturating_add(phases.drain_ms)
            .min(4 * PHASE_MAX.millis()),
    );
    for (key, limit) in [
        ("wall", draft.scenario.budget.wall),
        ("lease", draft.scenario.budget.lease),
    ] {
        if limit < needed {
            let message = format!("the phases take up to {needed} and `{key}` allows {limit}");
            draft.error(
                Code::BudgetTooSmall,
                &format!("budget.{key}"),
                message,
                "raise it or shorten the phases",
            );
        }
    }
    check_unattended(draft);
}

/// Shorter than connections take to come back, hosts would end what is looked after; longer than the lease, it would end
/// nothing.
fn check_unattended(draft: &mut Draft<'_>) {
    let Some(unattended) = draft.scenario.budget.unattended else {
        return;
    };
    let (at, lease) = ("budget.unattended", draft.scenario.budget.lease);
    if draft.scenario.provider.kind != ProviderKind::Ssh {
        let message = "`unattended` has no effect: nodes on this machine end with their lab";
        draft.error(Code::BudgetTooSmall, at, message, "remove it, or use kind = \"ssh\"");
    } else if unattended < UNATTENDED_MIN || unattended > lease {
        let message = format!("`unattended` of {unattended} is not between {UNATTENDED_MIN} and the lease of {lease}");
        draft.error(Code::BudgetTooSmall, at, message, "use unattended = \"10m\"");
    }
}

fn check_options(draft: &mut Draft<'_>) {
    let node = draft.scenario.node.clone();
    // A batch takes one more transaction than fits in `batch_bytes` at worst, and must not pass the protocol's limit.
    let most = (BATCH_BYTES_MAX - TRANSACTION_BYTES_MAX) as u64;
    if node.batch_bytes.0 == 0 || node.batch_bytes.0 > most {
        let message = format!("batches of {} are not between 1 and {most} bytes", node.batch_bytes);
        draft.error(
            Code::BadNodeOption,
            "node.batch_bytes",
            message,
            "use batch_bytes = \"256KiB\"",
        );
    }
    let queues = [
        ("mempool_transactions", u64::from(node.mempool_transactions)),
        ("mempool_bytes", node.mempool_bytes.0),
        ("mempool_per_sender", u64::from(node.mempool_per_sender)),
    ];
    for (key, limit) in queues {
        if limit == 0 {
            let message = format!("a `{key}` of 0 refuses every transaction");
            draft.error(
                Code::BadNodeOption,
                &format!("node.{key}"),
                message,
                "use a limit above 0",
            );
        }
    }
    if !node.durable {
        let message = "votes are not on the disk before they leave: a crashed validator may contradict itself";
        draft.warning(
            Code::BadNodeOption,
            "node.durable",
            message,
            "use it for experiments only",
        );
    }
    if node.mempool_bytes.0 < TRANSACTION_BYTES_MAX as u64 + OVERHEAD_BYTES {
        let message = format!(
            "a mempool of {} cannot hold the largest transaction",
            node.mempool_bytes
        );
        draft.warning(
            Code::BadNodeOption,
            "node.mempool_bytes",
            message,
            "use mempool_bytes = \"64MiB\"",
        );
    }
}

/// What nodes write and keep for those who come late.
fn check_snapshots(draft: &mut Draft<'_>) {
    let node = draft.scenario.node.clone();
    let mut refuse = |key: &str, message: String, help: String| {
        draft.error(Code::BadNodeOption, &format!("node.{key}"), message, help);
    };
    if !KEEP_SNAPSHOTS.contains(&node.keep_snapshots) {
        let message = format!("a node cannot keep {} snapshots", node.keep_snapshots);
        let help = format!("use {} to {}", KEEP_SNAPSHOTS.start(), KEEP_SNAPSHOTS.end());
        refuse("keep_snapshots", message, help);
    }
    if !JOURNAL_FILE.contains(&node.journal_file.0) {
        let message = format!("a file of the journal cannot have {}", node.journal_file);
        let help = "use journal_file = \"64KiB\" to \"1GiB\"".to_owned();
        refuse("journal_file", message, help);
    }
    if node.snapshot_lag == 0 {
        let message = "a node that is one block behind would fetch a snapshot".to_owned();
        refuse("snapshot_lag", message, "use a number of blocks from 1".to_owned());
    }
    if node.keep_blocks.is_some() && node.snapshot_interval == 0 {
        let message = "blocks are let go of only when snapshots make up for them, and none is written".to_owned();
        let help = "set snapshot_interval to a number of blocks, or remove keep_blocks".to_owned();
        refuse("keep_blocks", message, help);
    }
    let archive = draft.scenario.group.iter().position(|group| group.archive);
    if let Some(group) = archive.filter(|_| node.keep_blocks.is_none()) {
        let message = "every node keeps every block: an archive is nothing special".to_owned();
        let help = "set node.keep_blocks, or remove archive";
        draft.error(Code::BadNodeOption, &format!("group.{group}.archive"), message, help);
    }
}

/// Every node stores every transaction: the run's folder must have room for all of them.
pub(super) fn check_disk(draft: &mut Draft<'_>) {
    /// Header and signature of a transaction as stored.
    const STORED_OVERHEAD: u64 = 160;
    let stored = |load: &crate::PlannedLoad| load.expected.saturating_mul(u64::from(load.size) + STORED_OVERHEAD);
    let payload: u64 = draft.loads.iter().map(stored).fold(0, u64::saturating_add);
    let is_fleet = draft.scenario.provider.kind == ProviderKind::Ssh;
    let (who, count) = if is_fleet {
        ("one host's nodes", most_on_a_host(draft))
    } else {
        ("the nodes", draft.nodes.len())
    };
    let stored = payload.saturating_mul(count as u64);
    let needed = Size(stored.div_ceil(1 << 20).saturating_mul(1 << 20));
    let budget = draft.scenario.budget.disk;
    if needed > budget {
        let message = format!("{who} will store about {needed} and `disk` allows {budget}");
        draft.error(
            Code::BudgetTooSmall,
            "budget.disk",
            message,
            "raise it, or offer less load",
        );
    } else if needed.0 > draft.host.disk_bytes && !is_fleet {
        let message = format!(
            "the nodes will store about {needed} and the disk has {} MiB free",
            draft.host.disk_bytes >> 20
        );
        draft.error(
            Code::BudgetTooSmall,
            "budget.disk",
            message,
            "free some space, or offer less load",
        );
    }
}

/// Hosts and bytes of a whole plan against what the budget allows.
pub(super) fn check_costs(plan: &Plan) -> Vec<Problem> {
    let (costs, budget) = (plan.estimate(), &plan.budget);
    let (hosts, bytes) = (costs.hosts + costs.spares, costs.transfer_bytes());
    let mut problems = Vec::new();
    if let Some(most) = budget.hosts.filter(|most| hosts > *most) {
        let message = format!("the run takes {hosts} hosts and `hosts` allows {most}");
        let help = "raise it, or put more nodes on fewer hosts with `slots`";
        problems.push(Problem::error(Code::BudgetTooSmall, "budget.hosts", message).help(help));
    }
    if let Some(most) = budget.transfer_bytes.filter(|most| bytes > *most) {
        let message = format!(
            "`transfer` allows {} and the run may move {}",
            Size(most),
            costs.network()
        );
        let help = "raise it, offer less load, or use fewer nodes and hosts";
        problems.push(Problem::error(Code::BudgetTooSmall, "budget.transfer", message).help(help));
    }
    problems
}

/// Nodes of the host that has most of them.
fn most_on_a_host(draft: &Draft<'_>) -> usize {
    let on = |host: &PlannedHost| draft.nodes.iter().filter(|node| node.host == Some(host.index)).count();
    draft.hosts.iter().map(on).max().unwrap_or(0)
}
