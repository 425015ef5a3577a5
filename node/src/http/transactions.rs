//! Submitting transactions, and asking where one stands.

use super::{
    Control,
    body::{self, WholeBody},
    error::HttpError,
    negotiate::Format,
    scope::{Asked, Scope, known_instance, parse_path, present},
};
use axum::{
    body::Body,
    extract::{Path, State},
    http::HeaderMap,
    response::Response,
};
use bytes::Bytes;
use regatta_api::view::{SubmitResponse, TransactionStatus};
use regatta_base::{HexBytes, limits::REQUEST_TRANSACTIONS_MAX};
use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Visitor},
};
use std::fmt;

/// A `SubmitRequest` as it is read: the number of transactions is limited while parsing, because two
/// bytes of a body would otherwise cost the node a hundred.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Submission {
    #[serde(default)]
    instance: Option<String>,
    #[serde(deserialize_with = "limited")]
    transactions: Vec<Bytes>,
}

fn limited<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Bytes>, D::Error> {
    struct Limited;

    impl<'de> Visitor<'de> for Limited {
        type Value = Vec<Bytes>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "at most {REQUEST_TRANSACTIONS_MAX} transactions")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<Bytes>, A::Error> {
            let mut transactions = Vec::with_capacity(items.size_hint().unwrap_or(0).min(REQUEST_TRANSACTIONS_MAX));
            while let Some(HexBytes(bytes)) = items.next_element()? {
                if transactions.len() == REQUEST_TRANSACTIONS_MAX {
                    return Err(A::Error::custom(format!(
                        "more than {REQUEST_TRANSACTIONS_MAX} transactions"
                    )));
                }
                transactions.push(bytes);
            }
            Ok(transactions)
        }
    }

    deserializer.deserialize_seq(Limited)
}

/// Submits one transaction or a batch; answers when each is refused or on a validator's disk.
#[utoipa::path(
    post,
    path = "/v1/transactions",
    tag = "transactions",
    request_body = regatta_api::view::SubmitRequest,
    responses(
        (status = 200, description = "One result for each transaction, in order.", body = SubmitResponse),
    )
)]
pub(crate) async fn submit(State(control): State<Control>, format: Format, headers: HeaderMap, body: Body) -> Response {
    format.reply(take(&control, &headers, body).await)
}

async fn take(control: &Control, headers: &HeaderMap, body: Body) -> Result<SubmitResponse, HttpError> {
    let format = Format::of_body(headers)?;
    let body = body::read(control, body).await?;
    let submission = parse(format, &body)?;
    // The transactions are copies, counted by the handle from here on.
    drop(body);
    let instance = known_instance(control, submission.instance.as_deref())?;
    let results = control.handle().submit(instance, submission.transactions).await?;
    Ok(SubmitResponse { results })
}

fn parse(format: Format, body: &WholeBody) -> Result<Submission, HttpError> {
    match format {
        Format::Json => serde_json::from_slice(&body.bytes).map_err(|error| error.to_string()),
        Format::Msgpack => regatta_client::decode_body(&body.bytes),
    }
    .map_err(|reason| HttpError::malformed_body(&reason))
}

/// Where a transaction stands, as this node knows it.
#[utoipa::path(
    get,
    path = "/v1/transactions/{id}",
    tag = "transactions",
    params(
        ("id" = String, Path, description = "Its id: 64 hexadecimal digits."),
        ("instance" = Option<String>, Query, description = "The instance; the node's first one when absent."),
    ),
    responses((status = 200, description = "Its status; `unknown` is one.", body = TransactionStatus))
)]
pub(crate) async fn status(
    State(control): State<Control>,
    format: Format,
    Path(id): Path<String>,
    Asked(scope): Asked<Scope>,
) -> Response {
    format.reply(look_up(&control, &id, scope).await)
}

async fn look_up(control: &Control, id: &str, scope: Result<Scope, HttpError>) -> Result<TransactionStatus, HttpError> {
    let instance = scope?.instance(control)?;
    let id = parse_path(id, "an id is the 64 hexadecimal digits that submitting answered")?;
    let status = control.handle().read(move |node| node.status(instance.as_ref(), &id));
    present(control, status.await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use regatta_api::view::SubmitRequest;

    fn parse_bytes(format: Format, bytes: Vec<u8>) -> Result<Submission, HttpError> {
        parse(format, &WholeBody::of(bytes))
    }

    #[test]
    fn a_request_has_its_most_transactions_and_not_one_more() {
        let body = |count| {
            let request = SubmitRequest {
                instance: None,
                transactions: vec![HexBytes::default(); count],
            };
            regatta_client::encode_body(&request).unwrap()
        };
        let most = parse_bytes(Format::Msgpack, body(REQUEST_TRANSACTIONS_MAX)).unwrap();
        assert_eq!(most.transactions.len(), REQUEST_TRANSACTIONS_MAX);
        let error = parse_bytes(Format::Msgpack, body(REQUEST_TRANSACTIONS_MAX + 1))
            .err()
            .unwrap();
        assert_eq!(error.error.code, "malformed_body");
    }

    proptest! {
        #[test]
        fn it_reads_exactly_what_a_submit_request_says(
            instance in proptest::option::of("[a-z0-9][a-z0-9._-]{0,20}"),
            transactions in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 0..10),
        ) {
            let request = SubmitRequest {
                instance: instance.as_deref().map(|name| name.parse().unwrap()),
                transactions: transactions.iter().cloned().map(Into::into).collect(),
            };
            let packed = regatta_client::encode_body(&request).unwrap();
            let text = serde_json::to_vec(&request).unwrap();
            for (format, bytes) in [(Format::Msgpack, packed), (Format::Json, text)] {
                let submission = parse_bytes(format, bytes).unwrap();
                prop_assert_eq!(&submission.instance, &instance);
                prop_assert_eq!(&submission.transactions, &transactions);
            }
        }

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_bytes(Format::Msgpack, bytes.clone());
            let _ = parse_bytes(Format::Json, bytes);
        }
    }
}
