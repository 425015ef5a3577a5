//! The control socket in a run's folder.
//!
//! A socket's path has at most 108 bytes, and folders of runs may be deeper: so it is reached through a descriptor of
//! its folder, whose path in `/proc` is always short.

use super::protocol::{Answer, Request, receive, send};
use crate::rundir::RunDir;
use std::{fs::File, io, os::fd::AsRawFd, path::PathBuf, time::Duration};
use tokio::net::{UnixListener, UnixStream};

const NAME: &str = "control.sock";
/// How long an answer may take. A stop takes as long as the slowest node, and on hosts until their logs are here and the
/// run is removed there.
pub(super) const ANSWER_DEADLINE: Duration = Duration::from_secs(180);

/// Path of the socket by way of `folder`, which must stay open while it is used.
fn short_path(folder: &File) -> PathBuf {
    format!("/proc/self/fd/{}/{NAME}", folder.as_raw_fd()).into()
}

/// Listens in the folder of `run`. Only its owner can connect, since only its owner can enter the folder's socket.
///
/// # Errors
/// What the system said.
pub(super) fn listen(run: &RunDir) -> io::Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt;
    let path = run.path(NAME);
    match std::fs::remove_file(&path) {
        // Left by a supervisor that was killed: whoever calls holds the run's lock.
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let folder = File::open(run.root())?;
    let listener = UnixListener::bind(short_path(&folder))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Removes the socket.
pub(super) fn remove(run: &RunDir) {
    // Without it connecting fails in another way; nothing depends on it.
    let _ = std::fs::remove_file(run.path(NAME));
}

/// Asks the supervisor of `run`.
///
/// # Errors
/// `NotFound` or `ConnectionRefused` when the run has no supervisor (any more), `TimedOut` when it does not answer.
pub(crate) async fn ask(run: &RunDir, request: &Request) -> io::Result<Answer> {
    let folder = File::open(run.root())?;
    let exchange = async {
        let mut stream = UnixStream::connect(short_path(&folder)).await?;
        send(&mut stream, request).await?;
        receive(&mut stream).await
    };
    tokio::time::timeout(ANSWER_DEADLINE, exchange)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Whether `error` says that a run has no supervisor.
pub(crate) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{block_on, plan};

    #[test]
    fn a_deep_folder_still_has_a_socket() {
        let runs = tempfile::tempdir().unwrap();
        let deep = runs.path().join("d".repeat(100)).join("e".repeat(100));
        std::fs::create_dir_all(&deep).unwrap();
        let run = RunDir::create(&deep, &plan(1), "", 0).unwrap();
        block_on(async {
            let absent = ask(&run, &Request::Status {}).await.unwrap_err();
            assert!(is_absent(&absent), "{absent}");
            let listener = listen(&run).unwrap();
            let refused = Answer::Refused {
                reason: "no".to_owned(),
            };
            let serve = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                assert_eq!(receive::<Request>(&mut stream).await.unwrap(), Request::Status {});
                send(&mut stream, &refused).await.unwrap();
            };
            let (answer, ()) = tokio::join!(ask(&run, &Request::Status {}), serve);
            assert_eq!(answer.unwrap(), refused);
            drop(listener);
            let gone = ask(&run, &Request::Status {}).await.unwrap_err();
            assert!(is_absent(&gone), "{gone}");
            listen(&run).unwrap();
        });
    }
}
