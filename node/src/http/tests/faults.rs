//! Orders to cut links: absent unless the configuration allows them, and exact where it does.

use super::{Harness, body, config, secret, status};
use regatta_api::testing::{Direction, LinkCut, LinkFaults, LinkShape, ShapedLink};

const ROUTE: &str = "PUT /v1/faults/links";
const JSON: [&str; 2] = ["content-type: application/json", "accept: application/json"];

fn cuts(of: &[(u8, Direction)]) -> LinkFaults {
    let cut = |&(seed, direction): &(u8, Direction)| LinkCut {
        peer: regatta_base::SecretKey::from_seed([seed; 32]).public(),
        direction,
    };
    LinkFaults {
        cut: of.iter().map(cut).collect(),
        ..LinkFaults::default()
    }
}

#[tokio::test]
async fn without_leave_there_is_no_such_route() {
    let node = Harness::start().await;
    let text = serde_json::to_vec(&cuts(&[])).unwrap();
    let answer = node.request(ROUTE, &JSON, &text).await;
    assert_eq!(status(&answer), "404", "{answer}");
    assert!(node.client.set_link_faults(&cuts(&[])).await.is_err());
}

#[tokio::test]
async fn links_are_cut_and_healed_as_the_body_says() {
    let mut config = config();
    config.testing.faults = true;
    let node = Harness::with_config(config).await;
    for wanted in [cuts(&[(2, Direction::Both)]), cuts(&[(2, Direction::In)]), cuts(&[])] {
        assert_eq!(node.client.set_link_faults(&wanted).await, Ok(wanted.clone()));
        assert_eq!(node.handle.peer_board().cuts().count(), wanted.cut.len());
    }
    let text = br#"{"cut":[{"peer":"#.to_vec();
    let own = serde_json::to_vec(&cuts(&[(1, Direction::Both)])).unwrap();
    let twice = serde_json::to_vec(&cuts(&[(2, Direction::In), (2, Direction::Out)])).unwrap();
    let mut shaped = LinkFaults {
        shaped: vec![ShapedLink {
            peer: cuts(&[(2, Direction::Both)]).cut[0].peer,
            shape: LinkShape {
                delay_us: 1000,
                ..LinkShape::default()
            },
        }],
        ..LinkFaults::default()
    };
    assert_eq!(node.client.set_link_faults(&shaped).await, Ok(shaped.clone()));
    assert_eq!(node.handle.peer_board().shaper().count(), 1);
    node.client.set_link_faults(&cuts(&[])).await.unwrap();
    shaped.shaped[0].shape.delay_us = u64::MAX;
    for (bytes, code) in [
        (serde_json::to_vec(&shaped).unwrap(), "bad_parameter"),
        (text, "malformed_body"),
        (own, "bad_parameter"),
        (twice, "bad_parameter"),
    ] {
        let answer = node.request(ROUTE, &JSON, &bytes).await;
        assert_eq!(status(&answer), "400", "{answer}");
        assert!(body(&answer).contains(code), "{answer}");
    }
    assert_eq!(node.handle.peer_board().shaper().count(), 0);
    assert_eq!(
        node.handle.peer_board().cuts().count(),
        0,
        "refused orders change nothing"
    );
    assert_eq!(secret().public(), cuts(&[(1, Direction::Both)]).cut[0].peer);
}
