//! The limits hold, and say so.

use super::{super::limits::Limits, Harness, body, status};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

async fn read_all(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn one_connection_too_many_is_told_so() {
    let node = Harness::with_limits(Limits {
        connections_max: 1,
        ..Limits::default()
    })
    .await;
    node.client.health().await.unwrap();
    // The client keeps its connection alive, which takes the only place.
    let answer = read_all(TcpStream::connect(node.address).await.unwrap()).await;
    assert_eq!(status(&answer), "503", "{answer}");
    let error: regatta_api::ApiError = serde_json::from_str(body(&answer)).unwrap();
    assert_eq!(error.code, "too_many_connections");
    assert_eq!(node.errors(), 1);
    node.client.health().await.unwrap();
}

#[tokio::test]
async fn a_client_that_says_nothing_is_let_go() {
    let limits = Limits {
        head_time_max: Duration::from_millis(20),
        ..Limits::default()
    };
    let node = Harness::with_limits(limits).await;
    let silent = TcpStream::connect(node.address).await.unwrap();
    let mut trickling = TcpStream::connect(node.address).await.unwrap();
    trickling.write_all(b"GET /v1/hea").await.unwrap();
    for stream in [silent, trickling] {
        let answer = read_all(stream).await;
        assert!(answer.is_empty() || status(&answer) == "408", "{answer}");
    }
}

#[tokio::test]
async fn a_body_that_never_comes_is_let_go() {
    let limits = Limits {
        body_time_max: Duration::from_millis(20),
        ..Limits::default()
    };
    let node = Harness::with_limits(limits).await;
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    let head = b"POST /v1/transactions HTTP/1.1\r\nhost: n\r\ncontent-type: application/json\r\n\
                 content-length: 10\r\n\r\n{";
    stream.write_all(head).await.unwrap();
    let answer = read_all(stream).await;
    assert_eq!(status(&answer), "408", "{answer}");
    assert!(body(&answer).contains("body_timeout"), "{answer}");
}

#[tokio::test]
async fn memory_for_bodies_is_bounded_and_given_back() {
    let node = Harness::with_limits(Limits {
        body_bytes_max: 100,
        ..Limits::default()
    })
    .await;
    let headers = ["content-type: application/json"];
    let big = format!("{{\"transactions\":[\"{}\"]}}", "00".repeat(100));
    let answer = node.request("POST /v1/transactions", &headers, big.as_bytes()).await;
    assert_eq!(status(&answer), "503", "{answer}");
    assert!(answer.contains("retry-after: 1"), "{answer}");
    for _ in 0..10 {
        let answer = node
            .request("POST /v1/transactions", &headers, b"{\"transactions\":[\"00\"]}")
            .await;
        assert_eq!(status(&answer), "200", "{answer}");
    }
}

#[tokio::test]
async fn subscribers_beyond_the_limit_are_refused_until_one_leaves() {
    let node = Harness::with_limits(Limits {
        subscribers_max: 1,
        ..Limits::default()
    })
    .await;
    let first = node.client.blocks_stream().await.unwrap();
    let error = node.client.statuses_stream().await.err().unwrap();
    assert!(error.to_string().contains("1 subscribers"), "{error}");
    drop(first);
    // The node learns of the closed connection on its own time.
    while node.client.statuses_stream().await.is_err() {
        tokio::task::yield_now().await;
    }
}
