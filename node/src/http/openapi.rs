//! The OpenAPI document, made from the handlers and the types of the interface.

use super::{ledger, negotiate::JSON, node, release, subscribe, transactions};
use axum::{http::header::CONTENT_TYPE, response::IntoResponse};
use regatta_client::MSGPACK;
use std::sync::LazyLock;
use utoipa::{
    Modify, OpenApi,
    openapi::{
        Content, ContentBuilder, Ref, RefOr, ResponseBuilder,
        path::{Operation, PathItem},
    },
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Control interface of a Regatta node",
        description = "Bodies are JSON or MessagePack with the same field names; bytes are hexadecimal in the \
                       former and raw in the latter."
    ),
    paths(
        transactions::submit,
        transactions::status,
        subscribe::statuses,
        subscribe::blocks,
        ledger::block,
        ledger::blocks,
        ledger::block_times,
        ledger::latest,
        ledger::evidence,
        ledger::validators,
        ledger::snapshots,
        ledger::state,
        ledger::state_by_text,
        ledger::account,
        node::peers,
        node::health,
        node::ready,
        node::version,
        node::metrics,
        release::show,
        release::offer,
        release::bring,
    ),
    components(schemas(regatta_api::ApiError)),
    modifiers(&BothFormats, &Errors)
)]
struct Document;

/// Whatever is offered in JSON is offered in MessagePack.
struct BothFormats;

impl Modify for BothFormats {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        for operation in operations(document) {
            if let Some(body) = &mut operation.request_body {
                offer_both(&mut body.content);
            }
            for response in operation.responses.responses.values_mut() {
                if let RefOr::T(response) = response {
                    offer_both(&mut response.content);
                }
            }
        }
    }
}

fn offer_both<M: Extend<(String, Content)>>(content: &mut M)
where
    for<'a> &'a M: IntoIterator<Item = (&'a String, &'a Content)>,
{
    let json = content
        .into_iter()
        .find(|(media_type, _)| media_type.as_str() == JSON)
        .map(|(_, content)| content.clone());
    content.extend(json.map(|json| (MSGPACK.to_owned(), json)));
}

/// Every other answer carries an `ApiError`.
struct Errors;

impl Modify for Errors {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let schema = || {
            ContentBuilder::new()
                .schema(Some(Ref::from_schema_name("ApiError")))
                .build()
        };
        let refusal = ResponseBuilder::new()
            .description("A refusal: what was wrong, and what to do about it.")
            .content(JSON, schema())
            .content(MSGPACK, schema())
            .build();
        for operation in operations(document) {
            operation
                .responses
                .responses
                .insert("default".to_owned(), refusal.clone().into());
        }
    }
}

fn operations(document: &mut utoipa::openapi::OpenApi) -> impl Iterator<Item = &mut Operation> {
    document.paths.paths.values_mut().flat_map(|item| {
        let PathItem { get, post, .. } = item;
        get.iter_mut().chain(post.iter_mut())
    })
}

/// The document as indented JSON, ending in a line break.
#[must_use]
pub fn document() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let mut text = Document::openapi().to_pretty_json().unwrap_or_default();
        text.push('\n');
        text
    });
    &TEXT
}

/// `GET /openapi.json`.
pub(crate) async fn serve() -> impl IntoResponse {
    ([(CONTENT_TYPE, JSON)], document())
}
