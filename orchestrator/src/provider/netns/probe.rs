//! Measures the links between namespaces through the same devices and the same switch as the nodes.

use super::{
    meter::{Noticed, Watch},
    switch::Switch,
};
use crate::load::{RunClock, settle};
use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};
use regatta_link::{Nanos, Observed, Rate, Wanted};
use regatta_process::Place;
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, ErrorKind},
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    thread,
    time::Duration,
};

/// Packets that travel alone, and the time between two of them.
const ALONE: (u32, Nanos) = (10, 3_000_000);
/// Packets that are counted for losses, and the time between two of them; and the same beside a load.
const COUNTED: (u32, Nanos) = (500, 50_000);
const COUNTED_LIGHT: (u32, Nanos) = (100, 1_000_000);
/// Bytes of a packet that is not full: a number and a time.
const SMALL_BYTES: usize = 12;
/// Payload of a full packet, and its bits with headers.
const FULL_BYTES: usize = 1472;
const FULL_PACKET_BITS: f64 = 12_000.0;
/// What the headers of UDP and IP add to a packet.
const HEADER_BYTES: usize = 28;
/// A burst takes this long on the link, within these numbers of packets; and the same beside a load.
const BURST: (f64, u32, u32) = (0.04, 16, 300);
const BURST_LIGHT: (f64, u32, u32) = (0.012, 8, 64);
/// A link is the limit of a burst that was sent in less than this share of the time that it takes on the link.
const FASTER: f64 = 0.5;
/// A burst is taken to have lasted this share of what was seen at least, however much the delay varies.
const SHORTEST: f64 = 0.1;
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
    /// With few packets: beside a load.
    pub light: bool,
}

impl Probe {
    fn counted(&self) -> (u32, Nanos) {
        if self.light { COUNTED_LIGHT } else { COUNTED }
    }

    /// Packets that travel alone and those that are counted.
    fn small(&self) -> u32 {
        ALONE.0 + self.counted().0
    }

    fn burst(&self) -> u32 {
        let Some(rate) = self.wanted.rate_bits else {
            return 0;
        };
        let (seconds, least, most) = if self.light { BURST_LIGHT } else { BURST };
        ((rate as f64 * seconds / FULL_PACKET_BITS) as u32).clamp(least, most)
    }

    /// Packets that it takes, answers included, and their bytes.
    pub(crate) fn cost(&self) -> (u64, u64) {
        let small = u64::from(ALONE.0 + self.small());
        let burst = u64::from(self.burst());
        let bytes = small * (SMALL_BYTES + HEADER_BYTES) as u64 + burst * (FULL_BYTES + HEADER_BYTES) as u64;
        (small + burst, bytes)
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
pub(super) fn measure_all(
    probes: &[Probe],
    (places, addresses): (&[Place], &[Ipv4Addr]),
    switch: &Switch,
) -> io::Result<Vec<Observed>> {
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
            .map(|probe| measure(probe, (end(probe.from)?, end(probe.to)?), switch))
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
fn measure(probe: &Probe, (from, to): (End<'_>, End<'_>), switch: &Switch) -> io::Result<Observed> {
    let clock = RunClock::start();
    let patience = PATIENCE + Duration::from_nanos(probe.wanted.round_trip_ns().saturating_mul(2));
    let receiver = open(to, patience)?;
    let sender = open(from, patience)?;
    sender.connect(receiver.local_addr()?)?;
    switch.watch(Watch {
        from: (probe.from, sender.local_addr()?.port()),
        to: (probe.to, receiver.local_addr()?.port()),
        alone: ALONE.0,
        burst: probe.small(),
    })?;
    let measured = thread::scope(|scope| {
        let receiving = scope.spawn(|| receive(probe, &receiver, clock));
        let hearing = scope.spawn(|| hear(&sender, clock));
        let burst_ns = send(probe, &sender, clock);
        let arrived = receiving.join().map_err(|_| panicked())?;
        let answers = hearing.join().map_err(|_| panicked())?;
        io::Result::Ok((burst_ns?, arrived?, answers?))
    });
    // Whatever came of it, the switch stops watching.
    let noticed = switch.noticed()?;
    let (burst_ns, arrived, answers) = measured?;
    Ok(observed(probe, &noticed, burst_ns, (&arrived, &answers)))
}

/// What arrivals, answers and the switch say together.
fn observed(probe: &Probe, noticed: &Noticed, burst_ns: Nanos, heard: (&Arrivals, &Arrivals)) -> Observed {
    let (arrived, answers) = heard;
    // Only a wait for a card that the scenario limits is none of the delay's.
    let waits = |is_limited: bool, waits: &BTreeMap<u32, Nanos>, number: u32| {
        let wait = waits.get(&number).copied().unwrap_or_default();
        if is_limited { wait } else { 0 }
    };
    let is_limited = probe.wanted.rate_bits.is_some();
    let there = |number| waits(is_limited, &noticed.waits_there, number);
    let back = |number| waits(probe.wanted.is_back_limited, &noticed.waits_back, number);
    let small = probe.small();
    Observed {
        delays_ns: arrived.times_ns(there),
        round_trips_ns: answers.times_ns(|number| there(number) + back(number)),
        sent: u64::from(small),
        received: arrived.0.iter().filter(|arrival| arrival.number < small).count() as u64,
        queued_out: if is_limited { noticed.queued_out } else { 0 },
        rate: arrived.rate(probe, noticed, burst_ns),
    }
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
    for (count, gap) in [ALONE, probe.counted()] {
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
    let all = (probe.small() + probe.burst()) as usize;
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
    /// How long packets that travelled alone were under way by the clock of both ends, without what they waited for.
    fn times_ns(&self, waits: impl Fn(u32) -> Nanos) -> Vec<Nanos> {
        let alone = self.0.iter().filter(|arrival| arrival.number < ALONE.0);
        let time = |arrival: &Arrival| {
            let took = arrival.at_ns.saturating_sub(arrival.sent_ns);
            took.saturating_sub(waits(arrival.number))
        };
        alone.map(time).collect()
    }

    /// Rate at which the burst arrived, when the link and not the sender was its limit. Others' packets that passed the
    /// same way within the burst were carried as well; those that shared only one of its cards may or may not have
    /// taken from its rate.
    fn rate(&self, probe: &Probe, noticed: &Noticed, burst_ns: Nanos) -> Rate {
        let Some(wanted) = probe.wanted.rate_bits else {
            return Rate::Unasked;
        };
        // Packets keep their order, so that after some of them all are as late as the variation of the delay makes any.
        let spread_s = probe.wanted.path.spread_ns() as f64 / 1e9;
        let skipped = if spread_s > 0.0 { probe.burst() / 4 } else { 0 };
        let varies_s = (2.0 * spread_s).min(8.0 * spread_s / f64::from(skipped.max(1)));
        let from = probe.small() + skipped;
        let burst = || self.0.iter().filter(|arrival| arrival.number >= from);
        let first = burst().min_by_key(|arrival| arrival.number);
        let last = burst().max_by_key(|arrival| arrival.number);
        let (Some(first), Some(last)) = (first, last) else {
            return Rate::Unreached;
        };
        let wire_s = f64::from(probe.burst()) * FULL_PACKET_BITS / wanted as f64;
        let took_s = last.at_ns.saturating_sub(first.at_ns) as f64 / 1e9;
        if took_s <= 0.0 || burst_ns as f64 / 1e9 >= wire_s * FASTER {
            return Rate::Unreached;
        }
        let bits = f64::from(last.number - first.number) * FULL_PACKET_BITS;
        let dropped = noticed.burst_queued_out as f64 * FULL_PACKET_BITS;
        let of = |bytes: u64| bytes as f64 * 8.0;
        // Where an end of the burst is missing, what passed beside that end is not within what arrived.
        let is_whole = last.number - first.number + 1 == probe.burst();
        let beside = of(noticed.beside_bytes);
        let least = (bits - dropped + if is_whole { beside } else { 0.0 }).max(0.0);
        let most = bits + beside + of(noticed.elsewhere_bytes) + of(noticed.incoming_bytes);
        let shortest_s = (took_s - varies_s).max(took_s * SHORTEST);
        Rate::Between(least / (took_s + varies_s), most / shortest_s)
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
    fn bursts_suit_the_rate_and_are_short_beside_a_load() {
        let rates = [1_000_000, 10_000_000, 1_000_000_000].map(Some);
        assert_eq!(rates.map(|rate| probe(rate, false).burst()), [16, 33, 300]);
        assert_eq!(rates.map(|rate| probe(rate, true).burst()), [8, 10, 64]);
        assert_eq!(probe(None, false).burst(), 0);
        assert_eq!(probe(None, true).cost(), (120, 120 * 40));
        assert_eq!(probe(Some(1), true).cost(), (128, 120 * 40 + 8 * 1500));
    }

    /// A burst of which one packet arrives each millisecond.
    fn arrivals(burst: &Probe) -> Arrivals {
        let arrival = |step: u32| Arrival {
            number: burst.small() + step,
            sent_ns: 0,
            at_ns: u64::from(step) * 1_000_000,
        };
        Arrivals((0..burst.burst()).map(arrival).collect())
    }

    #[test]
    fn a_rate_is_judged_only_where_the_link_was_the_limit() {
        let burst = probe(Some(12_000_000), false);
        let rate = |burst_ns| arrivals(&burst).rate(&burst, &Noticed::default(), burst_ns);
        assert_eq!(rate(100_000), Rate::Between(12_000_000.0, 12_000_000.0));
        assert_eq!(rate(39_000_000), Rate::Unreached, "the sender was no faster");
        let unlimited = probe(None, false);
        let rate = arrivals(&unlimited).rate(&unlimited, &Noticed::default(), 0);
        assert_eq!(rate, Rate::Unasked);
    }

    #[test]
    fn what_others_sent_meanwhile_is_part_of_the_rate() {
        let burst = probe(Some(24_000_000), true);
        let mut arrived = arrivals(&burst);
        let took_s = f64::from(burst.burst() - 1) / 1e3;
        let noticed = Noticed {
            beside_bytes: 15_000,
            elsewhere_bytes: 3000,
            incoming_bytes: 6000,
            burst_queued_out: 1,
            ..Noticed::default()
        };
        let bounds = |arrived: &Arrivals| match arrived.rate(&burst, &noticed, 1000) {
            Rate::Between(least, most) => (least * took_s, most * took_s),
            rate => panic!("{rate:?}"),
        };
        let own = f64::from(burst.burst() - 1) * FULL_PACKET_BITS;
        let near = |(least, most): (f64, f64), wanted: (f64, f64)| {
            assert!(
                (least - wanted.0).abs() < 1.0 && (most - wanted.1).abs() < 1.0,
                "{least} {most}"
            );
        };
        near(bounds(&arrived), (own + 120_000.0 - 12_000.0, own + 192_000.0));
        // Without its last packet nobody knows what passed within the rest of it.
        arrived.0.pop();
        let shorter = own - FULL_PACKET_BITS;
        let took_s = took_s - 1e-3;
        match arrived.rate(&burst, &noticed, 1000) {
            Rate::Between(least, most) => near(
                (least * took_s, most * took_s),
                (shorter - 12_000.0, shorter + 192_000.0),
            ),
            rate => panic!("{rate:?}"),
        }
    }

    #[test]
    fn waits_behind_others_are_no_delay_where_a_rate_is_asked_for() {
        let noticed = Noticed {
            waits_there: BTreeMap::from([(0, 30)]),
            waits_back: BTreeMap::from([(0, 5)]),
            queued_out: 3,
            ..Noticed::default()
        };
        let arrival = |at_ns| {
            Arrivals(vec![Arrival {
                number: 0,
                sent_ns: 100,
                at_ns,
            }])
        };
        let (there, back) = (arrival(180), arrival(250));
        let limited = observed(&probe(Some(1000), true), &noticed, 0, (&there, &back));
        assert_eq!((limited.delays_ns, limited.round_trips_ns), (vec![50], vec![120]));
        assert_eq!((limited.sent, limited.received, limited.queued_out), (110, 1, 3));
        let free = observed(&probe(None, true), &noticed, 0, (&there, &back));
        assert_eq!(
            (free.delays_ns, free.round_trips_ns, free.queued_out),
            (vec![80], vec![150], 0)
        );
    }

    proptest! {
        #[test]
        fn arbitrary_packets_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = read(&bytes, 0);
        }
    }
}
