//! What must not leave a host before a record is durable.

use regatta_core::{Output, RecordNumber};
use std::collections::VecDeque;

/// Holds outputs back, in their order, until their record is durable.
#[derive(Debug, Default)]
pub(super) struct Gate {
    durable: RecordNumber,
    waiting: VecDeque<(RecordNumber, Output)>,
}

impl Gate {
    /// Gives the output back when it may leave now, and keeps it otherwise.
    pub(super) fn pass(&mut self, output: Output) -> Option<Output> {
        let after = match &output {
            Output::Send { after, .. }
            | Output::Reply { after, .. }
            | Output::Statuses { after, .. }
            | Output::Block { after, .. } => *after,
            _ => 0,
        };
        if after <= self.durable {
            return Some(output);
        }
        self.waiting.push_back((after, output));
        None
    }

    /// Records up to `durable` are durable.
    pub(super) fn advance(&mut self, durable: RecordNumber) {
        self.durable = self.durable.max(durable);
    }

    /// The next output that may leave now.
    pub(super) fn next(&mut self) -> Option<Output> {
        if self.waiting.front()?.0 > self.durable {
            return None;
        }
        self.waiting.pop_front().map(|(_, output)| output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_wait_for_their_record_in_their_order() {
        let reply = |request, after| Output::Reply {
            request,
            results: Vec::new(),
            after,
        };
        let mut gate = Gate::default();
        assert!(gate.pass(reply(1, 0)).is_some());
        assert!(gate.pass(reply(2, 2)).is_none() && gate.pass(reply(3, 1)).is_none());
        gate.advance(1);
        assert!(
            gate.next().is_none(),
            "the first one waits, and the one behind it keeps its place"
        );
        gate.advance(2);
        let mut left = Vec::new();
        while let Some(Output::Reply { request, .. }) = gate.next() {
            left.push(request);
        }
        assert_eq!(left, [2, 3]);
    }
}
