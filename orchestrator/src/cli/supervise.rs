//! `regatta supervise`: what `regatta up` leaves in the background.

use super::{FAILED, Outcome};
use crate::{
    provider::raise_descriptor_limit,
    supervisor::{Startup, supervise},
};
use clap::Args;
use std::{io::Write, path::PathBuf};

/// The verb's name, for the program that starts it.
pub(super) const NAME: &str = "supervise";

/// Keep the cluster of a run; started by `up`
#[derive(Debug, Args)]
#[command(name = NAME, hide = true)]
pub(super) struct Supervise {
    /// Folder of the run
    folder: PathBuf,
}

impl Supervise {
    pub(super) async fn execute(&self) -> Outcome {
        // A session of its own: closing the terminal that ran `up` does not end the cluster. It fails only where this
        // was started by hand, as the leader of its group already.
        let _ = nix::unistd::setsid();
        raise_descriptor_limit();
        match supervise(&self.folder, &tell).await {
            Ok(()) => Ok(0),
            Err(error) => {
                tell(&Startup::Failed(error.to_string()));
                Ok(FAILED)
            }
        }
    }
}

/// Writes one line to whoever started this; it may have gone, which is fine.
fn tell(startup: &Startup) {
    let mut line = serde_json::to_string(startup).unwrap_or_default();
    line.push('\n');
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush());
}
