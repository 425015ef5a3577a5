//! The SSH client's configuration and known hosts, made for one fleet and used for nothing else.

use super::target::Target;
use std::{fmt::Write, path::Path, time::Duration};

/// How long making a TCP connection and agreeing on keys may take.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the client asks whether the host is still there, in seconds, and how often without an answer.
const ALIVE: (u32, u32) = (5, 3);

/// What holds for all hosts. AES in Galois mode and X25519 cost the client a sixth of what its first choices cost.
const COMMON: &str = "\
Ciphers aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com
KexAlgorithms curve25519-sha256,curve25519-sha256@libssh.org,sntrup761x25519-sha512@openssh.com
PreferredAuthentications publickey
PubkeyAuthentication yes
PasswordAuthentication no
KbdInteractiveAuthentication no
HostbasedAuthentication no
GSSAPIAuthentication no
BatchMode yes
StrictHostKeyChecking yes
CheckHostIP no
UpdateHostKeys no
GlobalKnownHostsFile /dev/null
ForwardAgent no
ForwardX11 no
PermitLocalCommand no
RequestTTY no
EscapeChar none
Compression no
TCPKeepAlive yes
LogLevel ERROR
";

/// The configuration: one entry for each host, by its alias.
pub(super) fn client_config(targets: &[Target], known_hosts: &Path) -> String {
    let mut text = String::new();
    for target in targets {
        entry(&mut text, targets, target);
    }
    let (interval, count) = ALIVE;
    let mut common = format!("Host *\n{COMMON}UserKnownHostsFile {}\n", quoted(known_hosts));
    let _ = writeln!(common, "ConnectTimeout {}", CONNECT_TIMEOUT.as_secs());
    let _ = writeln!(common, "ServerAliveInterval {interval}\nServerAliveCountMax {count}");
    // The first value of an option counts, so what is said of all comes last.
    text + &common
}

fn entry(text: &mut String, targets: &[Target], target: &Target) {
    let alias = target.alias();
    let _ = writeln!(
        text,
        "Host {alias}\nHostName {}\nHostKeyAlias {alias}",
        escaped(&target.addr)
    );
    let _ = writeln!(text, "Port {}", target.port);
    if let Some(user) = &target.user {
        let _ = writeln!(text, "User {user}");
    }
    if let Some(key) = &target.key {
        let _ = writeln!(
            text,
            "IdentityFile {}\nIdentitiesOnly yes\nIdentityAgent none",
            quoted(key)
        );
    }
    let jump = target
        .jump
        .and_then(|jump| targets.iter().find(|target| target.index == jump));
    if let Some(jump) = jump {
        let _ = writeln!(text, "ProxyJump {}", jump.alias());
    }
    text.push('\n');
}

/// The pinned key of each host that has one, by its alias.
pub(super) fn known_hosts(targets: &[Target]) -> String {
    let line = |target: &Target| Some(format!("{} {}\n", target.alias(), target.host_key.as_deref()?));
    targets.iter().filter_map(line).collect()
}

/// The client replaces `%` and a letter.
fn escaped(text: &str) -> String {
    text.replace('%', "%%")
}

fn quoted(path: &Path) -> String {
    format!("\"{}\"", escaped(&path.to_string_lossy()))
}

#[cfg(test)]
mod tests {
    use super::{super::target::target, *};

    #[test]
    fn each_host_has_an_entry_with_its_own_key_and_nothing_is_asked_for() {
        let mut targets = vec![target(0), target(1)];
        targets[1].jump = Some(0);
        targets[1].user = Some("someone".to_owned());
        let text = client_config(&targets, Path::new("/x/known hosts"));
        assert!(
            text.contains("Host h1\nHostName 127.96.0.2\nHostKeyAlias h1\nPort 2222\nUser someone\n"),
            "{text}"
        );
        assert!(
            text.contains("IdentityFile \"/keys/50%% of it\"\nIdentitiesOnly yes\n"),
            "{text}"
        );
        assert!(text.contains("ProxyJump h0\n") && text.contains("UserKnownHostsFile \"/x/known hosts\"\n"));
        for option in [
            "StrictHostKeyChecking yes",
            "BatchMode yes",
            "PasswordAuthentication no",
            "ForwardAgent no",
        ] {
            assert!(text.contains(option), "{option}");
        }
        assert!(text.find("Host h0") < text.find("Host *"), "the first value counts");
        assert_eq!(known_hosts(&targets), "h0 ssh-ed25519 AAAA\nh1 ssh-ed25519 AAAA\n");
    }
}
