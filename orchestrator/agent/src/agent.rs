//! What all connections of an agent share.

use crate::{root::Root, run::Run, store::Store};
use regatta_base::Digest;
use regatta_fleet::Name;
use regatta_process::{Keeper, NodeLog, cgroup::OwnGroups};
use regatta_seal::unix_seconds;
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
};
use tokio::sync::Notify;

/// What all connections share.
pub(crate) struct Agent {
    /// Its folder.
    pub root: Root,
    /// Its programs.
    pub store: Store,
    /// What starts nodes.
    pub keeper: Keeper,
    /// Where nodes get control groups of their own, or why they get none.
    pub groups: Result<OwnGroups, String>,
    /// Its runs.
    pub runs: RefCell<BTreeMap<Name, Rc<Run>>>,
    /// Digest of this program.
    pub program: Digest,
    /// When it began, by the monotonic clock.
    pub began_us: u64,
    /// Connections that are open.
    pub connections: Cell<usize>,
    /// Programs that are offered to other hosts.
    pub shares: Cell<usize>,
    /// Wakes whoever ends the agent when nobody needs it.
    pub changed: Notify,
    /// Its own log.
    pub log: RefCell<NodeLog>,
}

impl Agent {
    /// Writes a line to the agent's log.
    pub(crate) fn note(&self, line: &str) {
        let line = format!("{} {line}", unix_seconds());
        self.log.borrow_mut().write_line(line.as_bytes());
    }

    /// Something changed that may mean that nobody needs the agent any more.
    pub(crate) fn changed(&self) {
        self.changed.notify_one();
    }

    /// Whether nobody needs it: no connection, and no run that lives.
    pub(crate) fn is_idle(&self) -> bool {
        self.connections.get() == 0
            && self
                .runs
                .borrow()
                .values()
                .all(|run| run.is_over() && !run.is_running())
    }
}
