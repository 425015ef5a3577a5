//! A running node: the core, its links, its journal and its threads, held together by one task.

mod clock;
mod gate;
mod jobs;
mod loads;
mod pause;
mod turn;

use crate::{
    handle::NodeHandle,
    meter::Meter,
    p2p::{Network, NetworkError, PeerBoard, Setup},
    snapshots::{self, Keeper, SnapshotFileError},
    store::{Journal, JournalState, Options, StoreError},
    trouble::Trouble,
    upgrade::{Depot, Place, Porter, Reports, Thread, UpgradeError, trial::Switch},
};
use clock::Clock;
use gate::Gate;
use jobs::Workers;
use loads::Loads;
use rand::RngExt;
use regatta_api::NodeConfig;
use regatta_base::SecretKey;
use regatta_core::{Node, NodeError, Start};
use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use turn::Loop;

/// Why a node cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The core refuses its configuration.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The network cannot listen, or a peer's key is none.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The journal cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The snapshots cannot be read.
    #[error(transparent)]
    Snapshots(#[from] SnapshotFileError),
    /// The folder of releases cannot be used.
    #[error(transparent)]
    Upgrade(#[from] UpgradeError),
    /// What is started as new has run before.
    #[error(
        "--new is for the first start of a node, and {} has a journal; help: start without --new, so that the node \
         stands by what it said",
        .0.display()
    )]
    NotNew(PathBuf),
    /// The system gives no random bytes for checking signatures.
    #[error("the system gives no random bytes: {0}")]
    Randomness(String),
}

/// Why a running node stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A record could not be made durable; going on would break promises to others.
    #[error("the node stops because its journal failed: {0}")]
    Store(Arc<StoreError>),
    /// A bug: the node's task ended abnormally.
    #[error("the node's task ended abnormally: {0}")]
    Crashed(String),
}

/// A node that runs on the present runtime.
#[derive(Debug)]
pub struct Running {
    /// What the rest of the process asks.
    pub handle: NodeHandle,
    /// Where it listens for peers.
    pub p2p_address: SocketAddr,
    /// Records that it found in its journal.
    pub records_replayed: u64,
    journal_state: watch::Receiver<JournalState>,
    releases: Option<Thread>,
    switch: Arc<OnceLock<Switch>>,
    task: JoinHandle<Result<(), RunError>>,
}

/// Pause between two looks whether the node has caught up.
const CAUGHT_UP_PAUSE: Duration = Duration::from_millis(500);

impl Running {
    /// Waits until the journal has a record, by which the next start knows that this one was. When the journal fails
    /// before, [`Running::wait`] says why.
    pub async fn wait_for_record(&mut self) {
        if self.records_replayed == 0 {
            // An error is the end of the journal.
            let _ = self
                .journal_state
                .wait_for(|state| state.durable > 0 || state.failed.is_some())
                .await;
        }
    }

    /// Waits until the node has stopped and its journal is closed. To stop it, cancel the handle's token.
    ///
    /// # Errors
    /// [`RunError`] when it did not stop because it was told to.
    pub async fn wait(self) -> Result<(), RunError> {
        self.wait_for_switch().await.map(drop)
    }

    /// As [`Running::wait`]; when the node stopped to go on as another program, says which, with the folder of releases.
    ///
    /// # Errors
    /// [`RunError`] when it did not stop because it was told to.
    pub async fn wait_for_switch(self) -> Result<Option<(Switch, Depot)>, RunError> {
        let crashed = |error: tokio::task::JoinError| RunError::Crashed(error.to_string());
        self.task.await.unwrap_or_else(|error| Err(crashed(error)))?;
        let Some(thread) = self.releases else { return Ok(None) };
        let depot = tokio::task::spawn_blocking(|| thread.end()).await.map_err(crashed)?;
        Ok(self.switch.get().copied().zip(depot))
    }
}

/// Listens, replays the journal in `config.data_dir` (relative to `folder`), and starts the node's task. `is_new` says that
/// the node never ran before.
///
/// # Errors
/// [`StartError`] with what to do about it.
pub fn start(
    config: &NodeConfig,
    key: &SecretKey,
    folder: &Path,
    is_new: bool,
    stop: CancellationToken,
) -> Result<Running, StartError> {
    start_in(config, key, folder, is_new, Place::Off, stop)
}

/// As [`start`], for a node that follows releases.
///
/// # Errors
/// [`StartError`] with what to do about it.
pub fn start_in(
    config: &NodeConfig,
    key: &SecretKey,
    folder: &Path,
    is_new: bool,
    place: Place,
    stop: CancellationToken,
) -> Result<Running, StartError> {
    let mut config = config.clone();
    if !matches!(place, Place::Follows(_)) {
        // Whoever keeps no releases does not listen to any.
        config.upgrade = Default::default();
    }
    let config = &config;
    let meter = Arc::new(Meter::default());
    let mut node = Node::new(config, key.clone())?;
    let (board, network) = listen(config, key, &meter)?;
    let trouble = Arc::new(Trouble::default());
    let (journal, records_replayed) = open_journal(config, folder, (&meter, &trouble), &mut node)?;
    if is_new && records_replayed > 0 {
        return Err(StartError::NotNew(folder.join(&config.data_dir)));
    }
    let nonce = jobs::new_rng().map_err(StartError::Randomness)?.random();
    let birth = if is_new { Start::New } else { Start::Again { nonce } };
    let mut journal_state = journal.state();
    // What it knows from the start is news to the loop.
    journal_state.mark_changed();
    let (keeper, reports) = Keeper::start(&snapshots::folder(&folder.join(&config.data_dir)))?;
    let (workers, results) = Workers::new().map_err(StartError::Randomness)?;
    let reader = journal.reader();
    let (loads, loaded) = Loads::new(reader.clone());
    let load = move |instance, height| loads::load(&reader, instance, height);
    let (handle, requests) = NodeHandle::new(
        Arc::clone(&meter),
        board,
        Arc::new(load),
        Arc::clone(&trouble),
        stop.clone(),
    );
    let (releases, porter, release_reports) = follow_releases(place, &handle)?;
    let switch = Arc::new(OnceLock::new());
    let p2p_address = network.address();
    let (outbox, events) = network.run(stop.clone());
    let node_loop = Loop {
        node,
        birth,
        clock: Clock::start(config.testing.clock, trouble),
        out: Vec::new(),
        again: VecDeque::new(),
        gate: Gate::default(),
        replies: BTreeMap::new(),
        requests_taken: 0,
        disk_full: false,
        disk_bytes_max: config.store.disk_bytes_max,
        journal_state: journal_state.clone(),
        journal,
        keeper,
        reports,
        first_blocks: Vec::new(),
        workers,
        results,
        loads,
        loaded,
        porter,
        release_reports,
        switch: Arc::clone(&switch),
        outbox,
        events,
        requests,
        handle: handle.clone(),
        stop,
    };
    let task = tokio::spawn(node_loop.run());
    Ok(Running {
        handle,
        p2p_address,
        records_replayed,
        journal_state,
        releases,
        switch,
        task,
    })
}

/// Starts the thread that keeps releases, and tells it when the node has caught up.
fn follow_releases(
    place: Place,
    handle: &NodeHandle,
) -> Result<(Option<Thread>, Option<Porter>, Reports), UpgradeError> {
    let Place::Follows(depot) = place else {
        return Ok((None, None, mpsc::channel(1).1));
    };
    let (porter, reports, thread) = Porter::start(*depot)?;
    handle.set_porter(porter.clone());
    let (handle, told) = (handle.clone(), porter.clone());
    tokio::spawn(async move {
        let wait = async {
            while !handle.readiness().await.is_ok_and(|readiness| readiness.ready) || told.caught_up().is_err() {
                tokio::time::sleep(CAUGHT_UP_PAUSE).await;
            }
        };
        handle.stop_token().run_until_cancelled(wait).await;
    });
    Ok((Some(thread), Some(porter), reports))
}

/// Listens for peers, whose state the board shows.
fn listen(config: &NodeConfig, key: &SecretKey, meter: &Arc<Meter>) -> Result<(Arc<PeerBoard>, Network), NetworkError> {
    let board = Arc::new(PeerBoard::new(&config.peers, Arc::clone(meter)));
    board.shaper().configure(config);
    let network = Network::bind(&Setup {
        config,
        key,
        meter: Arc::clone(meter),
        board: Arc::clone(&board),
    })?;
    Ok((board, network))
}

fn open_journal(
    config: &NodeConfig,
    folder: &Path,
    (meter, trouble): (&Arc<Meter>, &Arc<Trouble>),
    node: &mut Node,
) -> Result<(Journal, u64), StartError> {
    let options = Options {
        dir: folder.join(&config.data_dir),
        durable: config.store.durable,
        disk_bytes_max: config.store.disk_bytes_max,
        file_bytes: config.store.segment_bytes,
        trouble: Arc::clone(trouble),
    };
    let lock = Journal::claim(&options)?;
    let mut rng = jobs::new_rng().map_err(StartError::Randomness)?;
    for (instance, height) in snapshots::restore(&snapshots::folder(&options.dir), config, node, &mut rng)? {
        tracing::info!(instance, height, "going on from a snapshot");
    }
    let mut records = 0;
    let journal = Journal::open_claimed(&options, lock, Arc::clone(meter), |record| {
        records += 1;
        node.replay(record).map_err(|error| error.to_string())
    })?;
    Ok((journal, records))
}

#[cfg(test)]
mod tests;
