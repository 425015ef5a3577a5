//! Shadow: the unmodified program on simulated hosts, with links that Shadow makes of the scenario's matrix.

use super::{
    Configured, Engine, ExportError, Folder, Input, Links, configured, dns_names, heading,
    yaml::{Yaml, map, text},
};
use regatta_plan::{Plan, PlannedLinks, PlannedNode};
use std::{collections::BTreeMap, fmt::Write};

/// Folder that Shadow copies to where processes run.
const TEMPLATE: &str = "template";
/// When nodes start, and when the timeline of the scenario begins, in simulated milliseconds: links are up long before.
const START_MS: u64 = 1000;
const TIMELINE_MS: u64 = 5000;
/// Latency of links without a delay in the scenario: the least that Shadow keeps between hosts.
const LATENCY_NS: u64 = 1_000_000;
/// Rate of network cards where the scenario names none, in bits per second.
const RATE_BITS: u64 = 1_000_000_000;

pub(super) fn write(input: &Input<'_>, folder: &mut Folder) -> Result<(), ExportError> {
    let names = dns_names(input.plan, Engine::Shadow)?;
    for (build, program) in input.programs {
        program.check_for_shadow()?;
        program.write(folder, &format!("bin/{build}"));
    }
    let nodes = configured(input.plan, Links::Engine)?;
    let links = input.plan.links.clone().unwrap_or_else(plain_links);
    let points = points(&links, &input.plan.nodes);
    let place_of: BTreeMap<u32, usize> = (points.iter().zip(0..))
        .flat_map(|(point, id)| point.nodes.iter().map(move |node| (*node, id)))
        .collect();
    let mut hosts = Vec::new();
    for (one, name) in nodes.iter().zip(&names) {
        // The lab's own layout: data lies at `../../data/NAME` seen from the configuration.
        folder.add(format!("{TEMPLATE}/config/{}/node.toml", one.node.name), one.toml()?);
        folder.add_secret(format!("{TEMPLATE}/config/{}/key.pem", one.node.name), one.key.clone());
        let place = place_of.get(&one.node.index).copied().unwrap_or(0);
        hosts.push((name.clone(), host(input, one, place)));
    }
    let general = map([
        ("stop_time", time(stop_ms(input.plan))),
        ("seed", Yaml::Number(input.plan.seed & u64::from(u32::MAX))),
        ("template_directory", text(TEMPLATE)),
        // Nodes look at their clocks between steps: without this, such a loop would stand still.
        ("model_unblocked_syscall_latency", Yaml::Flag(true)),
    ]);
    let graph = map([("type", text("gml")), ("inline", Yaml::Block(graph(&links, &points)))]);
    let file = map([
        ("general", general),
        (
            "network",
            map([("graph", graph), ("use_shortest_path", Yaml::Flag(false))]),
        ),
        ("hosts", Yaml::Map(hosts)),
    ]);
    folder.add(
        "shadow.yaml",
        file.document(&heading(input, "The network, for the simulator Shadow.")),
    );
    Ok(())
}

fn time(ms: u64) -> Yaml {
    text(format!("{ms} ms"))
}

fn stop_ms(plan: &Plan) -> u64 {
    TIMELINE_MS + plan.phases.load_ms() + plan.phases.drain_ms
}

fn host(input: &Input<'_>, one: &Configured<'_>, place: usize) -> Yaml {
    let node = one.node;
    let product = input
        .programs
        .get(&node.build)
        .map_or("", |program| program.product.as_str());
    let process = |start_ms: u64| {
        map([
            ("path", text(format!("./bin/{}/{product}", node.build))),
            (
                "args",
                text(format!("run --config ../../config/{}/node.toml --new", node.name)),
            ),
            ("start_time", time(start_ms)),
            ("expected_final_state", text("running")),
        ])
    };
    map([
        ("network_node_id", Yaml::Number(place as u64)),
        ("ip_addr", text(node.address.to_string())),
        (
            "processes",
            Yaml::List(start_ms(input.plan, node.index).map(process).into_iter().collect()),
        ),
    ])
}

/// When a node starts: some start late, and some never do.
fn start_ms(plan: &Plan, node: u32) -> Option<u64> {
    let late = plan
        .churn
        .absences
        .iter()
        .find(|absence| absence.node == node && absence.is_late_start());
    match late {
        Some(absence) => absence.until_ms.map(|until_ms| TIMELINE_MS + until_ms),
        None => Some(START_MS),
    }
}

/// Links of a scenario without any: one region and nothing that happens to packets.
fn plain_links() -> PlannedLinks {
    PlannedLinks {
        lab: std::net::Ipv4Addr::UNSPECIFIED,
        prefix: 0,
        regions: vec![String::new()],
        delay_ns: vec![vec![0]],
        jitter_ppm: 0,
        loss_ppm: 0,
        reorder_ppm: 0,
        duplicate_ppm: 0,
        rate_bits: None,
        directions: Vec::new(),
    }
}

/// A point of the graph: nodes to which the same happens, whoever else they talk to.
struct Point<'a> {
    region: &'a str,
    /// Whether each direction of the scenario is from them, and whether it is to them.
    ends: Vec<(bool, bool)>,
    nodes: Vec<u32>,
}

impl Point<'_> {
    /// Latency in nanoseconds and the share of packets lost, in millionths, of what is sent from here to `other`.
    fn edge_to(&self, other: &Point<'_>, links: &PlannedLinks) -> (u64, u32) {
        let base = links.between(Some(self.region), Some(other.region));
        let ends = self.ends.iter().zip(&other.ends);
        let covering = links
            .directions
            .iter()
            .zip(ends)
            .filter(|(_, (here, there))| here.0 && there.1);
        let found = covering.fold(base, |found, (direction, _)| direction.on(found));
        let latency = if found.delay_ns == 0 {
            LATENCY_NS
        } else {
            found.delay_ns
        };
        (latency, found.loss_ppm)
    }
}

/// A point for each region; where directions of the scenario tell nodes of one region apart, one for each kind of them.
fn points<'a>(links: &'a PlannedLinks, nodes: &[PlannedNode]) -> Vec<Point<'a>> {
    let place = |node: &PlannedNode| {
        let region = node.region.as_deref().unwrap_or_default();
        links.regions.iter().position(|name| name == region).unwrap_or(0)
    };
    let has = |list: &[u32], node: u32| list.binary_search(&node).is_ok();
    let ends = |node: &PlannedNode| {
        let directions = links.directions.iter();
        let ends = directions.map(|direction| (has(&direction.from, node.index), has(&direction.to, node.index)));
        ends.collect::<Vec<_>>()
    };
    let mut points = Vec::new();
    for (number, region) in links.regions.iter().enumerate() {
        let first = points.len();
        for node in nodes.iter().filter(|node| place(node) == number) {
            let ends = ends(node);
            let known = points
                .iter_mut()
                .skip(first)
                .find(|point: &&mut Point<'_>| point.ends == ends);
            match known {
                Some(point) => point.nodes.push(node.index),
                None => points.push(Point {
                    region,
                    ends,
                    nodes: vec![node.index],
                }),
            }
        }
        if points.len() == first {
            // A region that nobody is in yet.
            let ends = vec![(false, false); links.directions.len()];
            points.push(Point {
                region,
                ends,
                nodes: Vec::new(),
            });
        }
    }
    points
}

/// The points, and a link from each to each.
fn graph(links: &PlannedLinks, points: &[Point<'_>]) -> String {
    let rate = links.rate_bits.unwrap_or(RATE_BITS).next_multiple_of(8);
    let mut gml = String::from("graph [\n  directed 1\n");
    for id in 0..points.len() {
        // Writing to a string cannot fail.
        let _ = writeln!(
            gml,
            "  node [\n    id {id}\n    label \"{}\"\n    host_bandwidth_down \"{rate} bit\"\n    host_bandwidth_up \"{rate} bit\"\n  ]",
            label(points, id)
        );
    }
    for (source, from) in points.iter().enumerate() {
        for (target, to) in points.iter().enumerate() {
            let (latency, loss) = from.edge_to(to, links);
            let loss = f64::from(loss) / 1e6;
            let _ = writeln!(
                gml,
                "  edge [\n    source {source}\n    target {target}\n    latency \"{latency} ns\"\n    packet_loss {loss:?}\n  ]"
            );
        }
    }
    gml + "]\n"
}

/// A label is for people: the region, with a number after the first point of it. What would end it is left out.
fn label(points: &[Point<'_>], id: usize) -> String {
    let region = points[id].region;
    let plain = region
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c));
    let name: String = if region.is_empty() {
        "nodes".to_owned()
    } else {
        plain.collect()
    };
    match points.iter().take(id).filter(|point| point.region == region).count() {
        0 => name,
        before => format!("{name}.{}", before + 1),
    }
}
