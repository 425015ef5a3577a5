//! Connections to the hosts of one fleet, through the SSH client of this machine and a configuration made for it.
//!
//! The client keeps one master process for each host. Its socket lies in the fleet's own folder, which is named by a
//! descriptor of the lab: paths of sockets must be short, and folders of runs are not. When the lab is killed, the master
//! sees its only session end and goes after [`IDLE`].

use super::{
    config::{CONNECT_TIMEOUT, client_config, known_hosts},
    error::{FleetError, HostError, quoted},
    gate::Gates,
    reach::Watch,
    target::Target,
};
use openssh::{ControlPersist, KnownHosts, Session, SessionBuilder};
use regatta_process::HeldFile;
use std::{
    fs::{self, File},
    io,
    num::NonZeroUsize,
    os::{fd::AsRawFd, unix::fs::PermissionsExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};
use tempfile::TempDir;

/// How long a master lives without a session, in seconds.
const IDLE_S: usize = 15;
/// How long a connection may take once it is its turn: one timeout for itself, one for a host in between, and the login.
const CONNECT_DEADLINE: Duration = Duration::from_secs(45);
/// Attempts at a server that ends connections before they are made.
const ATTEMPTS_MAX: u32 = 6;
/// Pause after the first of them; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(150);
/// How the names of temporary folders begin.
const TEMPORARY: &str = "regatta-ssh-";
/// A temporary folder that nobody holds is left behind once it is this old: a younger one may just be about to be held.
const ABANDONED_AFTER: Duration = Duration::from_secs(60);

/// What connections to a fleet need.
#[derive(Debug)]
pub(crate) struct Connections {
    targets: Vec<Target>,
    folder: PathBuf,
    /// The same folder, under the short name that an open descriptor has.
    held: File,
    gates: Gates,
    _temporary: Option<Temporary>,
}

/// A folder that goes with this value. It is held for as long, so that what a killed lab left is told from what is in use.
#[derive(Debug)]
struct Temporary {
    _folder: TempDir,
    _held: HeldFile,
}

impl Connections {
    /// Writes the client's configuration and known hosts into `folder`, which is made where it is missing.
    ///
    /// # Errors
    /// [`FleetError::File`] when that cannot be written.
    pub(crate) fn prepare(targets: Vec<Target>, folder: &Path) -> Result<Self, FleetError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |error| FleetError::File { path, error }
        };
        fs::create_dir_all(folder).map_err(at(folder))?;
        let folder = folder.canonicalize().map_err(at(folder))?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).map_err(at(&folder))?;
        let known = folder.join("known_hosts");
        fs::write(&known, known_hosts(&targets)).map_err(at(&known))?;
        let config = folder.join("config");
        fs::write(&config, client_config(&targets, &known)).map_err(at(&config))?;
        Ok(Self {
            gates: Gates::new(&targets),
            held: File::open(&folder).map_err(at(&folder))?,
            targets,
            folder,
            _temporary: None,
        })
    }

    /// The same in a temporary folder, for verbs that have no run.
    ///
    /// # Errors
    /// [`FleetError::File`].
    pub(crate) fn temporary(targets: Vec<Target>) -> Result<Self, FleetError> {
        let at = |error| FleetError::File {
            path: std::env::temp_dir(),
            error,
        };
        let folder = tempfile::Builder::new().prefix(TEMPORARY).tempdir().map_err(at)?;
        let held = File::open(folder.path()).and_then(HeldFile::try_hold).map_err(at)?;
        let mut this = Self::prepare(targets, folder.path())?;
        this._temporary = Some(Temporary {
            _folder: folder,
            _held: held,
        });
        Ok(this)
    }

    /// The host at `index` of the plan.
    pub(crate) fn target(&self, index: u32) -> Option<&Target> {
        self.targets.iter().find(|target| target.index == index)
    }

    /// All hosts.
    pub(crate) fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// Connects to `target` when it is its turn; tries again where the server says that it is too busy.
    ///
    /// # Errors
    /// [`HostError`] says why not.
    pub(super) async fn connect(&self, target: &Target) -> Result<Session, HostError> {
        self.connect_timed(target).await.map(|(session, _)| session)
    }

    /// As [`Connections::connect`], and how long the attempt took that went well.
    ///
    /// # Errors
    /// [`HostError`] says why not.
    pub(super) async fn connect_timed(&self, target: &Target) -> Result<(Session, Duration), HostError> {
        let mut pause = PAUSE;
        let mut attempts = 0;
        loop {
            attempts += 1;
            match self.attempt(target).await {
                Err(HostError::Dropped { text, .. }) if attempts >= ATTEMPTS_MAX => {
                    return Err(HostError::Dropped { attempts, text });
                }
                Err(HostError::Dropped { .. }) => {
                    // Spread by host, so that those that were dropped together do not come back together.
                    tokio::time::sleep(pause + Duration::from_millis(u64::from(target.index % 16) * 10)).await;
                    pause *= 2;
                }
                other => return other,
            }
        }
    }

    async fn attempt(&self, target: &Target) -> Result<(Session, Duration), HostError> {
        let _turn = self.gates.enter(&self.targets, target).await;
        let mut watch = Watch::start();
        let mut builder = SessionBuilder::default();
        let sockets = format!("/proc/{}/fd/{}", std::process::id(), self.held.as_raw_fd());
        builder
            .config_file(self.folder.join("config"))
            .control_directory(sockets)
            .known_hosts_check(KnownHosts::Strict)
            .connect_timeout(CONNECT_TIMEOUT);
        if let Some(seconds) = NonZeroUsize::new(IDLE_S) {
            builder.control_persist(ControlPersist::IdleFor(seconds));
        }
        let alias = target.alias();
        let connecting = tokio::time::timeout(CONNECT_DEADLINE, builder.connect_mux(&alias));
        match connecting.await {
            Ok(Ok(session)) => Ok((session, watch.step())),
            Ok(Err(error)) => Err(reason(error)),
            Err(_) => Err(HostError::Late {
                step: "connecting",
                after: CONNECT_DEADLINE,
            }),
        }
    }
}

/// Removes the temporary folders in `place` of labs that were killed, also before the machine was last started; how many
/// that were. Those of other users cannot be removed and stay.
pub(crate) fn sweep_temporary(place: &Path) -> usize {
    let entries = fs::read_dir(place).into_iter().flatten().flatten();
    let named = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(TEMPORARY));
    let left = named.filter(|entry| is_abandoned(entry).unwrap_or(false));
    left.filter(|entry| fs::remove_dir_all(entry.path()).is_ok()).count()
}

/// Whether nobody holds a temporary folder. A link is none: whoever made it means another place.
fn is_abandoned(entry: &fs::DirEntry) -> io::Result<bool> {
    let facts = entry.metadata()?;
    let age = SystemTime::now().duration_since(facts.modified()?).unwrap_or_default();
    if !facts.is_dir() || age < ABANDONED_AFTER {
        return Ok(false);
    }
    Ok(HeldFile::try_hold(File::open(entry.path())?).is_ok())
}

/// What the client's own words say, or what this machine said about the client.
fn reason(error: openssh::Error) -> HostError {
    match error {
        openssh::Error::Connect(error) if error.raw_os_error().is_none() => HostError::from_client(&error.to_string()),
        openssh::Error::Connect(error) | openssh::Error::Master(error) => HostError::Client(error.to_string()),
        other => HostError::Lost(quoted(&other.to_string())),
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        // What masters left that went after the lab had ended before; the folder itself stays with the run.
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(".ssh-connection") {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_folder_goes_when_its_lab_was_killed_and_not_while_it_is_held() {
        let place = tempfile::tempdir().unwrap();
        let long_ago = SystemTime::now() - 2 * ABANDONED_AFTER;
        let folder = |name: &str, modified: SystemTime| {
            let path = place.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::write(path.join("config"), "Host *").unwrap();
            let handle = File::open(&path).unwrap();
            handle.set_modified(modified).unwrap();
            (path, handle)
        };
        let (left, _) = folder("regatta-ssh-left", long_ago);
        let (held, handle) = folder("regatta-ssh-held", long_ago);
        let (young, _) = folder("regatta-ssh-young", SystemTime::now());
        let (other, _) = folder("somebody-else", long_ago);
        std::os::unix::fs::symlink(&other, place.path().join("regatta-ssh-link")).unwrap();
        let handle = HeldFile::try_hold(handle).unwrap();
        assert_eq!(sweep_temporary(place.path()), 1);
        assert!(!left.exists() && held.exists() && young.exists() && other.join("config").exists());
        drop(handle);
        assert_eq!(sweep_temporary(place.path()), 1, "its lab is gone now");
        assert_eq!(sweep_temporary(&place.path().join("nowhere")), 0);
    }
}
