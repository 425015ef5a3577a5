//! Tells the program which source it is built from; never fails, and needs nothing but the compiler.

use std::{path::Path, process::Command};

/// What the binary is made of: a change elsewhere in the repository does not make the build dirty.
const SOURCES: [&str; 4] = ["node", "Cargo.toml", "Cargo.lock", "rust-toolchain.toml"];

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    println!("cargo::rustc-env=REGATTA_COMMIT={}", commit(root));
    for (name, variable) in [("REGATTA_TARGET", "TARGET"), ("REGATTA_PROFILE", "PROFILE")] {
        println!(
            "cargo::rustc-env={name}={}",
            std::env::var(variable).unwrap_or_default()
        );
    }
    for source in SOURCES {
        watch(&root.join(source));
    }
    // A commit changes the log of HEAD and no source file.
    if let Some(path) = git(root, &["rev-parse", "--git-path", "logs/HEAD"]) {
        watch(&root.join(path));
    }
}

/// Makes cargo run this again when `path` changes; a path that does not exist would make it always run.
fn watch(path: &Path) {
    if path.exists() {
        println!("cargo::rerun-if-changed={}", path.display());
    }
}

fn commit(root: &Path) -> String {
    let Some(commit) = git(root, &["rev-parse", "--verify", "HEAD"]) else {
        return "unknown".to_owned();
    };
    let mut status = vec!["status", "--porcelain", "--"];
    status.extend(SOURCES);
    match git(root, &status) {
        Some(changes) if changes.is_empty() => commit,
        _ => format!("{commit}-dirty"),
    }
}

/// Trimmed output of one git command; `None` without git, outside a repository, or when it fails.
fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        // Asking for the status may not take a lock that somebody else needs.
        .env("GIT_OPTIONAL_LOCKS", "0")
        .arg("-C")
        .arg(root)
        .args(arguments)
        .output()
        .ok()?;
    if !output.status.success() {
        return None;
    }
    String::from_utf8(output.stdout).ok().map(|text| text.trim().to_owned())
}
