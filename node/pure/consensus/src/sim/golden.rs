//! Golden traces: scripts of what happens most, with every move and every effect that follows. A change
//! of conduct shows here line by line, be it meant or not.
//!
//! `INSTA_UPDATE=always cargo test -p regatta-consensus golden` writes them anew.

use super::script::trace;

/// Compares the trace of `golden/NAME.txt` with `golden/NAME.snap`.
macro_rules! golden {
    ($($(#[doc = $what:literal])+ $name:ident,)+) => {$(
        #[test]
        fn $name() {
            let script = include_str!(concat!("golden/", stringify!($name), ".txt"));
            insta::with_settings!({
                snapshot_path => "golden",
                prepend_module_to_snapshot => false,
                omit_expression => true,
                description => concat!($($what),+).trim(),
            }, {
                insta::assert_snapshot!(stringify!($name), trace(script));
            });
        }
    )+};
}

golden! {
    /// One block among four, and then silence.
    ordinary_height,
    /// The leader says nothing: one round is given up, the next leader proposes.
    silent_leader,
    /// A value that one validator voted twice for is proposed again by the next leader.
    locked_value,
    /// A leader proposes two headers: it is accused, and its round is lost.
    equivocating_leader,
    /// A validator dies between log and sending, comes back and stands by what its log says.
    crash_and_recovery,
    /// A validator misses two blocks and is told of them.
    catching_up,
    /// A validator joins and another one leaves.
    changing_validators,
}
