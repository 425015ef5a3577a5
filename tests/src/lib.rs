//! What the tests of the whole workspace share: where it is.

use std::path::PathBuf;

/// The folder of the workspace that these tests were compiled from.
#[must_use]
pub fn workspace_root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map_or(here.clone(), PathBuf::from)
}
