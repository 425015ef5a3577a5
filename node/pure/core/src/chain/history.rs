//! Recent headers: which batches may not be ordered again, and the proof of it for others.

use crate::{header::Header, snapshot::first_of_history};
use regatta_base::{Digest, Height};
use std::collections::{BTreeMap, VecDeque};

/// Headers of consecutive heights up to the last executed one, as long as their batches could be ordered again.
#[derive(Debug, Default)]
pub(crate) struct History {
    headers: VecDeque<Header>,
    included: BTreeMap<Digest, Height>,
    /// Headers from this height on are kept longer: a snapshot is being written of them.
    held_from: Option<Height>,
}

impl History {
    pub(crate) fn is_included(&self, batch: &Digest) -> bool {
        self.included.contains_key(batch)
    }

    /// Takes the next header in, and lets go of those that are old enough.
    pub(crate) fn push(&mut self, header: Header) {
        let height = header.height;
        self.included
            .extend(header.batches.iter().map(|digest| (*digest, height)));
        self.headers.push_back(header);
        let first = first_of_history(height).min(self.held_from.unwrap_or(Height::MAX));
        while self.headers.front().is_some_and(|header| header.height < first) {
            let Some(old) = self.headers.pop_front() else { break };
            for digest in old.batches {
                self.included.remove(&digest);
            }
        }
    }

    /// Keeps the headers that a snapshot of `height` needs until further notice; `None` ends that.
    pub(crate) fn hold(&mut self, height: Option<Height>) {
        self.held_from = height.map(first_of_history);
    }

    /// The headers from `first` on, in ascending order.
    pub(crate) fn from(&self, first: Height) -> impl Iterator<Item = &Header> {
        let front = self.headers.front().map_or(0, |header| header.height);
        let skip = usize::try_from(first.saturating_sub(front)).unwrap_or(usize::MAX);
        self.headers.iter().skip(skip)
    }

    pub(crate) fn get(&self, height: Height) -> Option<&Header> {
        self.from(height).next().filter(|header| header.height == height)
    }
}
