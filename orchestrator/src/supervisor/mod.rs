//! A cluster that stays: a process in the background that keeps the nodes and answers other terminals.
//!
//! `regatta up` builds, seals and starts this; from then on it lives by itself, in a session of its own, until somebody
//! stops it, its lease ends, or it is killed. Its nodes end with it in each case.

mod fleet;
mod protocol;
mod socket;
#[cfg(test)]
mod tests;

pub(crate) use fleet::FleetTerms;
pub(crate) use protocol::{
    Answer, ClusterStatus, InstanceStatus, NodeStatus, ProcessUsage, ProgramStatus, Request, Startup,
};
pub(crate) use socket::{ask, is_absent};

use crate::{
    build::ProgramError,
    cluster::{Cluster, ClusterError, STOP_GRACE, http_address},
    memory::{Guard, RELIEF_GRACE, Shortage},
    provider::{Exit, Place, SshError, SshProvider},
    rundir::{Entry, Journal, RunDir, RunDirError, STORE_FOLDER, used_bytes},
    seal::{SealError, Sealed, Store},
};
use futures::{StreamExt, stream};
use protocol::{receive, send};
use regatta_client::Client;
use regatta_plan::{Plan, PlannedNode, Step, scenario::ProviderKind};
use std::{
    collections::BTreeMap,
    convert::Infallible,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::mpsc,
};

/// How long a connection may take to state its request.
const REQUEST_DEADLINE: Duration = Duration::from_secs(5);
/// How long a node may take to answer for a status.
const NODE_DEADLINE: Duration = Duration::from_secs(2);
/// Time between two looks at the size of the run's folder.
const QUOTA_INTERVAL: Duration = Duration::from_secs(2);
/// Nodes that are asked at the same time.
const ASKED_AT_ONCE: usize = 64;

/// Why a cluster does not stay.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SupervisorError {
    /// The run's folder cannot be used.
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    /// The programs are not what was sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The nodes did not start.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The agent or the operator's key cannot be read.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The hosts were not made ready.
    #[error(transparent)]
    Hosts(#[from] SshError),
    /// Less memory is left than is to stay.
    #[error("{0}")]
    Memory(Box<Shortage>),
    /// The control socket or a signal handler cannot be set up.
    #[error("cannot supervise `{run}`: {error}")]
    System {
        /// The run.
        run: String,
        /// What the system said.
        error: std::io::Error,
    },
}

/// How a cluster that was up came to its end.
struct Ended {
    /// Why, in words.
    why: String,
    /// Nodes that had to be killed.
    forced: Vec<String>,
    /// What went wrong on hosts while everything was removed there.
    troubles: Vec<String>,
    /// Who asked for it, and waits for the answer.
    asker: Option<UnixStream>,
}

impl Ended {
    /// It was told to stop while hosts were made ready; they have nothing of it any more.
    fn before_it_began() -> Self {
        Self {
            why: "stopped by signal".to_owned(),
            forced: Vec::new(),
            troubles: Vec::new(),
            asker: None,
        }
    }
}

/// Everything that a supervisor keeps.
struct Supervisor {
    run: RunDir,
    plan: Arc<Plan>,
    journal: Arc<Journal>,
    cluster: Cluster,
    started: Instant,
    ready: std::cell::Cell<bool>,
}

/// Starts the nodes of the run in `folder` and keeps them until it is told to stop; on hosts with `fleet`. `tell` gets the
/// steps of the start.
///
/// # Errors
/// [`SupervisorError`] when the nodes do not start; then none is left.
pub(crate) async fn supervise(
    folder: &Path,
    fleet: Option<FleetTerms>,
    tell: &dyn Fn(&Startup),
) -> Result<(), SupervisorError> {
    let run = RunDir::open(folder)?;
    let _lock = run.lock()?;
    let journal = Arc::new(Journal::open(&run)?);
    let kept = keep(&run, &journal, fleet, tell).await;
    let (exit_code, sentence) = match &kept {
        Ok(ended) => (0, ended.why.clone()),
        Err(error) => (1, error.to_string()),
    };
    journal.write(Entry::LabEnded { exit_code, sentence })?;
    let Ended {
        forced,
        troubles,
        asker,
        ..
    } = kept?;
    if let Some(mut stream) = asker {
        // Only now, when nodes, addresses and journal are done with: whoever asked may start the next cluster at once.
        // It may also have gone; the cluster is down all the same.
        let _ = send(&mut stream, &Answer::Stopped { forced, troubles }).await;
    }
    Ok(())
}

/// Prepares and starts the nodes, and keeps them until the end.
async fn keep(
    run: &RunDir,
    journal: &Arc<Journal>,
    fleet: Option<FleetTerms>,
    tell: &dyn Fn(&Startup),
) -> Result<Ended, SupervisorError> {
    let system = |error| SupervisorError::System {
        run: run.id().to_owned(),
        error,
    };
    let mut plan = run.plan()?;
    let store = Store::open(&run.root().with_file_name(STORE_FOLDER))?;
    let sealed = |name: &String| Ok((name.clone(), Sealed::read_from(&run.path("build"), name, &store)?));
    let mut builds = plan
        .builds
        .keys()
        .map(sealed)
        .collect::<Result<BTreeMap<_, _>, SealError>>()?;
    let mut signal = std::pin::pin!(stop_signal().map_err(system)?);
    let (mut hosts, mut held) = (None, None);
    if let Some(terms) = &fleet {
        terms.pin(&mut builds)?;
        let ready = terms.deploy(run, &plan, &builds, journal, tell);
        let Some(ready) = fleet::unless(signal.as_mut(), ready, journal).await? else {
            return Ok(Ended::before_it_began());
        };
        plan = ready.placed_plan().clone();
        let provider = SshProvider::new(ready, &plan, Arc::clone(journal));
        held = Some(provider.hold());
        hosts = Some(provider);
    }
    let plan = Arc::new(plan);
    let prepared = prepare(run, &plan, journal, builds, hosts);
    if let (Err(_), Some(held)) = (&prepared, held) {
        // They would keep an empty run until its lease ends.
        held.let_go(journal).await;
    }
    let (listener, cluster) = prepared?;
    let supervisor = Supervisor {
        run: run.clone(),
        plan,
        journal: Arc::clone(journal),
        cluster,
        started: Instant::now(),
        ready: std::cell::Cell::new(false),
    };
    supervisor.keep(&listener, signal, tell).await
}

/// Listens for other terminals, and prepares the nodes.
fn prepare(
    run: &RunDir,
    plan: &Arc<Plan>,
    journal: &Arc<Journal>,
    builds: BTreeMap<String, Sealed>,
    hosts: Option<SshProvider>,
) -> Result<(UnixListener, Cluster), SupervisorError> {
    let listener = socket::listen(run).map_err(|error| SupervisorError::System {
        run: run.id().to_owned(),
        error,
    })?;
    let (events, _unheard) = mpsc::unbounded_channel();
    let (plan, journal) = (Arc::clone(plan), Arc::clone(journal));
    let cluster = Cluster::prepare(plan, run.clone(), journal, builds, events, hosts)?;
    Ok((listener, cluster))
}

/// Completes when the process is told to end.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

impl Supervisor {
    /// Starts the nodes and serves requests until the end.
    async fn keep(
        self,
        listener: &UnixListener,
        signal: impl Future<Output = ()>,
        tell: &dyn Fn(&Startup),
    ) -> Result<Ended, SupervisorError> {
        let lease = Duration::from_millis(self.plan.budget.lease_ms);
        let start = async {
            self.start(tell).await?;
            self.ready.set(true);
            tell(&Startup::Ready);
            std::future::pending::<Result<Infallible, SupervisorError>>().await
        };
        let because = |why: String| (Ok(why), None);
        let guard = Guard::of(&self.plan);
        let (why, asker) = tokio::select! {
            failed = start => (failed.map(|never| match never {}), None),
            stream = self.serve(listener) => (Ok("stopped by request".to_owned()), Some(stream)),
            () = tokio::time::sleep(lease) => because(format!("the lease of {} s ended", lease.as_secs())),
            used = self.disk_full() => because(format!("disk quota reached: {used} bytes (budget.disk)")),
            short = guard.shortage(&self.cluster) => (Err(SupervisorError::Memory(Box::new(short))), None),
            () = signal => because("stopped by signal".to_owned()),
        };
        let grace = if matches!(why, Err(SupervisorError::Memory(_))) {
            RELIEF_GRACE
        } else {
            STOP_GRACE
        };
        let forced = self.cluster.stop(grace).await;
        let troubles = self.cluster.clear().await;
        socket::remove(&self.run);
        Ok(Ended {
            why: why?,
            forced,
            troubles,
            asker,
        })
    }

    /// Completes when the run's folder holds more than it may, with its size in bytes.
    async fn disk_full(&self) -> u64 {
        loop {
            tokio::time::sleep(QUOTA_INTERVAL).await;
            let root = self.run.root().to_owned();
            match tokio::task::spawn_blocking(move || used_bytes(&root)).await {
                Ok(Ok(used)) if used > self.plan.budget.disk_bytes => return used,
                _ => {}
            }
        }
    }

    /// Does the steps of the plan that start nodes.
    async fn start(&self, tell: &dyn Fn(&Startup)) -> Result<(), SupervisorError> {
        self.cluster.place().await?;
        for step in &self.plan.steps {
            let (deadline, id) = (Duration::from_millis(step.deadline_ms), step.id);
            let began = Instant::now();
            match &step.step {
                Step::Spawn { nodes } => self.cluster.spawn(nodes).await?,
                Step::WaitReady { nodes } => self.cluster.wait_listening(nodes, deadline).await?,
                Step::WaitLinks { .. } => self.cluster.wait_links(deadline).await?,
                Step::Processes { places } => self.cluster.start_foreign(places).await?,
                _ => continue,
            }
            let took_ms = began.elapsed().as_secs_f64() * 1e3;
            self.journal.write(Entry::StepEnded {
                id,
                took_ms,
                error: None,
            })?;
            tell(&Startup::Step(format!("{} ({:.1} s)", step.step, took_ms / 1e3)));
        }
        Ok(())
    }

    /// Answers requests one by one until one asks to stop; returns its connection.
    async fn serve(&self, listener: &UnixListener) -> UnixStream {
        loop {
            let Ok((mut stream, _)) = listener.accept().await else {
                // Out of descriptors: nodes go on, and so does this once some are free.
                tokio::time::sleep(NODE_DEADLINE).await;
                continue;
            };
            let request = tokio::time::timeout(REQUEST_DEADLINE, receive(&mut stream)).await;
            let answer = match request {
                Ok(Ok(Request::Stop {})) => return stream,
                Ok(Ok(Request::Status {})) => Answer::Status(self.status().await),
                Ok(Ok(Request::Log { node, offset })) => self.log(&node, offset).await,
                Ok(Err(error)) => Answer::Refused {
                    reason: error.to_string(),
                },
                Err(_) => continue,
            };
            let _ = tokio::time::timeout(REQUEST_DEADLINE, send(&mut stream, &answer)).await;
        }
    }

    /// A piece of a log that is on a host.
    async fn log(&self, node: &str, offset: u64) -> Answer {
        let refused = |reason: String| Answer::Refused { reason };
        let Some(node) = self.plan.node(node) else {
            return refused(format!("there is no node `{node}`"));
        };
        match self.cluster.log(node.index, offset).await {
            Ok(Some((bytes, size))) => Answer::Log {
                bytes: bytes.into(),
                size,
            },
            Ok(None) => refused(format!("the log of `{}` is in the run's folder", node.name)),
            Err(error) => refused(error.to_string()),
        }
    }

    fn programs(&self) -> Vec<ProgramStatus> {
        let programs = self.cluster.foreign_states().into_iter();
        let status = programs.map(|(planned, found)| ProgramStatus {
            name: planned.name.clone(),
            address: planned.address.to_string(),
            pid: found.pid,
            usage: found.pid.filter(|_| found.exit.is_none()).and_then(usage),
            state: state(found.pid, found.exit.as_ref()),
        });
        status.collect()
    }

    async fn status(&self) -> ClusterStatus {
        let up = self.started.elapsed();
        let lease = Duration::from_millis(self.plan.budget.lease_ms);
        let states = self.cluster.states();
        let is_here = self.plan.provider != ProviderKind::Ssh;
        let nodes = self.plan.nodes.iter().zip(states).map(|(node, (_, pid, exit))| {
            let usage = pid.filter(|_| is_here && exit.is_none()).and_then(usage);
            node_status(node, pid, (state(pid, exit.as_ref()), usage))
        });
        ClusterStatus {
            run: self.run.id().to_owned(),
            pid: std::process::id(),
            ready: self.ready.get(),
            up_s: up.as_secs(),
            lease_left_s: lease.saturating_sub(up).as_secs(),
            // The number alone is told: a status is no reason to fail.
            namespace: self.cluster.switch().and_then(|_| Place::current().ok()?.number().ok()),
            programs: self.programs(),
            usage: usage(std::process::id()),
            nodes: stream::iter(nodes).buffered(ASKED_AT_ONCE).collect().await,
        }
    }
}

/// What a process of this machine uses; none when it has just ended.
fn usage(pid: u32) -> Option<ProcessUsage> {
    let found = regatta_process::usage(pid.try_into().ok()?, false)?;
    Some(ProcessUsage {
        cpu_ms: (found.cpu_s * 1e3) as u64,
        rss_bytes: found.rss_bytes,
    })
}

/// Whether a process runs, or how it ended.
fn state(pid: Option<u32>, exit: Option<&Exit>) -> String {
    match (pid, exit) {
        (None, _) => "not started".to_owned(),
        (Some(_), None) => "running".to_owned(),
        (Some(_), Some(exit)) => exit.to_string(),
    }
}

/// What the lab knows of a node with what the node says of itself.
async fn node_status(
    node: &PlannedNode,
    pid: Option<u32>,
    (state, usage): (String, Option<ProcessUsage>),
) -> NodeStatus {
    let client = Client::new(http_address(node)).with_deadline(NODE_DEADLINE);
    let (latest, readiness) = match state.as_str() {
        "running" => {
            let (latest, readiness) = tokio::join!(client.latest(), client.readiness());
            (latest.ok(), readiness.ok())
        }
        _ => (None, None),
    };
    let latest = latest.map(|latest| latest.instances).unwrap_or_default();
    let instances = latest.into_iter().map(|row| InstanceStatus {
        id: row.instance.to_string(),
        height: row.height,
        pending: row.pending,
    });
    let instances: Vec<_> = instances.collect();
    NodeStatus {
        name: node.name.clone(),
        role: node.role.to_string(),
        http: http_address(node).to_string(),
        pid,
        state,
        height: instances.first().map(|instance| instance.height),
        links: readiness.map(|answer| (answer.peers_connected, answer.peers_configured)),
        pending: instances.first().map(|instance| instance.pending),
        instances,
        usage,
    }
}
