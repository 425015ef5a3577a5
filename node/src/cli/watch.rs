//! `watch`: what happens at a node, line by line.

use super::{client_args::ClientArgs, error::CliError, print::print};
use clap::{Args, Subcommand};
use futures::StreamExt;
use regatta_api::view::{BlockSummary, Outcome, StatusEvent};
use regatta_client::EventStream;
use serde::Serialize;

/// Print events of a node as they happen
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  regatta-node watch blocks --to 127.0.0.1:7001
  regatta-node watch statuses --to 127.0.0.1:7001 --json --count 10")]
pub(crate) struct Watch {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// A line for each block that the node executes
    Blocks(Events),
    /// A line for each block that changes transactions which were submitted through the node
    Statuses(Events),
}

#[derive(Debug, Args)]
struct Events {
    #[command(flatten)]
    client: ClientArgs,
    /// Stop after this many events
    #[arg(long, value_name = "N")]
    count: Option<usize>,
}

impl Watch {
    pub(crate) async fn execute(self) -> Result<(), CliError> {
        match self.what {
            What::Blocks(events) => {
                let stream = events.client.client().blocks_stream().await?;
                follow(&events, stream, block_line).await
            }
            What::Statuses(events) => {
                let stream = events.client.client().statuses_stream().await?;
                follow(&events, stream, status_line).await
            }
        }
    }
}

async fn follow<T: Serialize>(
    events: &Events,
    stream: EventStream<T>,
    human: impl Fn(&T) -> String,
) -> Result<(), CliError> {
    let mut stream = stream.take(events.count.unwrap_or(usize::MAX));
    while let Some(event) = stream.next().await {
        print(events.client.json, &event?, &human)?;
    }
    Ok(())
}

/// A block on one line.
pub(crate) fn block_line(block: &BlockSummary) -> String {
    format!(
        "{} {:>8} {} round {} proposer {} transactions {} failed {} bytes {}",
        block.instance,
        block.height,
        block.hash.short(),
        block.round,
        block.proposer,
        block.transactions,
        block.failed,
        block.bytes
    )
}

fn status_line(event: &StatusEvent) -> String {
    let ok = event
        .items
        .iter()
        .filter(|(_, outcome)| *outcome == Outcome::Ok)
        .count();
    format!(
        "{} {:>8} ok {ok} failed {}",
        event.instance,
        event.height,
        event.items.len() - ok
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use regatta_api::view::Failure;
    use regatta_base::Digest;

    #[test]
    fn a_line_counts_what_went_well() {
        let items = vec![
            (Digest::ZERO, Outcome::Ok),
            (Digest::ZERO, Outcome::Failed(Failure::SequenceUsed)),
            (Digest::ZERO, Outcome::Ok),
        ];
        let event = StatusEvent {
            instance: "main".parse().unwrap(),
            height: 5,
            items,
        };
        assert_eq!(status_line(&event), "main        5 ok 2 failed 1");
    }
}
