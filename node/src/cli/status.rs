//! `status`: how a node is, at a glance.

use super::{
    client_args::ClientArgs,
    error::CliError,
    print::{print, row, table},
};
use clap::Args;
use regatta_api::view::{Latest, PeerView, Readiness, Version};
use serde::Serialize;
use std::fmt::Write;

/// Show whether a node is ready, how far it is, and its links
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  regatta-node status --to 127.0.0.1:7001")]
pub(crate) struct Status {
    #[command(flatten)]
    client: ClientArgs,
}

/// What `status` prints.
#[derive(Debug, Serialize)]
struct View {
    version: Version,
    readiness: Readiness,
    latest: Latest,
    peers: Vec<PeerView>,
}

impl Status {
    pub(crate) async fn execute(self) -> Result<(), CliError> {
        let client = self.client.client();
        let view = View {
            version: client.version().await?,
            readiness: client.readiness().await?,
            latest: client.latest().await?,
            peers: client.peers().await?,
        };
        print(self.client.json, &view, human)
    }
}

fn human(view: &View) -> String {
    let View {
        version,
        readiness,
        latest,
        peers,
    } = view;
    let state = match readiness.ready {
        true => "ready".to_owned(),
        false => format!("not ready: {}", readiness.waiting_for),
    };
    let mut text = format!("{} of {} is {state}\n\n", version.name, version.chain);
    text.push_str(&latest_table(latest));
    let _ = write!(
        text,
        "\n\n{} of {} links are up",
        readiness.peers_connected, readiness.peers_configured
    );
    if !peers.is_empty() {
        let _ = write!(text, "\n{}", peers_table(peers));
    }
    text
}

/// A row an instance.
pub(crate) fn latest_table(latest: &Latest) -> String {
    let mut rows = vec![row([
        &"INSTANCE",
        &"HEIGHT",
        &"KNOWN",
        &"ROUND",
        &"PENDING",
        &"HASH",
        &"STATE ROOT",
    ])];
    rows.extend(latest.instances.iter().map(|latest| {
        row([
            &latest.instance,
            &latest.height,
            &latest.known_height,
            &latest.round,
            &latest.pending,
            &latest.hash.short(),
            &latest.state_root.short(),
        ])
    }));
    table(&rows)
}

/// A row a peer.
pub(crate) fn peers_table(peers: &[PeerView]) -> String {
    let mut rows = vec![row([&"PEER", &"KEY", &"ADDRESS", &"LINK", &"CONNECTS", &"LAST ERROR"])];
    rows.extend(peers.iter().map(|peer| {
        row([
            &peer.name,
            &peer.key.short(),
            &peer.address,
            if peer.connected { &"up" } else { &"down" },
            &peer.connects,
            &peer.last_error.as_deref().unwrap_or_default(),
        ])
    }));
    table(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use regatta_api::view::InstanceLatest;
    use regatta_base::{Digest, PublicKey};

    fn view(ready: bool) -> View {
        View {
            version: crate::build_info::version("test".parse().unwrap(), "val-0".to_owned(), PublicKey([1; 32])),
            readiness: Readiness {
                ready,
                peers_connected: 1,
                peers_configured: 2,
                catching_up: false,
                waiting_for: if ready {
                    String::new()
                } else {
                    "a first link to a peer".to_owned()
                },
            },
            latest: Latest {
                instances: vec![InstanceLatest {
                    instance: "main".parse().unwrap(),
                    height: 12,
                    hash: Digest([0xab; 32]),
                    state_root: Digest([0xcd; 32]),
                    round: 0,
                    pending: 3,
                    known_height: 14,
                    first_height: 1,
                    first_block: 1,
                    snapshot_height: 0,
                    snapshot_bytes: 0,
                }],
            },
            peers: vec![PeerView {
                name: "val-1".to_owned(),
                key: PublicKey([2; 32]),
                address: "127.0.0.2:7000".to_owned(),
                connected: false,
                connects: 4,
                last_error: Some("connection refused".to_owned()),
            }],
        }
    }

    #[test]
    fn one_look_tells_readiness_height_and_links() {
        let text = human(&view(true));
        assert!(text.starts_with("val-0 of test is ready\n"), "{text}");
        assert!(
            text.contains("main      12      14     0      3        abababab  cdcdcdcd"),
            "{text}"
        );
        assert!(text.contains("1 of 2 links are up"), "{text}");
        assert!(text.contains("down  4         connection refused"), "{text}");
    }

    #[test]
    fn a_node_that_is_not_ready_says_what_it_waits_for() {
        let text = human(&view(false));
        assert!(
            text.starts_with("val-0 of test is not ready: a first link to a peer\n"),
            "{text}"
        );
    }

    #[test]
    fn a_node_without_peers_has_no_table_of_them() {
        let mut alone = view(true);
        alone.peers.clear();
        assert!(!human(&alone).contains("PEER"));
    }
}
