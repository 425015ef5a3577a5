//! `snapshot`: copies the state of an instance out of a data folder, into one, and shows what a copy holds.

use super::{error::CliError, print::print, run::read_config};
use crate::snapshots::{self, SnapshotFile, SnapshotFileError, SnapshotWriter, check};
use clap::{Args, Subcommand};
use rand::{SeedableRng as _, rngs::StdRng};
use regatta_api::{NodeConfig, view::SnapshotView};
use regatta_base::{Digest, InstanceId};
use regatta_core::SnapshotError;
use std::path::{Path, PathBuf};

/// Copy the state of an instance out of a node, or into one
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  regatta-node snapshot show main.snapshot")]
pub(crate) struct Snapshot {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Dump(Dump),
    Load(Load),
    Show(Show),
}

/// Copy a node's newest snapshot to a file; the node may run
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  regatta-node snapshot dump --config node.toml main.snapshot")]
struct Dump {
    /// The node's configuration; paths in it are relative to its folder
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Consensus instance; the node's first one when absent
    #[arg(long, value_name = "NAME")]
    instance: Option<InstanceId>,
    /// File to create; an existing file is never overwritten
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Check a snapshot against the configured validators and let the node start from it; it must not run
#[derive(Debug, Args)]
#[command(after_help = "\
The first validators of the instance, as configured, must lead to the snapshot's certificates, and the
certified state root must be that of the snapshot. Anything else is refused.

Example:
  regatta-node snapshot load --config node.toml main.snapshot")]
struct Load {
    /// The node's configuration; paths in it are relative to its folder
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The snapshot
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Show what a snapshot says it is of, without checking that it is true
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  regatta-node snapshot show main.snapshot")]
struct Show {
    /// The snapshot
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Snapshot {
    pub(crate) fn execute(self) -> Result<(), CliError> {
        match self.verb {
            Verb::Dump(verb) => verb.execute(),
            Verb::Load(verb) => verb.execute(),
            Verb::Show(verb) => show(&open(&verb.file)?, verb.json),
        }
    }
}

impl Dump {
    fn execute(self) -> Result<(), CliError> {
        let config = read_config(&self.config)?;
        let wanted = self.instance.as_ref();
        let position = config
            .instances
            .iter()
            .position(|instance| wanted.is_none_or(|wanted| *wanted == instance.id))
            .ok_or_else(|| CliError::usage("the node has no such instance; help: look at its configuration"))?;
        if self.file.exists() {
            return Err(CliError::usage(format!(
                "{} exists; help: name a file that does not",
                self.file.display()
            )));
        }
        let folder = snapshots::folder(&data_dir(&self.config, &config));
        let mut found = snapshots::list(&folder).map_err(CliError::failure)?;
        found.retain(|(instance, ..)| *instance == position);
        // A running node may remove the older one meanwhile, and a damaged one is passed over.
        let newest = found
            .iter()
            .rev()
            .find_map(|(_, _, path)| SnapshotFile::open(path).ok());
        let newest = newest.ok_or_else(|| {
            CliError::failure(format!(
                "{} has no snapshot of that instance yet; help: the node writes one every snapshots.interval blocks",
                folder.display()
            ))
        })?;
        copy(&newest, &self.file).map_err(CliError::failure)?;
        show(&newest, self.json)
    }
}

impl Load {
    fn execute(self) -> Result<(), CliError> {
        let config = read_config(&self.config)?;
        let file = open(&self.file)?;
        let id = file.manifest().instance();
        let position = config.instances.iter().position(|instance| instance.id == *id);
        let position = position.ok_or_else(|| {
            CliError::usage(format!(
                "the snapshot is of instance `{id}`, which the node does not have; help: look at its configuration"
            ))
        })?;
        let options = crate::store::Options {
            dir: data_dir(&self.config, &config),
            durable: config.store.durable,
            disk_bytes_max: config.store.disk_bytes_max,
            file_bytes: config.store.segment_bytes,
            trouble: std::sync::Arc::default(),
        };
        let _lock = crate::store::Journal::claim(&options).map_err(CliError::failure)?;
        let mut rng = StdRng::try_from_rng(&mut rand::rngs::SysRng)
            .map_err(|error| CliError::failure(format!("the system gives no random bytes: {error}")))?;
        check(&config.chain, &config.instances[position], &file, &mut rng).map_err(|error| {
            CliError::failure(format!(
                "{error}; help: ask another node for its snapshot; nothing was loaded"
            ))
        })?;
        let folder = snapshots::folder(&options.dir);
        copy(&file, &snapshots::path(&folder, position, file.manifest().height())).map_err(CliError::failure)?;
        show(&file, self.json)
    }
}

fn data_dir(config_file: &Path, config: &NodeConfig) -> PathBuf {
    config_file.parent().unwrap_or(Path::new("")).join(&config.data_dir)
}

fn open(path: &Path) -> Result<SnapshotFile, CliError> {
    SnapshotFile::open(path).map_err(|error| CliError::usage(format!("{error}; help: make one with `snapshot dump`")))
}

/// Copies a snapshot chunk by chunk; a damaged one leaves nothing at `to`.
fn copy(from: &SnapshotFile, to: &Path) -> Result<(), SnapshotFileError> {
    let mut writer = SnapshotWriter::begin(to)?;
    for (chunk, info) in from.manifest().chunks().iter().enumerate() {
        let bytes = from.chunk(chunk)?.unwrap_or_default();
        let got = Digest::of_bytes(&bytes);
        if got != info.digest {
            let path = from.path().to_owned();
            let source = SnapshotError::ChunkDigest { chunk, got };
            return Err(SnapshotFileError::Refused { path, source });
        }
        writer.append(&bytes)?;
    }
    writer.finish(to, &from.manifest().encode())
}

fn show(file: &SnapshotFile, json: bool) -> Result<(), CliError> {
    let manifest = file.manifest();
    let view = SnapshotView {
        instance: manifest.instance().clone(),
        height: manifest.height(),
        hash: manifest.hash(),
        state_root: manifest.state_root(),
        chunks: manifest.chunks().len() as u64,
        bytes: manifest.bytes(),
    };
    print(json, &view, |view| {
        format!(
            "instance    {}\nheight      {}\nblock       {}\nstate root  {}\nchunks      {}\nbytes       {}",
            view.instance, view.height, view.hash, view.state_root, view.chunks, view.bytes
        )
    })
}
