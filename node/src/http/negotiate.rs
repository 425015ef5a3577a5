//! Which encoding a client sends and which it wants back.

use super::error::HttpError;
use axum::{
    body::Body,
    extract::FromRequestParts,
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{ACCEPT, CONTENT_TYPE, HeaderName},
        request::Parts,
    },
    response::{IntoResponse, Response},
};
use regatta_client::{MSGPACK, encode_body};
use serde::Serialize;

pub(crate) const JSON: &str = "application/json";
/// What some clients call MessagePack.
const MSGPACK_OLD: &str = "application/x-msgpack";

/// Encoding of one body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people and browsers.
    Json,
    /// For programs: smaller, and bytes stay bytes.
    Msgpack,
}

impl Format {
    /// The format of a request's body.
    pub(crate) fn of_body(headers: &HeaderMap) -> Result<Self, HttpError> {
        let text = text(headers, &CONTENT_TYPE);
        match essence(text) {
            MSGPACK | MSGPACK_OLD => Ok(Self::Msgpack),
            essence if essence.eq_ignore_ascii_case(JSON) => Ok(Self::Json),
            _ => Err(HttpError::unsupported_media_type(text)),
        }
    }

    /// The format that a client accepts; without a wish, that of its body, and JSON for people.
    pub(crate) fn of_answer(headers: &HeaderMap) -> Result<Self, HttpError> {
        const OFFERED: [&str; 3] = [JSON, MSGPACK, MSGPACK_OLD];
        if !headers.contains_key(ACCEPT) {
            return Ok(Self::of_body(headers).unwrap_or(Self::Json));
        }
        match choose(text(headers, &ACCEPT), &OFFERED) {
            Some(0) => Ok(Self::Json),
            Some(_) => Ok(Self::Msgpack),
            None => Err(HttpError::not_acceptable(&OFFERED[..2])),
        }
    }

    /// For refusals: a client gets one in JSON when nothing that it accepts is on offer.
    pub(crate) fn or_json(headers: &HeaderMap) -> Self {
        Self::of_answer(headers).unwrap_or(Self::Json)
    }

    /// A whole response in this format.
    pub(crate) fn encode<T: Serialize>(self, status: StatusCode, body: &T) -> Response {
        let encoded = match self {
            Self::Json => serde_json::to_vec(body).map_err(|error| error.to_string()),
            Self::Msgpack => encode_body(body),
        };
        let content_type = match self {
            Self::Json => JSON,
            Self::Msgpack => MSGPACK,
        };
        match encoded {
            Ok(bytes) => (status, [(CONTENT_TYPE, HeaderValue::from_static(content_type))], bytes).into_response(),
            Err(reason) => (StatusCode::INTERNAL_SERVER_ERROR, Body::from(reason)).into_response(),
        }
    }

    /// The answer of a handler: its value, or its refusal.
    pub(crate) fn reply<T: Serialize>(self, result: Result<T, HttpError>) -> Response {
        match result {
            Ok(body) => self.encode(StatusCode::OK, &body),
            Err(error) => error.respond(self),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Format {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        Self::of_answer(&parts.headers).map_err(|error| error.respond(Self::Json))
    }
}

/// The text of a header; empty when it is absent or not text.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// A media type without its parameters.
fn essence(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}

/// Position of the offer that an accept header likes best, the first of equals (RFC 9110, 12.5.1).
pub(crate) fn choose(accept: &str, offered: &[&str]) -> Option<usize> {
    let mut best: Option<(f32, usize)> = None;
    for range in accept.split(',') {
        let Some(position) = offered.iter().position(|offer| covers(essence(range), offer)) else {
            continue;
        };
        let quality = quality(range);
        if quality > best.map_or(0.0, |(quality, _)| quality) {
            best = Some((quality, position));
        }
    }
    best.map(|(_, position)| position)
}

fn covers(range: &str, offer: &str) -> bool {
    match range.strip_suffix("/*") {
        Some("*") => true,
        Some(kind) => offer
            .split('/')
            .next()
            .is_some_and(|offered| offered.eq_ignore_ascii_case(kind)),
        None => range.eq_ignore_ascii_case(offer),
    }
}

/// The `q` parameter of one media range; 1 when absent or not a number.
fn quality(range: &str) -> f32 {
    range
        .split(';')
        .skip(1)
        .find_map(|parameter| parameter.trim().strip_prefix("q="))
        .and_then(|value| value.trim().parse().ok())
        .unwrap_or(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    #[test]
    fn the_accept_header_decides_and_then_the_body() {
        let cases = [
            (vec![], Some(Format::Json)),
            (vec![(CONTENT_TYPE, MSGPACK)], Some(Format::Msgpack)),
            (vec![(CONTENT_TYPE, MSGPACK), (ACCEPT, JSON)], Some(Format::Json)),
            (vec![(ACCEPT, "*/*")], Some(Format::Json)),
            (vec![(ACCEPT, "application/*")], Some(Format::Json)),
            (vec![(ACCEPT, "Application/MSGPACK")], Some(Format::Msgpack)),
            (vec![(ACCEPT, "application/x-msgpack")], Some(Format::Msgpack)),
            (
                vec![(ACCEPT, "application/json;q=0.5, application/msgpack")],
                Some(Format::Msgpack),
            ),
            (
                vec![(ACCEPT, "text/html,application/xhtml+xml,*/*;q=0.8")],
                Some(Format::Json),
            ),
            (vec![(ACCEPT, "application/json;q=0")], None),
            (vec![(ACCEPT, "image/png")], None),
        ];
        for (pairs, expected) in cases {
            assert_eq!(Format::of_answer(&headers(&pairs)).ok(), expected, "{pairs:?}");
        }
    }

    #[test]
    fn a_body_has_to_say_what_it_is() {
        for (content_type, expected) in [
            ("application/json; charset=utf-8", Some(Format::Json)),
            ("application/msgpack", Some(Format::Msgpack)),
            ("application/x-msgpack", Some(Format::Msgpack)),
            ("text/plain", None),
            ("", None),
        ] {
            let headers = headers(&[(CONTENT_TYPE, content_type)]);
            assert_eq!(Format::of_body(&headers).ok(), expected, "{content_type}");
        }
        assert!(Format::of_body(&HeaderMap::new()).is_err());
    }

    proptest! {
        #[test]
        fn any_header_is_read_without_panic(accept in "[ -~]{0,60}") {
            let _ = choose(&accept, &[JSON, MSGPACK]);
        }
    }
}
