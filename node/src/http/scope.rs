//! What requests say in their path and query: the instance, and values in hexadecimal.

use super::{
    Control,
    error::{HttpError, quote},
};
use axum::{
    extract::{FromRequestParts, Query},
    http::request::Parts,
};
use regatta_base::InstanceId;
use serde::{Deserialize, de::DeserializeOwned};
use std::str::FromStr;

/// The query of a route that is about one instance.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scope {
    instance: Option<String>,
}

impl Scope {
    /// The instance that was asked for, known to exist; `None` when the node's first one is meant.
    pub(crate) fn instance(&self, control: &Control) -> Result<Option<InstanceId>, HttpError> {
        known_instance(control, self.instance.as_deref())
    }
}

/// Looks an instance up by name.
pub(crate) fn known_instance(control: &Control, name: Option<&str>) -> Result<Option<InstanceId>, HttpError> {
    let Some(name) = name else { return Ok(None) };
    let known = &control.0.instances;
    match known.iter().find(|id| id.as_str() == name) {
        Some(id) => Ok(Some(id.clone())),
        None => Err(HttpError::unknown_instance(name, known)),
    }
}

/// What the core answered; `None` when it does not have the instance after all.
pub(crate) fn present<T>(control: &Control, answer: Option<T>) -> Result<T, HttpError> {
    answer.ok_or_else(|| HttpError::unknown_instance("", &control.0.instances))
}

/// The query of a request; a refusal in the words of this interface when it does not parse.
#[derive(Debug)]
pub(crate) struct Asked<T>(pub(crate) Result<T, HttpError>);

impl<T: DeserializeOwned, S: Sync + Send> FromRequestParts<S> for Asked<T> {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let asked = Query::try_from_uri(&parts.uri)
            .map(|Query(value)| value)
            .map_err(|rejection| {
                HttpError::bad_parameter(
                    format!("the query does not parse: {}", quote(&rejection.body_text())),
                    "GET /openapi.json lists the parameters of each route",
                )
            });
        Ok(Self(asked))
    }
}

/// A value in the path, e.g. a digest.
pub(crate) fn parse_path<T: FromStr<Err: std::fmt::Display>>(text: &str, help: &str) -> Result<T, HttpError> {
    text.parse()
        .map_err(|error: T::Err| HttpError::bad_parameter(quote(&error.to_string()), help))
}
