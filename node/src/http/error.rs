//! Refusals of the control interface: a status and a body that says what to do.

use super::negotiate::Format;
use crate::{Busy, Stopped};
use axum::{
    http::{HeaderValue, StatusCode, header::RETRY_AFTER},
    response::Response,
};
use regatta_api::ApiError;
use regatta_base::{InstanceId, limits};
use std::time::Duration;

/// A refusal on its way to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HttpError {
    pub(crate) status: StatusCode,
    pub(crate) error: ApiError,
}

/// What a client sent is quoted back up to this many characters.
const QUOTE_CHARS_MAX: usize = 80;

pub(crate) fn quote(text: &str) -> String {
    text.chars().take(QUOTE_CHARS_MAX).collect()
}

impl HttpError {
    pub(crate) fn new(status: StatusCode, code: &str, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            status,
            error: ApiError {
                code: code.to_owned(),
                message: message.into(),
                help: help.into(),
            },
        }
    }

    pub(crate) fn unknown_route(path: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "unknown_route",
            format!("there is no `{}`", quote(path)),
            "GET /openapi.json lists every route",
        )
    }

    pub(crate) fn wrong_method(method: &str, path: &str) -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "wrong_method",
            format!("`{}` does not take {}", quote(path), quote(method)),
            "POST to /v1/transactions, GET everything else",
        )
    }

    pub(crate) fn not_found(what: impl Into<String>, help: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", what, help)
    }

    pub(crate) fn bad_parameter(message: impl Into<String>, help: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_parameter", message, help)
    }

    pub(crate) fn unknown_instance(wanted: &str, known: &[InstanceId]) -> Self {
        let names: Vec<&str> = known.iter().map(InstanceId::as_str).collect();
        Self::new(
            StatusCode::NOT_FOUND,
            "unknown_instance",
            format!("this node has no instance `{}`", quote(wanted)),
            format!("use one of: {}", names.join(", ")),
        )
    }

    pub(crate) fn malformed_body(reason: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "malformed_body",
            format!("the body does not parse: {}", quote(reason)),
            "send a SubmitRequest as in /openapi.json",
        )
    }

    pub(crate) fn broken_body(reason: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "broken_body",
            format!("the body did not arrive whole: {}", quote(reason)),
            "send as many bytes as content-length says",
        )
    }

    pub(crate) fn body_too_large() -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            format!("the body exceeds {} bytes", limits::REQUEST_BYTES_MAX),
            "send several smaller requests",
        )
    }

    pub(crate) fn body_too_slow(after: Duration) -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "body_timeout",
            format!("the body did not arrive within {after:?}"),
            "send it faster, or in smaller requests",
        )
    }

    pub(crate) fn unsupported_media_type(got: &str) -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            format!("content-type `{}` is not understood", quote(got)),
            "send application/json or application/msgpack",
        )
    }

    pub(crate) fn not_acceptable(offered: &[&str]) -> Self {
        Self::new(
            StatusCode::NOT_ACCEPTABLE,
            "not_acceptable",
            "the accept header allows nothing that this route offers",
            format!("accept one of: {}", offered.join(", ")),
        )
    }

    pub(crate) fn overloaded(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "busy",
            message,
            "send slower and try again",
        )
    }

    pub(crate) fn too_many_subscribers(most: usize) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too_many_subscribers",
            format!("this node already has {most} subscribers"),
            "close another subscription, or ask another node",
        )
    }

    /// The answer, in the client's format.
    pub(crate) fn respond(&self, format: Format) -> Response {
        let mut response = format.encode(self.status, &self.error);
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl From<Busy> for HttpError {
    fn from(_: Busy) -> Self {
        Self::overloaded("the queue of submissions is full, or the node is stopping")
    }
}

impl From<Stopped> for HttpError {
    fn from(_: Stopped) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "stopping",
            "the node is stopping",
            "ask another node, or this one once it runs again",
        )
    }
}
