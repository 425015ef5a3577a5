//! One connection: orders in, answers and events out.

use crate::{
    agent::Agent,
    clock::now_us,
    facts::host_facts,
    orders::{is_slow, obey},
    root::make_private,
    run::Run,
    store::refused,
};
use regatta_fleet::{
    Answer, FrameError, Frames, Hello, HelloAnswer, Order, OrderBody, Refusal, Reply, RunHello, What, encode_frame,
    limits::{ORDERS_IN_FLIGHT_MAX, PROTOCOL, RUNS_MAX},
};
use std::{future::pending, io, rc::Rc, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Semaphore, mpsc},
    task::spawn_local,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// How long a connection may take to say who it is.
const HELLO_DEADLINE: Duration = Duration::from_secs(10);
/// How long answers are waited for after the lab has said its last word.
const LAST_ANSWERS: Duration = Duration::from_secs(150);
/// From this number of runs on those that are over are forgotten, with the events that no lab asked for.
const FINISHED_MAX: usize = 4 * RUNS_MAX;
/// Bytes read at once.
const READ_BYTES: usize = 64 * 1024;

/// The run of a connection, and how the connection learns that another took it over.
struct Attached {
    run: Rc<Run>,
    token: CancellationToken,
    seen: u64,
}

/// Serves a connection until it ends.
pub(crate) async fn serve(agent: Rc<Agent>, stream: UnixStream) {
    let (reader, mut writer) = stream.into_split();
    let mut incoming = Incoming::new(reader);
    let hello = match timeout(HELLO_DEADLINE, incoming.next()).await {
        Ok(Ok(Some(order))) => order,
        // Whoever connects and says nothing gets no answer.
        Ok(Ok(None)) | Err(_) => return,
        Ok(Err(error)) => {
            // It may have gone.
            let _ = send(&mut writer, &protest(&error)).await;
            return;
        }
    };
    let id = hello.id;
    let (answer, attached) = match welcome(&agent, hello.body) {
        Ok((answer, attached)) => (Answer::Hello(Box::new(answer)), attached),
        Err(refusal) => {
            let _ = send(
                &mut writer,
                &Reply::Answer {
                    id,
                    body: refusal.into(),
                },
            )
            .await;
            return;
        }
    };
    let token = attached
        .as_ref()
        .map(|attached| attached.token.clone())
        .unwrap_or_default();
    let run = attached.as_ref().map(|attached| Rc::clone(&attached.run));
    if send(&mut writer, &Reply::Answer { id, body: answer }).await.is_ok() {
        tokio::select! {
            () = exchange(&agent, incoming, writer, attached) => {}
            () = token.cancelled() => {}
        }
    }
    if let Some(run) = run {
        run.detach(&token);
    }
}

/// Reads orders and writes answers and events until the lab is done or gone.
async fn exchange(agent: &Rc<Agent>, mut incoming: Incoming, writer: OwnedWriteHalf, attached: Option<Attached>) {
    let run = attached.as_ref().map(|attached| Rc::clone(&attached.run));
    let (answers, outbox) = mpsc::channel(ORDERS_IN_FLIGHT_MAX);
    let slow = Arc::new(Semaphore::new(ORDERS_IN_FLIGHT_MAX));
    let reading = async move {
        loop {
            let order = match incoming.next().await {
                Ok(Some(order)) => order,
                Ok(None) => return,
                Err(error) => {
                    let _ = answers.send(protest(&error)).await;
                    return;
                }
            };
            let received_us = now_us();
            let (agent, run, answers) = (Rc::clone(agent), run.clone(), answers.clone());
            let Ok(permit) = Arc::clone(&slow).acquire_owned().await else {
                return;
            };
            let is_slow = is_slow(&order.body);
            let obeying = async move {
                let body = obey(&agent, run.as_ref(), order.body, received_us).await;
                // Nobody listens any more when the connection has ended.
                let _ = answers.send(Reply::Answer { id: order.id, body }).await;
                drop(permit);
            };
            if is_slow {
                spawn_local(obeying);
            } else {
                obeying.await;
            }
        }
    };
    let writing = write(writer, outbox, attached);
    tokio::pin!(writing);
    tokio::select! {
        () = reading => {
            // What was ordered is still answered, and the lab may take its time to read it.
            let _ = timeout(LAST_ANSWERS, writing).await;
        }
        () = &mut writing => {}
    }
}

/// Writes answers as they come and events as they happen; ends with the last answer.
async fn write(mut writer: OwnedWriteHalf, mut outbox: mpsc::Receiver<Reply>, mut attached: Option<Attached>) {
    loop {
        let reply = tokio::select! {
            biased;
            answer = outbox.recv() => match answer {
                Some(answer) => answer,
                None => return,
            },
            event = next_event(attached.as_ref()) => event,
        };
        if send(&mut writer, &reply).await.is_err() {
            return;
        }
        if let (Reply::Event(event), Some(attached)) = (&reply, &mut attached) {
            attached.seen = event.sequence;
        }
    }
}

async fn next_event(attached: Option<&Attached>) -> Reply {
    match attached {
        Some(attached) => Reply::Event(attached.run.next_event(attached.seen).await),
        None => pending().await,
    }
}

async fn send(writer: &mut OwnedWriteHalf, reply: &Reply) -> io::Result<()> {
    let frame = match encode_frame(reply) {
        Ok(frame) => frame,
        // An answer that is too long is replaced by one that says so; an event that is too long is left out.
        Err(error) => match reply {
            Reply::Answer { id, .. } => encode_frame(&refusal_of(*id, &error)).map_err(io::Error::other)?,
            Reply::Event(_) => return Ok(()),
        },
    };
    writer.write_all(&frame).await
}

fn refusal_of(id: u64, error: &FrameError) -> Reply {
    let body = Refusal::new(What::Order, error.to_string()).into();
    Reply::Answer { id, body }
}

/// The answer to bytes that are no order; it has the number 0.
fn protest(error: &io::Error) -> Reply {
    let body = Refusal::new(What::Order, error.to_string()).into();
    Reply::Answer { id: 0, body }
}

/// Begins the run of a hello, or takes it over.
fn welcome(agent: &Rc<Agent>, body: OrderBody) -> Result<(HelloAnswer, Option<Attached>), Refusal> {
    body.check()?;
    let OrderBody::Hello(hello) = body else {
        return Err(Refusal::new(What::Order, "the first order of a connection is a hello"));
    };
    let Hello { protocol, version, run } = hello;
    if protocol != PROTOCOL {
        let message = format!(
            "lab {version} speaks protocol {protocol}, agent {} speaks {PROTOCOL}\n  help: start the agent that came with \
             the lab",
            env!("CARGO_PKG_VERSION")
        );
        return Err(Refusal::new(What::Version, message));
    }
    let (mut resumed, mut missed, mut nodes) = (false, 0, Vec::new());
    let attached = match &run {
        Some(hello) => {
            let (run, known) = known_or_begun(agent, hello)?;
            (resumed, missed, nodes) = (known, run.missed(hello.last_event), run.node_statuses());
            Some(Attached {
                token: run.attach(&hello.policy),
                // Numbers of another agent's events mean nothing here.
                seen: if known { hello.last_event } else { 0 },
                run,
            })
        }
        None => None,
    };
    let answer = HelloAnswer {
        protocol: PROTOCOL,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        program: agent.program,
        pid: std::process::id(),
        now_us: now_us(),
        facts: host_facts(agent.root.path(), &agent.groups),
        resumed,
        missed: if resumed { missed } else { 0 },
        nodes,
    };
    Ok((answer, attached))
}

/// The run, and whether it was known. The lease of one that still lives is renewed.
fn known_or_begun(agent: &Rc<Agent>, hello: &RunHello) -> Result<(Rc<Run>, bool), Refusal> {
    agent.store.raise_minimum(hello.policy.sequence_min)?;
    let known = agent.runs.borrow().get(&hello.run).cloned();
    if let Some(run) = known {
        if !run.is_over() {
            run.renew(hello.lease_ms)?;
        }
        agent.note(&format!("a lab is back for run {}", run.name()));
        return Ok((run, true));
    }
    let living = agent.runs.borrow().values().filter(|run| !run.is_over()).count();
    if living >= RUNS_MAX {
        let message =
            format!("{RUNS_MAX} runs live on this host already\n  help: stop one; `regatta orphans` lists them");
        return Err(Refusal::new(What::Busy, message));
    }
    if agent.runs.borrow().len() >= FINISHED_MAX {
        agent
            .runs
            .borrow_mut()
            .retain(|_, run| !run.is_over() || run.is_running());
    }
    let folder = agent.root.run(&hello.run);
    make_private(&folder).map_err(refused(format!("the folder of run `{}`", hello.run)))?;
    let run = Run::begin(agent, hello, folder);
    agent.runs.borrow_mut().insert(hello.run.clone(), Rc::clone(&run));
    agent.note(&format!("run {} began", run.name()));
    Ok((run, false))
}

/// Orders from a stream.
struct Incoming {
    reader: OwnedReadHalf,
    frames: Frames,
    buffer: Vec<u8>,
}

impl Incoming {
    fn new(reader: OwnedReadHalf) -> Self {
        Self {
            reader,
            frames: Frames::default(),
            buffer: vec![0; READ_BYTES],
        }
    }

    /// The next order; none at the end of the stream.
    async fn next(&mut self) -> io::Result<Option<Order>> {
        loop {
            let order = self
                .frames
                .take()
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            if order.is_some() {
                return Ok(order);
            }
            match self.reader.read(&mut self.buffer).await? {
                0 if self.frames.is_empty() => return Ok(None),
                0 => {
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the stream ended within a frame",
                    ));
                }
                length => self.frames.push(&self.buffer[..length]),
            }
        }
    }
}
