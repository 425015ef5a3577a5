//! Subscriptions: events, signs of life, cuts, and streams that end in the wrong place.

use super::{Answer, Server, answer};
use crate::{
    Client, ClientError, EventStream,
    frame::{self, Frame},
};
use futures::StreamExt;
use regatta_api::{
    ApiError,
    view::{BlockSummary, Outcome, StatusEvent},
};
use regatta_base::Digest;

fn event(height: u64) -> StatusEvent {
    StatusEvent {
        instance: "main".parse().unwrap(),
        height,
        items: vec![(Digest::of_bytes(&height.to_be_bytes()), Outcome::Ok)],
    }
}

fn stream_of(frames: &[&[u8]]) -> Vec<u8> {
    let mut bytes = b"HTTP/1.1 200 OK\r\ncontent-type: application/vnd.regatta.frames+msgpack\r\n".to_vec();
    bytes.extend_from_slice(b"connection: close\r\n\r\n");
    bytes.extend_from_slice(&frames.concat());
    bytes
}

async fn subscribe(answer: Answer) -> (Server, EventStream<StatusEvent>) {
    let server = Server::start(vec![answer]).await;
    let stream = Client::new(server.address).statuses_stream().await.unwrap();
    (server, stream)
}

#[tokio::test]
async fn events_arrive_in_order_between_signs_of_life() {
    let frames = [
        frame::keep_alive(),
        frame::encode(&Frame::Event(event(1))).unwrap(),
        frame::keep_alive(),
        frame::keep_alive(),
        frame::encode(&Frame::Event(event(2))).unwrap(),
    ];
    let parts: Vec<&[u8]> = frames.iter().map(AsRef::as_ref).collect();
    let (server, stream) = subscribe(Answer::Bytes(stream_of(&parts))).await;
    let items: Vec<_> = stream.collect().await;
    assert_eq!(items, [Ok(event(1)), Ok(event(2))]);
    let request = server.first_request().await;
    assert!(
        request.contains("accept: application/vnd.regatta.frames+msgpack\r\n"),
        "{request}"
    );
}

#[tokio::test]
async fn an_event_is_not_held_back_until_the_next_one() {
    let bytes = frame::encode(&Frame::Event(event(1))).unwrap();
    let (_server, mut stream) = subscribe(Answer::Hang(stream_of(&[&bytes]))).await;
    assert_eq!(stream.next().await, Some(Ok(event(1))));
}

#[tokio::test]
async fn a_cut_is_the_last_item_and_says_why() {
    let reason = ApiError {
        code: "slow_subscriber".into(),
        message: "too slow".into(),
        help: "read faster".into(),
    };
    let cut = frame::encode(&Frame::<StatusEvent>::Cut(reason.clone())).unwrap();
    let after = frame::encode(&Frame::Event(event(9))).unwrap();
    let (server, stream) = subscribe(Answer::Bytes(stream_of(&[&cut, &after]))).await;
    let items: Vec<_> = stream.collect().await;
    assert_eq!(
        items,
        [Err(ClientError::Cut {
            address: server.address,
            error: reason
        })]
    );
}

#[tokio::test]
async fn a_stream_that_ends_inside_a_frame_is_an_error_after_its_events() {
    let whole = frame::encode(&Frame::Event(event(1))).unwrap();
    let (_server, stream) = subscribe(Answer::Bytes(stream_of(&[&whole, &whole[..whole.len() - 1]]))).await;
    let items: Vec<_> = stream.collect().await;
    assert_eq!(items.len(), 2);
    assert_eq!(items[0], Ok(event(1)));
    assert!(matches!(&items[1], Err(ClientError::Malformed { reason, .. }) if reason.contains("ended")));
}

#[tokio::test]
async fn another_kind_of_event_is_an_error() {
    let bytes = frame::encode(&Frame::Event(event(1))).unwrap();
    let server = Server::start(vec![Answer::Bytes(stream_of(&[&bytes]))]).await;
    let mut stream: EventStream<BlockSummary> = Client::new(server.address).blocks_stream().await.unwrap();
    assert!(matches!(stream.next().await, Some(Err(ClientError::Malformed { .. }))));
    assert_eq!(stream.next().await, None);
}

#[tokio::test]
async fn a_refused_subscription_carries_the_reason() {
    let refusal = ApiError {
        code: "too_many".into(),
        message: "64 subscribers".into(),
        help: "close one".into(),
    };
    let server = Server::start(vec![answer("503 Service Unavailable", &refusal)]).await;
    let result = Client::new(server.address).blocks_stream().await;
    assert!(matches!(result, Err(ClientError::Api { status: 503, error, .. }) if error == refusal));
}
