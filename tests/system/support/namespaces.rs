//! Whether tests may make network namespaces here.

use super::lab::Lab;

/// Whether this user may; says so where not, which is no success where CI is set.
pub fn allowed(lab: &Lab) -> bool {
    let scenario = lab.scenario("[provider]\nkind = \"netns\"\n");
    let ended = lab.command(&["plan", &scenario]);
    if ended.code() == Some(0) {
        return true;
    }
    ended.failure(2, &["error[T056]", "help: run as root", "kind = \"local\""]);
    assert!(std::env::var_os("CI").is_none(), "CI must be able to: {}", ended.stderr);
    eprintln!("SKIPPED: {}", ended.stderr);
    false
}
