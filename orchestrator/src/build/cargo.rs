//! Building the node with cargo, and the facts about a build that its manifest states.

use super::target;
use crate::seal::Built;
use regatta_base::Digest;
use serde::Deserialize;
use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    process::Stdio,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader},
    process::Command,
};

/// Package of the program that nodes run.
pub(crate) const NODE_PACKAGE: &str = "regatta-node";
/// Package of the program that looks after nodes on other machines.
const AGENT_PACKAGE: &str = "regatta-agent";
/// Package of the lab. Only one program is built; naming others gives what they share the features that it was built with
/// for them, so that it is not built twice.
const LAB_PACKAGE: &str = env!("CARGO_PKG_NAME");
/// What makes its nodes obey an order to misbehave.
const BYZANTINE_FEATURE: &str = "regatta-node/byzantine";
/// Lines of the compiler's output that an error quotes.
const QUOTED_LINES_MAX: usize = 40;
/// Longest output of cargo that is read, in bytes: far beyond any build, so that a broken one cannot fill memory.
const OUTPUT_BYTES_MAX: u64 = 256 << 20;

/// Why there is no program to run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    /// No workspace where the scenario says that the source is.
    #[error(
        "no Cargo workspace in `{0}` or above it\n  help: set build.NAME.source to the folder of a Regatta checkout"
    )]
    NoWorkspace(PathBuf),
    /// The build tool does not start.
    #[error("cannot run `{program}`: {error}\n  help: install Rust with https://rustup.rs, or name it in CARGO")]
    NoCargo {
        /// What was started.
        program: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// The compiler refused the source.
    #[error("cargo build of `{package}` in `{root}` failed ({status})\n{lines}")]
    Failed {
        /// Package that was built.
        package: String,
        /// Workspace that it was built in.
        root: PathBuf,
        /// How cargo ended.
        status: std::process::ExitStatus,
        /// Its last lines.
        lines: String,
    },
    /// The compiler cannot make programs for these machines.
    #[error("the Rust target `{0}` is not installed\n  help: rustup target add {0}")]
    NoTarget(String),
    /// Parts in C cannot be compiled for these machines.
    #[error(
        "no C compiler for `{target}`: `{tried}` is not on the path\n  help: install one (Debian: apt-get install \
         musl-tools), or name it in CC_{}",
        .target.replace('-', "_")
    )]
    NoCompiler {
        /// The target.
        target: String,
        /// Names that were looked for.
        tried: String,
    },
    /// Cargo built no executable.
    #[error(
        "cargo built no executable `{0}`\n  help: check that the workspace has a package of that name with a main.rs"
    )]
    NoExecutable(String),
    /// A file of the build cannot be read.
    #[error("cannot read `{path}`: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
}

/// Finds the workspace that holds `start`: the nearest folder upwards whose `Cargo.toml` has a `[workspace]`.
///
/// # Errors
/// [`BuildError::NoWorkspace`] when there is none.
pub(crate) fn find_workspace(start: &Path) -> Result<PathBuf, BuildError> {
    let none = || BuildError::NoWorkspace(start.to_owned());
    let absolute = start.canonicalize().map_err(|_| none())?;
    let is_workspace = |folder: &&Path| {
        let text = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
        text.lines().any(|line| line.trim() == "[workspace]")
    };
    absolute
        .ancestors()
        .find(is_workspace)
        .map(Path::to_owned)
        .ok_or_else(none)
}

/// How a program is built.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Recipe<'a> {
    /// For tests with nodes that misbehave.
    pub(crate) byzantine: bool,
    /// For other machines than this one: a target of the compiler.
    pub(crate) target: Option<&'a str>,
}

/// Builds the node in release mode from the workspace at `root`; `on_line` gets cargo's progress line by line. Dropping
/// the future ends cargo.
///
/// # Errors
/// [`BuildError`] with the compiler's last lines when the source does not compile.
pub(crate) async fn build_node(
    root: &Path,
    recipe: Recipe<'_>,
    on_line: &mut dyn FnMut(&str),
) -> Result<Built, BuildError> {
    build(root, NODE_PACKAGE, recipe, on_line).await
}

/// Builds the agent of hosts as [`build_node`] builds the node.
///
/// # Errors
/// As [`build_node`].
pub(crate) async fn build_agent(root: &Path, target: &str, on_line: &mut dyn FnMut(&str)) -> Result<Built, BuildError> {
    let recipe = Recipe {
        byzantine: false,
        target: Some(target),
    };
    build(root, AGENT_PACKAGE, recipe, on_line).await
}

async fn build(
    root: &Path,
    package: &str,
    recipe: Recipe<'_>,
    on_line: &mut dyn FnMut(&str),
) -> Result<Built, BuildError> {
    if let Some(target) = recipe.target {
        target::check(root, target).await?;
    }
    let packages = match recipe.target {
        Some(_) => [NODE_PACKAGE, AGENT_PACKAGE],
        None => [NODE_PACKAGE, LAB_PACKAGE],
    };
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = Command::new(&cargo);
    command
        .current_dir(root)
        .args(["build", "--release", "--locked"])
        .args(packages.iter().flat_map(|package| ["-p", package]))
        .args(["--bin", package])
        .args(["--message-format", "json-render-diagnostics"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    if recipe.byzantine {
        command.args(["--features", BYZANTINE_FEATURE]);
    }
    if let Some(target) = recipe.target {
        command.args(["--target", target]);
    }
    forget_outer_package(&mut command);
    let mut child = command
        .spawn()
        .map_err(|error| BuildError::NoCargo { program: cargo, error })?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (executables, last_lines) = tokio::join!(executables(stdout), forward(stderr, on_line));
    let status = child.wait().await.map_err(|error| BuildError::Read {
        path: root.to_owned(),
        error,
    })?;
    if !status.success() {
        return Err(BuildError::Failed {
            package: package.to_owned(),
            root: root.to_owned(),
            status,
            lines: Vec::from(last_lines).join("\n"),
        });
    }
    let executable = executables
        .into_iter()
        .find(|path| path.file_name().is_some_and(|name| name == package))
        .ok_or_else(|| BuildError::NoExecutable(package.to_owned()))?;
    let built = facts(root, executable, "release").await?;
    Ok(Built {
        byzantine: recipe.byzantine,
        target: recipe.target.map_or(built.target, str::to_owned),
        ..built
    })
}

/// Removes what `cargo run` said about the lab's own package: build scripts that look at these would run anew, and
/// everything above them would be compiled again, each time that a build comes from somewhere else.
fn forget_outer_package(command: &mut Command) {
    let told = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(told) {
            command.env_remove(name);
        }
    }
}

/// States where an executable that was built elsewhere came from, as far as a workspace at `root` tells.
///
/// # Errors
/// [`BuildError::Read`] when there is no such file.
pub(crate) async fn describe_binary(root: Option<&Path>, executable: &Path) -> Result<Built, BuildError> {
    let executable = executable.canonicalize().map_err(|error| BuildError::Read {
        path: executable.to_owned(),
        error,
    })?;
    if let Some(root) = root {
        return facts(root, executable, "unknown").await;
    }
    Ok(Built {
        executable,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: "unknown".to_owned(),
        dirty: true,
        lock: Digest::ZERO,
        rustc: "unknown".to_owned(),
        target: host_target(),
        profile: "unknown".to_owned(),
        byzantine: false,
    })
}

/// Passes on the lines of `stream` and keeps the last ones.
async fn forward(stream: Option<impl AsyncRead + Unpin>, on_line: &mut dyn FnMut(&str)) -> VecDeque<String> {
    let mut last = VecDeque::new();
    let Some(stream) = stream else { return last };
    let mut lines = BufReader::new(stream.take(OUTPUT_BYTES_MAX)).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        on_line(&line);
        if last.len() == QUOTED_LINES_MAX {
            last.pop_front();
        }
        last.push_back(line);
    }
    last
}

/// One message of `cargo build --message-format json`; everything but executables is ignored.
#[derive(Deserialize)]
struct CargoMessage {
    executable: Option<PathBuf>,
}

/// The executables that cargo's messages name.
async fn executables(messages: Option<impl AsyncRead + Unpin>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Some(messages) = messages else { return found };
    let mut lines = BufReader::new(messages.take(OUTPUT_BYTES_MAX)).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let message = serde_json::from_str::<CargoMessage>(&line).ok();
        found.extend(message.and_then(|message| message.executable));
    }
    found
}

async fn facts(root: &Path, executable: PathBuf, profile: &str) -> Result<Built, BuildError> {
    let lock_path = root.join("Cargo.lock");
    let lock = std::fs::read(&lock_path).map_err(|error| BuildError::Read { path: lock_path, error })?;
    let verbose = output_of(root, "rustc", &["-vV"]).await.unwrap_or_default();
    let field = |name: &str| {
        verbose
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .map(str::to_owned)
    };
    let (commit, dirty) = commit(root).await;
    Ok(Built {
        executable,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit,
        dirty,
        lock: Digest::of_bytes(&lock),
        rustc: verbose.lines().next().unwrap_or("unknown").to_owned(),
        target: field("host: ").unwrap_or_else(host_target),
        profile: profile.to_owned(),
        byzantine: false,
    })
}

/// The commit of a workspace, and whether its files were changed since. Without git (a source archive) the commit is
/// unknown, and so is whether files were changed.
pub(crate) async fn commit(root: &Path) -> (String, bool) {
    let commit = output_of(root, "git", &["rev-parse", "HEAD"]).await;
    let changes = output_of(root, "git", &["status", "--porcelain", "--untracked-files=no"]).await;
    (
        commit.unwrap_or_else(|| "unknown".to_owned()),
        changes.is_none_or(|text| !text.is_empty()),
    )
}

/// The target triple of this machine as far as the standard library tells, for hosts without a compiler.
fn host_target() -> String {
    format!("{}-unknown-{}-gnu", std::env::consts::ARCH, std::env::consts::OS)
}

/// What `program` prints, trimmed; `None` when it is missing or fails.
pub(super) async fn output_of(folder: &Path, program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .await
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success().then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::block_on;

    #[test]
    fn the_workspace_is_found_from_a_folder_inside_it() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("a/b");
        std::fs::create_dir_all(&inner).unwrap();
        assert!(matches!(
            find_workspace(&inner.join("missing")),
            Err(BuildError::NoWorkspace(_))
        ));
        std::fs::write(folder.path().join("a/Cargo.toml"), "[package]\n").unwrap();
        std::fs::write(folder.path().join("Cargo.toml"), "[workspace]\nmembers = []\n").unwrap();
        assert_eq!(find_workspace(&inner).unwrap(), folder.path().canonicalize().unwrap());
    }

    #[test]
    fn executables_are_read_from_messages_and_noise_is_ignored() {
        let text = concat!(
            "{\"reason\":\"compiler-artifact\",\"executable\":null}\n",
            "not json\n",
            "{\"reason\":\"compiler-artifact\",\"executable\":\"/t/release/regatta-node\"}\n",
        );
        let found = block_on(executables(Some(text.as_bytes())));
        assert_eq!(found, [PathBuf::from("/t/release/regatta-node")]);
    }

    #[test]
    fn only_the_last_lines_are_quoted() {
        let text: String = (0..100).map(|i| format!("line {i}\n")).collect();
        let mut seen = 0;
        let last = block_on(forward(Some(text.as_bytes()), &mut |_| seen += 1));
        assert_eq!((seen, last.len()), (100, QUOTED_LINES_MAX));
        assert_eq!(last.back().map(String::as_str), Some("line 99"));
    }

    #[test]
    fn a_source_that_does_not_compile_is_an_error_with_the_compilers_words() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            folder.path().join("Cargo.toml"),
            "[workspace]\nmembers = [\"missing-member\"]\n",
        )
        .unwrap();
        let error = block_on(build_node(folder.path(), Recipe::default(), &mut |_| {})).unwrap_err();
        assert!(matches!(error, BuildError::Failed { .. }), "{error}");
        assert!(error.to_string().contains("missing-member"), "{error}");
    }

    #[test]
    fn a_given_binary_must_exist() {
        let folder = tempfile::tempdir().unwrap();
        let error = block_on(describe_binary(None, &folder.path().join("absent"))).unwrap_err();
        assert!(error.to_string().contains("absent"), "{error}");
    }
}
