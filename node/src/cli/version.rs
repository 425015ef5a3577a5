//! `version`: what this program is, or what runs at an address.

use super::{error::CliError, print::print};
use crate::build_info::{BYZANTINE, COMMIT, PROFILE, TARGET, VERSION, binary_digest};
use clap::Args;
use regatta_base::Digest;
use regatta_client::Client;
use serde::Serialize;
use std::net::SocketAddr;

/// Print version, source commit, target and digest of this program, or of a running node
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  regatta-node version
  regatta-node version --to 127.0.0.1:7001")]
pub(crate) struct Version {
    /// HTTP address of a running node
    #[arg(long, value_name = "ADDR")]
    to: Option<SocketAddr>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What `version` prints of the program itself.
#[derive(Debug, Serialize)]
struct Program {
    version: &'static str,
    commit: &'static str,
    binary: Digest,
    target: &'static str,
    profile: &'static str,
    byzantine: bool,
}

impl Version {
    pub(crate) async fn execute(self) -> Result<(), CliError> {
        if let Some(address) = self.to {
            let version = Client::new(address).version().await?;
            return print(self.json, &version, |running| {
                let profile = profile(&running.profile, running.byzantine);
                let build = text(&running.version, &running.commit, &running.target, &profile);
                format!(
                    "{build}\nbinary {}\nnode   {} {}\nchain  {}",
                    running.binary, running.name, running.key, running.chain
                )
            });
        }
        let program = Program {
            version: VERSION,
            commit: COMMIT,
            binary: binary_digest(),
            target: TARGET,
            profile: PROFILE,
            byzantine: BYZANTINE,
        };
        print(self.json, &program, |program| {
            let profile = profile(program.profile, program.byzantine);
            let build = text(program.version, program.commit, program.target, &profile);
            format!("{build}\nbinary {}", program.binary)
        })
    }
}

/// The profile, with a warning where it is due.
fn profile(profile: &str, byzantine: bool) -> String {
    let warning = if byzantine { ", byzantine: for tests only" } else { "" };
    format!("{profile}{warning}")
}

fn text(version: &str, commit: &str, target: &str, profile: &str) -> String {
    format!("regatta-node {version}\ncommit {commit}\ntarget {target} {profile}")
}
