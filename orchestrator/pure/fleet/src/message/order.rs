//! What the lab says: orders, and what they are made of.

use super::{Refusal, What};
use crate::{
    limit::{Limit, Resource},
    limits::{
        ARGUMENT_BYTES_MAX, ARGUMENTS_MAX, DIGESTS_MAX, FILES_MAX, KEYS_MAX, NODES_MAX, READ_BYTES_MAX, TIMERS_MAX,
    },
    path::{Name, RelativePath},
    share::Token,
    transfer::Chunk,
};
use regatta_base::{Digest, PublicKey};
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, SocketAddrV4};

/// An argument of a node that an agent replaces with its own process id: a node that ends with its parent has to know it.
pub const AGENT_PID: &str = "{agent-pid}";

/// Lab to agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// Chosen by the lab; the answer repeats it. Answers may come in another order than their orders.
    pub id: u64,
    /// What to do.
    pub body: OrderBody,
}

/// What the lab wants. Without a run (see [`Hello`]) only `Clock`, `Has`, `Put`, `Status` and `Remove` make sense.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderBody {
    /// The first order of every connection.
    Hello(Hello),
    /// Lets the run go on for so long from now.
    Renew {
        /// Length of the lease in milliseconds.
        lease_ms: u64,
    },
    /// Which of these programs are there, and how much of those that are not?
    Has {
        /// Digests of programs.
        digests: Vec<Digest>,
    },
    /// A piece of a program.
    Put {
        /// Digest of the whole program.
        digest: Digest,
        /// Its file name.
        name: Name,
        /// Its size in bytes.
        total: u64,
        /// The piece.
        chunk: Chunk,
    },
    /// Offers a program that is whole to one other host, once, at a free port of an address of this one.
    Share {
        /// Digest of the program.
        digest: Digest,
        /// The address.
        address: Ipv4Addr,
        /// What the other host has to know.
        token: Token,
    },
    /// Gets what is missing of a program from another host that offers it. Answered when it is whole.
    Fetch {
        /// Digest of the whole program.
        digest: Digest,
        /// Its file name.
        name: Name,
        /// Its size in bytes.
        total: u64,
        /// Who offers it.
        from: SocketAddrV4,
        /// What that one wants to hear.
        token: Token,
    },
    /// Makes folders and writes small files below the run's folder; what is there is replaced.
    Place {
        /// Folders, with those that they are in.
        folders: Vec<RelativePath>,
        /// Files.
        files: Vec<File>,
    },
    /// Verifies a program and starts nodes from it.
    Start {
        /// The program.
        program: Program,
        /// The nodes.
        nodes: Vec<NodeStart>,
    },
    /// Signals nodes. The answer to an order that ends them comes when all have ended.
    Signal {
        /// The nodes.
        nodes: Vec<Name>,
        /// The signal.
        signal: Signal,
    },
    /// Empties the data folder of a node that does not run.
    LoseDisk {
        /// The node.
        node: Name,
    },
    /// Sends samples of the host and of the run's nodes as events.
    Sample {
        /// Time between two, in milliseconds; 0 ends them.
        interval_ms: u64,
        /// Whether private memory is looked at, which walks page tables.
        private: bool,
    },
    /// Asks for stamps of the agent's monotonic clock.
    Clock {
        /// The lab's clock in microseconds; repeated in the answer.
        sent_us: u64,
    },
    /// Reads a piece of a file of the run.
    Read {
        /// The file.
        path: RelativePath,
        /// First byte.
        offset: u64,
        /// Most bytes.
        length: u64,
    },
    /// Lists the files below a folder of the run; all of them without one.
    List {
        /// The folder.
        folder: Option<RelativePath>,
    },
    /// Adds fault timers, which run by the agent's clock whether the lab is there or not.
    Faults {
        /// The timers.
        timers: Vec<FaultTimer>,
    },
    /// Forgets the timers that have not begun. What has begun is undone at its time.
    ForgetFaults,
    /// Leaves a node less of something, whichever process of it runs, until that is lifted or the run's nodes are ended.
    Limit {
        /// The node; it need not have been started yet.
        node: Name,
        /// How much is left to it.
        limit: Limit,
    },
    /// Lifts the limit of a node. Where there is none, the answer is that of the last time.
    Lift {
        /// The node.
        node: Name,
        /// What the limit is of.
        of: Resource,
    },
    /// Ends all nodes of the run. Answered when none is left.
    Stop {
        /// How long a node may take before it is killed, in milliseconds.
        grace_ms: u64,
    },
    /// Removes the folder of a run of which no node runs, and forgets the run.
    Remove {
        /// The run.
        run: Name,
    },
    /// What is on this host?
    Status,
}

/// Opens a connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// [`crate::limits::PROTOCOL`] of the lab.
    pub protocol: u32,
    /// Version of the lab.
    pub version: String,
    /// The run that this connection is about; begun when the agent does not know it. A later connection takes the run
    /// over from an earlier one.
    pub run: Option<RunHello>,
}

/// What an agent must know of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunHello {
    /// The run.
    pub run: Name,
    /// Length of the lease in milliseconds.
    pub lease_ms: u64,
    /// Number of the last event that the lab has seen; 0 for none.
    pub last_event: u64,
    /// What programs may run.
    pub policy: Policy,
}

/// What is demanded of a program's manifest. Whoever may log in to a host may run programs there; this keeps damage and
/// mix-ups out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Keys whose signatures count.
    pub pinned: Vec<PublicKey>,
    /// How many of them must have signed.
    pub threshold: u32,
    /// The least sequence that is accepted. The host remembers the highest that it was ever told.
    pub sequence_min: u64,
}

/// A small file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Where it goes, below the run's folder.
    pub path: RelativePath,
    /// Permission bits; only those of the owner count.
    pub mode: u32,
    /// Its content.
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
}

/// A signed program, which is in the agent's store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Canonical encoding of its manifest.
    #[serde(with = "serde_bytes")]
    pub manifest: Vec<u8>,
    /// Canonical encoding of the pairs of key and signature.
    #[serde(with = "serde_bytes")]
    pub signatures: Vec<u8>,
}

/// A node to start. It runs in the run's folder; relative paths among its arguments begin there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStart {
    /// Its name: `data/NAME` is its data, `logs/NAME.log` its log.
    pub node: Name,
    /// Its arguments. One that equals [`AGENT_PID`] is replaced.
    pub arguments: Vec<String>,
    /// Its arguments when a fault timer starts it again.
    pub again: Vec<String>,
    /// Most bytes of its log.
    pub log_bytes_max: u64,
}

/// What is done to a running node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// Its stdin closes and SIGTERM is sent; SIGKILL after the grace period.
    Stop {
        /// The grace period in milliseconds.
        grace_ms: u64,
    },
    /// SIGKILL.
    Kill,
    /// SIGSTOP.
    Pause,
    /// SIGCONT.
    Resume,
}

/// A fault at a time of the agent's clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultTimer {
    /// Chosen by the lab; events repeat it.
    pub id: u32,
    /// The node.
    pub node: Name,
    /// What is done to it.
    pub fault: TimedFault,
    /// When, in microseconds of the agent's monotonic clock.
    pub begin_us: u64,
    /// When it is undone: the node is started again or goes on. Never, without it.
    pub end_us: Option<u64>,
}

/// A fault that an agent can do by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimedFault {
    /// The node is killed.
    Crash {
        /// Whether it also loses its data.
        lose_disk: bool,
    },
    /// The node is stopped from running.
    Pause,
}

impl OrderBody {
    /// Refuses what breaks a limit, whatever the agent's state.
    ///
    /// # Errors
    /// A [`Refusal`] that names the limit.
    pub fn check(&self) -> Result<(), Refusal> {
        let most = |what: &str, got: usize, max: usize| {
            let message = || format!("{got} {what} in one order; at most {max} are allowed");
            if got <= max {
                Ok(())
            } else {
                Err(Refusal::new(What::Order, message()))
            }
        };
        match self {
            Self::Hello(hello) => {
                let run = hello.run.as_ref();
                most("pinned keys", run.map_or(0, |run| run.policy.pinned.len()), KEYS_MAX)
            }
            Self::Has { digests } => most("digests", digests.len(), DIGESTS_MAX),
            Self::Place { folders, files } => most("files", folders.len() + files.len(), FILES_MAX),
            Self::Start { nodes, .. } => {
                most("nodes", nodes.len(), NODES_MAX)?;
                nodes
                    .iter()
                    .flat_map(|node| [&node.arguments, &node.again])
                    .try_for_each(|arguments| {
                        most("arguments of a node", arguments.len(), ARGUMENTS_MAX)?;
                        let longest = arguments.iter().map(String::len).max().unwrap_or(0);
                        most("bytes of an argument", longest, ARGUMENT_BYTES_MAX)
                    })
            }
            Self::Signal { nodes, .. } => most("nodes", nodes.len(), NODES_MAX),
            Self::Read { length, .. } => most(
                "bytes to read",
                usize::try_from(*length).unwrap_or(usize::MAX),
                READ_BYTES_MAX,
            ),
            Self::Faults { timers } => most("timers", timers.len(), TIMERS_MAX),
            Self::Limit { limit, .. } => limit.check(),
            _ => Ok(()),
        }
    }
}
