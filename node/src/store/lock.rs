//! One process per data folder.

use super::StoreError;
use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read as _, Seek as _, Write as _},
    path::Path,
};

/// Holds the data folder until dropped; the system releases it however the process ends.
#[derive(Debug)]
pub struct DirLock {
    file: File,
}

impl Drop for DirLock {
    /// Closing alone would not do: a child that another thread is starting holds a copy of every open file between
    /// its fork and its exec, and with it the lock.
    fn drop(&mut self) {
        // What cannot be unlocked is released with the last copy of the file.
        let _ = self.file.unlock();
    }
}

impl DirLock {
    /// Takes the folder, which must exist.
    ///
    /// # Errors
    /// [`StoreError::Locked`] names the process that holds it.
    pub fn take(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| StoreError::io("open", &path, error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // The text only makes the message better.
                let _ = (&mut file).take(32).read_to_string(&mut text);
                let holder = crate::host::describe_process(text.trim());
                return Err(StoreError::Locked {
                    path: dir.to_owned(),
                    holder,
                });
            }
            Err(TryLockError::Error(error)) => return Err(StoreError::io("lock", &path, error)),
        }
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        write(&mut file).map_err(|error| StoreError::io("write", &path, error))?;
        Ok(Self { file })
    }
}

#[cfg(test)]
mod tests {
    use super::DirLock;

    /// Seen in continuous integration: a test of upgrades forked a child while this folder was open, and the next
    /// opening found its own process as the holder.
    #[test]
    fn a_folder_given_back_is_free_although_a_forked_child_still_has_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let lock = DirLock::take(dir.path()).unwrap();
        let copy_of_a_child = lock.file.try_clone().unwrap();
        drop(lock);
        DirLock::take(dir.path()).unwrap();
        drop(copy_of_a_child);
    }
}
