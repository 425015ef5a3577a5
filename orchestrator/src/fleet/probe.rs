//! What a host is, asked over one connection without putting anything there.

use super::{
    connect::Connections,
    error::{HostError, quoted},
    target::Target,
};
use openssh::Stdio;
use std::time::Duration;

/// How long a host may take to answer.
const PROBE_DEADLINE: Duration = Duration::from_secs(20);
/// Longest answer that is looked at, in bytes.
const OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// One line with everything, for whatever shell the user has.
const QUESTION: &str = "exec /bin/sh -c 'echo \"regatta-probe $(uname -m) $(getconf _NPROCESSORS_ONLN) \
    $(while read -r k v u; do [ \"$k\" = MemAvailable: ] && echo $v; done </proc/meminfo) \
    $(df -Pk . | tail -n 1 | tr -s \" \" | cut -d \" \" -f 4) $(uname -sr)\"'";
/// What the line begins with.
const MARK: &str = "regatta-probe ";

/// What a host says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Probed {
    /// Architecture.
    pub(crate) arch: String,
    /// Cores.
    pub(crate) cores: u32,
    /// Memory that processes may still take, in bytes.
    pub(crate) memory_bytes: u64,
    /// Free bytes of the disk that the home folder is on.
    pub(crate) disk_bytes: u64,
    /// Name and release of the kernel.
    pub(crate) kernel: String,
}

/// Connects to `target` and asks what it is.
///
/// # Errors
/// [`HostError`].
pub(crate) async fn probe(connections: &Connections, target: &Target) -> Result<Probed, HostError> {
    let (output, complaints) = run(connections, target, QUESTION, PROBE_DEADLINE).await?;
    let line = output.lines().find_map(|line| line.trim().strip_prefix(MARK));
    line.and_then(read)
        .ok_or_else(|| HostError::Bootstrap(quoted(&complaints)))
}

fn read(line: &str) -> Option<Probed> {
    let mut words = line.splitn(5, ' ');
    let mut word = || words.next();
    Some(Probed {
        arch: word()?.to_owned(),
        cores: word()?.parse().ok()?,
        memory_bytes: word()?.parse::<u64>().ok()?.checked_mul(1024)?,
        disk_bytes: word()?.parse::<u64>().ok()?.checked_mul(1024)?,
        kernel: quoted(word()?),
    })
}

/// Runs one command on `target` to its end; what it printed and what it complained about.
///
/// # Errors
/// [`HostError`] when there is no connection, or not for long enough.
pub(super) async fn run(
    connections: &Connections,
    target: &Target,
    command: &str,
    deadline: Duration,
) -> Result<(String, String), HostError> {
    let session = connections.connect(target).await?;
    let mut child = session.raw_command(command);
    child.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = tokio::time::timeout(deadline, child.output()).await;
    let late = HostError::Late {
        step: "a command",
        after: deadline,
    };
    let output = output
        .map_err(|_| late)?
        .map_err(|error| HostError::Lost(quoted(&error.to_string())))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(OUTPUT_BYTES_MAX)]).into_owned();
    Ok((text(&output.stdout), text(&output.stderr)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_question_is_answered_by_a_plain_shell() {
        let output = std::process::Command::new("/bin/sh")
            .args(["-c", QUESTION])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let probed = read(text.trim().strip_prefix(MARK).unwrap()).unwrap();
        assert_eq!(probed.arch, std::env::consts::ARCH);
        assert!(
            probed.cores > 0 && probed.memory_bytes > 0 && probed.kernel.starts_with("Linux "),
            "{probed:?}"
        );
    }

    proptest! {
        #[test]
        fn arbitrary_answers_never_panic(line in any::<String>()) {
            let _ = read(&line);
        }
    }
}
