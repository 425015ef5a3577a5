//! Faults that tests order the node to make itself. The route exists only where the configuration says `faults = true`.

use super::{
    Control,
    body::{self, WholeBody},
    error::HttpError,
    negotiate::Format,
};
use axum::{body::Body, extract::State, http::HeaderMap, response::Response};
use regatta_api::testing::{Direction, LinkCuts};
use regatta_core::PeerIndex;
use std::collections::BTreeSet;

/// Where links are cut and healed.
pub(crate) const LINKS: &str = "/v1/faults/links";

/// Cuts exactly the links of the body and heals all others.
pub(crate) async fn links(State(control): State<Control>, format: Format, headers: HeaderMap, body: Body) -> Response {
    format.reply(cut(&control, &headers, body).await)
}

async fn cut(control: &Control, headers: &HeaderMap, body: Body) -> Result<LinkCuts, HttpError> {
    let format = Format::of_body(headers)?;
    let wanted = parse(format, &body::read(control, body).await?)?;
    let peers = control.handle().peers().await;
    let mut seen = BTreeSet::new();
    let mut cuts: Vec<(PeerIndex, Direction)> = Vec::new();
    for cut in &wanted.cut {
        let known = peers.iter().position(|peer| peer.key == cut.peer);
        let index = known.filter(|index| seen.insert(*index)).ok_or_else(|| {
            HttpError::bad_parameter(
                format!("{} is no configured peer, or is listed twice", cut.peer),
                "GET /v1/peers lists the peers with their keys",
            )
        })?;
        cuts.push((index, cut.direction));
    }
    tracing::warn!(links = cuts.len(), "links are cut by order, all others are whole");
    control.handle().cut_links(cuts);
    Ok(wanted)
}

fn parse(format: Format, body: &WholeBody) -> Result<LinkCuts, HttpError> {
    match format {
        Format::Json => serde_json::from_slice(&body.bytes).map_err(|error| error.to_string()),
        Format::Msgpack => regatta_client::decode_body(&body.bytes),
    }
    .map_err(|reason| HttpError::malformed_body(&reason))
}
