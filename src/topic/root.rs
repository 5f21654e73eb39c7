// SPDX-License-Identifier: MIT OR Apache-2.0
//! The directory that all topics live in, and whether it can be trusted.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::io::Errno;

use crate::crash::point;
use crate::error::{Error, Result};
use crate::os::dir::Dir;

/// Which directory holds the topics, and whether this library made up its name.
#[derive(Clone, Debug)]
pub(crate) struct RootPath {
    path: PathBuf,
    /// `/dev/shm/shm-<uid>`: nobody but this library uses it, so it goes when it is empty.
    is_default: bool,
}

impl RootPath {
    /// The directory asked for, else `$SHM_ROOT`, else `/dev/shm/shm-<uid>`.
    pub(crate) fn new(asked: Option<&Path>) -> RootPath {
        let named = asked
            .map(Path::to_owned)
            .or_else(|| std::env::var_os("SHM_ROOT").filter(|value| !value.is_empty()).map(PathBuf::from));
        let is_default = named.is_none();
        let path = named.unwrap_or_else(|| {
            PathBuf::from(format!("/dev/shm/shm-{}", rustix::process::geteuid().as_raw()))
        });
        // Absolute, since it is looked up again on leaving, when the working directory may be another. Without a slash or a dot
        // at its end, since the kernel follows a symbolic link that has one behind it.
        let path = std::path::absolute(&path).map_or(path, |path| path.components().collect());
        RootPath { path, is_default }
    }

    /// Opens the root, making it when it isn't there.
    pub(crate) fn open(&self) -> Result<Dir> {
        // Another process may take the empty default root away between our two calls; it can't do so forever,
        // since each time it does, it was using a topic.
        for _ in 0..1000 {
            match Dir::open_path(&self.path) {
                Ok(dir) => return self.trusted(dir),
                Err(Errno::NOENT) => self.make()?,
                Err(errno) => return Err(self.refusal(errno)),
            }
        }
        Err(self.os("open", Errno::NOENT))
    }

    /// Opens the root; `None` when it isn't there.
    pub(crate) fn open_existing(&self) -> Result<Option<Dir>> {
        match Dir::open_path(&self.path) {
            Ok(dir) => self.trusted(dir).map(Some),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.refusal(errno)),
        }
    }

    fn make(&self) -> Result<()> {
        point();
        match rustix::fs::mkdir(&self.path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(Error::space("mkdir", self.path.display().to_string(), 0, errno)),
        }
    }

    /// Whoever can write to the root can replace topics: it must be the user's own and nobody else's.
    fn trusted(&self, dir: Dir) -> Result<Dir> {
        let stat = rustix::fs::fstat(dir.as_fd()).map_err(|errno| self.os("fstat", errno))?;
        let user = rustix::process::geteuid().as_raw();
        if stat.st_uid != user {
            return Err(self.not_trusted(format!("it belongs to user {}, not {user}", stat.st_uid)));
        }
        if stat.st_mode & 0o022 != 0 {
            let mode = stat.st_mode & 0o7777;
            return Err(
                self.not_trusted(format!("others may write to it (mode {mode:04o}); chmod it to 0700"))
            );
        }
        Ok(dir)
    }

    /// Removes the default root when nothing is left in it.
    pub(crate) fn remove_if_empty(&self) {
        if self.is_default {
            point();
            let _ = rustix::fs::rmdir(&self.path);
        }
    }

    /// Why the root couldn't be opened.
    fn refusal(&self, errno: Errno) -> Error {
        match errno {
            Errno::LOOP | Errno::NOTDIR => {
                self.not_trusted(format!("it is not a directory of its own ({errno})"))
            }
            errno => self.os("open", errno),
        }
    }

    fn not_trusted(&self, reason: String) -> Error {
        Error::NotTrusted { path: self.path.display().to_string(), reason }
    }

    fn os(&self, call: &'static str, errno: Errno) -> Error {
        Error::os(call, self.path.display().to_string(), errno)
    }
}
