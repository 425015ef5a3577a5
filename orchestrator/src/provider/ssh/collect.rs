//! What comes back from hosts at the end of a run, and that nothing stays there.

use crate::{
    fleet::{Crew, HostClient, HostError},
    rundir::{Entry, HostState, Journal, RunDir},
};
use futures::{StreamExt, stream};
use regatta_fleet::{Answer, Name, OrderBody, RelativePath, limits::READ_BYTES_MAX};
use regatta_plan::Plan;
use std::{sync::Arc, time::Duration};

/// Most bytes of one log that are fetched: its end.
const LOG_BYTES_MAX: u64 = 2 << 20;
/// Logs that are fetched at once.
const FETCHED_AT_ONCE: usize = 16;
/// How long a host may take for one piece, or to remove a run.
const DEADLINE: Duration = Duration::from_secs(60);
/// Hosts that are named one by one when something goes wrong.
const NAMED_MAX: usize = 8;

/// Fetches the end of every node's log into the run's folder.
pub(super) async fn logs(crew: &Crew, run: &RunDir, plan: &Plan) -> Vec<String> {
    let nodes = plan
        .nodes
        .iter()
        .filter_map(|node| Some((node, crew.client(node.host?)?)));
    let fetches = nodes.map(|(node, client)| async move {
        let result = log(client, &node.name).await;
        (node, client, result)
    });
    let fetches: Vec<_> = fetches.collect();
    let mut fetched = stream::iter(fetches).buffer_unordered(FETCHED_AT_ONCE);
    let mut troubles = Vec::new();
    while let Some((node, client, result)) = fetched.next().await {
        let written = match result {
            Ok(bytes) => std::fs::write(run.log(&node.name), bytes).map_err(|error| error.to_string()),
            Err(error) => Err(format!("host `{}` {error}", client.target().name)),
        };
        if let Err(error) = written
            && troubles.len() < NAMED_MAX
        {
            troubles.push(format!("log of `{}`: {error}", node.name));
        }
    }
    troubles
}

fn log_path(node: &str) -> Result<RelativePath, HostError> {
    format!("logs/{node}.log").try_into().map_err(|_| HostError::Unexpected)
}

/// A piece of a node's log from `offset` on, and how long the log is.
pub(super) async fn log_piece(client: &HostClient, node: &str, offset: u64) -> Result<(Vec<u8>, u64), HostError> {
    read(client, &log_path(node)?, offset).await
}

async fn log(client: &HostClient, node: &str) -> Result<Vec<u8>, HostError> {
    let path = log_path(node)?;
    let (first, size) = read(client, &path, 0).await?;
    let mut offset = first.len() as u64;
    let mut bytes = first;
    if size > LOG_BYTES_MAX {
        // Only its end.
        offset = size - LOG_BYTES_MAX;
        bytes.clear();
    }
    while offset < size {
        let (piece, _) = read(client, &path, offset).await?;
        if piece.is_empty() {
            break;
        }
        offset += piece.len() as u64;
        bytes.extend(piece);
    }
    debug_assert!(bytes.len() as u64 <= LOG_BYTES_MAX, "{} bytes", bytes.len());
    Ok(bytes)
}

/// A piece of a file and the file's size.
async fn read(client: &HostClient, path: &RelativePath, offset: u64) -> Result<(Vec<u8>, u64), HostError> {
    let order = OrderBody::Read {
        path: path.clone(),
        offset,
        length: READ_BYTES_MAX as u64,
    };
    match client.order(order, DEADLINE).await? {
        Answer::Data { chunk, size } => {
            let bytes = chunk
                .expand()
                .map_err(|error| HostError::Bootstrap(error.to_string()))?;
            Ok((bytes, size))
        }
        _ => Err(HostError::Unexpected),
    }
}

/// Removes the run from every host.
pub(super) async fn remove(crew: &Crew, run: &Name, journal: &Journal) -> Vec<String> {
    let orders = crew.clients().map(|client: &Arc<HostClient>| {
        let order = OrderBody::Remove { run: run.clone() };
        (client.target().index, order)
    });
    let mut troubles = Vec::new();
    for (host, answer) in crew.order_each(orders.collect(), DEADLINE).await {
        let name = crew
            .client(host)
            .map_or_else(String::new, |client| client.target().name.clone());
        let entry = match answer {
            Ok(_) => Entry::Host {
                host: name,
                state: HostState::Cleared,
                text: String::new(),
            },
            Err(failure) => {
                let text = failure.error.to_string();
                if troubles.len() < NAMED_MAX {
                    troubles.push(format!("host `{name}` keeps the run's folder: {text}"));
                }
                Entry::Host {
                    host: name,
                    state: HostState::Failed,
                    text,
                }
            }
        };
        // A full disk here is no reason to leave anything there.
        let _ = journal.write(entry);
    }
    troubles
}
