//! Programs of others beside the nodes: started from their commands, waited for, and listed.

use super::{Cluster, ClusterError, LOG_BYTES_MAX, NodeEvent};
use crate::{
    provider::{Exit, Process, ProcessSpec},
    rundir::Entry,
};
use regatta_plan::{Plan, PlannedProcess, ReadyWhen};
use regatta_process::Foreign;
use std::{
    env, io,
    net::{IpAddr, SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{net::TcpStream, time::Instant};

/// This program, whatever has become of its file: it launches others.
const LAUNCHER: &str = "/proc/self/exe";
/// First and longest pause between two attempts to reach a port.
const PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));
/// How long one attempt may take.
const ATTEMPT_MAX: Duration = Duration::from_secs(1);
/// How long a program of others may take to stop before it is killed: not all of them know how to.
pub(super) const FOREIGN_GRACE: Duration = Duration::from_secs(2);

/// Why programs of others do not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ForeignError {
    /// There is no such program.
    #[error(
        "program `{program}` of `{process}` is not there, or may not be executed\n  help: install it, or give `command` \
         the path of a program; it is looked for in PATH"
    )]
    NoProgram {
        /// The process.
        process: String,
        /// As the command names it.
        program: String,
    },
    /// Something else listens where the program is to listen.
    #[error("{address} is taken, and `{process}` is to listen there\n  help: use another port, or free it")]
    PortTaken {
        /// The process.
        process: String,
        /// Where.
        address: SocketAddr,
    },
    /// It ended before it was ready.
    #[error("`{process}` ended before it was ready: {exit}\n{}  log: {}", super::quoted(.exit), .log.display())]
    Ended {
        /// The process.
        process: String,
        /// How.
        exit: Exit,
        /// Its log.
        log: PathBuf,
    },
    /// It was not ready in time.
    #[error("`{process}` is not ready after {after_ms} ms: {why}\n  log: {}\n  help: `ready.within` is how long it may take", .log.display())]
    NotReady {
        /// The process.
        process: String,
        /// How long was waited.
        after_ms: u64,
        /// What is waited for.
        why: String,
        /// Its log.
        log: PathBuf,
    },
    /// Its folder cannot be made.
    #[error("`{path}`: {error}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// How a program of others is.
#[derive(Debug, Clone)]
pub(crate) struct ForeignState {
    /// Its process id, when it was started.
    pub pid: Option<u32>,
    /// How it ended, when it did.
    pub exit: Option<Exit>,
}

/// Checks that all programs of others that `plan` runs are there.
///
/// # Errors
/// [`ForeignError::NoProgram`] names the first that is not.
pub(crate) fn check_programs(plan: &Plan) -> Result<(), ForeignError> {
    plan.processes.iter().try_for_each(|process| program(process).map(drop))
}

/// The file of a program, by its path or by PATH.
fn program(process: &PlannedProcess) -> Result<PathBuf, ForeignError> {
    let name = process.command.first().map(String::as_str).unwrap_or_default();
    let runs = |path: &Path| {
        let facts = path.metadata();
        facts.is_ok_and(|facts| facts.is_file() && facts.permissions().mode() & 0o111 != 0)
    };
    let found = if name.contains('/') {
        std::path::absolute(name).ok()
    } else {
        let folders = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&folders)
            .map(|folder| folder.join(name))
            .find(|path| runs(path))
    };
    found.filter(|path| runs(path)).ok_or_else(|| ForeignError::NoProgram {
        process: process.name.clone(),
        program: name.to_owned(),
    })
}

impl Cluster {
    /// Starts programs of others and waits until they are ready.
    ///
    /// # Errors
    /// [`ClusterError::Foreign`] says which one is not, and why; [`ClusterError::Start`] what the system refused.
    pub(crate) async fn start_foreign(&self, places: &[u32]) -> Result<(), ClusterError> {
        let mut waits = Vec::new();
        for &place in places {
            let Some(planned) = self.plan.process(place) else {
                continue;
            };
            self.check_port(planned)?;
            let process = self.start_one(planned).await?;
            waits.push(self.wait_foreign(planned, process));
        }
        futures::future::try_join_all(waits).await.map(drop)
    }

    /// In a namespace of its own nobody else can listen.
    fn check_port(&self, planned: &PlannedProcess) -> Result<(), ForeignError> {
        let ReadyWhen::Accepts(port) = planned.ready else {
            return Ok(());
        };
        let address = SocketAddr::new(IpAddr::V4(planned.address), port);
        match self.switch().is_none().then(|| TcpListener::bind(address)) {
            Some(Err(error)) if error.kind() == io::ErrorKind::AddrInUse => Err(ForeignError::PortTaken {
                process: planned.name.clone(),
                address,
            }),
            _ => Ok(()),
        }
    }

    async fn start_one(&self, planned: &PlannedProcess) -> Result<Process, ClusterError> {
        let folder = self.run.data(&planned.name);
        let made = std::fs::create_dir_all(&folder);
        made.map_err(|error| ForeignError::Folder {
            path: folder.clone(),
            error,
        })?;
        let announcement = match &planned.ready {
            ReadyWhen::Says(text) => Some(text.clone()),
            _ => None,
        };
        let spec = ProcessSpec {
            name: planned.name.clone(),
            program: program(planned)?,
            held: None,
            folder: Some(folder),
            arguments: planned.command.iter().skip(1).map(Into::into).collect(),
            log: self.run.log(&planned.name),
            log_bytes_max: LOG_BYTES_MAX,
            foreign: Some(Foreign {
                launcher: LAUNCHER.into(),
                environment: planned.env.clone().into_iter().collect(),
                announcement,
            }),
        };
        let process = self.provider.start(planned.place, spec).await?;
        let (place, pid) = (planned.place, process.pid());
        self.journal.write(Entry::ProgramStarted {
            name: planned.name.clone(),
            pid,
            start_ticks: process.start_ticks(),
        })?;
        let _ = self.events.send(NodeEvent::Started { node: place, pid });
        self.watch(place, &planned.name, process.clone());
        self.locked()[place as usize] = Some(process.clone());
        Ok(process)
    }

    async fn wait_foreign(&self, planned: &PlannedProcess, process: Process) -> Result<(), ClusterError> {
        let within = Duration::from_millis(planned.ready_within_ms);
        let log = || self.run.log(&planned.name);
        let (ready, why) = match &planned.ready {
            ReadyWhen::Runs => return Ok(()),
            ReadyWhen::Says(text) => {
                let said = async { process.announced().await.map(drop) };
                (
                    tokio::time::timeout(within, said).await,
                    format!("no line contains `{text}`"),
                )
            }
            ReadyWhen::Accepts(port) => {
                let address = SocketAddr::new(IpAddr::V4(planned.address), *port);
                let accepts = async {
                    tokio::select! {
                        exit = process.ended() => Err(exit),
                        () = accepts(address) => Ok(()),
                    }
                };
                (
                    tokio::time::timeout(within, accepts).await,
                    format!("nothing accepts at {address}"),
                )
            }
        };
        let process = planned.name.clone();
        match ready {
            Ok(Ok(())) => Ok(()),
            Ok(Err(exit)) => Err(ForeignError::Ended {
                process,
                exit,
                log: log(),
            }
            .into()),
            Err(_) => Err(ForeignError::NotReady {
                process,
                after_ms: planned.ready_within_ms,
                why,
                log: log(),
            }
            .into()),
        }
    }

    /// Those of some places that are nodes', and those of programs of others.
    pub(crate) fn sorted(&self, places: &[u32]) -> (Vec<u32>, Vec<u32>) {
        places.iter().partition(|&&place| self.plan.is_node(place))
    }

    /// How each program of others is, in plan order.
    pub(crate) fn foreign_states(&self) -> Vec<(&PlannedProcess, ForeignState)> {
        let state = |process: Option<Process>| ForeignState {
            pid: process.as_ref().map(Process::pid),
            exit: process.and_then(|process| process.exit()),
        };
        let processes = self.plan.processes.iter();
        processes
            .map(|planned| (planned, state(self.process(planned.place))))
            .collect()
    }
}

/// Completes when a port accepts a connection.
async fn accepts(address: SocketAddr) {
    let mut pause = PAUSES.0;
    loop {
        let until = Instant::now() + ATTEMPT_MAX;
        if let Ok(Ok(_)) = tokio::time::timeout_at(until, TcpStream::connect(address)).await {
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::plan;
    use regatta_plan::scenario::ProcessStart;

    fn with(command: &[&str]) -> Plan {
        let mut plan = plan(1);
        plan.processes.push(PlannedProcess {
            place: 1,
            name: "web-0".to_owned(),
            group: "web".to_owned(),
            region: None,
            address: std::net::Ipv4Addr::LOCALHOST,
            command: command.iter().map(|&word| word.to_owned()).collect(),
            env: std::collections::BTreeMap::new(),
            start: ProcessStart::BeforeNodes,
            ready: ReadyWhen::Runs,
            ready_within_ms: 0,
        });
        plan
    }

    #[test]
    fn programs_are_found_by_name_and_by_path_and_must_be_executable() {
        assert!(check_programs(&with(&["sh", "-c", "true"])).is_ok());
        assert!(check_programs(&with(&["/bin/sh"])).is_ok());
        for missing in ["no-such-program-here", "/etc/passwd", "/bin", "./nothing"] {
            let error = check_programs(&with(&[missing])).unwrap_err().to_string();
            assert!(
                error.contains(missing) && error.contains("`web-0`") && error.contains("help:"),
                "{error}"
            );
        }
    }
}
