//! Subscriptions: a response body of frames as a stream of events.

use crate::{
    ClientError,
    error::chain,
    frame::{Frame, FrameDecoder, FrameError},
};
use futures::stream::{self, BoxStream, StreamExt};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use std::{net::SocketAddr, time::Duration};

/// Events of a subscription. An error is its last item; a node that stops in order just ends it.
pub type EventStream<T> = BoxStream<'static, Result<T, ClientError>>;

/// Longest silence of a living subscription: a node shows a sign of life far more often.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Reads frames off one response body.
struct Subscription {
    address: SocketAddr,
    path: String,
    body: Incoming,
    decoder: FrameDecoder,
    over: bool,
}

pub(crate) fn events<T: DeserializeOwned + Send + 'static>(
    address: SocketAddr,
    path: String,
    body: Incoming,
) -> EventStream<T> {
    let subscription = Subscription {
        address,
        path,
        body,
        decoder: FrameDecoder::default(),
        over: false,
    };
    stream::unfold(subscription, |mut subscription| async move {
        if subscription.over {
            return None;
        }
        let item = subscription.next_event().await.transpose()?;
        subscription.over = item.is_err();
        Some((item, subscription))
    })
    .boxed()
}

impl Subscription {
    async fn next_event<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ClientError> {
        loop {
            match self.decoder.next_frame().map_err(|error| self.malformed(&error))? {
                Some(Frame::Event(event)) => return Ok(Some(event)),
                Some(Frame::Cut(error)) => {
                    return Err(ClientError::Cut {
                        address: self.address,
                        error,
                    });
                }
                None => {}
            }
            if !self.read().await? {
                self.decoder.finish().map_err(|error| self.malformed(&error))?;
                return Ok(None);
            }
        }
    }

    /// Reads the next piece of the body; false at its end.
    async fn read(&mut self) -> Result<bool, ClientError> {
        let frame = tokio::time::timeout(SILENCE_MAX, self.body.frame())
            .await
            .map_err(|_| ClientError::Deadline {
                address: self.address,
                path: self.path.clone(),
                after: SILENCE_MAX,
            })?;
        match frame {
            None => Ok(false),
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.decoder.push(data);
                }
                Ok(true)
            }
            Some(Err(error)) => Err(ClientError::Transport {
                address: self.address,
                path: self.path.clone(),
                reason: chain(&error),
            }),
        }
    }

    fn malformed(&self, error: &FrameError) -> ClientError {
        ClientError::Malformed {
            address: self.address,
            path: self.path.clone(),
            reason: error.to_string(),
        }
    }
}
