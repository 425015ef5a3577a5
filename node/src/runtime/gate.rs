//! What must not leave the node before a record is durable.

use regatta_core::{Output, RecordNumber};
use std::collections::VecDeque;

/// Holds outputs back, in their order.
#[derive(Debug, Default)]
pub(super) struct Gate {
    durable: RecordNumber,
    waiting: VecDeque<(RecordNumber, Output)>,
}

impl Gate {
    /// Gives the output back when it may leave now, and keeps it otherwise.
    pub(super) fn pass(&mut self, output: Output) -> Option<Output> {
        let after = needs(&output);
        if after <= self.durable {
            return Some(output);
        }
        self.waiting.push_back((after, output));
        None
    }

    /// Records up to `durable` are durable; `false` when that was known.
    pub(super) fn advance(&mut self, durable: RecordNumber) -> bool {
        let news = durable > self.durable;
        self.durable = self.durable.max(durable);
        news
    }

    /// The next output that may leave now.
    pub(super) fn next(&mut self) -> Option<Output> {
        let (after, _) = self.waiting.front()?;
        if *after > self.durable {
            return None;
        }
        self.waiting.pop_front().map(|(_, output)| output)
    }
}

fn needs(output: &Output) -> RecordNumber {
    match output {
        Output::Send { after, .. }
        | Output::Reply { after, .. }
        | Output::Statuses { after, .. }
        | Output::Block { after, .. } => *after,
        Output::Append(..)
        | Output::Work(..)
        | Output::Load { .. }
        | Output::Snapshot(_)
        | Output::Release(_)
        | Output::PeerFault { .. }
        | Output::Count(..)
        | Output::Log(..) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(request: u64, after: RecordNumber) -> Output {
        Output::Reply {
            request,
            results: Vec::new(),
            after,
        }
    }

    fn released(gate: &mut Gate) -> Vec<u64> {
        let mut requests = Vec::new();
        while let Some(Output::Reply { request, .. }) = gate.next() {
            requests.push(request);
        }
        requests
    }

    #[test]
    fn nothing_leaves_before_its_record_and_the_order_is_kept() {
        let mut gate = Gate::default();
        assert!(gate.pass(reply(0, 0)).is_some());
        for (request, after) in [(1, 1), (2, 3), (3, 2), (4, 5)] {
            assert!(gate.pass(reply(request, after)).is_none());
        }
        assert!(gate.next().is_none());
        assert!(gate.advance(2));
        assert_eq!(released(&mut gate), [1]);
        assert!(gate.advance(4));
        assert_eq!(released(&mut gate), [2, 3]);
        assert!(!gate.advance(3) && gate.next().is_none());
        assert!(gate.pass(reply(5, 4)).is_some());
        assert!(gate.advance(5));
        assert_eq!(released(&mut gate), [4]);
    }
}
