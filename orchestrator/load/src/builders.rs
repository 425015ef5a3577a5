//! Threads that build and sign ahead of the pacer, within a bound of memory.

use crate::{
    LoadError,
    recipe::{Chunk, Recipe},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};
use tokio::sync::{Notify, mpsc};

/// Most builder threads: they are only busy before the run, and signing scales until then.
const BUILDERS_MAX: usize = 8;

/// How far the builders are.
#[derive(Debug, Default)]
pub(crate) struct Built {
    /// Transactions that are built.
    pub(crate) transactions: AtomicUsize,
    /// Builders that have nothing left to do, or no room to do it.
    settled: AtomicUsize,
    /// Told after each chunk.
    pub(crate) changed: Notify,
}

/// Built chunks, in the order of the schedule.
#[derive(Debug)]
pub(crate) struct Supply {
    /// One channel a builder: builder b makes the chunks b, b + n, b + 2n, ...
    channels: Vec<mpsc::Receiver<Chunk>>,
    next: usize,
    built: Arc<Built>,
}

impl Supply {
    /// Starts the builders. They stop when the supply is dropped.
    ///
    /// # Errors
    /// [`LoadError::Thread`]
    pub(crate) fn start(load: u32, recipe: &Arc<Recipe>, prepared_bytes: usize) -> Result<Self, LoadError> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let builders = cores.min(BUILDERS_MAX).min(recipe.chunks().max(1));
        // One chunk of each builder waits outside its channel.
        let capacity = (prepared_bytes / recipe.chunk_bytes().max(1) / builders).max(2) - 1;
        let built = Arc::new(Built::default());
        let mut channels = Vec::new();
        for builder in 0..builders {
            let (sender, receiver) = mpsc::channel(capacity);
            let (recipe, built) = (Arc::clone(recipe), Arc::clone(&built));
            thread::Builder::new()
                .name(format!("build-{builder}"))
                .spawn(move || build(&recipe, builder, builders, &sender, &built))
                .map_err(|source| LoadError::Thread {
                    load,
                    thread: "builder",
                    source,
                })?;
            channels.push(receiver);
        }
        Ok(Self {
            channels,
            next: 0,
            built,
        })
    }

    /// How far the builders are.
    pub(crate) fn built(&self) -> &Built {
        &self.built
    }

    /// Whether every builder is done or has no room left.
    pub(crate) fn is_settled(&self) -> bool {
        self.built.settled.load(Ordering::Acquire) == self.channels.len()
    }

    /// The next chunk; waits for its builder. `None` after the last one.
    pub(crate) async fn next(&mut self) -> Option<Chunk> {
        let channel = self.next % self.channels.len();
        self.next += 1;
        self.channels[channel].recv().await
    }
}

fn build(recipe: &Recipe, builder: usize, builders: usize, sender: &mpsc::Sender<Chunk>, built: &Built) {
    let mut settled = false;
    for number in (builder..recipe.chunks()).step_by(builders) {
        let chunk = recipe.chunk(number);
        built.transactions.fetch_add(chunk.len(), Ordering::Relaxed);
        let full = match sender.try_send(chunk) {
            Ok(()) => None,
            Err(mpsc::error::TrySendError::Full(chunk)) => Some(chunk),
            Err(mpsc::error::TrySendError::Closed(_)) => return,
        };
        if let Some(chunk) = full {
            settle(&mut settled, built);
            if sender.blocking_send(chunk).is_err() {
                return;
            }
        }
        built.changed.notify_one();
    }
    settle(&mut settled, built);
}

fn settle(settled: &mut bool, built: &Built) {
    if !std::mem::replace(settled, true) {
        built.settled.fetch_add(1, Ordering::Release);
        built.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::spec;

    async fn settle_all(supply: &Supply) {
        while !supply.is_settled() {
            supply.built().changed.notified().await;
        }
    }

    #[tokio::test]
    async fn chunks_come_in_the_order_of_the_schedule() {
        let recipe = Arc::new(Recipe::new(&spec(1.0, 1), 2000, 1).unwrap());
        let mut supply = Supply::start(0, &recipe, 1 << 30).unwrap();
        settle_all(&supply).await;
        assert_eq!(supply.built().transactions.load(Ordering::Relaxed), 2000);
        for number in 0..recipe.chunks() {
            assert_eq!(supply.next().await, Some(recipe.chunk(number)));
        }
        assert_eq!(supply.next().await, None);
    }

    #[tokio::test]
    async fn builders_stop_at_the_bound_and_go_on_when_there_is_room() {
        let recipe = Arc::new(Recipe::new(&spec(1.0, 1), 20_000, 1).unwrap());
        let bound = 8 * recipe.chunk_bytes();
        let mut supply = Supply::start(0, &recipe, bound).unwrap();
        settle_all(&supply).await;
        let built = supply.built().transactions.load(Ordering::Relaxed);
        assert!(built <= 8 * recipe.chunk_len(), "{built}");
        let mut total = 0;
        while let Some(chunk) = supply.next().await {
            total += chunk.len();
        }
        assert_eq!(total, 20_000);
    }
}
