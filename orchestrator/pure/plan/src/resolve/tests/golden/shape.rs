//! What problems of the document's shape look like.

use super::rendered;

#[test]
fn unknown_keys_get_the_nearest_name() {
    insta::assert_snapshot!(rendered(&["phases.mesure=3s"]), @r#"
    error[T002]: unknown key `mesure`
      --> --set phases.mesure=3s
       = help: did you mean `measure`?
    "#);
    insta::assert_snapshot!(rendered(&["group.val.cuont=4"]), @r#"
    error[T002]: unknown key `cuont`
      --> --set group.val.cuont=4
       = help: did you mean `count`?
    "#);
    insta::assert_snapshot!(rendered(&["load.0.arivals=constant"]), @r#"
    error[T002]: unknown key `arivals`
      --> --set load.0.arivals=constant
       = help: did you mean `arrivals`?
    "#);
    insta::assert_snapshot!(rendered(&["peering.mesh.off=all"]), @r#"
    error[T002]: unknown key `off`
      --> --set peering.mesh.off=all
       = help: did you mean `of`?
    "#);
    insta::assert_snapshot!(rendered(&["consensus.main.validator=[]"]), @r#"
    error[T002]: unknown key `validator`
      --> --set consensus.main.validator=[]
       = help: did you mean `validators`?
    "#);
    insta::assert_snapshot!(rendered(&["budget.dsk=1GiB"]), @r#"
    error[T002]: unknown key `dsk`
      --> --set budget.dsk=1GiB
       = help: did you mean `disk`?
    "#);
    insta::assert_snapshot!(rendered(&["frobnicate=1"]), @r#"
    error[T002]: unknown key `frobnicate`
      --> --set frobnicate=1
       = help: use one of `budget`, `build`, `churn`, `consensus`, `fault`, `group`, `link`, `load`, `name`, `nemesis`, `net`, `node`, `peering`, `phases`, `process`, `provider`, `question`, `schema`, `seed`, `slo`
    "#);
}

#[test]
fn unknown_words_get_the_nearest_word() {
    insta::assert_snapshot!(rendered(&["group.val.role=validater"]), @r#"
    error[T005]: `group.0.role` cannot be `validater`
      --> --set group.val.role=validater
       = help: did you mean `validator`?
    "#);
    insta::assert_snapshot!(rendered(&["peering.mesh.kind=full-mesh"]), @r#"
    error[T005]: `peering.mesh.kind` cannot be `full-mesh`
      --> --set peering.mesh.kind=full-mesh
       = help: did you mean `full_mesh`?
    "#);
    insta::assert_snapshot!(rendered(&["fault.0.kind=crsh"]), @r#"
    error[T005]: `fault.0.kind` cannot be `crsh`
      --> --set fault.0.kind=crsh
       = help: did you mean `crash`?
    "#);
    insta::assert_snapshot!(rendered(&["load.0.mode=opne"]), @r#"
    error[T005]: `load.0.mode` cannot be `opne`
      --> --set load.0.mode=opne
       = help: did you mean `open`?
    "#);
    insta::assert_snapshot!(rendered(&["provider.kind=locl"]), @r#"
    error[T005]: `provider.kind` cannot be `locl`
      --> --set provider.kind=locl
       = help: did you mean `local`?
    "#);
    insta::assert_snapshot!(rendered(&["load.0.mix={opaqe=1}"]), @r#"
    error[T040]: there is no transaction kind `opaqe`
      --> --set load.0.mix={opaqe=1}
       = help: did you mean `opaque`?
    "#);
    insta::assert_snapshot!(rendered(&["load.0.mix={zebra=1}"]), @r#"
    error[T040]: there is no transaction kind `zebra`
      --> --set load.0.mix={zebra=1}
       = help: use one of `opaque`, `put`, `blob`, `kudos`, `multichat`
    "#);
}

#[test]
fn unknown_metrics_and_elements_get_the_nearest_name() {
    insta::assert_snapshot!(rendered(&["slo.latency_p98=< 1s"]), @r#"
    error[T035]: nothing emits a metric `latency_p98`
      --> --set slo.latency_p98=< 1s
       = help: did you mean `latency_p90`?
    "#);
    insta::assert_snapshot!(rendered(&["slo.zebra=< 1s"]), @r#"
    error[T035]: nothing emits a metric `zebra`
      --> --set slo.zebra=< 1s
       = help: use one of `agreement`, `certificates`, `no_loss`, `no_duplicates`, `integrity`, `stall`, `first_block`, `recovery`, `latency_p50`, `latency_p90`, `latency_p99`, `latency_p999`, `goodput`, `goodput_rate`, `lag_p99`, `rejected`, `memory`, `cpu`, `link_error`
    "#);
    insta::assert_snapshot!(rendered(&["group.vall.count=3"]), @r#"
    error[T007]: `group` is a list and has no element called `vall`
      --> --set group.vall.count=3
       = help: did you mean `val`?
    "#);
    insta::assert_snapshot!(rendered(&["load.first.rate=3"]), @r#"
    error[T007]: `load` is a list and has no element called `first`
      --> --set load.first.rate=3
       = help: use a position: `load.0.first=...`
    "#);
}

#[test]
fn numbers_and_text() {
    insta::assert_snapshot!(rendered(&["group.val.count=many"]), @r#"
    error[T003]: `group.0.count` must be a whole number, not a string
      --> --set group.val.count=many
       = help: write e.g. count = 4
    "#);
    insta::assert_snapshot!(rendered(&["group.val.count=-1"]), @r#"
    error[T003]: `group.0.count` must be from 0 to 4294967295, not -1
      --> --set group.val.count=-1
       = help: use a number in that range
    "#);
    insta::assert_snapshot!(rendered(&["group.val.count=5000000000"]), @r#"
    error[T003]: `group.0.count` must be from 0 to 4294967295, not 5000000000
      --> --set group.val.count=5000000000
       = help: use a number in that range
    "#);
    insta::assert_snapshot!(rendered(&["group.val.count=4.5"]), @r#"
    error[T003]: `group.0.count` must be a whole number, not the number 4.5
      --> --set group.val.count=4.5
       = help: write e.g. count = 4
    "#);
    insta::assert_snapshot!(rendered(&["seed=-1"]), @r#"
    error[T003]: `seed` must be from 0 to 9223372036854775807, not -1
      --> --set seed=-1
       = help: use a number in that range
    "#);
    insta::assert_snapshot!(rendered(&["name=7"]), @r#"
    error[T003]: `name` must be a string, not the number 7
      --> --set name=7
       = help: write e.g. name = "text"
    "#);
    insta::assert_snapshot!(rendered(&["name=2020-01-01"]), @r#"
    error[T003]: `name` must be a string, not a date, infinity or nan
      --> --set name=2020-01-01
       = help: write e.g. name = "text"
    "#);
    insta::assert_snapshot!(rendered(&["phases=3"]), @r#"
    error[T003]: `phases` must be a table, not the number 3
      --> --set phases=3
       = help: write e.g. phases = { ... }
    "#);
}

#[test]
fn quantities() {
    insta::assert_snapshot!(rendered(&["phases.measure=30"]), @r#"
    error[T003]: `phases.measure` must be a duration, not the number 30
      --> --set phases.measure=30
       = help: write e.g. measure = "10s"
    "#);
    insta::assert_snapshot!(rendered(&["phases.measure=30 parsecs"]), @r#"
    error[T006]: `phases.measure`: `30 parsecs` is not a duration such as "500ms", "10s" or "2h"
      --> --set phases.measure=30 parsecs
       = help: write e.g. measure = "10s"
    "#);
    insta::assert_snapshot!(rendered(&["net.p2p_port=70000"]), @r#"
    error[T003]: `net.p2p_port` must be from 0 to 65535, not 70000
      --> --set net.p2p_port=70000
       = help: use a number in that range
    "#);
    insta::assert_snapshot!(rendered(&["net.ipv4=localhost"]), @r#"
    error[T006]: `net.ipv4`: `localhost` is not an IPv4 range such as "127.60.0.0/16"
      --> --set net.ipv4=localhost
       = help: write e.g. ipv4 = "127.60.0.0/16"
    "#);
    insta::assert_snapshot!(rendered(&["net.ipv4=127.60.0.1/16"]), @r#"
    error[T006]: `net.ipv4`: `127.60.0.1/16` has address bits beyond its prefix; did you mean "127.60.0.0/16"?
      --> --set net.ipv4=127.60.0.1/16
       = help: write e.g. ipv4 = "127.60.0.0/16"
    "#);
    insta::assert_snapshot!(rendered(&["net.ipv4=127.0.0.0/64"]), @r#"
    error[T006]: `net.ipv4`: `127.0.0.0/64` is not an IPv4 range such as "127.60.0.0/16"
      --> --set net.ipv4=127.0.0.0/64
       = help: write e.g. ipv4 = "127.60.0.0/16"
    "#);
    insta::assert_snapshot!(rendered(&["node.durable=yes"]), @r#"
    error[T003]: `node.durable` must be true or false, not a string
      --> --set node.durable=yes
       = help: write e.g. durable = true
    "#);
    insta::assert_snapshot!(rendered(&["node.batch_bytes=many"]), @r#"
    error[T006]: `node.batch_bytes`: `many` is not a size such as 512, "64KiB" or "4GiB"
      --> --set node.batch_bytes=many
       = help: write e.g. batch_bytes = "4GiB"
    "#);
    insta::assert_snapshot!(rendered(&["node.batch_bytes=1.5"]), @r#"
    error[T003]: `node.batch_bytes` must be a size, not the number 1.5
      --> --set node.batch_bytes=1.5
       = help: write e.g. batch_bytes = "4GiB"
    "#);
}

#[test]
fn lists_and_tables() {
    insta::assert_snapshot!(rendered(&["consensus.main.validators=3"]), @r#"
    error[T003]: `consensus.0.validators` must be a table or a list, not the number 3
      --> --set consensus.main.validators=3
       = help: write e.g. validators = { ... }
    "#);
    insta::assert_snapshot!(rendered(&["load.0.rate=fast"]), @r#"
    error[T003]: `load.0.rate` must be a number or a table, not a string
      --> --set load.0.rate=fast
       = help: write e.g. rate = 0.5
    "#);
    insta::assert_snapshot!(rendered(&["load.0.rate={ramp=[1],over=\"3s\"}"]), @r#"
    error[T003]: `load.0.rate.ramp` must have 2 elements, not 1
      --> --set load.0.rate={ramp=[1],over="3s"}
       = help: write e.g. ramp = [0.5, 0.5]
    "#);
    insta::assert_snapshot!(rendered(&["load.0.rate={ramp=[1,2],ovr=\"3s\"}"]), @r#"
    error[T002]: unknown key `ovr`
      --> --set load.0.rate={ramp=[1,2],ovr="3s"}
       = help: did you mean `over`?
    "#);
    insta::assert_snapshot!(rendered(&["load.0.mix=3"]), @r#"
    error[T003]: `load.0.mix` must be a table, not the number 3
      --> --set load.0.mix=3
       = help: write e.g. mix = { ... }
    "#);
    insta::assert_snapshot!(rendered(&["peering.edges=[[\"val-0\"]]"]), @r#"
    error[T003]: `peering.edges.0` must have 2 elements, not 1
      --> --set peering.edges=[["val-0"]]
       = help: write e.g. ["text", "text"]
    "#);
    insta::assert_snapshot!(rendered(&["peering.mesh=full"]), @r#"
    error[T003]: `peering.mesh` must be a table, not a string
      --> --set peering.mesh=full
       = help: write e.g. mesh = { ... }
    "#);
    insta::assert_snapshot!(rendered(&["peering.mesh={of=\"all\"}"]), @r#"
    error[T004]: `peering.mesh` has no `kind`
      --> --set peering.mesh={of="all"}
       = help: use one of `full_mesh`, `ring`, `star`, `tree`, `k_regular`, `small_world`, `scale_free`, `bipartite`, `file`
    "#);
}

#[test]
fn distributions_and_links() {
    insta::assert_snapshot!(rendered(&["churn=[{group=\"full\",session={normal=1},rejoin={exp=\"20s\"}}]"]), @r#"
    error[T004]: `churn.0.session` names no distribution
      --> --set churn=[{group="full",session={normal=1},rejoin={exp="20s"}}]
       = help: use one of `weibull`, `exp`, `fixed`
    "#);
    insta::assert_snapshot!(rendered(&["churn=[{group=\"full\",session=3,rejoin={exp=\"20s\"}}]"]), @r#"
    error[T003]: `churn.0.session` must be a table, not the number 3
      --> --set churn=[{group="full",session=3,rejoin={exp="20s"}}]
       = help: write e.g. session = { ... }
    "#);
    insta::assert_snapshot!(rendered(&["fault=[{kind=\"crash\"}]"]), @r#"
    error[T004]: `fault.0` has no `at`
      --> --set fault=[{kind="crash"}]
       = help: add `at = ...`

    error[T004]: `fault.0` has no `for`
      --> --set fault=[{kind="crash"}]
       = help: add `for = ...`
    "#);
    insta::assert_snapshot!(rendered(&["link={loss=\"200%\"}"]), @r#"
    error[T006]: `link.loss`: `200%` is not a fraction such as "5%" or 0.05
      --> --set link={loss="200%"}
       = help: write e.g. loss = "5%"
    "#);
    insta::assert_snapshot!(rendered(&["link={rate=\"1GB\"}"]), @r#"
    error[T006]: `link.rate`: `1GB` is not a rate such as "100Mbit" or "1Gbit"
      --> --set link={rate="1GB"}
       = help: write e.g. rate = "1Gbit"
    "#);
}

#[test]
fn overrides() {
    insta::assert_snapshot!(rendered(&["seed"]), @r#"
    error[T007]: `seed` has no `=`
      --> --set seed
       = help: write it as `phases.measure=30s` or `group.val.count=7`
    "#);
    insta::assert_snapshot!(rendered(&["a..b=1"]), @r#"
    error[T007]: `a..b` is not a key
      --> --set a..b=1
       = help: write it as `phases.measure=30s` or `group.val.count=7`
    "#);
    insta::assert_snapshot!(rendered(&["load.7.rate=1"]), @r#"
    error[T007]: `load` has no element 7: it has 1
      --> --set load.7.rate=1
       = help: positions count from 0
    "#);
    insta::assert_snapshot!(rendered(&["seed.x=1"]), @r#"
    error[T003]: `seed` must be a whole number, not a table
      --> --set seed.x=1
       = help: write e.g. seed = 4
    "#);
    insta::assert_snapshot!(rendered(&["group.count=1"]), @r#"
    error[T007]: `group` is a list and has no element called `count`
      --> --set group.count=1
       = help: use one of `val`, `full`
    "#);
}
