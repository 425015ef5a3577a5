//! What other terminals ask a supervisor: one line of JSON each way, of bounded length.

use regatta_base::HexBytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::io;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

/// Longest line in bytes: the status of 4,096 nodes takes about a fifth of it.
const LINE_BYTES_MAX: u64 = 4 << 20;

/// A question or an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Request {
    /// How are the nodes?
    Status {},
    /// Stop all nodes and end.
    Stop {},
    /// A piece of the log of a node that is on another machine.
    Log {
        /// Its name.
        node: String,
        /// Where the piece begins.
        offset: u64,
    },
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub(crate) enum Answer {
    /// How the nodes are.
    Status(ClusterStatus),
    /// All nodes have ended.
    Stopped {
        /// Those that had to be killed.
        forced: Vec<String>,
        /// What could not be brought back from hosts, or not be removed there.
        #[serde(default)]
        troubles: Vec<String>,
    },
    /// A piece of a log.
    Log {
        /// The bytes; none at the end of the log.
        bytes: HexBytes,
        /// How long the log is now.
        size: u64,
    },
    /// The request makes no sense.
    Refused {
        /// Why.
        reason: String,
    },
}

/// How a cluster is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClusterStatus {
    /// Name of the run.
    pub run: String,
    /// Process of the supervisor.
    pub pid: u32,
    /// Whether all links were up at least once.
    pub ready: bool,
    /// Seconds since the supervisor began.
    pub up_s: u64,
    /// Seconds until the cluster stops by itself.
    pub lease_left_s: u64,
    /// Number of the network namespace from which nodes are reached, when that is not the host's.
    #[serde(default)]
    pub namespace: Option<u64>,
    /// What the supervisor itself uses.
    #[serde(default)]
    pub usage: Option<ProcessUsage>,
    /// The nodes, in plan order.
    pub nodes: Vec<NodeStatus>,
    /// Programs of others, in plan order.
    #[serde(default)]
    pub programs: Vec<ProgramStatus>,
}

/// What a process uses, where it is one of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessUsage {
    /// CPU since it was started, user and system, in milliseconds.
    pub cpu_ms: u64,
    /// Resident memory in bytes.
    pub rss_bytes: u64,
}

/// How a program of others is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProgramStatus {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: String,
    /// Its process, when it was started.
    pub pid: Option<u32>,
    /// `running`, `not started`, or how it ended.
    pub state: String,
    /// What it uses, while it runs.
    #[serde(default)]
    pub usage: Option<ProcessUsage>,
}

/// How one node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeStatus {
    /// Its name.
    pub name: String,
    /// Its role.
    pub role: String,
    /// Its control interface.
    pub http: String,
    /// Its process, when it was started.
    pub pid: Option<u32>,
    /// `running`, `not started`, or how it ended.
    pub state: String,
    /// Height of the last block of its first instance, when it answers.
    pub height: Option<u64>,
    /// Links that are up, and links that are configured, when it answers.
    pub links: Option<(u64, u64)>,
    /// Transactions that wait there for its first instance, when it answers.
    pub pending: Option<u64>,
    /// Every consensus instance that it votes in or follows, when it answers.
    #[serde(default)]
    pub instances: Vec<InstanceStatus>,
    /// What it uses, while it runs on this machine.
    #[serde(default)]
    pub usage: Option<ProcessUsage>,
}

/// One consensus instance on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InstanceStatus {
    /// Its name.
    pub id: String,
    /// Height of the node's last block.
    pub height: u64,
    /// Transactions that wait at the node.
    pub pending: u64,
}

/// One line of a supervisor's stdout while its cluster starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Startup {
    /// A step ended.
    Step(String),
    /// All nodes are ready.
    Ready,
    /// The cluster did not start, and nothing of it is left.
    Failed(String),
}

/// Reads one line and decodes it.
///
/// # Errors
/// `InvalidData` when it is too long or not what was expected, `UnexpectedEof` when there is none.
pub(crate) async fn receive<T: DeserializeOwned>(stream: impl AsyncRead + Unpin) -> io::Result<T> {
    let mut line = String::new();
    let mut reader = BufReader::new(stream.take(LINE_BYTES_MAX));
    if reader.read_line(&mut line).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if !line.ends_with('\n') {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a line without end, or longer than allowed",
        ));
    }
    serde_json::from_str(&line).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Writes one line.
///
/// # Errors
/// What the system said.
pub(crate) async fn send<T: Serialize>(mut stream: impl AsyncWrite + Unpin, message: &T) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    stream.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::block_on;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> io::Result<Request> {
        block_on(receive(bytes))
    }

    #[test]
    fn messages_round_trip() {
        let answer = Answer::Stopped {
            forced: vec!["val-0".to_owned()],
            troubles: Vec::new(),
        };
        let mut bytes = Vec::new();
        block_on(send(&mut bytes, &answer)).unwrap();
        assert_eq!(block_on(receive::<Answer>(bytes.as_slice())).unwrap(), answer);
        assert_eq!(read(b"{\"ask\":\"stop\"}\n").unwrap(), Request::Stop {});
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for bad in [
            "",
            "\n",
            "{}\n",
            "{\"ask\":\"explode\"}\n",
            "{\"ask\":\"stop\"}",
            "{\"ask\":\"stop\",\"now\":true}\n",
            "[1,2\n",
        ] {
            assert!(read(bad.as_bytes()).is_err(), "{bad:?}");
        }
        let mut endless = vec![b' '; LINE_BYTES_MAX as usize + 10];
        endless.extend(b"{\"ask\":\"stop\"}\n");
        assert!(read(&endless).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes);
        }
    }
}
