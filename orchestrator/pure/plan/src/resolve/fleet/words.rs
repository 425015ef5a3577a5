//! Words of a host that end up in addresses, paths and the configuration of an SSH client: nothing but plain ones.

use super::{Draft, ip_of, name_of};
use crate::{diagnostic::Code, scenario::Host};
use regatta_base::ids::check_name;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Longest name of a host that the domain name system has.
const ADDR_BYTES_MAX: usize = 253;
/// Longest name of a user on Linux.
const USER_BYTES_MAX: usize = 32;
/// Longest folder: the path of a socket inside it, below a home, has to fit in 107 bytes.
const DIR_BYTES_MAX: usize = 48;
/// Longest path of a key file.
const KEY_BYTES_MAX: usize = 1024;
/// Most nodes that one host may be said to take.
const SLOTS_MAX: u32 = 1024;

/// Checks everything that a host says about itself alone, except its key.
pub(super) fn check(draft: &mut Draft<'_>, path: &str, host: &Host) {
    if let Some(name) = &host.name
        && let Err(error) = check_name(name)
    {
        let help = "the name becomes part of folders' names";
        draft.error(Code::BadName, &format!("{path}.name"), error.to_string(), help);
    }
    check_addr(draft, path, host);
    if host.port == Some(0) {
        draft.error(
            Code::BadPort,
            &format!("{path}.port"),
            "there is no port 0",
            "use port = 22",
        );
    }
    if let Some(user) = host.user.as_deref().filter(|user| !is_user(user)) {
        let message = format!("`{}` is not the name of a user", shown(user));
        draft.error(
            Code::BadHost,
            &format!("{path}.user"),
            message,
            "write it as user = \"ubuntu\"",
        );
    }
    if let Some(region) = &host.region
        && let Err(error) = check_name(region)
    {
        let help = "use a region of a group, as in regions = { eu = 1 }";
        draft.error(Code::BadName, &format!("{path}.region"), error.to_string(), help);
    }
    if let Some(slots) = host.slots.filter(|slots| *slots > SLOTS_MAX) {
        let message = format!(
            "{slots} slots of `{}` exceed the limit of {SLOTS_MAX}",
            shown(name_of(host))
        );
        draft.error(
            Code::TooManyNodes,
            &format!("{path}.slots"),
            message,
            "use fewer slots and more hosts",
        );
    }
    check_key_file(draft, path, host);
    if let Some(dir) = host.dir.as_deref().filter(|dir| !is_dir(dir)) {
        let message = format!("`{}` is not a folder that the lab makes on a host", shown(dir));
        let help = format!("use at most {DIR_BYTES_MAX} letters, digits and - _ . / without `..`: dir = \".regatta\"");
        draft.error(Code::BadHost, &format!("{path}.dir"), message, help);
    }
    if host.spare && host.slots == Some(0) {
        let message = format!("the spare host `{}` has no slots", shown(name_of(host)));
        draft.error(
            Code::BadHost,
            &format!("{path}.slots"),
            message,
            "use slots = 1 or more",
        );
    }
}

fn check_addr(draft: &mut Draft<'_>, path: &str, host: &Host) {
    let (addr, at) = (&host.addr, format!("{path}.addr"));
    if addr.trim_matches(['[', ']']).parse::<Ipv6Addr>().is_ok() {
        let message = format!("`{}` is an IPv6 address, and nodes have IPv4 addresses", shown(addr));
        draft.error(Code::BadHost, &at, message, "use the host's IPv4 address or name");
        return;
    }
    if addr.contains('@') || addr.contains(':') {
        let message = format!("`{}` is more than an address", shown(addr));
        draft.error(
            Code::BadHost,
            &at,
            message,
            "write user and port as keys of their own: user = \"...\", port = 22",
        );
        return;
    }
    if !is_addr(addr) {
        let message = format!("`{}` is neither an IPv4 address nor the name of a host", shown(addr));
        draft.error(Code::BadHost, &at, message, "write it as addr = \"192.0.2.7\"");
        return;
    }
    let serves = host.slots != Some(0);
    match ip_of(host) {
        Some(ip) if !is_usable(ip) => {
            let key = if host.ip.is_some() { "ip" } else { "addr" };
            let message = format!("{ip} is no address of one host");
            draft.error(
                Code::BadHost,
                &format!("{path}.{key}"),
                message,
                "use the address of its network card",
            );
        }
        None if serves => {
            let message = format!(
                "nodes on `{}` need an address, and names are not looked up",
                shown(addr)
            );
            draft.error(
                Code::BadHost,
                &at,
                message,
                "add ip = \"192.0.2.7\", as other hosts reach it",
            );
        }
        _ => {}
    }
}

/// The path goes into the configuration of the SSH client; that it is no key is worth a word of its own, which must not
/// repeat what was written.
fn check_key_file(draft: &mut Draft<'_>, path: &str, host: &Host) {
    let Some(key) = &host.key else { return };
    let at = format!("{path}.key");
    if key.contains("PRIVATE KEY") || key.contains('\n') {
        let message = format!(
            "`key` of `{}` holds a key, and scenarios are no place for secrets",
            shown(name_of(host))
        );
        let help = "name a file: key = \"~/.ssh/id_ed25519\"; and make a new key, since this one was written down";
        draft.error(Code::BadHost, &at, message, help);
    } else if key.is_empty()
        || key.len() > KEY_BYTES_MAX
        || key.chars().any(|c| c.is_control() || "\"%$`\\".contains(c))
    {
        let message = format!("`{}` is not a path that SSH clients take as it is", shown(key));
        draft.error(Code::BadHost, &at, message, "write it as key = \"~/.ssh/id_ed25519\"");
    }
}

/// One to 63 letters, digits and hyphens between dots, so that nothing is taken for an option.
fn is_addr(addr: &str) -> bool {
    let label = |label: &str| {
        let plain = label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        plain && !label.is_empty() && label.len() <= 63 && !label.starts_with('-') && !label.ends_with('-')
    };
    // Four numbers that are no address are a slip and not a name.
    let numbers = addr.chars().all(|c| c.is_ascii_digit() || c == '.');
    addr.len() <= ADDR_BYTES_MAX && addr.split('.').all(label) && (!numbers || addr.parse::<Ipv4Addr>().is_ok())
}

fn is_usable(ip: Ipv4Addr) -> bool {
    !(ip.is_unspecified() || ip.is_broadcast() || ip.is_multicast())
}

fn is_user(user: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    user.len() <= USER_BYTES_MAX
        && user.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && user.chars().all(plain)
}

fn is_dir(dir: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    let parts = || {
        dir.trim_end_matches('/')
            .split('/')
            .skip(usize::from(dir.starts_with('/')))
    };
    (1..=DIR_BYTES_MAX).contains(&dir.trim_end_matches('/').len())
        && dir.chars().all(plain)
        && !dir.starts_with('-')
        && parts().all(|part| !part.is_empty() && part != "." && part != "..")
}

/// As much of it as a message holds, without what would break the line.
fn shown(text: &str) -> String {
    text.chars()
        .take(60)
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_names_users_and_folders() {
        for good in ["192.0.2.7", "node-7.example.org", "a", "x_1"] {
            assert!(is_addr(good), "{good}");
        }
        for bad in [
            "",
            "-oProxyCommand=x",
            "a..b",
            "a b",
            "1.2.3",
            "256.1.1.1",
            "a-",
            "ä",
            &"a".repeat(64),
        ] {
            assert!(!is_addr(bad), "{bad}");
        }
        for good in ["ubuntu", "_x", "a.b-c", "0x"] {
            assert!(is_user(good), "{good}");
        }
        for bad in ["", "-l", "a b", "a@b", &"u".repeat(33)] {
            assert!(!is_user(bad), "{bad}");
        }
        for good in [".regatta", "/srv/regatta", "a/b/"] {
            assert!(is_dir(good), "{good}");
        }
        for bad in [
            "",
            "/",
            "..",
            "a/../b",
            "a//b",
            "./a",
            "-x",
            "~/x",
            "a b",
            &"d".repeat(49),
        ] {
            assert!(!is_dir(bad), "{bad}");
        }
    }
}
