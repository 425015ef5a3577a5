//! Measures the links between namespaces through the same devices and the same switch as the nodes.

use crate::load::{RunClock, settle};
use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};
use regatta_link::{Nanos, Observed, Wanted};
use regatta_process::Place;
use std::{
    collections::BTreeSet,
    io::{self, ErrorKind},
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    thread,
    time::Duration,
};

/// Packets that travel alone, and the time between two of them.
const ALONE: (u32, Nanos) = (10, 3_000_000);
/// Packets that are counted for losses, and the time between two of them.
const COUNTED: (u32, Nanos) = (500, 50_000);
/// Bytes of a packet that is not full: a number and a time.
const SMALL_BYTES: usize = 12;
/// Payload of a full packet, and what the headers of UDP and IP add.
const FULL_BYTES: usize = 1472;
const FULL_PACKET_BITS: f64 = 12_000.0;
/// A burst takes this long on the link, within these numbers of packets.
const BURST_S: f64 = 0.04;
const BURST_PACKETS: (f64, f64) = (16.0, 300.0);
/// A link is the limit of a burst that was sent in less than this share of the time that it takes on the link.
const FASTER: f64 = 0.5;
/// How long a packet is waited for after the last one, beside twice the delay.
const PATIENCE: Duration = Duration::from_millis(300);
/// Room for packets that the measuring thread has not read yet.
const RECEIVE_BYTES: usize = 8 << 20;

/// What to measure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Probe {
    /// Node that sends.
    pub from: u32,
    /// Node that receives.
    pub to: u32,
    /// What is expected: how long to wait and how much to send depend on it.
    pub wanted: Wanted,
    /// Only the delay, with a handful of packets: beside a load.
    pub light: bool,
}

impl Probe {
    fn counted(&self) -> u32 {
        if self.light { 0 } else { COUNTED.0 }
    }

    fn burst(&self) -> u32 {
        let Some(rate) = self.wanted.rate_bits.filter(|_| !self.light) else {
            return 0;
        };
        let (least, most) = BURST_PACKETS;
        (rate as f64 * BURST_S / FULL_PACKET_BITS).clamp(least, most) as u32
    }
}

/// One end of a measurement.
#[derive(Debug, Clone, Copy)]
struct End<'a> {
    place: &'a Place,
    address: Ipv4Addr,
}

/// Measures every direction of `probes`, one after the other: measurements at one time would disturb each other.
///
/// # Errors
/// What the system said, and that a node does not exist.
pub(super) fn measure_all(probes: &[Probe], places: &[Place], addresses: &[Ipv4Addr]) -> io::Result<Vec<Observed>> {
    let end = |node: u32| {
        let place = places.get(node as usize).zip(addresses.get(node as usize));
        let end = place.map(|(place, &address)| End { place, address });
        end.ok_or_else(|| io::Error::new(ErrorKind::NotFound, "no such node"))
    };
    let work = || {
        // Threads that it starts have its priority, so that none has to ask for it while packets are under way.
        settle("probe", true);
        probes
            .iter()
            .map(|probe| measure(probe, end(probe.from)?, end(probe.to)?))
            .collect()
    };
    thread::scope(|scope| scope.spawn(work).join()).unwrap_or_else(|_| Err(panicked()))
}

fn panicked() -> io::Error {
    io::Error::other("a measuring thread panicked")
}

/// Measures the direction of `probe` between its ends; takes some hundred milliseconds.
///
/// # Errors
/// What the system said.
fn measure(probe: &Probe, from: End<'_>, to: End<'_>) -> io::Result<Observed> {
    let clock = RunClock::start();
    let patience = PATIENCE + Duration::from_nanos(probe.wanted.round_trip_ns().saturating_mul(2));
    let receiver = open(to, patience)?;
    let sender = open(from, patience)?;
    sender.connect(receiver.local_addr()?)?;
    thread::scope(|scope| {
        let receiving = scope.spawn(|| receive(probe, &receiver, clock));
        let hearing = scope.spawn(|| hear(&sender, clock));
        let sending = scope.spawn(|| send(probe, &sender, clock));
        let burst_ns = sending.join().map_err(|_| panicked())??;
        let arrived = receiving.join().map_err(|_| panicked())??;
        let answers = hearing.join().map_err(|_| panicked())??;
        Ok(Observed {
            round_trips_ns: answers.times_ns(),
            ..arrived.observed(probe, burst_ns)
        })
    })
}

/// A socket in the namespace of an end.
fn open(end: End<'_>, patience: Duration) -> io::Result<UdpSocket> {
    let open = || {
        end.place.enter()?;
        let socket = UdpSocket::bind((end.address, 0))?;
        setsockopt(&socket, RcvBufForce, &RECEIVE_BYTES)?;
        socket.set_read_timeout(Some(patience))?;
        Ok(socket)
    };
    // A thread of its own: where this one is stays as it is.
    thread::scope(|scope| {
        let opened = scope.spawn(open).join();
        opened.unwrap_or_else(|_| Err(panicked()))
    })
}

/// Sends all packets; returns how long the burst took to send, in nanoseconds.
fn send(probe: &Probe, socket: &UdpSocket, clock: RunClock) -> io::Result<Nanos> {
    let mut number = 0;
    for (count, gap) in [ALONE, (probe.counted(), COUNTED.1)] {
        let start = clock.now_ns();
        for step in 0..count {
            clock.sleep_until(start + u64::from(step) * gap);
            send_one(socket, number, clock, SMALL_BYTES)?;
            number += 1;
        }
    }
    let start = clock.now_ns();
    for _ in 0..probe.burst() {
        send_one(socket, number, clock, FULL_BYTES)?;
        number += 1;
    }
    Ok(clock.now_ns() - start)
}

fn send_one(socket: &UdpSocket, number: u32, clock: RunClock, bytes: usize) -> io::Result<()> {
    let mut packet = vec![0; bytes];
    packet[..4].copy_from_slice(&number.to_be_bytes());
    packet[4..SMALL_BYTES].copy_from_slice(&clock.now_ns().to_be_bytes());
    socket.send(&packet).map(drop)
}

/// A packet that arrived.
#[derive(Debug, Clone, Copy)]
struct Arrival {
    number: u32,
    sent_ns: Nanos,
    at_ns: Nanos,
}

#[derive(Debug, Default)]
struct Arrivals(Vec<Arrival>);

/// Reads until all packets are there or none has come for a while, and answers those that travel alone.
fn receive(probe: &Probe, socket: &UdpSocket, clock: RunClock) -> io::Result<Arrivals> {
    let all = (ALONE.0 + probe.counted() + probe.burst()) as usize;
    collect(socket, clock, all, |packet, arrival, from| {
        if arrival.number < ALONE.0 {
            socket.send_to(packet, from)?;
        }
        Ok(())
    })
}

/// Reads the answers to packets that travel alone.
fn hear(socket: &UdpSocket, clock: RunClock) -> io::Result<Arrivals> {
    collect(socket, clock, ALONE.0 as usize, |_, _, _| Ok(()))
}

/// Reads until `all` packets are there or none has come for a while; hands each one on as it comes.
fn collect(
    socket: &UdpSocket,
    clock: RunClock,
    all: usize,
    mut taken: impl FnMut(&[u8], &Arrival, SocketAddr) -> io::Result<()>,
) -> io::Result<Arrivals> {
    let mut seen = BTreeSet::new();
    let mut arrivals = Arrivals::default();
    let mut packet = [0; FULL_BYTES];
    while seen.len() < all {
        let (length, from) = match socket.recv_from(&mut packet) {
            Ok(received) => received,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
            Err(error) => return Err(error),
        };
        let at_ns = clock.now_ns();
        let Some(arrival) = read(&packet[..length], at_ns) else {
            continue;
        };
        // A duplicate is no second arrival.
        if seen.insert(arrival.number) {
            taken(&packet[..length], &arrival, from)?;
            arrivals.0.push(arrival);
        }
    }
    Ok(arrivals)
}

fn read(packet: &[u8], at_ns: Nanos) -> Option<Arrival> {
    Some(Arrival {
        number: u32::from_be_bytes(packet.get(..4)?.try_into().ok()?),
        sent_ns: u64::from_be_bytes(packet.get(4..SMALL_BYTES)?.try_into().ok()?),
        at_ns,
    })
}

impl Arrivals {
    fn observed(&self, probe: &Probe, burst_ns: Nanos) -> Observed {
        let small = ALONE.0 + probe.counted();
        Observed {
            delays_ns: self.times_ns(),
            sent: u64::from(small),
            received: self.0.iter().filter(|arrival| arrival.number < small).count() as u64,
            rate: self.rate(probe, small, burst_ns),
            ..Observed::default()
        }
    }

    /// How long packets that travelled alone were under way, by the clock of both ends.
    fn times_ns(&self) -> Vec<Nanos> {
        let alone = self.0.iter().filter(|arrival| arrival.number < ALONE.0);
        alone
            .map(|arrival| arrival.at_ns.saturating_sub(arrival.sent_ns))
            .collect()
    }

    /// Rate at which the burst arrived, when the link and not the sender was its limit.
    fn rate(&self, probe: &Probe, small: u32, burst_ns: Nanos) -> Option<f64> {
        let wanted = probe.wanted.rate_bits? as f64;
        let burst = || self.0.iter().filter(|arrival| arrival.number >= small);
        let first = burst().min_by_key(|arrival| arrival.number)?;
        let last = burst().max_by_key(|arrival| arrival.number)?;
        let wire_s = f64::from(probe.burst()) * FULL_PACKET_BITS / wanted;
        let took_s = last.at_ns.checked_sub(first.at_ns).filter(|took| *took > 0)? as f64 / 1e9;
        let bits = f64::from(last.number - first.number) * FULL_PACKET_BITS;
        (burst_ns as f64 / 1e9 < wire_s * FASTER).then_some(bits / took_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use regatta_link::Model;

    fn probe(rate_bits: Option<u64>, light: bool) -> Probe {
        Probe {
            from: 0,
            to: 1,
            wanted: Wanted {
                rate_bits,
                ..Wanted::of(&Model::plain(2), 0, 1)
            },
            light,
        }
    }

    #[test]
    fn bursts_suit_the_rate_and_light_probes_have_none() {
        let packets = [1_000_000, 10_000_000, 1_000_000_000].map(|rate| probe(Some(rate), false).burst());
        assert_eq!(packets, [16, 33, 300]);
        assert_eq!((probe(None, false).burst(), probe(Some(1), true).burst()), (0, 0));
        assert_eq!(probe(None, true).counted(), 0);
    }

    #[test]
    fn a_rate_is_judged_only_where_the_link_was_the_limit() {
        let burst = probe(Some(12_000_000), false);
        let small = ALONE.0 + burst.counted();
        // A packet each millisecond.
        let arrival = |step: u32| Arrival {
            number: small + step,
            sent_ns: 0,
            at_ns: u64::from(step) * 1_000_000,
        };
        let arrivals = Arrivals((0..burst.burst()).map(arrival).collect());
        assert_eq!(arrivals.rate(&burst, small, 100_000), Some(12_000_000.0));
        assert_eq!(
            arrivals.rate(&burst, small, 39_000_000),
            None,
            "the sender was no faster"
        );
    }

    proptest! {
        #[test]
        fn arbitrary_packets_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = read(&bytes, 0);
        }
    }
}
