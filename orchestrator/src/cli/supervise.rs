//! `regatta supervise`: what `regatta up` leaves in the background.

use super::{FAILED, Outcome};
use crate::{
    build::AgentFile,
    provider::raise_descriptor_limit,
    supervisor::{FleetTerms, Startup, supervise},
};
use clap::Args;
use std::{ffi::OsString, io::Write, path::PathBuf};

/// The verb's name, for the program that starts it.
pub(super) const NAME: &str = "supervise";

/// Keep the cluster of a run; started by `up`
#[derive(Debug, Args)]
#[command(name = NAME, hide = true)]
pub(super) struct Supervise {
    /// Folder of the run
    folder: PathBuf,
    /// Key that programs for hosts were sealed with
    #[arg(long, value_name = "FILE", requires_all = ["agent", "base"])]
    key: Option<PathBuf>,
    /// Agent for hosts
    #[arg(long, value_name = "PATH", requires = "key")]
    agent: Option<PathBuf>,
    /// What the agent was built for
    #[arg(long, value_name = "TRIPLE", requires = "agent")]
    target: Option<String>,
    /// Folder that files of login keys are relative to
    #[arg(long, value_name = "FOLDER", requires = "key")]
    base: Option<PathBuf>,
}

/// Arguments that a supervisor of a cluster on hosts gets.
pub(super) fn arguments(terms: &FleetTerms) -> Vec<OsString> {
    let agent = &terms.agent;
    let mut words: Vec<OsString> = vec!["--key".into(), terms.key.clone().into()];
    words.extend(["--agent".into(), agent.path.clone().into()]);
    words.extend(["--base".into(), terms.base.clone().into()]);
    if let Some(target) = &agent.target {
        words.extend(["--target".into(), target.into()]);
    }
    words
}

impl Supervise {
    pub(super) async fn execute(&self) -> Outcome {
        // A session of its own: closing the terminal that ran `up` does not end the cluster. It fails only where this
        // was started by hand, as the leader of its group already.
        let _ = nix::unistd::setsid();
        raise_descriptor_limit();
        match supervise(&self.folder, self.fleet(), &tell).await {
            Ok(()) => Ok(0),
            Err(error) => {
                tell(&Startup::Failed(error.to_string()));
                Ok(FAILED)
            }
        }
    }
}

impl Supervise {
    fn fleet(&self) -> Option<FleetTerms> {
        let agent = AgentFile {
            path: self.agent.clone()?,
            target: self.target.clone(),
        };
        Some(FleetTerms {
            key: self.key.clone()?,
            agent,
            base: self.base.clone()?,
        })
    }
}

/// Writes one line to whoever started this; it may have gone, which is fine.
fn tell(startup: &Startup) {
    let mut line = serde_json::to_string(startup).unwrap_or_default();
    line.push('\n');
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush());
}
