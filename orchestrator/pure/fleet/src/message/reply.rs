//! What an agent says: answers to orders, and events.

use crate::{
    facts::{Exit, HostFacts, HostSample, NodeSample},
    limit::Seen,
    path::{Name, RelativePath},
    transfer::Chunk,
};
use regatta_base::Digest;
use serde::{Deserialize, Serialize};

/// Agent to lab.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// The answer to an order.
    Answer {
        /// Number of the order.
        id: u64,
        /// The answer.
        body: Answer,
    },
    /// Something that happened to the run of this connection.
    Event(Event),
}

/// What an agent answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// To [`super::OrderBody::Hello`].
    Hello(Box<HelloAnswer>),
    /// Done, and there is nothing more to say.
    Done,
    /// To [`super::OrderBody::Has`], in the same order.
    Holds {
        /// What is there.
        held: Vec<Holding>,
    },
    /// To [`super::OrderBody::Share`].
    Sharing {
        /// The port.
        port: u16,
    },
    /// To [`super::OrderBody::Put`] and [`super::OrderBody::Fetch`].
    Holding(Holding),
    /// To [`super::OrderBody::Start`].
    Started {
        /// Digest of the program that was verified and executed.
        program: Digest,
        /// The nodes, in the order's order.
        nodes: Vec<Started>,
    },
    /// To [`super::OrderBody::Signal`], in the order's order: how each ended, where it did.
    Signalled {
        /// How the nodes ended.
        exits: Vec<Option<Exit>>,
    },
    /// To [`super::OrderBody::Limit`].
    Limited {
        /// Whether the node holds more than is left to it, and cannot give it back.
        held_more: bool,
    },
    /// To [`super::OrderBody::Lift`].
    Lifted(Seen),
    /// To [`super::OrderBody::Clock`].
    Clock {
        /// As it was sent.
        sent_us: u64,
        /// When the order was read, in microseconds of the agent's monotonic clock.
        received_us: u64,
        /// When this answer was written.
        answered_us: u64,
    },
    /// To [`super::OrderBody::Read`].
    Data {
        /// The piece; shorter than asked for at the end of the file.
        chunk: Chunk,
        /// Size of the file now, in bytes.
        size: u64,
    },
    /// To [`super::OrderBody::List`].
    Listing {
        /// Files by path.
        entries: Vec<Entry>,
        /// Whether there are more than one listing holds.
        cut: bool,
    },
    /// To [`super::OrderBody::Stop`].
    Stopped {
        /// Nodes that had to be killed.
        forced: Vec<Name>,
    },
    /// To [`super::OrderBody::Status`].
    Status {
        /// Runs that are alive, and those of which only a folder is left.
        runs: Vec<RunStatus>,
        /// Bytes of all programs in the store.
        store_bytes: u64,
        /// Seconds since the agent began.
        up_s: u64,
    },
    /// It was not done.
    Refused {
        /// Why, for the lab.
        what: What,
        /// Why, for people.
        message: String,
    },
}

/// Kind of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Lab and agent are of different versions.
    Version,
    /// The order breaks a limit or comes at the wrong time.
    Order,
    /// There is no such run, node, program or file.
    Missing,
    /// The node runs already, or still.
    Busy,
    /// The disk or the quota is full.
    DiskFull,
    /// What was sent is not what its digest says. It has been thrown away.
    Digest,
    /// The program may not run here.
    Seal,
    /// The lease has ended.
    Lease,
    /// The system refused something.
    System,
}

/// A refusal on its way to an [`Answer`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Why, for the lab.
    pub what: What,
    /// Why, for people.
    pub message: String,
}

impl Refusal {
    /// A refusal.
    pub fn new(what: What, message: impl Into<String>) -> Self {
        Self {
            what,
            message: message.into(),
        }
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        let Refusal { what, message } = refusal;
        Self::Refused { what, message }
    }
}

/// Who answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HelloAnswer {
    /// [`crate::limits::PROTOCOL`] of the agent.
    pub protocol: u32,
    /// Version of the agent.
    pub version: String,
    /// Digest of the agent's own program, as it runs.
    pub program: Digest,
    /// The agent's process.
    pub pid: u32,
    /// The agent's monotonic clock now, in microseconds.
    pub now_us: u64,
    /// The host.
    pub facts: HostFacts,
    /// Whether the run was known. One that is not known here any more has lost its nodes.
    pub resumed: bool,
    /// How many events after the last one seen were not kept.
    pub missed: u64,
    /// Nodes of the run, as they are now.
    pub nodes: Vec<NodeStatus>,
}

/// How much of a program is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Holding {
    /// So many bytes from the first on; 0 for nothing.
    Partial(u64),
    /// All of it, and its digest was right.
    Whole,
}

/// A node that was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// The node.
    pub node: Name,
    /// Its process.
    pub pid: u32,
    /// Start time of the process in clock ticks since boot.
    pub start_ticks: u64,
}

/// A file of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its path below the run's folder.
    pub path: RelativePath,
    /// Its size in bytes.
    pub size: u64,
}

/// A run on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunStatus {
    /// The run.
    pub run: Name,
    /// Milliseconds until its nodes are stopped; none when only its folder is left.
    pub lease_left_ms: Option<u64>,
    /// Whether a lab is connected.
    pub attached: bool,
    /// Its nodes.
    pub nodes: Vec<NodeStatus>,
    /// Bytes of its folder on the disk.
    pub disk_bytes: u64,
}

/// A node on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its process.
    #[serde(flatten)]
    pub started: Started,
    /// Where it is.
    pub state: NodeState,
}

/// Where a node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// It runs; with its first line of output, when it printed one.
    Running(Option<String>),
    /// It ended.
    Ended(Exit),
}

/// Something that happened to a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its number within the run, from 1.
    pub sequence: u64,
    /// When, in microseconds of the agent's monotonic clock.
    pub at_us: u64,
    /// What.
    pub body: NodeEvent,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeEvent {
    /// A node was started, by an order or by a fault timer.
    Started(Started),
    /// A node printed its first line.
    Announced {
        /// The node.
        node: Name,
        /// The line.
        line: String,
    },
    /// A node ended.
    Ended {
        /// The node.
        node: Name,
        /// Its process.
        pid: u32,
        /// How.
        exit: Exit,
    },
    /// A sample of the host and of the run's nodes.
    Sampled {
        /// The host.
        host: HostSample,
        /// The nodes that run.
        nodes: Vec<NodeSample>,
    },
    /// A fault timer did something, or failed to.
    Fault {
        /// Number of the timer.
        id: u32,
        /// Whether it was undone; otherwise it began.
        undone: bool,
        /// When it was to happen, in microseconds of the agent's monotonic clock.
        planned_us: u64,
        /// Why it did not happen.
        error: Option<String>,
    },
    /// The lease ended and with it all nodes.
    LeaseEnded {
        /// Nodes that had to be killed.
        forced: Vec<Name>,
    },
}

impl NodeEvent {
    /// Whether it is a sample, which the lab can do without.
    #[must_use]
    pub fn is_sample(&self) -> bool {
        matches!(self, Self::Sampled { .. })
    }

    /// About how many bytes it takes to keep.
    #[must_use]
    pub fn weight(&self) -> usize {
        let own = size_of::<Event>();
        let of_exit = |exit: &Exit| {
            exit.tail
                .iter()
                .map(|line| size_of::<String>() + line.len())
                .sum::<usize>()
        };
        own + match self {
            Self::Started(started) => started.node.as_str().len(),
            Self::Announced { node, line } => node.as_str().len() + line.len(),
            Self::Ended { node, exit, .. } => node.as_str().len() + of_exit(exit),
            Self::Sampled { nodes, .. } => nodes.iter().map(|one| size_of_val(one) + one.node.as_str().len()).sum(),
            Self::Fault { error, .. } => error.as_ref().map_or(0, String::len),
            Self::LeaseEnded { forced } => forced.iter().map(|name| size_of_val(name) + name.as_str().len()).sum(),
        }
    }
}
