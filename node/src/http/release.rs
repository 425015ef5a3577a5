//! Releases: bringing one with its program, and asking how far it is.

use super::{
    Control,
    body::{self, WholeBody},
    error::HttpError,
    negotiate::Format,
};
use crate::upgrade::{Porter, UpgradeError};
use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use regatta_api::view::{ReleaseChunk, ReleaseChunkTaken, ReleaseOffer, ReleaseTaken, UpgradeView};
use regatta_core::Node;
use regatta_seal::ReleaseError;
use serde::de::DeserializeOwned;

/// The newest release that the node knows, and what it does about it.
#[utoipa::path(
    get,
    path = "/v1/release",
    tag = "node",
    responses((status = 200, description = "What is trusted, what runs, and what is to come.", body = UpgradeView))
)]
pub(crate) async fn show(State(control): State<Control>, format: Format) -> Response {
    format.reply(view(&control).await)
}

async fn view(control: &Control) -> Result<UpgradeView, HttpError> {
    // The first call reads the whole binary, so it may not hold up the node's own thread.
    let running = tokio::task::spawn_blocking(crate::build_info::binary_digest).await;
    let running = running.map_err(|error| {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        HttpError::new(status, "internal", error.to_string(), "read the node's log")
    })?;
    let standing = control.handle().porter().map(Porter::standing).unwrap_or_default();
    Ok(UpgradeView {
        trusted_keys: control.0.trusted_keys as u64,
        running,
        number: standing.number,
        sequence_min: standing.sequence_min,
        failure: standing.failure,
        release: control.handle().read(Node::release).await?,
    })
}

/// Brings a release: it is judged here, and told to the other nodes when it is good.
#[utoipa::path(
    post,
    path = "/v1/release",
    tag = "node",
    request_body = ReleaseOffer,
    responses((status = 200, description = "It is good; these pieces of its program are missing.", body = ReleaseTaken))
)]
pub(crate) async fn offer(State(control): State<Control>, format: Format, headers: HeaderMap, body: Body) -> Response {
    format.reply(take(&control, &headers, body).await)
}

async fn take(control: &Control, headers: &HeaderMap, body: Body) -> Result<ReleaseTaken, HttpError> {
    let offer: ReleaseOffer = parse(Format::of_body(headers)?, &body::read(control, body).await?)?;
    porter(control)?
        .offer(offer.document.0)
        .await
        .map_err(|error| refused(&error))
}

/// Brings a piece of a released program.
#[utoipa::path(
    post,
    path = "/v1/release/chunk",
    tag = "node",
    request_body = ReleaseChunk,
    responses((status = 200, description = "It is on the disk.", body = ReleaseChunkTaken))
)]
pub(crate) async fn bring(State(control): State<Control>, format: Format, headers: HeaderMap, body: Body) -> Response {
    format.reply(take_chunk(&control, &headers, body).await)
}

async fn take_chunk(control: &Control, headers: &HeaderMap, body: Body) -> Result<ReleaseChunkTaken, HttpError> {
    let piece: ReleaseChunk = parse(Format::of_body(headers)?, &body::read(control, body).await?)?;
    let ReleaseChunk { artifact, chunk, bytes } = piece;
    porter(control)?
        .bring(artifact, chunk, bytes.0)
        .await
        .map_err(|error| refused(&error))?;
    Ok(ReleaseChunkTaken { chunk })
}

fn porter(control: &Control) -> Result<&Porter, HttpError> {
    let nobody = || refused(&ReleaseError::NoTrustedKey.into());
    control.handle().porter().ok_or_else(nobody)
}

/// A refusal: 403 where a check failed, 409 where the program is another one, 503 where the node cannot now.
fn refused(error: &UpgradeError) -> HttpError {
    let (status, code) = match error {
        UpgradeError::Release(_) | UpgradeError::Seal(_) => (StatusCode::FORBIDDEN, "release_refused"),
        UpgradeError::BadPiece { .. } | UpgradeError::UnknownProgram(_) => (StatusCode::CONFLICT, "bad_piece"),
        UpgradeError::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
        _ => (StatusCode::INSUFFICIENT_STORAGE, "store"),
    };
    let text = error.to_string();
    // Errors of the verifier have their help on a line of its own, others behind a semicolon.
    let parts = text.split_once("\n  help: ").or_else(|| text.split_once("; help: "));
    let (message, help) = parts.unwrap_or((&text, "read the node's log"));
    HttpError::new(status, code, message, help)
}

fn parse<T: DeserializeOwned>(format: Format, body: &WholeBody) -> Result<T, HttpError> {
    match format {
        Format::Json => serde_json::from_slice(&body.bytes).map_err(|error| error.to_string()),
        Format::Msgpack => regatta_client::decode_body(&body.bytes),
    }
    .map_err(|reason| HttpError::malformed_body(&reason))
}
