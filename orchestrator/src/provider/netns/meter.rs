//! What a switch notices of one measurement: what its packets wait for, and what else passes the cards that they pass.
//!
//! Beside a load a packet may be late since it waits behind others, a queue may be full, and a burst shares its way. That
//! is not the network being wrong; the switch knows how much of it there was.

use super::packet;
use regatta_link::Nanos;
use std::collections::BTreeMap;

/// The packets of a measurement, by their ports and numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watch {
    /// Node that sends, and its port.
    pub from: (u32, u16),
    /// Node that receives, and its port.
    pub to: (u32, u16),
    /// Packets with lower numbers travel alone and are answered.
    pub alone: u32,
    /// Packets with numbers from here on are the burst.
    pub burst: u32,
}

/// Which packet of a measurement one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Alone(u32),
    Answer(u32),
    Counted,
    Burst,
}

/// What was noticed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Noticed {
    /// How long packets that travelled alone waited behind others, in nanoseconds by number.
    pub waits_there: BTreeMap<u32, Nanos>,
    /// How long their answers did.
    pub waits_back: BTreeMap<u32, Nanos>,
    /// Packets alone and counted ones that a full queue dropped.
    pub queued_out: u64,
    /// Packets of the burst that one dropped.
    pub burst_queued_out: u64,
    /// Bytes that went between the first and the last packet of the burst: from the same sender to the same receiver.
    pub beside_bytes: u64,
    /// From the same sender to others.
    pub elsewhere_bytes: u64,
    /// From others to the same receiver.
    pub incoming_bytes: u64,
}

/// Watches the packets of one measurement.
#[derive(Debug)]
pub(super) struct Meter {
    watch: Watch,
    noticed: Noticed,
    /// What came after the newest packet of the burst, which may be its last one: `beside`, `elsewhere`, `incoming`.
    since: [u64; 3],
    /// A packet of the burst has left, and one has arrived.
    has_begun: (bool, bool),
}

impl Meter {
    pub(super) fn new(watch: Watch) -> Self {
        Self {
            watch,
            noticed: Noticed::default(),
            since: [0; 3],
            has_begun: (false, false),
        }
    }

    pub(super) fn noticed(self) -> Noticed {
        self.noticed
    }

    /// Which packet of the measurement this one is, if it is one.
    pub(super) fn part(&self, from: u32, to: u32, packet: &[u8]) -> Option<Part> {
        let (there, back) = (self.watch.from, self.watch.to);
        let (source, destination, payload) = packet::datagram(packet)?;
        let number = u32::from_be_bytes(payload.get(..4)?.try_into().ok()?);
        match ((from, source), (to, destination)) {
            (sender, receiver) if (sender, receiver) == (there, back) => Some(match number {
                number if number < self.watch.alone => Part::Alone(number),
                number if number < self.watch.burst => Part::Counted,
                _ => Part::Burst,
            }),
            (sender, receiver) if (sender, receiver) == (back, there) && number < self.watch.alone => {
                Some(Part::Answer(number))
            }
            _ => None,
        }
    }

    /// A packet of the measurement begins to wait for a card.
    pub(super) fn waits(&mut self, part: Option<Part>, wait: Nanos) {
        match part {
            Some(Part::Alone(number)) => *self.noticed.waits_there.entry(number).or_default() += wait,
            Some(Part::Answer(number)) => *self.noticed.waits_back.entry(number).or_default() += wait,
            _ => {}
        }
    }

    /// A packet found a queue full.
    pub(super) fn dropped(&mut self, part: Option<Part>) {
        match part {
            Some(Part::Alone(_) | Part::Counted) => self.noticed.queued_out += 1,
            Some(Part::Burst) => self.noticed.burst_queued_out += 1,
            _ => {}
        }
    }

    /// A packet left its sender.
    pub(super) fn left(&mut self, (from, to): (u32, u32), part: Option<Part>, bytes: usize) {
        if part == Some(Part::Burst) {
            let [beside, elsewhere, _] = self.since;
            if self.has_begun.0 {
                self.noticed.beside_bytes += beside;
                self.noticed.elsewhere_bytes += elsewhere;
            }
            self.has_begun.0 = true;
            (self.since[0], self.since[1]) = (0, 0);
        } else if from == self.watch.from.0 {
            self.since[usize::from(to != self.watch.to.0)] += bytes as u64;
        }
    }

    /// A packet passed the card of its receiver.
    pub(super) fn arrived(&mut self, (from, to): (u32, u32), part: Option<Part>, bytes: usize) {
        if part == Some(Part::Burst) {
            if self.has_begun.1 {
                self.noticed.incoming_bytes += self.since[2];
            }
            self.has_begun.1 = true;
            self.since[2] = 0;
        } else if to == self.watch.to.0 && from != self.watch.from.0 {
            self.since[2] += bytes as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WATCH: Watch = Watch {
        from: (0, 100),
        to: (1, 200),
        alone: 2,
        burst: 5,
    };

    fn datagram(ports: (u16, u16), number: u32) -> Vec<u8> {
        let mut packet = vec![0; 32];
        (packet[0], packet[9]) = (0x45, 17);
        packet[20..22].copy_from_slice(&ports.0.to_be_bytes());
        packet[22..24].copy_from_slice(&ports.1.to_be_bytes());
        packet[28..].copy_from_slice(&number.to_be_bytes());
        packet
    }

    #[test]
    fn packets_of_the_measurement_are_told_by_ports_and_numbers() {
        let meter = Meter::new(WATCH);
        let there = |number| meter.part(0, 1, &datagram((100, 200), number));
        let parts = [there(1), there(2), there(5)];
        assert_eq!(parts, [Some(Part::Alone(1)), Some(Part::Counted), Some(Part::Burst)]);
        assert_eq!(meter.part(1, 0, &datagram((200, 100), 1)), Some(Part::Answer(1)));
        assert_eq!(meter.part(1, 0, &datagram((200, 100), 2)), None);
        assert_eq!(meter.part(0, 2, &datagram((100, 200), 1)), None, "another receiver");
        assert_eq!(meter.part(0, 1, &datagram((101, 200), 1)), None, "another port");
        assert_eq!(meter.part(0, 1, &datagram((100, 200), 1)[..30]), None, "cut off");
    }

    #[test]
    fn what_passes_within_the_burst_is_counted_and_what_follows_it_is_not() {
        let mut meter = Meter::new(WATCH);
        let burst = Some(Part::Burst);
        meter.left((0, 1), None, 7);
        meter.left((0, 1), burst, 1500);
        meter.left((0, 1), None, 10);
        meter.left((0, 2), None, 20);
        meter.left((2, 1), None, 40);
        meter.left((0, 1), burst, 1500);
        meter.left((0, 1), None, 80);
        meter.arrived((2, 1), None, 1);
        meter.arrived((0, 1), burst, 1500);
        meter.arrived((2, 1), None, 160);
        meter.arrived((0, 1), None, 10);
        meter.arrived((0, 1), burst, 1500);
        meter.arrived((2, 1), None, 320);
        meter.waits(Some(Part::Alone(0)), 3);
        meter.waits(Some(Part::Alone(0)), 4);
        meter.waits(Some(Part::Answer(1)), 5);
        meter.dropped(Some(Part::Counted));
        meter.dropped(burst);
        meter.dropped(None);
        let noticed = Noticed {
            waits_there: BTreeMap::from([(0, 7)]),
            waits_back: BTreeMap::from([(1, 5)]),
            queued_out: 1,
            burst_queued_out: 1,
            beside_bytes: 10,
            elsewhere_bytes: 20,
            incoming_bytes: 160,
        };
        assert_eq!(meter.noticed(), noticed);
    }
}
