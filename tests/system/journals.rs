//! Journals that end in the middle of a record, lack their end, or have a flipped bit.

use super::support::network::Network;
use regatta_base::{SecretKey, TransactionId};
use std::{fs, path::PathBuf};

/// First bytes of every record, and the bytes before each payload, as `node/src/store/segment.rs` lays them out.
const RECORD_MAGIC: &[u8; 4] = b"RJ1\n";
const RECORD_HEADER: usize = 16;

fn write(network: &Network, to: usize, sequence: u64) -> TransactionId {
    let sender = SecretKey::from_seed([221; 32]);
    let write = network.put(&sender, sequence, &format!("key-{sequence}"), "value");
    network.acknowledged(to, write)
}

fn assert_executed(network: &Network, node: usize, ids: &[TransactionId]) {
    for id in ids {
        network.wait_executed(node, id);
    }
}

/// The newest file of a node's journal.
fn newest_file(network: &Network, node: usize) -> PathBuf {
    let folder = network.folder(node).join(&network.nodes[node].config.data_dir);
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let logs = files.filter(|path| path.extension().is_some_and(|end| end == "log"));
    logs.max().expect("the node has a journal")
}

/// Where each record begins, and the end of the last one: behind it the file is zeros.
fn records(bytes: &[u8]) -> (Vec<usize>, usize) {
    let starts: Vec<usize> = (0..bytes.len() - RECORD_HEADER)
        .filter(|&at| bytes[at..].starts_with(RECORD_MAGIC))
        .collect();
    let last = *starts.last().expect("the journal has records");
    let length = u32::from_le_bytes(bytes[last + 4..last + 8].try_into().unwrap()) as usize;
    (starts, last + RECORD_HEADER + length)
}

/// Four validators that executed a few transactions, of which the last one was then killed.
fn with_one_killed() -> (Network, Vec<TransactionId>) {
    let mut network = Network::new(4, 0).started();
    let ids: Vec<TransactionId> = (1..6).map(|sequence| write(&network, 0, sequence)).collect();
    (0..4).for_each(|node| assert_executed(&network, node, &ids));
    network.kill(3);
    (network, ids)
}

/// The killed node starts, has everything, and agrees.
fn assert_returns(mut network: Network, mut ids: Vec<TransactionId>) {
    ids.push(write(&network, 1, 10));
    network.start(3);
    network.wait_ready(3);
    assert_executed(&network, 3, &ids);
    network.assert_agreement();
}

#[test]
fn a_record_of_which_only_the_beginning_was_written_is_cut_off() {
    let (network, ids) = with_one_killed();
    let path = newest_file(&network, 3);
    let mut bytes = fs::read(&path).unwrap();
    let (starts, end) = records(&bytes);
    let torn = bytes[starts[0]..starts[0] + RECORD_HEADER + 3].to_vec();
    bytes[end..end + torn.len()].copy_from_slice(&torn);
    fs::write(&path, bytes).unwrap();
    assert_returns(network, ids);
}

#[test]
fn a_file_that_ends_within_its_last_record_is_read_up_to_it() {
    let (network, ids) = with_one_killed();
    let path = newest_file(&network, 3);
    let bytes = fs::read(&path).unwrap();
    let (_, end) = records(&bytes);
    fs::write(&path, &bytes[..end - 1]).unwrap();
    assert_returns(network, ids);
}

#[test]
fn a_flipped_bit_that_no_crash_explains_is_refused_by_file_and_place() {
    let (mut network, ids) = with_one_killed();
    let path = newest_file(&network, 3);
    let sound = fs::read(&path).unwrap();
    let (starts, _) = records(&sound);
    let early = starts[1];
    let mut damaged = sound.clone();
    damaged[early + RECORD_HEADER] ^= 1;
    fs::write(&path, &damaged).unwrap();
    network.start(3);
    let ended = network.nodes[3].process.take().unwrap().wait();
    assert_ne!(ended.code(), Some(0), "{}", ended.stderr);
    let file = path.file_name().unwrap().to_str().unwrap();
    for part in [file, "is damaged at byte", &early.to_string(), "help: "] {
        assert!(ended.stderr.contains(part), "`{part}` is missing in {}", ended.stderr);
    }
    assert_eq!(fs::read(&path).unwrap(), damaged, "what is damaged is left as it is");
    // The others go on without it, and with the bit flipped back it returns.
    let more = write(&network, 1, 11);
    (0..3).for_each(|node| assert_executed(&network, node, &[more]));
    fs::write(&path, &sound).unwrap();
    assert_returns(network, ids);
}

#[test]
fn a_validator_whose_journal_is_gone_votes_again_when_the_others_have_answered() {
    let (mut network, mut ids) = with_one_killed();
    fs::remove_dir_all(network.folder(3).join(&network.nodes[3].config.data_dir)).unwrap();
    network.start(3);
    // Ready only then.
    network.wait_ready(3);
    // It stays silent for two heights more, which need all the others: each write has a block of its own. The block
    // after those cannot do without its vote.
    for sequence in [10, 11] {
        ids.push(write(&network, 1, sequence));
        network.wait_executed(1, ids.last().unwrap());
    }
    network.kill(0);
    ids.push(write(&network, 1, 12));
    (1..4).for_each(|node| assert_executed(&network, node, &ids));
}
