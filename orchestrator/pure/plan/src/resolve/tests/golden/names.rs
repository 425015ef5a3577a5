//! What problems of names and graphs look like.

use super::rendered;

#[test]
fn names_that_clash_or_are_none() {
    insta::assert_snapshot!(rendered(&["name=A b"]), @r#"
    error[T009]: `A b` is not a name: use 1 to 64 of a-z, 0-9, `-`, `_`, `.`, starting with a letter or digit
      --> --set name=A b
       = help: the name becomes part of a folder's name
    "#);
    insta::assert_snapshot!(rendered(&["group.val.name=Val"]), @r#"
    error[T011]: there is no group or node `val-1`
      --> s.toml:20:10
       = help: use one of `Val`, `full`

    error[T009]: `Val` is not a name: use 1 to 64 of a-z, 0-9, `-`, `_`, `.`, starting with a letter or digit
      --> --set group.val.name=Val
       = help: the name becomes part of host names
    "#);
    insta::assert_snapshot!(rendered(&["group.val.name=full"]), @r#"
    error[T010]: there are two groups `full`
      --> s.toml:7:8
       = help: give each a name of its own

    error[T011]: there is no group or node `val-1`
      --> s.toml:20:10
       = help: use one of `full`
    "#);
    insta::assert_snapshot!(rendered(&["group.val.name=full-1"]), @r#"
    error[T011]: there is no group or node `val-1`
      --> s.toml:20:10
       = help: use one of `full`, `full-1`

    error[T010]: `full-1` is both a group and a node of another group
      --> --set group.val.name=full-1
       = help: choose a name that does not end in a number
    "#);
    insta::assert_snapshot!(rendered(&["group.full.name=all"]), @r#"
    error[T010]: `all` has a meaning of its own and cannot name a group
      --> --set group.full.name=all
       = help: choose another name
    "#);
    insta::assert_snapshot!(rendered(&["group.val.build=mian"]), @r#"
    error[T012]: there is no build `mian`
      --> --set group.val.build=mian
       = help: did you mean `main`?
    "#);
}

#[test]
fn names_that_do_not_exist() {
    insta::assert_snapshot!(rendered(&["load.0.consensus=mian"]), @r#"
    error[T013]: there is no consensus instance `mian`
      --> --set load.0.consensus=mian
       = help: did you mean `main`?
    "#);
    insta::assert_snapshot!(rendered(&["load.0.target=fulll"]), @r#"
    error[T011]: there is no group or node `fulll`
      --> --set load.0.target=fulll
       = help: did you mean `full`?
    "#);
    insta::assert_snapshot!(rendered(&["load.0.target=full-9"]), @r#"
    error[T011]: there is no group or node `full-9`
      --> --set load.0.target=full-9
       = help: the nodes of `full` are `full-0` to `full-3`
    "#);
    insta::assert_snapshot!(rendered(&["load.0.target=zebra"]), @r#"
    error[T011]: there is no group or node `zebra`
      --> --set load.0.target=zebra
       = help: use one of `full`, `val`
    "#);
    insta::assert_snapshot!(rendered(&["load.0.target=region:eu"]), @r#"
    error[T051]: no node is in region `eu`
      --> --set load.0.target=region:eu
       = help: give a group `regions = { ... }`
    "#);
    insta::assert_snapshot!(rendered(&["group.val.regions={eu=1,us=1}", "load.0.target=region:ue"]), @r#"
    error[T051]: no node is in region `ue`
      --> --set load.0.target=region:ue
       = help: did you mean `eu`?
    "#);
    insta::assert_snapshot!(rendered(&["fault.0.nodes=[\"val-4\"]"]), @r#"
    error[T011]: there is no group or node `val-4`
      --> --set fault.0.nodes=["val-4"]
       = help: the nodes of `val` are `val-0` to `val-3`
    "#);
    insta::assert_snapshot!(rendered(&["consensus=[{id=\"main\"},{id=\"main\"}]"]), @r#"
    error[T010]: there are two instances `main`
      --> --set consensus=[{id="main"},{id="main"}]
       = help: give each an id of its own
    "#);
    insta::assert_snapshot!(rendered(&["consensus.main.id=Main"]), @r#"
    error[T009]: `Main` is not a name: use 1 to 64 of a-z, 0-9, `-`, `_`, `.`, starting with a letter or digit
      --> --set consensus.main.id=Main
       = help: the name is part of signed statements
    "#);
}

#[test]
fn generators_whose_numbers_make_no_graph() {
    insta::assert_snapshot!(rendered(&["group.full.count=57", "peering.mesh={kind=\"k_regular\",of=\"all\",k=7}"]), @r#"
    error[T014]: `mesh` cannot be 7-regular over 61 nodes: 61 × 7 is odd
      --> --set peering.mesh={kind="k_regular",of="all",k=7}
       = help: use k = 6 or count = 62
    "#);
    insta::assert_snapshot!(rendered(&["peering.mesh={kind=\"k_regular\",of=\"all\",k=8}"]), @r#"
    error[T015]: `mesh` cannot be 8-regular over 8 nodes: each has only 7 others
      --> --set peering.mesh={kind="k_regular",of="all",k=8}
       = help: use k = 7 or count = 9
    "#);
    insta::assert_snapshot!(rendered(&["peering.mesh={kind=\"k_regular\",of=\"all\",k=1}"]), @r#"
    error[T015]: `mesh` cannot be connected and 1-regular over 8 nodes
      --> --set peering.mesh={kind="k_regular",of="all",k=1}
       = help: use k = 2 or more
    "#);
    insta::assert_snapshot!(rendered(&["peering.mesh={kind=\"small_world\",of=\"all\",k=3}"]), @r#"
    error[T015]: `mesh` cannot be a small world over 8 nodes with 3 links each
      --> --set peering.mesh={kind="small_world",of="all",k=3}
       = help: use an even k that is at least 2 and less than the number of nodes
    "#);
    insta::assert_snapshot!(rendered(&["peering.mesh={kind=\"scale_free\",of=\"all\",m=0}"]), @r#"
    error[T015]: `mesh` cannot be scale-free over 8 nodes with 0 links brought by each
      --> --set peering.mesh={kind="scale_free",of="all",m=0}
       = help: use an m of at least 1 and less than the number of nodes
    "#);
    insta::assert_snapshot!(rendered(&["peering.mesh={kind=\"tree\",of=\"all\",arity=0}"]), @r#"
    error[T015]: `mesh` cannot be a tree whose nodes have no children
      --> --set peering.mesh={kind="tree",of="all",arity=0}
       = help: use arity = 2
    "#);
    insta::assert_snapshot!(rendered(&["peering.x={kind=\"bipartite\",from=\"val\",to=\"full\",degree=5}"]), @r#"
    error[T015]: `x` cannot link each node with 5 of 4 nodes
      --> --set peering.x={kind="bipartite",from="val",to="full",degree=5}
       = help: use a degree from 1 to 4
    "#);
    insta::assert_snapshot!(rendered(&["peering.x={kind=\"bipartite\",from=\"val\",to=\"all\",degree=1}"]), @r#"
    error[T016]: `x` links nodes with themselves: `from` and `to` share nodes
      --> --set peering.x={kind="bipartite",from="val",to="all",degree=1}
       = help: use two groups, or a generator with `of`
    "#);
}

#[test]
fn graphs_that_fall_apart() {
    insta::assert_snapshot!(rendered(&["peering.mesh.of=val"]), @r#"
    error[T018]: the graph is in 5 pieces: 4 around `val-0`, `full-0` alone, `full-1` alone, `full-2` alone, `full-3` alone
      --> s.toml:10:1
       = help: link them, e.g. edges = [["val-0", "full-0"]], or use a generator of = "all"
    "#);
    insta::assert_snapshot!(rendered(&["peering.mesh.of=full"]), @r#"
    error[T018]: the graph is in 5 pieces: `val-0` alone, `val-1` alone, `val-2` alone, `val-3` alone, 4 around `full-0`
      --> s.toml:10:1
       = help: link them, e.g. edges = [["val-0", "val-1"]], or use a generator of = "all"

    error[T021]: validators `val-0` and `val-1` of instance `main` cannot reach each other
      --> s.toml:12:1
       = help: connect the validators, e.g. core = { kind = "full_mesh", of = "val" }
    "#);
    insta::assert_snapshot!(rendered(&["peering={}"]), @r#"
    error[T021]: validators `val-0` and `val-1` of instance `main` cannot reach each other
      --> s.toml:12:1
       = help: connect the validators, e.g. core = { kind = "full_mesh", of = "val" }

    error[T018]: the graph is in 8 pieces: `val-0` alone, `val-1` alone, `val-2` alone, `val-3` alone, `full-0` alone, ...
      --> --set peering={}
       = help: link them, e.g. edges = [["val-0", "val-1"]], or use a generator of = "all"
    "#);
    insta::assert_snapshot!(rendered(&["peering.mesh={kind=\"star\",of=\"all\"}"]), @r#"
    warning[T019]: the loss of `val-0` alone cuts the graph
      --> s.toml:10:1
       = help: give the nodes behind it a second link
    "#);
    insta::assert_snapshot!(rendered(&["peering.mesh={kind=\"tree\",of=\"all\"}"]), @r#"
    warning[T019]: the loss of one of `val-0`, `val-1`, `val-2`, `val-3` alone cuts the graph
      --> s.toml:10:1
       = help: give the nodes behind it a second link
    "#);
}

#[test]
fn edges_that_cannot_be() {
    insta::assert_snapshot!(rendered(&["peering.edges=[[\"val-0\",\"val-0\"]]"]), @r#"
    error[T016]: `val-0` cannot be linked with itself
      --> --set peering.edges=[["val-0","val-0"]]
       = help: remove the edge
    "#);
    insta::assert_snapshot!(rendered(&["peering.edges=[[\"val-0\",\"val\"]]"]), @r#"
    error[T011]: there is no node `val`
      --> --set peering.edges=[["val-0","val"]]
       = help: `val` is a group: name a node such as `val-0`, or use a generator
    "#);
    insta::assert_snapshot!(rendered(&["peering.edges=[[\"val-0\",\"val-9\"]]"]), @r#"
    error[T011]: there is no node `val-9`
      --> --set peering.edges=[["val-0","val-9"]]
       = help: the nodes of `val` are `val-0` to `val-3`
    "#);
    insta::assert_snapshot!(rendered(&["peering.edges=[[\"val-0\",\"val-1\"]]"]), @r#"
    warning[T017]: `val-0` and `val-1` are already linked by a generator
      --> --set peering.edges=[["val-0","val-1"]]
       = help: remove the edge
    "#);
    insta::assert_snapshot!(rendered(&["peering={mesh={kind=\"ring\",of=\"all\"},edges=[[\"val-0\",\"val-2\"],[\"val-2\",\"val-0\"]]}"]), @r#"
    error[T017]: `val-2` and `val-0` are linked twice
      --> --set peering={mesh={kind="ring",of="all"},edges=[["val-0","val-2"],["val-2","val-0"]]}
       = help: remove one of the edges
    "#);
    insta::assert_snapshot!(rendered(&["group.full.count=520"]), @r#"
    error[T032]: the lab needs 3400 open descriptors and the host allows 1024
      --> s.toml:2:1
       = help: raise the limit (ulimit -n) or use fewer nodes and links

    error[T020]: `mesh` gives a node 523 links and a node may have 512
      --> s.toml:11:35
       = help: use k_regular or a smaller group
    "#);
}
