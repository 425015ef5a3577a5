//! Processes on other machines, through the agents of a fleet.
//!
//! A process here looks to the rest of the lab as one that the lab started itself: what the agents tell becomes its state,
//! and what it is ordered becomes an order to its host's agent. When a host is lost for good, so are its processes.

mod collect;
mod deploy;
mod limits;
mod nodes;
mod words;

pub(crate) use deploy::{Deployment, FleetReady, deploy, reattach};

use crate::{
    fleet::{Crew, Doors, HostClient, HostError, HostFailure, HostNews, News},
    load::{RunClock, remote::Remote},
    rundir::{Entry, HostState, Journal, RunDir},
    sample::Elsewhere,
};
use nodes::Nodes;
use regatta_fleet::{
    AGENT_PID, Answer, Limit, Name, NodeEvent, NodeStart, NodeState, OrderBody, Program, Resource, Seen, Started, What,
};
use regatta_plan::{Plan, PlannedNode, scenario::Control};
use regatta_process::{
    Process,
    memory::{Room, Whose},
};
use regatta_report::model::Disclosure;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// How long a host may take to verify a program and start a node from it.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// Why something is not on its host.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SshError {
    /// A host failed.
    #[error("host `{host}` {error}")]
    Host {
        /// The host.
        host: String,
        /// Why.
        error: HostError,
    },
    /// The plan places a node nowhere.
    #[error("node `{0}` has no host; help: make the plan anew with this version of the lab")]
    NoHost(String),
    /// The host of a generator is not there.
    #[error("load {0}: the host that generates it was given up; help: use another host, or remove `generators`")]
    NoGenerator(u32),
    /// A name or path of the plan is none that a host accepts.
    #[error(transparent)]
    Path(#[from] regatta_fleet::PathError),
    /// A program cannot be read or is too large.
    #[error("program `{program}`: {reason}")]
    Program {
        /// The build.
        program: String,
        /// Why.
        reason: String,
    },
    /// Nothing listens for the control interfaces of nodes.
    #[error(
        "cannot open doors to nodes through their hosts: {0}\n  help: `regatta doctor` shows this machine's limits"
    )]
    Doors(std::io::Error),
    /// Hosts or files of this machine.
    #[error(transparent)]
    Fleet(#[from] crate::fleet::FleetError),
    /// A file of the run cannot be read.
    #[error("`{path}`: {error}")]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A host runs another program than was sealed.
    #[error(
        "host `{host}` started program {running}, sealed was {sealed}\n  help: this must not happen; keep the run's folder"
    )]
    OtherProgram {
        /// The host.
        host: String,
        /// What it says that it started.
        running: String,
        /// What was sealed.
        sealed: String,
    },
}

impl From<HostFailure> for SshError {
    fn from(failure: HostFailure) -> Self {
        Self::Host {
            host: failure.name,
            error: failure.error,
        }
    }
}

/// The provider of other machines.
#[derive(Debug)]
pub(crate) struct SshProvider {
    crew: Arc<Crew>,
    nodes: Arc<Nodes>,
    /// Signed manifests by build.
    programs: BTreeMap<String, Program>,
    /// What hosts told last of their processes.
    elsewhere: Elsewhere,
    /// Memory that hosts told last that they have left, in bytes, by host.
    left: Arc<Mutex<BTreeMap<u32, u64>>>,
    /// What the report says of hosts.
    facts: Vec<Disclosure>,
    run: Name,
    is_resumed: bool,
    /// To nodes whose ports the lab does not reach; they close with this.
    _doors: Doors,
    listener: tokio::task::JoinHandle<()>,
}

/// A hold on the hosts of a run: with it they can be told to let go of the run when the provider itself is gone.
#[derive(Debug)]
pub(crate) struct HeldHosts {
    crew: Arc<Crew>,
    run: Name,
}

impl HeldHosts {
    /// Removes the run, of which no node was started, from every host.
    pub(crate) async fn let_go(self, journal: &Journal) {
        collect::remove(&self.crew, &self.run, journal).await;
    }
}

/// Where a node goes and what it is started from.
#[derive(Debug)]
pub(crate) struct Posting<'a> {
    /// The node.
    pub(crate) node: &'a PlannedNode,
    /// Its arguments after `run`, without those that tie it to its parent.
    pub(crate) is_first: bool,
    /// Most bytes of its log.
    pub(crate) log_bytes_max: u64,
    /// Digest of the program that was sealed.
    pub(crate) sealed: regatta_base::Digest,
}

impl SshProvider {
    /// Takes over the hosts that were made ready.
    pub(crate) fn new(ready: FleetReady, plan: &Plan, journal: Arc<Journal>) -> Self {
        let FleetReady {
            crew,
            news,
            programs,
            facts,
            run,
            is_resumed,
            doors,
            ..
        } = ready;
        let (crew, nodes, elsewhere) = (Arc::new(crew), Arc::new(Nodes::default()), Elsewhere::default());
        let left = Arc::default();
        let listener = Listener {
            left: Arc::clone(&left),
            nodes: Arc::clone(&nodes),
            elsewhere: Arc::clone(&elsewhere),
            journal,
            names: plan.hosts.iter().map(|host| host.name.clone()).collect(),
            placed: (0..plan.hosts.len() as u32)
                .map(|host| plan.nodes_on(host).map(|node| node.name.clone()).collect())
                .collect(),
        };
        Self {
            listener: tokio::spawn(listener.listen(news)),
            crew,
            nodes,
            programs,
            elsewhere,
            left,
            facts,
            run,
            is_resumed,
            _doors: doors,
        }
    }

    /// A hold on its hosts that outlives it.
    pub(crate) fn hold(&self) -> HeldHosts {
        HeldHosts {
            crew: Arc::clone(&self.crew),
            run: self.run.clone(),
        }
    }

    /// Whether the hosts were made ready by an earlier lab.
    pub(crate) fn is_resumed(&self) -> bool {
        self.is_resumed
    }

    /// The nodes that hosts run already, as processes.
    pub(crate) fn adopt(&self, plan: &Plan) -> Vec<(u32, Process)> {
        let mut found = Vec::new();
        for client in self.crew.clients() {
            for status in client.hello().nodes {
                let node = plan.node(status.started.node.as_str());
                if let (Some(node), NodeState::Running(line)) = (node, &status.state) {
                    let begun = self.nodes.begin(&node.name);
                    let process = self.nodes.started(begun, &status.started, Arc::clone(client));
                    self.nodes.greet(&node.name, line.as_deref());
                    found.push((node.index, process));
                }
            }
        }
        found
    }

    /// What hosts have of memory, as far as they tell.
    pub(crate) fn rooms(&self) -> Vec<Room> {
        let left = lock(&self.left);
        let room = |client: &Arc<HostClient>| {
            let (target, facts) = (client.target(), client.hello().facts);
            Some(Room {
                available_bytes: *left.get(&target.index)?,
                total_bytes: facts.memory_bytes,
                whose: Whose::Host(target.name.clone()),
            })
        };
        self.crew.clients().filter_map(room).collect()
    }

    /// What hosts tell of their processes.
    pub(crate) fn elsewhere(&self) -> Elsewhere {
        Arc::clone(&self.elsewhere)
    }

    /// What the report says of hosts, with the bounds between their clocks and the lab's as they are by now.
    pub(crate) fn disclosure(&self) -> Vec<Disclosure> {
        let clock = |client: &Arc<crate::fleet::HostClient>| Disclosure {
            section: "hosts".to_owned(),
            name: format!("{}: clock against the lab's", client.target().name),
            value: words::clock_text(client.clock(), client.clock_steps()),
        };
        self.facts
            .iter()
            .cloned()
            .chain(self.crew.clients().map(clock))
            .collect()
    }

    /// Starts a node on its host.
    ///
    /// # Errors
    /// [`SshError`] names the host and what it said.
    pub(crate) async fn start(&self, posting: &Posting<'_>) -> Result<Process, SshError> {
        let node = posting.node;
        let no_host = || SshError::NoHost(node.name.clone());
        let client = node.host.and_then(|host| self.crew.client(host)).ok_or_else(no_host)?;
        let program = self.programs.get(&node.build).ok_or_else(no_host)?;
        let name: Name = node.name.parse()?;
        let begun = self.nodes.begin(&node.name);
        let body = OrderBody::Start {
            program: program.clone(),
            nodes: vec![NodeStart {
                node: name.clone(),
                arguments: arguments(node, posting.is_first),
                again: arguments(node, false),
                log_bytes_max: posting.log_bytes_max,
            }],
        };
        let host = || client.target().name.clone();
        let failed = |error| SshError::Host { host: host(), error };
        let started = match client.order_once(body.clone(), START_DEADLINE).await {
            // Cut off: it was started or it was not, and the agent tells which after the connection is back.
            Err(HostError::Lost(_)) => match client.order_once(body, START_DEADLINE).await {
                Err(HostError::Refused { what: What::Busy, .. }) => self.found(client, &name),
                other => taken(other, posting.sealed, host),
            },
            other => taken(other, posting.sealed, host),
        };
        match started {
            Ok(started) => Ok(self.nodes.started(begun, &started, Arc::clone(client))),
            Err(Taken::Host(error)) => Err(failed(error)),
            Err(Taken::Other(error)) => Err(error),
        }
    }

    /// A node that was found running when the connection came back.
    fn found(&self, client: &crate::fleet::HostClient, name: &Name) -> Result<Started, Taken> {
        let running = client.hello().nodes.into_iter().map(|status| status.started);
        let mut running = running.filter(|started| started.node == *name);
        running.next().ok_or(Taken::Host(HostError::Unexpected))
    }

    /// Begins the generator of load `load` on a host.
    ///
    /// # Errors
    /// [`SshError`] names the host.
    pub(crate) async fn generator(&self, load: u32, host: u32, clock: RunClock) -> Result<Remote, SshError> {
        let client = self.crew.client(host).ok_or(SshError::NoGenerator(load))?;
        let name = client.target().name.clone();
        match client.generator().await {
            Ok((output, input)) => Ok(Remote::open(load, name, clock, output, input)),
            Err(error) => Err(SshError::Host { host: name, error }),
        }
    }

    /// Empties the data folder of a node that has ended.
    ///
    /// # Errors
    /// What its host said.
    pub(crate) async fn lose_disk(&self, node: &PlannedNode) -> Result<(), SshError> {
        let order = OrderBody::LoseDisk {
            node: node.name.parse()?,
        };
        self.order(node, order).await.map(drop)
    }

    /// Leaves a node less of something; whether it holds more than that and cannot give it back.
    ///
    /// # Errors
    /// What its host said.
    pub(crate) async fn limit(&self, node: &PlannedNode, limit: Limit) -> Result<bool, SshError> {
        let order = OrderBody::Limit {
            node: node.name.parse()?,
            limit,
        };
        match self.order(node, order).await? {
            (_, Answer::Limited { held_more }) => Ok(held_more),
            (host, _) => Err(unexpected(host)),
        }
    }

    /// Lifts the limit of a node; what it did.
    ///
    /// # Errors
    /// What its host said.
    pub(crate) async fn lift(&self, node: &PlannedNode, of: Resource) -> Result<Seen, SshError> {
        let order = OrderBody::Lift {
            node: node.name.parse()?,
            of,
        };
        match self.order(node, order).await? {
            (_, Answer::Lifted(seen)) => Ok(seen),
            (host, _) => Err(unexpected(host)),
        }
    }

    /// Gives an order to the host of a node, which may be done twice; the host's name and its answer.
    async fn order(&self, node: &PlannedNode, order: OrderBody) -> Result<(String, Answer), SshError> {
        let no_host = || SshError::NoHost(node.name.clone());
        let client = node.host.and_then(|host| self.crew.client(host)).ok_or_else(no_host)?;
        let host = client.target().name.clone();
        match client.order(order, START_DEADLINE).await {
            Ok(answer) => Ok((host, answer)),
            Err(error) => Err(SshError::Host { host, error }),
        }
    }

    /// A piece of a node's log from `offset` on, and how long the log is.
    ///
    /// # Errors
    /// What its host said.
    pub(crate) async fn log(&self, node: &PlannedNode, offset: u64) -> Result<(Vec<u8>, u64), SshError> {
        let no_host = || SshError::NoHost(node.name.clone());
        let client = node.host.and_then(|host| self.crew.client(host)).ok_or_else(no_host)?;
        let piece = collect::log_piece(client, &node.name, offset).await;
        piece.map_err(|error| SshError::Host {
            host: client.target().name.clone(),
            error,
        })
    }

    /// Brings logs to the run's folder and removes the run from every host. What goes wrong is told and not more: the
    /// lease and `regatta down` see to the rest.
    pub(crate) async fn clear(&self, run: &RunDir, plan: &Plan, journal: &Journal) -> Vec<String> {
        let mut troubles = collect::logs(&self.crew, run, plan).await;
        troubles.extend(collect::remove(&self.crew, &self.run, journal).await);
        troubles
    }
}

impl Drop for SshProvider {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

/// Why a node is not known to have started.
enum Taken {
    Host(HostError),
    Other(SshError),
}

/// What an answer to `Start` says of the one node.
fn taken(
    answer: Result<Answer, HostError>,
    sealed: regatta_base::Digest,
    host: impl Fn() -> String,
) -> Result<Started, Taken> {
    match answer.map_err(Taken::Host)? {
        Answer::Started { program, nodes } if program == sealed => {
            nodes.into_iter().next().ok_or(Taken::Host(HostError::Unexpected))
        }
        Answer::Started { program, .. } => Err(Taken::Other(SshError::OtherProgram {
            host: host(),
            running: program.short(),
            sealed: sealed.short(),
        })),
        _ => Err(Taken::Host(HostError::Unexpected)),
    }
}

/// Doors to the nodes of a plan, where the lab does not go to their own ports.
async fn doors(crew: &Crew, plan: &mut Plan) -> Result<Doors, SshError> {
    match plan.control {
        Control::Direct => Ok(Doors::default()),
        Control::Ssh => Doors::open(crew, plan).await.map_err(SshError::Doors),
    }
}

fn unexpected(host: String) -> SshError {
    let error = HostError::Unexpected;
    SshError::Host { host, error }
}

/// Arguments of a node that runs in its run's folder and ends with the agent.
fn arguments(node: &PlannedNode, is_first: bool) -> Vec<String> {
    let config = format!("config/{}/node.toml", node.name);
    let mut words = vec![
        "run",
        "--config",
        &config,
        "--stop-with-stdin",
        "--die-with-parent",
        AGENT_PID,
    ];
    if is_first {
        words.push("--new");
    }
    words.into_iter().map(str::to_owned).collect()
}

/// Takes the news of all hosts.
struct Listener {
    nodes: Arc<Nodes>,
    elsewhere: Elsewhere,
    left: Arc<Mutex<BTreeMap<u32, u64>>>,
    journal: Arc<Journal>,
    names: Vec<String>,
    /// Names of the nodes of each host.
    placed: Vec<Vec<String>>,
}

impl Listener {
    async fn listen(self, mut news: News) {
        while let Some((host, news)) = news.recv().await {
            self.take(host, news);
        }
    }

    fn take(&self, host: u32, news: HostNews) {
        match news {
            HostNews::Event(event) => {
                if let NodeEvent::Sampled { host: sample, .. } = &event.body
                    // 0 is what a kernel does not tell.
                    && sample.memory_available_bytes > 0
                {
                    lock(&self.left).insert(host, sample.memory_available_bytes);
                }
                if let Some(samples) = self.nodes.event(&event.body) {
                    let mut told = self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner);
                    let entries = samples.iter().map(|sample| {
                        let name = sample.node.as_str().to_owned();
                        (name, (sample.usage, sample.disk_bytes))
                    });
                    told.extend(entries);
                }
            }
            HostNews::Lost(why) => self.note(host, HostState::Lost, why),
            HostNews::Back { resumed, missed, nodes } => {
                let text = match (resumed, missed) {
                    (false, _) => "the agent knows nothing of the run any more".to_owned(),
                    (true, 0) => "nothing was missed".to_owned(),
                    (true, missed) => format!("{missed} events were missed"),
                };
                self.note(host, HostState::Back, text);
                self.nodes.reconcile(self.placed_on(host), &nodes);
            }
            HostNews::Gone(why) => {
                self.nodes
                    .lost(self.placed_on(host), &format!("its host was given up: {why}"));
                self.note(host, HostState::Failed, why);
            }
        }
    }

    fn placed_on(&self, host: u32) -> &[String] {
        self.placed.get(host as usize).map_or(&[], Vec::as_slice)
    }

    fn note(&self, host: u32, state: HostState, text: String) {
        let host = self.names.get(host as usize).cloned().unwrap_or_default();
        // A full disk must not end what runs elsewhere.
        let _ = self.journal.write(Entry::Host { host, state, text });
    }
}

/// A lock that outlives a panic of whoever held it.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use regatta_fleet::{Event, HostSample};

    #[test]
    fn what_a_host_has_left_is_what_it_told_last_and_nothing_tells_nothing() {
        let runs = tempfile::tempdir().unwrap();
        let run = RunDir::create(runs.path(), &crate::testing::plan(1), "", 0).unwrap();
        let listener = Listener {
            nodes: Arc::default(),
            elsewhere: Elsewhere::default(),
            left: Arc::default(),
            journal: Arc::new(Journal::open(&run).unwrap()),
            names: Vec::new(),
            placed: Vec::new(),
        };
        for (host, bytes) in [(0, 900), (1, 50), (0, 700), (1, 0)] {
            let sample = HostSample {
                memory_available_bytes: bytes,
                ..HostSample::default()
            };
            let body = NodeEvent::Sampled {
                host: sample,
                nodes: Vec::new(),
            };
            let event = Event {
                sequence: 1,
                at_us: 0,
                body,
            };
            listener.take(host, HostNews::Event(event));
        }
        assert_eq!(*lock(&listener.left), BTreeMap::from([(0, 700), (1, 50)]));
    }
}
