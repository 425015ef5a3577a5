//! Compares what is counted with what was agreed on in `budgets.toml`, exactly.
//!
//! An intended change is written by `REGATTA_BUDGETS=write cargo test -p regatta-benches` and reviewed like code.

#![allow(clippy::unwrap_used, reason = "a test")]

use regatta_api::config::VoteTopology;
use regatta_apps::CheckedBatch;
use regatta_benches::{
    committee::Committee,
    network::{Network, Traffic},
    samples, simulation,
};
use std::{collections::BTreeMap, fmt::Write, fs, path::PathBuf};

/// Set to `write` to write the file anew.
const MODE: &str = "REGATTA_BUDGETS";
/// What the file says about itself.
const HEAD: &str = "\
# What is counted and not timed: equal on every machine, so that a change of any number is a change of the program.
# Written by `REGATTA_BUDGETS=write cargo test -p regatta-benches --test budgets`; review each difference.
";
/// Links of each node in a sparse graph.
const SPARSE_DEGREE: usize = 6;
/// Submissions that are counted together, so that what belongs to no single block shows too.
const SUBMISSIONS: usize = 10;

/// Counters by section and name.
type Counts = BTreeMap<String, BTreeMap<String, u64>>;

fn section(rows: impl IntoIterator<Item = (&'static str, u64)>) -> BTreeMap<String, u64> {
    rows.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Consensus alone: a block among validators that are all linked with each other.
fn committee(size: usize) -> BTreeMap<String, u64> {
    let mut committee = Committee::new(size);
    committee.decide(false);
    let spent = committee.decide(true).unwrap();
    section([
        ("messages_per_block", spent.messages),
        ("bytes_per_block", spent.bytes),
        ("log_records_per_block", spent.records),
        ("log_bytes_per_block", spent.record_bytes),
    ])
}

/// Whole nodes: ten submissions of ten transactions, one after the other.
fn network(size: usize) -> BTreeMap<String, u64> {
    let mut network = Network::new(size, None, VoteTopology::Relay);
    let transactions = samples::opaque(10 * SUBMISSIONS + 10, 10);
    let (first, others) = transactions.split_at(10);
    let (mut height, before) = (network.execute(first.to_vec()), network.traffic());
    let start = height;
    for submission in others.chunks(10) {
        height = network.execute(submission.to_vec());
    }
    let after = network.traffic();
    let row = |name, field: fn(&Traffic) -> u64| (name, field(&after) - field(&before));
    section([
        ("blocks", height - start),
        row("consensus_frames", |traffic| traffic.consensus_frames),
        row("consensus_bytes", |traffic| traffic.consensus_bytes),
        row("payload_frames", |traffic| traffic.payload_frames),
        row("payload_bytes", |traffic| traffic.payload_bytes),
        row("journal_records", |traffic| traffic.records),
        row("journal_bytes", |traffic| traffic.record_bytes),
    ])
}

/// Frames and bytes of consensus for a block, however votes travel: the second one, when everybody knows the graph.
fn votes(size: usize, degree: Option<usize>, topology: VoteTopology) -> BTreeMap<String, u64> {
    let mut network = Network::new(size, degree, topology);
    let transactions = samples::opaque(2, 1);
    let start = network.execute(transactions[..1].to_vec());
    network.rest();
    let before = network.traffic();
    let blocks = network.execute(transactions[1..].to_vec()) - start;
    network.rest();
    let after = network.traffic();
    section([
        (
            "frames_per_block",
            (after.consensus_frames - before.consensus_frames) / blocks,
        ),
        (
            "bytes_per_block",
            (after.consensus_bytes - before.consensus_bytes) / blocks,
        ),
    ])
}

/// Each topology on the graphs that it is meant for.
fn votes_by_topology() -> impl Iterator<Item = (String, BTreeMap<String, u64>)> {
    let sparse = Some(SPARSE_DEGREE);
    let all: &[usize] = &[10, 50, 100];
    let kinds = [
        ("all-to-all-mesh", None, VoteTopology::AllToAll, all),
        // The same as all to all, once everybody knows who is linked with whom.
        ("relay-mesh", None, VoteTopology::Relay, &all[..1]),
        ("leader-aggregate-mesh", None, VoteTopology::LeaderAggregate, all),
        ("relay-sparse", sparse, VoteTopology::Relay, all),
        ("leader-aggregate-sparse", sparse, VoteTopology::LeaderAggregate, all),
    ];
    kinds.into_iter().flat_map(|(name, degree, topology, sizes)| {
        let row = move |&size: &usize| (format!("votes-{name}-{size}"), votes(size, degree, topology));
        sizes.iter().map(row)
    })
}

/// Encoded sizes of what clients and authors sign.
fn sizes() -> BTreeMap<String, u64> {
    let opaque = samples::opaque(1, 1).remove(0).len() - samples::PAYLOAD_BYTES;
    let checked = samples::checked(samples::opaque(100, 10));
    let inside: usize = checked.iter().map(|transaction| transaction.bytes.len()).sum();
    let batch = CheckedBatch::build(&samples::domain(), 0, &checked, &samples::key("validator", 0));
    section([
        ("opaque_overhead_bytes", opaque as u64),
        ("batch_of_100_overhead_bytes", (batch.bytes.len() - inside) as u64),
    ])
}

/// A simulated network: one seed gives one trace, of which the first six bytes stand here.
fn simulated() -> BTreeMap<String, u64> {
    let outcome = simulation::simulate(4, &samples::opaque(200, 10), regatta_sim::FREE, None);
    let [a, b, c, d, e, f, ..] = outcome.trace.0;
    section([
        ("events", outcome.events),
        ("height", outcome.height),
        ("trace", u64::from_be_bytes([0, 0, a, b, c, d, e, f])),
    ])
}

fn counted() -> Counts {
    let committees = [4, 20, 100].map(|size| (format!("consensus-{size}-validators"), committee(size)));
    let networks = [4, 10].map(|size| {
        (
            format!("nodes-{size}-validators-{SUBMISSIONS}-submissions"),
            network(size),
        )
    });
    let sizes = [("sizes".to_owned(), sizes())];
    let kinds = votes_by_topology();
    let simulated = [("simulation-4-validators".to_owned(), simulated())];
    committees
        .into_iter()
        .chain(networks)
        .chain(kinds)
        .chain(simulated)
        .chain(sizes)
        .collect()
}

fn written(counts: &Counts) -> String {
    let mut text = HEAD.to_owned();
    for (name, rows) in counts {
        let _ = write!(text, "\n[{name}]\n");
        for (counter, value) in rows {
            let _ = writeln!(text, "{counter} = {value}");
        }
    }
    text
}

/// Every counter that differs, in words.
fn differences(expected: &Counts, found: &Counts) -> Vec<String> {
    let flat = |counts: &Counts| -> BTreeMap<String, u64> {
        let rows = counts.iter().flat_map(|(section, rows)| {
            rows.iter()
                .map(move |(name, value)| (format!("{section}.{name}"), *value))
        });
        rows.collect()
    };
    let (expected, found) = (flat(expected), flat(found));
    let names: std::collections::BTreeSet<&String> = expected.keys().chain(found.keys()).collect();
    let differ = names.into_iter().filter(|name| expected.get(*name) != found.get(*name));
    differ
        .map(|name| {
            format!(
                "{name}: agreed on {:?}, counted {:?}",
                expected.get(name),
                found.get(name)
            )
        })
        .collect()
}

#[test]
fn what_is_counted_is_what_was_agreed_on() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("budgets.toml");
    let found = counted();
    if std::env::var(MODE).is_ok_and(|mode| mode == "write") {
        fs::write(&path, written(&found)).unwrap();
    }
    let expected: Counts = toml::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let differences = differences(&expected, &found);
    assert!(
        differences.is_empty(),
        "{}\nhelp: is it intended? then {MODE}=write",
        differences.join("\n")
    );
}

#[test]
fn counting_again_gives_the_same() {
    assert_eq!(network(4), network(4));
    assert_eq!(committee(7), committee(7));
}

#[test]
fn any_difference_is_told() {
    let counts = |rows: &[(&'static str, u64)]| Counts::from([("a".to_owned(), section(rows.iter().copied()))]);
    assert!(differences(&counts(&[("x", 1)]), &counts(&[("x", 1)])).is_empty());
    for other in [counts(&[("x", 2)]), counts(&[]), counts(&[("x", 1), ("y", 1)])] {
        assert_eq!(differences(&counts(&[("x", 1)]), &other).len(), 1);
    }
}
