//! Subscriptions end to end: events, filters, signs of life, cuts, ends.

use super::{super::limits::Limits, Harness, body, status};
use futures::StreamExt;
use regatta_api::view::{BlockSummary, Outcome, StatusEvent};
use regatta_base::Digest;
use regatta_client::ClientError;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

fn event(instance: &str, height: u64, items: usize) -> StatusEvent {
    let item = |index: usize| (Digest::of_bytes(&index.to_be_bytes()), Outcome::Ok);
    StatusEvent {
        instance: instance.parse().unwrap(),
        height,
        items: (0..items).map(item).collect(),
    }
}

pub(super) fn block(height: u64) -> BlockSummary {
    BlockSummary {
        instance: "main".parse().unwrap(),
        height,
        hash: Digest::ZERO,
        parent: Digest::ZERO,
        state_root: Digest::ZERO,
        round: 0,
        proposer: 0,
        transactions: 1,
        failed: 0,
        bytes: 10,
    }
}

/// A subscription to server-sent events, read by hand.
struct Reader {
    stream: TcpStream,
    text: String,
}

impl Reader {
    async fn start(node: &Harness, path: &str) -> Self {
        let mut stream = TcpStream::connect(node.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: n\r\naccept: text/event-stream\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reader = Self {
            stream,
            text: String::new(),
        };
        reader.until(": alive").await;
        reader
    }

    /// Reads until `part` has been seen.
    async fn until(&mut self, part: &str) {
        while !self.text.contains(part) {
            let mut piece = [0; 4096];
            let count = self.stream.read(&mut piece).await.unwrap();
            assert!(count > 0, "the stream ended before `{part}`: {}", self.text);
            self.text.push_str(&String::from_utf8_lossy(&piece[..count]));
        }
    }
}

#[tokio::test]
async fn people_read_server_sent_events() {
    let node = Harness::start().await;
    let mut reader = Reader::start(&node, "/v1/statuses/stream").await;
    assert_eq!(status(&reader.text), "200");
    assert!(
        reader.text.contains("content-type: text/event-stream"),
        "{}",
        reader.text
    );
    node.handle.publish_status(event("main", 3, 1));
    let json = serde_json::to_string(&event("main", 3, 1)).unwrap();
    reader.until(&format!("event: status\ndata: {json}\n\n")).await;
}

#[tokio::test]
async fn programs_read_frames_of_thousands_of_items() {
    let node = Harness::start().await;
    let mut stream = node.client.statuses_stream().await.unwrap();
    let mut blocks = node.client.blocks_stream().await.unwrap();
    for height in 1..=3 {
        node.handle.publish_status(event("main", height, 5000));
        node.handle.publish_block(block(height));
    }
    for height in 1..=3 {
        assert_eq!(stream.next().await, Some(Ok(event("main", height, 5000))));
        assert_eq!(blocks.next().await, Some(Ok(block(height))));
    }
}

#[tokio::test]
async fn a_subscription_to_one_instance_sees_only_that() {
    let node = Harness::start().await;
    let side = node.client.clone().with_instance("side".parse().unwrap());
    let mut only_side = side.statuses_stream().await.unwrap();
    let mut all = node.client.statuses_stream().await.unwrap();
    node.handle.publish_status(event("main", 1, 1));
    node.handle.publish_status(event("side", 2, 1));
    assert_eq!(only_side.next().await, Some(Ok(event("side", 2, 1))));
    assert_eq!(all.next().await, Some(Ok(event("main", 1, 1))));
    assert_eq!(all.next().await, Some(Ok(event("side", 2, 1))));
}

#[tokio::test]
async fn a_subscriber_that_falls_behind_is_cut_and_told_why() {
    let node = Harness::start().await;
    let mut stream = node.client.statuses_stream().await.unwrap();
    let mut reader = Reader::start(&node, "/v1/statuses/stream").await;
    // The server task does not run in between, so this overruns the ring.
    for height in 0..5000 {
        node.handle.publish_status(event("main", height, 1));
    }
    let error = loop {
        match stream.next().await.unwrap() {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(
        matches!(&error, ClientError::Cut { error, .. } if error.code == "slow_subscriber"),
        "{error}"
    );
    assert_eq!(stream.next().await, None);
    reader.until("event: cut\ndata: {\"code\":\"slow_subscriber\"").await;
}

#[tokio::test]
async fn silence_is_broken_by_signs_of_life() {
    let limits = Limits {
        silence_max: Duration::from_millis(5),
        ..Limits::default()
    };
    let node = Harness::with_limits(limits).await;
    let mut reader = Reader::start(&node, "/v1/blocks/stream").await;
    reader.text.clear();
    reader.until(": alive").await;
    let mut stream = node.client.blocks_stream().await.unwrap();
    node.handle.publish_block(block(1));
    assert_eq!(stream.next().await, Some(Ok(block(1))));
}

#[tokio::test]
async fn what_a_route_does_not_offer_is_refused() {
    let node = Harness::start().await;
    let answer = node
        .request("GET /v1/blocks/stream", &["accept: application/json"], &[])
        .await;
    assert_eq!(status(&answer), "406", "{answer}");
    assert!(body(&answer).contains("text/event-stream"), "{answer}");
}

#[tokio::test]
async fn subscriptions_end_when_the_node_stops() {
    let mut node = Harness::start().await;
    let mut stream = node.client.statuses_stream().await.unwrap();
    node.handle.stop_token().cancel();
    assert_eq!(stream.next().await, None);
    (&mut node.server).await.unwrap();
}
