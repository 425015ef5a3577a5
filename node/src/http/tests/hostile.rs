//! Bytes from whoever reaches the port: the node stays up and counts.

use super::{Harness, body, status};
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};
use regatta_base::limits::REQUEST_BYTES_MAX;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

#[tokio::test]
async fn what_is_not_http_is_counted_and_survived() {
    let node = Harness::start().await;
    let tls_hello = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 300]].concat();
    let long_head = [b"GET /v1/latest HTTP/1.1\r\nx: ".as_slice(), &vec![b'a'; 200_000]].concat();
    let many_headers = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(100)).into_bytes();
    let long_target = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(100_000)).into_bytes();
    let cases: [&[u8]; 8] = [
        b"\x00\x01\x02\x03\r\n\r\n",
        &tls_hello,
        &long_head,
        &many_headers,
        &long_target,
        b"GET / HTTP/1.1\r\ncontent-length: minus\r\n\r\n",
        b"GET /v1/latest HTTP/1.1\r\nhost",
        b"\x93\x01\x02\x03 not http either\r\n\r\n",
    ];
    for (position, case) in cases.iter().enumerate() {
        let answer = node.raw(case).await;
        assert!(
            answer.is_empty() || status(&answer).starts_with('4'),
            "case {position}: {answer}"
        );
        assert_eq!(node.errors(), position as u64 + 1, "case {position}: {answer}");
    }
    node.client.health().await.unwrap();
}

#[tokio::test]
async fn bodies_beyond_the_limit_are_refused_unread() {
    let node = Harness::start().await;
    let head = "POST /v1/transactions HTTP/1.1\r\nhost: n\r\ncontent-type: application/json\r\n";
    let announced = format!("{head}content-length: {}\r\n\r\n", REQUEST_BYTES_MAX + 1);
    let answer = node.raw(announced.as_bytes()).await;
    assert_eq!(status(&answer), "413", "{answer}");
    assert!(body(&answer).contains("too_large"), "{answer}");
}

#[tokio::test]
async fn a_body_in_chunks_is_cut_off_at_the_limit() {
    let node = Harness::start().await;
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    let head = b"POST /v1/transactions HTTP/1.1\r\nhost: n\r\ncontent-type: application/json\r\n\
                 transfer-encoding: chunked\r\n\r\n";
    stream.write_all(head).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let chunk = [b"10000\r\n".as_slice(), &[b' '; 0x1_0000], b"\r\n"].concat();
    // The node answers and closes while the client would go on for ever.
    let flood = tokio::spawn(async move { while writer.write_all(&chunk).await.is_ok() {} });
    let mut answer = vec![0; 12];
    // The reset that ends the flood may overtake the answer.
    if reader.read_exact(&mut answer).await.is_ok() {
        assert_eq!(answer, b"HTTP/1.1 413");
    }
    drop(reader);
    flood.await.unwrap();
    assert_eq!(node.errors(), 1);
}

#[tokio::test]
async fn a_body_that_ends_early_is_refused() {
    let node = Harness::start().await;
    let bytes = b"POST /v1/transactions HTTP/1.1\r\nhost: n\r\ncontent-type: application/json\r\n\
                  content-length: 100\r\n\r\n{\"trans";
    node.raw(bytes).await;
    node.client.health().await.unwrap();
    assert_eq!(node.errors(), 1);
}

#[tokio::test]
async fn more_transactions_than_a_request_may_have_are_refused_while_parsing() {
    let node = Harness::start().await;
    // An array that claims 2^32 - 1 transactions and one that has too many.
    let claim = b"\x81\xactransactions\xdd\xff\xff\xff\xff".to_vec();
    let mut many = b"\x81\xactransactions\xdd\x00\x00\x80\x00".to_vec();
    many.extend_from_slice(&[0xc4, 0].repeat(0x8000));
    for bytes in [claim, many] {
        let headers = ["content-type: application/msgpack", "accept: application/json"];
        let answer = node.request("POST /v1/transactions", &headers, &bytes).await;
        assert!(body(&answer).contains("malformed_body"), "{answer}");
    }
}

/// A random request: anything from noise to a well-formed one with a random body.
fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    let noise = proptest::collection::vec(any::<u8>(), 0..300);
    let line = "(GET|POST|PUT|X) /[ -~]{0,40} HTTP/1\\.[01]";
    let with_body = (noise.clone(), prop_oneof![Just("json"), Just("msgpack")]).prop_map(|(body, kind)| {
        let head = format!(
            "POST /v1/transactions HTTP/1.1\r\nhost: n\r\nconnection: close\r\ncontent-type: application/{kind}\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), &body].concat()
    });
    prop_oneof![
        noise.clone(),
        (line, noise).prop_map(|(line, noise)| [line.as_bytes(), b"\r\n", &noise, b"\r\n\r\n"].concat()),
        with_body,
    ]
}

#[tokio::test]
async fn random_bytes_never_take_the_node_down() {
    let node = Harness::start().await;
    let mut runner = TestRunner::deterministic();
    for _ in 0..200 {
        let bytes = any_bytes().new_tree(&mut runner).unwrap().current();
        let answer = node.raw(&bytes).await;
        assert!(!answer.contains(" 500 "), "{answer}");
    }
    node.client.health().await.unwrap();
    assert!(node.errors() > 0);
}
