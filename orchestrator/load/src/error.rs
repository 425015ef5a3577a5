//! What can be wrong with a load, here and elsewhere.

use regatta_plan::scenario::TransactionKind;

/// Why a load cannot be prepared or started.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Nobody to send to.
    #[error("load {load} has no target; help: name a group or node with at least one member")]
    NoTarget {
        /// Position of the load in the plan.
        load: u32,
    },
    /// A kind of transaction that this lab cannot build.
    #[error("load {load}: cannot build `{kind}` transactions; help: use opaque, put or blob in `mix`")]
    Kind {
        /// Position of the load in the plan.
        load: u32,
        /// The kind.
        kind: TransactionKind,
    },
    /// A transaction of that size is not allowed.
    #[error("load {load}: {size} bytes are out of range for `{kind}`; help: use {min} to {max}")]
    Size {
        /// Position of the load in the plan.
        load: u32,
        /// The kind.
        kind: TransactionKind,
        /// Bytes of the whole transaction that were asked for.
        size: usize,
        /// Fewest bytes of this kind.
        min: usize,
        /// Most bytes of this kind.
        max: usize,
    },
    /// More transactions than the generator keeps account of.
    #[error("load {load}: {count} transactions; help: at most {max} in one load, shorten it or lower its rate")]
    TooMany {
        /// Position of the load in the plan.
        load: u32,
        /// Transactions of the schedule.
        count: usize,
        /// The limit.
        max: usize,
    },
    /// A target cannot be subscribed to.
    #[error("load {load}: no statuses from `{node}`: {source}")]
    Subscribe {
        /// Position of the load in the plan.
        load: u32,
        /// Name of the target.
        node: String,
        /// What the client reported.
        source: Box<regatta_client::ClientError>,
    },
    /// The operating system refused a thread.
    #[error("load {load}: cannot start the {thread} thread: {source}; help: check the process limit (ulimit -u)")]
    Thread {
        /// Position of the load in the plan.
        load: u32,
        /// What the thread is for.
        thread: &'static str,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The generator on a host is of no use.
    #[error("load {load}, generator on `{host}`: {source}")]
    Remote {
        /// Position of the load in the plan.
        load: u32,
        /// The host.
        host: String,
        /// What is wrong.
        source: Box<RemoteError>,
    },
    /// A thread of the generator ended without its result.
    #[error("load {load}: the {thread} thread ended early; help: this is a defect of the lab")]
    Ended {
        /// Position of the load in the plan.
        load: u32,
        /// What the thread was for.
        thread: &'static str,
    },
}

/// Why a generator elsewhere is of no use.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The stream broke, or ended before the load did.
    #[error("the connection broke: {0}\n  help: look at the host and at its SSH server; the load's counts are lost")]
    Broken(std::io::Error),
    /// What came is not what the protocol says.
    #[error("it does not speak this lab's protocol: {0}\n  help: deploy the agent of this version")]
    Protocol(String),
    /// The generator says that it failed.
    #[error("{0}")]
    Failed(String),
}
