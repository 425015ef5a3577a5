//! The step function.

use crate::io::{Config, Effect, Input, WalRecord};
use regatta_base::{Height, Round};

/// One node's part in one consensus instance.
#[derive(Debug)]
pub struct Core {
    config: Config,
    height: Height,
    round: Round,
}

impl Core {
    /// A core that has never voted.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self::recover(config, &[])
    }

    /// A core that stands by everything in `records`, the log of its earlier runs in order.
    #[must_use]
    pub fn recover(config: Config, records: &[WalRecord]) -> Self {
        let _ = records;
        Self {
            height: config.height,
            config,
            round: 0,
        }
    }

    /// The height being decided.
    #[must_use]
    pub fn height(&self) -> Height {
        self.height
    }

    /// The current round of that height.
    #[must_use]
    pub fn round(&self) -> Round {
        self.round
    }

    /// The signer who leads the current round.
    #[must_use]
    pub fn leader(&self) -> u16 {
        self.config.scope.validators().leader(self.height, self.round)
    }

    /// Takes one input and appends what is to be done, in order, to `effects`.
    pub fn step(&mut self, input: Input, effects: &mut Vec<Effect>) {
        let _ = (input, effects);
    }
}
