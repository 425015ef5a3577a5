//! The page: the board on a local web page, read only, for as long as the run lasts.
//!
//! It has a thread and a runtime of its own, so that no reader slows the run down.

use super::Shared;
use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use regatta_report::live;
use std::{net::SocketAddr, sync::Arc, thread::JoinHandle, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Most connections at a time.
const CONNECTIONS_MAX: usize = 32;
/// Most bytes of a request's head; no request has a body that is read.
const BUFFER_BYTES_MAX: usize = 16 * 1024;
/// Most header lines of a request.
const HEADERS_MAX: usize = 64;
/// How long a request's head may take.
const HEAD_TIME_MAX: Duration = Duration::from_secs(5);
/// Longest life of a connection; a page that is still looked at opens another one.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(120);
/// Pause after a failed accept, e.g. when the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A page that is being served. Dropping it closes it.
#[derive(Debug)]
pub(crate) struct Web {
    address: SocketAddr,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

/// What the routes share.
#[derive(Clone)]
struct Site {
    shared: Arc<Shared>,
    /// Names that a request may call this host by; any where the page is open to others.
    hosts: Option<Arc<[String; 3]>>,
}

impl Web {
    /// Serves `shared` on `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// What the system said: the address is in use or not this machine's, or there is no thread.
    pub(crate) fn start(shared: Arc<Shared>, address: SocketAddr) -> std::io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let stop = CancellationToken::new();
        let site = Site {
            shared,
            hosts: address.ip().is_loopback().then(|| Arc::new(names(address))),
        };
        let until = stop.clone();
        let thread = std::thread::Builder::new().name("page".to_owned()).spawn(move || {
            runtime.block_on(async move {
                // Only fails where the runtime has no event queue, and it has one.
                if let Ok(listener) = TcpListener::from_std(listener) {
                    serve(listener, site, until).await;
                }
            });
        })?;
        Ok(Self {
            address,
            stop,
            thread: Some(thread),
        })
    }

    /// Where the page is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has printed itself; the run goes on without its page.
            let _ = thread.join();
        }
    }
}

/// How a browser on this machine calls a loopback address: a page of another site that resolves its own name to here
/// is told no.
fn names(address: SocketAddr) -> [String; 3] {
    let port = address.port();
    [
        address.to_string(),
        format!("localhost:{port}"),
        format!("127.0.0.1:{port}"),
    ]
}

async fn serve(listener: TcpListener, site: Site, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let tracker = TaskTracker::new();
    let service = TowerToHyperService::new(router(site));
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // A reader beyond the limit is turned away by closing.
        if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
            tracker.spawn(connection(stream, service.clone(), stop.clone(), place));
        }
    }
    tracker.close();
    tracker.wait().await;
}

async fn connection(
    stream: TcpStream,
    service: TowerToHyperService<Router>,
    stop: CancellationToken,
    _place: OwnedSemaphorePermit,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .max_buf_size(BUFFER_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    // However a reader ends, the next one starts anew.
    let limited = tokio::time::timeout(CONNECTION_TIME_MAX, connection);
    let _ = stop.run_until_cancelled(limited).await;
}

fn router(site: Site) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/live.json", get(board))
        .route("/map.json", get(map))
        .layer(from_fn_with_state(site.clone(), guard))
        .with_state(site)
}

/// Checks by which name the page is asked for, and forbids others to embed or keep it.
async fn guard(State(site): State<Site>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let is_known = |hosts: &Arc<[String; 3]>| host.is_some_and(|host| hosts.iter().any(|known| known == host));
    if !site.hosts.as_ref().is_none_or(is_known) {
        return (StatusCode::MISDIRECTED_REQUEST, "this page is for this machine\n").into_response();
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    response
}

fn failed(error: &dyn std::error::Error) -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response()
}

async fn page(State(site): State<Site>) -> Response {
    let setting = site.shared.board(|board| board.setting.clone());
    match live::page(&setting) {
        Ok((text, policy)) => {
            let policy = HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"));
            let mut response = axum::response::Html(text).into_response();
            response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
            response
        }
        Err(error) => failed(&error),
    }
}

async fn board(State(site): State<Site>) -> Response {
    json(site.shared.board(serde_json::to_vec))
}

async fn map(State(site): State<Site>) -> Response {
    let setting = site.shared.board(|board| board.setting.clone());
    json(serde_json::to_vec(&live::map(&setting)))
}

fn json(text: serde_json::Result<Vec<u8>>) -> Response {
    match text {
        Ok(text) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Err(error) => failed(&error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::plan;
    use std::io::{Read, Write};

    fn web() -> Web {
        Web::start(Shared::new(&plan(4)), "127.0.0.1:0".parse().unwrap()).unwrap()
    }

    fn ask(web: &Web, request: &str) -> String {
        let mut stream = std::net::TcpStream::connect(web.address()).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn get(web: &Web, path: &str, host: &str) -> String {
        ask(
            web,
            &format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"),
        )
    }

    #[test]
    fn the_page_the_board_and_the_map_are_served_and_nothing_is_taken() {
        let web = web();
        let host = web.address().to_string();
        let page = get(&web, "/", &host);
        assert!(
            page.starts_with("HTTP/1.1 200") && page.contains("default-src 'none'"),
            "{page}"
        );
        assert!(
            !page.contains("src=\"http") && !page.contains("href=\"http"),
            "everything is in the page"
        );
        assert!(get(&web, "/live.json", &host).contains("\"starting\":4"));
        assert!(get(&web, "/map.json", &host).contains("\"val-3\""));
        assert!(get(&web, "/other", &host).starts_with("HTTP/1.1 404"));
        let post =
            format!("POST /live.json HTTP/1.1\r\nhost: {host}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        assert!(ask(&web, &post).starts_with("HTTP/1.1 405"));
    }

    #[test]
    fn a_page_of_another_name_that_leads_here_is_told_nothing() {
        let web = web();
        for host in ["example.org", "localhost", ""] {
            let answer = get(&web, "/live.json", host);
            assert!(
                answer.starts_with("HTTP/1.1 421") || answer.starts_with("HTTP/1.1 400"),
                "{answer}"
            );
        }
        let port = web.address().port();
        assert!(get(&web, "/live.json", &format!("localhost:{port}")).starts_with("HTTP/1.1 200"));
    }

    #[test]
    fn readers_beyond_the_limit_are_turned_away_and_a_dropped_page_is_closed() {
        let web = web();
        let connect = || std::net::TcpStream::connect(web.address());
        let held: Vec<_> = (0..CONNECTIONS_MAX).map(|_| connect().unwrap()).collect();
        let mut one_more = connect().unwrap();
        assert_eq!(one_more.read(&mut [0; 8]).unwrap(), 0, "closed without an answer");
        let address = web.address();
        drop(web);
        drop(held);
        assert!(std::net::TcpStream::connect(address).is_err());
    }
}
