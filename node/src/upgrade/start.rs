//! Which program a node runs as: the one that was started, or the one that was proven since.

use super::{Depot, UpgradeError, trial::Launch};
use crate::build_info::binary_digest;
use regatta_api::NodeConfig;
use std::{env, path::Path};

/// Tells a program why it was started; nobody else sets it.
pub(super) const ROLE: &str = "REGATTA_UPGRADE";
/// The old program watches, and decides afterwards.
pub(super) const ON_TRIAL: &str = "trial";

/// What a node makes of releases in this life.
#[derive(Debug)]
pub enum Place {
    /// Nothing: nobody is trusted.
    Off,
    /// Nothing: the program is on trial, and the one that watches it holds the folder.
    OnTrial,
    /// It follows releases with this folder.
    Follows(Box<Depot>),
}

/// Opens the folder of releases, and goes on as the program that was proven last if that is another one: then this
/// returns only when that program cannot be started.
///
/// # Errors
/// [`UpgradeError`] when the folder cannot be used.
pub fn begin(config: &NodeConfig, folder: &Path, launch: &Launch) -> Result<Place, UpgradeError> {
    if config.upgrade.is_off() {
        return Ok(Place::Off);
    }
    if env::var_os(ROLE).is_some_and(|role| role == ON_TRIAL) {
        return Ok(Place::OnTrial);
    }
    let running = binary_digest();
    let mut depot = Depot::open(&folder.join(&config.upgrade.store), config, running)?;
    let mut failure = None;
    depot.change(|state| failure = state.settle_start())?;
    if let Some(failure) = failure {
        tracing::warn!(
            number = failure.number,
            reason = failure.reason,
            "a release is given up"
        );
    }
    let Some(chosen) = depot.state().chosen().cloned() else {
        return Ok(Place::Follows(Box::new(depot)));
    };
    if chosen.program == running {
        depot.change(|state| state.starts += 1)?;
        return Ok(Place::Follows(Box::new(depot)));
    }
    match depot.verify(chosen.number) {
        Ok((program, _)) => {
            // That one counts this start; one that cannot even be executed is counted here.
            tracing::info!(number = chosen.number, program = %chosen.program, "going on as the released program");
            let error = launch.become_program(&program.path());
            tracing::warn!(%error, "the released program cannot be started");
            depot.change(|state| state.starts += 1)?;
        }
        Err(error) => tracing::warn!(%error, "the released program is not started"),
    }
    Ok(Place::Follows(Box::new(depot)))
}
