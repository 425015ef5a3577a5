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
