//! The agent as a program: over pipes and its socket, with real processes on a real disk.

#![expect(clippy::unwrap_used, reason = "what fails here fails its test")]

mod faults;
mod generate;
mod groups;
mod hostile;
mod life;
mod limits;
mod share;
mod support;
