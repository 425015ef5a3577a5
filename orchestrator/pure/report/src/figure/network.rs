//! Who is linked to whom, and what the links carry.

use super::{
    Figure, Table, WIDE,
    layout::place,
    scene::{Anchor, Ink, LABEL, Mark, Point, Scene, text_width},
};
use crate::{
    format,
    model::{Node, Role, RunRecord, Traffic},
    result::RunResult,
};
use std::collections::{BTreeMap, BTreeSet};

/// More names than this on one map cannot be read; the table has them.
const NAMES_MAX: usize = 120;

/// The colour of a role.
fn ink(role: Role) -> Ink {
    match role {
        Role::Validator => Ink::Series(0),
        Role::Full => Ink::Series(2),
        Role::Observer => Ink::Series(3),
    }
}

/// The static peering graph: shape and colour tell the role.
pub(super) fn topology(result: &RunResult) -> Option<Figure> {
    let record = &result.record;
    let count = record.nodes.len();
    if count == 0 {
        return None;
    }
    let edges = index_edges(record);
    let inner: Vec<bool> = record.nodes.iter().map(|node| node.role == Role::Validator).collect();
    let height: f64 = if count > 24 { 640.0 } else { 400.0 };
    let (radius, text_size) = if count > 40 { (5.5, 10.0) } else { (9.0, LABEL) };
    // Stretching sideways uses the page and gives names more room; distances on the map mean nothing exact.
    let width = (height * 1.5).min(WIDE - 120.0);
    let left = (WIDE - width) / 2.0;
    let to_canvas = |p: Point| (left + p.0 * width, 44.0 + p.1 * (height - 84.0));
    let places: Vec<Point> = place(count, &edges, &inner).into_iter().map(to_canvas).collect();
    let mut scene = Scene::new(WIDE, height);
    draw_edges(&mut scene, record, &edges, &places);
    for (node, &at) in record.nodes.iter().zip(&places) {
        draw_node(&mut scene, node, at, radius);
        if count <= NAMES_MAX {
            draw_name(
                &mut scene,
                &node.name,
                (at.0, at.1 + radius + text_size * 0.8),
                text_size,
            );
        }
    }
    draw_key(&mut scene, record);
    Some(Figure {
        id: "topology".to_owned(),
        title: "Topology".to_owned(),
        description: topology_text(record, &edges),
        context: String::new(),
        table: neighbours_table(record, &edges),
        scene,
    })
}

/// Links between known nodes as index pairs, each once whatever its direction.
fn index_edges(record: &RunRecord) -> Vec<(usize, usize)> {
    let names = record
        .nodes
        .iter()
        .enumerate()
        .map(|(index, node)| (node.name.as_str(), index));
    let index: BTreeMap<&str, usize> = names.collect();
    let pair = |a: &str, b: &str| {
        let (a, b) = (*index.get(a)?, *index.get(b)?);
        (a != b).then(|| (a.min(b), a.max(b)))
    };
    let unique: BTreeSet<(usize, usize)> = record.edges.iter().filter_map(|edge| pair(&edge.a, &edge.b)).collect();
    unique.into_iter().collect()
}

/// Links as straight lines, thinner and paler the more there are.
fn draw_edges(scene: &mut Scene, record: &RunRecord, edges: &[(usize, usize)], places: &[Point]) {
    let votes = |index: usize| record.nodes[index].role == Role::Validator;
    let crowded = edges.len() > 150;
    // Links between validators lie on top: consensus runs over them.
    for core in [false, true] {
        for &(a, b) in edges.iter().filter(|(a, b)| (votes(*a) && votes(*b)) == core) {
            let (ink, width, opacity) = match (core, crowded) {
                (true, false) => (Ink::Series(0), 1.6, 0.55),
                (true, true) => (Ink::Series(0), 1.2, 0.4),
                (false, false) => (Ink::Muted, 1.2, 0.55),
                (false, true) => (Ink::Muted, 0.75, 0.3),
            };
            scene.add(
                Mark::Line {
                    points: vec![places[a], places[b]],
                    width,
                },
                ink,
                opacity,
            );
        }
    }
}

/// Validators are diamonds, full nodes circles, observers triangles; a red ring marks a node that is not honest.
fn draw_node(scene: &mut Scene, node: &Node, at: Point, radius: f64) {
    let corners = |offsets: &[Point]| {
        offsets
            .iter()
            .map(|o| (at.0 + o.0 * radius, at.1 + o.1 * radius))
            .collect()
    };
    let ink = ink(node.role);
    scene.dot(at, radius * 1.45, Ink::Surface, 0.85);
    match node.role {
        Role::Validator => {
            scene.add(
                Mark::Area {
                    points: corners(&[(0.0, -1.3), (1.3, 0.0), (0.0, 1.3), (-1.3, 0.0)]),
                },
                ink,
                1.0,
            );
        }
        Role::Full => scene.dot(at, radius, ink, 1.0),
        Role::Observer => {
            scene.add(
                Mark::Area {
                    points: corners(&[(0.0, -1.2), (1.1, 0.8), (-1.1, 0.8)]),
                },
                ink,
                1.0,
            );
        }
    }
    if node.byzantine.is_some() {
        scene.add(
            Mark::Circle {
                centre: at,
                radius: radius * 1.7,
                filled: false,
            },
            Ink::Bad,
            1.0,
        );
    }
}

/// A name on a patch of the surface, so that links behind it do not cross it.
fn draw_name(scene: &mut Scene, name: &str, at: Point, size: f64) {
    let width = text_width(name, size);
    scene.rect(
        (at.0 - width / 2.0, at.1 - size * 0.5),
        (width, size),
        Ink::Surface,
        0.7,
    );
    let text = name.to_owned();
    scene.add(
        Mark::Text {
            at,
            text,
            size,
            anchor: Anchor::Middle,
            bold: false,
        },
        Ink::Text,
        1.0,
    );
}

/// What shapes and colours mean, with how many there are of each.
fn draw_key(scene: &mut Scene, record: &RunRecord) {
    let mut x = 14.0;
    for role in [Role::Validator, Role::Full, Role::Observer] {
        let count = record.nodes.iter().filter(|node| node.role == role).count();
        if count == 0 {
            continue;
        }
        let sample = Node {
            role,
            ..Node::default()
        };
        draw_node(scene, &sample, (x, 14.0), 6.0);
        let name = if role == Role::Full { "full node" } else { role.as_str() };
        let text = format::plural(count as u64, name);
        x += 14.0;
        scene.label((x, 14.0), text.as_str(), Ink::Muted, Anchor::Start);
        x += text_width(&text, LABEL) + 24.0;
    }
}

/// The graph in words.
fn topology_text(record: &RunRecord, edges: &[(usize, usize)]) -> String {
    let role = |wanted| record.nodes.iter().filter(|node| node.role == wanted).count() as u64;
    let mut degrees = vec![0_u64; record.nodes.len()];
    for &(a, b) in edges {
        degrees[a] += 1;
        degrees[b] += 1;
    }
    format!(
        "{} nodes, of which {}, over {}; a node has {} to {}. Diamonds are validators, circles full nodes, \
         triangles observers. Near means few hops; directions mean nothing.",
        record.nodes.len(),
        format::plural(role(Role::Validator), "validator"),
        format::plural(edges.len() as u64, "link"),
        degrees.iter().min().copied().unwrap_or(0),
        format::plural(degrees.iter().max().copied().unwrap_or(0), "link"),
    )
}

/// Every node with those it is linked to.
fn neighbours_table(record: &RunRecord, edges: &[(usize, usize)]) -> Table {
    let mut neighbours: Vec<Vec<&str>> = vec![Vec::new(); record.nodes.len()];
    for &(a, b) in edges {
        neighbours[a].push(&record.nodes[b].name);
        neighbours[b].push(&record.nodes[a].name);
    }
    let mut table = Table::new(&["node", "role", "region", "address", "linked to"]);
    for (node, linked) in record.nodes.iter().zip(neighbours) {
        let cells = [
            node.name.as_str(),
            node.role.as_str(),
            &node.region,
            &node.address,
            &linked.join(" "),
        ];
        table.row(cells.map(str::to_owned));
    }
    table
}

/// Bytes and messages by protocol over all nodes.
pub(super) fn protocols(result: &RunResult) -> Option<Figure> {
    const ROW: f64 = 26.0;
    const LEFT: f64 = 150.0;
    let mut totals = totals(&result.record);
    totals.sort_by(|a, b| b.bytes_out.cmp(&a.bytes_out).then_with(|| a.protocol.cmp(&b.protocol)));
    let most = totals
        .iter()
        .map(|traffic| traffic.bytes_out)
        .max()
        .filter(|&most| most > 0)?;
    let all: u64 = totals.iter().map(|traffic| traffic.bytes_out).sum();
    let mut scene = Scene::new(WIDE, totals.len() as f64 * ROW + 8.0);
    let mut table = Table::new(&[
        "protocol",
        "bytes sent",
        "messages sent",
        "bytes received",
        "messages received",
    ]);
    for (index, traffic) in totals.iter().enumerate() {
        let y = 4.0 + (index as f64 + 0.5) * ROW;
        let width = traffic.bytes_out as f64 / most as f64 * (WIDE - LEFT - 300.0);
        scene.label((LEFT - 12.0, y), traffic.protocol.as_str(), Ink::Text, Anchor::End);
        scene.rect((LEFT, y - 7.0), (width.max(1.5), 14.0), Ink::Series(0), 0.88);
        let text = format!(
            "{} in {} messages  ({})",
            format::bytes(traffic.bytes_out as f64),
            format::count(traffic.messages_out as f64),
            format::percent(traffic.bytes_out as f64 / all as f64)
        );
        scene.label((LEFT + width.max(1.5) + 8.0, y), text, Ink::Text, Anchor::Start);
        table.row([
            traffic.protocol.clone(),
            format::bytes(traffic.bytes_out as f64),
            format::integer(traffic.messages_out),
            format::bytes(traffic.bytes_in as f64),
            format::integer(traffic.messages_in),
        ]);
    }
    Some(Figure {
        id: "protocols".to_owned(),
        title: "Bytes by protocol".to_owned(),
        description: format!(
            "What all nodes sent over the whole run, {} in total, by protocol.",
            format::bytes(all as f64)
        ),
        context: String::new(),
        table,
        scene,
    })
}

/// Traffic of all processes by protocol.
fn totals(record: &RunRecord) -> Vec<Traffic> {
    let mut by_name: BTreeMap<&str, Traffic> = BTreeMap::new();
    for traffic in record.processes.iter().flat_map(|process| &process.traffic) {
        let total = by_name.entry(&traffic.protocol).or_insert_with(|| Traffic {
            protocol: traffic.protocol.clone(),
            ..Traffic::default()
        });
        total.messages_in += traffic.messages_in;
        total.messages_out += traffic.messages_out;
        total.bytes_in += traffic.bytes_in;
        total.bytes_out += traffic.bytes_out;
    }
    by_name.into_values().collect()
}
