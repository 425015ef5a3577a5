//! Kubernetes: for each node a service with a fixed address, a set of one pod with a volume, its configuration and its key.

use super::{
    Configured, Engine, ExportError, Folder, Input, Links, configured, dns_name, dns_names, heading, memory_bytes,
    yaml::{Yaml, map, text, texts},
};
use crate::cluster::STOP_GRACE;
use std::net::{IpAddr, Ipv4Addr};

const CONFIG_FOLDER: &str = "/regatta/config";
const KEY_FOLDER: &str = "/regatta/key";
const DATA: &str = "/regatta/data";
/// What kustomize adds to every set when the network starts for the first time.
const FIRST_PATCH: &str = "- op: add\n  path: /spec/template/spec/containers/0/args/-\n  value: \"--new\"\n";

pub(super) fn write(input: &Input<'_>, folder: &mut Folder) -> Result<(), ExportError> {
    let names = dns_names(input.plan, Engine::Kubernetes)?;
    let mut resources = vec!["namespace.yaml".to_owned(), "network-policy.yaml".to_owned()];
    for (mut one, name) in configured(input.plan, Links::Nodes)?.into_iter().zip(&names) {
        // A pod does not know its address before it runs, and listens on all it has; peers find it at its service's.
        one.config.ip = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        one.config.key_file = format!("{KEY_FOLDER}/key.pem");
        one.config.data_dir = DATA.to_owned();
        let (node, secret) = (format!("nodes/{name}.yaml"), format!("secrets/{name}.yaml"));
        let documents = [
            config_map(input, &one, name)?,
            service(input, &one, name),
            stateful_set(input, &one, name),
        ];
        folder.add(
            format!("base/{node}"),
            Yaml::documents(&documents, &format!("Node `{}`.", one.node.name)),
        );
        folder.add_secret(
            format!("base/{secret}"),
            key(input, &one, name).document("A private key."),
        );
        resources.extend([node, secret]);
    }
    for (build, program) in input.programs {
        program.write_image(folder, &format!("image/{build}"))?;
    }
    let base = kustomization(input, &resources).document(&heading(input, "All nodes of the network."));
    folder.add("base/kustomization.yaml", base);
    folder.add("base/namespace.yaml", namespace_of(input).document(""));
    folder.add(
        "base/network-policy.yaml",
        policy(input).document("The nodes talk to each other, and nobody else to them."),
    );
    let first = "For the first start of the network: only then may nodes without a journal vote.";
    folder.add("first/kustomization.yaml", first_start().document(first));
    Ok(())
}

fn namespace(input: &Input<'_>) -> String {
    format!("regatta-{}", dns_name(&input.plan.name))
}

fn namespace_of(input: &Input<'_>) -> Yaml {
    map([
        ("apiVersion", text("v1")),
        ("kind", text("Namespace")),
        ("metadata", map([("name", text(namespace(input)))])),
    ])
}

fn metadata(input: &Input<'_>, name: &str, node: &str) -> Yaml {
    map([
        ("name", text(name)),
        ("namespace", text(namespace(input))),
        ("labels", labels(input, node)),
    ])
}

fn labels(input: &Input<'_>, node: &str) -> Yaml {
    map([
        ("app.kubernetes.io/name", text("regatta-node")),
        ("app.kubernetes.io/instance", text(node)),
        ("app.kubernetes.io/part-of", text(dns_name(&input.plan.name))),
    ])
}

fn selector(node: &str) -> Yaml {
    map([
        ("app.kubernetes.io/name", text("regatta-node")),
        ("app.kubernetes.io/instance", text(node)),
    ])
}

fn config_map(input: &Input<'_>, one: &Configured<'_>, name: &str) -> Result<Yaml, ExportError> {
    Ok(map([
        ("apiVersion", text("v1")),
        ("kind", text("ConfigMap")),
        ("metadata", metadata(input, &format!("{name}-config"), name)),
        ("data", map([("node.toml", Yaml::Block(one.toml()?))])),
    ]))
}

fn key(input: &Input<'_>, one: &Configured<'_>, name: &str) -> Yaml {
    map([
        ("apiVersion", text("v1")),
        ("kind", text("Secret")),
        ("metadata", metadata(input, &format!("{name}-key"), name)),
        ("type", text("Opaque")),
        ("stringData", map([("key.pem", Yaml::Block(one.key.clone()))])),
    ])
}

fn service(input: &Input<'_>, one: &Configured<'_>, name: &str) -> Yaml {
    let port = |name: &str, port: u16| {
        map([
            ("name", text(name)),
            ("port", Yaml::Number(port.into())),
            ("targetPort", text(name)),
        ])
    };
    let spec = map([
        ("clusterIP", text(one.node.address.to_string())),
        ("selector", selector(name)),
        // Nodes wait for each other before they are ready.
        ("publishNotReadyAddresses", Yaml::Flag(true)),
        (
            "ports",
            Yaml::List(vec![port("p2p", one.node.p2p_port), port("http", one.node.http_port)]),
        ),
    ]);
    map([
        ("apiVersion", text("v1")),
        ("kind", text("Service")),
        ("metadata", metadata(input, name, name)),
        ("spec", spec),
    ])
}

fn stateful_set(input: &Input<'_>, one: &Configured<'_>, name: &str) -> Yaml {
    let volume = |name: &str, source: (&str, Yaml)| map([("name", text(name)), source]);
    let config = map([("name", text(format!("{name}-config")))]);
    let key = map([
        ("secretName", text(format!("{name}-key"))),
        // Nodes refuse a key that others may read.
        ("defaultMode", Yaml::Number(0o400)),
    ]);
    let pod = map([
        ("automountServiceAccountToken", Yaml::Flag(false)),
        ("enableServiceLinks", Yaml::Flag(false)),
        ("terminationGracePeriodSeconds", Yaml::Number(STOP_GRACE.as_secs())),
        (
            "securityContext",
            map([("seccompProfile", map([("type", text("RuntimeDefault"))]))]),
        ),
        ("containers", Yaml::List(vec![container(input, one)])),
        (
            "volumes",
            Yaml::List(vec![
                volume("config", ("configMap", config)),
                volume("key", ("secret", key)),
            ]),
        ),
    ]);
    let spec = map([
        ("replicas", Yaml::Number(1)),
        ("serviceName", text(name)),
        ("selector", map([("matchLabels", selector(name))])),
        (
            "template",
            map([("metadata", map([("labels", labels(input, name))])), ("spec", pod)]),
        ),
        ("volumeClaimTemplates", Yaml::List(vec![claim(input)])),
    ]);
    map([
        ("apiVersion", text("apps/v1")),
        ("kind", text("StatefulSet")),
        ("metadata", metadata(input, name, name)),
        ("spec", spec),
    ])
}

/// A volume with room for what a node stores at most, its log of votes beside it.
fn claim(input: &Input<'_>) -> Yaml {
    let size = input.plan.budget.disk_bytes.div_ceil(1 << 30).saturating_add(1);
    let requests = map([("requests", map([("storage", text(format!("{size}Gi")))]))]);
    map([
        ("metadata", map([("name", text("data"))])),
        (
            "spec",
            map([("accessModes", texts(["ReadWriteOnce"])), ("resources", requests)]),
        ),
    ])
}

fn container(input: &Input<'_>, one: &Configured<'_>) -> Yaml {
    let image = input.programs.get(&one.node.build).map(super::Program::image);
    debug_assert!(image.is_some(), "every build of a node has a program");
    let (image, tag) = image.unwrap_or_default();
    let port = |name: &str, port: u16| map([("name", text(name)), ("containerPort", Yaml::Number(port.into()))]);
    let probe = |path: &str, period: u64| {
        let get = map([("path", text(path)), ("port", text("http"))]);
        map([
            ("httpGet", get),
            ("periodSeconds", Yaml::Number(period)),
            ("timeoutSeconds", Yaml::Number(5)),
        ])
    };
    let mount = |name: &str, path: &str| map([("name", text(name)), ("mountPath", text(path))]);
    let read = |name: &str, path: &str| {
        map([
            ("name", text(name)),
            ("mountPath", text(path)),
            ("readOnly", Yaml::Flag(true)),
        ])
    };
    let mut data = mount("data", DATA);
    if let Yaml::Map(entries) = &mut data {
        // File systems put folders of their own at their root.
        entries.push(("subPath".to_owned(), text("data")));
    }
    let security = map([
        ("allowPrivilegeEscalation", Yaml::Flag(false)),
        ("readOnlyRootFilesystem", Yaml::Flag(true)),
        ("capabilities", map([("drop", texts(["ALL"]))])),
    ]);
    let memory = format!("{}Mi", memory_bytes(input.plan) >> 20);
    let amounts = |cpu: &str, memory: &str| map([("cpu", text(cpu)), ("memory", text(memory))]);
    map([
        ("name", text("node")),
        ("image", text(format!("{image}:{tag}"))),
        (
            "args",
            texts(["run", "--config", &format!("{CONFIG_FOLDER}/node.toml")]),
        ),
        (
            "ports",
            Yaml::List(vec![port("p2p", one.node.p2p_port), port("http", one.node.http_port)]),
        ),
        ("readinessProbe", probe("/v1/ready", 2)),
        ("livenessProbe", probe("/v1/health", 10)),
        (
            "resources",
            map([("requests", amounts("50m", "64Mi")), ("limits", amounts("1", &memory))]),
        ),
        ("securityContext", security),
        (
            "volumeMounts",
            Yaml::List(vec![read("config", CONFIG_FOLDER), read("key", KEY_FOLDER), data]),
        ),
    ])
}

fn policy(input: &Input<'_>) -> Yaml {
    let everybody = || map([("podSelector", Yaml::Map(Vec::new()))]);
    let spec = map([
        ("podSelector", Yaml::Map(Vec::new())),
        ("policyTypes", texts(["Ingress"])),
        (
            "ingress",
            Yaml::List(vec![map([("from", Yaml::List(vec![everybody()]))])]),
        ),
    ]);
    map([
        ("apiVersion", text("networking.k8s.io/v1")),
        ("kind", text("NetworkPolicy")),
        (
            "metadata",
            map([("name", text("nodes")), ("namespace", text(namespace(input)))]),
        ),
        ("spec", spec),
    ])
}

fn kustomization(input: &Input<'_>, resources: &[String]) -> Yaml {
    let image = |program: &super::Program| {
        let (name, tag) = program.image();
        map([("name", text(&name)), ("newName", text(&name)), ("newTag", text(tag))])
    };
    map([
        ("apiVersion", text("kustomize.config.k8s.io/v1beta1")),
        ("kind", text("Kustomization")),
        ("resources", texts(resources)),
        ("images", Yaml::List(input.programs.values().map(image).collect())),
    ])
}

fn first_start() -> Yaml {
    let patch = map([
        ("target", map([("kind", text("StatefulSet"))])),
        ("patch", Yaml::Block(FIRST_PATCH.to_owned())),
    ]);
    map([
        ("apiVersion", text("kustomize.config.k8s.io/v1beta1")),
        ("kind", text("Kustomization")),
        ("resources", texts(["../base"])),
        ("patches", Yaml::List(vec![patch])),
    ])
}
