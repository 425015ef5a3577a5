//! Every route, in both encodings, and every refusal that a well-meaning client can meet.

use super::{Harness, body, config, secret, status};
use regatta_api::{
    ApiError, Reject,
    view::{Latest, SubmitRequest, SubmitResponse, TransactionStatus, Version},
};
use regatta_base::{Digest, HexBytes};
use regatta_client::{ClientError, encode_body};

const JSON_BODY: &str = "content-type: application/json";
const MSGPACK_BODY: &str = "content-type: application/msgpack";

/// The refusal in an answer; panics when it is none, or one without help.
fn refusal(answer: &str) -> ApiError {
    let error: ApiError = serde_json::from_str(body(answer)).unwrap_or_else(|error| panic!("{error}: {answer}"));
    assert!(!error.help.is_empty() && !error.message.is_empty(), "{error:?}");
    error
}

#[tokio::test]
async fn a_batch_is_answered_in_its_order() {
    let node = Harness::start().await;
    let request = SubmitRequest {
        instance: Some("side".parse().unwrap()),
        transactions: vec![vec![1].into(), vec![0xff].into(), vec![2].into()],
    };
    let response = node.client.submit(&request).await.unwrap();
    let ids: Vec<_> = response.results.iter().map(|result| result.id).collect();
    assert_eq!(ids, [Some(Digest::of_bytes(&[1])), None, Some(Digest::of_bytes(&[2]))]);
    assert_eq!(response.results[1].rejected, Some(Reject::Malformed));
    assert_eq!(node.errors(), 0);
}

#[tokio::test]
async fn both_encodings_carry_the_same_submission() {
    let node = Harness::start().await;
    let request = SubmitRequest {
        instance: None,
        transactions: vec![HexBytes::from(vec![1, 2])],
    };
    let packed = encode_body(&request).unwrap();
    let text = serde_json::to_vec(&request).unwrap();
    for (content_type, bytes) in [(MSGPACK_BODY, &packed), (JSON_BODY, &text)] {
        let answer = node
            .request(
                "POST /v1/transactions",
                &[content_type, "accept: application/json"],
                bytes,
            )
            .await;
        assert_eq!(status(&answer), "200", "{answer}");
        let response: SubmitResponse = serde_json::from_str(body(&answer)).unwrap();
        assert_eq!(response.results[0].id, Some(Digest::of_bytes(&[1, 2])));
    }
    // Without a wish the answer is in the encoding of the question.
    let answer = node.request("POST /v1/transactions", &[MSGPACK_BODY], &packed).await;
    assert!(answer.contains("content-type: application/msgpack"), "{answer}");
}

#[tokio::test]
async fn answers_come_in_the_encoding_that_is_accepted() {
    let node = Harness::start().await;
    let answer = node.get("/v1/latest").await;
    assert!(answer.contains("content-type: application/json"), "{answer}");
    let latest: Latest = serde_json::from_str(body(&answer)).unwrap();
    assert_eq!(node.client.latest().await.unwrap(), latest);
    let answer = node.request("GET /v1/latest", &["accept: image/png"], &[]).await;
    assert_eq!(
        (status(&answer), refusal(&answer).code.as_str()),
        ("406", "not_acceptable")
    );
}

#[tokio::test]
async fn the_node_says_when_it_told_of_a_block() {
    let node = Harness::start().await;
    assert_eq!(node.client.block_times(1, 10).await.unwrap().times, []);
    for height in [1, 2] {
        node.handle.publish_block(super::streams::block(height));
    }
    let times = node.client.block_times(1, 10).await.unwrap().times;
    assert!(
        matches!(times[..], [(1, first), (2, second)] if 0 < first && first <= second),
        "{times:?}"
    );
    assert_eq!(node.client.block_times(2, 10).await.unwrap().times, times[1..]);
    assert!(node.client.block_times(0, 10).await.is_err());
}

#[tokio::test]
async fn refusals_come_in_the_encoding_that_is_accepted() {
    let node = Harness::start().await;
    let error = node.client.blocks(0, 5).await.unwrap_err();
    assert!(
        matches!(&error, ClientError::Api { status: 400, error, .. } if error.code == "bad_parameter"),
        "{error}"
    );
    let answer = node
        .request("GET /v1/nothing", &["accept: application/msgpack"], &[])
        .await;
    assert!(
        answer.contains("content-type: application/msgpack") && answer.contains("unknown_route"),
        "{answer}"
    );
}

#[tokio::test]
async fn each_wrong_question_is_refused_with_a_code_and_help() {
    let node = Harness::start().await;
    let key = secret().public();
    let cases = [
        ("GET /nothing".to_owned(), "404", "unknown_route"),
        ("POST /v1/latest".to_owned(), "405", "wrong_method"),
        ("DELETE /v1/transactions".to_owned(), "405", "wrong_method"),
        ("GET /v1/transactions/xyz".to_owned(), "400", "bad_parameter"),
        (
            format!("GET /v1/transactions/{}?instance=none", Digest::ZERO),
            "404",
            "unknown_instance",
        ),
        (format!("GET /v1/accounts/{key}?instanse=main"), "400", "bad_parameter"),
        ("GET /v1/accounts/00".to_owned(), "400", "bad_parameter"),
        ("GET /v1/blocks/minus".to_owned(), "400", "bad_parameter"),
        ("GET /v1/blocks/7".to_owned(), "404", "not_found"),
        ("GET /v1/blocks/18446744073709551616".to_owned(), "400", "bad_parameter"),
        ("GET /v1/blocks?from=0".to_owned(), "400", "bad_parameter"),
        ("GET /v1/blocks?count=0".to_owned(), "400", "bad_parameter"),
        ("GET /v1/blocks?count=1001".to_owned(), "400", "bad_parameter"),
        ("GET /v1/blocks?from=x".to_owned(), "400", "bad_parameter"),
        ("GET /v1/blocks?instance=%ff".to_owned(), "404", "unknown_instance"),
        ("GET /v1/evidence?instance=none".to_owned(), "404", "unknown_instance"),
        ("GET /v1/state/0".to_owned(), "400", "bad_parameter"),
        ("GET /v1/state/zz".to_owned(), "400", "bad_parameter"),
        (format!("GET /v1/state/{}", "00".repeat(257)), "400", "bad_parameter"),
        ("GET /v1/state".to_owned(), "400", "bad_parameter"),
        ("GET /v1/state?utf8=".to_owned(), "400", "bad_parameter"),
        (
            "GET /v1/statuses/stream?instance=none".to_owned(),
            "404",
            "unknown_instance",
        ),
    ];
    let count = cases.len() as u64;
    for (line, expected, code) in cases {
        let answer = node.request(&line, &[], &[]).await;
        assert_eq!(
            (status(&answer), refusal(&answer).code.as_str()),
            (expected, code),
            "{line}: {answer}"
        );
    }
    assert_eq!(node.errors(), count);
}

#[tokio::test]
async fn each_wrong_body_is_refused_with_a_code_and_help() {
    let node = Harness::start().await;
    let packed = encode_body(&SubmitRequest {
        instance: None,
        transactions: vec![vec![1].into()],
    })
    .unwrap();
    let cases: [(&str, &[u8], &str, &str); 9] = [
        ("content-type: text/plain", b"hello", "415", "unsupported_media_type"),
        ("x-none: 1", b"hello", "415", "unsupported_media_type"),
        (JSON_BODY, b"", "400", "malformed_body"),
        (JSON_BODY, b"{\"transactions\":[\"0\"]}", "400", "malformed_body"),
        (JSON_BODY, b"{\"transactions\":[],\"extra\":1}", "400", "malformed_body"),
        (
            JSON_BODY,
            b"{\"instance\":\"none\",\"transactions\":[]}",
            "404",
            "unknown_instance",
        ),
        (MSGPACK_BODY, b"\xc1", "400", "malformed_body"),
        (MSGPACK_BODY, &packed[..packed.len() - 1], "400", "malformed_body"),
        (
            MSGPACK_BODY,
            &[packed.as_slice(), &[0]].concat(),
            "400",
            "malformed_body",
        ),
    ];
    for (header, bytes, expected, code) in cases {
        let headers = [header, "accept: application/json"];
        let answer = node.request("POST /v1/transactions", &headers, bytes).await;
        assert_eq!(
            (status(&answer), refusal(&answer).code.as_str()),
            (expected, code),
            "{answer}"
        );
    }
    assert_eq!(node.errors(), 9);
}

#[tokio::test]
async fn the_core_is_asked_about_the_instance_that_is_meant() {
    let node = Harness::start().await;
    let main = &node.client;
    let side = main.clone().with_instance("side".parse().unwrap());
    let key = secret().public();
    for client in [main, &side] {
        assert_eq!(client.status(&Digest::ZERO).await, Ok(TransactionStatus::Unknown));
        assert_eq!(client.account(&key).await.unwrap().key, key);
        assert_eq!(client.state(b"colour").await.unwrap().value, None);
        assert_eq!(client.blocks(1, 10).await.unwrap().blocks, []);
        assert_eq!(client.evidence().await.unwrap().evidence, []);
        assert!(client.block(1).await.unwrap_err().is_not_found());
    }
    assert_eq!(main.latest().await.unwrap().instances.len(), 2);
    let by_text = node.get("/v1/state?utf8=colour&instance=side").await;
    assert_eq!(
        body(&by_text),
        body(&node.get("/v1/state/636f6c6f7572?instance=side").await)
    );
}

#[tokio::test]
async fn the_node_says_what_it_is() {
    let node = Harness::start().await;
    let version: Version = node.client.version().await.unwrap();
    assert_eq!((version.name.as_str(), version.key), ("val-0", secret().public()));
    let binary = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    assert_eq!(version.binary, Digest::of_bytes(&binary));
    node.client.health().await.unwrap();
    let peers = node.client.peers().await.unwrap();
    assert_eq!(peers.len(), 1);
    assert!(!peers[0].connected);
    assert_eq!(peers[0].address, config().peers[0].address.to_string());
}

#[tokio::test]
async fn a_node_that_is_not_ready_answers_503_and_counts_no_error() {
    let node = Harness::start().await;
    let readiness = node.client.readiness().await.unwrap();
    assert_eq!((readiness.peers_connected, readiness.peers_configured), (0, 1));
    // The core behind it was never started.
    assert!(!readiness.ready && !readiness.waiting_for.is_empty(), "{readiness:?}");
    let answer = node.get("/v1/ready").await;
    assert_eq!(status(&answer), "503", "{answer}");
    assert_eq!(node.errors(), 0);
}

#[tokio::test]
async fn metrics_count_requests_and_errors() {
    let node = Harness::start().await;
    node.get("/nothing").await;
    let metrics = node.client.metrics().await.unwrap();
    assert_eq!(metrics["regatta_http_requests_total"], 1.0);
    assert_eq!(metrics["regatta_http_errors_total"], 1.0);
    let answer = node.get("/v1/metrics").await;
    assert!(answer.contains("content-type: text/plain; version=0.0.4"), "{answer}");
}

#[tokio::test]
async fn a_node_that_stops_lets_go_of_its_port_and_refuses() {
    let mut node = Harness::start().await;
    node.client.health().await.unwrap();
    node.handle.stop_token().cancel();
    (&mut node.server).await.unwrap();
    assert!(matches!(
        node.client.health().await,
        Err(ClientError::Unreachable { .. })
    ));
    // The port is free at once.
    std::net::TcpListener::bind(node.address).unwrap();
}
