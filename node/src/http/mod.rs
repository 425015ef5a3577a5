//! The control interface: HTTP with JSON and MessagePack around a [`NodeHandle`].
//!
//! Every answer that is not a success carries an `ApiError`. Everything that a client can make grow is
//! limited: connections, subscribers, heads, bodies, ranges.

mod body;
mod error;
mod faults;
mod ledger;
mod limits;
mod negotiate;
mod node;
mod openapi;
mod release;
mod scope;
mod server;
mod subscribe;
mod transactions;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::reference;

pub(crate) use ledger::parse_hex;
pub use openapi::document;
pub use server::{bind, serve};

use crate::NodeHandle;
use axum::{
    Router,
    http::HeaderMap,
    response::Response,
    routing::{MethodRouter, get, post, put},
};
use error::HttpError;
use limits::Limits;
use negotiate::Format;
use regatta_api::{NodeConfig, view::Version};
use regatta_base::{InstanceId, PublicKey};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// What the routes share: the node, its limits, and what it says of itself.
#[derive(Clone)]
pub struct Control(Arc<Shared>);

struct Shared {
    handle: NodeHandle,
    limits: Limits,
    instances: Vec<InstanceId>,
    faults: bool,
    trusted_keys: usize,
    version: Box<dyn Fn() -> Version + Send + Sync>,
    subscribers: Arc<Semaphore>,
    body_bytes: Arc<Semaphore>,
}

impl Control {
    /// The control interface of the node behind `handle`, which runs by `config` under `key`.
    #[must_use]
    pub fn new(handle: NodeHandle, config: &NodeConfig, key: PublicKey) -> Self {
        Self::with_limits(handle, config, key, Limits::default())
    }

    fn with_limits(handle: NodeHandle, config: &NodeConfig, key: PublicKey, limits: Limits) -> Self {
        let (chain, name) = (config.chain.clone(), config.name.clone());
        Self(Arc::new(Shared {
            handle,
            instances: config.instances.iter().map(|instance| instance.id.clone()).collect(),
            faults: config.testing.faults,
            trusted_keys: config.upgrade.trusted_keys.len(),
            version: Box::new(move || crate::build_info::version(chain.clone(), name.clone(), key)),
            subscribers: Arc::new(Semaphore::new(limits.subscribers_max)),
            body_bytes: Arc::new(Semaphore::new(limits.body_bytes_max)),
            limits,
        }))
    }

    fn handle(&self) -> &NodeHandle {
        &self.0.handle
    }

    /// The instance that is meant where a request names none.
    fn first_instance(&self) -> Option<InstanceId> {
        self.0.instances.first().cloned()
    }

    fn limits(&self) -> &Limits {
        &self.0.limits
    }
}

/// Every route with its path, in one table: the router and the check of the documentation read it.
fn routes() -> Vec<(&'static str, MethodRouter<Control>)> {
    vec![
        ("/v1/transactions", post(transactions::submit)),
        ("/v1/transactions/{id}", get(transactions::status)),
        ("/v1/statuses/stream", get(subscribe::statuses)),
        ("/v1/blocks/stream", get(subscribe::blocks)),
        ("/v1/blocks/times", get(ledger::block_times)),
        ("/v1/blocks/{height}", get(ledger::block)),
        ("/v1/blocks", get(ledger::blocks)),
        ("/v1/latest", get(ledger::latest)),
        ("/v1/evidence", get(ledger::evidence)),
        ("/v1/validators", get(ledger::validators)),
        ("/v1/snapshots", get(ledger::snapshots)),
        ("/v1/state", get(ledger::state_by_text)),
        ("/v1/state/{key}", get(ledger::state)),
        ("/v1/accounts/{key}", get(ledger::account)),
        ("/v1/peers", get(node::peers)),
        ("/v1/health", get(node::health)),
        ("/v1/ready", get(node::ready)),
        ("/v1/version", get(node::version)),
        ("/v1/release", get(release::show).post(release::offer)),
        ("/v1/release/chunk", post(release::bring)),
        ("/v1/metrics", get(node::metrics)),
        ("/metrics", get(node::metrics)),
        ("/openapi.json", get(openapi::serve)),
    ]
}

/// The router of the control interface.
pub(crate) fn router(control: Control) -> Router {
    let mut router = Router::new();
    for (path, methods) in routes() {
        router = router.route(path, methods);
    }
    if control.0.faults {
        router = router.route(faults::LINKS, put(faults::links));
        router = router.route(faults::NODE, put(faults::node));
    }
    router
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .with_state(control)
}

async fn unknown_route(headers: HeaderMap, uri: axum::http::Uri) -> Response {
    HttpError::unknown_route(uri.path()).respond(Format::or_json(&headers))
}

async fn wrong_method(headers: HeaderMap, method: axum::http::Method, uri: axum::http::Uri) -> Response {
    HttpError::wrong_method(method.as_str(), uri.path()).respond(Format::or_json(&headers))
}
