//! All hosts of a run: reached together, given programs, asked together.

use super::{
    bootstrap::Agent,
    client::{HostClient, HostNews, RunTerms},
    connect::Connections,
    error::HostError,
};
use futures::{StreamExt, stream};
use regatta_base::Digest;
use regatta_fleet::{Answer, Chunk, Holding, Name, OrderBody, Packed};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::mpsc;

/// News that wait for the lab.
const NEWS_MAX: usize = 1024;
/// Hosts that get a program at the same time: enough to fill the lab's link, few enough for its memory.
const SENT_AT_ONCE: usize = 16;
/// Pieces on their way to one host.
const PIECES_AT_ONCE: usize = 4;
/// How long a host may take for one piece.
const PIECE_DEADLINE: Duration = Duration::from_secs(60);

/// The hosts that answered.
#[derive(Debug)]
pub(crate) struct Crew {
    clients: BTreeMap<u32, Arc<HostClient>>,
    news: mpsc::Sender<(u32, HostNews)>,
}

/// A host that failed at something.
#[derive(Debug, Clone)]
pub(crate) struct HostFailure {
    /// Its index.
    pub(crate) host: u32,
    /// Its name.
    pub(crate) name: String,
    /// Why.
    pub(crate) error: HostError,
}

/// News of all hosts, by index.
pub(crate) type News = mpsc::Receiver<(u32, HostNews)>;

impl Crew {
    /// Nobody yet, and where news of all hosts will come from.
    pub(crate) fn new() -> (Self, News) {
        let (news, inbox) = mpsc::channel(NEWS_MAX);
        let clients = BTreeMap::new();
        (Self { clients, news }, inbox)
    }

    /// Reaches `hosts`, as many at once as their servers take; returns who failed. `last_event` is the number of the last
    /// event seen of each.
    pub(crate) async fn muster(
        &mut self,
        connections: &Arc<Connections>,
        hosts: &[u32],
        agent: &Agent,
        terms: Option<&RunTerms>,
        last_event: &BTreeMap<u32, u64>,
    ) -> Vec<HostFailure> {
        let reaches = hosts.iter().filter_map(|&host| connections.target(host)).map(|target| {
            let (connections, target, agent) = (Arc::clone(connections), target.clone(), agent.clone());
            let (terms, news) = (terms.cloned(), self.news.clone());
            let last = last_event.get(&target.index).copied().unwrap_or(0);
            async move {
                let (host, name) = (target.index, target.name.clone());
                let client = HostClient::open(connections, target, agent, terms, last, news).await;
                client.map_err(|error| HostFailure { host, name, error })
            }
        });
        let reaches: Vec<_> = reaches.collect();
        let mut failed = Vec::new();
        for reached in futures::future::join_all(reaches).await {
            match reached {
                Ok(client) => {
                    self.clients.insert(client.target().index, Arc::new(client));
                }
                Err(failure) => failed.push(failure),
            }
        }
        failed
    }

    /// One host.
    pub(crate) fn client(&self, host: u32) -> Option<&Arc<HostClient>> {
        self.clients.get(&host)
    }

    /// All hosts.
    pub(crate) fn clients(&self) -> impl Iterator<Item = &Arc<HostClient>> {
        self.clients.values()
    }

    /// Lets go of a host.
    pub(crate) fn dismiss(&mut self, host: u32) {
        self.clients.remove(&host);
    }

    /// Gives one order to each of `hosts`, all at once; answers and failures by host.
    pub(crate) async fn order_each(
        &self,
        orders: Vec<(u32, OrderBody)>,
        deadline: Duration,
    ) -> Vec<(u32, Result<Answer, HostFailure>)> {
        let asked = orders
            .into_iter()
            .filter_map(|(host, body)| Some((self.client(host)?, body)));
        let answers = asked.map(|(client, body)| async move {
            let answer = client.order(body, deadline).await;
            (client.target().index, answer.map_err(|error| failure(client, error)))
        });
        futures::future::join_all(answers).await
    }

    /// Sends a program to every host that lacks it, some at a time. Returns how many bytes went out, and who failed.
    pub(crate) async fn distribute(&self, hosts: &[u32], packed: &Packed, name: &Name) -> (u64, Vec<HostFailure>) {
        let clients: Vec<&Arc<HostClient>> = hosts.iter().filter_map(|&host| self.client(host)).collect();
        let sends = clients.into_iter().map(|client| async move {
            let sent = send(client, packed, name).await;
            sent.map_err(|error| failure(client, error))
        });
        let sends: Vec<_> = sends.collect();
        let results: Vec<_> = stream::iter(sends).buffer_unordered(SENT_AT_ONCE).collect().await;
        let mut bytes = 0;
        let mut failed = Vec::new();
        for result in results {
            match result {
                Ok(sent) => bytes += sent,
                Err(failure) => failed.push(failure),
            }
        }
        (bytes, failed)
    }
}

fn failure(client: &HostClient, error: HostError) -> HostFailure {
    let target = client.target();
    HostFailure {
        host: target.index,
        name: target.name.clone(),
        error,
    }
}

/// Sends what the host lacks of a program.
async fn send(client: &HostClient, packed: &Packed, name: &Name) -> Result<u64, HostError> {
    let have = match holding(client, packed.digest).await? {
        Holding::Whole => return Ok(0),
        Holding::Partial(have) => have,
    };
    let pieces = packed.rest(have);
    let mut sent = 0;
    // A piece is taken only after the one before it, and orders of one connection keep their order.
    let puts = pieces.iter().map(|piece| put(client, packed, name, piece));
    let mut answers = stream::iter(puts.collect::<Vec<_>>()).buffered(PIECES_AT_ONCE);
    let mut last = Holding::Partial(have);
    while let Some(answer) = answers.next().await {
        let (bytes, holding) = answer?;
        sent += bytes;
        last = holding;
    }
    match last {
        Holding::Whole => Ok(sent),
        Holding::Partial(_) => Err(HostError::Unexpected),
    }
}

async fn put(client: &HostClient, packed: &Packed, name: &Name, piece: &Chunk) -> Result<(u64, Holding), HostError> {
    let bytes = piece.bytes.len() as u64;
    let order = OrderBody::Put {
        digest: packed.digest,
        name: name.clone(),
        total: packed.total,
        chunk: piece.clone(),
    };
    match client.order(order, PIECE_DEADLINE).await? {
        Answer::Holding(holding) => Ok((bytes, holding)),
        _ => Err(HostError::Unexpected),
    }
}

async fn holding(client: &HostClient, digest: Digest) -> Result<Holding, HostError> {
    let order = OrderBody::Has { digests: vec![digest] };
    match client.order(order, PIECE_DEADLINE).await? {
        Answer::Holds { held } => held.first().copied().ok_or(HostError::Unexpected),
        _ => Err(HostError::Unexpected),
    }
}
