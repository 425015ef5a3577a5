//! Deliberate defects that only this crate's tests can switch on, one per safety rule.
//!
//! A test suite that no defect fails proves little. Each knob removes one rule; the tests show that
//! a directed script notices each, and that random schedules do.

/// Whether the named defect is on; in a build without tests it is the constant `false`.
macro_rules! mutant {
    ($core:expr, $knob:ident) => {{
        #[cfg(test)]
        let on = $core.knobs.$knob;
        #[cfg(not(test))]
        let on = false;
        on
    }};
}
pub(crate) use mutant;

/// Defines the knobs and a list of them, so that whoever goes through the list misses none.
#[cfg(test)]
macro_rules! knobs {
    ($($(#[$doc:meta])* $knob:ident,)+) => {
        /// The defects. All off by default.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub(crate) struct Knobs {
            $($(#[$doc])* pub(crate) $knob: bool,)+
        }

        impl Knobs {
            /// Every defect by itself, with its name.
            pub(crate) fn each() -> Vec<(&'static str, Self)> {
                vec![$((stringify!($knob), Self { $knob: true, ..Self::default() }),)+]
            }
        }
    };
}

#[cfg(test)]
knobs! {
    /// `Safe()` holds for every proposal.
    ignore_justification,
    /// Two thirds are enough: `3w >= 2W`.
    loose_quorum,
    /// A timeout does not keep from voting in its round.
    vote_after_timeout,
    /// Every proposal of a round gets a `Vote1`.
    second_vote1,
    /// A QC1 of an earlier round still gets a `Vote2`.
    vote2_in_past_round,
    /// A timeout never states a high round.
    timeout_without_high,
    /// Recovery forgets the QC1 of the own `Vote2`.
    forget_lock,
    /// Recovery forgets own `Vote1` and `Timeout`.
    forget_votes,
    /// Recovery forgets the own proposal.
    forget_proposal,
    /// Statements leave before they are persisted.
    persist_late,
    /// A QC1 decides.
    decide_on_qc1,
    /// A proposal that was made ahead of time is forgotten when its height is entered.
    forget_ahead,
    /// A proposal that was made ahead of time is not judged again when its parent is decided.
    trust_ahead,
    /// Who lost its log speaks as if it had said nothing.
    forget_amnesia,
}
