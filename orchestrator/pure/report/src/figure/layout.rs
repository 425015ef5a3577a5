//! Where nodes of a graph go: stress majorisation (Gansner, Koren and North 2004) of the hop distances.

use super::scene::Point;

/// Rounds of local majorisation; positions move by less than a pixel long before.
const ROUNDS: usize = 120;
/// Beyond this many nodes all-pairs distances cost too much: nodes go on a ring.
const STRESS_NODES_MAX: usize = 500;
/// Rounds of pushing overlapping nodes apart.
const SPREAD_ROUNDS: usize = 60;

/// Positions in the unit square for `count` nodes, given index pairs; the same graph always gets the same picture.
///
/// `inner` marks nodes that start near the centre, e.g. validators.
pub(crate) fn place(count: usize, edges: &[(usize, usize)], inner: &[bool]) -> Vec<Point> {
    debug_assert!(
        edges.iter().all(|&(a, b)| a < count && b < count),
        "edges join known nodes"
    );
    let mut positions = rings(count, inner);
    if count > 2 && count <= STRESS_NODES_MAX {
        let distances = hops(count, edges);
        for _ in 0..ROUNDS {
            majorise(&mut positions, &distances);
        }
    }
    debug_assert!(positions.iter().all(|p| p.0.is_finite() && p.1.is_finite()));
    level(&mut positions);
    spread(&mut positions);
    fit(positions)
}

/// Turns the longest extent sideways, where a page has room.
fn level(positions: &mut [Point]) {
    let count = positions.len().max(1) as f64;
    let sum = positions.iter().fold((0.0, 0.0), |sum, p| (sum.0 + p.0, sum.1 + p.1));
    let centre = (sum.0 / count, sum.1 / count);
    let (mut xx, mut yy, mut xy) = (0.0, 0.0, 0.0);
    for p in positions.iter() {
        let (dx, dy) = (p.0 - centre.0, p.1 - centre.1);
        xx += dx * dx;
        yy += dy * dy;
        xy += dx * dy;
    }
    let (sin, cos) = (f64::atan2(2.0 * xy, xx - yy) / 2.0).sin_cos();
    for p in positions {
        let (dx, dy) = (p.0 - centre.0, p.1 - centre.1);
        *p = (dx * cos + dy * sin, dy * cos - dx * sin);
    }
}

/// Two rings around the centre in index order.
fn rings(count: usize, inner: &[bool]) -> Vec<Point> {
    let is_inner = |index: usize| inner.get(index).copied().unwrap_or(false);
    let inside = (0..count).filter(|&index| is_inner(index)).count();
    let (mut next_inner, mut next_outer) = (0, 0);
    let mut place = |index: usize| {
        let (position, total, radius) = if is_inner(index) {
            next_inner += 1;
            (next_inner, inside, 0.5)
        } else {
            next_outer += 1;
            (next_outer, count - inside, 1.0)
        };
        // Half a step of offset on the outer ring keeps two rings of equal size from lining up.
        let offset = if is_inner(index) { 0.0 } else { 0.5 };
        let angle = std::f64::consts::TAU * (position as f64 + offset) / total.max(1) as f64;
        (radius * angle.cos(), radius * angle.sin())
    };
    (0..count).map(&mut place).collect()
}

/// Hop distances between all pairs; parts that are not connected lie one more than the longest distance apart.
fn hops(count: usize, edges: &[(usize, usize)]) -> Vec<Vec<f64>> {
    let mut neighbours = vec![Vec::new(); count];
    for &(a, b) in edges {
        neighbours[a].push(b);
        neighbours[b].push(a);
    }
    let all: Vec<Vec<Option<u32>>> = (0..count).map(|start| hops_from(start, &neighbours)).collect();
    let longest = all.iter().flatten().flatten().max().copied().unwrap_or(0);
    all.into_iter()
        .map(|row| {
            row.into_iter()
                .map(|hops| f64::from(hops.unwrap_or(longest + 1)))
                .collect()
        })
        .collect()
}

/// Breadth-first distances from one node, `None` where it does not reach.
fn hops_from(start: usize, neighbours: &[Vec<usize>]) -> Vec<Option<u32>> {
    let mut distance = vec![None; neighbours.len()];
    distance[start] = Some(0_u32);
    let mut reached = vec![start];
    let mut next = 0;
    while let Some(&node) = reached.get(next) {
        next += 1;
        let step = distance[node].unwrap_or(0) + 1;
        for &neighbour in &neighbours[node] {
            if distance[neighbour].is_none() {
                distance[neighbour] = Some(step);
                reached.push(neighbour);
            }
        }
    }
    debug_assert!(reached.len() <= neighbours.len(), "no node is reached twice");
    distance
}

/// Moves each node to where the others, weighted by 1 / distance², want it.
fn majorise(positions: &mut [Point], distances: &[Vec<f64>]) {
    for node in 0..positions.len() {
        let (mut sum, mut weights) = ((0.0, 0.0), 0.0);
        for other in 0..positions.len() {
            let wanted = distances[node][other];
            if wanted <= 0.0 {
                continue;
            }
            let weight = 1.0 / (wanted * wanted);
            let (dx, dy) = (
                positions[node].0 - positions[other].0,
                positions[node].1 - positions[other].1,
            );
            let stretch = wanted / dx.hypot(dy).max(1e-6);
            sum.0 += weight * (positions[other].0 + dx * stretch);
            sum.1 += weight * (positions[other].1 + dy * stretch);
            weights += weight;
        }
        if weights > 0.0 {
            positions[node] = (sum.0 / weights, sum.1 / weights);
        }
    }
}

/// Pushes nodes apart that lie closer than half of an even spacing.
fn spread(positions: &mut [Point]) {
    if positions.len() > STRESS_NODES_MAX {
        return;
    }
    let (low, high) = bounds(positions);
    let area = ((high.0 - low.0) * (high.1 - low.1)).max(1e-6);
    let least = 0.62 * (area / positions.len().max(1) as f64).sqrt();
    for _ in 0..SPREAD_ROUNDS {
        for a in 0..positions.len() {
            for b in a + 1..positions.len() {
                push_apart(positions, a, b, least);
            }
        }
    }
}

/// Moves two places apart until they keep their least distance.
fn push_apart(positions: &mut [Point], a: usize, b: usize, least: f64) {
    let (mut dx, mut dy) = (positions[b].0 - positions[a].0, positions[b].1 - positions[a].1);
    let distance = dx.hypot(dy);
    if distance >= least {
        return;
    }
    if distance < 1e-9 {
        // Two nodes at one point part in a direction that depends on their numbers alone.
        let angle = a as f64 * 2.4 + b as f64;
        (dx, dy) = (angle.cos(), angle.sin());
    }
    let push = (least - distance) / 2.0 / dx.hypot(dy);
    positions[a] = (positions[a].0 - dx * push, positions[a].1 - dy * push);
    positions[b] = (positions[b].0 + dx * push, positions[b].1 + dy * push);
}

/// The corners of the smallest box around all places.
fn bounds(positions: &[Point]) -> (Point, Point) {
    let low = positions
        .iter()
        .fold((f64::MAX, f64::MAX), |low, p| (low.0.min(p.0), low.1.min(p.1)));
    let high = positions
        .iter()
        .fold((f64::MIN, f64::MIN), |high, p| (high.0.max(p.0), high.1.max(p.1)));
    (low, high)
}

/// Scales to the unit square.
fn fit(positions: Vec<Point>) -> Vec<Point> {
    let (low, high) = bounds(&positions);
    let share = |value: f64, low: f64, high: f64| {
        if high - low < 1e-9 {
            0.5
        } else {
            (value - low) / (high - low)
        }
    };
    positions
        .into_iter()
        .map(|p| (share(p.0, low.0, high.0), share(p.1, low.1, high.1)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hop_distances_of_a_path_and_an_island() {
        let distances = hops(4, &[(0, 1), (1, 2)]);
        assert_eq!(distances[0], [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(distances[3], [3.0, 3.0, 3.0, 0.0]);
    }

    #[test]
    fn a_ring_is_drawn_round() {
        let count = 12;
        let edges: Vec<_> = (0..count).map(|i| (i, (i + 1) % count)).collect();
        let positions = place(count, &edges, &[]);
        for (x, y) in positions {
            let radius = (x - 0.5).hypot(y - 0.5);
            assert!((0.4..0.55).contains(&radius), "{radius}");
        }
    }

    #[test]
    fn neighbours_end_nearer_than_strangers() {
        // A ladder of 2 x 10: its ends must be far apart.
        let edges: Vec<_> = (0..10)
            .map(|i| (i, i + 10))
            .chain((0..9).flat_map(|i| [(i, i + 1), (i + 10, i + 11)]))
            .collect();
        let positions = place(20, &edges, &[]);
        let distance = |a: usize, b: usize| (positions[a].0 - positions[b].0).hypot(positions[a].1 - positions[b].1);
        assert!(distance(0, 9) > 3.0 * distance(0, 1));
    }

    #[test]
    fn every_size_gets_finite_and_separate_places() {
        for count in [0, 1, 2, 3, 8, 60, 600] {
            let positions = place(count, &[], &[true, true]);
            assert_eq!(positions.len(), count);
            assert!(
                positions
                    .iter()
                    .all(|p| (0.0..=1.0).contains(&p.0) && (0.0..=1.0).contains(&p.1)),
                "{count}"
            );
        }
        assert_eq!(place(60, &[(0, 1)], &[]), place(60, &[(0, 1)], &[]));
    }
}
