//! One connection to an agent: orders out, answers and events in.

use super::{
    bootstrap::{Complaints, Streams},
    error::{HostError, quoted},
};
use openssh::{ForwardType, Session, Socket};
use regatta_fleet::{Answer, Event, Frames, Order, OrderBody, Reply, encode_frame, limits::ORDERS_IN_FLIGHT_MAX};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::{Semaphore, mpsc, oneshot},
};

/// Events that wait for the lab; beyond it the agent waits, which keeps what it has.
const EVENTS_MAX: usize = 256;
/// How much is read at once, in bytes.
const READ_BYTES: usize = 32 * 1024;

type Waiting = BTreeMap<u64, oneshot::Sender<Answer>>;

/// The lab's end of a connection.
#[derive(Debug)]
pub(super) struct Link {
    frames: mpsc::Sender<Vec<u8>>,
    /// None once the connection is gone.
    waiting: Arc<Mutex<Option<Waiting>>>,
    in_flight: Semaphore,
    next: AtomicU64,
    complaints: Complaints,
    /// The connection itself, which ends with what is read from it.
    session: Weak<Session>,
    /// Sockets of the client's master that lead to ports of the host, by where they lead.
    ways: tokio::sync::Mutex<BTreeMap<SocketAddr, PathBuf>>,
}

impl Link {
    /// Begins to read and write. The events end when the connection does; the last item says why when that was an error.
    pub(super) fn start(streams: Streams) -> (Self, mpsc::Receiver<Result<Event, HostError>>) {
        let Streams {
            mut input,
            mut output,
            complaints,
            held,
            ..
        } = streams;
        let session = Arc::downgrade(&held.session());
        let (frames, mut outbox) = mpsc::channel::<Vec<u8>>(ORDERS_IN_FLIGHT_MAX);
        let (events, inbox) = mpsc::channel(EVENTS_MAX);
        let waiting = Arc::new(Mutex::new(Some(Waiting::new())));
        tokio::spawn(async move {
            while let Some(frame) = outbox.recv().await {
                if input.write_all(&frame).await.is_err() || input.flush().await.is_err() {
                    break;
                }
            }
            // The agent sees the end of its input and lets go of the connection.
        });
        let answers = Arc::clone(&waiting);
        tokio::spawn(async move {
            let error = read(&mut output, &answers, &events).await;
            // Whoever waits for an answer learns that none will come.
            *answers.lock().unwrap_or_else(PoisonError::into_inner) = None;
            if let Some(error) = error {
                let _ = events.send(Err(error)).await;
            }
            drop(held);
        });
        let link = Self {
            frames,
            waiting,
            in_flight: Semaphore::new(ORDERS_IN_FLIGHT_MAX),
            next: AtomicU64::new(1),
            complaints,
            session,
            ways: tokio::sync::Mutex::default(),
        };
        (link, inbox)
    }

    /// Gives an order and waits for its answer.
    ///
    /// # Errors
    /// [`HostError::Refused`] when the agent refuses it, [`HostError::Lost`] when the connection ends first.
    pub(super) async fn order(&self, body: OrderBody, deadline: Duration) -> Result<Answer, HostError> {
        let step = name(&body);
        let work = tokio::time::timeout(deadline, self.order_unbounded(body));
        let late = HostError::Late { step, after: deadline };
        match work.await.unwrap_or(Err(late))? {
            Answer::Refused { what, message } => Err(HostError::Refused { what, message }),
            answer => Ok(answer),
        }
    }

    async fn order_unbounded(&self, body: OrderBody) -> Result<Answer, HostError> {
        let _permit = self.in_flight.acquire().await;
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let frame = encode_frame(&Order { id, body })?;
        let (reply, answer) = oneshot::channel();
        match self.waiting.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            Some(waiting) => waiting.insert(id, reply),
            None => return Err(self.lost()),
        };
        if self.frames.send(frame).await.is_err() {
            return Err(self.lost());
        }
        answer.await.map_err(|_| self.lost())
    }

    /// A connection to a port of the host, through this one. One that nobody listens at ends at once.
    ///
    /// # Errors
    /// [`HostError::Lost`] when this connection is gone.
    pub(super) async fn reach_port(&self, to: SocketAddr) -> Result<UnixStream, HostError> {
        let lost = |error: &dyn std::fmt::Display| HostError::Lost(quoted(&error.to_string()));
        let mut ways = self.ways.lock().await;
        let path = match ways.get(&to) {
            Some(path) => path.clone(),
            None => {
                let session = self.session.upgrade().ok_or_else(|| self.lost())?;
                // Beside the master's own socket, in a folder that goes with it.
                let path = session.control_socket().with_file_name(format!("way-{}", ways.len()));
                let socket = Socket::UnixSocket {
                    path: path.as_path().into(),
                };
                let asked = session.request_port_forward(ForwardType::Local, socket, to).await;
                asked.map_err(|error| lost(&error))?;
                ways.insert(to, path.clone());
                path
            }
        };
        drop(ways);
        UnixStream::connect(path).await.map_err(|error| lost(&error))
    }

    fn lost(&self) -> HostError {
        HostError::Lost(self.complaints.text())
    }
}

/// Reads until the connection ends; returns why when that was the other side's fault.
async fn read(
    output: &mut (impl tokio::io::AsyncRead + Unpin),
    answers: &Mutex<Option<Waiting>>,
    events: &mpsc::Sender<Result<Event, HostError>>,
) -> Option<HostError> {
    let mut frames = Frames::default();
    let mut piece = vec![0; READ_BYTES];
    loop {
        match output.read(&mut piece).await {
            Ok(0) | Err(_) => return None,
            Ok(count) => frames.push(&piece[..count]),
        }
        loop {
            match frames.take::<Reply>() {
                Ok(Some(Reply::Answer { id, body })) => {
                    let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
                    let reply = answers.as_mut().and_then(|waiting| waiting.remove(&id));
                    // Whoever asked may have given up.
                    let _ = reply.map(|reply| reply.send(body));
                }
                Ok(Some(Reply::Event(event))) => {
                    if events.send(Ok(event)).await.is_err() {
                        return None;
                    }
                }
                Ok(None) => break,
                Err(error) => return Some(error.into()),
            }
        }
    }
}

/// An order in a message.
fn name(body: &OrderBody) -> &'static str {
    match body {
        OrderBody::Hello(_) => "the greeting",
        OrderBody::Renew { .. } => "renewing the lease",
        OrderBody::Has { .. } => "looking for programs",
        OrderBody::Put { .. } => "sending a program",
        OrderBody::Share { .. } => "offering a program",
        OrderBody::Fetch { .. } => "getting a program from another host",
        OrderBody::Place { .. } => "placing files",
        OrderBody::Start { .. } => "starting nodes",
        OrderBody::Signal { .. } => "signalling nodes",
        OrderBody::Read { .. } => "reading a file",
        OrderBody::Stop { .. } => "stopping nodes",
        OrderBody::Limit { .. } => "limiting a node",
        OrderBody::Lift { .. } => "lifting the limit of a node",
        OrderBody::Remove { .. } => "removing a run",
        OrderBody::Clock { .. } => "asking for the clock",
        OrderBody::Status => "asking what is there",
        _ => "an order",
    }
}
