//! Snapshots of running nodes: late nodes and lost disks catch up by them, journals shrink, and files travel by hand.

use super::support::{network::Network, process::run, programs, wait::until};
use regatta_api::{config::Retain, view::SnapshotView};
use regatta_base::{Height, SecretKey};
use std::{fs, path::Path};

/// Four validators and two full nodes, of which none runs yet; snapshots are frequent and journal files small.
fn network() -> Network {
    let mut network = Network::new(4, 2);
    for node in &mut network.nodes {
        node.config.instances[0].snapshots.interval = 20;
        node.config.instances[0].snapshots.lag = 30;
        node.config.store.segment_bytes = 64 * 1024;
        node.config.store.retain_blocks = Retain::Last(10);
    }
    network
}

/// Starts nodes and waits until they answer.
fn start(network: &mut Network, nodes: &[usize]) {
    nodes.iter().for_each(|index| network.start(*index));
    for &index in nodes {
        until("the control interface", || {
            network.ask(network.client(index).latest()).map(drop)
        });
    }
}

/// Lets the chain grow by at least `blocks`, some kilobytes each; gives back the next sequence number.
fn load(network: &Network, at: usize, mut sequence: u64, blocks: Height) -> u64 {
    let sender = SecretKey::from_seed([77; 32]);
    let until_height = network.height(at) + blocks;
    while network.height(at) < until_height {
        let key = format!("key-{}", sequence % 40);
        let transaction = network.put(&sender, sequence, &key, &format!("{sequence:04000}"));
        let id = network.acknowledged(at, transaction);
        network.wait_executed(at, &id);
        sequence += 1;
    }
    sequence
}

fn snapshots(network: &Network, index: usize) -> Vec<SnapshotView> {
    network.ask(network.client(index).snapshots()).unwrap().snapshots
}

fn journal_files(network: &Network, index: usize) -> Vec<String> {
    let data = network.folder(index).join(&network.nodes[index].config.data_dir);
    let names = fs::read_dir(data).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.starts_with("journal-")).collect();
    names.sort();
    names
}

/// Waits until two nodes have a block in common from here on, and checks that the state after it is the same.
fn assert_same(network: &Network, index: usize, reference: usize) {
    let top = network.height(reference);
    let block = |node: usize, height: Height| {
        let blocks = network.ask(network.client(node).blocks(height, 1))?.blocks;
        let block = blocks.into_iter().next().ok_or(format!("no block {height}"))?;
        Ok::<_, String>((block.hash, block.state_root))
    };
    let name = &network.nodes[index].config.name;
    let found = until(&format!("{name} to have block {top}"), || {
        let height = network.height(index);
        if height < top {
            return Err(format!("height {height}"));
        }
        Ok(height)
    });
    let latest = network.latest(index).instances[0].clone();
    let expected = until("the reference to have that block", || block(reference, latest.height));
    assert_eq!((latest.hash, latest.state_root), expected, "{name} at {found}");
}

fn wait_pruned(network: &Network, index: usize) {
    until("the journal's first file to go", || {
        let files = journal_files(network, index);
        if files[0] == "journal-00000001.log" {
            return Err(format!("{files:?}, {:?}", snapshots(network, index)));
        }
        Ok(())
    });
}

fn log(network: &mut Network, index: usize) -> String {
    network.process(index).stderr()
}

#[test]
fn a_late_node_and_a_lost_disk_catch_up_by_snapshot() {
    let mut network = network();
    start(&mut network, &[0, 1, 2, 3]);
    let sequence = load(&network, 0, 1, 130);
    for index in 0..4 {
        wait_pruned(&network, index);
        assert_eq!(snapshots(&network, index).len(), 2);
    }
    // Nobody has the first blocks any more.
    start(&mut network, &[4]);
    until("the late node to install a snapshot", || {
        let first = network.height(4);
        let text = log(&mut network, 4);
        text.contains("goes on from a snapshot")
            .then_some(())
            .ok_or(format!("height {first}:\n{text}"))
    });
    assert_same(&network, 4, 0);
    let early = network.ask(network.client(4).blocks(1, 10)).unwrap().blocks;
    assert!(early.is_empty(), "it has not seen them: {early:?}");
    // A validator without its disk.
    network.kill(3);
    let data = network.folder(3).join(&network.nodes[3].config.data_dir);
    fs::remove_dir_all(data).unwrap();
    let sequence = load(&network, 0, sequence, 35);
    start(&mut network, &[3]);
    assert_same(&network, 3, 0);
    assert!(log(&mut network, 3).contains("goes on from a snapshot"));
    // Everybody starts again from a snapshot, and the rest of the journal.
    for index in 0..5 {
        network.kill(index);
    }
    start(&mut network, &[0, 1, 2, 3, 4]);
    for index in 0..5 {
        until("the control interface", || {
            network.ask(network.client(index).latest()).map(drop)
        });
        assert!(
            log(&mut network, index).contains("going on from a snapshot"),
            "node {index}"
        );
    }
    load(&network, 4, sequence, 5);
    for index in 1..5 {
        assert_same(&network, index, 0);
    }
}

fn snapshot_command(
    network: &Network,
    index: usize,
    arguments: &[&str],
    file: &Path,
) -> super::support::process::Ended {
    let config = network.folder(index).join("node.toml");
    let config = ["--config", config.to_str().unwrap()];
    let verb = [&["snapshot"], arguments, &config, &[file.to_str().unwrap()]].concat();
    run(programs::node(), &verb)
}

#[test]
fn a_snapshot_travels_by_hand_and_a_forged_one_is_refused() {
    let mut network = network();
    start(&mut network, &[0, 1, 2, 3]);
    load(&network, 0, 1, 50);
    until("a snapshot", || {
        snapshots(&network, 0).last().map(drop).ok_or("none".to_owned())
    });
    let copy = network.folder(0).join("copy.snapshot");
    let dumped = snapshot_command(&network, 0, &["dump", "--json"], &copy);
    let dumped: SnapshotView = serde_json::from_str(dumped.success()).unwrap();
    snapshot_command(&network, 0, &["dump"], &copy).failure(2, &["exists", "help: "]);
    let shown = run(
        programs::node(),
        &["snapshot", "show", "--json", copy.to_str().unwrap()],
    );
    assert_eq!(serde_json::from_str::<SnapshotView>(shown.success()).unwrap(), dumped);
    // A node that has written its files and never run.
    start(&mut network, &[4]);
    network.stop(4);
    let data = network.folder(4).join(&network.nodes[4].config.data_dir);
    fs::remove_dir_all(&data).unwrap();
    let mut bytes = fs::read(&copy).unwrap();
    bytes[1000] ^= 1;
    let forged = network.folder(0).join("forged.snapshot");
    fs::write(&forged, &bytes).unwrap();
    snapshot_command(&network, 4, &["load"], &forged).failure(1, &["chunk", "help: "]);
    assert!(!data.join("snapshots").exists());
    let loaded = snapshot_command(&network, 4, &["load", "--json"], &copy);
    assert_eq!(serde_json::from_str::<SnapshotView>(loaded.success()).unwrap(), dumped);
    start(&mut network, &[4]);
    assert_same(&network, 4, 0);
    assert!(log(&mut network, 4).contains("going on from a snapshot"));
    snapshot_command(&network, 4, &["load"], &copy).failure(1, &["is in use"]);
    assert!(
        snapshots(&network, 4).iter().any(|view| view.height == dumped.height)
            || network.height(4) > dumped.height + 20
    );
}
