//! Reads request bodies within limits of size, time and memory.

use super::{Control, error::HttpError};
use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http_body_util::BodyExt;
use regatta_base::limits::REQUEST_BYTES_MAX;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// A whole body; holds its share of the memory for bodies until dropped.
pub(crate) struct WholeBody {
    pub(crate) bytes: Bytes,
    _share: Option<OwnedSemaphorePermit>,
}

#[cfg(test)]
impl WholeBody {
    pub(crate) fn of(bytes: Vec<u8>) -> Self {
        Self {
            bytes: bytes.into(),
            _share: None,
        }
    }
}

/// Reads a body to its end.
pub(crate) async fn read(control: &Control, body: Body) -> Result<WholeBody, HttpError> {
    if body.size_hint().lower() > REQUEST_BYTES_MAX as u64 {
        return Err(HttpError::body_too_large());
    }
    let most = control.limits().body_time_max;
    tokio::time::timeout(most, collect(control, body))
        .await
        .map_err(|_| HttpError::body_too_slow(most))?
}

/// Takes memory for what has arrived, not for what was announced: a slow client holds little.
async fn collect(control: &Control, mut body: Body) -> Result<WholeBody, HttpError> {
    let mut share: Option<OwnedSemaphorePermit> = None;
    let mut pieces: Vec<Bytes> = Vec::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| HttpError::broken_body(&error.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        length += data.len();
        if length > REQUEST_BYTES_MAX {
            return Err(HttpError::body_too_large());
        }
        let more = take_share(control, data.len())?;
        match &mut share {
            None => share = Some(more),
            Some(share) => share.merge(more),
        }
        pieces.push(data);
    }
    let bytes = match pieces.len() {
        0 | 1 => pieces.pop().unwrap_or_default(),
        _ => pieces.concat().into(),
    };
    Ok(WholeBody { bytes, _share: share })
}

fn take_share(control: &Control, bytes: usize) -> Result<OwnedSemaphorePermit, HttpError> {
    let full = || HttpError::overloaded("too many bytes of request bodies are being read");
    let bytes = u32::try_from(bytes).map_err(|_| full())?;
    Arc::clone(&control.0.body_bytes)
        .try_acquire_many_owned(bytes)
        .map_err(|_| full())
}
