//! Whole nodes in virtual time: agreement, payload, forwarding, catch-up, snapshots, crashes, hostile frames.

mod ballots;
mod evidence;
mod instances;
mod lies;
mod memory;
mod pipeline;
mod properties;
mod releases;
mod scripts;
mod snapshots;
mod stalls;
mod topologies;
mod validators;
mod waiting;
mod world;
