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
use regatta_base::HexBytes;
use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Visitor},
};
use std::fmt;

/// Most transactions of one request.
const TRANSACTIONS_MAX: usize = 16_384;

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
            write!(f, "at most {TRANSACTIONS_MAX} transactions")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<Bytes>, A::Error> {
            let mut transactions = Vec::with_capacity(items.size_hint().unwrap_or(0).min(TRANSACTIONS_MAX));
            while let Some(HexBytes(bytes)) = items.next_element()? {
                if transactions.len() == TRANSACTIONS_MAX {
                    return Err(A::Error::custom(format!("more than {TRANSACTIONS_MAX} transactions")));
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
