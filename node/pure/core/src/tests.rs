//! Whole nodes in virtual time: agreement, payload, forwarding, catch-up, crashes, hostile frames.

mod evidence;
mod instances;
mod properties;
mod scripts;
mod topologies;
mod validators;
mod world;
