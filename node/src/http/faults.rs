//! Faults that tests order the node to make itself. The route exists only where the configuration says `faults = true`.

use super::{
    Control,
    body::{self, WholeBody},
    error::HttpError,
    negotiate::Format,
};
use axum::{body::Body, extract::State, http::HeaderMap, response::Response};
use regatta_api::testing::{LinkFaults, NodeFaults};
use regatta_base::PublicKey;
use regatta_core::PeerIndex;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};

/// Where the node's own clock and disk are made faulty and healed.
pub(crate) const NODE: &str = "/v1/faults/node";
/// Where links are made faulty and healed.
pub(crate) const LINKS: &str = "/v1/faults/links";

/// Makes exactly the links of the body faulty and heals all others.
pub(crate) async fn links(State(control): State<Control>, format: Format, headers: HeaderMap, body: Body) -> Response {
    format.reply(set_links(&control, &headers, body).await)
}

async fn set_links(control: &Control, headers: &HeaderMap, body: Body) -> Result<LinkFaults, HttpError> {
    let wanted: LinkFaults = parse(Format::of_body(headers)?, &body::read(control, body).await?)?;
    let peers = control.handle().peers().await;
    let known = |key: &PublicKey, seen: &mut BTreeSet<PeerIndex>| {
        let index = peers.iter().position(|peer| peer.key == *key);
        index.filter(|index| seen.insert(*index)).ok_or_else(|| {
            HttpError::bad_parameter(
                format!("{key} is no configured peer, or is listed twice"),
                "GET /v1/peers lists the peers with their keys",
            )
        })
    };
    let (mut seen, mut cuts) = (BTreeSet::new(), Vec::new());
    for cut in &wanted.cut {
        cuts.push((known(&cut.peer, &mut seen)?, cut.direction));
    }
    let (mut seen, mut shapes) = (BTreeSet::new(), BTreeMap::new());
    for link in &wanted.shaped {
        if let Some(problem) = link.shape.problem() {
            return Err(HttpError::bad_parameter(problem, "GET /openapi.json has the limits"));
        }
        shapes.insert(known(&link.peer, &mut seen)?, link.shape);
    }
    let (cut, shaped) = (cuts.len(), shapes.len());
    tracing::warn!(cut, shaped, "links are faulty by order, all others are whole");
    control.handle().set_link_faults(cuts, shapes);
    Ok(wanted)
}

/// Makes exactly the faults of the body.
pub(crate) async fn node(State(control): State<Control>, format: Format, headers: HeaderMap, body: Body) -> Response {
    format.reply(set_node(&control, &headers, body).await)
}

async fn set_node(control: &Control, headers: &HeaderMap, body: Body) -> Result<NodeFaults, HttpError> {
    let wanted: NodeFaults = parse(Format::of_body(headers)?, &body::read(control, body).await?)?;
    if let Some(problem) = wanted.problem() {
        return Err(HttpError::bad_parameter(problem, "give less"));
    }
    tracing::warn!(?wanted, "clock and disk are faulty by order");
    control.handle().set_node_faults(&wanted).await?;
    Ok(wanted)
}

fn parse<T: DeserializeOwned>(format: Format, body: &WholeBody) -> Result<T, HttpError> {
    match format {
        Format::Json => serde_json::from_slice(&body.bytes).map_err(|error| error.to_string()),
        Format::Msgpack => regatta_client::decode_body(&body.bytes),
    }
    .map_err(|reason| HttpError::malformed_body(&reason))
}
