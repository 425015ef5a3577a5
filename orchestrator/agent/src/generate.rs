//! `generate`: one load to nodes of the fleet, from this host; the lab asks and hears over the standard streams.
//!
//! It has nothing to do with the agent and ends with its session: a load whose lab is gone has nobody to count it.

use crate::attach::{relay, standard_streams};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::{io, net::Shutdown, os::unix::net::UnixStream, thread};

/// Generates until the books are delivered or the streams end.
///
/// # Errors
/// What broke; the lab hears it too, if it can.
pub(crate) fn generate() -> io::Result<()> {
    // A connection for each request in flight: as many as the host allows.
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    let (near, mut downwards) = UnixStream::pair()?;
    let mut upwards = downwards.try_clone()?;
    let (mut stdin, mut stdout) = standard_streams()?;
    thread::Builder::new().name("asked".to_owned()).spawn(move || {
        // An error is an end as well: the generator sees the end of its questions.
        let _ = relay(&mut stdin, &mut upwards);
        let _ = upwards.shutdown(Shutdown::Write);
    })?;
    let told = thread::Builder::new()
        .name("told".to_owned())
        .spawn(move || relay(&mut downwards, &mut stdout))?;
    let served = serve(near);
    // What was said last is on its way until this thread ends.
    let carried = told
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the relay panicked")));
    served.and(carried)
}

fn serve(stream: UnixStream) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (input, output) = tokio::net::UnixStream::from_std(stream)?.into_split();
        regatta_load::serve(input, output).await.map_err(io::Error::other)
    })
}
