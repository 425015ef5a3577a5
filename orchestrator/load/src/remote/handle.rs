//! The lab's side: the verbs of a load, for one that runs elsewhere.

use super::{
    ClockBound,
    wire::{Ask, CLOCK_SET, OUTCOME_BYTES_MAX, Told, receive, send},
};
use crate::{LoadError, LoadOutcome, LoadProgress, LoadSpec, PrepareProgress, RemoteError, RunClock};
use regatta_base::decode;
use regatta_report::model::NamedText;
use std::{io, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

/// Questions about the time before the load, and after it: the shortest way there and back counts.
const CLOCK_QUESTIONS: usize = 16;
/// What a generator said and nobody has read yet.
const TOLD_MAX: usize = 256;
/// Orders that wait to be written.
const ASKS_MAX: usize = 64;

/// Something that a generator said, and when it was there on the run's clock.
type Heard = Result<(Told, u64), RemoteError>;

/// A generator at the other end of a pair of streams.
#[derive(Debug)]
pub struct Remote {
    load: u32,
    host: String,
    clock: RunClock,
    asks: mpsc::Sender<Ask>,
    told: mpsc::Receiver<Heard>,
    /// They end with this value.
    _tasks: Tasks,
}

/// The tasks that read and write the streams.
#[derive(Debug)]
struct Tasks(Vec<JoinHandle<()>>);

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// A load whose transactions are built on its host.
#[derive(Debug)]
pub struct RemotePrepared {
    remote: Remote,
    bound: ClockBound,
    count: usize,
}

/// A load that is subscribed to its targets.
#[derive(Debug)]
pub struct RemoteConnected {
    remote: Remote,
    bound: ClockBound,
}

/// A running load.
#[derive(Debug)]
pub struct RemoteHandle {
    load: u32,
    host: String,
    clock: RunClock,
    asks: mpsc::Sender<Ask>,
    progress: watch::Receiver<LoadProgress>,
    scheduled: watch::Receiver<bool>,
    outcome: oneshot::Receiver<Result<LoadOutcome, RemoteError>>,
    /// It ends with this value.
    _listener: Tasks,
}

impl Remote {
    /// Takes the streams of the generator of load `load` on `host`.
    pub fn open(
        load: u32,
        host: String,
        clock: RunClock,
        input: impl AsyncRead + Unpin + Send + 'static,
        output: impl AsyncWrite + Unpin + Send + 'static,
    ) -> Self {
        let (asks, to_send) = mpsc::channel(ASKS_MAX);
        let (heard, told) = mpsc::channel(TOLD_MAX);
        let tasks = Tasks(vec![
            tokio::spawn(hear(input, clock, heard.clone())),
            tokio::spawn(write(output, to_send, heard)),
        ]);
        Self {
            load,
            host,
            clock,
            asks,
            told,
            _tasks: tasks,
        }
    }

    /// Measures the generator's clock and has it build and sign the transactions of `spec`.
    ///
    /// # Errors
    /// [`LoadError::Remote`] names the host.
    pub async fn prepare(
        mut self,
        mut spec: LoadSpec,
        mut progress: impl FnMut(PrepareProgress),
    ) -> Result<RemotePrepared, LoadError> {
        let (load, host) = (self.load, self.host.clone());
        let at = |error| elsewhere(load, &host, error);
        let bound = self.measure_clock().await.map_err(at)?;
        let late = || RemoteError::Failed("the host booted after the run began\n  help: run again".to_owned());
        spec.clock = RunClock::with_origin(bound.origin_ns().ok_or_else(late).map_err(at)?);
        self.ask(Ask::Prepare { spec: Box::new(spec) }).await.map_err(at)?;
        let count = loop {
            match self.next().await.map_err(at)?.0 {
                Told::Built { built, total } => progress(PrepareProgress {
                    built: count(built),
                    total: count(total),
                }),
                Told::Prepared { total } => break count(total),
                _ => return Err(at(out_of_order())),
            }
        };
        Ok(RemotePrepared {
            remote: self,
            bound,
            count,
        })
    }

    async fn measure_clock(&mut self) -> Result<ClockBound, RemoteError> {
        let mut bound: Option<ClockBound> = None;
        for _ in 0..CLOCK_QUESTIONS {
            let asked_ns = self.clock.now_ns();
            self.ask(Ask::Clock { asked_ns }).await?;
            let heard = self.next().await?;
            let one = read_clock(&heard).ok_or_else(out_of_order)?;
            let both = bound.map_or(Some(one), |bound| bound.and(one));
            bound = Some(both.ok_or_else(|| RemoteError::Failed("its clock was set meanwhile".to_owned()))?);
        }
        bound.ok_or_else(out_of_order)
    }

    async fn ask(&self, ask: Ask) -> Result<(), RemoteError> {
        self.asks.send(ask).await.map_err(|_| gone())
    }

    /// What it says next; a failure that it reports is an error.
    async fn next(&mut self) -> Result<(Told, u64), RemoteError> {
        match self.told.recv().await.ok_or_else(gone)?? {
            (Told::Failed(text), _) => Err(RemoteError::Failed(text)),
            heard => Ok(heard),
        }
    }
}

impl RemotePrepared {
    /// Number of transactions of the schedule.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Has it subscribe to all its targets.
    ///
    /// # Errors
    /// [`LoadError::Remote`] names the host, and the target that does not answer.
    pub async fn connect(self) -> Result<RemoteConnected, LoadError> {
        let Self { mut remote, bound, .. } = self;
        let (load, host) = (remote.load, remote.host.clone());
        let at = |error| elsewhere(load, &host, error);
        remote.ask(Ask::Connect).await.map_err(at)?;
        match remote.next().await.map_err(at)?.0 {
            Told::Connected => Ok(RemoteConnected { remote, bound }),
            _ => Err(at(out_of_order())),
        }
    }
}

impl RemoteConnected {
    /// Has it begin: the schedule's first instant is `start_ns` on the run's clock.
    ///
    /// # Errors
    /// [`LoadError::Remote`] when the generator is gone.
    pub fn start(self, start_ns: u64) -> Result<RemoteHandle, LoadError> {
        let Self { remote, bound } = self;
        let sent = remote.asks.try_send(Ask::Start { start_ns });
        sent.map_err(|_| elsewhere(remote.load, &remote.host, gone()))?;
        let (progress_tell, progress) = watch::channel(LoadProgress::default());
        let (scheduled_tell, scheduled) = watch::channel(false);
        let (outcome_tell, outcome) = oneshot::channel();
        let (load, host, clock, asks) = (remote.load, remote.host.clone(), remote.clock, remote.asks.clone());
        let listener = Listener {
            remote,
            before: bound,
            after: None,
            progress: progress_tell,
            scheduled: scheduled_tell,
            outcome: Vec::new(),
        };
        let listening = tokio::spawn(async move {
            // Whoever dropped the handle does not want to know.
            let _ = outcome_tell.send(listener.listen().await);
        });
        Ok(RemoteHandle {
            load,
            host,
            clock,
            asks,
            progress,
            scheduled,
            outcome,
            _listener: Tasks(vec![listening]),
        })
    }
}

impl RemoteHandle {
    /// Position of the load in the plan.
    #[must_use]
    pub fn load(&self) -> u32 {
        self.load
    }

    /// How the load goes, as the generator said last.
    #[must_use]
    pub fn progress(&self) -> LoadProgress {
        *self.progress.borrow()
    }

    /// Returns when every transaction of the schedule was handed over, or the load has ended.
    pub async fn scheduled(&mut self) {
        let _ = self.scheduled.wait_for(|&scheduled| scheduled).await;
    }

    /// Ends the schedule here.
    pub fn stop(&self) {
        // A generator that is gone has stopped.
        let _ = self.asks.try_send(Ask::Stop);
    }

    /// Waits for the last transactions and fetches the books.
    ///
    /// # Errors
    /// [`LoadError::Remote`] when the generator failed or its connection broke.
    pub async fn drain(self, limit: Duration) -> Result<LoadOutcome, LoadError> {
        let at = |error| elsewhere(self.load, &self.host, error);
        for _ in 0..CLOCK_QUESTIONS {
            let asked_ns = self.clock.now_ns();
            // An order that cannot be given shows in the outcome.
            let _ = self.asks.send(Ask::Clock { asked_ns }).await;
        }
        let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let _ = self.asks.send(Ask::Drain { limit_ms }).await;
        self.outcome.await.unwrap_or_else(|_| Err(gone())).map_err(at)
    }
}

/// Reads what a running load tells.
struct Listener {
    remote: Remote,
    before: ClockBound,
    after: Option<ClockBound>,
    progress: watch::Sender<LoadProgress>,
    scheduled: watch::Sender<bool>,
    outcome: Vec<u8>,
}

impl Listener {
    async fn listen(mut self) -> Result<LoadOutcome, RemoteError> {
        loop {
            let heard = self.remote.next().await?;
            if let Some(bound) = read_clock(&heard) {
                self.after = self.after.map_or(Some(bound), |after| after.and(bound));
                continue;
            }
            match heard.0 {
                Told::Progress(progress) => drop(self.progress.send(progress)),
                Told::Scheduled => drop(self.scheduled.send(true)),
                Told::Piece(piece) if self.outcome.len() + piece.len() <= OUTCOME_BYTES_MAX => {
                    self.outcome.extend(piece);
                }
                Told::Done => return self.close(),
                _ => return Err(out_of_order()),
            }
        }
    }

    fn close(self) -> Result<LoadOutcome, RemoteError> {
        let outcome = decode::<LoadOutcome>(&self.outcome, OUTCOME_BYTES_MAX);
        let mut outcome = outcome.map_err(|error| RemoteError::Protocol(error.to_string()))?;
        if outcome.load != self.remote.load {
            return Err(RemoteError::Protocol(format!("books of load {}", outcome.load)));
        }
        let micros = |ns: u64| ns as f64 / 1e3;
        let mut clock = format!("within {:.0} us of the lab's", micros(self.before.half_width_ns()));
        if let Some((before, after)) = self.before.origin_ns().zip(self.after.and_then(ClockBound::origin_ns)) {
            clock += &format!(", {:.0} us further at the end", micros(before.abs_diff(after)));
        }
        let text = |name: String, value| NamedText { name, value };
        let host = &self.remote.host;
        for own in outcome.disclosure.iter_mut().filter(|own| own.name == CLOCK_SET) {
            own.name = format!("clock of {host} was set");
        }
        outcome.disclosure.extend([
            text("generator".to_owned(), format!("on {host}")),
            text(format!("clock of {host}"), clock),
        ]);
        Ok(outcome)
    }
}

/// What an answer about the time proves; none for anything else.
fn read_clock((told, heard_ns): &(Told, u64)) -> Option<ClockBound> {
    match *told {
        Told::Clock {
            asked_ns,
            received_ns,
            sent_ns,
        } => Some(ClockBound::of(asked_ns, received_ns, sent_ns, *heard_ns)),
        _ => None,
    }
}

async fn hear(mut input: impl AsyncRead + Unpin, clock: RunClock, heard: mpsc::Sender<Heard>) {
    loop {
        let next = match receive(&mut input).await {
            Ok(Some(told)) => Ok((told, clock.now_ns())),
            Ok(None) => Err(gone()),
            Err(error) => Err(error),
        };
        let ends = next.is_err();
        if heard.send(next).await.is_err() || ends {
            return;
        }
    }
}

async fn write(mut output: impl AsyncWrite + Unpin, mut asks: mpsc::Receiver<Ask>, heard: mpsc::Sender<Heard>) {
    while let Some(ask) = asks.recv().await {
        if let Err(error) = send(&mut output, &ask).await {
            // Nobody listens any more when the load has ended.
            let _ = heard.send(Err(error)).await;
            return;
        }
    }
}

fn gone() -> RemoteError {
    RemoteError::Broken(io::ErrorKind::UnexpectedEof.into())
}

fn out_of_order() -> RemoteError {
    RemoteError::Protocol("an answer to another question".to_owned())
}

fn elsewhere(load: u32, host: &str, source: RemoteError) -> LoadError {
    LoadError::Remote {
        load,
        host: host.to_owned(),
        source: Box::new(source),
    }
}

/// A count that came over the wire; one beyond memory is as good as the most that fits.
fn count(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
