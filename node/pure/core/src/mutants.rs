//! Deliberate defects of what waits, which only this crate's tests can switch on, one for each rule.
//!
//! The rules of consensus have their own in `regatta-consensus`. Each knob removes one rule of `chain/gossip.rs`, or of
//! `ballots.rs`, `ahead.rs` or `thrift.rs` in `chain/agree`; the tests show that a directed script notices each, and that
//! random storms do.

/// Whether the named defect is on; in a build without tests it is the constant `false`.
macro_rules! mutant {
    ($ballots:expr, $knob:ident) => {{
        #[cfg(test)]
        let on = $ballots.knobs.$knob;
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
    /// A vote whose signature does not hold counts.
    trust_votes,
    /// One bad signature condemns all that were checked with it.
    blame_all,
    /// Who signs badly is not accused.
    blame_nobody,
    /// A vote waits although somebody else than its signer brought it.
    wait_from_strangers,
    /// Votes for different blocks wait.
    wait_when_contested,
    /// Votes wait although the round was given up.
    wait_when_given_up,
    /// Votes wait at a node that has nothing to do.
    wait_when_idle,
    /// The first vote of a leader that seemed dead waits.
    wait_of_the_silent,
    /// Votes wait that this node should pass on.
    wait_to_be_passed_on,
    /// What waits is not checked when a retry is due.
    wait_through_retries,
    /// A vote that was refused still counts for what is due.
    count_refused,
    /// The own vote does not count for what is due.
    forget_own,
    /// A message that is being checked keeps other copies of it out, although it may be forged.
    keep_rivals_out,
    /// A forged copy of a vote that counts is refused, and the vote no longer counts.
    forget_rivals,
    /// A certificate that comes while a forged one is being checked is lost.
    drop_spares,
    /// A proposal that waits gives way to a later one.
    displace_proposal,
    /// A proposal waits that something is to be done about now.
    wait_when_due,
    /// A proposal waits although its payload has to be fetched.
    wait_without_payload,
    /// A proposal waits although its height has begun.
    wait_beyond_decision,
    /// Who is not among the first to hear of a leader's certificate never hears of it.
    leave_out,
}
