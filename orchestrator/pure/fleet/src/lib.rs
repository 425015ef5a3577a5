//! What the lab and the agents on hosts say to each other: frames, transfers, leases, clocks and the limits of all.
//!
//! The lab sends [`Order`]s, an agent sends a [`Reply`] for each, and [`Event`]s in between. Frames travel over the
//! standard streams of one SSH session; when it is cut, the agent keeps the events of each run until the lab comes
//! back and says which it saw last.

pub mod backlog;
pub mod clock;
pub mod facts;
pub mod frame;
pub mod lease;
pub mod limit;
pub mod limits;
pub mod message;
pub mod path;
pub mod share;
pub mod transfer;

pub use backlog::Backlog;
pub use clock::{ClockBounds, ClockStepped};
pub use facts::{Exit, HostFacts, HostSample, NodeSample, Usage};
pub use frame::{FrameError, Frames, encode_frame};
pub use lease::Lease;
pub use limit::{Limit, Resource, Seen, Starved, Throttled};
pub use message::{
    AGENT_PID, Answer, Entry, Event, FaultTimer, File, Hello, HelloAnswer, Holding, NodeEvent, NodeStart, NodeState,
    NodeStatus, Order, OrderBody, Policy, Program, Refusal, Reply, RunHello, RunStatus, Signal, Started, TimedFault,
    What,
};
pub use path::{Name, PathError, RelativePath};
pub use share::{Claim, Token};
pub use transfer::{Chunk, Compression, Packed, TransferError, Upload};
