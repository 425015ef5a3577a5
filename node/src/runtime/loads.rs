//! Blocks read from the journal for peers that catch up, off the loop's thread and a few at a time.

use crate::store::Reader;
use regatta_base::Height;
use regatta_core::{RequestId, StoredBlock};
use std::collections::VecDeque;
use tokio::sync::mpsc;

/// Reads at a time.
const AT_ONCE: usize = 2;
/// Reads that wait; more are answered with nothing, and the peer asks again.
const WAITING_MAX: usize = 256;

/// A read that is done.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) request: RequestId,
    pub(super) block: Option<Box<StoredBlock>>,
}

#[derive(Debug)]
struct Wanted {
    request: RequestId,
    instance: usize,
    height: Height,
}

/// Reads under way and waiting.
#[derive(Debug)]
pub(super) struct Loads {
    reader: Reader,
    done: mpsc::Sender<Loaded>,
    under_way: usize,
    waiting: VecDeque<Wanted>,
}

impl Loads {
    pub(super) fn new(reader: Reader) -> (Self, mpsc::Receiver<Loaded>) {
        let (done, receiver) = mpsc::channel(AT_ONCE);
        let loads = Self {
            reader,
            done,
            under_way: 0,
            waiting: VecDeque::new(),
        };
        (loads, receiver)
    }

    /// Starts a read, now or later. `false`: too many wait, and the answer is that there is none.
    pub(super) fn want(&mut self, request: RequestId, instance: usize, height: Height) -> bool {
        if self.waiting.len() >= WAITING_MAX {
            return false;
        }
        self.waiting.push_back(Wanted {
            request,
            instance,
            height,
        });
        self.start_next();
        true
    }

    /// A read is done: another may start.
    pub(super) fn finished(&mut self) {
        self.under_way -= 1;
        self.start_next();
    }

    fn start_next(&mut self) {
        while self.under_way < AT_ONCE
            && let Some(Wanted {
                request,
                instance,
                height,
            }) = self.waiting.pop_front()
        {
            self.under_way += 1;
            let (reader, done) = (self.reader.clone(), self.done.clone());
            tokio::task::spawn_blocking(move || {
                let block = load(&reader, instance, height).map(Box::new);
                // Fails only when the loop has ended.
                let _ = done.blocking_send(Loaded { request, block });
            });
        }
    }
}

/// Reads a block; damage is logged and looks as if the block were not there.
pub(super) fn load(reader: &Reader, instance: usize, height: Height) -> Option<StoredBlock> {
    reader.load(instance, height).unwrap_or_else(|error| {
        tracing::error!(%error, "cannot read a stored block");
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        meter::Meter,
        store::{Journal, Options},
    };
    use std::sync::Arc;

    #[tokio::test]
    async fn reads_beyond_the_bound_are_refused_and_the_others_all_answered() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            dir: dir.path().to_owned(),
            durable: false,
            disk_bytes_max: 1 << 20,
            file_bytes: 1 << 20,
            trouble: Arc::default(),
        };
        let journal = Journal::open(&options, Arc::new(Meter::default()), |_| Ok(())).unwrap();
        let (mut loads, mut loaded) = Loads::new(journal.reader());
        let most = (WAITING_MAX + AT_ONCE) as u64;
        for request in 0..most {
            assert!(loads.want(request, 0, 1), "{request}");
        }
        assert!(!loads.want(most, 0, 1));
        let mut answered = Vec::new();
        for _ in 0..most {
            let done = loaded.recv().await.unwrap();
            loads.finished();
            assert_eq!(done.block, None);
            answered.push(done.request);
        }
        answered.sort_unstable();
        assert_eq!(answered, (0..most).collect::<Vec<u64>>());
        assert_eq!(loads.under_way, 0);
    }
}
