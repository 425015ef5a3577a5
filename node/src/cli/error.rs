//! What ends a command, with its exit code.

use regatta_client::ClientError;
use std::{io, process::ExitCode};

/// Why a command did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// Exit code 1.
    #[error("{0}")]
    Failure(String),
    /// Exit code 2.
    #[error("{0}")]
    Usage(String),
    /// Exit code 3; what happened to each transaction is on stdout already.
    #[error("{0}")]
    Transactions(String),
    /// Whoever read stdout has what it wanted.
    #[error("stdout is closed")]
    OutputClosed,
}

impl CliError {
    pub(crate) fn failure(message: impl std::fmt::Display) -> Self {
        Self::Failure(format!("{message}"))
    }

    pub(crate) fn usage(message: impl std::fmt::Display) -> Self {
        Self::Usage(format!("{message}"))
    }

    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::OutputClosed => 0,
            Self::Failure(_) => 1,
            Self::Usage(_) => 2,
            Self::Transactions(_) => 3,
        }
    }

    /// The lines for stderr: what was wrong, and on lines of their own what to do about it.
    pub(crate) fn text(&self) -> String {
        format!("error: {self}").replace("; help: ", "\n help: ")
    }

    /// Prints the error and gives its exit code.
    pub(crate) fn report(&self) -> ExitCode {
        if !matches!(self, Self::OutputClosed) {
            anstream::eprintln!("{}", self.text());
        }
        ExitCode::from(self.code())
    }
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        Self::failure(error)
    }
}

impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::OutputClosed
        } else {
            Self::failure(format!("cannot write to stdout: {error}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_has_a_line_of_its_own() {
        let error = CliError::usage("no such key; help: make one with `regatta-node keygen`");
        assert_eq!(
            error.text(),
            "error: no such key\n help: make one with `regatta-node keygen`"
        );
        assert_eq!(CliError::failure("broken").text(), "error: broken");
    }

    #[test]
    fn a_closed_pipe_is_a_success() {
        let closed = CliError::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(closed.code(), 0);
        assert_eq!(CliError::from(io::Error::from(io::ErrorKind::StorageFull)).code(), 1);
    }
}
