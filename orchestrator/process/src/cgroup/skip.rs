//! What tests do where there are no control groups: they say so past the harness, which shows nothing of tests that pass, and
//! count it. Where groups exist and this user may not write them, that is no success where CI is set, as with namespaces.

use super::CgroupError;
use std::{
    fmt,
    io::{self, Write},
    sync::atomic::{AtomicU32, Ordering},
};

static SKIPPED: AtomicU32 = AtomicU32::new(0);

/// Whether a test may do without: a machine that has no groups has nothing to test, one that refuses them has.
fn may_skip(error: &CgroupError, is_ci: bool) -> bool {
    !is_ci || matches!(error, CgroupError::None(_))
}

/// What was found; without it the test that asks is skipped.
pub(super) fn or_skip<T: fmt::Debug>(found: Result<T, CgroupError>) -> Option<T> {
    let error = match found {
        Ok(found) => return Some(found),
        Err(error) => error,
    };
    assert!(error.to_string().contains("help:"), "{error}");
    let is_ci = std::env::var_os("CI").is_some();
    assert!(
        may_skip(&error, is_ci),
        "CI must be able to write control groups: {error}"
    );
    let count = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
    // In one piece: others print at the same time.
    let line = format!("SKIPPED, {count} of this program so far: {error}\n");
    let _ = io::stderr().write_all(line.as_bytes());
    None
}

#[test]
fn only_a_machine_without_groups_is_excused_where_ci_is_set() {
    use super::Controller;
    let none = CgroupError::None(Controller::Cpu);
    let refused = CgroupError::Refused {
        path: "/sys/fs/cgroup/regatta-1".into(),
        error: io::ErrorKind::PermissionDenied.into(),
    };
    assert!(may_skip(&none, true) && may_skip(&none, false) && may_skip(&refused, false));
    assert!(!may_skip(&refused, true));
}
