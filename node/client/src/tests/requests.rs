//! Requests: what goes out, what comes back, and every way in which an answer can be wrong.

use super::{Answer, Server, answer, raw_answer};
use crate::{Client, ClientError};
use regatta_api::{
    ApiError, Reject,
    view::{Readiness, SubmitRequest, SubmitResponse, SubmitResult},
};
use regatta_base::{Digest, HexBytes, PublicKey};
use std::time::Duration;

fn readiness(ready: bool, waiting_for: &str) -> Readiness {
    Readiness {
        ready,
        peers_connected: 1,
        peers_configured: 3,
        catching_up: false,
        waiting_for: waiting_for.to_owned(),
    }
}

async fn client_of(answers: Vec<Answer>) -> (Server, Client) {
    let server = Server::start(answers).await;
    let client = Client::new(server.address);
    (server, client)
}

#[tokio::test]
async fn a_submission_goes_out_with_field_names_and_comes_back_typed() {
    let response = SubmitResponse {
        results: vec![SubmitResult {
            id: Some(Digest::of_bytes(b"x")),
            rejected: Some(Reject::Duplicate),
        }],
    };
    let (server, client) = client_of(vec![answer("200 OK", &response)]).await;
    let request = SubmitRequest {
        instance: None,
        transactions: vec![HexBytes::from(vec![7; 3])],
    };
    assert_eq!(client.submit(&request).await, Ok(response));
    let sent = server.first_request().await;
    assert!(sent.starts_with("POST /v1/transactions HTTP/1.1\r\n"), "{sent}");
    assert!(sent.contains("content-type: application/msgpack\r\n"), "{sent}");
    assert!(sent.contains("transactions"), "field names are kept: {sent}");
}

#[tokio::test]
async fn paths_name_what_is_asked_for() {
    let refusal = ApiError {
        code: "not_found".into(),
        message: "none".into(),
        help: "ask for less".into(),
    };
    let (server, client) = client_of(vec![answer("404 Not Found", &refusal)]).await;
    let scoped = client.clone().with_instance("side".parse().unwrap());
    let key = PublicKey([1; 32]);
    assert!(client.status(&Digest::ZERO).await.unwrap_err().is_not_found());
    assert!(scoped.block(3).await.unwrap_err().is_not_found());
    assert!(scoped.blocks(3, 10).await.is_err());
    assert!(client.state(b"\x00\xffk").await.is_err());
    assert!(client.account(&key).await.is_err());
    let lines: Vec<String> = server
        .requests
        .lock()
        .await
        .iter()
        .map(|request| request.lines().next().unwrap().to_owned())
        .collect();
    assert_eq!(
        lines,
        [
            format!("GET /v1/transactions/{} HTTP/1.1", Digest::ZERO),
            "GET /v1/blocks/3?instance=side HTTP/1.1".to_owned(),
            "GET /v1/blocks?from=3&count=10&instance=side HTTP/1.1".to_owned(),
            "GET /v1/state/00ff6b HTTP/1.1".to_owned(),
            format!("GET /v1/accounts/{key} HTTP/1.1"),
        ]
    );
}

#[tokio::test]
async fn a_refusal_carries_the_body_of_the_node() {
    let refusal = ApiError {
        code: "overloaded".into(),
        message: "too much".into(),
        help: "send slower".into(),
    };
    let (server, client) = client_of(vec![answer("503 Service Unavailable", &refusal)]).await;
    let error = client.latest().await.unwrap_err();
    assert_eq!(
        error,
        ClientError::Api {
            address: server.address,
            path: "/v1/latest".into(),
            status: 503,
            error: refusal
        }
    );
    let text = error.to_string();
    for part in [
        server.address.to_string().as_str(),
        "503",
        "too much",
        "help: send slower",
    ] {
        assert!(text.contains(part), "{text} lacks {part}");
    }
    assert_eq!(error.address(), server.address);
    assert!(error.is_refusal());
}

#[tokio::test]
async fn a_refusal_that_is_no_error_body_shows_how_it_began() {
    let (_server, client) = client_of(vec![raw_answer("502 Bad Gateway", b"<html>proxy</html>")]).await;
    let text = client.version().await.unwrap_err().to_string();
    assert!(text.contains("502") && text.contains("<html>proxy"), "{text}");
}

#[tokio::test]
async fn nobody_listening_is_named_with_the_address() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = Client::new(address).health().await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[tokio::test]
async fn silence_meets_the_deadline() {
    let (_server, client) = client_of(vec![Answer::Hang(Vec::new())]).await;
    let client = client.with_deadline(Duration::from_millis(20));
    let error = client.peers().await.unwrap_err();
    assert!(matches!(error, ClientError::Deadline { .. }), "{error}");
    assert!(!error.is_refusal());
}

#[tokio::test]
async fn an_answer_that_stalls_half_way_meets_the_deadline() {
    let (_server, client) = client_of(vec![Answer::Hang(
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab".to_vec(),
    )])
    .await;
    let error = client
        .with_deadline(Duration::from_millis(20))
        .peers()
        .await
        .unwrap_err();
    assert!(matches!(error, ClientError::Deadline { .. }), "{error}");
}

#[tokio::test]
async fn hostile_answers_are_errors() {
    let cut_short = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nab".to_vec();
    for bytes in [b"\x00\xff garbage \r\n\r\n".to_vec(), Vec::new(), cut_short] {
        let (_server, client) = client_of(vec![Answer::Bytes(bytes)]).await;
        let error = client.latest().await.unwrap_err();
        assert!(matches!(error, ClientError::Transport { .. }), "{error}");
    }
    for body in [&b""[..], b"\xc1", b"\x93\x01"] {
        let (_server, client) = client_of(vec![raw_answer("200 OK", body)]).await;
        let error = client.latest().await.unwrap_err();
        assert!(matches!(error, ClientError::Malformed { .. }), "{error}");
    }
}

#[tokio::test]
async fn metrics_are_read_by_name() {
    let (_server, client) = client_of(vec![raw_answer("200 OK", b"# HELP a b\na 1\nb{x=\"y z\"} 2.5\n")]).await;
    let metrics = client.metrics().await.unwrap();
    assert_eq!(metrics["a"], 1.0);
    assert_eq!(metrics["b{x=\"y z\"}"], 2.5);
    let (_server, client) = client_of(vec![raw_answer("200 OK", b"no sample\n")]).await;
    assert!(matches!(client.metrics().await, Err(ClientError::Malformed { .. })));
}

#[tokio::test]
async fn waiting_asks_until_the_node_is_ready() {
    let busy = answer("503 Service Unavailable", &readiness(false, "2 links"));
    let (server, client) = client_of(vec![busy.clone(), busy, answer("200 OK", &readiness(true, ""))]).await;
    assert!(client.wait_ready(Duration::from_secs(60)).await.unwrap().ready);
    assert_eq!(server.requests.lock().await.len(), 3);
}

#[tokio::test]
async fn waiting_in_vain_tells_the_last_reason() {
    let busy = answer("503 Service Unavailable", &readiness(false, "2 of 3 links"));
    let (_server, client) = client_of(vec![busy, Answer::Hang(Vec::new())]).await;
    let error = client.wait_ready(Duration::from_secs(1)).await.unwrap_err();
    assert!(
        matches!(&error, ClientError::NotReady { last, .. } if last == "2 of 3 links"),
        "{error}"
    );
}
