//! What the `sim` provider adds: worlds, partitions, and nothing that real nodes would have.

use super::{SOUND, outcome};
use crate::{Code, Plan, Step};

fn sim(more: &str) -> Plan {
    outcome(&format!("{SOUND}\n[provider]\nkind = \"sim\"\n{more}"))
        .unwrap_or_else(|problems| panic!("{problems}"))
        .plan
}

fn codes(more: &str) -> Vec<String> {
    let problems = outcome(&format!("{SOUND}\n[provider]\nkind = \"sim\"\n{more}")).unwrap_err();
    problems.0.iter().map(|problem| problem.code.to_string()).collect()
}

#[test]
fn simulated_nodes_are_not_built_and_live_in_a_world() {
    let plan = sim("");
    let builds = |step: &Step| matches!(step, Step::Build { .. } | Step::Seal { .. } | Step::VerifySeal { .. });
    assert!(!plan.steps.iter().any(|planned| builds(&planned.step)));
    let world = plan.world.unwrap();
    assert_eq!(
        (world.cores, world.shared, world.regions.as_slice()),
        (2, false, &[String::new()][..])
    );
    assert_eq!(
        (world.delay_ns[0][0], world.jitter_ppm, world.flush_ns),
        (60_000, 200_000, 500_000)
    );
    assert!(outcome(SOUND).unwrap().plan.world.is_none());
}

#[test]
fn machines_and_links_are_what_the_scenario_says() {
    let link = "cores = 8\nshared = true\nflush = \"2ms\"\n[link]\njitter = \"5%\"\nloss = \"0.1%\"\nrate = \"1Gbit\"\n\
                reorder = 0.25\nduplicate = \"1%\"\nmatrix = { self = \"3ms\" }\n";
    let world = sim(link).world.unwrap();
    assert_eq!((world.cores, world.shared, world.flush_ns), (8, true, 2_000_000));
    assert_eq!(
        (world.jitter_ppm, world.loss_ppm, world.rate_bits),
        (50_000, 1_000, Some(1_000_000_000))
    );
    assert_eq!((world.reorder_ppm, world.duplicate_ppm), (250_000, 10_000));
    assert_eq!(world.delay_ns, [[3_000_000]]);
}

const PARTED: &str = "[[fault]]\nat = \"1s\"\nfor = \"1s\"\nkind = \"partition\"\n";

#[test]
fn a_partition_has_sides_and_says_so_when_none_is_a_quorum() {
    let plan = sim(&format!(
        "{PARTED}sets = [[\"val-0\"], [\"val-1\", \"val-2\", \"val-3\"]]\none_way = true\n"
    ));
    assert_eq!(plan.faults[0].sets, [vec![0], vec![1, 2, 3]]);
    assert_eq!(
        (plan.faults[0].nodes.as_slice(), plan.faults[0].one_way),
        (&[0, 1, 2, 3][..], true)
    );
    let halves = format!("{PARTED}sets = [[\"val-0\", \"val-1\"], [\"val-2\", \"val-3\"]]\n");
    assert_eq!(codes(&halves), [Code::QuorumBroken.to_string()]);
    assert_eq!(sim(&format!("{halves}breaks_quorum = true\n")).faults.len(), 2);
    // Who is on no side reaches everybody: three of four are left to each of these.
    assert_eq!(
        sim(&format!("{PARTED}sets = [[\"val-0\"], [\"val-1\"]]\n"))
            .faults
            .len(),
        2
    );
}

#[test]
fn sides_that_part_nobody_or_share_a_node_are_refused() {
    assert_eq!(
        codes(&format!("{PARTED}sets = [[\"val-0\"]]\n")),
        [Code::NoEffect.to_string()]
    );
    let shared = format!("{PARTED}sets = [[\"val-0\"], [\"val-0\", \"val-1\"]]\n");
    assert_eq!(codes(&shared), [Code::DuplicateName.to_string()]);
    let crash = "[[fault]]\nat = \"1s\"\nfor = \"1s\"\nkind = \"crash\"\nnodes = [\"val-0\"]\none_way = true\n";
    assert_eq!(codes(crash), [Code::NoEffect.to_string()]);
}

#[test]
fn what_is_cheap_to_play_is_played_and_the_rest_is_refused() {
    let fault = |rest: &str| format!("[[fault]]\nat = \"1s\"\nfor = \"1s\"\nnodes = [\"val-0\"]\n{rest}\n");
    for rest in [
        "kind = \"link\"\ndelay = \"10ms\"\nrate = \"1Mbit\"",
        "kind = \"skew\"\noffset = \"1s\"",
        "kind = \"disk_slow\"\ndelay = \"10ms\"",
        "kind = \"disk_full\"",
        "kind = \"crash\"\ndisk = \"lost\"",
    ] {
        // Beside the one that is there anyway.
        assert_eq!(sim(&fault(rest)).faults.len(), 2, "{rest}");
    }
    for rest in [
        "kind = \"cpu\"\nshare = \"5%\"",
        "kind = \"memory\"\nmemory = \"64MiB\"",
    ] {
        let refused = codes(&fault(rest));
        assert!(refused.contains(&Code::Unsupported.to_string()), "{rest}: {refused:?}");
    }
}

#[test]
fn real_nodes_have_no_simulated_machines() {
    for key in ["cores = 4", "shared = true", "flush = \"1ms\""] {
        let problems = outcome(&format!("{SOUND}\n[provider]\n{key}\n")).unwrap_err();
        assert!(problems.to_string().contains("T041"), "{problems}");
    }
    // Their links are cut all the same, in either direction.
    let one_way = format!("{SOUND}\n{PARTED}sets = [[\"val-0\"], [\"val-1\"]]\none_way = true\n");
    assert!(outcome(&one_way).unwrap().plan.faults[0].one_way);
}
