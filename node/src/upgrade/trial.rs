//! The switch to another program: the old one watches the new one until it has caught up, and then becomes it.
//!
//! The node has ended in order when this begins: its journal is closed, its ports are free. The new program runs as a child
//! first, with the same configuration and data. A child that ends, crashes or does not catch up in time costs nothing but
//! that time: this process is still there, still the old program, and goes on as such. When the child has caught up it
//! is ended in order too, the state says durably that it was proven, and this process becomes the new program. Whoever
//! supervises the node sees one process all along.

use super::{
    Depot, Proven, UpgradeError,
    start::{ON_TRIAL, ROLE},
};
use regatta_api::{NodeConfig, view::Latest};
use regatta_base::{Digest, Height, InstanceId};
use regatta_client::Client;
use std::{
    ffi::OsString,
    io,
    net::SocketAddr,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

/// Pause between two looks at the program on trial.
const PAUSE: Duration = Duration::from_millis(50);
/// For so long it has to be ready at every look.
const READY_TIME: Duration = Duration::from_millis(500);
/// How long it may take to end in order, before it is killed.
const END_TIME_MAX: Duration = Duration::from_secs(10);
/// Deadline of one question.
const ASK_TIME_MAX: Duration = Duration::from_secs(2);

/// How the process was started, as far as the next program has to be started alike.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The configuration file.
    pub config: PathBuf,
    /// Whether it stops with its stdin.
    pub stop_with_stdin: bool,
    /// The process that it is not to outlive.
    pub die_with_parent: Option<u32>,
    /// Form of the log lines.
    pub log_format: &'static str,
}

impl Launch {
    /// Arguments of a later start; never `--new`, since the node has run.
    fn arguments(&self, stop_with_stdin: bool, parent: Option<u32>) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["run".into(), "--config".into(), self.config.clone().into()];
        arguments.extend(["--log-format".into(), self.log_format.into()]);
        arguments.extend(stop_with_stdin.then(|| "--stop-with-stdin".into()));
        if let Some(parent) = parent {
            arguments.extend(["--die-with-parent".into(), parent.to_string().into()]);
        }
        arguments
    }

    /// Becomes another program; returns only why it could not.
    #[must_use]
    pub fn become_program(&self, program: &Path) -> io::Error {
        std::process::Command::new(program)
            .arg0("regatta-node")
            .args(self.arguments(self.stop_with_stdin, self.die_with_parent))
            .env_remove(ROLE)
            .exec()
    }

    /// Begins anew as the running program; returns only why it could not.
    #[must_use]
    pub fn begin_anew(&self) -> io::Error {
        self.become_program(Path::new("/proc/self/exe"))
    }
}

/// What the core ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switch {
    /// Number of the release.
    pub number: u64,
    /// The last executed height of the release's instance.
    pub height: Height,
}

/// Why a program was not proven.
#[derive(Debug, thiserror::Error)]
enum TrialError {
    #[error("it cannot be started: {0}")]
    Start(io::Error),
    #[error("it ended before it had caught up: {0}")]
    Ended(ExitStatus),
    #[error("it did not catch up within {after:?}: {last}")]
    Late { after: Duration, last: String },
    #[error("the process was told to stop")]
    Stopped,
    #[error(transparent)]
    Upgrade(#[from] UpgradeError),
}

/// Tries the program of a release and becomes it, or begins anew as the present one. Returns only when the process was
/// told to stop meanwhile, or with what keeps it from being anything.
///
/// # Errors
/// Why this process can go on as no program.
pub async fn switch(
    mut depot: Depot,
    config: &NodeConfig,
    launch: &Launch,
    switch: Switch,
    stop: &CancellationToken,
) -> Result<(), UpgradeError> {
    depot.change(|state| state.trial = Some(switch.number))?;
    let outcome = try_program(&mut depot, config, launch, switch, stop).await;
    match outcome {
        Ok(program) => {
            let path = program.path();
            tracing::info!(
                number = switch.number,
                "the released program has caught up; going on as it"
            );
            let error = launch.become_program(&path);
            depot.change(|state| {
                state.proven.retain(|proven| proven.number != switch.number);
                state.fail(switch.number, &format!("it cannot be executed: {error}"));
            })?;
        }
        Err(TrialError::Stopped) => return depot.change(|state| state.trial = None),
        Err(error) => {
            tracing::warn!(number = switch.number, %error, "the released program is given up; going on as before");
            depot.change(|state| state.fail(switch.number, &error.to_string()))?;
        }
    }
    let error = launch.begin_anew();
    Err(UpgradeError::io("begin anew as", "/proc/self/exe")(error))
}

/// Runs the program until it has caught up, ends it, and notes that it is proven.
async fn try_program(
    depot: &mut Depot,
    config: &NodeConfig,
    launch: &Launch,
    switch: Switch,
    stop: &CancellationToken,
) -> Result<regatta_seal::VerifiedProgram, TrialError> {
    let (program, sequence) = depot.verify(switch.number)?;
    let instance = depot.known().map(|(facts, _)| facts.instance);
    tracing::info!(number = switch.number, program = %program.digest(), "trying the released program");
    // From this thread, which lives as long as the process: the child dies with it and not with a worker.
    let mut child = Command::new(program.path())
        .arg0("regatta-node")
        .args(launch.arguments(true, Some(std::process::id())))
        .env(ROLE, ON_TRIAL)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(TrialError::Start)?;
    let watch = Watch {
        client: Client::new(SocketAddr::new(config.ip, config.http_port)).with_deadline(ASK_TIME_MAX),
        program: program.digest(),
        instance,
        height: switch.height,
        most: Duration::from_millis(config.upgrade.trial_ms),
    };
    let result = tokio::select! {
        result = watch.until_caught_up(&mut child) => result,
        () = stop.cancelled() => Err(TrialError::Stopped),
    };
    end(&mut child).await;
    result?;
    let proven = Proven {
        number: switch.number,
        sequence,
        program: program.digest(),
    };
    depot.change(|state| state.prove(proven, config.upgrade.keep as usize))?;
    Ok(program)
}

/// Ends the child in order, or by force when it does not.
async fn end(child: &mut Child) {
    drop(child.stdin.take());
    if tokio::time::timeout(END_TIME_MAX, child.wait()).await.is_err() {
        tracing::warn!("the program on trial does not end in order and is killed");
        let _ = child.kill().await;
    }
}

/// What a program has to show.
struct Watch {
    client: Client,
    program: Digest,
    instance: Option<InstanceId>,
    height: Height,
    most: Duration,
}

impl Watch {
    async fn until_caught_up(&self, child: &mut Child) -> Result<(), TrialError> {
        let until = Instant::now() + self.most;
        let mut ready_since: Option<Instant> = None;
        loop {
            if let Some(status) = child.try_wait().map_err(TrialError::Start)? {
                return Err(TrialError::Ended(status));
            }
            let last = match self.look().await {
                Ok(()) => {
                    let since = *ready_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= READY_TIME {
                        return Ok(());
                    }
                    "it has just caught up".to_owned()
                }
                Err(reason) => {
                    ready_since = None;
                    reason
                }
            };
            if Instant::now() >= until {
                return Err(TrialError::Late { after: self.most, last });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Whether the child is the program, is ready, and is at least where the old program was.
    async fn look(&self) -> Result<(), String> {
        let text = |error: regatta_client::ClientError| error.to_string();
        let readiness = self.client.readiness().await.map_err(text)?;
        if !readiness.ready {
            return Err(format!("it waits for {}", readiness.waiting_for));
        }
        let version = self.client.version().await.map_err(text)?;
        if version.binary != self.program {
            return Err(format!("program {} answers instead", version.binary.short()));
        }
        let height = self.height_of(&self.client.latest().await.map_err(text)?);
        if height < self.height {
            return Err(format!(
                "it is at height {height}, the old program was at {}",
                self.height
            ));
        }
        Ok(())
    }

    fn height_of(&self, latest: &Latest) -> Height {
        let wanted = |instance: &InstanceId| self.instance.as_ref().is_none_or(|wanted| wanted == instance);
        let own = latest.instances.iter().find(|latest| wanted(&latest.instance));
        own.map_or(0, |latest| latest.height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_program_is_started_as_this_one_but_never_as_new() {
        let launch = Launch {
            config: "a/node.toml".into(),
            stop_with_stdin: true,
            die_with_parent: Some(7),
            log_format: "json",
        };
        let text = |arguments: Vec<OsString>| {
            let words: Vec<String> = arguments.into_iter().map(|word| word.into_string().unwrap()).collect();
            words.join(" ")
        };
        assert_eq!(
            text(launch.arguments(true, Some(7))),
            "run --config a/node.toml --log-format json --stop-with-stdin --die-with-parent 7"
        );
        assert_eq!(
            text(launch.arguments(false, None)),
            "run --config a/node.toml --log-format json"
        );
    }
}
