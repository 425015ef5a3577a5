//! The README of an export: how to start, watch and stop it, and what of the scenario it leaves out.

use super::{Engine, Input, dns_name};
use regatta_plan::{Plan, scenario::Rate};
use std::fmt::Write;

pub(super) fn text(engine: Engine, input: &Input<'_>) -> String {
    let plan = input.plan;
    let mut out = format!("# {} for {}\n\n", plan.name, title(engine));
    // Writing to a string cannot fail.
    let _ = write(&mut out, engine, input);
    out
}

fn title(engine: Engine) -> &'static str {
    match engine {
        Engine::Kubernetes => "Kubernetes",
        Engine::Compose => "Docker Compose",
        Engine::Shadow => "Shadow",
    }
}

fn write(out: &mut String, engine: Engine, input: &Input<'_>) -> std::fmt::Result {
    let plan = input.plan;
    if !plan.question.is_empty() {
        writeln!(out, "> {}\n", plan.question)?;
    }
    let validators = plan.nodes.iter().filter(|node| node.is_validator()).count();
    writeln!(
        out,
        "{} nodes, {validators} of them validators, {} links. Made from `scenario.toml` by\n\n    {}\n",
        plan.nodes.len(),
        plan.edges.len(),
        input.command
    )?;
    writeln!(out, "{}", how(engine, input))?;
    writeln!(out, "## What is left out\n")?;
    for line in left_out(engine, input) {
        writeln!(out, "* {line}")?;
    }
    write_programs(out, engine, input)
}

fn write_programs(out: &mut String, engine: Engine, input: &Input<'_>) -> std::fmt::Result {
    writeln!(out, "\n## Programs and keys\n")?;
    let folder = if engine == Engine::Shadow { "bin" } else { "image" };
    for (build, program) in input.programs {
        let signer = if program.is_development {
            "signed by the development key of the folder of runs alone"
        } else {
            "signed by the key that was given"
        };
        writeln!(
            out,
            "* `{folder}/{build}/{}` {}: blake3 `{}`, manifest `{}`, {signer}. The manifest and its signatures lie beside it.",
            program.product, program.version, program.digest, program.manifest_digest
        )?;
    }
    writeln!(
        out,
        "\nThe nodes' private keys follow from the scenario's seed: whoever has the scenario has them. They are for experiments \
         and never for a network that holds anything of value."
    )
}

fn how(engine: Engine, input: &Input<'_>) -> String {
    match engine {
        Engine::Compose => compose(input.plan),
        Engine::Kubernetes => kubernetes(input),
        Engine::Shadow => shadow(input),
    }
}

fn compose(plan: &Plan) -> String {
    let first = first_node(plan);
    format!(
        "## Start\n\n\
         ```sh\n\
         docker compose build\n\
         docker compose -f compose.yaml -f compose.first.yaml up -d   # the first time\n\
         docker compose up -d                                         # from then on\n\
         ```\n\n\
         A node without a journal votes at the first start alone: one that lost its volume would otherwise contradict what it\n\
         said before. So go on to `docker compose up -d` as soon as the nodes are up; it starts them again with their journals.\n\n\
         ## Watch\n\n\
         Each node answers at its own address, on Linux also to the host: `curl http://{first}/v1/latest`, and\n\
         `/v1/peers`, `/v1/metrics`, `/openapi.json`. `docker compose logs -f NODE` shows a node's log.\n\n\
         ## Stop\n\n\
         ```sh\n\
         docker compose stop       # the nodes keep their data\n\
         docker compose down -v    # everything is gone; start again as for the first time\n\
         ```\n"
    )
}

fn kubernetes(input: &Input<'_>) -> String {
    let namespace = format!("regatta-{}", dns_name(&input.plan.name));
    let mut images = String::new();
    for (build, program) in input.programs {
        let (name, tag) = program.image();
        // Writing to a string cannot fail.
        let _ = writeln!(
            images,
            "docker build -t REGISTRY/{name}:{tag} image/{build}\ndocker push REGISTRY/{name}:{tag}"
        );
        let _ = writeln!(
            images,
            "(cd base && kustomize edit set image {name}=REGISTRY/{name}:{tag})"
        );
    }
    let first = input.plan.nodes.first();
    let pod = first.map_or(String::new(), |node| format!("{}-0", dns_name(&node.name)));
    let port = first.map_or(0, |node| node.http_port);
    format!(
        "## Start\n\n\
         The addresses of the services are fixed and must lie in the cluster's range for services (`--network` of the export).\n\n\
         ```sh\n\
         {images}\
         sed -i 's|newName: |newName: REGISTRY/|' base/kustomization.yaml\n\
         kubectl apply -k first    # the first time\n\
         kubectl apply -k base     # from then on\n\
         ```\n\n\
         A node without a journal votes at the first start alone: one that lost its volume would otherwise contradict what it\n\
         said before. So apply `base` as soon as the pods are ready; it starts them again with their journals.\n\n\
         ## Watch\n\n\
         ```sh\n\
         kubectl -n {namespace} get pods\n\
         kubectl -n {namespace} logs -f {pod}\n\
         kubectl -n {namespace} port-forward {pod} {port}    # then curl http://127.0.0.1:{port}/v1/latest\n\
         ```\n\n\
         ## Stop\n\n\
         ```sh\n\
         kubectl delete namespace {namespace}    # with all data\n\
         ```\n\n\
         Nodes run as root of their container without any capability: a key is refused when a group may read it, and volumes\n\
         for other users are readable by a group.\n"
    )
}

fn shadow(input: &Input<'_>) -> String {
    let data = "shadow.data";
    let first = input
        .plan
        .nodes
        .first()
        .map_or(String::new(), |node| dns_name(&node.name));
    format!(
        "## Start\n\n\
         With [Shadow](https://shadow.github.io) 3, in this folder:\n\n\
         ```sh\n\
         chmod -R go-rwx template    # nodes refuse keys that others may read\n\
         rm -rf {data}; shadow shadow.yaml\n\
         ```\n\n\
         Nodes start at 1 s of simulated time and the timeline of the scenario begins at 5 s. Links without a delay in the\n\
         scenario have 1 ms, which is the least between two hosts.\n\n\
         ## Watch\n\n\
         `--progress true` shows how far it is. What nodes print is in `{data}/hosts/NODE/`, for example\n\
         `{data}/hosts/{first}/`, and what they store in `{data}/data/`.\n\n\
         ## Stop\n\n\
         It ends by itself after the phases of the scenario, and at once with Ctrl-C. Shadow reports an error when a node has\n\
         ended before.\n"
    )
}

fn first_node(plan: &Plan) -> String {
    plan.nodes
        .first()
        .map_or(String::new(), |node| format!("{}:{}", node.address, node.http_port))
}

/// What the lab does and this engine does not, a sentence each.
fn left_out(engine: Engine, input: &Input<'_>) -> Vec<String> {
    let (plan, scenario) = (input.plan, input.scenario);
    let mut lines = Vec::new();
    for load in &plan.loads {
        let rate = match load.rate {
            Rate::Constant(rate) => format!("{rate} tx/s"),
            Rate::Ramp { ramp: (from, to), .. } => format!("{from} to {to} tx/s"),
        };
        lines.push(format!(
            "Load {} ({rate}): nothing is sent. `regatta-node send` sends by hand.",
            load.index
        ));
    }
    for fault in &plan.faults {
        lines.push(format!("Fault {}: {}.", fault.index, plan.describe_fault(fault)));
    }
    let starts_late = plan.churn.late().len();
    let absences = plan.churn.absences.len() - starts_late;
    if absences > 0 {
        lines.push(format!("Churn ({absences} departures): nodes stay."));
    }
    if starts_late > 0 && engine != Engine::Shadow {
        lines.push(format!("Late starts ({starts_late}): all nodes start together."));
    }
    lines.extend(links_left_out(engine, input));
    if !plan.objectives.is_empty() {
        lines.push(format!(
            "Objectives ({}): nothing is measured against them.",
            plan.objectives.len()
        ));
    }
    lines.push("Samples, the checks of the ledgers and the report.".to_owned());
    let budget = &scenario.budget;
    if engine != Engine::Shadow {
        let (wall, lease) = (budget.wall, budget.lease);
        lines.push(format!(
            "Limits of time (wall {wall}, lease {lease}): it runs until it is stopped."
        ));
    }
    lines
}

fn links_left_out(engine: Engine, input: &Input<'_>) -> Vec<String> {
    let Some(link) = &input.scenario.link else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    if engine == Engine::Shadow {
        lines.extend(
            link.jitter
                .map(|jitter| format!("Jitter of links ({jitter}): delays do not vary.")),
        );
        for own in &link.direction {
            let of = format!("of the direction from `{}` to `{}`", own.from, own.to);
            lines.extend(
                own.jitter
                    .map(|jitter| format!("Jitter {of} ({jitter}): its delays do not vary.")),
            );
            lines.extend(own.rate.map(|rate| {
                format!("Rate {of} ({rate}): Shadow limits what a node sends and gets in all, and not to whom.")
            }));
        }
    } else {
        lines.push(
            "Emulation of packets: nodes delay what they send inside their transport, on top of what the network does."
                .to_owned(),
        );
    }
    lines.extend(link.reorder.map(|share| format!("Packets out of order ({share}).")));
    lines.extend(
        link.duplicate
            .map(|share| format!("Packets that arrive twice ({share}).")),
    );
    lines
}
