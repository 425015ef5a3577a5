//! `regatta release`: signs a release of a build for a network, to be sent to any node of it.

use super::{
    Global, Outcome,
    output::{print, print_json},
    seal::seal,
};
use crate::seal::{Activation, Release as Signed};
use clap::Args;
use regatta_base::{ChainId, InstanceId};
use std::path::PathBuf;

/// Sign a release of the node for a running network
#[derive(Debug, Args)]
#[command(after_help = "\
Nodes install it when they trust the key that signs; see docs/upgrades.md.

Example:
  regatta release --key release-key.pem --chain mainnet --activate-at 120000 --out next.release
  regatta-node send release next.release PROGRAM --to 10.0.0.1:7001")]
pub(super) struct Release {
    /// Folder of the workspace to build from
    #[arg(long, value_name = "DIR", default_value = ".")]
    source: PathBuf,
    /// Release this executable instead of building
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// Private key that signs build and release; the run store's development key when absent
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Name of the network
    #[arg(long, value_name = "NAME")]
    chain: ChainId,
    /// The instance whose heights count
    #[arg(long, value_name = "NAME", default_value = "main")]
    instance: InstanceId,
    /// No node switches before this height
    #[arg(long, value_name = "HEIGHT")]
    activate_at: u64,
    /// Heights between two batches of nodes
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    batch_blocks: u64,
    /// Number of the release, greater than that of any before; the build's sequence when absent
    #[arg(long, value_name = "N")]
    number: Option<u64>,
    /// Go back: accept builds down to this sequence although newer ones were proven
    #[arg(long, value_name = "SEQUENCE")]
    allow_rollback_to: Option<u64>,
    /// Where to write it
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl Release {
    pub(super) async fn execute(&self, global: &Global) -> Outcome {
        let (sealed, key) = seal(global, &self.source, self.binary.as_deref(), self.key.as_deref()).await?;
        let activation = Activation {
            chain: self.chain.clone(),
            number: self.number.unwrap_or(sealed.manifest.sequence),
            instance: self.instance.clone(),
            activate_at: self.activate_at,
            batch_blocks: self.batch_blocks,
            allow_rollback_to: self.allow_rollback_to,
        };
        let release = Signed::of(&sealed, activation)?;
        std::fs::write(&self.out, release.sign(&sealed.bundle, &key).encode())?;
        let program = sealed.program_path();
        if global.json {
            print_json(&serde_json::json!({
                "release": self.out, "number": release.number, "program": program,
                "digest": sealed.program_digest(), "sequence": sealed.manifest.sequence, "key": key.public(),
            }))?;
            return Ok(0);
        }
        print(&format!(
            "release   {} in {}\nprogram   {}\ndigest    {}\nsequence  {}\nkey       {}\n",
            release.number,
            self.out.display(),
            program.display(),
            sealed.program_digest(),
            sealed.manifest.sequence,
            key.public(),
        ))?;
        Ok(0)
    }
}
