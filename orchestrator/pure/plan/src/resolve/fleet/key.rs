//! Pinned keys of hosts: present, well formed, and of one host each.

use super::{Draft, Pinning, name_of};
use crate::{diagnostic::Code, scenario::Host};

/// Kinds of keys with the length of the key itself where every key of the kind has the same.
const KINDS: [(&str, Option<usize>); 5] = [
    ("ssh-ed25519", Some(51)),
    ("ecdsa-sha2-nistp256", Some(104)),
    ("ecdsa-sha2-nistp384", Some(136)),
    ("ecdsa-sha2-nistp521", Some(172)),
    ("ssh-rsa", None),
];
/// Longest key in characters: RSA of 16,384 bits, which OpenSSH takes at most.
const KEY_CHARACTERS_MAX: usize = 3000;

pub(super) fn check(draft: &mut Draft<'_>, index: usize, host: &Host, pinning: Pinning) {
    let path = format!("provider.host.{index}");
    let name = name_of(host);
    let help = "`regatta hosts trust SCENARIO` shows the keys of hosts: compare one with the host's own, then pin it";
    let Some(key) = &host.host_key else {
        if pinning == Pinning::Needed {
            draft.error(
                Code::BadHostKey,
                &path,
                format!("host `{name}` has no pinned key"),
                help,
            );
        }
        return;
    };
    if let Err(reason) = parse(key) {
        let message = format!("the pinned key of host `{name}` {reason}");
        let help = "write the whole line of the host's ssh_host_ed25519_key.pub: host_key = \"ssh-ed25519 AAAA...\"";
        draft.error(Code::BadHostKey, &format!("{path}.host_key"), message, help);
    }
}

/// Hosts that share a key are one host under two names, or clones of which each can play the other.
pub(super) fn check_unique(draft: &mut Draft<'_>) {
    let mut seen: Vec<(&str, &str)> = Vec::new();
    let mut problems = Vec::new();
    for host in &draft.hosts {
        let Some(key) = host.host_key.as_deref() else { continue };
        match seen.iter().find(|(other, _)| *other == key) {
            Some((_, other)) => {
                let message = format!("host `{}` has the key of `{other}`", host.name);
                problems.push((format!("provider.host.{}.host_key", host.index), message));
            }
            None => seen.push((key, &host.name)),
        }
    }
    for (path, message) in problems {
        let help = "pin each host's own key; clones of one image need new keys: ssh-keygen -A";
        draft.error(Code::BadHostKey, &path, message, help);
    }
}

/// The key without what somebody wrote behind it.
pub(super) fn without_comment(key: &str) -> String {
    key.split_ascii_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

/// Why `text` is no public key, as the end of a sentence.
fn parse(text: &str) -> Result<(), String> {
    let mut words = text.split_ascii_whitespace();
    let (kind, key) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if kind.starts_with("SHA256:") || kind.starts_with("MD5:") {
        return Err("is a fingerprint and not the key".to_owned());
    }
    let Some((name, length)) = KINDS.iter().find(|(name, _)| *name == kind) else {
        let known: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
        return Err(format!("does not begin with a kind of key: {}", known.join(", ")));
    };
    if key.len() > KEY_CHARACTERS_MAX {
        return Err(format!("is longer than {KEY_CHARACTERS_MAX} characters"));
    }
    let bytes = base64(key).ok_or("is not base64")?;
    let begins = (name.len() as u32).to_be_bytes();
    if bytes.get(..4) != Some(&begins) || bytes.get(4..4 + name.len()) != Some(name.as_bytes()) {
        return Err(format!("is no key of kind {name}"));
    }
    match length {
        Some(length) if bytes.len() != *length => Err(format!("has {} bytes instead of {length}", bytes.len())),
        None if bytes.len() < 256 => Err(format!("has {} bytes: too few for RSA", bytes.len())),
        _ => Ok(()),
    }
}

/// Decodes base64 with padding, as OpenSSH writes it.
fn base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    if text.is_empty() || !text.len().is_multiple_of(4) || text.len() - digits.len() > 2 {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut held) = (0_u32, 0_u32);
    for digit in digits.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    (bits == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

    #[test]
    fn keys_as_openssh_writes_them() {
        assert_eq!(parse(ED25519), Ok(()));
        assert_eq!(parse(&format!("{ED25519} root@host")), Ok(()));
        assert_eq!(without_comment(&format!(" {ED25519}  root@host")), ED25519);
    }

    #[test]
    fn what_is_no_key_says_why() {
        let cases = [
            ("SHA256:abc", "is a fingerprint"),
            ("", "does not begin with a kind"),
            ("ssh-dss AAAA", "does not begin with a kind"),
            ("ssh-ed25519 AA!A", "is not base64"),
            ("ssh-ed25519 AAAA", "is no key of kind"),
            (&ED25519[..ED25519.len() - 4], "has 48 bytes instead of 51"),
            ("ssh-rsa AAAAB3NzaC1yc2E=", "too few for RSA"),
        ];
        for (text, reason) in cases {
            assert!(parse(text).unwrap_err().contains(reason), "{text}");
        }
    }

    #[test]
    fn base64_of_the_standard() {
        let text = |text: &str| base64(text).map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(text("Zm9vYmFy").as_deref(), Some("foobar"));
        assert_eq!(text("Zm9vYg==").as_deref(), Some("foob"));
        assert_eq!(text("Zm9vYmE=").as_deref(), Some("fooba"));
        for bad in ["", "Z", "Zm9vYg=", "Zm9vYh==", "====", "Zm=v"] {
            assert_eq!(base64(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in ".{0,80}", key in "[A-Za-z0-9+/=]{0,80}") {
            let _ = (parse(&text), parse(&format!("ssh-ed25519 {key}")), base64(&key));
        }
    }
}
