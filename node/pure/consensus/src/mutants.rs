//! Deliberate defects that only this crate's tests can switch on, one per safety rule.
//!
//! A test suite that no defect fails proves little. Each knob removes one rule; the tests show that
//! a directed script notices each.

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

/// The defects. All off by default.
#[cfg(test)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Knobs {
    /// `Safe()` holds for every proposal.
    pub(crate) ignore_justification: bool,
    /// Two thirds are enough: `3w >= 2W`.
    pub(crate) loose_quorum: bool,
    /// A timeout does not keep from voting in its round.
    pub(crate) vote_after_timeout: bool,
    /// Every proposal of a round gets a `Vote1`.
    pub(crate) second_vote1: bool,
    /// A QC1 of an earlier round still gets a `Vote2`.
    pub(crate) vote2_in_past_round: bool,
    /// A timeout never states a high round.
    pub(crate) timeout_without_high: bool,
    /// Recovery forgets the QC1 of the own `Vote2`.
    pub(crate) forget_lock: bool,
    /// Recovery forgets own `Vote1` and `Timeout`.
    pub(crate) forget_votes: bool,
    /// Recovery forgets the own proposal.
    pub(crate) forget_proposal: bool,
    /// Statements leave before they are persisted.
    pub(crate) persist_late: bool,
    /// A QC1 decides.
    pub(crate) decide_on_qc1: bool,
}
