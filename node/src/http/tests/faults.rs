//! Orders to cut links: absent unless the configuration allows them, and exact where it does.

use super::{Harness, body, config, secret, status};
use regatta_api::testing::{Direction, LinkCut, LinkCuts};

const ROUTE: &str = "PUT /v1/faults/links";
const JSON: [&str; 2] = ["content-type: application/json", "accept: application/json"];

fn cuts(of: &[(u8, Direction)]) -> LinkCuts {
    let cut = |&(seed, direction): &(u8, Direction)| LinkCut {
        peer: regatta_base::SecretKey::from_seed([seed; 32]).public(),
        direction,
    };
    LinkCuts {
        cut: of.iter().map(cut).collect(),
    }
}

#[tokio::test]
async fn without_leave_there_is_no_such_route() {
    let node = Harness::start().await;
    let text = serde_json::to_vec(&cuts(&[])).unwrap();
    let answer = node.request(ROUTE, &JSON, &text).await;
    assert_eq!(status(&answer), "404", "{answer}");
    assert!(node.client.cut_links(&cuts(&[])).await.is_err());
}

#[tokio::test]
async fn links_are_cut_and_healed_as_the_body_says() {
    let mut config = config();
    config.testing.faults = true;
    let node = Harness::with_config(config).await;
    for wanted in [cuts(&[(2, Direction::Both)]), cuts(&[(2, Direction::In)]), cuts(&[])] {
        assert_eq!(node.client.cut_links(&wanted).await, Ok(wanted.clone()));
        assert_eq!(node.handle.peer_board().cuts().count(), wanted.cut.len());
    }
    let text = br#"{"cut":[{"peer":"#.to_vec();
    let own = serde_json::to_vec(&cuts(&[(1, Direction::Both)])).unwrap();
    let twice = serde_json::to_vec(&cuts(&[(2, Direction::In), (2, Direction::Out)])).unwrap();
    for (bytes, code) in [
        (text, "malformed_body"),
        (own, "bad_parameter"),
        (twice, "bad_parameter"),
    ] {
        let answer = node.request(ROUTE, &JSON, &bytes).await;
        assert_eq!(status(&answer), "400", "{answer}");
        assert!(body(&answer).contains(code), "{answer}");
    }
    assert_eq!(
        node.handle.peer_board().cuts().count(),
        0,
        "refused orders change nothing"
    );
    assert_eq!(secret().public(), cuts(&[(1, Direction::Both)]).cut[0].peer);
}
