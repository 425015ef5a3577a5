//! Programs that hosts hand on to each other: what one says to get one, and the secret that it was given for that.
//!
//! The lab asks a host that has a program to offer it once, with a token that the lab has made up, and gives another host the
//! address and the token. That one connects, sends one [`Claim`], and gets the [`crate::Chunk`]s that it lacks. It checks the
//! digest of the whole, so that it does not matter who sent them.

use regatta_base::Digest;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A secret for one transfer. It is never printed.
#[derive(Clone, Serialize, Deserialize)]
pub struct Token([u8; 32]);

impl Token {
    /// A token of 32 bytes that nobody can guess.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl PartialEq for Token {
    /// Compares digests: how long it takes says nothing about the bytes.
    fn eq(&self, other: &Self) -> bool {
        Digest::of_bytes(&self.0) == Digest::of_bytes(&other.0)
    }
}

impl Eq for Token {}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// The only thing that is said to a host that offers a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// What the lab gave for this transfer.
    pub token: Token,
    /// The program.
    pub digest: Digest,
    /// Bytes that are there already; whole chunks of them count.
    pub have: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Frames, encode_frame};
    use proptest::prelude::*;

    #[test]
    fn tokens_are_equal_by_their_bytes_and_never_shown() {
        let (one, other) = (Token::new([7; 32]), Token::new([8; 32]));
        assert_eq!(one, one.clone());
        assert_ne!(one, other);
        let claim = Claim {
            token: one,
            digest: Digest::ZERO,
            have: 0,
        };
        let shown = format!("{claim:?}");
        assert!(shown.contains("Token(..)") && !shown.contains('7'), "{shown}");
    }

    proptest! {
        #[test]
        fn claims_survive_the_wire(token: [u8; 32], have: u64) {
            let claim = Claim { token: Token::new(token), digest: Digest::of_bytes(&token), have };
            let mut frames = Frames::default();
            frames.push(&encode_frame(&claim).unwrap());
            prop_assert_eq!(frames.take::<Claim>().unwrap(), Some(claim));
            prop_assert!(frames.is_empty());
        }

        #[test]
        fn no_bytes_make_a_claim_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut frames = Frames::default();
            frames.push(&bytes);
            // Whatever it is, it is a value or an error.
            let _ = frames.take::<Claim>();
        }
    }
}
