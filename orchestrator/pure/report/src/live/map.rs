//! The map of a network: where each node is drawn.

use super::Setting;
use crate::{figure::layout::place, model::Role};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Share of the map's width and height that a region's own cluster takes, with several regions.
const REGION_SHARE: f64 = 0.62;

/// A network as it is drawn. Places lie in the unit square.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Map {
    /// What does not change.
    #[serde(flatten)]
    pub setting: Setting,
    /// A place for each node, in plan order.
    pub places: Vec<(f64, f64)>,
    /// Names of the regions with the centre of each.
    pub regions: Vec<(String, (f64, f64))>,
    /// Width and height of a region on the map.
    pub region_size: f64,
}

/// Where the nodes of `setting` are drawn: by their links, or each region as a cluster of its own.
#[must_use]
pub fn map(setting: &Setting) -> Map {
    let regions: BTreeSet<&str> = setting.nodes.iter().map(|node| node.region.as_str()).collect();
    let mut map = Map {
        setting: setting.clone(),
        ..Map::default()
    };
    if regions.len() < 2 {
        let all: Vec<usize> = (0..setting.nodes.len()).collect();
        map.places = cluster(setting, &all);
        return map;
    }
    map.places = vec![(0.5, 0.5); setting.nodes.len()];
    let (count, centre) = (regions.len() as f64, REGION_SHARE / 2.0);
    // As large as neighbours on the ring allow.
    let size = (std::f64::consts::PI / count).sin().min(0.55) * (1.0 - centre);
    map.region_size = size;
    for (region, number) in regions.iter().zip(0..) {
        let angle = std::f64::consts::TAU * (f64::from(number) / count) - std::f64::consts::FRAC_PI_2;
        let middle = (0.5 + centre * angle.cos(), 0.5 + centre * angle.sin());
        let here: Vec<usize> = (0..setting.nodes.len())
            .filter(|&index| setting.nodes[index].region == *region)
            .collect();
        for (index, (x, y)) in here.iter().zip(cluster(setting, &here)) {
            map.places[*index] = (middle.0 + (x - 0.5) * size, middle.1 + (y - 0.5) * size);
        }
        map.regions.push(((*region).to_owned(), middle));
    }
    map
}

/// Places of some nodes among themselves.
fn cluster(setting: &Setting, nodes: &[usize]) -> Vec<(f64, f64)> {
    let position = |node: u32| nodes.binary_search(&(node as usize)).ok();
    let edges: Vec<(usize, usize)> = setting
        .edges
        .iter()
        .filter_map(|&(a, b)| Some((position(a)?, position(b)?)))
        .collect();
    let inner: Vec<bool> = nodes
        .iter()
        .map(|&node| setting.nodes[node].role == Role::Validator)
        .collect();
    place(nodes.len(), &edges, &inner)
}
