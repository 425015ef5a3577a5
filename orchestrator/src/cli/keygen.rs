//! `regatta keygen`: a key that signs builds.

use super::{
    Global, Outcome,
    output::{print, print_json},
};
use crate::seal::{random_key, write_key};
use clap::Args;
use std::path::PathBuf;

/// Make a key that signs builds
#[derive(Debug, Args)]
#[command(after_help = "\
The file has mode 0600 and is never overwritten. The public key is printed; a host accepts builds of keys that it pins.

Example:
  regatta keygen release-key.pem")]
pub(super) struct Keygen {
    /// File for the private key
    file: PathBuf,
}

impl Keygen {
    pub(super) fn execute(&self, global: &Global) -> Outcome {
        let key = random_key()?;
        write_key(&self.file, &key)?;
        if global.json {
            print_json(&serde_json::json!({ "file": self.file, "public": key.public() }))?;
        } else {
            print(&format!("{}\n", key.public()))?;
        }
        Ok(0)
    }
}
