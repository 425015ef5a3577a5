//! The program `regatta-agent`: what runs on each host of a fleet.
//!
//! `serve` is the agent; it listens on a socket that only its user can reach, and goes on when connections are lost.
//! `attach` is what the lab starts over SSH: it joins its standard streams with that socket. `generate` is a load
//! generator, for one load and one session.

mod agent;
mod attach;
mod cli;
mod clock;
mod connection;
mod facts;
mod files;
mod generate;
mod leftovers;
mod limits;
mod node;
mod options;
mod orders;
mod root;
mod run;
mod sampler;
mod serve;
mod share;
mod store;
mod timers;

fn main() -> std::process::ExitCode {
    cli::main()
}
