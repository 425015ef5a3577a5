//! The generator's side of [`crate::remote`]: one load, from the first question to its books.

use crate::{
    LoadError, LoadHandle, LoadOutcome, PrepareProgress, Prepared, RemoteError, RunClock, prepare,
    remote::wire::{Ask, CLOCK_SET, PIECE_BYTES, Told, receive, send},
    steps::{ClockWatch, Stamps},
};
use regatta_base::encode;
use regatta_report::model::NamedText;
use std::{io, pin::pin, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

/// Time between two views of a running load.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);
/// Questions that wait for their turn.
const ASKS_MAX: usize = 64;

/// A question with the time on this host's clock at which it had arrived.
type Arrived = Result<(Ask, u64), RemoteError>;

/// Serves one load to whoever is at the other end of the streams, and returns when its books are delivered.
///
/// # Errors
/// [`RemoteError`] when the streams break or what comes is no question; then the load has ended too.
pub async fn serve(
    input: impl AsyncRead + Unpin + Send + 'static,
    output: impl AsyncWrite + Unpin,
) -> Result<(), RemoteError> {
    let (arrived, asks) = mpsc::channel(ASKS_MAX);
    let reader = tokio::spawn(read(input, arrived));
    let mut generator = Generator { asks, output };
    let served = generator.run().await;
    reader.abort();
    if let Err(error) = &served {
        // The other end may be what broke; then it hears nothing, and need not.
        let _ = generator.tell(&Told::Failed(error.to_string())).await;
    }
    served
}

/// Reads questions in a task of its own, since a frame must not be left half read.
async fn read(mut input: impl AsyncRead + Unpin, arrived: mpsc::Sender<Arrived>) {
    loop {
        let next = match receive(&mut input).await {
            Ok(Some(ask)) => Ok((ask, RunClock::monotonic_ns())),
            Ok(None) => return,
            Err(error) => Err(error),
        };
        let broken = next.is_err();
        if arrived.send(next).await.is_err() || broken {
            return;
        }
    }
}

struct Generator<W> {
    asks: mpsc::Receiver<Arrived>,
    output: W,
}

impl<W: AsyncWrite + Unpin> Generator<W> {
    async fn run(&mut self) -> Result<(), RemoteError> {
        let Ask::Prepare { spec } = self.next().await? else {
            return Err(out_of_order("a specification"));
        };
        let (built, progress) = mpsc::unbounded_channel();
        let work = prepare(*spec, move |progress| {
            // Nobody listens once the preparation is done with.
            let _ = built.send(progress);
        });
        let prepared = self.preparing(work, progress).await?;
        self.tell(&Told::Prepared {
            total: prepared.count() as u64,
        })
        .await?;
        let Ask::Connect = self.next().await? else {
            return Err(out_of_order("the order to connect"));
        };
        let connected = self.meanwhile(prepared.connect()).await??;
        self.tell(&Told::Connected).await?;
        let Ask::Start { start_ns } = self.next().await? else {
            return Err(out_of_order("the start"));
        };
        let handle = connected.start(start_ns)?;
        let outcome = self.running(handle).await?;
        self.deliver(&outcome).await
    }

    async fn tell(&mut self, told: &Told) -> Result<(), RemoteError> {
        send(&mut self.output, told).await
    }

    /// The next question that is not about the time.
    async fn next(&mut self) -> Result<Ask, RemoteError> {
        loop {
            let arrived = self.asks.recv().await;
            if let Some(ask) = self.taken(arrived).await? {
                return Ok(ask);
            }
        }
    }

    /// Answers a question about the time; any other is returned.
    async fn taken(&mut self, arrived: Option<Arrived>) -> Result<Option<Ask>, RemoteError> {
        let gone = || RemoteError::Broken(io::ErrorKind::UnexpectedEof.into());
        match arrived.ok_or_else(gone)?? {
            (Ask::Clock { asked_ns }, received_ns) => {
                let sent_ns = RunClock::monotonic_ns();
                self.tell(&Told::Clock {
                    asked_ns,
                    received_ns,
                    sent_ns,
                })
                .await?;
                Ok(None)
            }
            (ask, _) => Ok(Some(ask)),
        }
    }

    /// Does `work`, and tells how far it is.
    async fn preparing(
        &mut self,
        work: impl Future<Output = Result<Prepared, LoadError>>,
        mut progress: mpsc::UnboundedReceiver<PrepareProgress>,
    ) -> Result<Prepared, RemoteError> {
        let mut work = pin!(work);
        let mut ticks = interval(PROGRESS_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            let mut newest = None;
            tokio::select! {
                prepared = &mut work => return Ok(prepared?),
                arrived = self.asks.recv() => self.refuse_all_but_time(arrived).await?,
                _ = ticks.tick() => {}
            }
            while let Ok(progress) = progress.try_recv() {
                newest = Some(progress);
            }
            if let Some(PrepareProgress { built, total }) = newest {
                let (built, total) = (built as u64, total as u64);
                self.tell(&Told::Built { built, total }).await?;
            }
        }
    }

    /// Does `work` while the other end only asks for the time.
    async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> Result<T, RemoteError> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                arrived = self.asks.recv() => self.refuse_all_but_time(arrived).await?,
            }
        }
    }

    async fn refuse_all_but_time(&mut self, arrived: Option<Arrived>) -> Result<(), RemoteError> {
        match self.taken(arrived).await? {
            None => Ok(()),
            Some(_) => Err(out_of_order("a question about the time")),
        }
    }

    /// From the start to the books.
    async fn running(&mut self, mut handle: LoadHandle) -> Result<LoadOutcome, RemoteError> {
        let mut clocks = ClockWatch::default();
        let mut ticks = interval(PROGRESS_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut scheduled = false;
        let limit_ms = loop {
            let arrived = tokio::select! {
                arrived = self.asks.recv() => arrived,
                () = handle.scheduled(), if !scheduled => {
                    scheduled = true;
                    self.tell(&Told::Scheduled).await?;
                    continue;
                }
                _ = ticks.tick() => {
                    clocks.look(Stamps::now());
                    self.tell(&Told::Progress(handle.progress())).await?;
                    continue;
                }
            };
            match self.taken(arrived).await? {
                None => {}
                Some(Ask::Stop) => handle.stop(),
                Some(Ask::Drain { limit_ms }) => break limit_ms,
                Some(_) => return Err(out_of_order("the order to stop or to drain")),
            }
        };
        let drained = self.meanwhile(handle.drain(Duration::from_millis(limit_ms))).await?;
        let mut outcome = drained?;
        clocks.look(Stamps::now());
        outcome.disclosure.extend(clocks.told().map(|value| NamedText {
            name: CLOCK_SET.to_owned(),
            value,
        }));
        Ok(outcome)
    }

    async fn deliver(&mut self, outcome: &LoadOutcome) -> Result<(), RemoteError> {
        for piece in encode(outcome).chunks(PIECE_BYTES) {
            self.tell(&Told::Piece(piece.to_vec())).await?;
        }
        self.tell(&Told::Done).await
    }
}

impl From<LoadError> for RemoteError {
    fn from(error: LoadError) -> Self {
        Self::Failed(error.to_string())
    }
}

fn out_of_order(expected: &str) -> RemoteError {
    RemoteError::Protocol(format!("expected {expected}"))
}
