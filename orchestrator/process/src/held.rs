//! A file lock that is free as soon as it is given back, also while children are being started.

use std::{fs::File, io};

/// Locks a file until dropped, or until the process ends in whatever way.
///
/// Closing a file alone would not give its lock back: a child that another thread is starting holds a copy of every
/// open file between its fork and its exec, and the lock with it.
#[derive(Debug)]
pub struct HeldFile(File);

impl HeldFile {
    /// Locks the file if nobody else does.
    ///
    /// # Errors
    /// `WouldBlock` when another holds it, otherwise what the system said.
    pub fn try_hold(file: File) -> io::Result<Self> {
        file.try_lock().map_err(io::Error::from)?;
        Ok(Self(file))
    }

    /// Waits until the file is free, and locks it.
    ///
    /// # Errors
    /// What the system said.
    pub fn hold(file: File) -> io::Result<Self> {
        file.lock()?;
        Ok(Self(file))
    }
}

impl Drop for HeldFile {
    fn drop(&mut self) {
        // What cannot be unlocked is released with the last copy of the file.
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::HeldFile;
    use std::io::ErrorKind;

    #[test]
    fn a_file_given_back_is_free_although_a_forked_child_still_has_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let held = HeldFile::try_hold(file.reopen().unwrap()).unwrap();
        let other = HeldFile::try_hold(file.reopen().unwrap());
        assert_eq!(other.unwrap_err().kind(), ErrorKind::WouldBlock);
        let copy_of_a_child = held.0.try_clone().unwrap();
        drop(held);
        let held = HeldFile::hold(file.reopen().unwrap()).unwrap();
        drop((held, copy_of_a_child));
    }
}
