//! The nodes of one run as processes: written, started, watched, stopped.
//!
//! A node is only ever ended through the handle of the process that this lab started.

mod config;
mod elsewhere;
mod foreign;
mod identity;
mod patience;
mod stop;
mod wait;

pub(crate) use config::{ConfigError, chain, node_configs, node_key, shape, takes_orders};
pub(crate) use foreign::{ForeignError, check_programs};
pub(crate) use patience::Patience;
pub(crate) use wait::Look;

use crate::{
    build::purpose,
    cgroup::Groups,
    load::Endpoint,
    provider::{
        AddressClaim, AddressError, Exit, Probe, Process, ProcessSpec, Provider, ProviderError, SshError, SshProvider,
        StartError, Switch, check_free,
    },
    rundir::{Entry, Journal, RunDir, RunDirError},
    seal::{Purpose, SealError, Sealed, VerifiedProgram},
};
use regatta_base::{Digest, PublicKey};
use regatta_client::Client;
use regatta_link::Observed;
use regatta_plan::{
    LOG_BYTES_MAX, Plan, PlannedNode,
    scenario::{FaultKind, Network, ProviderKind},
};
use regatta_process::cgroup::CgroupError;
use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::mpsc, task::JoinHandle};

/// How long a node may take to stop before it is killed.
pub(crate) const STOP_GRACE: Duration = Duration::from_secs(10);

/// Why the cluster is not as the plan says.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClusterError {
    /// An address is in use.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// No provider.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// A configuration cannot be written.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The program is not what was sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The plan names a build that was not sealed.
    #[error("build `{0}` was not sealed before its nodes start")]
    NotSealed(String),
    /// Every node of a run that is to be finished has ended.
    #[error(
        "no node of the run is left on any host\n  help: its lease may have ended; `regatta down RUN` removes what is left"
    )]
    NobodyLeft,
    /// Something is not on its host.
    #[error(transparent)]
    Host(#[from] SshError),
    /// A program of others does not run.
    #[error(transparent)]
    Foreign(#[from] ForeignError),
    /// The memory of a node cannot be limited later.
    #[error(transparent)]
    Memory(#[from] CgroupError),
    /// A process did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A node ended by itself.
    #[error("node `{node}` ended by itself: {exit}\n{}  log: {}", quoted(.exit), .log.display())]
    Died {
        /// The node.
        node: String,
        /// How it ended, with its last lines.
        exit: Exit,
        /// Its log.
        log: PathBuf,
    },
    /// A node did not become ready in time.
    #[error("{} of {of} nodes are not ready after {after_s} s:\n{}\n  log of the first: {}", .waiting.len(), listed(.waiting), .log.display())]
    NotReady {
        /// Each node that is waited for, with what it waits for.
        waiting: Vec<(String, String)>,
        /// Number of nodes.
        of: usize,
        /// How long was waited, in seconds.
        after_s: u64,
        /// Log of the first one.
        log: PathBuf,
    },
    /// A node runs something else than what was sealed.
    #[error(
        "node `{node}` runs program {running}, sealed was {sealed}\n  help: this must not happen; keep the run's folder"
    )]
    OtherProgram {
        /// The node.
        node: String,
        /// What it says that it runs.
        running: String,
        /// What was sealed.
        sealed: String,
    },
    /// A node says that it was made to misbehave and its manifest does not, or the other way round.
    #[error(
        "node `{node}` runs a program that is {}made to break the protocol, and its manifest says otherwise\n  help: \
         give builds with --binary NAME=PATH as the scenario means them",
        if *.byzantine { "" } else { "not " }
    )]
    OtherKind {
        /// The node.
        node: String,
        /// What it says of itself.
        byzantine: bool,
    },
    /// The journal or a log cannot be written.
    #[error(transparent)]
    RunDir(#[from] RunDirError),
}

/// The last lines of an ended node, indented.
fn quoted(exit: &Exit) -> String {
    exit.tail.iter().map(|line| format!("  | {line}\n")).collect()
}

/// At most a few waiting nodes, one a line.
fn listed(waiting: &[(String, String)]) -> String {
    let lines = waiting.iter().take(8).map(|(node, why)| format!("  {node}: {why}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Something that a node's process did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NodeEvent {
    /// It was started, or started again.
    Started {
        /// Index of the node.
        node: u32,
        /// Its process.
        pid: u32,
    },
    /// It ended.
    Ended {
        /// Index of the node.
        node: u32,
        /// How.
        exit: Exit,
        /// Whether the kernel killed it for want of the memory that a fault took away.
        starved: bool,
    },
}

/// The nodes of one run.
#[derive(Debug)]
pub(crate) struct Cluster {
    plan: Arc<Plan>,
    run: RunDir,
    journal: Arc<Journal>,
    provider: Provider,
    builds: BTreeMap<String, Sealed>,
    executed: identity::Executed,
    /// File of the key that signs releases, where that is not the key of the lab's store.
    release_key: Option<PathBuf>,
    /// Programs that were released to nodes since the start.
    released: Mutex<Vec<(u32, Digest)>>,
    /// The newest process of each place: of nodes in plan order, then of programs of others.
    processes: Mutex<Vec<Option<Process>>>,
    events: mpsc::UnboundedSender<NodeEvent>,
    /// Held while a node is started again or ended on the timeline, so that one is done before the other begins.
    lives: Vec<tokio::sync::Mutex<()>>,
    /// One task for each process that was started: it notes the end.
    watchers: Mutex<Vec<JoinHandle<()>>>,
    /// Groups of the nodes whose memory the plan limits.
    memory: Arc<Groups>,
    _claim: Option<AddressClaim>,
}

impl Cluster {
    /// Takes the plan's addresses, checks that they are free, and writes every node's configuration and key.
    ///
    /// # Errors
    /// [`ClusterError`] names who holds an address, or what cannot be written.
    pub(crate) fn prepare(
        plan: Arc<Plan>,
        run: RunDir,
        journal: Arc<Journal>,
        builds: BTreeMap<String, Sealed>,
        events: mpsc::UnboundedSender<NodeEvent>,
        fleet: Option<SshProvider>,
    ) -> Result<Self, ClusterError> {
        let provider = match fleet {
            Some(fleet) => Provider::Ssh(fleet),
            None => Provider::of(&plan)?,
        };
        // Addresses in namespaces are nobody else's.
        let claim = match provider {
            Provider::Local(_) => {
                let claim = claim_addresses(&plan)?;
                check_free(&plan)?;
                Some(claim)
            }
            Provider::Netns(_) | Provider::Ssh(_) => None,
        };
        if !provider.fleet().is_some_and(SshProvider::is_resumed) {
            config::write_configs(&plan, &run, &trusted(&plan, &builds))?;
        }
        Ok(Self {
            processes: Mutex::new(vec![None; plan.places()]),
            memory: Arc::new(match provider {
                // Groups of nodes elsewhere are made there.
                Provider::Ssh(_) => Groups::default(),
                Provider::Local(_) | Provider::Netns(_) => Groups::of(&plan)?,
            }),
            lives: (0..plan.places()).map(|_| tokio::sync::Mutex::default()).collect(),
            plan,
            run,
            journal,
            provider,
            builds,
            executed: identity::Executed::default(),
            release_key: None,
            released: Mutex::default(),
            events,
            watchers: Mutex::default(),
            _claim: claim,
        })
    }

    /// The same, with releases signed by the key in this file; its nodes trust the key that their programs were sealed
    /// with.
    pub(crate) fn with_release_key(self, release_key: Option<PathBuf>) -> Self {
        Self { release_key, ..self }
    }

    /// File of the key that signs releases, where that is not the key of the lab's store.
    pub(crate) fn release_key(&self) -> Option<&Path> {
        self.release_key.as_deref()
    }

    /// The network between the nodes, where the lab makes it.
    pub(crate) fn switch(&self) -> Option<&Switch> {
        self.provider.switch()
    }

    /// The provider in words.
    pub(crate) fn describe(&self) -> &'static str {
        self.provider.describe()
    }

    /// Who makes the conditions of links that the scenario asks for, if it asks for any.
    pub(crate) fn emulation(&self) -> Option<String> {
        self.plan.links.as_ref()?;
        match self.plan.provider {
            ProviderKind::Local => Some("delays inside the nodes' transport".to_owned()),
            ProviderKind::Ssh => Some("delays inside the nodes' transport, beside those of the network".to_owned()),
            ProviderKind::Netns | ProviderKind::Sim => None,
        }
    }

    /// Verifies the seals of the nodes' programs and starts the nodes from the descriptors that were verified.
    ///
    /// # Errors
    /// [`ClusterError`] names what is wrong with a program or why a process did not start.
    pub(crate) async fn spawn(&self, nodes: &[u32]) -> Result<(), ClusterError> {
        debug_assert!(nodes.iter().all(|&node| self.plan.is_node(node)), "{nodes:?}");
        if let Some(fleet) = self.provider.fleet() {
            return self.spawn_elsewhere(fleet, nodes).await;
        }
        let mut programs: BTreeMap<&str, Arc<VerifiedProgram>> = BTreeMap::new();
        for &index in nodes {
            let node = &self.plan.nodes[index as usize];
            let program = match programs.get(node.build.as_str()) {
                Some(program) => Arc::clone(program),
                None => {
                    let program = Arc::new(self.sealed(node)?.verify(self.purpose(node))?);
                    programs.insert(&node.build, Arc::clone(&program));
                    program
                }
            };
            self.start(node, program).await?;
        }
        Ok(())
    }

    fn purpose(&self, node: &PlannedNode) -> Purpose {
        purpose(self.plan.provider, self.plan.builds.get(&node.build))
    }

    fn sealed(&self, node: &PlannedNode) -> Result<&Sealed, ClusterError> {
        let sealed = self.builds.get(&node.build);
        sealed.ok_or_else(|| ClusterError::NotSealed(node.build.clone()))
    }

    async fn start(&self, node: &PlannedNode, program: Arc<VerifiedProgram>) -> Result<(), ClusterError> {
        let digest = program.digest();
        self.executed.starts(node.index, Arc::clone(&program));
        let spec = ProcessSpec {
            name: node.name.clone(),
            program: program.path(),
            held: Some(program),
            folder: None,
            arguments: arguments(
                self.run.config(&node.name).join("node.toml"),
                self.process(node.index).is_none(),
            ),
            log: self.run.log(&node.name),
            log_bytes_max: LOG_BYTES_MAX,
            foreign: None,
        };
        let process = self.provider.start(node.index, spec).await?;
        self.memory.enter(node.index, process.pid())?;
        self.took(node, process, digest)
    }

    /// Takes a process that was started as the node's newest one.
    fn took(&self, node: &PlannedNode, process: Process, digest: Digest) -> Result<(), ClusterError> {
        let host = node.host.and_then(|host| self.plan.hosts.get(host as usize));
        self.journal.write(Entry::NodeStarted {
            node: node.name.clone(),
            pid: process.pid(),
            start_ticks: process.start_ticks(),
            program: digest.to_string(),
            host: host.map(|host| host.name.clone()),
        })?;
        let (index, pid) = (node.index, process.pid());
        let _ = self.events.send(NodeEvent::Started { node: index, pid });
        self.watch(node.index, &node.name, process.clone());
        let before = self.locked()[index as usize].replace(process);
        debug_assert!(
            before.is_none_or(|before| before.exit().is_some()),
            "one process at a time"
        );
        Ok(())
    }

    /// Tells the journal and whoever listens when the process ends.
    fn watch(&self, index: u32, name: &str, process: Process) {
        let name = name.to_owned();
        let (journal, events) = (Arc::clone(&self.journal), self.events.clone());
        let memory = Arc::clone(&self.memory);
        let watcher = tokio::spawn(async move {
            let exit = process.ended().await;
            let killed = exit.signal == Some(9) && !exit.ordered;
            let starved = exit.starved || (killed && memory.was_starved(index));
            // The run goes on without this line when the disk is full; the report shows the exit as well.
            let _ = journal.write(Entry::NodeEnded {
                node: name,
                pid: process.pid(),
                exit: if starved {
                    format!("{exit} by the kernel, out of memory")
                } else {
                    exit.to_string()
                },
                ordered: exit.ordered,
            });
            let _ = events.send(NodeEvent::Ended {
                node: index,
                exit,
                starved,
            });
        });
        self.watchers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(watcher);
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Vec<Option<Process>>> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn process(&self, node: u32) -> Option<Process> {
        self.locked()[node as usize].clone()
    }

    /// The process of a node that runs.
    pub(crate) fn pid(&self, node: u32) -> Option<u32> {
        let process = self.process(node)?;
        process.exit().is_none().then(|| process.pid())
    }

    /// Groups of the nodes whose memory the plan limits.
    pub(crate) fn memory(&self) -> &Groups {
        &self.memory
    }

    /// The plan that the nodes are of.
    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The plan that the nodes are of, to be kept.
    pub(crate) fn shared_plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Measures links between nodes; blocks for as long as that takes. Empty where the lab does not make the links.
    ///
    /// # Errors
    /// What the system said.
    pub(crate) fn attest(&self, probes: &[Probe]) -> io::Result<Vec<Observed>> {
        self.provider.attest(probes)
    }

    /// A client of a node's control interface.
    pub(crate) fn client(&self, node: u32) -> Client {
        wait::client(&self.plan.nodes[node as usize])
    }

    /// Stops a node's process from running, or lets it go on. One that has ended stays as it ended.
    pub(crate) fn pause(&self, node: u32, paused: bool) {
        if let Some(process) = self.process(node) {
            process.pause(paused);
        }
    }

    /// Waits until nobody else starts or ends a node, and keeps others from it.
    pub(crate) async fn life(&self, node: u32) -> tokio::sync::MutexGuard<'_, ()> {
        self.lives[node as usize].lock().await
    }

    /// Whether a node's process runs.
    pub(crate) fn is_running(&self, node: u32) -> bool {
        self.process(node).is_some_and(|process| process.exit().is_none())
    }

    /// Kills a node, or has it stop by itself within `grace`.
    pub(crate) async fn end_process(&self, node: u32, grace: Option<Duration>) {
        let Some(process) = self.process(node) else { return };
        match grace {
            Some(grace) => process.stop(grace).await,
            None => process.kill().await,
        };
    }

    /// Kills a node.
    pub(crate) async fn kill(&self, node: u32) {
        if let Some(process) = self.process(node) {
            process.kill().await;
        }
    }

    /// Removes what a node that has ended had on its disk; its key stays.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) async fn lose_disk(&self, node: u32) -> Result<(), ClusterError> {
        if let Some(fleet) = self.provider.fleet() {
            return Ok(fleet.lose_disk(&self.plan.nodes[node as usize]).await?);
        }
        let data = self.run.data(&self.plan.nodes[node as usize].name);
        debug_assert!(self.process(node).is_none_or(|process| process.exit().is_some()));
        let emptied = std::fs::remove_dir_all(&data).and_then(|()| std::fs::create_dir(&data));
        emptied.map_err(|error| ClusterError::Config(ConfigError::File { path: data, error }))
    }

    /// Each node's process id and, when it has ended, how.
    pub(crate) fn states(&self) -> Vec<(String, Option<u32>, Option<Exit>)> {
        let processes = self.locked();
        let state = |(node, process): (&PlannedNode, &Option<Process>)| {
            let exit = process.as_ref().and_then(Process::exit);
            (node.name.clone(), process.as_ref().map(Process::pid), exit)
        };
        self.plan.nodes.iter().zip(processes.iter()).map(state).collect()
    }

    /// A build of the plan, once it is sealed.
    pub(crate) fn build(&self, name: &str) -> Option<&Sealed> {
        self.builds.get(name)
    }

    /// From now on these nodes may also run `program`: it was released to them.
    pub(crate) fn allow(&self, nodes: &[u32], program: Digest) {
        let mut released = self.released.lock().unwrap_or_else(PoisonError::into_inner);
        released.extend(nodes.iter().map(|&node| (node, program)));
    }

    fn has_release(&self, node: u32) -> bool {
        let released = self.released.lock().unwrap_or_else(PoisonError::into_inner);
        released.iter().any(|(to, _)| *to == node)
    }

    fn was_released(&self, node: u32, program: Digest) -> bool {
        let released = self.released.lock().unwrap_or_else(PoisonError::into_inner);
        released.contains(&(node, program))
    }

    /// The program that a node was sealed with, and whether it was made to misbehave.
    fn sealed_program(&self, node: &PlannedNode) -> Result<(Digest, bool), ClusterError> {
        let sealed = self.sealed(node)?;
        Ok((sealed.program_digest(), sealed.manifest.byzantine))
    }
}

/// The keys whose releases each node installs: those of the builds that the plan upgrades it to, and none elsewhere.
fn trusted(plan: &Plan, builds: &BTreeMap<String, Sealed>) -> BTreeMap<u32, Vec<PublicKey>> {
    let mut trusted: BTreeMap<u32, Vec<PublicKey>> = BTreeMap::new();
    for fault in plan.faults.iter().filter(|fault| fault.kind == FaultKind::Upgrade) {
        let sealed = fault.build.as_ref().and_then(|build| builds.get(build));
        let pinned = sealed.map(|sealed| sealed.pinned.as_slice()).unwrap_or_default();
        for &node in &fault.nodes {
            let keys = trusted.entry(node).or_default();
            keys.extend(pinned);
            keys.sort_unstable();
            keys.dedup();
        }
    }
    trusted
}

/// Arguments that make a node end with the lab, whichever way the lab ends. Only its first start is that of a new node:
/// after a crash it stands by its journal, or asks the others when that is gone.
fn arguments(config: PathBuf, is_first: bool) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec![
        "run".into(),
        "--config".into(),
        config.into(),
        "--stop-with-stdin".into(),
        "--die-with-parent".into(),
        std::process::id().to_string().into(),
    ];
    if is_first {
        arguments.push("--new".into());
    }
    arguments
}

/// Where the lab reaches a node's control interface.
pub(crate) fn http_address(node: &PlannedNode) -> SocketAddr {
    let own = SocketAddr::new(IpAddr::V4(node.address), node.http_port);
    node.control.unwrap_or(own)
}

/// The control interface of one node.
pub(crate) fn endpoint(node: &PlannedNode) -> Endpoint {
    Endpoint {
        node: node.index,
        name: node.name.clone(),
        http: http_address(node),
    }
}

/// Takes the range of the plan's first node, so that two labs never share one.
fn claim_addresses(plan: &Plan) -> Result<AddressClaim, AddressError> {
    // The plan does not keep the range. Node 0 has its second address, so the one before it is the range's first.
    let first = plan
        .nodes
        .first()
        .map_or(u32::from(std::net::Ipv4Addr::LOCALHOST), |node| u32::from(node.address));
    let port = plan.nodes.first().map_or(0, |node| node.p2p_port);
    AddressClaim::take(first.saturating_sub(1).into(), port)
}

/// The range that a scenario without one gets: the first that no other lab has taken.
///
/// # Errors
/// [`AddressError::NoRange`] when all are taken.
pub(crate) fn choose_network(preferred: Network, p2p_port: u16) -> Result<Network, AddressError> {
    crate::provider::free_network(preferred, p2p_port)
}
