//! What every command that asks a running node has in common.

use clap::Args;
use regatta_base::InstanceId;
use regatta_client::Client;
use std::{net::SocketAddr, time::Duration};

/// Which node, and how to print its answer.
#[derive(Debug, Args)]
pub(crate) struct ClientArgs {
    /// HTTP address of the node, e.g. 127.0.0.1:7001
    #[arg(long, value_name = "ADDR")]
    pub(crate) to: SocketAddr,
    /// Consensus instance; the node's first one when absent
    #[arg(long, value_name = "NAME")]
    pub(crate) instance: Option<InstanceId>,
    /// Seconds that one answer may take
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) deadline: u64,
    /// Print JSON, one line a value
    #[arg(long)]
    pub(crate) json: bool,
}

impl ClientArgs {
    /// A client of that node and instance.
    pub(crate) fn client(&self) -> Client {
        let client = Client::new(self.to).with_deadline(Duration::from_secs(self.deadline));
        match &self.instance {
            Some(instance) => client.with_instance(instance.clone()),
            None => client,
        }
    }
}
