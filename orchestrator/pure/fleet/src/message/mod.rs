//! What is said: orders of the lab, answers and events of an agent.

mod order;
mod reply;
#[cfg(test)]
mod tests;

pub use order::{
    AGENT_PID, FaultTimer, File, Hello, NodeStart, Order, OrderBody, Policy, Program, RunHello, Signal, TimedFault,
};
pub use reply::{
    Answer, Entry, Event, HelloAnswer, Holding, NodeEvent, NodeState, NodeStatus, Refusal, Reply, RunStatus, Started,
    What,
};
