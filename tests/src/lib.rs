//! What the tests of the whole workspace share: where it is.

use std::path::PathBuf;

/// The folder of the workspace that these tests are run from, or were compiled from when cargo does not run them: a
/// folder of build products may have been copied from another checkout.
#[must_use]
pub fn workspace_root() -> PathBuf {
    let told = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let here = told.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    here.parent().map_or(here.clone(), PathBuf::from)
}
