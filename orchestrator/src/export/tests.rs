//! Whole exports as texts, and what each engine refuses.

use super::*;
use proptest::prelude::*;
use regatta_plan::{Capabilities, Source, resolve};

const SCENARIO: &str = r#"
name = "small_wan"
question = "What does a network of three regions cost?"
seed = 7
[net]
ipv4 = "127.60.0.0/24"
[link]
matrix = { "eu-us" = "40ms", "us-eu" = "60ms", self = "500us" }
jitter = "5%"
loss = "0.1%"
rate = "100Mbit"
[[group]]
name = "val"
count = 4
role = "validator"
regions = { eu = 1, us = 1 }
[[group]]
name = "full"
count = 1
role = "full"
regions = { us = 1 }
join = "3s"
[peering]
core = { kind = "full_mesh", of = "val" }
attach = { kind = "bipartite", from = "full", to = "val", degree = 2 }
[[consensus]]
id = "main"
round_timeout = "1s"
[[load]]
rate = 100
target = "val"
[[fault]]
at = "8s"
for = "5s"
kind = "crash"
nodes = ["val-1"]
[slo]
agreement = "always"
"#;

fn dynamic() -> elf::Needs {
    elf::Needs {
        loader: Some("/lib64/ld-linux-x86-64.so.2".to_owned()),
        glibc: Some((2, 34)),
        imports: ["malloc".to_owned()].into(),
    }
}

fn export_of(engine: Engine, text: &str, needs: elf::Needs) -> Result<Folder, ExportError> {
    let overrides = ["provider={kind=\"netns\"}".to_owned()];
    let source = Source::read("s.toml", text, &overrides);
    let host = Capabilities::elsewhere(ProviderKind::Netns);
    let plan = resolve(&source, &host)
        .unwrap_or_else(|problems| panic!("{problems}"))
        .plan;
    let programs = BTreeMap::from([("main".to_owned(), Program::stand_in("main", needs))]);
    export(
        engine,
        &Input {
            plan: &plan,
            scenario: source.scenario().unwrap(),
            text,
            command: "regatta export small.toml --to ENGINE DIR",
            programs: &programs,
        },
    )
}

/// All files with their modes as one text; of many alike, those of the first and the last node. Of keys only the form.
fn shown(folder: &Folder) -> String {
    let left_out = ["val-1", "val-2", "val-3"];
    let files = folder.texts().into_iter();
    let files = files.filter(|(path, ..)| path != "scenario.toml" && !left_out.iter().any(|name| path.contains(name)));
    let form = |text: &str| {
        let lines = text.lines();
        let is_key =
            |line: &str| line.trim_start().len() > 40 && !line.contains(' ') || line.trim_start().starts_with("gSE");
        let lines = lines.filter(|line| !text.contains("PRIVATE KEY") || !is_key(line.trim_start()));
        lines.map(|line| format!("{line}\n")).collect::<String>()
    };
    files
        .map(|(path, mode, text)| format!("==== {path} {mode:o}\n{}", form(&text)))
        .collect()
}

#[test]
fn compose_is_a_service_for_each_node() {
    let files = shown(&export_of(Engine::Compose, SCENARIO, dynamic()).unwrap());
    insta::assert_snapshot!(files);
}

#[test]
fn kubernetes_is_a_set_of_one_for_each_node() {
    let files = shown(&export_of(Engine::Kubernetes, SCENARIO, elf::Needs::default()).unwrap());
    insta::assert_snapshot!(files);
}

#[test]
fn shadow_is_a_host_for_each_node_and_a_point_for_each_region() {
    let files = shown(&export_of(Engine::Shadow, SCENARIO, dynamic()).unwrap());
    insta::assert_snapshot!(files);
}

/// The scenario with an access line of one node, and one of a region that says less.
fn asymmetric() -> String {
    let own = "[[link.direction]]\nfrom = \"region:eu\"\nto = \"all\"\nloss = \"2%\"\njitter = \"1%\"\n\
               [[link.direction]]\nfrom = \"val-0\"\nto = \"region:us\"\ndelay = \"90ms\"\nrate = \"2Mbit\"\n[[group]]\nname = \"val\"";
    SCENARIO.replacen("[[group]]\nname = \"val\"", own, 1)
}

#[test]
fn directions_of_a_scenario_are_edges_of_the_graph_of_shadow() {
    let folder = export_of(Engine::Shadow, &asymmetric(), dynamic()).unwrap();
    let texts = folder.texts();
    let (.., file) = texts.iter().find(|(path, ..)| path == "shadow.yaml").unwrap();
    let graph = file
        .lines()
        .skip_while(|line| !line.contains("graph ["))
        .take_while(|line| !line.contains("hosts:"));
    insta::assert_snapshot!(graph.collect::<Vec<_>>().join("\n"));
    // val-0 has a point of its own beside the rest of its region.
    let place = |name: &str| {
        let (_, host) = file.split_once(&format!("\n  {name}:\n")).unwrap();
        host.lines().next().unwrap().trim().to_owned()
    };
    let places = ["val-0", "val-2", "val-1", "full-0"].map(place);
    assert_eq!(places, ["0", "1", "2", "2"].map(|id| format!("network_node_id: {id}")));
    let (.., readme) = texts.iter().find(|(path, ..)| path == "README.md").unwrap();
    for part in [
        "Jitter of the direction from `region:eu` to `all` (1%)",
        "Rate of the direction from `val-0` to `region:us` (2Mbit)",
    ] {
        assert!(readme.contains(part), "`{part}` is not in:\n{readme}");
    }
    assert!(!readme.contains("Conditions of the direction"), "{readme}");
}

#[test]
fn what_an_engine_cannot_run_is_refused() {
    let refused = |engine, text: &str, needs| export_of(engine, text, needs).unwrap_err().to_string();
    let fixed = refused(Engine::Shadow, SCENARIO, elf::Needs::default());
    assert!(fixed.contains("static program") && fixed.contains("help:"), "{fixed}");
    let twins = SCENARIO
        .replace("name = \"full\"", "name = \"val.x\"")
        .replace("from = \"full\"", "from = \"val.x\"");
    let twins = twins.replace("[peering]", "[[group]]\nname = \"val_x\"\ncount = 1\nrole = \"full\"\nregions = { us = 1 }\n[peering]\nedges = [[\"val_x-0\", \"val-0\"]]");
    let text = refused(Engine::Kubernetes, &twins, dynamic());
    assert!(
        text.contains("`val.x-0` and `val_x-0` would both be called `val-x-0`"),
        "{text}"
    );
    assert!(export_of(Engine::Compose, &twins, dynamic()).is_ok());
    let delayed = "[[group]]\nname = \"late\"\ncount = 1\nrole = \"validator\"\nregions = { eu = 1 }\nbehaviour = \"delay\"\n[peering]\nmore = { kind = \"bipartite\", from = \"late\", to = \"val\", degree = 4 }";
    let without_fault = SCENARIO.split("[[fault]]").next().unwrap_or_default();
    let text = refused(Engine::Compose, &without_fault.replace("[peering]", delayed), dynamic());
    assert!(text.contains("group `late` misbehave"), "{text}");
}

/// The configuration of each node as the exported files have it.
fn configs(folder: &Folder) -> Vec<NodeConfig> {
    let files = folder
        .texts()
        .into_iter()
        .filter(|(path, ..)| path.ends_with("node.toml"));
    files.map(|(_, _, text)| NodeConfig::parse(&text).unwrap()).collect()
}

#[test]
fn nodes_take_no_orders_and_make_their_links_where_the_engine_does_not() {
    for (engine, shapes) in [(Engine::Compose, true), (Engine::Shadow, false)] {
        let folder = export_of(engine, SCENARIO, dynamic()).unwrap();
        let configs = configs(&folder);
        assert_eq!(configs.len(), 5);
        assert!(configs.iter().all(|config| !config.testing.faults));
        assert!(
            configs.iter().all(|config| config.testing.links.is_empty() != shapes),
            "{engine}"
        );
    }
}

#[test]
fn secrets_are_readable_by_their_owner_alone_and_stand_nowhere_else() {
    for engine in [Engine::Compose, Engine::Kubernetes, Engine::Shadow] {
        let folder = export_of(engine, SCENARIO, dynamic()).unwrap();
        let (secret, open): (Vec<_>, Vec<_>) = folder
            .texts()
            .into_iter()
            .partition(|(_, _, text)| text.contains("PRIVATE KEY"));
        assert_eq!(secret.len(), 5, "{engine}");
        assert!(secret.iter().all(|(_, mode, _)| *mode == 0o600));
        assert!(
            open.iter()
                .all(|(path, mode, _)| *mode == 0o644 && !path.contains("secret")),
            "{engine}"
        );
    }
}

#[test]
fn equal_scenarios_give_equal_exports() {
    for engine in [Engine::Compose, Engine::Kubernetes, Engine::Shadow] {
        let texts = || export_of(engine, SCENARIO, dynamic()).unwrap().texts();
        assert_eq!(texts(), texts());
    }
}

proptest! {
    #[test]
    fn names_for_dns_are_names_for_dns(name in "[a-z0-9][a-z0-9_.-]{0,63}") {
        let name = dns_name(&name);
        prop_assert!(!name.is_empty() && name.len() <= 52);
        prop_assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'));
        prop_assert!(name.starts_with(|c: char| c.is_ascii_lowercase()) && !name.ends_with('-'));
    }
}
