//! Bytes from strangers, at both ports: they are counted, and the node goes on.

use super::support::{network::Network, process::Running, programs, wait::until};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use regatta_api::{Reject, metrics::Metric};
use regatta_base::{HexBytes, SecretKey};
use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

/// How long a stranger waits for an answer before it hangs up.
const PATIENCE: Duration = Duration::from_secs(2);

/// Sends bytes, says that no more come, and returns what is answered until the other side closes or patience ends.
fn send(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    exchange(address, bytes, true)
}

/// As [`send`]; unless the sender `ends`, it goes on listening as one who may say more. Who ends before the answer has come
/// counts as gone, and may get none.
fn exchange(address: SocketAddr, bytes: &[u8], ends: bool) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    // The node may close before it has read all of it.
    let _ = stream.write_all(bytes);
    if ends {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    StdRng::seed_from_u64(seed).fill(&mut bytes[..]);
    bytes
}

/// Checks that the node still decides and that its links are up.
fn assert_well(network: &mut Network, sequence: u64) {
    network.wait_ready(0);
    let sender = SecretKey::from_seed([60; 32]);
    let write = network.put(&sender, sequence, "still", "here");
    let id = network.acknowledged(0, write);
    network.wait_executed(0, &id);
}

fn count(network: &Network, metric: Metric) -> f64 {
    network.metrics(0)[metric.row().name]
}

/// Waits until a counter has grown by at least `by`.
fn wait_for_growth(network: &Network, metric: Metric, before: f64, by: usize) {
    until(metric.row().name, || {
        let now = count(network, metric);
        if now >= before + by as f64 {
            Ok(())
        } else {
            Err(format!("{before}, then {now}"))
        }
    });
}

#[test]
fn bytes_at_the_peer_port_are_refused_and_counted() {
    let mut network = Network::new(4, 0).started();
    let before = count(&network, Metric::ConnectionsRefused);
    let address = network.nodes[0].p2p();
    let mut truncated = b"\x13/multistream/1.0.0\n".to_vec();
    let oversized = vec![0xff; 1 << 20];
    let inputs = [
        noise(1, 64),
        noise(2, 100_000),
        oversized,
        truncated.clone(),
        Vec::new(),
    ];
    for input in &inputs {
        send(address, input);
    }
    // A negotiation that breaks off in the middle of a frame.
    truncated.extend(b"\x07/noise\n\xff\xff");
    send(address, &truncated);
    wait_for_growth(&network, Metric::ConnectionsRefused, before, inputs.len());
    assert_well(&mut network, 1);
    assert_eq!(
        network.peers(0).iter().map(|peer| peer.connects).max(),
        Some(1),
        "a link was lost"
    );
    network.assert_agreement();
}

#[test]
fn a_stranger_with_a_key_is_refused() {
    let mut network = Network::new(4, 0).started();
    let mut stranger = Network::new(1, 0);
    let before = count(&network, Metric::ConnectionsRefused);
    // It knows where a validator is and who; the validator does not know it.
    let target = network.nodes[0].as_peer();
    let node = &mut stranger.nodes[0];
    node.key = SecretKey::from_seed([250; 32]);
    node.config.chain = network.nodes[0].config.chain.clone();
    node.config.instances = network.nodes[0].config.instances.clone();
    node.config.peers = vec![target];
    stranger.start(0);
    wait_for_growth(&network, Metric::ConnectionsRefused, before, 2);
    let view = until("the stranger to answer", || stranger.ask(stranger.client(0).peers()));
    assert!(!view[0].connected, "{view:?}");
    assert!(view[0].last_error.is_some(), "{view:?}");
    assert_eq!(network.peers(0).len(), 3);
    assert_well(&mut network, 1);
}

#[test]
fn a_configured_peer_of_another_network_is_cut_off() {
    let mut network = Network::new(4, 0);
    let mut stranger = Network::new(1, 0);
    // Both sides have configured each other, and one of them means another network.
    let name = "elsewhere".parse().unwrap();
    stranger.nodes[0].key = SecretKey::from_seed([251; 32]);
    stranger.nodes[0].config.name = "stranger".to_owned();
    stranger.nodes[0].config.chain = name;
    stranger.nodes[0].config.instances = network.nodes[0].config.instances.clone();
    stranger.nodes[0].config.peers = vec![network.nodes[0].as_peer()];
    network.nodes[0].config.peers.push(stranger.nodes[0].as_peer());
    for index in 0..4 {
        network.start(index);
    }
    for index in 1..4 {
        network.wait_ready(index);
    }
    stranger.start(0);
    let view = until("the refusal to be told", || {
        let peers = network.ask(network.client(0).peers())?;
        let view = peers.into_iter().find(|peer| peer.name == "stranger");
        let view = view.ok_or("it is not listed")?;
        let told = view
            .last_error
            .as_ref()
            .is_some_and(|error| error.contains("same chain"));
        if told { Ok(view) } else { Err(format!("{view:?}")) }
    });
    assert!(!view.connected, "{view:?}");
    assert!(count(&network, Metric::ConnectionsRefused) >= 1.0);
    let write = network.put(&SecretKey::from_seed([60; 32]), 1, "still", "here");
    let id = network.acknowledged(0, write);
    for index in 0..4 {
        network.wait_executed(index, &id);
    }
    assert_eq!(stranger.height(0), 0, "the stranger took blocks");
    network.assert_agreement();
}

#[test]
fn bytes_at_the_control_port_are_answered_and_counted() {
    let mut network = Network::new(4, 0).started();
    let address = network.nodes[0].http();
    let before = count(&network, Metric::HttpErrors);
    let request = |headers: &str, body: &[u8]| {
        let head = format!("POST /v1/transactions HTTP/1.1\r\nhost: node\r\nconnection: close\r\n{headers}\r\n");
        [head.as_bytes(), body].concat()
    };
    let post = |headers: &str, body: &[u8]| {
        let answer = exchange(address, &request(headers, body), false);
        let text = String::from_utf8_lossy(&answer);
        text.lines().next().unwrap_or_default().to_owned()
    };
    let json = "content-type: application/json\r\n";
    let oversized = post(&format!("{json}content-length: 99999999999\r\n"), b"{}");
    assert!(oversized.contains(" 413 "), "{oversized}");
    let garbage = post(&format!("{json}content-length: 64\r\n"), &noise(3, 64));
    assert!(garbage.contains(" 400 "), "{garbage}");
    let packed = post(
        "content-type: application/msgpack\r\ncontent-length: 64\r\n",
        &noise(4, 64),
    );
    assert!(packed.contains(" 400 "), "{packed}");
    // Bodies and heads that break off or are none.
    let broken_off = request(&format!("{json}content-length: 1000\r\n"), b"{\"transactions\":");
    send(address, &broken_off);
    send(address, &noise(5, 10_000));
    send(address, b"GET /v1/latest HT");
    wait_for_growth(&network, Metric::HttpErrors, before, 3);
    assert_well(&mut network, 1);
}

#[test]
fn transactions_without_a_right_signature_are_refused() {
    let network = Network::new(1, 0).started();
    let sender = SecretKey::from_seed([61; 32]);
    let good = network.put(&sender, 1, "a", "b");
    let mut forged = good.0.to_vec();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    let elsewhere = {
        let mut other = Network::new(1, 0);
        other.nodes[0].config.chain = "another".parse().unwrap();
        other.put(&sender, 1, "a", "b")
    };
    let nothing = HexBytes(noise(6, 40).into());
    let transactions = vec![HexBytes(forged.into()), elsewhere, nothing, HexBytes::default(), good];
    let response = network.submit(0, transactions).unwrap();
    let rejected: Vec<Option<Reject>> = response.results.iter().map(|result| result.rejected).collect();
    let expected = [
        Some(Reject::BadSignature),
        Some(Reject::BadSignature),
        Some(Reject::Malformed),
        Some(Reject::Malformed),
        None,
    ];
    assert_eq!(rejected, expected);
    assert_eq!(network.metrics(0)[Metric::TransactionsRejected.row().name], 4.0);
}

#[test]
fn a_connection_that_says_nothing_holds_nobody_up() {
    let mut network = Network::new(4, 0).started();
    let silent: Vec<TcpStream> = [network.nodes[0].p2p(), network.nodes[0].http()]
        .into_iter()
        .cycle()
        .take(40)
        .map(|address| TcpStream::connect(address).unwrap())
        .collect();
    assert_well(&mut network, 1);
    let folder = tempfile::tempdir().unwrap();
    let to = network.nodes[0].http().to_string();
    let status = Running::start(programs::node(), &["status", "--to", &to], folder.path(), "status");
    assert!(status.wait().success().contains("is ready"));
    drop(silent);
}
