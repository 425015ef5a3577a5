//! What runs left on hosts, seen and ended from any machine that may log in there.

use super::{
    bootstrap::Agent,
    client::{ANSWER_DEADLINE, RunTerms},
    connect::Connections,
    crew::{Crew, HostFailure},
    error::HostError,
};
use regatta_fleet::{Answer, Name, OrderBody, Policy, RunStatus};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Lease of a run while it is being ended, in milliseconds: as long as that may take.
const ENDING_LEASE_MS: u64 = 5 * 60 * 1000;

/// Runs on each of `hosts` that has an agent, and the hosts that could not be asked. One that never had an agent has
/// nothing either.
pub(crate) async fn look(
    connections: &Arc<Connections>,
    hosts: &[u32],
) -> (BTreeMap<u32, Vec<RunStatus>>, Vec<HostFailure>) {
    let (mut crew, _news) = Crew::new();
    let mut failures = crew
        .muster(connections, hosts, &Agent::Present, None, &BTreeMap::new())
        .await;
    failures.retain(|failure| !matches!(failure.error, HostError::NoAgent));
    let orders = crew.clients().map(|client| (client.target().index, OrderBody::Status));
    let mut found = BTreeMap::new();
    for (host, answer) in crew.order_each(orders.collect(), ANSWER_DEADLINE).await {
        match answer {
            Ok(Answer::Status { runs, .. }) => {
                found.insert(host, runs);
            }
            Ok(_) => failures.push(unexpected(&crew, host)),
            Err(failure) => failures.push(failure),
        }
    }
    (found, failures)
}

fn unexpected(crew: &Crew, host: u32) -> HostFailure {
    HostFailure {
        host,
        name: crew
            .client(host)
            .map_or_else(String::new, |client| client.target().name.clone()),
        error: HostError::Unexpected,
    }
}

/// Ends the nodes of `run` on `hosts`, each within `grace`, and removes what it left there. `alive` says where an agent
/// still looks after it. Returns the nodes that had to be killed and the hosts that failed.
pub(crate) async fn end(
    connections: &Arc<Connections>,
    hosts: &[(u32, bool)],
    run: &Name,
    grace: Duration,
) -> (Vec<Name>, Vec<HostFailure>) {
    let terms = RunTerms {
        run: run.clone(),
        lease_ms: ENDING_LEASE_MS,
        // Nothing is started any more.
        policy: Policy {
            pinned: Vec::new(),
            threshold: 1,
            sequence_min: 0,
        },
    };
    let of = |alive: bool| -> Vec<u32> {
        let hosts = hosts.iter().filter(|(_, lives)| *lives == alive);
        hosts.map(|(host, _)| *host).collect()
    };
    let (mut crew, _news) = Crew::new();
    let none = BTreeMap::new();
    let mut failures = crew
        .muster(connections, &of(true), &Agent::Present, Some(&terms), &none)
        .await;
    failures.extend(crew.muster(connections, &of(false), &Agent::Present, None, &none).await);
    let stop = OrderBody::Stop {
        grace_ms: grace.as_millis() as u64,
    };
    let stops = of(true).into_iter().map(|host| (host, stop.clone()));
    let mut forced = Vec::new();
    for (_, answer) in crew.order_each(stops.collect(), grace + ANSWER_DEADLINE).await {
        match answer {
            Ok(Answer::Stopped { forced: killed }) => forced.extend(killed),
            Ok(_) => {}
            Err(failure) => failures.push(failure),
        }
    }
    let removes = crew.clients().map(|client| {
        let order = OrderBody::Remove { run: run.clone() };
        (client.target().index, order)
    });
    for (_, answer) in crew.order_each(removes.collect(), grace + ANSWER_DEADLINE).await {
        failures.extend(answer.err());
    }
    (forced, failures)
}
