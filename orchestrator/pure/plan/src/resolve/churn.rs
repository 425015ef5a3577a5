//! Churn becomes absences with times: seeded, and never below a quorum unless somebody said so.

mod expand;

use super::Draft;
use crate::{
    diagnostic::{Code, Problem},
    scenario::{Churn, Distribution, Leave},
    units::Duration,
};
use rand::{RngExt, rngs::ChaCha8Rng};
use regatta_base::seed;
use std::collections::{BTreeMap, VecDeque};

/// A departure that a node has before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wanted {
    at_ms: u64,
    /// How long the node is away; none when it stays away.
    length_ms: Option<u64>,
}

/// A node that comes and goes.
#[derive(Debug)]
struct Guest {
    /// Absences that the scenario lists, by departure.
    listed: VecDeque<Wanted>,
    /// What follows them.
    drawn: Option<Drawn>,
    leave: Leave,
    breaks_quorum: bool,
    /// The key that made it, for messages.
    path: String,
}

/// Absences by distribution.
#[derive(Debug)]
struct Drawn {
    session: Distribution,
    rejoin: Distribution,
    rng: ChaCha8Rng,
}

impl Guest {
    fn new(path: String, leave: Leave, breaks_quorum: bool) -> Self {
        Self {
            listed: VecDeque::new(),
            drawn: None,
            leave,
            breaks_quorum,
            path,
        }
    }

    /// The next departure of a node that is there since `since_ms`.
    fn next(&mut self, since_ms: Option<u64>) -> Option<Wanted> {
        // A node cannot leave at the moment of its return.
        let earliest = since_ms.map_or(0, |since| since + 1);
        if let Some(listed) = self.listed.pop_front() {
            let at_ms = listed.at_ms.max(earliest);
            return Some(Wanted { at_ms, ..listed });
        }
        let drawn = self.drawn.as_mut()?;
        let stays = drawn.session.draw_ms(&mut drawn.rng);
        let length_ms = Some(drawn.rejoin.draw_ms(&mut drawn.rng));
        let at_ms = since_ms.unwrap_or(0).saturating_add(stays);
        Some(Wanted { at_ms, length_ms })
    }
}

impl Distribution {
    /// A time of at least 1 ms, in whole milliseconds.
    fn draw_ms(self, rng: &mut ChaCha8Rng) -> u64 {
        // 1 - u lies in (0, 1], so that the logarithm is finite.
        let mut exponential = || -(1.0 - rng.random::<f64>()).ln();
        let ms = match self {
            Self::Weibull(shape, scale) => scale.seconds() * exponential().powf(1.0 / shape) * 1e3,
            Self::Exp(mean) => mean.seconds() * exponential() * 1e3,
            Self::Fixed(time) => time.seconds() * 1e3,
        };
        (ms.round() as u64).max(1)
    }

    /// What is wrong with its numbers.
    fn problem(self) -> Option<&'static str> {
        let (shape, time) = match self {
            Self::Weibull(shape, scale) => (shape, scale),
            Self::Exp(time) | Self::Fixed(time) => (1.0, time),
        };
        if !(shape.is_finite() && shape > 0.0) {
            return Some("the shape of a Weibull distribution must be above 0");
        }
        (time.0 == 0).then_some("a time of 0 would have nodes leave and return without end")
    }
}

/// Makes the absences.
pub(super) fn resolve(draft: &mut Draft<'_>) {
    let mut guests: BTreeMap<u32, Guest> = BTreeMap::new();
    let problems = draft.problems.len();
    for (index, churn) in draft.scenario.churn.iter().enumerate() {
        let path = format!("churn.{index}");
        add_drawn(draft, &mut guests, index, &path, churn);
        add_listed(draft, &mut guests, &path, churn);
    }
    add_joins(draft, &mut guests);
    if guests.is_empty() || draft.problems.len() > problems {
        return;
    }
    draft.churn = expand::expand(draft, guests);
    spare_late_targets(draft);
}

/// Nodes of a group with distributions.
fn add_drawn(draft: &mut Draft<'_>, guests: &mut BTreeMap<u32, Guest>, index: usize, path: &str, churn: &Churn) {
    if let Some(trace) = &churn.trace {
        let message = format!("the trace `{trace}` was not read");
        draft.error(
            Code::BadChurn,
            &format!("{path}.trace"),
            message,
            "give the file beside the scenario",
        );
    }
    let keys = [
        ("group", churn.group.is_some()),
        ("session", churn.session.is_some()),
        ("rejoin", churn.rejoin.is_some()),
    ];
    let given = keys.iter().filter(|(_, given)| *given).count();
    if given == 0 && (!churn.row.is_empty() || churn.trace.is_some()) {
        return;
    }
    let missing: Vec<&str> = keys.iter().filter(|(_, given)| !given).map(|(key, _)| *key).collect();
    let (Some(group), Some(session), Some(rejoin)) = (&churn.group, churn.session, churn.rejoin) else {
        let message = format!("churn has no `{}`", missing.join("` and no `"));
        let help = "add group = \"full\", session = { exp = \"60s\" }, rejoin = { exp = \"10s\" }, or list each `row`";
        return draft.error(Code::MissingKey, path, message, help);
    };
    for (key, distribution) in [("session", session), ("rejoin", rejoin)] {
        if let Some(problem) = distribution.problem() {
            let help = format!("use {key} = {{ exp = \"20s\" }}");
            draft.error(Code::BadChurn, &format!("{path}.{key}"), problem, help);
        }
    }
    for node in draft.select(group, &format!("{path}.group")) {
        let name = draft.nodes[node as usize].name.clone();
        let mut guest = Guest::new(path.to_owned(), churn.leave, churn.breaks_quorum);
        let rng = seed::rng(draft.scenario.seed, &format!("churn/{index}/{name}"));
        guest.drawn = Some(Drawn { session, rejoin, rng });
        if guests.insert(node, guest).is_some() {
            let message = format!("`{name}` already comes and goes by another [[churn]]");
            draft.error(Code::BadChurn, path, message, "name each node in one [[churn]]");
        }
    }
}

/// Nodes whose absences are listed.
fn add_listed(draft: &mut Draft<'_>, guests: &mut BTreeMap<u32, Guest>, path: &str, churn: &Churn) {
    let mut rows: Vec<(u64, usize)> = churn.row.iter().map(|row| row.at.millis()).zip(0..).collect();
    rows.sort_unstable();
    for (at_ms, place) in rows {
        let (row, path_of_row) = (&churn.row[place], format!("{path}.row.{place}"));
        let Some(node) = one_node(draft, &row.node, &format!("{path_of_row}.node")) else {
            continue;
        };
        check_row(draft, &path_of_row, node, at_ms, row.until);
        let guest = || Guest::new(path.to_owned(), churn.leave, churn.breaks_quorum);
        let guest = guests.entry(node).or_insert_with(guest);
        let ends_before = |last: &Wanted| last.length_ms.is_some_and(|length| last.at_ms + length <= at_ms);
        let clash =
            guest.drawn.is_some() || guest.path != path || guest.listed.back().is_some_and(|last| !ends_before(last));
        if clash {
            let message = format!("`{}` is away already, or comes and goes by another [[churn]]", row.node);
            draft.error(
                Code::OverlappingFaults,
                &path_of_row,
                message,
                "let one absence end before the next begins",
            );
            continue;
        }
        let length_ms = row.until.map(|until| until.millis().saturating_sub(at_ms));
        guest.listed.push_back(Wanted { at_ms, length_ms });
    }
}

fn one_node(draft: &mut Draft<'_>, name: &str, path: &str) -> Option<u32> {
    let found = draft.nodes.iter().find(|node| node.name == name).map(|node| node.index);
    if found.is_none() {
        let problem = Problem::error(Code::UnknownNode, path, format!("there is no node `{name}`"));
        let help = draft.similar(name);
        draft.problems.push(Problem { help, ..problem });
    }
    found
}

fn check_row(draft: &mut Draft<'_>, path: &str, node: u32, at_ms: u64, until: Option<Duration>) {
    let end_ms = super::phases(draft.scenario).load_ms();
    let name = draft.nodes[node as usize].name.clone();
    if at_ms >= end_ms {
        let message = format!(
            "`{name}` leaves when the load has ended, at {}",
            Duration::from_millis(end_ms)
        );
        draft.error(
            Code::FaultOutsidePhases,
            &format!("{path}.at"),
            message,
            "let it leave earlier",
        );
    }
    match until {
        Some(until) if until.millis() <= at_ms => {
            let message = format!("`{name}` returns at {until}, before it has left");
            draft.error(Code::BadChurn, &format!("{path}.until"), message, "let it return later");
        }
        None if draft.instances.iter().any(|instance| instance.votes(node)) => {
            let message = format!("the validator `{name}` does not return: what it acknowledged is on its disk alone");
            draft.error(Code::BadChurn, path, message, "add until = \"...\"");
        }
        _ => {}
    }
}

/// Groups that start late are away from the beginning.
fn add_joins(draft: &mut Draft<'_>, guests: &mut BTreeMap<u32, Guest>) {
    for (index, group) in draft.scenario.group.iter().enumerate() {
        let Some(join) = group.join else { continue };
        let path = format!("group.{index}.join");
        let end_ms = super::phases(draft.scenario).load_ms();
        if join.0 == 0 || join.millis() >= end_ms {
            let message = format!("`{}` starts at {join}, outside the load", group.name);
            draft.error(
                Code::FaultOutsidePhases,
                &path,
                message,
                "use a time within the load, or remove it",
            );
            continue;
        }
        let Some(nodes) = draft.groups.get(&group.name).cloned() else {
            continue;
        };
        for node in nodes {
            let guest = || Guest::new(path.clone(), Leave::Kill, false);
            let guest = guests.entry(node).or_insert_with(guest);
            if guest.listed.front().is_some_and(|first| first.at_ms < join.millis()) {
                let message = format!("`{}` leaves before it starts", draft.nodes[node as usize].name);
                draft.error(
                    Code::OverlappingFaults,
                    &path,
                    message,
                    "let it leave later, or start earlier",
                );
            }
            let length_ms = Some(join.millis());
            guest.listed.push_front(Wanted { at_ms: 0, length_ms });
        }
    }
}

/// Load goes to nodes that are there when it begins.
fn spare_late_targets(draft: &mut Draft<'_>) {
    let late = draft.churn.late();
    for index in 0..draft.loads.len() {
        draft.loads[index]
            .targets
            .retain(|node| late.binary_search(node).is_err());
        if draft.loads[index].targets.is_empty() {
            let message = "all nodes that get this load start late";
            draft.error(
                Code::NoNodes,
                &format!("load.{index}"),
                message,
                "name a `target` that starts with the others",
            );
        }
    }
}
