//! A simple undirected graph and what can be said about it.

use crate::{GraphFacts, units::round};
use std::collections::{BTreeSet, VecDeque};

/// A simple undirected graph over the nodes 0..n.
#[derive(Debug, Clone)]
pub(crate) struct Graph {
    neighbours: Vec<Vec<u32>>,
}

impl Graph {
    /// The graph of `edges`, which are pairs of different nodes below `nodes`, each pair once.
    pub(crate) fn new(nodes: u32, edges: &BTreeSet<(u32, u32)>) -> Self {
        let mut neighbours = vec![Vec::new(); nodes as usize];
        for &(a, b) in edges {
            neighbours[a as usize].push(b);
            neighbours[b as usize].push(a);
        }
        Self { neighbours }
    }

    /// Number of nodes.
    pub(crate) fn len(&self) -> u32 {
        self.neighbours.len() as u32
    }

    /// Nodes that `node` is linked to.
    pub(crate) fn neighbours(&self, node: u32) -> &[u32] {
        &self.neighbours[node as usize]
    }

    /// Number of links of `node`.
    pub(crate) fn degree(&self, node: u32) -> u32 {
        self.neighbours[node as usize].len() as u32
    }

    /// The component of each node, numbered by their lowest nodes.
    pub(crate) fn components(&self) -> Vec<u32> {
        let mut component = vec![u32::MAX; self.neighbours.len()];
        let mut next = 0;
        for start in 0..self.neighbours.len() as u32 {
            if component[start as usize] != u32::MAX {
                continue;
            }
            for (node, distance) in self.distances(start).into_iter().enumerate() {
                if distance != u32::MAX {
                    component[node] = next;
                }
            }
            next += 1;
        }
        component
    }

    /// The nodes that `start` reaches over nodes for which `passes` holds, itself included.
    pub(crate) fn reached(&self, start: u32, passes: impl Fn(u32) -> bool) -> BTreeSet<u32> {
        let mut reached = BTreeSet::from([start]);
        let mut pending = vec![start];
        while let Some(node) = pending.pop() {
            for &next in &self.neighbours[node as usize] {
                if passes(next) && reached.insert(next) {
                    pending.push(next);
                }
            }
        }
        reached
    }

    /// Hops from `start` to every node by breadth-first search; `u32::MAX` where there is no path.
    pub(crate) fn distances(&self, start: u32) -> Vec<u32> {
        let mut distance = vec![u32::MAX; self.neighbours.len()];
        let mut queue = VecDeque::from([start]);
        distance[start as usize] = 0;
        while let Some(node) = queue.pop_front() {
            for &next in &self.neighbours[node as usize] {
                if distance[next as usize] == u32::MAX {
                    distance[next as usize] = distance[node as usize] + 1;
                    queue.push_back(next);
                }
            }
        }
        distance
    }

    /// Whether every node reaches every other.
    pub(crate) fn is_connected(&self) -> bool {
        self.neighbours.is_empty() || !self.distances(0).contains(&u32::MAX)
    }

    /// Nodes whose loss alone cuts the graph: Tarjan's low points, by an explicit stack because a ring of
    /// thousands would overflow the call stack.
    pub(crate) fn cut_vertices(&self) -> Vec<u32> {
        let count = self.neighbours.len();
        let mut search = CutSearch {
            order: vec![0; count],
            low: vec![0; count],
            clock: 0,
            cut: vec![false; count],
        };
        for root in 0..count {
            if search.order[root] == 0 {
                self.search_from(root, &mut search);
            }
        }
        (0..count as u32).filter(|&node| search.cut[node as usize]).collect()
    }

    fn search_from(&self, root: usize, search: &mut CutSearch) {
        let mut root_children = 0;
        let mut stack = vec![search.visit(root, root)];
        while let Some(top) = stack.last_mut() {
            let (node, parent) = (top.node, top.parent);
            if let Some(&next) = self.neighbours[node].get(top.next) {
                top.next += 1;
                let next = next as usize;
                if search.order[next] == 0 {
                    stack.push(search.visit(next, node));
                } else if next != parent {
                    search.low[node] = search.low[node].min(search.order[next]);
                }
                continue;
            }
            stack.pop();
            if node == root {
                break;
            }
            search.low[parent] = search.low[parent].min(search.low[node]);
            if parent == root {
                root_children += 1;
            } else if search.low[node] >= search.order[parent] {
                search.cut[parent] = true;
            }
        }
        search.cut[root] = root_children > 1;
    }

    /// Diameter, path lengths, degrees and cut vertices of a connected graph.
    pub(crate) fn facts(&self) -> GraphFacts {
        let count = self.neighbours.len() as u64;
        let (mut diameter, mut total) = (0, 0_u64);
        for start in 0..count as u32 {
            for distance in self
                .distances(start)
                .into_iter()
                .filter(|&distance| distance != u32::MAX)
            {
                diameter = diameter.max(distance);
                total += u64::from(distance);
            }
        }
        let degrees = || self.neighbours.iter().map(|neighbours| neighbours.len() as u32);
        let pairs = (count * count.saturating_sub(1)).max(1);
        GraphFacts {
            diameter,
            mean_path: round(total as f64 / pairs as f64),
            degree_min: degrees().min().unwrap_or(0),
            degree_max: degrees().max().unwrap_or(0),
            degree_mean: round(degrees().map(f64::from).sum::<f64>() / count.max(1) as f64),
            cut_vertices: self.cut_vertices(),
        }
    }
}

/// State of the search for cut vertices; order 0 means not seen yet.
struct CutSearch {
    order: Vec<u32>,
    low: Vec<u32>,
    clock: u32,
    cut: Vec<bool>,
}

/// One node on the search's stack.
struct Frame {
    node: usize,
    parent: usize,
    /// Position of the neighbour to look at next.
    next: usize,
}

impl CutSearch {
    fn visit(&mut self, node: usize, parent: usize) -> Frame {
        self.clock += 1;
        self.order[node] = self.clock;
        self.low[node] = self.clock;
        Frame { node, parent, next: 0 }
    }
}
