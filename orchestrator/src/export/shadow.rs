//! Shadow: the unmodified program on simulated hosts, with links that Shadow makes of the scenario's matrix.

use super::{
    Configured, Engine, ExportError, Folder, Input, Links, configured, dns_names, heading,
    yaml::{Yaml, map, text},
};
use regatta_plan::{Plan, PlannedLinks};
use std::fmt::Write;

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
    let mut hosts = Vec::new();
    for (one, name) in nodes.iter().zip(&names) {
        // The lab's own layout: data lies at `../../data/NAME` seen from the configuration.
        folder.add(format!("{TEMPLATE}/config/{}/node.toml", one.node.name), one.toml()?);
        folder.add_secret(format!("{TEMPLATE}/config/{}/key.pem", one.node.name), one.key.clone());
        hosts.push((name.clone(), host(input, one)));
    }
    let general = map([
        ("stop_time", time(stop_ms(input.plan))),
        ("seed", Yaml::Number(input.plan.seed & u64::from(u32::MAX))),
        ("template_directory", text(TEMPLATE)),
        // Nodes look at their clocks between steps: without this, such a loop would stand still.
        ("model_unblocked_syscall_latency", Yaml::Flag(true)),
    ]);
    let graph = map([("type", text("gml")), ("inline", Yaml::Block(graph(input.plan)))]);
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

fn host(input: &Input<'_>, one: &Configured<'_>) -> Yaml {
    let node = one.node;
    let position = |links: &PlannedLinks| {
        let region = node.region.as_deref().unwrap_or_default();
        links.regions.iter().position(|name| name == region)
    };
    let place = input.plan.links.as_ref().and_then(position).unwrap_or(0);
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

/// A point for each region, and a link from each to each.
fn graph(plan: &Plan) -> String {
    let empty = PlannedLinks {
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
    };
    let links = plan.links.as_ref().unwrap_or(&empty);
    let rate = links.rate_bits.unwrap_or(RATE_BITS).next_multiple_of(8);
    let mut gml = String::from("graph [\n  directed 1\n");
    for (id, region) in links.regions.iter().enumerate() {
        // A label is for people: what would end it is left out.
        let plain = region
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c));
        let label: String = if region.is_empty() {
            "nodes".to_owned()
        } else {
            plain.collect()
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            gml,
            "  node [\n    id {id}\n    label \"{label}\"\n    host_bandwidth_down \"{rate} bit\"\n    host_bandwidth_up \"{rate} bit\"\n  ]"
        );
    }
    let loss = f64::from(links.loss_ppm) / 1e6;
    for (from, row) in links.delay_ns.iter().enumerate() {
        for (to, delay) in row.iter().enumerate() {
            let latency = if *delay == 0 { LATENCY_NS } else { *delay };
            let _ = writeln!(
                gml,
                "  edge [\n    source {from}\n    target {to}\n    latency \"{latency} ns\"\n    packet_loss {loss:?}\n  ]"
            );
        }
    }
    gml + "]\n"
}
