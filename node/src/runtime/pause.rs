//! Whether a task that waited gave its thread away.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};

/// Waits for `future`, and says whether that took a pause, in which other tasks of the thread had their turn.
pub(super) async fn noting_pause<F: Future>(future: F) -> (F::Output, bool) {
    let (mut future, mut paused) = (pin!(future), false);
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready((output, paused)),
        Poll::Pending => {
            paused = true;
            Poll::Pending
        }
    })
    .await
}

/// Gives the thread away after a turn, unless that is idle. Links and requests run on it as well: they had their turn if
/// this task had `paused` before its own, and otherwise have it now, so that never more than two turns follow each other
/// without. While more waits for this task it is given away too: what the others have ready comes into the same turn.
pub(super) async fn share_thread(paused: bool, more_waits: bool) {
    if !paused || more_waits {
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    #[tokio::test]
    async fn who_always_has_something_to_do_takes_two_turns_in_a_row_at_most() {
        let others = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&others);
        let other = tokio::spawn(async move {
            loop {
                count.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        });
        for turn in 0..100 {
            // Now and then something wakes it, and mostly it need not wait.
            let ((), paused) = match turn % 5 {
                0 => noting_pause(tokio::task::yield_now()).await,
                _ => noting_pause(std::future::ready(())).await,
            };
            share_thread(paused, false).await;
            assert!(others.load(Ordering::Relaxed) * 2 >= turn, "at turn {turn}");
        }
        let before = others.load(Ordering::Relaxed);
        share_thread(true, true).await;
        assert_eq!(others.load(Ordering::Relaxed), before + 1, "more waits");
        share_thread(true, false).await;
        assert_eq!(others.load(Ordering::Relaxed), before + 1, "nothing does");
        other.abort();
    }

    #[tokio::test]
    async fn what_is_ready_takes_no_pause() {
        assert_eq!(noting_pause(async { 7 }).await, (7, false));
        assert_eq!(noting_pause(tokio::task::yield_now()).await, ((), true));
    }
}
