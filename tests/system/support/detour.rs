//! A network that is not the lab's: packets between two namespaces that somebody led past the switch.

use nix::{
    poll::{PollFd, PollFlags, ppoll},
    sched::{CloneFlags, setns},
};
use std::{
    collections::VecDeque,
    fs::File,
    net::Ipv4Addr,
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

/// Longest wait of a relay that has nothing to do until it looks whether it is to end.
const TICK: Duration = Duration::from_millis(20);
/// The number of UDP, and where it stands in a packet.
const UDP: u8 = 17;
const PROTOCOL_AT: usize = 9;
/// Most packets that are on their way; more are dropped.
const PACKETS_MAX: usize = 10_000;

/// What becomes of the packets of one direction.
#[derive(Debug, Clone, Copy)]
pub struct Way {
    pub delay: Duration,
    /// Each so many packets of a hundred are lost.
    pub loss_percent: u32,
    /// Bits per second; none without a limit.
    pub rate_bits: Option<u32>,
}

/// One end: a process in its namespace, and its address.
#[derive(Debug, Clone, Copy)]
pub struct End {
    pub pid: u32,
    pub address: Ipv4Addr,
}

/// Packets between two ends take this way instead of the switch until it is dropped.
pub struct Detour {
    ends: Arc<AtomicBool>,
    datagrams: Arc<AtomicU32>,
    relays: Vec<JoinHandle<()>>,
}

impl Detour {
    /// Takes over what both ends send each other.
    pub fn between((from, there): (End, Way), (to, back): (End, Way)) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let datagrams = Arc::new(AtomicU32::new(0));
        let near = Arc::new(device(from, to.address));
        let far = Arc::new(device(to, from.address));
        let relay = |from: &Arc<SyncDevice>, to: &Arc<SyncDevice>, way, datagrams: &Arc<AtomicU32>| {
            let (from, to, ends, datagrams) = (
                Arc::clone(from),
                Arc::clone(to),
                Arc::clone(&ends),
                Arc::clone(datagrams),
            );
            thread::spawn(move || relay((&from, &to), way, &ends, &datagrams))
        };
        let not_counted = Arc::new(AtomicU32::new(0));
        let relays = vec![
            relay(&near, &far, there, &datagrams),
            relay(&far, &near, back, &not_counted),
        ];
        Self {
            ends,
            datagrams,
            relays,
        }
    }

    /// UDP packets that came from the first end so far, lost ones included: nodes send none, measurements do.
    pub fn datagrams(&self) -> u32 {
        self.datagrams.load(Ordering::Relaxed)
    }
}

impl Drop for Detour {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        for relay in self.relays.drain(..) {
            relay.join().unwrap();
        }
    }
}

/// A device in the namespace of `end` that takes what it sends to `other`; gone with its descriptor, and its route with it.
fn device(end: End, other: Ipv4Addr) -> SyncDevice {
    let make = || {
        let place = File::open(format!("/proc/{}/ns/net", end.pid)).unwrap();
        setns(place, CloneFlags::CLONE_NEWNET).unwrap();
        let device = DeviceBuilder::new()
            .layer(Layer::L3)
            .ipv4(end.address, 32, Some(other))
            .build_sync()
            .unwrap();
        device.set_nonblocking(true).unwrap();
        device
    };
    // The thread that enters the namespace ends there.
    thread::scope(|scope| scope.spawn(make).join().unwrap())
}

/// Carries packets one way until it is told to end.
fn relay((from, to): (&SyncDevice, &SyncDevice), way: Way, ends: &AtomicBool, datagrams: &AtomicU32) {
    let mut on_their_way: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
    let (mut free_at, mut count) = (Instant::now(), 0_u32);
    let mut buffer = vec![0; 1 << 16];
    while !ends.load(Ordering::Relaxed) {
        while let Ok(length) = from.recv(&mut buffer) {
            count += 1;
            datagrams.fetch_add(u32::from(buffer[PROTOCOL_AT] == UDP), Ordering::Relaxed);
            // Spread evenly: 37 and 100 have no factor in common.
            if count.wrapping_mul(37) % 100 < way.loss_percent || on_their_way.len() >= PACKETS_MAX {
                continue;
            }
            let wire_s = way.rate_bits.map_or(0.0, |rate| length as f64 * 8.0 / f64::from(rate));
            free_at = free_at.max(Instant::now()) + Duration::from_secs_f64(wire_s);
            on_their_way.push_back((free_at + way.delay, buffer[..length].to_vec()));
        }
        while let Some((_, packet)) = on_their_way.pop_front_if(|(due, _)| *due <= Instant::now()) {
            // A receiver whose queue is full drops packets, as any does.
            let _ = to.send(&packet);
        }
        let next = on_their_way
            .front()
            .map(|(due, _)| due.saturating_duration_since(Instant::now()));
        let wait = next.unwrap_or(TICK).min(TICK);
        // A signal ends the wait early, and it looks again.
        let _ = ppoll(
            &mut [PollFd::new(from.as_fd(), PollFlags::POLLIN)],
            Some(wait.into()),
            None,
        );
    }
}
