//! All hosts of a run: reached together, asked together.

use super::{
    bootstrap::Agent,
    client::{HostClient, HostNews, RunTerms},
    connect::Connections,
    error::HostError,
};
use regatta_fleet::{Answer, OrderBody};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::mpsc;

/// News that wait for the lab.
const NEWS_MAX: usize = 1024;

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
}

/// What went wrong at a host.
pub(super) fn failure(client: &HostClient, error: HostError) -> HostFailure {
    let target = client.target();
    HostFailure {
        host: target.index,
        name: target.name.clone(),
        error,
    }
}
