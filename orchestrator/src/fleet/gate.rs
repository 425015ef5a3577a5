//! How many connections are made at once: a server drops what comes on top of its MaxStartups.

use super::target::Target;
use std::{collections::BTreeMap, sync::Arc};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections that one server is asked for at once. OpenSSH begins to drop at its eleventh.
const PER_SERVER_MAX: usize = 10;
/// Connections that are made at once altogether.
const ALL_MAX: usize = 32;

/// Where connections wait for their turn.
#[derive(Debug)]
pub(super) struct Gates {
    all: Arc<Semaphore>,
    /// By address and port, since two hosts of an inventory may be one server.
    servers: BTreeMap<(String, u16), Arc<Semaphore>>,
}

/// Held while a connection is being made.
#[derive(Debug)]
pub(super) struct Turn {
    _permits: Vec<OwnedSemaphorePermit>,
}

impl Gates {
    pub(super) fn new(targets: &[Target]) -> Self {
        let gate = |target: &Target| (key(target), Arc::new(Semaphore::new(PER_SERVER_MAX)));
        Self {
            all: Arc::new(Semaphore::new(ALL_MAX)),
            servers: targets.iter().map(gate).collect(),
        }
    }

    /// Waits until `target` and whatever it is reached over may be asked.
    pub(super) async fn enter(&self, targets: &[Target], target: &Target) -> Turn {
        let mut way = vec![key(target)];
        let mut hop = target.jump;
        while let Some(next) = hop.and_then(|jump| targets.iter().find(|other| other.index == jump)) {
            if way.len() > targets.len() {
                break;
            }
            way.push(key(next));
            hop = next.jump;
        }
        // All take what they need in one order, so that none waits for another in a circle.
        way.sort();
        way.dedup();
        let gates = way.iter().filter_map(|key| self.servers.get(key)).chain([&self.all]);
        let mut permits = Vec::new();
        for gate in gates.cloned().collect::<Vec<_>>() {
            // They are never closed.
            permits.extend(gate.acquire_owned().await.ok());
        }
        Turn { _permits: permits }
    }
}

fn key(target: &Target) -> (String, u16) {
    (target.addr.clone(), target.port)
}

#[cfg(test)]
mod tests {
    use super::{super::target::target, *};
    use crate::testing::block_on;
    use futures::FutureExt;

    #[test]
    fn one_server_is_asked_for_ten_at_once_whatever_it_is_called() {
        let mut targets: Vec<Target> = (0..40).map(target).collect();
        for jumped in &mut targets[1..20] {
            jumped.jump = Some(0);
        }
        let gates = Gates::new(&targets);
        block_on(async {
            let mut turns = Vec::new();
            for target in &targets[1..=10] {
                turns.push(gates.enter(&targets, target).now_or_never().expect("ten may"));
            }
            assert!(
                gates.enter(&targets, &targets[11]).now_or_never().is_none(),
                "the eleventh waits"
            );
            turns.pop();
            assert!(gates.enter(&targets, &targets[11]).now_or_never().is_some());
        });
    }

    #[test]
    fn altogether_there_is_a_limit_too() {
        let targets: Vec<Target> = (0..40).map(target).collect();
        let gates = Gates::new(&targets);
        block_on(async {
            let turns: Vec<_> = targets
                .iter()
                .map_while(|target| gates.enter(&targets, target).now_or_never())
                .collect();
            assert_eq!(turns.len(), ALL_MAX);
        });
    }
}
