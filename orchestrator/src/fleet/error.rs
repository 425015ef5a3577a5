//! Why a host is of no use, each time with what to do about it.

use regatta_fleet::FrameError;
use std::{path::PathBuf, time::Duration};

/// Longest text of a host or of the SSH client in a message, in characters.
const QUOTED_CHARS_MAX: usize = 600;

/// Why one host cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum HostError {
    /// Nobody answers.
    #[error("cannot be reached: {0}\n  help: is it up, and are `addr`, `port` and `jump` right?")]
    Unreachable(String),
    /// It has another key than the pinned one.
    #[error(
        "has another host key than the pinned one; nothing was sent to it\n  help: if its key was changed on purpose, \
         look at the new one with `regatta hosts trust SCENARIO`"
    )]
    OtherKey,
    /// No key is pinned.
    #[error("has no pinned host key\n  help: `regatta hosts trust SCENARIO` shows its key and pins it")]
    NotPinned,
    /// It does not let the user in.
    #[error(
        "refuses the login: {0}\n  help: is `user` right, and is the public half of `key` among its authorized keys?"
    )]
    Login(String),
    /// The private key cannot be used.
    #[error("private key: {0}\n  help: `key` must name a file that only you may read (chmod 600)")]
    Key(String),
    /// It ended the connection again and again before it was made.
    #[error("ended {attempts} connections before they were made: {text}\n  help: raise MaxStartups in its sshd_config")]
    Dropped {
        /// Connections that were tried.
        attempts: u32,
        /// What the client said last.
        text: String,
    },
    /// A word of the inventory would mean something else to the SSH client.
    #[error("`{field}` = {value:?} cannot be handed to the SSH client\n  help: use letters, digits and -_./:@~")]
    Word {
        /// The key of the host.
        field: &'static str,
        /// Its value.
        value: String,
    },
    /// A step took too long.
    #[error("{step} took longer than {} s\n  help: is the host overloaded, or the way to it too slow?", .after.as_secs())]
    Late {
        /// What was waited for.
        step: &'static str,
        /// How long.
        after: Duration,
    },
    /// The agent could not be put there or started.
    #[error("the agent does not start: {0}\n  help: is `dir` on a disk with room that allows programs to run?")]
    Bootstrap(String),
    /// No agent was ever put there.
    #[error("has no agent of any lab")]
    NoAgent,
    /// The agent that answers is not the one that was put there.
    #[error(
        "runs agent {running}, and {sent} was sent\n  help: end the other agent there, or give the host another `dir`"
    )]
    OtherAgent {
        /// Digest of what answers.
        running: String,
        /// Digest of what was put there.
        sent: String,
    },
    /// Bytes that are none of the protocol.
    #[error("sends what no agent sends: {0}\n  help: does a start-up file of its shell print something?")]
    Garbled(#[from] FrameError),
    /// The connection is gone.
    #[error("the connection was lost{}", if .0.is_empty() { String::new() } else { format!(": {}", .0) })]
    Lost(String),
    /// The agent said no.
    #[error("{message}")]
    Refused {
        /// Kind of the refusal.
        what: regatta_fleet::What,
        /// Why.
        message: String,
    },
    /// A fault of its nodes needs what it has not.
    #[error(
        "cannot limit {what} of its nodes, which a fault needs: {groups}\n  help: log in as root, or as a user that control \
         groups are delegated to; or have the fault done to nodes of other hosts"
    )]
    NoLimits {
        /// What cannot be limited.
        what: regatta_fleet::Resource,
        /// What it says of its control groups.
        groups: String,
    },
    /// The answer is not one to the order.
    #[error("answered something else than was asked\n  help: lab and agent must be of one version")]
    Unexpected,
    /// Something on this machine.
    #[error("SSH client of this machine: {0}\n  help: install OpenSSH (Debian: apt-get install openssh-client)")]
    Client(String),
}

/// Why there is no fleet.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FleetError {
    /// Too many hosts failed.
    #[error("{} of {of} hosts cannot be used:\n{}", .failed.len(), listed(.failed))]
    Hosts {
        /// Name of each and why.
        failed: Vec<(String, HostError)>,
        /// Number of hosts.
        of: usize,
    },
    /// A file of this machine.
    #[error("`{path}`: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
}

/// At most a few failed hosts, with all lines of each.
fn listed(failed: &[(String, HostError)]) -> String {
    const NAMED_MAX: usize = 8;
    let lines = failed
        .iter()
        .take(NAMED_MAX)
        .map(|(host, error)| format!("  host `{host}` {error}"));
    let more = failed.len().saturating_sub(NAMED_MAX);
    let more = (more > 0).then(|| format!("  and {more} more"));
    lines.chain(more).collect::<Vec<_>>().join("\n")
}

impl HostError {
    /// What the SSH client said when it made no connection.
    pub(super) fn from_client(text: &str) -> Self {
        let quoted = quoted(text);
        let says = |part: &str| text.contains(part);
        if says("REMOTE HOST IDENTIFICATION HAS CHANGED") || says("Host key verification failed") {
            // With strict checking the client says the same of a host that it does not know at all.
            return if says("host key is known") {
                Self::NotPinned
            } else {
                Self::OtherKey
            };
        }
        if says("UNPROTECTED PRIVATE KEY FILE") || says("no such identity") || says("Load key") {
            return Self::Key(quoted);
        }
        if says("Permission denied (") || says("Too many authentication failures") {
            return Self::Login(quoted);
        }
        let dropped = [
            "kex_exchange_identification",
            "Connection closed by",
            "Connection reset by",
            "banner exchange",
        ];
        if dropped.iter().any(|part| says(part)) && !says("refused") && !says("timed out") {
            return Self::Dropped {
                attempts: 1,
                text: quoted,
            };
        }
        Self::Unreachable(quoted)
    }
}

/// Foreign text for a message: one line, bounded, without control characters.
pub(super) fn quoted(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let joined = lines.join("; ").replace(char::is_control, " ");
    joined.chars().take(QUOTED_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_the_client_says_becomes_a_reason_with_a_help() {
        let kind = |text: &str| HostError::from_client(text);
        assert!(matches!(
            kind("ssh: connect to host h port 22: Connection refused"),
            HostError::Unreachable(_)
        ));
        assert!(matches!(
            kind("ssh: connect to host h port 22: Connection timed out"),
            HostError::Unreachable(_)
        ));
        assert!(matches!(
            kind("u@h: Permission denied (publickey)."),
            HostError::Login(_)
        ));
        assert!(matches!(
            kind("kex_exchange_identification: read: Connection reset by peer"),
            HostError::Dropped { .. }
        ));
        assert!(matches!(
            kind(
                "No ED25519 host key is known for h0 and you have requested strict checking.\nHost key verification failed."
            ),
            HostError::NotPinned
        ));
        assert!(matches!(
            kind("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed."),
            HostError::OtherKey
        ));
        assert!(matches!(
            kind("WARNING: UNPROTECTED PRIVATE KEY FILE!\nu@h: Permission denied (publickey)."),
            HostError::Key(_)
        ));
        assert!(kind("anything").to_string().contains("help: "));
    }

    proptest! {
        #[test]
        fn texts_from_elsewhere_stay_short_and_printable(text in any::<String>()) {
            let quoted = quoted(&text);
            prop_assert!(quoted.chars().count() <= QUOTED_CHARS_MAX && !quoted.contains(char::is_control));
            let _ = HostError::from_client(&text).to_string();
        }
    }
}
