//! What problems of consensus, faults and loads look like.

use super::rendered;

#[test]
fn weights_that_decide_nothing() {
    insta::assert_snapshot!(rendered(&["consensus.main.byzantine=2"]), @r#"
    error[T022]: 4 validators cannot stand 2 byzantine ones: that takes 7
      --> --set consensus.main.byzantine=2
       = help: use 7 validators or byzantine = 1
    "#);
    insta::assert_snapshot!(rendered(&["consensus.main.validators={val=0}"]), @r#"
    warning[T048]: some nodes of `val` are validators and vote in no instance
      --> s.toml:5:8
       = help: list them, or use role = "full"

    error[T046]: a validator has weight 0
      --> --set consensus.main.validators={val=0}
       = help: use a weight of 1 or more, or leave it out
    "#);
    insta::assert_snapshot!(rendered(&["consensus.main.validators={val=9000000000000000000}"]), @r#"
    error[T046]: three times the sum of the weights exceeds 64 bits
      --> --set consensus.main.validators={val=9000000000000000000}
       = help: use smaller weights
    "#);
    insta::assert_snapshot!(rendered(&["consensus.main.validators=[\"val\",\"full-0\"]"]), @r#"
    error[T046]: `full-0` cannot vote: the role is not `validator`
      --> --set consensus.main.validators=["val","full-0"]
       = help: change the group's role or leave it out
    "#);
    insta::assert_snapshot!(rendered(&["consensus.main.validators=[\"val\",\"val-0\"]"]), @r#"
    error[T010]: nodes of `val-0` have two weights
      --> --set consensus.main.validators=["val","val-0"]
       = help: list each node once
    "#);
    insta::assert_snapshot!(rendered(&["consensus.main.validators=[\"val-0\"]"]), @r#"
    warning[T048]: some nodes of `val` are validators and vote in no instance
      --> s.toml:5:8
       = help: list them, or use role = "full"
    "#);
}

#[test]
fn timeouts_and_empty_networks() {
    insta::assert_snapshot!(rendered(&["consensus.main.round_timeout=0s"]), @r#"
    error[T030]: a round timeout of 0 ends every round
      --> --set consensus.main.round_timeout=0s
       = help: use "300ms"
    "#);
    insta::assert_snapshot!(rendered(&["consensus.main.round_timeout=1ms", "consensus.main.block_interval=0s"]), @r#"
    warning[T030]: a round timeout of 1ms is less than twice the worst one-way delay of about 1ms
      --> --set consensus.main.round_timeout=1ms
       = help: use "2ms" or more
    "#);
    insta::assert_snapshot!(rendered(&["consensus.main.block_interval=2s"]), @r#"
    warning[T030]: rounds of 3 × 300ms end before a block interval of 2s
      --> s.toml:12:1
       = help: use "2s" or more
    "#);
    insta::assert_snapshot!(rendered(&["consensus=[]"]), @r#"
    error[T045]: the scenario has no [[consensus]]
      --> s.toml:1:1
       = help: add [[consensus]] with id = "main"
    "#);
    insta::assert_snapshot!(rendered(&["group.val.role=full", "fault=[]"]), @r#"
    error[T045]: the instance has no validators
      --> s.toml:12:1
       = help: give a group the role "validator"
    "#);
    insta::assert_snapshot!(rendered(&["group=[]"]), @r#"
    error[T045]: the scenario has no [[group]]
      --> s.toml:1:1
       = help: add [[group]] with name = "val", count = 4, role = "validator"
    "#);
}

#[test]
fn faults_that_go_too_far() {
    insta::assert_snapshot!(rendered(&["fault.0.at=99s"]), @r#"
    error[T025]: the fault starts at 99s and the load ends at 37s
      --> --set fault.0.at=99s
       = help: let it start earlier or lengthen `measure`
    "#);
    insta::assert_snapshot!(rendered(&["fault.0.for=40s"]), @r#"
    error[T025]: the fault lasts until 48s and the load ends at 37s
      --> --set fault.0.for=40s
       = help: shorten it or lengthen `measure`
    "#);
    insta::assert_snapshot!(rendered(&["fault.0.for=0s"]), @r#"
    error[T025]: a fault that lasts no time has no effect
      --> --set fault.0.for=0s
       = help: use for = "5s"
    "#);
    insta::assert_snapshot!(rendered(&["fault.0.nodes=[]"]), @r#"
    error[T044]: the fault `crash` needs `nodes`
      --> s.toml:16:1
       = help: add `nodes = ...`
    "#);
    insta::assert_snapshot!(rendered(&["fault.0.nodes=[\"val-1\",\"val-2\"]"]), @r#"
    error[T023]: at 8s instance `main` has weight 2 of 4 left: no quorum
      --> s.toml:16:1
       = help: crash fewer validators at a time, or say breaks_quorum = true
    "#);
    insta::assert_snapshot!(rendered(&["fault.0.build=main"]), @r#"
    error[T048]: `build` has no effect on the fault `crash`
      --> --set fault.0.build=main
       = help: remove it

    error[T053]: every node already runs `main`
      --> --set fault.0.build=main
       = help: name another build
    "#);
    insta::assert_snapshot!(rendered(&["fault.0.sets=[[\"val-0\"]]"]), @r#"
    error[T048]: `sets` has no effect on the fault `crash`
      --> --set fault.0.sets=[["val-0"]]
       = help: remove it
    "#);
    insta::assert_snapshot!(rendered(&["fault.0.kind=upgrade"]), @r#"
    error[T004]: the fault `upgrade` needs `build`
      --> s.toml:16:1
       = help: add `build = ...`
    "#);
    insta::assert_snapshot!(rendered(&["fault=[{at=\"8s\",for=\"5s\",kind=\"crash\",nodes=[\"val-1\"]},{at=\"10s\",for=\"5s\",kind=\"crash\",nodes=[\"val-1\"]}]"]), @r#"
    error[T024]: `val-1` already has a fault until 13s
      --> --set fault=[{at="8s",for="5s",kind="crash",nodes=["val-1"]},{at="10s",for="5s",kind="crash",nodes=["val-1"]}]
       = help: let it start at 13s or later
    "#);
    insta::assert_snapshot!(rendered(&["fault=[{at=\"8s\",for=\"5s\",kind=\"crash\",nodes=[\"val-1\"]},{at=\"10s\",for=\"5s\",kind=\"crash\",nodes=[\"val-2\"]}]"]), @r#"
    error[T023]: at 10s instance `main` has weight 2 of 4 left: no quorum
      --> --set fault=[{at="8s",for="5s",kind="crash",nodes=["val-1"]},{at="10s",for="5s",kind="crash",nodes=["val-2"]}]
       = help: crash fewer validators at a time, or say breaks_quorum = true
    "#);
}

#[test]
fn loads_that_offer_nothing() {
    insta::assert_snapshot!(rendered(&["load.0.rate=0"]), @r#"
    error[T037]: a rate of zero offers no load
      --> --set load.0.rate=0
       = help: use a rate above 0 or remove the load
    "#);
    insta::assert_snapshot!(rendered(&["load.0.rate=-5"]), @r#"
    error[T037]: a rate is not between 0 and 10,000,000
      --> --set load.0.rate=-5
       = help: use transactions per second
    "#);
    insta::assert_snapshot!(rendered(&["load.0.rate={ramp=[0,10],over=\"0s\"}"]), @r#"
    error[T037]: the ramp takes no time
      --> --set load.0.rate={ramp=[0,10],over="0s"}
       = help: use over = "10s" or a plain rate
    "#);
    insta::assert_snapshot!(rendered(&["load.0.rate=9000000", "load.0.size=0"]), @r#"
    error[T047]: the nodes will store about 406495MiB and `disk` allows 4GiB
      --> s.toml:1:1
       = help: raise it, or offer less load

    error[T037]: the load has 333000000 transactions and the limit is 100000000
      --> --set load.0.rate=9000000
       = help: lower the rate or shorten the phases
    "#);
    insta::assert_snapshot!(rendered(&["load.0.senders=0"]), @r#"
    error[T037]: 0 accounts cannot sign the load
      --> --set load.0.senders=0
       = help: use 1 to 100000
    "#);
    insta::assert_snapshot!(rendered(&["load.0.timeout=0s"]), @r#"
    error[T037]: every transaction would time out at once
      --> --set load.0.timeout=0s
       = help: use timeout = "10s"
    "#);
    insta::assert_snapshot!(rendered(&["load.0.clients=3"]), @r#"
    error[T048]: `clients` has no effect in an open loop
      --> --set load.0.clients=3
       = help: remove it, or use mode = "closed"
    "#);
}

#[test]
fn loads_that_are_no_load() {
    insta::assert_snapshot!(rendered(&["load.0.mix={opaque=-1}"]), @r#"
    error[T040]: `-1` is no share
      --> --set load.0.mix={opaque=-1}
       = help: use a number of 0 or more
    "#);
    insta::assert_snapshot!(rendered(&["load.0.mix={opaque=0}"]), @r#"
    error[T040]: the mix has no kind with a share
      --> --set load.0.mix={opaque=0}
       = help: use e.g. mix = { opaque = 1 }
    "#);
    insta::assert_snapshot!(rendered(&["load.0.size=300KiB"]), @r#"
    error[T042]: `opaque` transactions of 300KiB exceed the limit of 261120 bytes
      --> --set load.0.size=300KiB
       = help: use size = 261120 or less
    "#);
    insta::assert_snapshot!(rendered(&["load.0.size=65KiB", "load.0.mix={put=1}"]), @r#"
    error[T042]: `put` transactions of 65KiB exceed the limit of 65536 bytes
      --> --set load.0.size=65KiB
       = help: use size = 65536 or less
    "#);
    insta::assert_snapshot!(rendered(&["group.full.role=observer", "load.0.target=full"]), @r#"
    error[T044]: `full` has no node that takes load: observers never do
      --> --set load.0.target=full
       = help: name a group of validators or full nodes
    "#);
}
