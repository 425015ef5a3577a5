//! Made-up runs for tests: plausible in shape, and not measurements of anything.

use crate::{Counts, model::*};
use rand::{RngExt, rngs::ChaCha8Rng};
use regatta_base::{Digest, seed};

/// The size of a made-up run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) validators: usize,
    pub(crate) full: usize,
    /// Links of each full node.
    pub(crate) degree: usize,
    pub(crate) rate: u64,
    pub(crate) block_ms: u64,
    pub(crate) measure_s: u64,
}

/// Four validators and four full nodes, 1,000 transactions per second, a validator killed on the way.
pub(crate) const EIGHT: Shape = Shape {
    validators: 4,
    full: 4,
    degree: 2,
    rate: 1000,
    block_ms: 25,
    measure_s: 30,
};
/// Twenty validators and eighty full nodes over a sparse graph.
pub(crate) const HUNDRED: Shape = Shape {
    validators: 20,
    full: 80,
    degree: 8,
    rate: 500,
    block_ms: 200,
    measure_s: 60,
};
/// As small as a run can be and still be steady.
pub(crate) const SMALL: Shape = Shape {
    validators: 1,
    full: 1,
    degree: 1,
    rate: 50,
    block_ms: 100,
    measure_s: 12,
};

const START_MS: u64 = 2_000;
const WARMUP_MS: u64 = 5_000;

impl Shape {
    fn measure(self) -> (u64, u64) {
        (START_MS + WARMUP_MS, START_MS + WARMUP_MS + self.measure_s * 1000)
    }

    fn load_end_ms(self) -> u64 {
        self.measure().1 + 3_000
    }
}

/// A run of this shape in which everything went well.
pub(crate) fn record(shape: Shape) -> RunRecord {
    let mut rng = seed::rng(9, "made-up run");
    let nodes = nodes(shape);
    let edges = edges(shape, &mut rng);
    let blocks = blocks(shape, &mut rng);
    let seconds = seconds(&blocks);
    let ok: u64 = blocks.iter().map(|block| block.ok).sum();
    let accounting = Accounting {
        intended: ok + 9,
        not_sent: 1,
        rejected: vec![Rejection {
            reason: "mempool_full".to_owned(),
            count: 4,
        }],
        timed_out: 1,
        unknown: 1,
        finalised_ok: ok,
        finalised_failed: 2,
    };
    let processes = processes(shape, &nodes, &blocks, &mut rng);
    RunRecord {
        identity: identity(shape),
        instances: Vec::new(),
        latency: latency(shape, &blocks),
        phases: phases(shape),
        loads: vec![Load {
            name: "opaque".to_owned(),
            mode: LoadMode::Open,
            description: format!("Poisson, {} tx/s, 512 B, to every full node", shape.rate),
            offered_per_s: shape.rate as f64,
            size_bytes: 512,
            label: None,
        }],
        events: events(shape),
        invariants: invariants(shape),
        objectives: vec![Objective {
            limit: Some(100_000.0),
            ..objective("latency_p50", "< 100ms", "28.1 ms", Some(true))
        }],
        environment: environment(),
        files: files(),
        nodes,
        edges,
        blocks,
        seconds,
        accounting,
        processes,
        ..RunRecord::default()
    }
}

pub(crate) fn objective(metric: &str, wanted: &str, observed: &str, met: Option<bool>) -> Objective {
    let [metric, wanted, observed] = [metric, wanted, observed].map(str::to_owned);
    Objective {
        metric,
        wanted,
        observed,
        met,
        limit: None,
        evidence: String::new(),
    }
}

fn identity(shape: Shape) -> Identity {
    let digest = |name: &str| Digest::of("fixture", &[name.as_bytes()]).to_string();
    Identity {
        run: format!("quickstart-{}", &digest("plan")[..8]),
        scenario: if shape.full > 50 { "hundred" } else { "quickstart" }.to_owned(),
        question: "How fast do four validators finalise a steady load, and what does it cost?".to_owned(),
        seed: 42,
        plan_digest: digest("plan"),
        commit: digest("commit")[..40].to_owned(),
        dirty: false,
        started_at: "2026-01-01T12:00:00Z".to_owned(),
        provider: "local, loopback addresses".to_owned(),
        simulated: false,
        emulation: None,
        reproduce: "cargo run --release -- run topologies/quickstart.toml --set seed=42".to_owned(),
        digests: vec![NamedText {
            name: "regatta-node".to_owned(),
            value: digest("binary"),
        }],
    }
}

fn nodes(shape: Shape) -> Vec<Node> {
    let total = shape.validators + shape.full;
    let node = |index: usize| {
        let (group, role, number) = if index < shape.validators {
            ("val", Role::Validator, index)
        } else {
            ("full", Role::Full, index - shape.validators)
        };
        Node {
            name: format!("{group}-{number}"),
            role,
            group: group.to_owned(),
            region: ["eu", "us", "ap"][index % 3].to_owned(),
            address: format!("127.60.{}.{}:7000", index / 250, index % 250 + 1),
            binary_digest: Digest::of("fixture", &[b"binary"]).to_string(),
            binary_digest_end: Digest::of("fixture", &[b"binary"]).to_string(),
            byzantine: None,
        }
    };
    (0..total).map(node).collect()
}

fn edges(shape: Shape, rng: &mut ChaCha8Rng) -> Vec<Edge> {
    let mut edges = Vec::new();
    let mut link = |a: String, b: String, rule: &str| {
        edges.push(Edge {
            a,
            b,
            rule: rule.to_owned(),
        });
    };
    for a in 0..shape.validators {
        // Many validators form a sparse graph as well.
        let reach = if shape.validators > 8 {
            a + 4
        } else {
            shape.validators - 1
        };
        for b in a + 1..=reach {
            link(format!("val-{a}"), format!("val-{}", b % shape.validators), "core");
        }
    }
    for full in 0..shape.full {
        link(
            format!("full-{full}"),
            format!("val-{}", full % shape.validators),
            "attach",
        );
        for _ in 1..shape.degree / 2 + 1 {
            let other = rng.random_range(0..shape.full);
            if other != full {
                link(format!("full-{full}"), format!("full-{other}"), "mesh");
            }
        }
    }
    edges.sort();
    edges.dedup_by(|b, a| a.a == b.a && a.b == b.b);
    edges
}

fn phases(shape: Shape) -> Vec<Phase> {
    let (from, to) = shape.measure();
    let end = shape.load_end_ms();
    let phase = |kind, start_ms, end_ms| Phase { kind, start_ms, end_ms };
    vec![
        phase(PhaseKind::Start, 0, START_MS),
        phase(PhaseKind::Warmup, START_MS, from),
        phase(PhaseKind::Measure, from, to),
        phase(PhaseKind::Cooldown, to, end),
        phase(PhaseKind::Drain, end, end + 500),
        phase(PhaseKind::Stop, end + 500, end + 900),
    ]
}

/// The time in which the made-up fault acts.
fn fault_ms(shape: Shape) -> (u64, u64) {
    let (from, to) = shape.measure();
    (from + (to - from) * 2 / 5, from + (to - from) * 2 / 5 + 4_000)
}

fn blocks(shape: Shape, rng: &mut ChaCha8Rng) -> Vec<Block> {
    let mut at_ms = START_MS;
    let mut blocks = Vec::new();
    let fault = fault_ms(shape);
    let mut credit = 0.0;
    while at_ms < shape.load_end_ms() {
        let slow = shape.full > 1 && (fault.0..fault.0 + 1500).contains(&at_ms);
        let gap = shape.block_ms * if slow { 4 } else { 1 } + rng.random_range(0..=shape.block_ms / 5);
        at_ms += gap;
        credit += gap as f64 * shape.rate as f64 / 1000.0 * rng.random_range(0.92..1.08);
        let transactions = credit as u64;
        credit -= transactions as f64;
        let base = gap as f64 * 400.0 + 4_000.0;
        let latencies = (0..transactions).map(|_| {
            let tail: f64 = rng.random_range(0.000_1..1.0_f64);
            (base + rng.random_range(0.0..gap as f64 * 1000.0) + 900.0 * tail.powf(-0.55)) as u64
        });
        let latency = Counts::of_values(latencies, 3);
        blocks.push(Block {
            instance: String::new(),
            height: blocks.len() as u64 + 1,
            at_ms,
            transactions,
            ok: transactions,
            latency,
        });
    }
    blocks
}

fn seconds(blocks: &[Block]) -> Vec<Second> {
    let last = blocks.last().map_or(0, |block| block.at_ms / 1000);
    let finalised = |second: u64| -> u64 {
        blocks
            .iter()
            .filter(|block| block.at_ms / 1000 == second)
            .map(|block| block.ok)
            .sum()
    };
    let row = |second: u64| {
        let offered = if second * 1000 >= START_MS {
            // Rounded up and down in turn: a bias would be a backlog that grows.
            (finalised(second) + finalised(second + 1) + second % 2) / 2
        } else {
            0
        };
        let (sent, finalised) = (offered, finalised(second));
        Second {
            second: second as u32,
            intended: offered,
            sent,
            finalised,
            ..Second::default()
        }
    };
    (0..=last).map(row).collect()
}

fn latency(shape: Shape, blocks: &[Block]) -> Latency {
    let (from, to) = shape.measure();
    let inside = || blocks.iter().filter(move |block| (from..to).contains(&block.at_ms));
    let overall = Counts::merged(inside().map(|block| &block.latency));
    let scaled = |share: f64| {
        let mut counts = Counts(
            overall
                .0
                .iter()
                .map(|&(us, n)| ((us as f64 * share) as u64, n))
                .collect(),
        );
        counts.normalise();
        counts
    };
    let lag = Counts::of_values(
        (0..overall.total()).map(|i| 20 + (i * i) % 97 + if i % 200 == 0 { 900 } else { 0 }),
        3,
    );
    let mut intervals: Vec<Interval> = Vec::new();
    for block in inside() {
        let second = (block.at_ms / 1000) as u32;
        match intervals.last_mut() {
            Some(last) if last.second == second => last.counts = Counts::merged([&last.counts, &block.latency]),
            _ => intervals.push(Interval {
                second,
                counts: block.latency.clone(),
            }),
        }
    }
    Latency {
        timeout_ms: 10_000,
        service: HistogramSet {
            overall: scaled(0.99),
            intervals: Vec::new(),
        },
        lag: HistogramSet {
            overall: lag,
            intervals: Vec::new(),
        },
        accepted: scaled(0.06),
        included: scaled(0.55),
        executed: Counts::default(),
        response: HistogramSet { overall, intervals },
    }
}

fn processes(shape: Shape, nodes: &[Node], blocks: &[Block], rng: &mut ChaCha8Rng) -> Vec<Process> {
    let end = shape.load_end_ms();
    let mut processes: Vec<Process> = nodes
        .iter()
        .map(|node| process(node, shape, blocks, end, rng))
        .collect();
    let samples = (0..=end / 1000).map(|s| Sample {
        at_ms: s * 1000,
        cpu_s: s as f64 * 0.08,
        rss_bytes: 31_000_000,
        ..Sample::default()
    });
    processes.push(Process {
        name: "regatta".to_owned(),
        kind: ProcessKind::Lab,
        cpu_total_s: end as f64 / 1000.0 * 0.08,
        samples: samples.collect(),
        ..Process::default()
    });
    processes
}

fn process(node: &Node, shape: Shape, blocks: &[Block], end: u64, rng: &mut ChaCha8Rng) -> Process {
    let votes = node.role == Role::Validator;
    let killed = node.name == "val-3";
    let mut sample = Sample {
        rss_bytes: 9_000_000,
        ..Sample::default()
    };
    let mut samples = Vec::new();
    for second in 0..=end / 1000 {
        let at_ms = second * 1000;
        let busy = if votes { 0.19 } else { 0.07 } * rng.random_range(0.8..1.25);
        let away = killed && (fault_ms(shape).0..fault_ms(shape).1).contains(&at_ms);
        let (messages, each) = if away || at_ms < START_MS {
            (0, 0)
        } else {
            (if votes { 420 } else { 130 }, 640)
        };
        sample.at_ms = at_ms;
        let used_s = if messages == 0 { 0.002 } else { busy };
        // Whole milliseconds, as kernels count them.
        sample.cpu_s = ((sample.cpu_s + used_s) * 1000.0).round() / 1000.0;
        sample.rss_bytes = if away {
            0
        } else {
            9_000_000 + 60_000 * second + rng.random_range(0..300_000)
        };
        sample.private_bytes = sample.rss_bytes * 7 / 10;
        sample.descriptors = 28 + shape.degree as u64;
        sample.disk_bytes += shape.rate * 540;
        sample.height = blocks.partition_point(|block| block.at_ms <= at_ms) as u64;
        sample.transactions = blocks[..sample.height as usize]
            .iter()
            .map(|block| block.transactions)
            .sum();
        sample.peers = shape.degree as u64 + 3;
        sample.messages_in += messages + rng.random_range(0..40);
        sample.messages_out += messages + rng.random_range(0..40);
        sample.bytes_in += messages * each;
        sample.bytes_out += messages * each * 11 / 10;
        samples.push(sample);
    }
    let traffic = [
        ("vote", 0.5, 0.25),
        ("batch", 0.2, 0.6),
        ("block", 0.1, 0.1),
        ("sync", 0.02, 0.04),
        ("ping", 0.18, 0.01),
    ];
    let part = |total: u64, share: f64| (total as f64 * share) as u64;
    Process {
        name: node.name.clone(),
        kind: ProcessKind::Node,
        cpu_total_s: sample.cpu_s + 0.05,
        restarts: u32::from(killed),
        exit: None,
        traffic: traffic
            .iter()
            .map(|&(name, messages, bytes)| Traffic {
                protocol: name.to_owned(),
                messages_in: part(sample.messages_in, messages),
                messages_out: part(sample.messages_out, messages),
                bytes_in: part(sample.bytes_in, bytes),
                bytes_out: part(sample.bytes_out, bytes),
            })
            .collect(),
        samples,
    }
}

fn events(shape: Shape) -> Vec<Event> {
    if shape.full < 2 {
        return Vec::new();
    }
    let (start_ms, end_ms) = fault_ms(shape);
    let event = |start_ms, end_ms, kind, node: &str, text: &str| Event {
        start_ms,
        end_ms,
        kind,
        node: node.to_owned(),
        text: text.to_owned(),
    };
    vec![
        event(1_900, 1_900, EventKind::Note, "", "every link is up"),
        event(start_ms, end_ms, EventKind::Fault, "val-3", "crash val-3"),
        event(
            end_ms,
            end_ms,
            EventKind::Restart,
            "val-3",
            "started again, caught up after 310 ms",
        ),
    ]
}

fn invariants(shape: Shape) -> Vec<Invariant> {
    let nodes = shape.validators + shape.full;
    let holds = |name: &str, evidence: String| Invariant {
        name: name.to_owned(),
        holds: true,
        evidence,
        numbers: vec![NamedNumber {
            name: "nodes".to_owned(),
            value: nodes as f64,
        }],
    };
    vec![
        holds(
            "agreement",
            format!("the same hash and state root at every height on {nodes} nodes"),
        ),
        holds(
            "certificates",
            "every certificate carries a quorum of the weights of its block".to_owned(),
        ),
        holds(
            "no lost acknowledged transaction",
            "every acknowledged transaction is in the ledger".to_owned(),
        ),
        holds("no double inclusion", "no transaction occurs twice".to_owned()),
        holds("integrity", "every included transaction was submitted".to_owned()),
    ]
}

fn environment() -> Vec<Disclosure> {
    let line = |section: &str, name: &str, value: &str| {
        let [section, name, value] = [section, name, value].map(str::to_owned);
        Disclosure { section, name, value }
    };
    vec![
        line("machine", "CPU", "made-up processor, 2 cores, virtualised"),
        line("machine", "kernel", "6.1.0"),
        line("machine", "clock", "one machine, one clock (tsc)"),
        line("build", "toolchain", "rustc 1.95.0, release"),
        line("build", "commit", "clean work tree"),
        line("pressure", "cpu some avg10", "3.1 %"),
    ]
}

fn files() -> Vec<RawFile> {
    let file = |path: &str, description: &str, size_bytes| RawFile {
        path: path.to_owned(),
        description: description.to_owned(),
        size_bytes,
    };
    vec![
        file("result.json", "this run as one document", 1_830_000),
        file("samples.ndjson", "every sample of every process", 402_000),
        file("response.hlog", "response latency by second, HdrHistogram log", 71_000),
    ]
}
