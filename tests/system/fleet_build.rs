//! Programs that the lab builds for hosts itself: what is said on a machine that cannot build them.

use super::{
    fleet_runs::{Fleet, SHORT},
    support::{
        process::{Ended, Running},
        programs,
        sshd::SshServers,
    },
};
use regatta_tests::workspace_root;
use std::{os::unix::fs::symlink, path::Path};

/// Hosts for a program that is built from this workspace; `target` is that of the build.
fn fleet(hosts: u8, target: &str) -> Fleet {
    let root = workspace_root();
    let more = format!("{SHORT}[build.main]\nsource = \"{}\"\n{target}", root.display());
    Fleet::new(SshServers::start(hosts), 0, &more)
}

/// Starts a run that has to build everything, with more of an environment.
fn start(fleet: &Fleet, environment: &[&str]) -> Running {
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let (lab, runs, key) = (
        path(programs::lab()),
        path(&fleet.lab.runs()),
        path(&fleet.lab.path("release.pem")),
    );
    let command = [&lab, "run", fleet.scenario(), "--plain", "--key", &key, "--runs", &runs];
    let arguments = [environment, &command].concat();
    Running::start(Path::new("/usr/bin/env"), &arguments, &fleet.lab.path("."), "build")
}

/// Ends what cannot begin, and checks that no host was touched.
fn refused(fleet: &Fleet, environment: &[&str], says: &[&str]) {
    let ended: Ended = start(fleet, environment).wait();
    ended.failure(1, says);
    assert!(!fleet.servers.log(0).contains("Accepted"), "no host was touched");
}

#[test]
fn a_missing_target_is_named_with_what_to_install() {
    let other = "riscv64gc-unknown-linux-musl";
    let fleet = fleet(5, &format!("target = \"{other}\"\n"));
    let missing = format!("the Rust target `{other}` is not installed");
    refused(&fleet, &[], &[&missing, &format!("help: rustup target add {other}")]);
}

#[test]
fn a_missing_compiler_is_named_with_what_to_install() {
    let fleet = fleet(5, "");
    // A path with everything that a build needs but the compiler for musl.
    let folder = tempfile::tempdir().unwrap();
    for name in ["cargo", "rustc", "git"] {
        let path = std::env::var_os("PATH").unwrap();
        let found = std::env::split_paths(&path).map(|folder| folder.join(name));
        let program = found.into_iter().find(|path| path.is_file());
        symlink(program.unwrap_or_else(|| panic!("no {name}")), folder.path().join(name)).unwrap();
    }
    let path = format!("PATH={}", folder.path().display());
    let unset = ["-u", "CC", "-u", "TARGET_CC", "-u", "CC_x86_64_unknown_linux_musl"];
    let environment = [&unset[..], &[&path]].concat();
    refused(
        &fleet,
        &environment,
        &[
            "no C compiler for `x86_64-unknown-linux-musl`",
            "`musl-gcc` is not on the path",
            "help: install one (Debian: apt-get install musl-tools)",
        ],
    );
}
