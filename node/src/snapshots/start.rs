//! What the snapshots on the disk give a node that starts.

use super::{SnapshotFile, SnapshotFileError, list};
use rand::CryptoRng;
use regatta_api::{NodeConfig, config::InstanceConfig};
use regatta_base::{ChainId, Height, Validator, ValidatorSet};
use regatta_core::{Installer, Node, Restored, SnapshotError};
use std::{fs, path::Path};

/// Hands the newest good snapshot of each instance to `node`, and makes it serve the older ones. Files that are not
/// good are set aside, and those that were never completed are removed. Returns the heights gone on from.
///
/// # Errors
/// [`SnapshotFileError::Io`] when the folder cannot be read.
pub fn restore(
    folder: &Path,
    config: &NodeConfig,
    node: &mut Node,
    rng: &mut impl CryptoRng,
) -> Result<Vec<(usize, Height)>, SnapshotFileError> {
    clean(folder)?;
    let mut restored: Vec<(usize, Height)> = Vec::new();
    for (position, height, path) in list(folder)?.into_iter().rev() {
        let Some(instance) = config.instances.get(position) else {
            continue;
        };
        let is_first = restored.iter().all(|(instance, _)| *instance != position);
        let good = SnapshotFile::open(&path).and_then(|file| {
            if is_first {
                node.restore(position, check(&config.chain, instance, &file, rng)?);
                restored.push((position, height));
            } else {
                node.keep_snapshot(position, file.manifest().clone());
            }
            Ok(())
        });
        if let Err(error) = good {
            tracing::warn!(%error, "setting a snapshot aside; an older one and the journal make up for it");
            let aside = path.with_extension("damaged");
            fs::rename(&path, &aside).map_err(SnapshotFileError::io("rename", &path))?;
        }
    }
    Ok(restored)
}

/// Removes what an earlier start set aside, and files that were being written when the node stopped.
fn clean(folder: &Path) -> Result<(), SnapshotFileError> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(());
    };
    for entry in entries {
        let path = entry.map_err(SnapshotFileError::io("list", folder))?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "part" || extension == "damaged")
        {
            fs::remove_file(&path).map_err(SnapshotFileError::io("remove", &path))?;
        }
    }
    Ok(())
}

/// Checks a whole file against the validators that the instance is configured with, and rebuilds the state.
///
/// # Errors
/// [`SnapshotFileError::Refused`] names what does not hold.
pub fn check(
    chain: &ChainId,
    instance: &InstanceConfig,
    file: &SnapshotFile,
    rng: &mut impl CryptoRng,
) -> Result<Restored, SnapshotFileError> {
    let refused = |source| SnapshotFileError::Refused {
        path: file.path().to_owned(),
        source,
    };
    if *file.manifest().instance() != instance.id {
        return Err(refused(SnapshotError::Instance));
    }
    let members = instance.validators.iter().map(|validator| Validator {
        key: validator.key,
        weight: validator.weight,
    });
    let genesis = ValidatorSet::new(members.collect()).map_err(|_| refused(SnapshotError::Validators))?;
    let mut installer = Installer::new(chain.clone(), genesis, file.manifest().clone());
    for position in 0..file.manifest().chunks().len() {
        let chunk = file.chunk(position)?.unwrap_or_default();
        installer.absorb(&chunk, rng).map_err(refused)?;
    }
    installer.finish(rng).map_err(refused)
}
