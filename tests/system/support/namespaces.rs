//! Whether tests may make network namespaces here.

use super::{lab::Lab, skip::skip};

/// Whether this user may; says so where not, which is no success where CI is set.
pub fn allowed(lab: &Lab) -> bool {
    let scenario = lab.scenario("[provider]\nkind = \"netns\"\n");
    let ended = lab.command(&["plan", &scenario]);
    if ended.code() == Some(0) {
        return true;
    }
    ended.failure(2, &["error[T056]", "help: run as root", "kind = \"local\""]);
    skip(&ended.stderr, false);
    false
}
