//! Messages for the next height, a few for each sender.

use crate::types::Message;
use regatta_base::Height;
use std::collections::BTreeMap;

/// Statements kept for each signer; the furthest gives way.
const MESSAGES_PER_SIGNER_MAX: usize = 8;
/// The buffer: at most [`MESSAGES_PER_SIGNER_MAX`] messages for each validator, so that a faulty one
/// displaces only its own.
#[derive(Debug, Clone, Default)]
pub(crate) struct FutureBuffer {
    signers: BTreeMap<u16, Vec<Message>>,
}

impl FutureBuffer {
    /// Keeps `message`, about the next height, if it carries one validator's statement that is not known and there is
    /// room; whether it did.
    pub(crate) fn add(&mut self, message: Message) -> bool {
        let Some(signed) = message.signed().copied() else {
            return false;
        };
        let kept = self.signers.entry(signed.signer).or_default();
        if kept.iter().any(|other| place(other) == place(&message)) {
            return false;
        }
        kept.push(message);
        kept.sort_by_key(place);
        kept.truncate(MESSAGES_PER_SIGNER_MAX);
        kept.iter().any(|other| place(other) == Some(signed.statement))
    }

    /// Takes out what was kept for `height`, in signer order, and forgets the rest: signers of another height
    /// are counted in another set.
    pub(crate) fn take(&mut self, height: Height) -> Vec<Message> {
        let kept = std::mem::take(&mut self.signers).into_values().flatten();
        kept.filter(|message| message.height() == height).collect()
    }
}

/// Sort key: the statement orders by height, round and kind.
fn place(message: &Message) -> Option<crate::types::Statement> {
    message.signed().map(|signed| signed.statement)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Content, Signed, Statement};
    use regatta_base::{Digest, Round, Signature};

    fn vote(signer: u16, height: Height, round: Round) -> Message {
        let content = Content::Vote1(Digest::ZERO);
        Message::Vote(Signed {
            statement: Statement { height, round, content },
            signer,
            signature: Signature([0; 64]),
        })
    }

    #[test]
    fn a_flooding_sender_displaces_only_itself_and_the_furthest_goes_first() {
        let mut buffer = FutureBuffer::default();
        buffer.add(vote(1, 6, 0));
        for round in (0..100).rev() {
            buffer.add(vote(0, 6, round));
        }
        let due = buffer.take(6);
        let nearest: Vec<Message> = (0..8).map(|round| vote(0, 6, round)).chain([vote(1, 6, 0)]).collect();
        assert_eq!(due, nearest);
    }

    #[test]
    fn repeats_take_no_room_and_what_was_not_due_is_forgotten() {
        let mut buffer = FutureBuffer::default();
        for _ in 0..20 {
            buffer.add(vote(0, 6, 0));
        }
        buffer.add(Message::Status { height: 6 });
        assert_eq!(buffer.take(6), [vote(0, 6, 0)]);
        buffer.add(vote(0, 7, 0));
        assert_eq!(buffer.take(8), []);
        assert_eq!(buffer.take(7), []);
        assert!(buffer.signers.is_empty());
    }
}
