//! One run on this host: its nodes, its lease, and the events that the lab has not seen yet.

use crate::{
    agent::Agent,
    clock::now_us,
    limits::{Limits, limitable},
    node::{End, Node},
    timers::Timers,
};
use regatta_base::Digest;
use regatta_fleet::{
    Backlog, Event, Lease, Limit, Name, NodeEvent, NodeStart, NodeStatus, Policy, Program, Refusal, RunHello,
    RunStatus, Started, What,
    limits::{BACKLOG_BYTES_MAX, NODES_MAX},
};
use regatta_process::{Exit, disk_bytes};
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
    time::Duration,
};
use tokio::{sync::Notify, task::spawn_local};
use tokio_util::sync::CancellationToken;

/// How long nodes may take to stop when the lease has ended, before they are killed.
const GRACE: Duration = Duration::from_secs(10);

/// A run.
#[derive(Debug)]
pub(crate) struct Run {
    name: Name,
    folder: PathBuf,
    lease: Cell<Lease>,
    /// Wakes whoever waits for the lease's end when that has moved.
    leased: Notify,
    /// Cancelled when the run is over: its lease has ended, or it was removed.
    over: CancellationToken,
    policy: RefCell<Policy>,
    nodes: RefCell<BTreeMap<Name, Rc<Node>>>,
    /// Limits of nodes, started or not.
    limits: RefCell<BTreeMap<Name, Rc<Limits>>>,
    backlog: RefCell<Backlog>,
    /// Wakes the connection when there are events.
    news: Notify,
    /// Of the connection that is about this run; cancelled when another one takes it over.
    attachment: RefCell<CancellationToken>,
    attached: Cell<bool>,
    /// Fault timers.
    pub(crate) timers: Timers,
    /// Of the sampling that goes on.
    pub(crate) sampling: RefCell<CancellationToken>,
}

impl Run {
    /// Begins a run whose folder is `folder`.
    pub(crate) fn begin(agent: &Rc<Agent>, hello: &RunHello, folder: PathBuf) -> Rc<Self> {
        let run = Rc::new(Self {
            name: hello.run.clone(),
            folder,
            lease: Cell::new(Lease::new(now_us(), hello.lease_ms)),
            leased: Notify::new(),
            over: CancellationToken::new(),
            policy: RefCell::new(hello.policy.clone()),
            nodes: RefCell::default(),
            limits: RefCell::default(),
            backlog: RefCell::new(Backlog::new(BACKLOG_BYTES_MAX)),
            news: Notify::new(),
            attachment: RefCell::default(),
            attached: Cell::new(false),
            timers: Timers::default(),
            sampling: RefCell::default(),
        });
        spawn_local(guard(Rc::clone(agent), Rc::clone(&run)));
        run
    }

    /// Its name.
    pub(crate) fn name(&self) -> &Name {
        &self.name
    }

    /// Its folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether its lease has ended or it was removed.
    pub(crate) fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    /// Lets it go on for so long from now.
    ///
    /// # Errors
    /// [`What::Lease`] when it has ended.
    pub(crate) fn renew(&self, lease_ms: u64) -> Result<(), Refusal> {
        self.check_lease()?;
        let mut lease = self.lease.get();
        if !lease.renew(now_us(), lease_ms) {
            return self.lease_ended();
        }
        self.lease.set(lease);
        self.leased.notify_one();
        Ok(())
    }

    /// Refuses what only a living run can do.
    pub(crate) fn check_lease(&self) -> Result<(), Refusal> {
        if self.is_over() { self.lease_ended() } else { Ok(()) }
    }

    fn lease_ended(&self) -> Result<(), Refusal> {
        let message = format!(
            "the lease of run `{}` has ended and its nodes were stopped\n  help: collect what it left, remove it, and begin \
             again",
            self.name
        );
        Err(Refusal::new(What::Lease, message))
    }

    /// Takes the run over for a new connection, which ends when the value is cancelled.
    pub(crate) fn attach(&self, policy: &Policy) -> CancellationToken {
        self.policy.replace(policy.clone());
        let token = CancellationToken::new();
        self.attachment.replace(token.clone()).cancel();
        self.attached.set(true);
        token
    }

    /// Of the connection that is about this run now; cancelled when that ends.
    pub(crate) fn attachment(&self) -> CancellationToken {
        self.attachment.borrow().clone()
    }

    /// Cancelled when the run is over.
    pub(crate) fn end(&self) -> CancellationToken {
        self.over.clone()
    }

    /// The connection that `token` was for has ended.
    pub(crate) fn detach(&self, token: &CancellationToken) {
        if !token.is_cancelled() {
            self.attached.set(false);
            token.cancel();
        }
    }

    /// Keeps an event for the lab.
    pub(crate) fn tell(&self, body: NodeEvent) {
        self.backlog.borrow_mut().push(now_us(), body);
        self.news.notify_one();
    }

    /// The next event after number `seen`, when there is one.
    pub(crate) async fn next_event(&self, seen: u64) -> Event {
        loop {
            if let Some(event) = self.backlog.borrow().after(seen).next() {
                return event.clone();
            }
            self.news.notified().await;
        }
    }

    /// How many events after number `seen` were not kept.
    pub(crate) fn missed(&self, seen: u64) -> u64 {
        self.backlog.borrow().missed(seen)
    }

    /// All nodes.
    pub(crate) fn nodes(&self) -> Vec<Rc<Node>> {
        self.nodes.borrow().values().cloned().collect()
    }

    /// A node by its name.
    ///
    /// # Errors
    /// [`What::Missing`] when none of that name was started.
    pub(crate) fn node(&self, name: &Name) -> Result<Rc<Node>, Refusal> {
        let missing = || Refusal::new(What::Missing, format!("run `{}` has no node `{name}` here", self.name));
        self.nodes.borrow().get(name).cloned().ok_or_else(missing)
    }

    /// Limits of a node by its name, whether it was started or not.
    ///
    /// # Errors
    /// [`What::Order`] when there are too many names.
    pub(crate) fn limits(&self, name: &Name) -> Result<Rc<Limits>, Refusal> {
        let mut limits = self.limits.borrow_mut();
        if limits.len() >= NODES_MAX && !limits.contains_key(name) {
            return Err(too_many_nodes());
        }
        Ok(Rc::clone(limits.entry(name.clone()).or_default()))
    }

    /// Leaves a node less of something; whether it holds more than that and cannot give it back.
    ///
    /// # Errors
    /// [`What::System`] when nodes here have no groups that can do so, or the system refuses.
    pub(crate) fn limit(&self, agent: &Agent, name: &Name, limit: Limit) -> Result<bool, Refusal> {
        self.check_lease()?;
        if !limitable(&agent.groups).contains(&limit.of()) {
            let why = agent
                .groups
                .as_ref()
                .err()
                .map_or(String::new(), |why| format!(": {why}"));
            let message = format!(
                "nodes of this host have no control groups that limit {}{why}\n  help: log in as root, or as a user that such \
                 groups are delegated to",
                limit.of()
            );
            return Err(Refusal::new(What::System, message));
        }
        let node = self.nodes.borrow().get(name).cloned();
        let runs = node.is_some_and(|node| node.running().is_some());
        self.limits(name)?.limit(limit, runs)
    }

    /// Whether any node runs.
    pub(crate) fn is_running(&self) -> bool {
        self.nodes.borrow().values().any(|node| node.running().is_some())
    }

    /// How the nodes are that were started.
    pub(crate) fn node_statuses(&self) -> Vec<NodeStatus> {
        self.nodes.borrow().values().filter_map(|node| node.status()).collect()
    }

    /// How the run is.
    pub(crate) fn status(&self) -> RunStatus {
        RunStatus {
            run: self.name.clone(),
            lease_left_ms: (!self.is_over()).then(|| self.lease.get().left_us(now_us()) / 1000),
            attached: self.attached.get(),
            nodes: self.node_statuses(),
            disk_bytes: disk_bytes(&self.folder),
        }
    }

    /// Verifies a program and starts nodes from it, one after the other. The digest is that of the open program.
    ///
    /// # Errors
    /// [`What::Seal`] before anything is started; [`What::Busy`] and [`What::System`] name the node, and those before it
    /// run.
    pub(crate) async fn start(
        self: &Rc<Self>,
        agent: &Agent,
        program: &Program,
        nodes: Vec<NodeStart>,
    ) -> Result<(Digest, Vec<Started>), Refusal> {
        self.check_lease()?;
        let verified = Arc::new(agent.store.verify(&self.policy.borrow(), program)?);
        let mut started = Vec::with_capacity(nodes.len());
        for spec in nodes {
            let before = self.nodes.borrow().get(&spec.node).cloned();
            let _life = match &before {
                Some(before) => Some(before.life().await),
                None => None,
            };
            if before.as_ref().is_some_and(|before| before.running().is_some()) {
                return Err(Refusal::new(What::Busy, format!("node `{}` runs already", spec.node)));
            }
            if before.is_none() && self.nodes.borrow().len() >= NODES_MAX {
                return Err(too_many_nodes());
            }
            // The lease may have ended while others were started.
            self.check_lease()?;
            let limits = self.limits(&spec.node)?;
            let node = Rc::new(Node::new(spec, program.clone(), limits));
            let _born = node.life().await;
            self.nodes.borrow_mut().insert(node.name().clone(), Rc::clone(&node));
            started.push(node.start(agent, self, Arc::clone(&verified), false).await?);
        }
        Ok((verified.digest(), started))
    }

    /// Starts a node again that a fault has ended. Whoever calls holds its life.
    ///
    /// # Errors
    /// As [`Run::start`].
    pub(crate) async fn start_again(self: &Rc<Self>, agent: &Agent, node: &Node) -> Result<(), Refusal> {
        self.check_lease()?;
        let verified = agent.store.verify(&self.policy.borrow(), node.program())?;
        node.start(agent, self, Arc::new(verified), true).await.map(drop)
    }

    /// Ends all nodes; the answer names those that had to be killed. No fault timer starts one again, and no limit slows its
    /// end down.
    pub(crate) async fn stop(&self, agent: &Agent, grace: Duration) -> Vec<Name> {
        self.timers.halt();
        for (name, limits) in &*self.limits.borrow() {
            let refused = limits.lift_all();
            refused
                .iter()
                .for_each(|why| agent.note(&format!("node {name} stays limited: {why}")));
        }
        let nodes = self.nodes();
        let exits = end_all(&nodes, End::Stop(grace)).await;
        let forced = nodes
            .iter()
            .zip(exits)
            .filter(|(_, exit)| exit.as_ref().is_some_and(|exit| exit.forced));
        forced.map(|(node, _)| node.name().clone()).collect()
    }

    /// The run is removed: nothing more happens to it.
    pub(crate) fn close(&self) {
        self.timers.halt();
        self.sampling.borrow().cancel();
        self.over.cancel();
    }
}

fn too_many_nodes() -> Refusal {
    Refusal::new(What::Order, format!("a run has at most {NODES_MAX} nodes on one host"))
}

/// Ends nodes at once and waits until all have ended.
pub(crate) async fn end_all(nodes: &[Rc<Node>], end: End) -> Vec<Option<Exit>> {
    let one = |node: &Rc<Node>| {
        let node = Rc::clone(node);
        spawn_local(async move {
            let _life = node.life().await;
            node.end(end).await
        })
    };
    let ends: Vec<_> = nodes.iter().map(one).collect();
    let mut exits = Vec::with_capacity(ends.len());
    for end in ends {
        // Nobody aborts these tasks, and they do not panic.
        exits.push(end.await.unwrap_or(None));
    }
    exits
}

/// Waits for the end of the lease and then stops all nodes.
async fn guard(agent: Rc<Agent>, run: Rc<Run>) {
    loop {
        let left = run.lease.get().left_us(now_us());
        if left == 0 {
            break;
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_micros(left)) => {}
            () = run.leased.notified() => {}
            () = run.over.cancelled() => return,
        }
    }
    run.over.cancel();
    let forced = run.stop(&agent, GRACE).await;
    run.sampling.borrow().cancel();
    agent.note(&format!(
        "the lease of run {} ended; {} nodes had to be killed",
        run.name,
        forced.len()
    ));
    run.tell(NodeEvent::LeaseEnded { forced });
    agent.changed();
}
