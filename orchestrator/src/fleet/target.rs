//! A host as the SSH client must know it: checked words only.

use super::error::HostError;
use regatta_plan::PlannedHost;
use std::path::{Path, PathBuf};

/// Folder of the lab on a host that names none, below the user's home.
pub(crate) const DEFAULT_DIR: &str = ".regatta";

/// A host to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// Position in the plan.
    pub(crate) index: u32,
    /// Its name in messages.
    pub(crate) name: String,
    /// Address or name of its SSH server.
    pub(crate) addr: String,
    /// Port of its SSH server.
    pub(crate) port: u16,
    /// User to log in as.
    pub(crate) user: Option<String>,
    /// Pinned key, `TYPE BASE64`.
    pub(crate) host_key: Option<String>,
    /// File with the private key.
    pub(crate) key: Option<PathBuf>,
    /// Position of the host that it is reached over.
    pub(crate) jump: Option<u32>,
    /// Folder of the lab on it, relative to the user's home.
    pub(crate) dir: String,
}

impl Target {
    /// The hosts of a plan; files of keys are relative to `base`.
    ///
    /// # Errors
    /// [`HostError::Word`] with the host's name for what the SSH client or a shell would take for something else. Plans
    /// are checked for this when they are made; one may come from a file.
    pub(crate) fn of_plan(hosts: &[PlannedHost], base: &Path) -> Result<Vec<Self>, (String, HostError)> {
        let target = |host: &PlannedHost| Self::of(host, base).map_err(|error| (host.name.clone(), error));
        hosts.iter().map(target).collect()
    }

    fn of(host: &PlannedHost, base: &Path) -> Result<Self, HostError> {
        let dir = host.dir.clone().unwrap_or_else(|| DEFAULT_DIR.to_owned());
        check("addr", &host.addr, ":%")?;
        check("dir", &dir, "/~")?;
        if let Some(user) = &host.user {
            check("user", user, "@+\\")?;
        }
        if let Some(key) = &host.host_key {
            check("host_key", key, " /+=@")?;
        }
        let key = host.key.as_deref().map(|key| key_file(key, base)).transpose()?;
        Ok(Self {
            index: host.index,
            name: host.name.clone(),
            addr: host.addr.clone(),
            port: host.port,
            user: host.user.clone(),
            host_key: host.host_key.clone(),
            key,
            jump: host.jump,
            dir,
        })
    }

    /// What the client configuration calls it.
    pub(crate) fn alias(&self) -> String {
        format!("h{}", self.index)
    }
}

/// The file of a private key: below the home folder, absolute, or beside the scenario.
fn key_file(key: &str, base: &Path) -> Result<PathBuf, HostError> {
    let path = match key.strip_prefix("~/") {
        Some(rest) => std::env::home_dir().unwrap_or_else(|| PathBuf::from("~")).join(rest),
        None => base.join(key),
    };
    let path = std::path::absolute(&path).unwrap_or(path);
    let bad = |c: char| c.is_control() || c == '"' || c == '\\';
    let text = path.to_str().filter(|text| !text.contains(bad));
    match text {
        Some(_) => Ok(path),
        None => Err(HostError::Word {
            field: "key",
            value: key.to_owned(),
        }),
    }
}

fn check(field: &'static str, value: &str, more: &str) -> Result<(), HostError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c) || more.contains(c);
    if !value.is_empty() && !value.starts_with('-') && value.chars().all(plain) {
        return Ok(());
    }
    Err(HostError::Word {
        field,
        value: value.to_owned(),
    })
}

#[cfg(test)]
pub(super) fn target(index: u32) -> Target {
    Target {
        index,
        name: format!("host-{index}"),
        addr: format!("127.96.0.{}", index + 1),
        port: 2222,
        user: None,
        host_key: Some("ssh-ed25519 AAAA".to_owned()),
        key: Some(PathBuf::from("/keys/50% of it")),
        jump: None,
        dir: DEFAULT_DIR.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned() -> PlannedHost {
        PlannedHost {
            index: 0,
            name: "one".to_owned(),
            addr: "127.96.0.1".to_owned(),
            port: 22,
            user: Some("someone".to_owned()),
            ip: [127, 96, 0, 1].into(),
            region: None,
            slots: 1,
            memory_bytes: None,
            host_key: None,
            key: Some("keys/id".to_owned()),
            jump: None,
            dir: None,
            spare: false,
        }
    }

    #[test]
    fn files_of_keys_lie_beside_the_scenario_unless_they_say_otherwise() {
        let targets = Target::of_plan(&[planned()], Path::new("/there")).unwrap();
        assert_eq!(targets[0].key.as_deref(), Some(Path::new("/there/keys/id")));
        assert_eq!(
            (targets[0].alias().as_str(), targets[0].dir.as_str()),
            ("h0", ".regatta")
        );
    }

    #[test]
    fn words_that_mean_something_else_to_a_client_or_a_shell_are_refused() {
        let changes: [fn(&mut PlannedHost); 6] = [
            |host| host.addr = "-oProxyCommand=sh".to_owned(),
            |host| host.user = Some("a\nProxyCommand sh".to_owned()),
            |host| host.dir = Some("$(reboot)".to_owned()),
            |host| host.dir = Some("a b".to_owned()),
            |host| host.host_key = Some("ssh-ed25519 AAAA\n* x".to_owned()),
            |host| host.key = Some("a\"b".to_owned()),
        ];
        for change in changes {
            let mut host = planned();
            change(&mut host);
            let (name, error) = Target::of_plan(&[host], Path::new("/")).unwrap_err();
            assert_eq!(name, "one");
            assert!(error.to_string().contains("help: "), "{error}");
        }
    }
}
