//! What the node says of itself.

use super::{Control, error::HttpError, negotiate::Format};
use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use regatta_api::view::{PeerView, Readiness, Version};
use serde::Serialize;
use utoipa::ToSchema;

/// Content type of the exposition.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Marks an answer that is no success and no error either.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NoError;

/// `GET /v1/health`: the process answers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// Always true: a process that does not answer says nothing.
    alive: bool,
}

/// Whether the process answers at all.
#[utoipa::path(
    get,
    path = "/v1/health",
    tag = "node",
    responses((status = 200, description = "The process answers.", body = Health))
)]
pub(crate) async fn health(format: Format) -> Response {
    format.encode(StatusCode::OK, &Health { alive: true })
}

/// Whether the node takes transactions.
#[utoipa::path(
    get,
    path = "/v1/ready",
    tag = "node",
    responses(
        (status = 200, description = "It does.", body = Readiness),
        (status = 503, description = "Not yet; the body says what it waits for.", body = Readiness),
    )
)]
pub(crate) async fn ready(State(control): State<Control>, format: Format) -> Response {
    match control.handle().readiness().await {
        Ok(readiness) if readiness.ready => format.encode(StatusCode::OK, &readiness),
        Ok(readiness) => {
            let mut response = format.encode(StatusCode::SERVICE_UNAVAILABLE, &readiness);
            response.extensions_mut().insert(NoError);
            response
        }
        Err(stopped) => HttpError::from(stopped).respond(format),
    }
}

/// The configured peers and their links.
#[utoipa::path(
    get,
    path = "/v1/peers",
    tag = "node",
    responses((status = 200, description = "One row a peer.", body = Vec<PeerView>))
)]
pub(crate) async fn peers(State(control): State<Control>, format: Format) -> Response {
    format.encode(StatusCode::OK, &control.handle().peers().await)
}

/// What runs here.
#[utoipa::path(
    get,
    path = "/v1/version",
    tag = "node",
    responses((status = 200, description = "Build, digest of the running binary, identity.", body = Version))
)]
pub(crate) async fn version(State(control): State<Control>, format: Format) -> Response {
    // The first call reads the whole binary, so it may not hold up the node's own thread.
    let version = tokio::task::spawn_blocking(move || (control.0.version)()).await;
    format.reply(version.map_err(|error| {
        HttpError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            error.to_string(),
            "read the node's log",
        )
    }))
}

/// Every metric, in the text format of Prometheus; also at `/metrics`.
#[utoipa::path(
    get,
    path = "/v1/metrics",
    tag = "node",
    responses((status = 200, description = "The exposition.", body = String, content_type = "text/plain"))
)]
pub(crate) async fn metrics(State(control): State<Control>, headers: HeaderMap) -> Response {
    match control.handle().render_metrics().await {
        Ok(text) => ([(CONTENT_TYPE, EXPOSITION)], text).into_response(),
        Err(stopped) => HttpError::from(stopped).respond(Format::or_json(&headers)),
    }
}
