//! What problems of hosts, limits and objectives look like, and what is not there yet.

use super::rendered;

#[test]
fn addresses_and_ports() {
    insta::assert_snapshot!(rendered(&["net.ipv4=10.60.0.0/16"]), @r#"
    error[T027]: 10.60.0.0/16 is not inside 127.0.0.0/8, and the `local` provider has no other addresses
      --> --set net.ipv4=10.60.0.0/16
       = help: use ipv4 = "127.60.0.0/16"
    "#);
    insta::assert_snapshot!(rendered(&["net.ipv4=127.0.0.0/16"]), @r#"
    error[T027]: 127.0.0.0/16 contains 127.0.0.1, which the system itself uses
      --> --set net.ipv4=127.0.0.0/16
       = help: use ipv4 = "127.60.0.0/16"
    "#);
    insta::assert_snapshot!(rendered(&["net.ipv4=127.0.0.48/28"]), @r#"
    error[T027]: 127.0.0.48/28 contains 127.0.0.53, which the system itself uses
      --> --set net.ipv4=127.0.0.48/28
       = help: use ipv4 = "127.60.0.0/16"
    "#);
    insta::assert_snapshot!(rendered(&["net.ipv4=127.60.0.0/29"]), @r#"
    error[T026]: 127.60.0.0/29 has room for 6 nodes and there are 8
      --> --set net.ipv4=127.60.0.0/29
       = help: use a prefix of /28 or less
    "#);
    insta::assert_snapshot!(rendered(&["net.p2p_port=80"]), @r#"
    error[T029]: port 80 needs privileges or does not exist
      --> --set net.p2p_port=80
       = help: use 1024 or more
    "#);
    insta::assert_snapshot!(rendered(&["net.p2p_port=7001"]), @r#"
    error[T029]: p2p_port and http_port are both 7001
      --> s.toml:1:1
       = help: use two ports
    "#);
}

#[test]
fn budgets() {
    insta::assert_snapshot!(rendered(&["budget.memory=40MiB"]), @r#"
    error[T031]: 8 nodes of 6MiB need more than the budget of 40MiB
      --> --set budget.memory=40MiB
       = help: raise the budget or use fewer nodes
    "#);
    insta::assert_snapshot!(rendered(&["budget.disk=1MiB", "load.0.rate=1000"]), @r#"
    error[T047]: the nodes will store about 190MiB and `disk` allows 1MiB
      --> --set budget.disk=1MiB
       = help: raise it, or offer less load
    "#);
    insta::assert_snapshot!(rendered(&["budget.wall=20s"]), @r#"
    error[T047]: the phases take up to 47s and `wall` allows 20s
      --> --set budget.wall=20s
       = help: raise it or shorten the phases
    "#);
    insta::assert_snapshot!(rendered(&["group.full.count=5000"]), @r#"
    error[T033]: 5004 nodes exceed the limit of 4096
      --> --set group.full.count=5000
       = help: make the groups smaller
    "#);
    insta::assert_snapshot!(rendered(&["phases.measure=0s", "fault=[]"]), @r#"
    error[T043]: the measuring window has no length
      --> --set phases.measure=0s
       = help: use measure = "30s"
    "#);
    insta::assert_snapshot!(rendered(&["phases.drain=8d"]), @r#"
    error[T047]: the phases take up to 691237s and `wall` allows 30m
      --> s.toml:1:1
       = help: raise it or shorten the phases

    error[T047]: the phases take up to 691237s and `lease` allows 2h
      --> s.toml:1:1
       = help: raise it or shorten the phases

    error[T043]: 8d is longer than the limit of 7d
      --> --set phases.drain=8d
       = help: use a shorter phase
    "#);
}

#[test]
fn limits_of_groups_and_nodes() {
    insta::assert_snapshot!(rendered(&["group.full.count=0"]), @r#"
    error[T038]: group `full` has no nodes
      --> --set group.full.count=0
       = help: use count = 1 or more, or remove the group
    "#);
    insta::assert_snapshot!(rendered(&["group.val.regions={eu=0}"]), @r#"
    error[T046]: all regions have share 0
      --> --set group.val.regions={eu=0}
       = help: give at least one region a share
    "#);
    insta::assert_snapshot!(rendered(&["node.batch_bytes=2MiB"]), @r#"
    error[T050]: batches of 2MiB are not between 1 and 786432 bytes
      --> --set node.batch_bytes=2MiB
       = help: use batch_bytes = "256KiB"
    "#);
    insta::assert_snapshot!(rendered(&["node.mempool_transactions=0"]), @r#"
    error[T050]: a `mempool_transactions` of 0 refuses every transaction
      --> --set node.mempool_transactions=0
       = help: use a limit above 0
    "#);
    insta::assert_snapshot!(rendered(&["node.mempool_bytes=4KiB"]), @r#"
    warning[T050]: a mempool of 4KiB cannot hold the largest transaction
      --> --set node.mempool_bytes=4KiB
       = help: use mempool_bytes = "64MiB"
    "#);
    insta::assert_snapshot!(rendered(&["node.durable=false"]), @r#"
    warning[T050]: votes are not on the disk before they leave: a crashed validator may contradict itself
      --> --set node.durable=false
       = help: use it for experiments only
    "#);
    insta::assert_snapshot!(rendered(&["node.keep_snapshots=1"]), @r#"
    error[T050]: a node cannot keep 1 snapshots
      --> --set node.keep_snapshots=1
       = help: use 2 to 16
    "#);
    insta::assert_snapshot!(rendered(&["node.journal_file=1KiB"]), @r#"
    error[T050]: a file of the journal cannot have 1KiB
      --> --set node.journal_file=1KiB
       = help: use journal_file = "64KiB" to "1GiB"
    "#);
    insta::assert_snapshot!(rendered(&["node.snapshot_lag=0"]), @r#"
    error[T050]: a node that is one block behind would fetch a snapshot
      --> --set node.snapshot_lag=0
       = help: use a number of blocks from 1
    "#);
    insta::assert_snapshot!(rendered(&["node.keep_blocks=10"]), @r#"
    error[T050]: blocks are let go of only when snapshots make up for them, and none is written
      --> --set node.keep_blocks=10
       = help: set snapshot_interval to a number of blocks, or remove keep_blocks
    "#);
    insta::assert_snapshot!(rendered(&["group.full.archive=true"]), @r#"
    error[T050]: every node keeps every block: an archive is nothing special
      --> --set group.full.archive=true
       = help: set node.keep_blocks, or remove archive
    "#);
    insta::assert_snapshot!(rendered(&["schema=2"]), @r#"
    error[T008]: schema 2 is not one that this program reads
      --> --set schema=2
       = help: use schema = 1
    "#);
    insta::assert_snapshot!(rendered(&["build.main={}"]), @r#"
    error[T049]: build `main` needs exactly one of `source` and `release`
      --> --set build.main={}
       = help: write source = "."
    "#);
}

#[test]
fn providers_and_networks_that_come_later() {
    insta::assert_snapshot!(rendered(&["build.main={release=\"regatta-node@0.2.0\"}"]), @r#"
    error[T041]: a release is not supported by the `local` provider yet
      --> --set build.main={release="regatta-node@0.2.0"}
       = help: build from source: source = "."
    "#);
    insta::assert_snapshot!(rendered(&["link={reorder=\"5%\"}"]), @r#"
    error[T041]: an emulation of packets is not supported by the `local` provider yet
      --> --set link={reorder="5%"}
       = help: remove it: a node's stream neither reorders nor repeats
    "#);
    insta::assert_snapshot!(rendered(&["peering.extra={kind=\"file\",path=\"x\"}"]), @r#"
    error[T041]: a graph from a file is not supported by the `local` provider yet
      --> --set peering.extra={kind="file",path="x"}
       = help: list its edges in `edges`
    "#);
}

#[test]
fn votes_from_all_to_all_need_a_link_for_each_pair() {
    let ring = "peering.mesh={kind=\"ring\",of=\"all\"}";
    insta::assert_snapshot!(rendered(&["consensus.main.vote_topology=all_to_all", ring]), @r#"
    error[T054]: `val-0` and `val-2` vote all to all and are not linked directly
      --> --set consensus.main.vote_topology=all_to_all
       = help: use vote_topology = "relay" or a full mesh
    "#);
}

/// A star around `val-0` with one full node, and a second instance with these keys.
fn side_instance(keys: &str) -> String {
    let instances = format!("consensus=[{{id=\"main\"}},{{id=\"side\",{keys}}}]");
    let star = "peering.mesh={kind=\"star\",of=\"all\"}";
    let text = rendered(&[&instances, star, "group.full.count=1", "fault=[]"]);
    let of_side = text.lines().skip_while(|line| !line.contains("side"));
    of_side.map(|line| format!("{line}\n")).collect()
}

#[test]
fn whoever_runs_an_instance_reaches_its_validators_over_nodes_that_run_it() {
    insta::assert_snapshot!(side_instance("validators=[\"val-1\",\"val-2\"],followers=[]"), @r#"
    error[T021]: validators `val-1` and `val-2` of instance `side` cannot reach each other
      --> --set consensus=[{id="main"},{id="side",validators=["val-1","val-2"],followers=[]}]
       = help: connect the validators, e.g. core = { kind = "full_mesh", of = "val" }
    "#);
    insta::assert_snapshot!(side_instance("validators=[\"val-1\"],followers=[\"full-0\"]"), @r#"
    error[T021]: `full-0` follows instance `side` and reaches its validators only over nodes that do not
      --> --set consensus=[{id="main"},{id="side",validators=["val-1"],followers=["full-0"]}]
       = help: let the nodes between follow it too, or link it with a node that runs it
    "#);
    assert_eq!(
        side_instance("validators=[\"val-1\",\"val-2\"],followers=[\"val-0\"]"),
        ""
    );
}

#[test]
fn a_node_that_runs_nothing_and_a_load_for_nobody_are_refused() {
    insta::assert_snapshot!(rendered(&["consensus.main.followers=[\"full-0\"]", "load.0.target=full-1"]), @r#"
    error[T045]: `full-1`, `full-2`, `full-3` would run no instance
      --> s.toml:12:1
       = help: add them to the `followers` of an instance, or remove them

    error[T044]: `full-1` has no node that runs instance `main`
      --> --set load.0.target=full-1
       = help: name nodes that vote in it or follow it
    "#);
}

#[test]
fn loads_and_faults_that_come_later() {
    insta::assert_snapshot!(rendered(&["load.0.mode=closed"]), @r#"
    error[T041]: this load mode is not supported by the `local` provider yet
      --> --set load.0.mode=closed
       = help: use mode = "open"
    "#);
    insta::assert_snapshot!(rendered(&["load.0.arrivals=replay"]), @r#"
    error[T041]: a replayed load is not supported by the `local` provider yet
      --> --set load.0.arrivals=replay
       = help: use "poisson" or "constant"
    "#);
    insta::assert_snapshot!(rendered(&["load.0.mix={opaque=1,kudos=1}"]), @r#"
    error[T041]: load of kind `kudos` is not supported by the `local` provider yet
      --> --set load.0.mix={opaque=1,kudos=1}
       = help: use `opaque`, `put` or `blob`
    "#);
    insta::assert_snapshot!(rendered(&["provider.kind=sim", "fault.0.kind=memory", "fault.0.memory=64MiB"]), @r#"
    error[T041]: the fault `memory` is not supported by the `sim` provider yet
      --> --set fault.0.kind=memory
       = help: use kind = "crash"
    "#);
}

#[test]
fn objectives() {
    insta::assert_snapshot!(rendered(&["slo.goodput=>= 98%", "load=[]"]), @r#"
    error[T035]: nothing emits `goodput` without [[load]]
      --> --set slo.goodput=>= 98%
       = help: add [[load]] or remove the objective
    "#);
    insta::assert_snapshot!(rendered(&["slo.link_error=< 10%"]), @r#"
    error[T035]: nothing emits `link_error` without [link]
      --> --set slo.link_error=< 10%
       = help: add [link] or remove the objective
    "#);
    insta::assert_snapshot!(rendered(&["slo.latency_p99=fast"]), @r#"
    error[T036]: `fast` is no objective for `latency_p99`
      --> --set slo.latency_p99=fast
       = help: write it as latency_p99 = "< 900ms"
    "#);
    insta::assert_snapshot!(rendered(&["slo.agreement=< 3"]), @r#"
    error[T036]: `< 3` is no objective for `agreement`
      --> --set slo.agreement=< 3
       = help: write it as agreement = "always"
    "#);
    insta::assert_snapshot!(rendered(&["slo.goodput=>= 300%"]), @r#"
    error[T036]: `>= 300%` is no objective for `goodput`
      --> --set slo.goodput=>= 300%
       = help: write it as goodput = ">= 98%"
    "#);
    insta::assert_snapshot!(rendered(&["slo.memory=<= much"]), @r#"
    error[T036]: `<= much` is no objective for `memory`
      --> --set slo.memory=<= much
       = help: write it as memory = "<= 64MiB"
    "#);
    insta::assert_snapshot!(rendered(&["slo.cpu=0.5s"]), @r#"
    error[T036]: `0.5s` is no objective for `cpu`
      --> --set slo.cpu=0.5s
       = help: write it as cpu = "< 0.5s"
    "#);
    insta::assert_snapshot!(rendered(&["slo.goodput_rate=> many"]), @r#"
    error[T036]: `> many` is no objective for `goodput_rate`
      --> --set slo.goodput_rate=> many
       = help: write it as goodput_rate = ">= 1000"
    "#);
}

#[test]
fn silence_that_no_node_accepts() {
    assert_eq!(rendered(&["consensus.main.silent_heights=1000000"]), "");
    insta::assert_snapshot!(rendered(&["consensus.main.silent_heights=1000001"]), @r#"
    error[T006]: 1000001 heights of silence are more than the 1000000 that a node accepts
      --> --set consensus.main.silent_heights=1000001
       = help: use fewer, or 0 to wait for a leader at every turn
    "#);
}
