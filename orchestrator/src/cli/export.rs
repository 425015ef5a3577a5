//! `regatta export`: a scenario's network as manifests for other engines.

use super::{
    CliError, Global, Outcome,
    output::{print, print_json},
    scenario::ScenarioArgs,
    signals::Signals,
};
use crate::{
    build::Programs,
    export::{Engine, Folder, Input, Program, export},
    rundir::STORE_FOLDER,
    seal::{Store, read_key},
};
use anstream::eprintln;
use clap::Args;
use regatta_plan::Plan;
use std::{collections::BTreeMap, path::PathBuf};

/// Addresses of services that a cluster as `kubeadm` makes it has and seldom gives to others by itself.
const SERVICE_NETWORK: &str = "10.111.0.0/16";

/// Write a scenario's network as manifests for Kubernetes, Docker Compose or Shadow
#[derive(Debug, Args)]
#[command(after_help = "\
The folder gets the sealed programs with what images are built from, configurations and keys of all nodes at fixed \
addresses, and a README that says how to start, watch and stop it, and what of the scenario it leaves out: load, faults, \
churn and everything that is measured stay with the lab. A folder that holds anything else is refused.

Kubernetes takes programs that were signed with a key of yours only; what the development key of the folder of runs \
signs is for this machine.

Examples:
  regatta export topologies/quickstart.toml --to compose quickstart-compose
  regatta export topologies/wan.toml --to shadow wan-shadow --seed 7
  regatta keygen release-key.pem
  regatta export topologies/hundred.toml --to kubernetes --key release-key.pem --network 10.43.128.0/17 hundred-k8s

Exit codes:
  0 written   1 not carried out   2 usage or scenario")]
pub(super) struct Export {
    #[command(flatten)]
    scenario: ScenarioArgs,
    /// Folder to write to: a new or an empty one, or one with an export of the same nodes
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Engine that it is for
    #[arg(long, value_name = "ENGINE")]
    to: Engine,
    /// Addresses of the nodes, in place of the scenario's; for Kubernetes part of the cluster's range for services
    #[arg(long, value_name = "RANGE")]
    network: Option<String>,
    /// Private key that signs the programs, in place of the development key of the folder of runs
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

impl Export {
    pub(super) async fn execute(&self, global: &Global) -> Outcome {
        if self.to == Engine::Kubernetes && self.key.is_none() {
            let text = "error: a cluster takes programs that were signed with a key of yours\n  \
                        help: regatta keygen release-key.pem, then --key release-key.pem";
            return Err(CliError::Usage(text.to_owned()));
        }
        let network = self.network.as_deref().or(match self.to {
            Engine::Kubernetes => Some(SERVICE_NETWORK),
            Engine::Compose | Engine::Shadow => None,
        });
        let loaded = self.scenario.load_elsewhere(global, network)?;
        let mut signals = Signals::listen()?;
        let work = self.programs(global, &loaded.plan, &loaded.base, loaded.given.clone());
        let programs = tokio::select! {
            programs = work => programs?,
            signal = signals.next() => return Err(CliError::Failed(format!("interrupted by {signal}; nothing was written"))),
        };
        let command = self.command();
        let files = export(
            self.to,
            &Input {
                plan: &loaded.plan,
                scenario: &loaded.scenario,
                text: &loaded.text,
                command: &command,
                programs: &programs,
            },
        )?;
        files.write(&self.folder)?;
        self.show(global, &loaded.plan, &files)?;
        Ok(0)
    }

    /// Builds, seals and verifies the programs of the plan.
    async fn programs(
        &self,
        global: &Global,
        plan: &Plan,
        base: &std::path::Path,
        given: BTreeMap<String, PathBuf>,
    ) -> Result<BTreeMap<String, Program>, CliError> {
        let store = Store::open(&global.runs.join(STORE_FOLDER))?;
        let key = self.key.as_deref().map(read_key).transpose()?;
        let is_development = key.is_none();
        let mut programs = Programs::new(plan, base, given, store);
        if let Some(key) = key {
            programs = programs.signed_with(key);
        }
        programs
            .provide(&mut |line| eprintln!("          {}", line.trim()))
            .await?;
        let program = |(name, sealed)| Ok((String::clone(name), Program::of(name, sealed, is_development)?));
        programs.sealed().iter().map(program).collect()
    }

    fn command(&self) -> String {
        let mut command = self.scenario.reproduce("export");
        command += &format!(" --to {}", self.to);
        if let Some(network) = &self.network {
            command += &format!(" --network {network}");
        }
        // Where the key lies is nobody else's business.
        command += if self.key.is_some() { " --key FILE" } else { "" };
        command + " DIR"
    }

    fn show(&self, global: &Global, plan: &Plan, files: &Folder) -> Result<(), CliError> {
        if global.json {
            return print_json(&serde_json::json!({
                "engine": self.to.to_string(),
                "folder": self.folder,
                "files": files.len(),
                "nodes": plan.nodes.len(),
            }));
        }
        let (nodes, files, folder) = (plan.nodes.len(), files.len(), self.folder.display());
        print(&format!(
            "{nodes} nodes for {} in {files} files; read {folder}/README.md first\n",
            self.to
        ))
    }
}
