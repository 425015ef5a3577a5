//! `regatta seal`: builds the node and signs its manifest, without running anything.

use super::{
    CliError, Global, Outcome,
    output::{print, print_json},
};
use crate::{
    build::{Recipe, build_node, describe_binary, find_workspace},
    rundir::STORE_FOLDER,
    seal::{Purpose, Sealed, Store, read_key},
};
use anstream::eprintln;
use clap::Args;
use regatta_base::SecretKey;
use std::path::{Path, PathBuf};

/// Build the node, sign its manifest and verify it
#[derive(Debug, Args)]
#[command(after_help = "\
Without --key the run store's development key signs; only local providers accept that.

Examples:
  regatta seal
  regatta seal --source ../regatta --key release-key.pem --out release/")]
pub(super) struct Seal {
    /// Folder of the workspace to build from
    #[arg(long, value_name = "DIR", default_value = ".")]
    source: PathBuf,
    /// Seal this executable instead of building
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// Private key that signs
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Folder for a copy of manifest and signatures
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Seal {
    pub(super) async fn execute(&self, global: &Global) -> Outcome {
        let (sealed, _) = seal(global, &self.source, self.binary.as_deref(), self.key.as_deref()).await?;
        if let Some(folder) = &self.out {
            std::fs::create_dir_all(folder)?;
            sealed.write_to(folder, &sealed.manifest.product)?;
        }
        show(global, &sealed)?;
        Ok(0)
    }
}

/// Builds the node from `source`, or takes `binary`, and seals it with the key of `key_file`, or with the store's own;
/// returns that key too.
pub(super) async fn seal(
    global: &Global,
    source: &Path,
    binary: Option<&Path>,
    key_file: Option<&Path>,
) -> Result<(Sealed, SecretKey), CliError> {
    let store = Store::open(&global.runs.join(STORE_FOLDER))?;
    let key = match key_file {
        Some(file) => read_key(file)?,
        None => store.development_key()?,
    };
    let root = find_workspace(source);
    let built = match binary {
        Some(path) => describe_binary(root.ok().as_deref(), path).await?,
        None => {
            build_node(&root?, Recipe::default(), &mut |line| {
                eprintln!("          {}", line.trim());
            })
            .await?
        }
    };
    let sealed = store.seal(&built, &key)?;
    sealed.verify(Purpose::HONEST)?;
    Ok((sealed, key))
}

fn show(global: &Global, sealed: &Sealed) -> Result<(), CliError> {
    let manifest = &sealed.manifest;
    if global.json {
        return print_json(&serde_json::json!({ "digest": sealed.bundle.digest(), "manifest": manifest }));
    }
    print(&format!(
        "product   {} {}\nprogram   {}\nmanifest  {}\nsequence  {}\ncommit    {}{}\ncompiler  {}\ntarget    {}\n",
        manifest.product,
        manifest.version,
        sealed.program_digest(),
        sealed.bundle.digest(),
        manifest.sequence,
        manifest.commit,
        if manifest.dirty { " with changes" } else { "" },
        manifest.rustc,
        manifest.target,
    ))
}
