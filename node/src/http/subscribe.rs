//! Subscriptions: server-sent events for people and browsers, frames for programs.
//!
//! A subscriber that falls too far behind is cut, with a last event that says so: the node keeps one
//! bounded ring of events for all subscribers and nothing for each.

use super::{
    Control,
    error::HttpError,
    negotiate::{Format, choose, text},
    scope::{Asked, Scope},
};
use axum::{
    body::Body,
    extract::State,
    http::{
        HeaderMap, HeaderValue,
        header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::stream;
use regatta_api::{
    ApiError,
    view::{BlockSummary, StatusEvent},
};
use regatta_base::InstanceId;
use regatta_client::frame::{self, FRAMES, Frame};
use serde::Serialize;
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::sync::{
    OwnedSemaphorePermit,
    broadcast::{Receiver, error::RecvError},
};
use tokio_util::sync::CancellationToken;

const EVENT_STREAM: &str = "text/event-stream";

/// An event that subscribers may get.
trait Event: Serialize + Send + Sync + 'static {
    /// Its name among server-sent events.
    const NAME: &'static str;

    fn instance(&self) -> &InstanceId;
}

impl Event for StatusEvent {
    const NAME: &'static str = "status";

    fn instance(&self) -> &InstanceId {
        &self.instance
    }
}

impl Event for BlockSummary {
    const NAME: &'static str = "block";

    fn instance(&self) -> &InstanceId {
        &self.instance
    }
}

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wire {
    EventStream,
    Frames,
}

impl Wire {
    fn accepted(headers: &HeaderMap) -> Result<Self, HttpError> {
        const OFFERED: [&str; 2] = [EVENT_STREAM, FRAMES];
        if !headers.contains_key(ACCEPT) {
            return Ok(Self::EventStream);
        }
        match choose(text(headers, &ACCEPT), &OFFERED) {
            Some(0) => Ok(Self::EventStream),
            Some(_) => Ok(Self::Frames),
            None => Err(HttpError::not_acceptable(&OFFERED)),
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::EventStream => EVENT_STREAM,
            Self::Frames => FRAMES,
        }
    }

    fn alive(self) -> Bytes {
        match self {
            Self::EventStream => Bytes::from_static(b": alive\n\n"),
            Self::Frames => frame::keep_alive(),
        }
    }

    /// The event's bytes, or why they cannot be made.
    fn event<T: Event>(self, event: &T) -> Result<Bytes, String> {
        match self {
            Self::EventStream => serde_json::to_string(event)
                .map(|json| format!("event: {}\ndata: {json}\n\n", T::NAME).into())
                .map_err(|error| error.to_string()),
            Self::Frames => frame::encode(&Frame::Event(event)).map_err(|error| error.to_string()),
        }
    }

    /// The last event of a subscription that is cut.
    fn cut(self, error: ApiError) -> Bytes {
        match self {
            // JSON has no raw line breaks, so it is one line of data.
            Self::EventStream => serde_json::to_string(&error)
                .map(|json| format!("event: cut\ndata: {json}\n\n").into())
                .unwrap_or_default(),
            Self::Frames => frame::encode(&Frame::<()>::Cut(error)).unwrap_or_default(),
        }
    }
}

/// One subscription; dropping it gives its place to another.
struct Subscription<T> {
    wire: Wire,
    wanted: Option<InstanceId>,
    events: Receiver<Arc<T>>,
    silence_max: Duration,
    stop: CancellationToken,
    over: bool,
    _place: OwnedSemaphorePermit,
}

impl<T: Event> Subscription<T> {
    /// The next bytes for the subscriber; `None` after the last ones, and when the node stops.
    async fn next(&mut self) -> Option<Bytes> {
        while !self.over {
            let event = tokio::time::timeout(self.silence_max, self.events.recv());
            match self.stop.run_until_cancelled(event).await? {
                Err(_) => return Some(self.wire.alive()),
                Ok(Err(RecvError::Closed)) => return None,
                Ok(Err(RecvError::Lagged(lost))) => return Some(self.cut(&too_slow(lost))),
                Ok(Ok(event)) if self.wants(&event) => {
                    let bytes = self.wire.event(event.as_ref());
                    return Some(bytes.unwrap_or_else(|reason| self.cut(&unwritable(&reason))));
                }
                Ok(Ok(_)) => {}
            }
        }
        None
    }

    fn wants(&self, event: &T) -> bool {
        self.wanted.as_ref().is_none_or(|wanted| wanted == event.instance())
    }

    fn cut(&mut self, reason: &ApiError) -> Bytes {
        self.over = true;
        self.wire.cut(reason.clone())
    }
}

fn too_slow(lost: u64) -> ApiError {
    ApiError {
        code: "slow_subscriber".to_owned(),
        message: format!("{lost} events were lost because they were not read in time"),
        help: "subscribe again, read what was missed by height, and read faster".to_owned(),
    }
}

fn unwritable(reason: &str) -> ApiError {
    ApiError {
        code: "unwritable_event".to_owned(),
        message: reason.to_owned(),
        help: "subscribe again, and read this block by its height".to_owned(),
    }
}

/// What blocks do to the transactions that were submitted through this node.
#[utoipa::path(
    get,
    path = "/v1/statuses/stream",
    tag = "subscriptions",
    params(("instance" = Option<String>, Query, description = "Only this instance; all when absent.")),
    responses((
        status = 200,
        description = "One event a block, from now on. The last one may be a cut, with an ApiError.",
        content((StatusEvent = "text/event-stream"), (StatusEvent = "application/vnd.regatta.frames+msgpack"))
    ))
)]
pub(crate) async fn statuses(
    State(control): State<Control>,
    headers: HeaderMap,
    Asked(scope): Asked<Scope>,
) -> Response {
    subscribe(&control, &headers, scope, |control| {
        control.handle().subscribe_statuses()
    })
}

/// Short forms of the blocks that are executed.
#[utoipa::path(
    get,
    path = "/v1/blocks/stream",
    tag = "subscriptions",
    params(("instance" = Option<String>, Query, description = "Only this instance; all when absent.")),
    responses((
        status = 200,
        description = "One event a block, from now on. The last one may be a cut, with an ApiError.",
        content((BlockSummary = "text/event-stream"), (BlockSummary = "application/vnd.regatta.frames+msgpack"))
    ))
)]
pub(crate) async fn blocks(State(control): State<Control>, headers: HeaderMap, Asked(scope): Asked<Scope>) -> Response {
    subscribe(&control, &headers, scope, |control| control.handle().subscribe_blocks())
}

fn subscribe<T: Event>(
    control: &Control,
    headers: &HeaderMap,
    scope: Result<Scope, HttpError>,
    events: impl FnOnce(&Control) -> Receiver<Arc<T>>,
) -> Response {
    let subscription = scope.and_then(|scope| {
        Ok(Subscription {
            wire: Wire::accepted(headers)?,
            wanted: scope.instance(control)?,
            _place: Arc::clone(&control.0.subscribers)
                .try_acquire_owned()
                .map_err(|_| HttpError::too_many_subscribers(control.limits().subscribers_max))?,
            events: events(control),
            silence_max: control.limits().silence_max,
            stop: control.handle().stop_token().clone(),
            over: false,
        })
    });
    match subscription {
        Ok(subscription) => stream_response(subscription),
        Err(error) => error.respond(Format::or_json(headers)),
    }
}

fn stream_response<T: Event>(subscription: Subscription<T>) -> Response {
    let wire = subscription.wire;
    // A first sign of life at once: the client knows that it is subscribed before anything happens.
    let first = stream::iter([Ok::<_, Infallible>(wire.alive())]);
    let rest = stream::unfold(subscription, |mut subscription| async move {
        let bytes = subscription.next().await?;
        Some((Ok(bytes), subscription))
    });
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(wire.content_type())),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, Body::from_stream(futures::StreamExt::chain(first, rest))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use regatta_client::frame::FrameDecoder;

    fn event() -> StatusEvent {
        StatusEvent {
            instance: "main".parse().unwrap(),
            height: 1,
            items: Vec::new(),
        }
    }

    fn wire(accept: &str) -> Option<Wire> {
        let headers = [(ACCEPT, HeaderValue::from_str(accept).unwrap())].into_iter().collect();
        Wire::accepted(&headers).ok()
    }

    #[test]
    fn browsers_get_events_and_programs_frames() {
        assert_eq!(Wire::accepted(&HeaderMap::new()), Ok(Wire::EventStream));
        assert_eq!(wire("*/*"), Some(Wire::EventStream));
        assert_eq!(wire("text/event-stream"), Some(Wire::EventStream));
        assert_eq!(wire(FRAMES), Some(Wire::Frames));
        assert_eq!(
            wire("text/event-stream;q=0.1, application/vnd.regatta.frames+msgpack"),
            Some(Wire::Frames)
        );
        assert_eq!(wire("application/msgpack"), None);
    }

    #[test]
    fn frames_decode_as_the_client_decodes_them() {
        let mut decoder = FrameDecoder::default();
        decoder.push(&Wire::Frames.alive());
        decoder.push(&Wire::Frames.event(&event()).unwrap());
        decoder.push(&Wire::Frames.cut(too_slow(7)));
        assert_eq!(decoder.next_frame(), Ok(Some(Frame::Event(event()))));
        assert_eq!(decoder.next_frame::<StatusEvent>(), Ok(Some(Frame::Cut(too_slow(7)))));
        assert_eq!(decoder.finish(), Ok(()));
    }

    #[test]
    fn server_sent_events_have_one_line_of_data_and_a_blank_one() {
        let parts = [
            Wire::EventStream.alive(),
            Wire::EventStream.event(&event()).unwrap(),
            Wire::EventStream.cut(unwritable("two\nlines")),
        ];
        for part in parts {
            let text = std::str::from_utf8(&part).unwrap();
            let lines: Vec<&str> = text.lines().collect();
            assert!(
                text.ends_with("\n\n") && lines[..lines.len() - 1].iter().all(|line| !line.is_empty()),
                "{text}"
            );
        }
    }
}
