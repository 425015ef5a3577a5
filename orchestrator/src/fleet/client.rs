//! One host for the length of a run: orders to its agent and events from it, over connections that may be lost and are
//! made again while the lease lasts.

use super::{
    bootstrap::{self, Agent, Errand, GeneratorOutput},
    connect::Connections,
    error::HostError,
    link::Link,
    reach::{Reach, Watch},
    target::Target,
};
use regatta_fleet::{
    Answer, ClockBounds, Event, Hello, HelloAnswer, Lease, Name, NodeStatus, OrderBody, Policy, RunHello, What,
    limits::PROTOCOL,
};
use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    net::UnixStream,
    sync::{mpsc, watch},
};

/// How long an agent may take for what it does at once.
pub(crate) const ANSWER_DEADLINE: Duration = Duration::from_secs(20);
/// Pause between two attempts to come back to a host.
const RETURN_PAUSE: Duration = Duration::from_millis(500);
/// Exchanges of stamps after each renewal of the lease: the shortest counts.
const CLOCK_EXCHANGES: usize = 4;

/// What an agent must know of the run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RunTerms {
    /// The run.
    pub(crate) run: Name,
    /// How long nodes go on without word from the lab, in milliseconds.
    pub(crate) lease_ms: u64,
    /// What programs may run.
    pub(crate) policy: Policy,
}

/// What is heard of a host.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum HostNews {
    /// Something happened there.
    Event(Event),
    /// The connection is gone, and why.
    Lost(String),
    /// It is there again.
    Back {
        /// Whether the agent still knew the run; otherwise its nodes are gone.
        resumed: bool,
        /// Events that nobody will hear of any more.
        missed: u64,
        /// Nodes as they are now.
        nodes: Vec<NodeStatus>,
    },
    /// It is given up.
    Gone(String),
}

/// Where the connection is.
#[derive(Debug, Clone)]
enum Way {
    Open(Arc<Link>),
    Lost,
    Gone(HostError),
}

#[derive(Debug)]
struct Shared {
    connections: Arc<Connections>,
    target: Target,
    agent: Agent,
    terms: Option<RunTerms>,
    way: watch::Sender<Way>,
    hello: Mutex<HelloAnswer>,
    /// How it was reached first.
    reach: Reach,
    clock: Mutex<ClockBounds>,
    /// How often its bounds contradicted each other, which proves that a clock stepped.
    clock_steps: AtomicU32,
    /// Origin of the lab's clock in exchanges with the host.
    origin: Instant,
}

/// The lab's side of one host. Its connection ends with it.
#[derive(Debug)]
pub(crate) struct HostClient {
    shared: Arc<Shared>,
    keeper: tokio::task::JoinHandle<()>,
}

/// An open connection after the greeting.
struct Opened {
    link: Arc<Link>,
    events: mpsc::Receiver<Result<Event, HostError>>,
    hello: HelloAnswer,
    reach: Reach,
}

impl HostClient {
    /// Connects, puts the agent there where it is missing, and greets it. News go to `news` under the host's index.
    ///
    /// # Errors
    /// [`HostError`] says which of them failed.
    pub(crate) async fn open(
        connections: Arc<Connections>,
        target: Target,
        agent: Agent,
        terms: Option<RunTerms>,
        last_event: u64,
        news: mpsc::Sender<(u32, HostNews)>,
    ) -> Result<Self, HostError> {
        let opened = open(&connections, &target, &agent, terms.as_ref(), last_event).await?;
        let (way, _) = watch::channel(Way::Open(Arc::clone(&opened.link)));
        let shared = Arc::new(Shared {
            connections,
            target,
            agent,
            terms,
            way,
            hello: Mutex::new(opened.hello.clone()),
            reach: opened.reach,
            clock: Mutex::new(ClockBounds::UNKNOWN),
            clock_steps: AtomicU32::new(0),
            origin: Instant::now(),
        });
        let keeper = tokio::spawn(keep(Arc::clone(&shared), opened, last_event, news));
        Ok(Self { shared, keeper })
    }

    /// The host.
    pub(crate) fn target(&self) -> &Target {
        &self.shared.target
    }

    /// What the agent said of itself and its host when it was greeted last.
    pub(crate) fn hello(&self) -> HelloAnswer {
        self.shared.hello.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How long the steps took by which it was reached first.
    pub(crate) fn reach(&self) -> Reach {
        self.shared.reach
    }

    /// By how much the host's clock is ahead of the lab's.
    pub(crate) fn clock(&self) -> ClockBounds {
        *self.shared.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often one of the two clocks is known to have stepped.
    pub(crate) fn clock_steps(&self) -> u32 {
        self.shared.clock_steps.load(Ordering::Relaxed)
    }

    /// Gives an order and waits for the answer, over as many connections as it takes. An order that was cut off is given
    /// again: all but `Start` may be done twice.
    ///
    /// # Errors
    /// [`HostError`] when the agent refuses, the host is given up, or `deadline` passes.
    pub(crate) async fn order(&self, body: OrderBody, deadline: Duration) -> Result<Answer, HostError> {
        let until = Instant::now() + deadline;
        loop {
            let link = self.link(until, deadline).await?;
            let left = until.saturating_duration_since(Instant::now());
            match link.order(body.clone(), left).await {
                Err(HostError::Lost(_)) => self.leave(&link, until).await,
                other => return other,
            }
        }
    }

    /// As [`HostClient::order`] for an order that must not be done twice: when it is cut off, that is the answer.
    ///
    /// # Errors
    /// [`HostError::Lost`] when nobody knows whether it was done.
    pub(crate) async fn order_once(&self, body: OrderBody, deadline: Duration) -> Result<Answer, HostError> {
        let until = Instant::now() + deadline;
        let link = self.link(until, deadline).await?;
        let result = link.order(body, deadline).await;
        if matches!(result, Err(HostError::Lost(_))) {
            self.leave(&link, until).await;
        }
        result
    }

    /// The open connection, waited for.
    async fn link(&self, until: Instant, deadline: Duration) -> Result<Arc<Link>, HostError> {
        let mut way = self.shared.way.subscribe();
        let settled = tokio::time::timeout_at(until.into(), way.wait_for(|way| !matches!(way, Way::Lost)));
        match settled.await {
            Ok(Ok(way)) => match &*way {
                Way::Open(link) => Ok(Arc::clone(link)),
                Way::Gone(error) => Err(error.clone()),
                Way::Lost => Err(HostError::Lost(String::new())),
            },
            Ok(Err(_)) => Err(HostError::Lost(String::new())),
            Err(_) => Err(HostError::Late {
                step: "coming back to the host",
                after: deadline,
            }),
        }
    }

    /// Waits until `link` is known to be gone.
    async fn leave(&self, link: &Arc<Link>, until: Instant) {
        let mut way = self.shared.way.subscribe();
        let other = |way: &Way| !matches!(way, Way::Open(open) if Arc::ptr_eq(open, link));
        // Whoever comes next finds out the rest.
        let _ = tokio::time::timeout_at(until.into(), way.wait_for(other)).await;
    }
}

impl HostClient {
    /// A connection to a port of the host through its SSH connection, which is waited for.
    ///
    /// # Errors
    /// [`HostError`] when the host is given up, or `deadline` passes.
    pub(super) async fn reach_port(&self, to: SocketAddr, deadline: Duration) -> Result<UnixStream, HostError> {
        let until = Instant::now() + deadline;
        let link = self.link(until, deadline).await?;
        let left = until.saturating_duration_since(Instant::now());
        let late = HostError::Late {
            step: "reaching a port of the host",
            after: deadline,
        };
        let reaching = tokio::time::timeout(left, link.reach_port(to));
        reaching.await.unwrap_or(Err(late))
    }

    /// Begins a load generator on the host, over a session of its own: it ends with the streams.
    ///
    /// # Errors
    /// [`HostError`] as for any session.
    pub(crate) async fn generator(&self) -> Result<(GeneratorOutput, openssh::ChildStdin), HostError> {
        let Shared {
            connections,
            target,
            agent,
            ..
        } = &*self.shared;
        let session = connections.connect(target).await?;
        let streams = bootstrap::begin(session, target, agent, Errand::Generate).await?;
        Ok(streams.into_ends())
    }
}

impl Drop for HostClient {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// Makes a connection and greets the agent.
async fn open(
    connections: &Connections,
    target: &Target,
    agent: &Agent,
    terms: Option<&RunTerms>,
    last_event: u64,
) -> Result<Opened, HostError> {
    let (session, login) = connections.connect_timed(target).await?;
    let streams = bootstrap::begin(session, target, agent, Errand::Attach).await?;
    let (shell, upload) = streams.took;
    let mut watch = Watch::start();
    let (link, events) = Link::start(streams);
    let run = terms.map(|terms| RunHello {
        run: terms.run.clone(),
        lease_ms: terms.lease_ms,
        last_event,
        policy: terms.policy.clone(),
    });
    let body = OrderBody::Hello(Hello {
        protocol: PROTOCOL,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        run,
    });
    let Answer::Hello(hello) = link.order(body, ANSWER_DEADLINE).await? else {
        return Err(HostError::Unexpected);
    };
    if let Agent::Sent(sent) = agent
        && sent.digest() != hello.program
    {
        return Err(HostError::OtherAgent {
            running: hello.program.short(),
            sent: sent.digest().short(),
        });
    }
    Ok(Opened {
        link: Arc::new(link),
        events,
        hello: *hello,
        reach: Reach {
            login,
            shell,
            upload,
            greeting: watch.step(),
        },
    })
}

/// Keeps the connection until the host is given up.
async fn keep(shared: Arc<Shared>, mut opened: Opened, mut last: u64, news: mpsc::Sender<(u32, HostNews)>) {
    let index = shared.target.index;
    loop {
        let why = serve(&shared, &mut opened, &mut last, &news).await;
        shared.way.send_replace(Way::Lost);
        let _ = news.send((index, HostNews::Lost(why.to_string()))).await;
        let returned = match why {
            // The agent has already stopped the nodes.
            HostError::Refused { what: What::Lease, .. } => Err(why),
            _ => come_back(&shared, last).await,
        };
        match returned {
            Ok(again) => {
                *shared.hello.lock().unwrap_or_else(PoisonError::into_inner) = again.hello.clone();
                let back = HostNews::Back {
                    resumed: again.hello.resumed,
                    missed: again.hello.missed,
                    nodes: again.hello.nodes.clone(),
                };
                let _ = news.send((index, back)).await;
                shared.way.send_replace(Way::Open(Arc::clone(&again.link)));
                opened = again;
            }
            Err(error) => {
                let _ = news.send((index, HostNews::Gone(error.to_string()))).await;
                shared.way.send_replace(Way::Gone(error));
                return;
            }
        }
    }
}

/// Tries until the lease would have ended.
async fn come_back(shared: &Shared, last: u64) -> Result<Opened, HostError> {
    let lease_ms = shared.terms.as_ref().map_or(0, |terms| terms.lease_ms);
    let until = Instant::now() + Duration::from_millis(lease_ms);
    loop {
        let terms = shared.terms.as_ref();
        match open(&shared.connections, &shared.target, &shared.agent, terms, last).await {
            Ok(opened) => return Ok(opened),
            // A host with another key is not the one that was lost.
            Err(error @ (HostError::OtherKey | HostError::OtherAgent { .. })) => return Err(error),
            Err(error) if Instant::now() >= until => return Err(error),
            Err(_) => tokio::time::sleep(RETURN_PAUSE).await,
        }
    }
}

/// Passes events on and renews the lease; ends with the connection.
async fn serve(
    shared: &Shared,
    opened: &mut Opened,
    last: &mut u64,
    news: &mpsc::Sender<(u32, HostNews)>,
) -> HostError {
    let link = Arc::clone(&opened.link);
    let renewing = async {
        let Some(terms) = &shared.terms else {
            return std::future::pending().await;
        };
        let pause = Duration::from_millis(Lease::renewal_ms(terms.lease_ms));
        loop {
            if let Err(error) = look_at_clock(shared, &link).await {
                return error;
            }
            tokio::time::sleep(pause).await;
            let renew = OrderBody::Renew {
                lease_ms: terms.lease_ms,
            };
            if let Err(error) = link.order(renew, ANSWER_DEADLINE).await {
                return error;
            }
        }
    };
    let reading = async {
        loop {
            match opened.events.recv().await {
                // After a return the agent repeats what may not have arrived.
                Some(Ok(event)) if event.sequence <= *last => {}
                Some(Ok(event)) => {
                    *last = event.sequence;
                    let _ = news.send((shared.target.index, HostNews::Event(event))).await;
                }
                Some(Err(error)) => return error,
                None => return HostError::Lost(String::new()),
            }
        }
    };
    tokio::select! {
        error = renewing => error,
        error = reading => error,
    }
}

/// Narrows the bounds between the two clocks. A clock that has stepped begins anew.
async fn look_at_clock(shared: &Shared, link: &Link) -> Result<(), HostError> {
    let now_us = || shared.origin.elapsed().as_micros() as u64;
    for _ in 0..CLOCK_EXCHANGES {
        let order = OrderBody::Clock { sent_us: now_us() };
        let Answer::Clock {
            sent_us,
            received_us,
            answered_us,
        } = link.order(order, ANSWER_DEADLINE).await?
        else {
            return Err(HostError::Unexpected);
        };
        let mut clock = shared.clock.lock().unwrap_or_else(PoisonError::into_inner);
        let observed = clock.observe(sent_us, received_us, answered_us, now_us());
        *clock = observed.unwrap_or_else(|_| {
            shared.clock_steps.fetch_add(1, Ordering::Relaxed);
            ClockBounds::UNKNOWN
        });
    }
    Ok(())
}
