// SPDX-License-Identifier: MIT OR Apache-2.0
//! Liveness: an open-file-description write lock on one byte of `peers` says that a participant lives.
//!
//! The kernel gives the lock back when the description is closed, so also when its process is killed, at once and
//! whether or not anybody reaped it; process ids fail across containers and when they are used again
//! (`F_OFD_SETLK`, fcntl(2)). One description belongs to one participant; it is closed in the child of a fork
//! (`fork.rs`), so that a child doesn't keep its dead parent alive.

use std::fs::File;
use std::os::fd::AsRawFd;

use crate::crash::point;
use crate::error::{Error, Result};
use crate::os::fork;

/// The open description of `peers` through which one participant locks and probes.
#[derive(Debug)]
pub(crate) struct LockFile {
    file: fork::Unshared,
}

impl LockFile {
    /// Opens with `open` such that a fork at any moment leaves no copy in the child.
    pub(crate) fn open(open: impl FnOnce() -> Result<File>) -> Result<Self> {
        Ok(LockFile { file: fork::Unshared::open(open)? })
    }

    pub(crate) fn file(&self) -> &File {
        self.file.get()
    }

    /// Tries to take byte `index`. False: somebody else has it, so its owner lives.
    #[cfg_attr(feature = "crash-points", track_caller)]
    pub(crate) fn try_lock(&self, index: u32) -> Result<bool> {
        point();
        match self.control(libc::F_OFD_SETLK, &mut range(libc::F_WRLCK, index.into(), 1)) {
            Ok(()) => Ok(true),
            Err(e) if matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
            Err(source) => Err(os_error("fcntl(F_OFD_SETLK)", source)),
        }
    }

    /// Gives byte `index` back. There is no way for it to fail that could be mended here.
    #[cfg_attr(feature = "crash-points", track_caller)]
    pub(crate) fn unlock(&self, index: u32) {
        point();
        let _ = self.control(libc::F_OFD_SETLK, &mut range(libc::F_UNLCK, index.into(), 1));
    }

    /// Whether another description holds a lock on any byte of `first .. first + count`.
    pub(crate) fn others_alive(&self, first: u32, count: u32) -> Result<bool> {
        let mut lock = range(libc::F_WRLCK, first.into(), count.into());
        self.control(libc::F_OFD_GETLK, &mut lock)
            .map_err(|source| os_error("fcntl(F_OFD_GETLK)", source))?;
        Ok(lock.l_type != libc::F_UNLCK as libc::c_short)
    }

    fn control(&self, command: libc::c_int, lock: &mut libc::flock) -> std::io::Result<()> {
        loop {
            // SAFETY: the descriptor is open for as long as `self.file` is, and `lock` is a valid flock.
            if unsafe { libc::fcntl(self.file.get().as_raw_fd(), command, lock as *mut libc::flock) } == 0 {
                return Ok(());
            }
            let error = std::io::Error::last_os_error();
            if error.kind() != std::io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }
}

fn os_error(call: &'static str, source: std::io::Error) -> Error {
    Error::Os { call, path: "peers".into(), source }
}

fn range(kind: libc::c_int, start: i64, len: i64) -> libc::flock {
    // SAFETY: flock is plain data, and all zeroes is a valid value of it.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    lock.l_start = start as libc::off_t;
    lock.l_len = len as libc::off_t;
    lock
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;

    fn two() -> (tempfile::NamedTempFile, LockFile, LockFile) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let open =
            || LockFile::open(|| Ok(File::options().read(true).write(true).open(file.path()).unwrap()));
        let (a, b) = (open().unwrap(), open().unwrap());
        (file, a, b)
    }

    #[test]
    fn a_byte_belongs_to_one_description() {
        let (_file, a, b) = two();
        assert!(a.try_lock(3).unwrap());
        assert!(a.try_lock(3).unwrap(), "taking one's own again is fine");
        assert!(!b.try_lock(3).unwrap());
        assert!(b.try_lock(4).unwrap());
        a.unlock(3);
        assert!(b.try_lock(3).unwrap());
    }

    #[test]
    fn others_are_seen_in_the_range_only() {
        let (_file, a, b) = two();
        a.try_lock(5).unwrap();
        assert!(!a.others_alive(0, 10).unwrap(), "one's own lock isn't another's");
        assert!(b.others_alive(0, 10).unwrap());
        assert!(!b.others_alive(0, 5).unwrap());
        drop(a);
        assert!(!b.others_alive(0, 10).unwrap());
    }
}
