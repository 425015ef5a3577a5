//! Scenarios as manifests for engines that people use where their own machines and SSH end: Docker Compose, Kubernetes, and
//! the simulator Shadow.
//!
//! An export is the network of a scenario: programs, configurations, keys, addresses and links. The experiment (load, faults,
//! churn, objectives, checks, report) stays with the lab, and every export says so in its own words.

mod compose;
mod elf;
mod folder;
mod image;
mod kubernetes;
mod readme;
mod shadow;
#[cfg(test)]
mod tests;
mod yaml;

pub(crate) use folder::Folder;
pub(crate) use image::{ImageError, Program};

use crate::cluster::{ConfigError, node_configs, node_key};
use regatta_api::NodeConfig;
use regatta_plan::{Plan, PlannedNode, Scenario, scenario::ProviderKind};
use std::{
    collections::BTreeMap,
    fmt::{self, Write},
};

/// Engines that exports are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Engine {
    /// Manifests for a Kubernetes cluster
    Kubernetes,
    /// A file for Docker Compose
    Compose,
    /// A configuration for the simulator Shadow
    Shadow,
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kubernetes => "kubernetes",
            Self::Compose => "compose",
            Self::Shadow => "shadow",
        })
    }
}

/// Why there is no export.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExportError {
    /// A program is not fit for the engine.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A configuration is refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Two nodes would have one name.
    #[error(
        "nodes `{0}` and `{1}` would both be called `{2}`\n  help: {3} allows a-z, 0-9 and `-` in names: rename a group"
    )]
    Name(String, String, String, Engine),
    /// Programs that break the protocol stay in the lab.
    #[error("nodes of group `{0}` misbehave, and such programs never leave the lab\n  help: remove `behaviour`")]
    Byzantine(String),
    /// A key has no text.
    #[error("the key of `{0}` cannot be written")]
    Key(String),
}

/// What an export is made of.
#[derive(Debug)]
pub(crate) struct Input<'a> {
    /// The plan, with addresses of the engine's own network.
    pub(crate) plan: &'a Plan,
    /// The scenario that it was made from.
    pub(crate) scenario: &'a Scenario,
    /// The text of the scenario.
    pub(crate) text: &'a str,
    /// The command that repeats the export.
    pub(crate) command: &'a str,
    /// Programs by the name of their build.
    pub(crate) programs: &'a BTreeMap<String, Program>,
}

/// Makes the files of an export.
///
/// # Errors
/// [`ExportError`] names what the engine cannot run.
pub(crate) fn export(engine: Engine, input: &Input<'_>) -> Result<Folder, ExportError> {
    let misbehaving = input.plan.nodes.iter().find(|node| !node.behaviour.is_honest());
    if let Some(node) = misbehaving {
        return Err(ExportError::Byzantine(node.group.clone()));
    }
    let mut folder = Folder::default();
    match engine {
        Engine::Kubernetes => kubernetes::write(input, &mut folder)?,
        Engine::Compose => compose::write(input, &mut folder)?,
        Engine::Shadow => shadow::write(input, &mut folder)?,
    }
    folder.add("scenario.toml", input.text);
    folder.add("README.md", readme::text(engine, input));
    Ok(folder)
}

/// A node with what it reads at start.
struct Configured<'a> {
    node: &'a PlannedNode,
    config: NodeConfig,
    /// Its key, as the text of a file.
    key: String,
}

impl Configured<'_> {
    fn toml(&self) -> Result<String, ExportError> {
        let refused = |errors| ConfigError::Refused {
            node: self.node.name.clone(),
            errors,
        };
        Ok(self.config.to_toml().map_err(refused)?)
    }
}

/// The nodes with the configurations that the lab would write; `links` says who makes the conditions of links.
fn configured<'a>(plan: &'a Plan, links: Links) -> Result<Vec<Configured<'a>>, ExportError> {
    let mut told = plan.clone();
    // Nobody is there to order faults: nodes that take orders would take them from anybody.
    told.faults.clear();
    told.provider = match links {
        Links::Nodes => ProviderKind::Local,
        Links::Engine => ProviderKind::Netns,
    };
    let key = |node: &PlannedNode| -> Result<String, ExportError> {
        let pem = node_key(plan, node)
            .to_pem()
            .map_err(|_| ExportError::Key(node.name.clone()))?;
        Ok(pem)
    };
    let configs = node_configs(&told)?.into_iter().zip(&plan.nodes);
    configs
        .map(|(config, node)| {
            Ok(Configured {
                node,
                config,
                key: key(node)?,
            })
        })
        .collect()
}

/// Who makes delay, loss and rate of links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Links {
    /// The nodes, inside their transport.
    Nodes,
    /// The engine.
    Engine,
}

/// Names that DNS takes, by node.
fn dns_names(plan: &Plan, engine: Engine) -> Result<Vec<String>, ExportError> {
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    let name = |node: &'_ PlannedNode| dns_name(&node.name);
    for node in &plan.nodes {
        let dns = name(node);
        if let Some(other) = seen.insert(dns.clone(), &node.name) {
            return Err(ExportError::Name(other.to_owned(), node.name.clone(), dns, engine));
        }
    }
    Ok(plan.nodes.iter().map(name).collect())
}

/// A name as DNS takes it: a letter, then letters, digits and hyphens, at most 52 of them, so that engines can add to it.
fn dns_name(name: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            c
        } else {
            '-'
        }
    };
    let first = if name.starts_with(|c: char| c.is_ascii_lowercase()) {
        ""
    } else {
        "n"
    };
    let name: String = first.chars().chain(name.chars().map(plain)).take(52).collect();
    name.trim_end_matches('-').to_owned()
}

/// Memory of a node in bytes: what it may hold of waiting transactions, twice, and what it needs beside; less where the
/// scenario says so.
fn memory_bytes(plan: &Plan) -> u64 {
    const BASE: u64 = 256 << 20;
    const LEAST: u64 = 64 << 20;
    let wanted = plan.node.mempool_bytes.0.saturating_mul(2).saturating_add(BASE);
    let share = plan.budget.memory_bytes.map(|all| all / plan.nodes.len().max(1) as u64);
    share
        .unwrap_or(wanted)
        .clamp(LEAST, wanted.max(LEAST))
        .next_multiple_of(1 << 20)
}

/// The comment at the top of a file.
fn heading(input: &Input<'_>, what: &str) -> String {
    let mut text = format!("{what}\n");
    for line in input.plan.question.lines() {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{line}");
    }
    let _ = write!(
        text,
        "Made by `regatta export`; README.md says how to start it and what it leaves out."
    );
    text
}
