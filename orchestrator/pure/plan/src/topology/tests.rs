//! Generators keep their promises at every size and seed.

use super::{
    generate::{Edges, Infeasible},
    *,
};
use crate::{diagnostic::Code, scenario::Generator, units::Ratio};
use proptest::prelude::*;
use regatta_base::seed::rng;
use std::collections::BTreeSet;

fn members(count: u32) -> Members {
    Members {
        of: (0..count).collect(),
        to: Vec::new(),
    }
}

fn run(rule: &Generator, count: u32, seed: u64) -> Result<Edges, Infeasible> {
    generate(rule, &members(count), &mut rng(seed, "graph/test"))
}

fn assert_simple(edges: &Edges, count: u32) {
    assert!(edges.iter().all(|&(a, b)| a < b && b < count), "{edges:?}");
}

fn of() -> String {
    "all".to_owned()
}

/// Rules that promise a connected graph at every size that they accept.
fn connected_rules(k: u32) -> Vec<Generator> {
    vec![
        Generator::FullMesh { of: of() },
        Generator::Ring { of: of() },
        Generator::Star { of: of() },
        Generator::Tree {
            of: of(),
            arity: 1 + k % 4,
        },
        Generator::KRegular { of: of(), k },
        Generator::SmallWorld {
            of: of(),
            k,
            rewire: Ratio(0.3),
        },
        Generator::SmallWorld {
            of: of(),
            k,
            rewire: Ratio(1.0),
        },
        Generator::ScaleFree { of: of(), m: k },
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn graphs_are_simple_connected_and_deterministic(count in 1_u32..80, k in 0_u32..12, seed: u64) {
        for rule in connected_rules(k) {
            let Ok(edges) = run(&rule, count, seed) else { continue };
            assert_simple(&edges, count);
            prop_assert!(Graph::new(count, &edges).is_connected(), "{:?}", rule);
            prop_assert_eq!(Ok(edges), run(&rule, count, seed));
        }
    }

    #[test]
    fn regular_graphs_exist_exactly_where_they_can(count in 1_u32..60, k in 0_u32..60, seed: u64) {
        let feasible = k < count && count * k % 2 == 0 && (k >= 2 || (k == 1 && count == 2));
        match run(&Generator::KRegular { of: of(), k }, count, seed) {
            Ok(edges) => {
                prop_assert!(feasible);
                let graph = Graph::new(count, &edges);
                prop_assert!((0..count).all(|node| graph.degree(node) == k));
                prop_assert!(graph.is_connected());
            }
            Err(error) => prop_assert!(!feasible, "{:?}", error),
        }
    }

    #[test]
    fn bipartite_is_exact_and_even(from in 1_u32..40, to in 1_u32..40, degree in 1_u32..10, seed: u64) {
        let members = Members { of: (0..from).collect(), to: (from..from + to).collect() };
        let rule = Generator::Bipartite { from: of(), to: of(), degree };
        let result = generate(&rule, &members, &mut rng(seed, "x"));
        prop_assert_eq!(result.is_ok(), degree <= to);
        if let Ok(edges) = result {
            let graph = Graph::new(from + to, &edges);
            prop_assert!((0..from).all(|node| graph.degree(node) == degree));
            let degrees: Vec<u32> = (from..from + to).map(|node| graph.degree(node)).collect();
            let spread = degrees.iter().max().unwrap() - degrees.iter().min().unwrap();
            prop_assert!(spread <= 1, "{:?}", degrees);
        }
    }

    #[test]
    fn cut_vertices_agree_with_removal(count in 2_u32..14, pairs in proptest::collection::vec((0_u32..14, 0_u32..14), 1..30)) {
        let edges: Edges = pairs.into_iter().map(|(a, b)| (a.min(b), a.max(b))).filter(|&(a, b)| a != b && b < count).collect();
        let pieces = |edges: &Edges| Graph::new(count, edges).components().into_iter().collect::<BTreeSet<_>>().len();
        let before = pieces(&edges);
        // Without its edges a node is a piece of its own, unless it was one before.
        let expected: Vec<u32> = (0..count).filter(|node| {
            let rest: Edges = edges.iter().copied().filter(|(a, b)| a != node && b != node).collect();
            let touched = edges.iter().any(|(a, b)| a == node || b == node);
            touched && pieces(&rest) > before + 1
        }).collect();
        prop_assert_eq!(Graph::new(count, &edges).cut_vertices(), expected);
    }
}

#[test]
fn large_regular_graphs_are_made_at_once() {
    for (count, k) in [(3000, 3), (3000, 8), (2999, 16), (1000, 65)] {
        let result = run(&Generator::KRegular { of: of(), k }, count, 1);
        if count * k % 2 == 1 {
            assert_eq!(result.unwrap_err().code, Code::OddRegular);
            continue;
        }
        let graph = Graph::new(count, &result.unwrap());
        assert!((0..count).all(|node| graph.degree(node) == k) && graph.is_connected());
    }
}

#[test]
fn seeds_make_different_graphs() {
    let rule = Generator::KRegular { of: of(), k: 4 };
    assert_ne!(run(&rule, 50, 1), run(&rule, 50, 2));
}

#[test]
fn facts_of_known_graphs() {
    let ring = run(&Generator::Ring { of: of() }, 6, 0).unwrap();
    let facts = Graph::new(6, &ring).facts();
    assert_eq!((facts.diameter, facts.degree_min, facts.degree_max), (3, 2, 2));
    assert!((facts.mean_path - 1.8).abs() < 1e-12 && facts.cut_vertices.is_empty());
    let star = run(&Generator::Star { of: of() }, 5, 0).unwrap();
    assert_eq!(Graph::new(5, &star).facts().cut_vertices, [0]);
    let tree = run(&Generator::Tree { of: of(), arity: 2 }, 7, 0).unwrap();
    assert_eq!(Graph::new(7, &tree).facts().cut_vertices, [0, 1, 2]);
    let mesh = run(&Generator::FullMesh { of: of() }, 5, 0).unwrap();
    assert_eq!((mesh.len(), Graph::new(5, &mesh).facts().diameter), (10, 1));
}

#[test]
fn a_long_chain_does_not_overflow_the_stack() {
    let chain: Edges = (0..50_000).map(|node| (node, node + 1)).collect();
    assert_eq!(Graph::new(50_001, &chain).cut_vertices().len(), 49_999);
}

#[test]
fn a_scale_free_graph_has_hubs() {
    let edges = run(&Generator::ScaleFree { of: of(), m: 2 }, 500, 3).unwrap();
    let facts = Graph::new(500, &edges).facts();
    assert_eq!((edges.len(), facts.degree_min), (3 + 497 * 2, 2));
    assert!(facts.degree_max > 20, "{facts:?}");
}
