//! The switch: one thread that holds the devices of all namespaces and is the network between them.
//!
//! What becomes of each packet is decided by [`Fabric`]; this reads, waits until packets are due, writes, and measures
//! how late it was. Traffic between the lab and nodes passes without delay, loss or limit: clients stand beside the
//! nodes that they talk to.

use super::{
    meter::{Meter, Noticed, Part, Watch},
    namespace::Namespace,
    packet,
    tally::Tally,
};
use crate::load::{RunClock, settle};
use nix::{
    sys::{
        epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
        eventfd::{EfdFlags, EventFd},
        time::TimeSpec,
        timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
    },
    time::clock_gettime,
};
use regatta_link::{Change, Fabric, Fate, Loss, Model, Nanos, Partition, Schedule};
use regatta_report::model::NamedText;
use std::{
    io,
    net::Ipv4Addr,
    ops::ControlFlow,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
};
use tokio::sync::oneshot;
use tun_rs::SyncDevice;

/// Memory for packets on their way, in bytes; more are dropped and counted.
const PACKETS_BYTES_MAX: usize = 512 << 20;
/// Packets that one device hands over before the others get their turn.
const TURN_PACKETS: usize = 32;
/// Devices that are looked at in one go.
const EVENTS: usize = 64;
/// The largest packet with the header that devices put before it.
const BUFFER_BYTES: usize = packet::HEADER_BYTES + (64 << 10);
/// What epoll names the timer and the bell; devices have their positions.
const TIMER: u64 = u64::MAX;
const BELL: u64 = u64::MAX - 1;
const SECOND_NS: u64 = 1_000_000_000;

/// Randomness of the links.
pub(super) type LinkRng = rand::rngs::ChaCha8Rng;

/// What a switch is told while it runs.
enum Order {
    Part(u32, Partition),
    Change(u32, Change),
    Heal(u32),
    Report(oneshot::Sender<Tally>),
    Watch(Watch, mpsc::SyncSender<()>),
    Notice(mpsc::SyncSender<Option<Noticed>>),
    Stop,
}

/// Handle of the thread. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Switch {
    orders: mpsc::Sender<Order>,
    bell: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
    scheduling: Vec<NamedText>,
}

/// The network of a switch.
pub(super) struct Wiring {
    /// Namespaces of the nodes in their order, and the lab's as the last one.
    pub namespaces: Vec<(Ipv4Addr, SyncDevice)>,
    /// The links between the nodes.
    pub fabric: Fabric<LinkRng>,
    /// Whether packets are large, with a header before them.
    pub large: bool,
}

impl Switch {
    /// Starts the thread and waits until it serves.
    ///
    /// # Errors
    /// What the system refused.
    pub(super) fn start(wiring: Wiring) -> io::Result<Self> {
        let (orders, inbox) = mpsc::channel();
        let bell = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
        let engine = Engine::new(wiring, inbox, Arc::clone(&bell))?;
        let (ready, settled) = mpsc::sync_channel(1);
        let body = move || {
            // Whoever waits for this may have given up; then an order to stop is on its way.
            let _ = ready.send(settle("switch", true));
            engine.run();
        };
        let thread = thread::Builder::new().name("switch".to_owned()).spawn(body)?;
        let scheduling = settled
            .recv()
            .map_err(|_| io::Error::other("the switch ended at once"))?;
        Ok(Self {
            orders,
            bell,
            thread: Some(thread),
            scheduling,
        })
    }

    /// Parts the network until [`Switch::heal`] is called with the same key.
    pub(crate) fn part(&self, key: u32, partition: Partition) {
        self.order(Order::Part(key, partition));
    }

    /// Makes links worse until [`Switch::heal`] is called with the same key.
    pub(crate) fn change(&self, key: u32, change: Change) {
        self.order(Order::Change(key, change));
    }

    /// Ends what was begun with this key.
    pub(crate) fn heal(&self, key: u32) {
        self.order(Order::Heal(key));
    }

    /// What it has counted so far; none when its thread is gone.
    pub(crate) async fn tally(&self) -> Option<Tally> {
        let (reply, answer) = oneshot::channel();
        self.order(Order::Report(reply));
        answer.await.ok()
    }

    /// Watches the packets of a measurement from now on, instead of those of another one; blocks until it does.
    ///
    /// # Errors
    /// The thread is gone.
    pub(super) fn watch(&self, watch: Watch) -> io::Result<()> {
        let (reply, answer) = mpsc::sync_channel(1);
        self.order(Order::Watch(watch, reply));
        answer.recv().map_err(|_| gone())
    }

    /// What was noticed since [`Switch::watch`]; blocks for it.
    ///
    /// # Errors
    /// The thread is gone.
    pub(super) fn noticed(&self) -> io::Result<Noticed> {
        let (reply, answer) = mpsc::sync_channel(1);
        self.order(Order::Notice(reply));
        let noticed = answer.recv().map_err(|_| gone())?;
        noticed.ok_or_else(|| io::Error::other("the switch was not told what to watch"))
    }

    /// How its thread is scheduled.
    pub(crate) fn scheduling(&self) -> &[NamedText] {
        &self.scheduling
    }

    fn order(&self, order: Order) {
        // A thread that is gone shows by the packets that do not arrive, and by its tally.
        let _ = self.orders.send(order);
        let _ = self.bell.write(1);
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.order(Order::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn gone() -> io::Error {
    io::Error::other("the thread of the switch is gone")
}

/// A packet on its way.
struct Flight {
    from: u32,
    to: u32,
    bytes: Box<[u8]>,
    /// It has passed its receiver's card.
    has_arrived: bool,
}

/// What the thread works with.
struct Engine {
    addresses: Vec<Ipv4Addr>,
    devices: Vec<SyncDevice>,
    by_address: packet::Directory,
    fabric: Fabric<LinkRng>,
    /// Bytes before each packet.
    header: usize,
    schedule: Schedule<Flight>,
    tally: Tally,
    /// The measurement that is under way.
    meter: Option<Meter>,
    clock: RunClock,
    epoll: Epoll,
    timer: TimerFd,
    /// What the timer is set to.
    timer_at: Option<Nanos>,
    orders: mpsc::Receiver<Order>,
    bell: Arc<EventFd>,
    buffer: Vec<u8>,
}

impl Engine {
    fn new(wiring: Wiring, orders: mpsc::Receiver<Order>, bell: Arc<EventFd>) -> io::Result<Self> {
        let (addresses, devices): (Vec<Ipv4Addr>, Vec<SyncDevice>) = wiring.namespaces.into_iter().unzip();
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let timer = TimerFd::new(
            ClockId::CLOCK_MONOTONIC,
            TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK,
        )?;
        epoll.add(&timer, EpollEvent::new(EpollFlags::EPOLLIN, TIMER))?;
        epoll.add(&*bell, EpollEvent::new(EpollFlags::EPOLLIN, BELL))?;
        for (port, device) in (0..).zip(&devices) {
            epoll.add(device, EpollEvent::new(EpollFlags::EPOLLIN, port))?;
        }
        Ok(Self {
            by_address: packet::Directory::new(&addresses),
            addresses,
            devices,
            fabric: wiring.fabric,
            header: if wiring.large { packet::HEADER_BYTES } else { 0 },
            schedule: Schedule::new(PACKETS_BYTES_MAX),
            tally: Tally::new(),
            meter: None,
            clock: RunClock::start(),
            epoll,
            timer,
            timer_at: None,
            orders,
            bell,
            buffer: vec![0; BUFFER_BYTES],
        })
    }

    /// Serves until it is told to stop, or until the system refuses to wait.
    fn run(mut self) {
        let mut events = [EpollEvent::empty(); EVENTS];
        loop {
            self.release();
            let wait = self.set_timer();
            let ready = match self.epoll.wait(&mut events, wait) {
                Ok(ready) => ready,
                Err(nix::errno::Errno::EINTR) => 0,
                Err(_) => return,
            };
            for event in &events[..ready] {
                match event.data() {
                    // An expired timer is cleared by reading it; when it was set anew meanwhile there is nothing to read.
                    TIMER => {
                        let _ = self.timer.wait();
                        self.timer_at = None;
                    }
                    BELL => {
                        let _ = self.bell.read();
                        if self.obey().is_break() {
                            return;
                        }
                    }
                    port => self.take(port as usize),
                }
            }
        }
    }

    /// Lets the timer ring when the next packet is due; returns how long to wait for anything else.
    fn set_timer(&mut self) -> EpollTimeout {
        let Some(next) = self.schedule.next_at() else {
            return EpollTimeout::NONE;
        };
        let left = next.saturating_sub(self.clock.now_ns());
        if left == 0 {
            return EpollTimeout::ZERO;
        }
        if self.timer_at != Some(next) {
            let length = TimeSpec::new((left / SECOND_NS) as i64, (left % SECOND_NS) as i64);
            let set = self.timer.set(Expiration::OneShot(length), TimerSetTimeFlags::empty());
            if set.is_err() {
                // Without a timer: look again and again rather than be late.
                return EpollTimeout::ZERO;
            }
            self.timer_at = Some(next);
        }
        EpollTimeout::NONE
    }

    fn obey(&mut self) -> ControlFlow<()> {
        while let Ok(order) = self.orders.try_recv() {
            match order {
                Order::Part(key, partition) => self.fabric.part(key, partition),
                Order::Change(key, change) => self.fabric.change(key, change),
                Order::Heal(key) => self.fabric.heal(key),
                Order::Report(reply) => {
                    self.tally.cpu_ns = thread_cpu_ns();
                    let _ = reply.send(self.tally.clone());
                }
                // Whoever asked may have given up.
                Order::Watch(watch, reply) => {
                    self.meter = Some(Meter::new(watch));
                    let _ = reply.send(());
                }
                Order::Notice(reply) => {
                    let _ = reply.send(self.meter.take().map(Meter::noticed));
                }
                Order::Stop => return ControlFlow::Break(()),
            }
        }
        ControlFlow::Continue(())
    }

    /// Reads what a device has to hand over.
    fn take(&mut self, port: usize) {
        for _ in 0..TURN_PACKETS {
            let mut buffer = std::mem::take(&mut self.buffer);
            let read = self.devices[port].recv(&mut buffer);
            if let Ok(length) = read {
                self.accept(port as u32, &buffer[..length]);
            }
            self.buffer = buffer;
            if read.is_err() {
                return;
            }
        }
    }

    fn accept(&mut self, from: u32, bytes: &[u8]) {
        // What is no IPv4 is the kernel looking for routers, which nobody sent and nobody misses.
        let Some(ends) = packet::ends(bytes.get(self.header..).unwrap_or_default()) else {
            return;
        };
        let honest = Some(ends).filter(|ends| self.addresses[from as usize] == ends.source);
        let Some(to) = honest.and_then(|ends| self.by_address.port(ends.destination)) else {
            self.tally.strays += 1;
            return;
        };
        let now = self.clock.now_ns();
        let waits = self
            .meter
            .as_ref()
            .map_or(0, |_| self.fabric.waits_to_leave(now, from, to));
        let fate = self.fabric.send(now, from, to, bytes.len() - self.header);
        self.notice((from, to), bytes, (fate == Fate::Lost(Loss::Queue), waits), Meter::left);
        match fate {
            Fate::Lost(why) => self.tally.lost(why),
            Fate::Arrives { at, again } => {
                self.fly(now, at, from, to, bytes);
                if let Some(again) = again {
                    self.fly(now, again, from, to, bytes);
                }
            }
        }
    }

    /// Sends a packet on its way; one that is due and has nobody before it arrives at once.
    fn fly(&mut self, now: Nanos, at: Nanos, from: u32, to: u32, bytes: &[u8]) {
        let waits = self.schedule.next_at().is_some_and(|next| next <= now);
        if at <= now && !waits && !self.fabric.has_rates() {
            self.deliver(at, from, to, bytes);
            return;
        }
        let flight = Flight {
            from,
            to,
            bytes: bytes.into(),
            has_arrived: false,
        };
        if self.schedule.push(at, bytes.len(), flight).is_err() {
            self.tally.crowded_out += 1;
        }
    }

    /// Hands over everything that is due.
    fn release(&mut self) {
        while let Some((at, flight)) = self.schedule.pop(self.clock.now_ns()) {
            self.arrive(at, flight);
        }
    }

    /// A packet is due at its receiver's card, or has passed it.
    fn arrive(&mut self, at: Nanos, flight: Flight) {
        if flight.has_arrived || !self.fabric.has_rates() {
            return self.deliver(at, flight.from, flight.to, &flight.bytes);
        }
        let (from, to) = (flight.from, flight.to);
        let waits = self.meter.as_ref().map_or(0, |_| self.fabric.waits_to_arrive(at, to));
        let passed = self.fabric.receive(at, to, flight.bytes.len() - self.header);
        self.notice((from, to), &flight.bytes, (passed.is_none(), waits), Meter::arrived);
        match passed {
            None => self.tally.lost(Loss::Queue),
            Some(out) if out <= at => self.deliver(at, flight.from, flight.to, &flight.bytes),
            Some(out) => {
                let length = flight.bytes.len();
                let flight = Flight {
                    has_arrived: true,
                    ..flight
                };
                if self.schedule.push(out, length, flight).is_err() {
                    self.tally.crowded_out += 1;
                }
            }
        }
    }

    /// Tells the measurement that is under way about a packet that comes to a card.
    fn notice(
        &mut self,
        (from, to): (u32, u32),
        bytes: &[u8],
        (is_dropped, waits): (bool, Nanos),
        passes: impl Fn(&mut Meter, (u32, u32), Option<Part>, usize),
    ) {
        let Some(meter) = &mut self.meter else { return };
        let packet = bytes.get(self.header..).unwrap_or_default();
        let part = meter.part(from, to, packet);
        if is_dropped {
            meter.dropped(part);
        } else {
            meter.waits(part, waits);
            passes(meter, (from, to), part, packet.len());
        }
    }

    fn deliver(&mut self, at: Nanos, from: u32, to: u32, bytes: &[u8]) {
        let late = self.clock.now_ns().saturating_sub(at);
        if self.devices[to as usize].send(bytes).is_err() {
            self.tally.refused += 1;
            return;
        }
        let lab = self.devices.len() as u32 - 1;
        if from == lab || to == lab {
            self.tally.lab_packets += 1;
        } else {
            self.tally.delivered(bytes.len() - self.header, late);
        }
    }
}

/// Time that the calling thread has been on a processor.
fn thread_cpu_ns() -> u64 {
    clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID)
        .map_or(0, |time| time.tv_sec() as u64 * SECOND_NS + time.tv_nsec() as u64)
}

/// The devices of `namespaces` with their addresses, and the handles of the namespaces.
pub(super) fn unplug(
    addresses: &[Ipv4Addr],
    namespaces: Vec<Namespace>,
) -> (Vec<(Ipv4Addr, SyncDevice)>, Vec<super::Place>) {
    let pairs = addresses.iter().zip(namespaces);
    pairs
        .map(|(&address, Namespace { place, device })| ((address, device), place))
        .unzip()
}

/// Links that follow `model`, with the draws of `seed`.
pub(super) fn fabric(model: Model, seed: u64) -> Fabric<LinkRng> {
    Fabric::new(model, regatta_base::seed::rng(seed, "links"))
}
