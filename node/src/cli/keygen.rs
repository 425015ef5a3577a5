//! `keygen`: a new identity.

use super::{error::CliError, key_file, print::print};
use clap::Args;
use rand::{TryRng, rngs::SysRng};
use regatta_base::{PublicKey, SecretKey};
use serde::Serialize;
use std::path::PathBuf;

/// Make a private key and print its public half
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  regatta-node keygen --out key.pem")]
pub(crate) struct Keygen {
    /// File to create, with mode 0600; an existing file is never overwritten
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What `keygen` prints.
#[derive(Debug, Serialize)]
struct Made {
    key: PublicKey,
    file: PathBuf,
}

impl Keygen {
    pub(crate) fn execute(self) -> Result<(), CliError> {
        let mut seed = [0; 32];
        SysRng
            .try_fill_bytes(&mut seed)
            .map_err(|error| CliError::failure(format!("the system gives no random bytes: {error}")))?;
        let secret = SecretKey::from_seed(seed);
        key_file::create(&self.out, &secret).map_err(CliError::usage)?;
        let made = Made {
            key: secret.public(),
            file: self.out,
        };
        print(self.json, &made, |made| made.key.to_string())
    }
}
