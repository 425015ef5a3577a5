//! Listens, limits connections, counts requests and errors, and ends in order.

use super::{Control, node::NoError, router};
use crate::host::{ListenError, explain_listen};
use axum::{
    body::Body,
    http::{Request, Response},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use nix::sys::socket::{setsockopt, sockopt};
use regatta_api::metrics::Metric;
use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::task::TaskTracker;

/// Most bytes of a request's head, and of what is buffered of its body.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Most header lines of a request.
const HEADERS_MAX: usize = 64;
/// A client that acknowledges nothing for this long is gone, in milliseconds.
const SILENT_CLIENT_MS_MAX: u32 = 30_000;
/// Pause after a failed accept, e.g. when the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Listens on `address`.
///
/// # Errors
/// [`ListenError`] says who holds the port when it is in use.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| explain_listen("the control interface", address, source))
}

/// Serves until the node stops, then lets running requests end.
pub async fn serve(listener: TcpListener, control: Control) {
    let places = Arc::new(Semaphore::new(control.limits().connections_max));
    let tracker = TaskTracker::new();
    let stop = control.handle().stop_token().clone();
    let service = TowerToHyperService::new(router(control.clone()));
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the control interface cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        match Arc::clone(&places).try_acquire_owned() {
            Ok(place) => drop(tracker.spawn(connection(stream, service.clone(), control.clone(), place))),
            Err(_) => turn_away(&stream, &control),
        }
    }
    drop(listener);
    tracker.close();
    if tokio::time::timeout(control.limits().stop_time_max, tracker.wait())
        .await
        .is_err()
    {
        tracing::warn!("some requests did not end in time and are dropped");
    }
}

/// Tells a client beyond the limit why, as far as fits into an empty send buffer.
fn turn_away(stream: &TcpStream, control: &Control) {
    control.handle().metrics().add(Metric::HttpErrors, 1);
    let head = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nconnection: close";
    let most = control.limits().connections_max;
    let body = format!(
        r#"{{"code":"too_many_connections","message":"this node has {most} connections","help":"reuse connections, or ask another node"}}"#
    );
    let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    // Best effort: the connection is closed in any case.
    let _ = stream.try_write(answer.as_bytes());
}

async fn connection(
    stream: TcpStream,
    service: TowerToHyperService<axum::Router>,
    control: Control,
    _place: OwnedSemaphorePermit,
) {
    prepare(&stream);
    let counted = service_fn(|request| answer(&service, &control, request));
    let stop = control.handle().stop_token();
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(control.limits().head_time_max)
        .max_buf_size(BUFFER_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), counted);
    tokio::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result
        && (error.is_parse() || error.is_incomplete_message())
    {
        control.handle().metrics().add(Metric::HttpErrors, 1);
        tracing::debug!(%error, "a client does not speak HTTP");
    }
}

/// Options that make answers prompt and dead clients noticed; a socket that refuses them still works.
fn prepare(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    if let Err(error) = setsockopt(stream, sockopt::TcpUserTimeout, &SILENT_CLIENT_MS_MAX) {
        tracing::debug!(%error, "cannot set TCP_USER_TIMEOUT");
    }
}

async fn answer(
    service: &TowerToHyperService<axum::Router>,
    control: &Control,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let response = hyper::service::Service::call(service, request).await?;
    let meter = control.handle().metrics();
    meter.add(Metric::HttpRequests, 1);
    let failed = response.status().is_client_error() || response.status().is_server_error();
    if failed && response.extensions().get::<NoError>().is_none() {
        meter.add(Metric::HttpErrors, 1);
    }
    Ok(response)
}
