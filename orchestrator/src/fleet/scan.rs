//! Keys that servers show to anybody, for a person to compare before one of them is pinned.

use super::{
    connect::Connections,
    error::{HostError, quoted},
    probe::run,
    target::Target,
};
use std::{process::Stdio, time::Duration};
use tokio::{io::AsyncWriteExt, process::Command};

/// The program that asks.
const SCANNER: &str = "ssh-keyscan";
/// How long a server may take to show its key, in seconds.
const SCAN_TIMEOUT_S: u32 = 10;
/// The same with the start of the program around it.
const SCAN_DEADLINE: Duration = Duration::from_secs(20);
/// Kinds of keys in order of preference.
const KINDS: [&str; 3] = ["ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"];
/// Longest output that is looked at, in bytes.
const OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// A key that a server showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ScannedKey {
    /// `TYPE BASE64`, as a scenario pins it.
    pub(crate) key: String,
    /// `SHA256:...`, as people compare it.
    pub(crate) fingerprint: String,
}

/// Asks the server of `target` for its keys and takes the best one. One behind another host is asked from there, over a
/// connection to that host, whose key must be pinned.
///
/// # Errors
/// [`HostError::Unreachable`] when it shows none, [`HostError::Client`] when this machine has no `ssh-keyscan`.
pub(crate) async fn scan(connections: &Connections, target: &Target) -> Result<ScannedKey, HostError> {
    let arguments = arguments(target);
    let (output, complaints) = match target.jump.and_then(|jump| connections.target(jump)) {
        Some(jump) => {
            let words = format!("{SCANNER} {}", arguments.join(" "));
            run(connections, jump, &words, SCAN_DEADLINE).await?
        }
        None => {
            let mut command = Command::new(SCANNER);
            command.args(arguments);
            output_of(command, None).await?
        }
    };
    let key = best(&output).ok_or_else(|| HostError::Unreachable(quoted(&complaints)))?;
    let fingerprint = fingerprint(&key).await?;
    Ok(ScannedKey { key, fingerprint })
}

fn arguments(target: &Target) -> [String; 8] {
    let words = [
        "-T",
        &SCAN_TIMEOUT_S.to_string(),
        "-t",
        "ed25519,ecdsa,rsa",
        "-p",
        &target.port.to_string(),
        "--",
    ];
    let [a, b, c, d, e, f, g] = words.map(str::to_owned);
    [a, b, c, d, e, f, g, target.addr.clone()]
}

/// The best key among the lines `HOST TYPE BASE64`.
fn best(output: &str) -> Option<String> {
    let key = |line: &str| {
        let mut words = line.split_whitespace();
        let (kind, bytes) = (words.nth(1)?, words.next()?);
        let rank = KINDS.iter().position(|known| *known == kind)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "+/=".contains(c);
        bytes.chars().all(plain).then(|| (rank, format!("{kind} {bytes}")))
    };
    let keys = output.lines().filter(|line| !line.starts_with('#')).filter_map(key);
    keys.min_by_key(|(rank, _)| *rank).map(|(_, key)| key)
}

/// The fingerprint of a key by `ssh-keygen`.
///
/// # Errors
/// [`HostError::Client`] when it is none, or this machine has no `ssh-keygen`.
pub(crate) async fn fingerprint(key: &str) -> Result<String, HostError> {
    let mut command = Command::new("ssh-keygen");
    command.args(["-l", "-E", "sha256", "-f", "-"]);
    let (output, complaints) = output_of(command, Some(key)).await?;
    let print = output.split_whitespace().find(|word| word.starts_with("SHA256:"));
    print
        .map(str::to_owned)
        .ok_or_else(|| HostError::Client(quoted(&complaints)))
}

async fn output_of(mut command: Command, input: Option<&str>) -> Result<(String, String), HostError> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let failed = |error: std::io::Error| HostError::Client(format!("{program}: {error}"));
    command
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(failed)?;
    if let (Some(text), Some(mut stdin)) = (input, child.stdin.take()) {
        stdin.write_all(format!("{text}\n").as_bytes()).await.map_err(failed)?;
    }
    let output = tokio::time::timeout(SCAN_DEADLINE, child.wait_with_output()).await;
    let late = HostError::Late {
        step: "asking for its key",
        after: SCAN_DEADLINE,
    };
    let output = output.map_err(|_| late)?.map_err(failed)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(OUTPUT_BYTES_MAX)]).into_owned();
    Ok((text(&output.stdout), text(&output.stderr)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::block_on;
    use proptest::prelude::*;

    #[test]
    fn the_best_kind_of_key_is_taken_and_noise_left_out() {
        let output =
            "# h:22 SSH-2.0\nh ssh-rsa AAAAB3\nh ssh-ed25519 AAAAC3\nh ssh-dss AAAA\nh ecdsa-sha2-nistp256 A;B\n";
        assert_eq!(best(output).as_deref(), Some("ssh-ed25519 AAAAC3"));
        assert_eq!(best("h ssh-dss AAAA\n"), None);
    }

    #[test]
    fn a_fingerprint_is_what_openssh_shows() {
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";
        let print = block_on(fingerprint(key)).unwrap();
        assert!(print.starts_with("SHA256:") && print.len() == 50, "{print}");
        assert!(block_on(fingerprint("ssh-ed25519 nothing")).is_err());
    }

    proptest! {
        #[test]
        fn whatever_a_server_shows_never_panics(text in any::<String>()) {
            let _ = best(&text);
        }
    }
}
