//! Docker Compose: a service for each node, at an address of its own.

use super::{
    Configured, ExportError, Folder, Input, Links, configured, heading, memory_bytes,
    yaml::{Yaml, map, text, texts},
};
use crate::cluster::STOP_GRACE;
use regatta_plan::scenario::Network;
use std::net::Ipv4Addr;

/// Where a container has its configuration, key and data.
const CONFIG: &str = "/regatta/config/node.toml";
const DATA: &str = "/regatta/data";
/// Name of the network between the nodes.
const NETWORK: &str = "regatta";

pub(super) fn write(input: &Input<'_>, folder: &mut Folder) -> Result<(), ExportError> {
    let mut nodes = configured(input.plan, Links::Nodes)?;
    for one in &mut nodes {
        one.config.key_file = format!("/run/secrets/{}", one.node.name);
        one.config.data_dir = DATA.to_owned();
        let name = &one.node.name;
        folder.add(format!("config/{name}/node.toml"), one.toml()?);
        folder.add_secret(format!("secrets/{name}.pem"), one.key.clone());
    }
    for (build, program) in input.programs {
        program.write_image(folder, &format!("image/{build}"))?;
    }
    folder.add(
        "compose.yaml",
        file(input, &nodes).document(&heading(input, "The nodes of the network.")),
    );
    let first =
        "Put over compose.yaml when the network starts for the first time: only then may nodes without a journal vote.";
    folder.add("compose.first.yaml", first_start(&nodes).document(first));
    Ok(())
}

fn file(input: &Input<'_>, nodes: &[Configured<'_>]) -> Yaml {
    let services = nodes
        .iter()
        .map(|one| (one.node.name.clone(), service(input, one)))
        .collect();
    let named = |value: &dyn Fn(&str) -> Yaml| {
        let entries = nodes.iter().map(|one| (one.node.name.clone(), value(&one.node.name)));
        Yaml::Map(entries.collect())
    };
    map([
        ("name", text(super::dns_name(&input.plan.name))),
        ("services", Yaml::Map(services)),
        ("networks", map([(NETWORK, network(input))])),
        (
            "secrets",
            named(&|name| map([("file", text(format!("./secrets/{name}.pem")))])),
        ),
        ("volumes", named(&|_| Yaml::Map(Vec::new()))),
    ])
}

/// The subnet of the nodes. Its gateway takes the lab's address: the first one, which engines would give it, is a node's.
fn network(input: &Input<'_>) -> Yaml {
    let links = input.plan.links.as_ref();
    let (gateway, prefix) = links.map_or((Ipv4Addr::UNSPECIFIED, 16), |links| (links.lab, links.prefix));
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
    let subnet = Network {
        base: Ipv4Addr::from(u32::from(gateway) & mask),
        prefix,
    };
    let config = map([
        ("subnet", text(subnet.to_string())),
        ("gateway", text(gateway.to_string())),
    ]);
    map([
        ("driver", text("bridge")),
        ("ipam", map([("config", Yaml::List(vec![config]))])),
    ])
}

fn service(input: &Input<'_>, one: &Configured<'_>) -> Yaml {
    let node = one.node;
    let mut entries = image(input, one);
    let bind = map([
        ("type", text("bind")),
        ("source", text(format!("./config/{}/node.toml", node.name))),
        ("target", text(CONFIG)),
        ("read_only", Yaml::Flag(true)),
    ]);
    let volume = map([
        ("type", text("volume")),
        ("source", text(&node.name)),
        ("target", text(DATA)),
    ]);
    let address = map([("ipv4_address", text(node.address.to_string()))]);
    let logs = map([("max-size", text("16m")), ("max-file", text("1"))]);
    let limits = map([
        ("cpus", text("1.0")),
        ("memory", text(format!("{}m", memory_bytes(input.plan) >> 20))),
    ]);
    let rest = map([
        ("command", texts(["run", "--config", CONFIG])),
        ("networks", map([(NETWORK, address)])),
        ("volumes", Yaml::List(vec![bind, volume])),
        ("secrets", texts([&node.name])),
        ("restart", text("unless-stopped")),
        ("stop_grace_period", text(format!("{}s", STOP_GRACE.as_secs()))),
        ("read_only", Yaml::Flag(true)),
        // The key belongs to whoever made the export, and its mode lets nobody else read it.
        ("cap_drop", texts(["ALL"])),
        ("cap_add", texts(["DAC_OVERRIDE"])),
        ("security_opt", texts(["no-new-privileges:true"])),
        ("logging", map([("driver", text("local")), ("options", logs)])),
        ("deploy", map([("resources", map([("limits", limits)]))])),
    ]);
    if let Yaml::Map(rest) = rest {
        entries.extend(rest);
    }
    Yaml::Map(entries)
}

/// The first node of a build has its image built, the others take it.
fn image(input: &Input<'_>, one: &Configured<'_>) -> Vec<(String, Yaml)> {
    let build = &one.node.build;
    let Some(program) = input.programs.get(build) else {
        debug_assert!(false, "every build of a node has a program");
        return Vec::new();
    };
    let (name, tag) = program.image();
    let first = input.plan.nodes.iter().find(|node| node.build == *build);
    let source = if first.is_some_and(|first| first.index == one.node.index) {
        ("build", map([("context", text(format!("./image/{build}")))]))
    } else {
        ("pull_policy", text("never"))
    };
    vec![
        ("image".to_owned(), text(format!("{name}:{tag}"))),
        (source.0.to_owned(), source.1),
    ]
}

fn first_start(nodes: &[Configured<'_>]) -> Yaml {
    let service = |one: &Configured<'_>| {
        let changes = map([
            ("command", texts(["run", "--config", CONFIG, "--new"])),
            // With a journal `--new` is refused, so that a restart would never succeed.
            ("restart", text("no")),
        ]);
        (one.node.name.clone(), changes)
    };
    map([("services", Yaml::Map(nodes.iter().map(service).collect()))])
}
