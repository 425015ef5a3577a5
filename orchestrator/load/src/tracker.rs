//! The books of one load: what became of every transaction, with its stamps. Owned by one thread.

use crate::{
    RunClock,
    outcome::{LoadOutcome, LoadProgress, PhaseTally, Submission, Submitted, Tally},
    schedule::{LoadPhase, Schedule},
    series::{Series, histogram},
};
use hdrhistogram::Histogram;
use regatta_base::{Height, TransactionId};
use regatta_report::{
    Counts,
    model::{Block, Latency, Second},
};
use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasherDefault, Hasher},
};

/// Most different reasons that are told apart; a hostile node cannot grow the table.
const REASONS_MAX: usize = 64;
/// The reason beyond them.
const OTHER: &str = "other";
/// Refusals of this reason leave open what became of the transaction.
const NO_ACKNOWLEDGEMENT: &str = "no_acknowledgement";
/// Reason of what was neither sent nor refused when the books were closed.
const CUT_SHORT: &str = "stopped";

/// Where a transaction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Its time has not come, or it waits for a free request.
    Waiting,
    /// Never left the generator.
    NotSent,
    /// Handed to a connection.
    Sent,
    /// The connection broke before an answer.
    Unanswered,
    /// Acknowledged.
    Accepted,
    /// Refused.
    Rejected,
    /// Final in time, with success.
    Ok,
    /// Final in time, with failure.
    Failed,
    /// Final after the timeout.
    Late,
}

#[derive(Debug, Clone, Copy)]
struct Fate {
    state: State,
    acknowledged: bool,
    /// Position in the table of reasons.
    reason: u8,
}

/// What is known of a transaction that was sent and has no end yet.
#[derive(Debug, Clone, Copy)]
struct InFlight {
    index: u32,
    sent_ns: u64,
}

/// Ids are digests: any eight of their bytes are as good a hash as one could compute.
#[derive(Debug, Default)]
struct DigestHasher(u64);

impl Hasher for DigestHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }
}

/// What one block did to the load's transactions.
#[derive(Debug, Default)]
struct BlockGroup {
    first_ns: u64,
    /// All transactions that the block is known to hold.
    transactions: u64,
    /// The load's own that were final in time.
    own: u64,
    ok: u64,
    /// Response of each in microseconds. Four bytes a transaction: the largest is 71 minutes.
    micros: Vec<u32>,
}

/// What came of handing a transaction to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer<'a> {
    /// Acknowledged.
    Accepted,
    /// Refused, by reason; by nobody listening there, too.
    Rejected(&'a str),
    /// The connection broke.
    Lost,
    /// The connection held and no answer came in time.
    Silent,
}

/// What a load's books are opened with.
pub struct Opening {
    /// Position of the load in the plan.
    pub load: u32,
    /// Clock of the run.
    pub clock: RunClock,
    /// Start of the schedule on that clock.
    pub start_ns: u64,
    /// From a transaction's intended time to its timeout.
    pub timeout_ms: u64,
    /// What is to be sent, and when.
    pub schedule: Schedule,
    /// Height that the cluster had before the load.
    pub height: Height,
}

/// The books of one load.
pub struct Tracker {
    opening: Opening,
    ids: Vec<TransactionId>,
    fates: Vec<Fate>,
    reasons: Vec<String>,
    in_flight: HashMap<TransactionId, InFlight, BuildHasherDefault<DigestHasher>>,
    response: Series,
    service: Series,
    lag: Series,
    accepted: Histogram<u64>,
    seconds: BTreeMap<u32, Second>,
    blocks: BTreeMap<Height, BlockGroup>,
    /// Every new greatest height with the time at which it was first seen, from the height before the load.
    heights: Vec<(u64, Height)>,
    counts: LoadProgress,
    late: u64,
    mismatched: u64,
}

fn second_of(at_ns: u64) -> u32 {
    u32::try_from(at_ns / 1_000_000_000).unwrap_or(u32::MAX)
}

impl Tracker {
    /// Opens the books; every transaction of the schedule is waiting.
    pub fn new(opening: Opening) -> Self {
        let waiting = Fate {
            state: State::Waiting,
            acknowledged: false,
            reason: 0,
        };
        let count = opening.schedule.count();
        Self {
            ids: Vec::with_capacity(count),
            fates: vec![waiting; count],
            reasons: vec![OTHER.to_owned()],
            in_flight: HashMap::default(),
            response: Series::new(),
            service: Series::new(),
            lag: Series::new(),
            accepted: histogram(),
            seconds: BTreeMap::new(),
            blocks: BTreeMap::new(),
            heights: vec![(0, opening.height)],
            counts: LoadProgress::default(),
            late: 0,
            mismatched: 0,
            opening,
        }
    }

    /// Nanoseconds since the run's origin at which transaction `index` should leave.
    pub fn intended_ns(&self, index: usize) -> u64 {
        self.opening.start_ns + self.opening.schedule.intended[index]
    }

    /// Now, on the clock of every stamp.
    pub fn now_ns(&self) -> u64 {
        self.opening.clock.now_ns()
    }

    /// How long a transaction may take, in nanoseconds.
    pub fn timeout_ns(&self) -> u64 {
        self.opening.timeout_ms * 1_000_000
    }

    /// Number of transactions that were sent and have no end.
    pub fn open(&self) -> usize {
        self.in_flight.len()
    }

    fn second(&mut self, at_ns: u64) -> &mut Second {
        let second = second_of(at_ns);
        self.seconds.entry(second).or_insert(Second {
            second,
            ..Second::default()
        })
    }

    fn reason(&mut self, text: &str) -> u8 {
        if let Some(found) = self.reasons.iter().position(|reason| reason == text) {
            return found as u8;
        }
        if self.reasons.len() == REASONS_MAX {
            return 0;
        }
        self.reasons.push(text.chars().take(80).collect());
        (self.reasons.len() - 1) as u8
    }

    /// The next transaction of the schedule is due and has this id.
    pub fn due(&mut self, id: TransactionId) {
        let index = self.ids.len();
        self.ids.push(id);
        let at_ns = self.intended_ns(index);
        self.second(at_ns).intended += 1;
        self.counts.intended += 1;
    }

    /// A due transaction never leaves.
    pub fn not_sent(&mut self, index: usize, reason: &str) {
        let reason = self.reason(reason);
        let fate = &mut self.fates[index];
        fate.state = State::NotSent;
        fate.reason = reason;
        self.counts.not_sent += 1;
    }

    /// These transactions are being handed to a connection now.
    pub fn sent(&mut self, indices: &[u32], now_ns: u64) {
        let second = second_of(now_ns);
        for &index in indices {
            let lag = now_ns.saturating_sub(self.intended_ns(index as usize));
            let measured = self.opening.schedule.phase(index as usize) == LoadPhase::Measure;
            self.lag.record(second, lag / 1000, measured);
            self.fates[index as usize].state = State::Sent;
            let sent_ns = now_ns;
            self.in_flight
                .insert(self.ids[index as usize], InFlight { index, sent_ns });
        }
        self.second(now_ns).sent += indices.len() as u64;
        self.counts.sent += indices.len() as u64;
    }

    /// What the target said about a transaction that was handed over at `sent_ns`.
    pub fn answered(&mut self, index: usize, sent_ns: u64, now_ns: u64, answer: Answer<'_>) {
        self.counts.lost += u64::from(answer == Answer::Lost);
        if answer == Answer::Accepted {
            self.fates[index].acknowledged = true;
            self.counts.accepted += 1;
            if self.opening.schedule.phase(index) == LoadPhase::Measure {
                self.accepted.saturating_record((now_ns - sent_ns) / 1000);
            }
        }
        if self.fates[index].state != State::Sent {
            return; // A status was faster than the answer and is the stronger word.
        }
        match answer {
            Answer::Accepted => self.fates[index].state = State::Accepted,
            // It may still be included: a status decides, and without one it stays refused.
            Answer::Rejected(reason) if reason == NO_ACKNOWLEDGEMENT => {
                self.refused(index, reason, now_ns);
            }
            Answer::Rejected(reason) => {
                self.refused(index, reason, now_ns);
                self.in_flight.remove(&self.ids[index]);
            }
            Answer::Lost => self.fates[index].state = State::Unanswered,
            Answer::Silent => {}
        }
    }

    fn refused(&mut self, index: usize, reason: &str, now_ns: u64) {
        self.fates[index].reason = self.reason(reason);
        self.fates[index].state = State::Rejected;
        self.second(now_ns).rejected += 1;
        self.counts.rejected += 1;
    }

    /// Whether transaction `index` has this id.
    pub fn has_id(&self, index: usize, id: &TransactionId) -> bool {
        self.ids[index] == *id
    }

    /// The answer spoke of another transaction than was sent.
    pub fn mismatch(&mut self) {
        self.mismatched += 1;
    }

    /// When the open transaction `id` was sent, with its index; `None` when it is not ours or has an end.
    pub fn open_since(&self, id: &TransactionId) -> Option<(usize, u64)> {
        self.in_flight.get(id).map(|open| (open.index as usize, open.sent_ns))
    }

    /// A status was observed: this transaction is final in the block at `height`. True when it is ours and was open.
    pub fn finalised(&mut self, id: &TransactionId, height: Height, ok: bool, now_ns: u64) -> bool {
        let Some(InFlight { index, sent_ns }) = self.in_flight.remove(id) else {
            return false;
        };
        let index = index as usize;
        let response = now_ns.saturating_sub(self.intended_ns(index));
        if response > self.timeout_ns() {
            self.fates[index].state = State::Late;
            self.late += 1;
            return true;
        }
        let measured = self.opening.schedule.phase(index) == LoadPhase::Measure;
        let second = second_of(now_ns);
        self.response.record(second, response / 1000, measured);
        self.service
            .record(second, now_ns.saturating_sub(sent_ns) / 1000, measured);
        self.fates[index].state = if ok { State::Ok } else { State::Failed };
        let counts = self.second(now_ns);
        counts.finalised += u64::from(ok);
        counts.failed += u64::from(!ok);
        self.counts.finalised += u64::from(ok);
        self.counts.failed += u64::from(!ok);
        let block = self.block(height, now_ns);
        block.own += 1;
        block.ok += u64::from(ok);
        block.micros.push(u32::try_from(response / 1000).unwrap_or(u32::MAX));
        true
    }

    fn block(&mut self, height: Height, now_ns: u64) -> &mut BlockGroup {
        self.blocks.entry(height).or_insert_with(|| BlockGroup {
            first_ns: now_ns,
            ..BlockGroup::default()
        })
    }

    /// A block was announced, whether it holds transactions of the load or not.
    pub fn announced(&mut self, height: Height, transactions: u64, now_ns: u64) {
        self.saw_height(height, now_ns);
        self.block(height, now_ns).transactions = transactions;
    }

    /// A block of this height exists: transactions sent from now on are in later ones.
    pub fn saw_height(&mut self, height: Height, now_ns: u64) {
        if self.heights.last().is_none_or(|&(_, highest)| height > highest) {
            self.heights.push((now_ns, height));
        }
    }

    /// The highest height known at `at_ns`.
    pub fn height_at(&self, at_ns: u64) -> Height {
        let after = self.heights.partition_point(|&(seen_ns, _)| seen_ns <= at_ns);
        self.heights[after.max(1) - 1].1
    }

    /// When the oldest open transaction that `wanted` accepts (by index and time of sending) was sent.
    pub fn oldest_open(&self, wanted: impl Fn(usize, u64) -> bool) -> Option<u64> {
        let open = self.in_flight.values();
        let sent = open.filter(|open| wanted(open.index as usize, open.sent_ns));
        sent.map(|open| open.sent_ns).min()
    }

    /// A view for the heartbeat.
    pub fn progress(&self) -> LoadProgress {
        self.progress_at(self.now_ns())
    }

    /// The view at a time of whichever clock the books are kept by.
    pub fn progress_at(&self, now_ns: u64) -> LoadProgress {
        let last = second_of(now_ns).saturating_sub(1);
        let last = self.seconds.get(&last).copied().unwrap_or_default();
        let (recent_p50_us, recent_p99_us) = self.response.recent();
        LoadProgress {
            recent_p50_us,
            recent_p99_us,
            in_flight: self.in_flight.len() as u64,
            offered_per_s: last.intended,
            final_per_s: last.finalised + last.failed,
            p50_us: self.response.quantile(0.5),
            p99_us: self.response.quantile(0.99),
            lag_p99_us: self.lag.quantile(0.99),
            ..self.counts
        }
    }

    fn tally(&self) -> PhaseTally {
        let mut tally = PhaseTally::default();
        for (index, fate) in self.fates.iter().enumerate() {
            let phase = match self.opening.schedule.phase(index) {
                LoadPhase::Warmup => &mut tally.warmup,
                LoadPhase::Measure => &mut tally.measure,
                LoadPhase::Cooldown => &mut tally.cooldown,
            };
            self.tally_one(fate, phase);
        }
        tally
    }

    fn tally_one(&self, fate: &Fate, tally: &mut Tally) {
        let mut count = |reasons: fn(&mut Tally) -> &mut BTreeMap<String, u64>, reason: &str| {
            let reasons = reasons(tally);
            match reasons.get_mut(reason) {
                Some(count) => *count += 1,
                None => drop(reasons.insert(reason.to_owned(), 1)),
            }
        };
        let reason = &self.reasons[usize::from(fate.reason)];
        match fate.state {
            State::Waiting => count(|tally| &mut tally.not_sent, CUT_SHORT),
            State::NotSent => count(|tally| &mut tally.not_sent, reason),
            State::Rejected => count(|tally| &mut tally.rejected, reason),
            State::Sent | State::Accepted | State::Late => tally.timed_out += 1,
            State::Unanswered => tally.unknown += 1,
            State::Ok => tally.ok += 1,
            State::Failed => tally.failed += 1,
        }
        tally.intended += 1;
    }

    fn submitted(&self, target: impl Fn(usize) -> usize) -> Submitted {
        let row = |(index, id): (usize, &TransactionId)| {
            let fate = self.fates[index];
            Submission {
                id: *id,
                sent: !matches!(fate.state, State::Waiting | State::NotSent),
                acknowledged: fate.acknowledged,
                finalised: matches!(fate.state, State::Ok | State::Failed | State::Late),
                target: target(index) as u32,
            }
        };
        Submitted {
            targets: Vec::new(),
            rows: self.ids.iter().enumerate().map(row).collect(),
        }
    }

    /// Closes the books: whatever is open has no end in time.
    ///
    /// The books are empty afterwards.
    pub fn close(&mut self, target: impl Fn(usize) -> usize) -> LoadOutcome {
        let (tally, submitted) = (self.tally(), self.submitted(target));
        let finish = |series: &mut Series| std::mem::replace(series, Series::new()).finish();
        let block = |(height, group): (Height, BlockGroup)| Block {
            // Whoever knows where the load went fills it in.
            instance: String::new(),
            height,
            at_ms: group.first_ns / 1_000_000,
            transactions: group.transactions.max(group.own),
            ok: group.ok,
            latency: Counts::of_values(group.micros.into_iter().map(u64::from), 3),
        };
        LoadOutcome {
            load: self.opening.load,
            tally,
            latency: Latency {
                timeout_ms: self.opening.timeout_ms,
                response: finish(&mut self.response),
                service: finish(&mut self.service),
                lag: finish(&mut self.lag),
                accepted: Counts::from_histogram(&self.accepted),
                ..Latency::default()
            },
            seconds: std::mem::take(&mut self.seconds).into_values().collect(),
            blocks: std::mem::take(&mut self.blocks).into_iter().map(block).collect(),
            submitted,
            late: self.late,
            mismatched: self.mismatched,
            ..LoadOutcome::default()
        }
    }
}
