//! The two programs, built once in the profile of the tests.

use regatta_tests::workspace_root;
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::LazyLock,
};

static PROGRAMS: LazyLock<Programs> = LazyLock::new(build);

struct Programs {
    lab: PathBuf,
    node: PathBuf,
}

/// The program `regatta`.
pub fn lab() -> &'static Path {
    &PROGRAMS.lab
}

/// The program `regatta-node`.
pub fn node() -> &'static Path {
    &PROGRAMS.node
}

/// Lets cargo build the programs and say where they are.
fn build() -> Programs {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = Command::new(cargo);
    command
        .current_dir(workspace_root())
        .args(["build", "--locked", "--bins", "-p", "regatta", "-p", "regatta-node"])
        .args(["--message-format", "json-render-diagnostics"])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    // What cargo says about the package of the tests would make build scripts run anew.
    let told = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(told) {
            command.env_remove(name);
        }
    }
    let output = command.output().expect("cargo runs");
    assert!(output.status.success(), "the programs do not build");
    let executables: Vec<PathBuf> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .collect();
    let named = |name: &str| {
        let found = executables
            .iter()
            .find(|path| path.file_name().is_some_and(|file| file == name));
        found.unwrap_or_else(|| panic!("cargo built no `{name}`")).clone()
    };
    Programs {
        lab: named("regatta"),
        node: named("regatta-node"),
    }
}
