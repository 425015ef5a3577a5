//! Whole nodes in one process, over real sockets and files.

use super::{Running, StartError, start};
use bytes::Bytes;
use regatta_api::{
    NodeConfig, PeerConfig, Reject,
    config::{InstanceConfig, MempoolConfig, SnapshotConfig, StoreConfig, ValidatorConfig, VoteTopology},
    metrics::Metric,
    view::{SubmitResult, TransactionStatus},
};
use regatta_apps::{Domain, transaction};
use regatta_base::{SecretKey, TransactionId};
use std::{net::SocketAddr, path::Path, time::Duration};
use tempfile::TempDir;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Only a hanging test takes this long.
const GUARD: Duration = Duration::from_secs(60);

fn key(number: u8) -> SecretKey {
    SecretKey::from_seed([number; 32])
}

fn address(test: u8, number: u8) -> SocketAddr {
    let run = 100 + (std::process::id() % 100) as u8;
    SocketAddr::from(([127, run, 100 + test, number], 7000))
}

fn config(test: u8, number: u8, validators: u8) -> NodeConfig {
    let all = 1..=validators;
    let peer = |number: u8| PeerConfig {
        name: format!("n{number}"),
        key: key(number).public(),
        address: address(test, number),
    };
    let validator = |number: u8| ValidatorConfig {
        key: key(number).public(),
        weight: 1,
    };
    NodeConfig {
        chain: "test".parse().unwrap(),
        name: format!("n{number}"),
        key_file: "key.pem".to_owned(),
        data_dir: "data".to_owned(),
        ip: address(test, number).ip(),
        p2p_port: 7000,
        http_port: 7001,
        relay_votes: true,
        mempool: MempoolConfig::default(),
        upgrade: Default::default(),
        testing: Default::default(),
        store: StoreConfig {
            durable: false,
            ..StoreConfig::default()
        },
        instances: vec![InstanceConfig {
            id: "main".parse().unwrap(),
            block_interval_ms: 10,
            empty_blocks: false,
            round_timeout_ms: 500,
            round_timeout_ms_max: 5000,
            silent_heights: 1,
            batch_bytes: 64 * 1024,
            batch_delay_ms: 4,
            vote_topology: VoteTopology::Relay,
            snapshots: SnapshotConfig::default(),
            validators: all.clone().map(validator).collect(),
        }],
        peers: all.filter(|other| *other != number).map(peer).collect(),
    }
}

fn begin(config: &NodeConfig, number: u8, folder: &Path) -> Running {
    // The first one of a folder is new.
    let is_new = !folder.join(&config.data_dir).exists();
    start(config, &key(number), folder, is_new, CancellationToken::new()).unwrap()
}

async fn end(running: Running) {
    running.handle.stop_token().cancel();
    timeout(GUARD, running.wait()).await.expect("the node stops").unwrap();
}

fn put(sequence: u64) -> Bytes {
    let domain = Domain::new(&"test".parse().unwrap(), &"main".parse().unwrap());
    transaction::put(&domain, &key(200), sequence, b"key", &sequence.to_be_bytes())
}

async fn submit(node: &Running, transactions: Vec<Bytes>) -> Vec<SubmitResult> {
    let answer = node.handle.submit(None, transactions);
    timeout(GUARD, answer).await.expect("an answer comes").unwrap()
}

/// Waits until the node takes transactions.
async fn until_ready(node: &Running) {
    let wait = async {
        while !node.handle.readiness().await.unwrap().ready {
            tokio::task::yield_now().await;
        }
    };
    timeout(GUARD, wait).await.expect("the node gets ready");
}

async fn until_executed(node: &Running, id: TransactionId) -> u64 {
    let wait = async {
        loop {
            let status = node.handle.read(move |core| core.status(None, &id)).await.unwrap();
            if let Some(TransactionStatus::Executed { height, .. }) = status {
                return height;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(GUARD, wait).await.expect("the transaction is executed")
}

#[tokio::test]
async fn one_validator_orders_serves_and_remembers() {
    let folder = tempfile::tempdir().unwrap();
    let configuration = config(1, 1, 1);
    let node = begin(&configuration, 1, folder.path());
    let (mut statuses, mut blocks) = (node.handle.subscribe_statuses(), node.handle.subscribe_blocks());
    until_ready(&node).await;
    let results = submit(&node, vec![put(1), put(2), Bytes::from_static(b"nonsense")]).await;
    assert_eq!(results[2].rejected, Some(Reject::Malformed));
    assert!(
        results[..2].iter().all(|result| result.rejected.is_none()),
        "{results:?}"
    );
    let id = results[0].id.unwrap();
    let height = until_executed(&node, id).await;
    let event = timeout(GUARD, statuses.recv()).await.unwrap().unwrap();
    assert!(event.items.iter().any(|(item, _)| *item == id));
    assert!(timeout(GUARD, blocks.recv()).await.unwrap().is_ok());
    let view = node.handle.block(None, height).await.unwrap();
    assert!(view.items.iter().any(|(item, _)| *item == id));
    assert_eq!(node.handle.block(None, height + 1_000_000).await, None);
    assert!(
        node.handle
            .render_metrics()
            .await
            .unwrap()
            .contains("regatta_journal_flushes_total")
    );
    end(node).await;

    let node = begin(&configuration, 1, folder.path());
    assert!(node.records_replayed > 0);
    assert_eq!(until_executed(&node, id).await, height);
    assert_eq!(node.handle.block(None, height).await.unwrap(), view);
    end(node).await;
}

/// Whoever is a quorum alone and waits for nothing between blocks would decide for ever before anybody else has a turn.
#[tokio::test]
async fn a_validator_by_itself_answers_between_blocks() {
    let folder = tempfile::tempdir().unwrap();
    let mut configuration = config(14, 1, 1);
    let instance = &mut configuration.instances[0];
    (instance.block_interval_ms, instance.empty_blocks) = (0, true);
    let node = begin(&configuration, 1, folder.path());
    until_ready(&node).await;
    let mut blocks = node.handle.subscribe_blocks();
    for _ in 0..20 {
        assert!(timeout(GUARD, blocks.recv()).await.unwrap().is_ok());
    }
    end(node).await;
}

async fn cluster(test: u8, validators: u8) -> (Vec<Running>, Vec<TempDir>) {
    let folders: Vec<TempDir> = (0..validators).map(|_| tempfile::tempdir().unwrap()).collect();
    let nodes: Vec<Running> = (1..=validators)
        .zip(&folders)
        .map(|(number, folder)| begin(&config(test, number, validators), number, folder.path()))
        .collect();
    for node in &nodes {
        until_ready(node).await;
    }
    (nodes, folders)
}

#[tokio::test]
async fn four_validators_agree_and_one_of_them_catches_up() {
    let (mut nodes, folders) = cluster(2, 4).await;
    let first = submit(&nodes[0], vec![put(1)]).await[0].id.unwrap();
    for node in &nodes {
        until_executed(node, first).await;
    }
    end(nodes.pop().unwrap()).await;
    let second = submit(&nodes[1], vec![put(2)]).await[0].id.unwrap();
    let height = until_executed(&nodes[0], second).await;
    nodes.push(begin(&config(2, 4, 4), 4, folders[3].path()));
    assert_eq!(until_executed(&nodes[3], second).await, height);
    let mut views = Vec::new();
    for node in &nodes {
        views.push(node.handle.block(None, height).await.unwrap().summary);
    }
    assert!(
        views
            .iter()
            .all(|view| view.hash == views[0].hash && view.state_root == views[0].state_root)
    );
    for node in nodes {
        assert_eq!(node.handle.metrics().get(Metric::FramesInvalid), 0);
        end(node).await;
    }
}

#[tokio::test]
async fn a_second_node_on_the_same_folder_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let node = begin(&config(3, 1, 1), 1, folder.path());
    let error = start(
        &config(4, 1, 1),
        &key(1),
        folder.path(),
        false,
        CancellationToken::new(),
    )
    .unwrap_err();
    assert!(matches!(error, StartError::Store(_)), "{error}");
    let error = start(
        &config(3, 1, 1),
        &key(1),
        folder.path(),
        false,
        CancellationToken::new(),
    )
    .unwrap_err();
    assert!(matches!(error, StartError::Network(_)), "{error}");
    end(node).await;
}

#[tokio::test]
async fn a_full_disk_refuses_transactions_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let mut configuration = config(5, 1, 1);
    configuration.store.disk_bytes_max = 1;
    let node = begin(&configuration, 1, folder.path());
    until_ready(&node).await;
    let refused = |results: Vec<SubmitResult>| results[0].rejected == Some(Reject::DiskFull);
    let wait = async {
        let mut sequence = 1;
        while !refused(submit(&node, vec![put(sequence)]).await) {
            sequence += 1;
        }
    };
    timeout(GUARD, wait).await.expect("the quota is noticed");
    end(node).await;
}

#[tokio::test]
async fn what_snapshots_take_counts_into_the_quota() {
    let folder = tempfile::tempdir().unwrap();
    let mut configuration = config(13, 1, 1);
    configuration.store.disk_bytes_max = 1 << 20;
    // Set aside when the node starts, and still on the disk.
    let snapshots = crate::snapshots::folder(&folder.path().join("data"));
    std::fs::create_dir_all(&snapshots).unwrap();
    let file = crate::snapshots::path(&snapshots, 0, 7);
    std::fs::write(&file, vec![0; 1 << 20]).unwrap();
    let node = start(&configuration, &key(1), folder.path(), true, CancellationToken::new()).unwrap();
    until_ready(&node).await;
    let results = submit(&node, vec![put(1)]).await;
    assert_eq!(results[0].rejected, Some(Reject::DiskFull));
    end(node).await;
    // The next start removes it, and there is room.
    let node = begin(&configuration, 1, folder.path());
    until_ready(&node).await;
    assert_eq!(submit(&node, vec![put(1)]).await[0].rejected, None);
    assert!(!file.with_extension("damaged").exists());
    end(node).await;
}

#[tokio::test]
async fn a_stopped_node_answers_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let node = begin(&config(6, 1, 1), 1, folder.path());
    let handle = node.handle.clone();
    end(node).await;
    assert!(handle.submit(None, vec![put(1)]).await.is_err());
    assert!(handle.latest().await.is_err());
    assert_eq!(handle.block(None, 1).await, None);
}

#[tokio::test]
async fn a_journal_that_fails_stops_the_node_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let node = begin(&config(7, 1, 1), 1, folder.path());
    until_ready(&node).await;
    // The next file cannot be made: its name is taken by a folder.
    std::fs::create_dir(folder.path().join("data/journal-00000002.log")).unwrap();
    let handle = node.handle.clone();
    let domain = Domain::new(&"test".parse().unwrap(), &"main".parse().unwrap());
    let flood = async {
        let mut sequence = 0;
        loop {
            sequence += 1;
            let large = transaction::opaque(&domain, &key(200), sequence, &vec![7; 200 * 1024]);
            if handle.submit(None, vec![large]).await.is_err() {
                return;
            }
        }
    };
    timeout(GUARD, flood).await.expect("the node stops");
    let error = timeout(GUARD, node.wait()).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("journal-00000002.log"), "{error}");
}

/// Copies a node's folder while the node writes to it, as a crash would leave it.
fn snapshot(from: &Path) -> TempDir {
    let to = tempfile::tempdir().unwrap();
    std::fs::create_dir(to.path().join("data")).unwrap();
    for entry in std::fs::read_dir(from.join("data")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.path().join("data").join(entry.file_name())).unwrap();
    }
    to
}

#[tokio::test]
async fn a_node_that_crashes_in_mid_run_keeps_what_it_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let configuration = config(8, 1, 1);
    let node = begin(&configuration, 1, folder.path());
    until_ready(&node).await;
    let mut copies = Vec::new();
    let mut acknowledged = Vec::new();
    for sequence in 1..=30 {
        acknowledged.push(submit(&node, vec![put(sequence)]).await[0].id.unwrap());
        if sequence % 10 == 0 {
            copies.push((acknowledged.clone(), snapshot(folder.path())));
        }
    }
    end(node).await;
    for (acknowledged, copy) in copies {
        let node = begin(&configuration, 1, copy.path());
        for id in acknowledged {
            until_executed(&node, id).await;
        }
        end(node).await;
    }
}

#[tokio::test]
async fn a_full_node_forwards_what_it_is_given_and_follows() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut validator = config(9, 1, 2);
    validator.instances[0].validators.truncate(1);
    let mut follower = config(9, 2, 2);
    follower.instances[0].validators.truncate(1);
    let nodes = [
        begin(&validator, 1, folders[0].path()),
        begin(&follower, 2, folders[1].path()),
    ];
    for node in &nodes {
        until_ready(node).await;
    }
    let result = submit(&nodes[1], vec![put(1)]).await.remove(0);
    assert_eq!(result.rejected, None);
    let id = result.id.unwrap();
    let height = until_executed(&nodes[1], id).await;
    assert_eq!(until_executed(&nodes[0], id).await, height);
    let readiness = nodes[1].handle.readiness().await.unwrap();
    assert_eq!((readiness.peers_connected, readiness.peers_configured), (1, 1));
    assert!(nodes[1].handle.peers().await[0].connected);
    assert!(nodes[1].handle.metrics().get(Metric::PayloadFramesSent) > 0);
    for node in nodes {
        end(node).await;
    }
}

#[tokio::test]
async fn a_submission_in_flight_at_the_stop_is_answered_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let node = begin(&config(10, 1, 1), 1, folder.path());
    until_ready(&node).await;
    let handle = node.handle.clone();
    let submission = tokio::spawn(async move { handle.submit(None, vec![put(1)]).await });
    tokio::task::yield_now().await;
    end(node).await;
    // Either is an answer; waiting for ever is none.
    let answer = timeout(GUARD, submission).await.expect("an answer comes").unwrap();
    assert!(answer.is_err() || answer.is_ok_and(|results| results.len() == 1));
}
