//! Whole worlds: agreement, faults, determinism, and that a planted fork is one.

mod far;
mod faults;
mod runs;
mod snapshots;

use crate::{
    Costs, DiskModel, HostSetup, LinkShift, MEASURED, MILLISECOND, MachineModel, Nanos, NetworkModel, Observation,
    Setup, Trouble, World,
};
use bytes::Bytes;
use regatta_api::NodeConfig;
use regatta_apps::{Domain, transaction};
use regatta_base::{Digest, Height, InstanceId, SecretKey, TransactionId, seed};
use std::collections::BTreeMap;

/// A second of virtual time.
const SECOND: Nanos = 1000 * MILLISECOND;

fn secret(index: usize) -> SecretKey {
    SecretKey::from_seed(seed::bytes(index as u64, "simulated node"))
}

fn instance() -> InstanceId {
    "main".parse().unwrap()
}

/// A configuration of a full mesh of `count` nodes of which the first `validators` vote.
fn config(index: usize, count: usize, validators: usize) -> NodeConfig {
    let key = |n: usize| secret(n).public();
    let mut text = format!(
        "chain = \"test\"\nname = \"n{index}\"\nkey_file = \"key.pem\"\ndata_dir = \"data\"\nip = \"10.0.0.{}\"\n\
         p2p_port = 7000\nhttp_port = 7001\nrelay_votes = {}\n\
         [[instance]]\nid = \"main\"\nblock_interval_ms = 50\nround_timeout_ms = 100\nround_timeout_ms_max = 2000\n\
         batch_bytes = 65536\nbatch_delay_ms = 5\n",
        index + 1,
        index < validators
    );
    for n in 0..validators {
        text += &format!("[[instance.validator]]\nkey = \"{}\"\nweight = 1\n", key(n));
    }
    for n in (0..count).filter(|other| *other != index) {
        let (key, host) = (key(n), n + 1);
        text += &format!("[[peer]]\nname = \"n{n}\"\nkey = \"{key}\"\naddress = \"10.0.0.{host}:7000\"\n");
    }
    NodeConfig::parse(&text).unwrap()
}

/// A setup of `count` nodes in one region.
fn setup(count: usize, validators: usize, seed: u64) -> Setup {
    let host = |index| HostSetup {
        config: config(index, count, validators),
        secret: secret(index),
        region: 0,
        late: false,
    };
    Setup {
        hosts: (0..count).map(host).collect(),
        network: NetworkModel::default(),
        machine: MachineModel::default(),
        disk: DiskModel::default(),
        costs: MEASURED,
        seed,
    }
}

/// Transaction number `number` of one account.
fn put(number: u64) -> (TransactionId, Bytes) {
    let domain = Domain::new(&"test".parse().unwrap(), &instance());
    let account = SecretKey::from_seed([77; 32]);
    let bytes = transaction::put(&domain, &account, number, &number.to_be_bytes(), b"value");
    (regatta_apps::transaction_id(&domain, &bytes).unwrap(), bytes)
}

/// A world with one client that sends a transaction to a host every 20 ms.
struct Run {
    world: World,
    /// Transactions so far, and which of them were acknowledged or final, with when and where.
    sent: u64,
    acknowledged: Vec<TransactionId>,
    requests: BTreeMap<u64, TransactionId>,
    finals: BTreeMap<TransactionId, (Nanos, Height)>,
    lost: u64,
}

impl Run {
    fn new(setup: Setup) -> Self {
        let mut run = Self {
            world: World::new(setup).unwrap(),
            sent: 0,
            acknowledged: Vec::new(),
            requests: BTreeMap::new(),
            finals: BTreeMap::new(),
            lost: 0,
        };
        run.pass(SECOND);
        assert!(run.world.is_ready(), "a second is enough to start");
        run
    }

    /// Lets time pass without load.
    fn pass(&mut self, time: Nanos) {
        let seen = self.world.run_until(self.world.now() + time);
        self.enter(seen);
    }

    /// Lets time pass with load on host `target`.
    fn load(&mut self, time: Nanos, target: usize) {
        // Statuses come from the host that took the transaction.
        self.world.watch(target);
        let end = self.world.now() + time;
        while self.world.now() < end {
            self.sent += 1;
            let (id, bytes) = put(self.sent);
            self.requests.insert(self.sent, id);
            self.world.submit(target, self.sent, None, vec![bytes]);
            self.pass(20 * MILLISECOND);
        }
    }

    fn enter(&mut self, seen: Vec<(Nanos, Observation)>) {
        for (at, observation) in seen {
            match observation {
                Observation::Answer { request, results } => {
                    assert_eq!(results.len(), 1);
                    if results[0].rejected.is_none() {
                        self.acknowledged.push(self.requests[&request]);
                    }
                }
                Observation::Statuses { event, .. } => {
                    let height = event.height;
                    let finals = event.items.into_iter().map(|(id, _)| (id, (at, height)));
                    self.finals.extend(finals);
                }
                Observation::Lost { .. } | Observation::Refused { .. } => self.lost += 1,
                Observation::Block { .. } | Observation::Broken { .. } => {}
            }
        }
    }

    fn height(&self, host: usize) -> Height {
        self.world.height(host, &instance())
    }

    /// Hashes and state roots of a host from height 1 on.
    fn ledger(&self, host: usize) -> Vec<(Digest, Digest)> {
        let blocks = self.world.summaries(host, &instance(), 1, usize::MAX);
        blocks.into_iter().map(|block| (block.hash, block.state_root)).collect()
    }

    /// Checks that no two hosts differ at a height that both have; gives back the lowest height.
    fn agree(&self) -> usize {
        let ledgers: Vec<_> = (0..self.world.len()).map(|host| self.ledger(host)).collect();
        let longest = ledgers.iter().max_by_key(|ledger| ledger.len()).unwrap();
        for (host, ledger) in ledgers.iter().enumerate() {
            assert_eq!(ledger[..], longest[..ledger.len()], "host {host} differs");
            assert_eq!(self.world.failure(host), None);
        }
        ledgers.iter().map(Vec::len).min().unwrap()
    }

    /// Whether every acknowledged transaction is in a block of host 0.
    fn keeps_promises(&self) -> bool {
        let held = |id: &TransactionId| {
            let status = self.world.status(0, &instance(), id);
            matches!(status, Some(regatta_api::view::TransactionStatus::Executed { .. }))
        };
        self.acknowledged.iter().all(held)
    }
}
