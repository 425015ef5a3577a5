//! What is going on in a run at this moment: one value, folded from looks at the nodes, for every live view.
//!
//! ```text
//! Setting -> Board::new          what does not change: nodes, links, phases
//! Glimpse -> Board::look         one look a second or so: nodes, load, faults, events
//! Board   -> terminal, page      drawn by whoever shows it; nothing is computed there
//! ```
//! A board is as large as its nodes and a few bounded lists: it does not grow with the length of a run.

mod board;
mod glimpse;
mod map;
mod page;
mod spread;
#[cfg(test)]
pub(crate) mod tests;

pub use board::{Board, EVENTS_MAX, HISTORY_MAX, Line, NodeNow, Point, ProgramNow, Usage};
pub use glimpse::{Glimpse, Life, LoadNow, NodeGlimpse, OpenFault, Place, Setting};
pub use map::{Map, map};
pub use page::page;
pub use spread::{Counts, NodeState, Spread};
