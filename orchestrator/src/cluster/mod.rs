//! The nodes of one run as processes: written, started, watched, stopped.

mod config;
