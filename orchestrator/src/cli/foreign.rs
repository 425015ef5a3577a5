//! `regatta foreign`: what stands between the lab and a program of others, from its start to its end.

use super::{FAILED, Outcome};
use anstream::eprintln;
use clap::{Args, Subcommand};
use regatta_process::{hold, launch};
use std::ffi::OsString;

/// Exit code of a launcher that could not become the program, as shells have it.
const NOT_EXECUTED: u8 = 127;

/// Keep or start a program of others; started by the lab
#[derive(Debug, Args)]
#[command(hide = true)]
pub(super) struct Foreign {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Keep a process namespace until the end of the standard input
    Hold,
    /// Become a program that ends with whoever started this
    Launch {
        /// Program and arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
}

impl Foreign {
    pub(super) fn execute(&self) -> Outcome {
        match &self.what {
            What::Hold => {
                hold()?;
                Ok(FAILED)
            }
            What::Launch { command } => {
                let Some((program, arguments)) = command.split_first() else {
                    return Ok(NOT_EXECUTED);
                };
                let error = launch(program, arguments);
                eprintln!("error: cannot run `{}`: {error}", program.display());
                Ok(NOT_EXECUTED)
            }
        }
    }
}
