//! The three programs, built once in the profile of the tests.

use regatta_tests::workspace_root;
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::LazyLock,
};

static PROGRAMS: LazyLock<Programs> = LazyLock::new(build);

struct Programs {
    lab: PathBuf,
    node: PathBuf,
    agent: PathBuf,
    byzantine_node: PathBuf,
}

/// The program `regatta`.
pub fn lab() -> &'static Path {
    &PROGRAMS.lab
}

/// The program `regatta-node`.
pub fn node() -> &'static Path {
    &PROGRAMS.node
}

/// The program `regatta-node` as it is built to misbehave.
pub fn byzantine_node() -> &'static Path {
    &PROGRAMS.byzantine_node
}

/// What goes to hosts, without what only a debugger reads. REGATTA_TEST_NODE and REGATTA_TEST_AGENT name other builds, such
/// as the static ones that hosts get in earnest.
static FOR_HOSTS: LazyLock<(PathBuf, PathBuf)> = LazyLock::new(|| {
    let other = |name: &str| std::env::var_os(name).map(PathBuf::from);
    (
        other("REGATTA_TEST_NODE").unwrap_or_else(|| stripped(node())),
        other("REGATTA_TEST_AGENT").unwrap_or_else(|| stripped(&PROGRAMS.agent)),
    )
});

/// The program `regatta-node` as hosts get it.
pub fn node_for_hosts() -> &'static Path {
    &FOR_HOSTS.0
}

/// The program `regatta-agent` as hosts get it.
pub fn agent_for_hosts() -> &'static Path {
    &FOR_HOSTS.1
}

/// A smaller copy in a folder beside the program.
fn stripped(program: &Path) -> PathBuf {
    let target = program.with_file_name("for-hosts").join(program.file_name().unwrap());
    fs::create_dir_all(target.parent().unwrap()).unwrap();
    let copy = target.with_extension(std::process::id().to_string());
    let status = Command::new("strip").arg("-o").arg(&copy).arg(program).status();
    assert!(status.expect("strip comes with the C compiler").success());
    fs::rename(&copy, &target).unwrap();
    target
}

/// Lets cargo build the programs.
fn build() -> Programs {
    // Both builds have one place: the one for tests moves out of the way before the other is made.
    let misbehaving = cargo_build(&["--features", "regatta-node/byzantine"]);
    let built = executable(&misbehaving, "regatta-node");
    let byzantine_node = built.with_file_name("byzantine").join("regatta-node");
    fs::create_dir_all(byzantine_node.parent().unwrap()).unwrap();
    // A name that other tests may be executing is replaced and never written to.
    let copy = byzantine_node.with_extension(std::process::id().to_string());
    fs::copy(&built, &copy).unwrap();
    fs::rename(&copy, &byzantine_node).unwrap();
    let executables = cargo_build(&[]);
    Programs {
        lab: executable(&executables, "regatta"),
        node: executable(&executables, "regatta-node"),
        agent: executable(&executables, "regatta-agent"),
        byzantine_node,
    }
}

fn executable(executables: &[PathBuf], name: &str) -> PathBuf {
    let found = executables
        .iter()
        .find(|path| path.file_name().is_some_and(|file| file == name));
    found.unwrap_or_else(|| panic!("cargo built no `{name}`")).clone()
}

/// Builds the programs and returns where cargo says that they are. All are named each time, so that what they share has
/// the same features and is built once.
fn cargo_build(more: &[&str]) -> Vec<PathBuf> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = Command::new(cargo);
    command
        .current_dir(workspace_root())
        .args(["build", "--locked", "--bins"])
        .args(["-p", "regatta", "-p", "regatta-node", "-p", "regatta-agent"])
        .args(["--message-format", "json-render-diagnostics"])
        .args(more)
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
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .collect()
}
