// SPDX-License-Identifier: MIT OR Apache-2.0
//! The directory that all topics live in, and whether it can be trusted.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, RenameFlags, Stat, CWD};
use rustix::io::Errno;

use super::create::{self, NEW};
use crate::crash::point;
use crate::error::{Error, Result};
use crate::os::dir::Dir;
use crate::os::random_u64;
use crate::os::sharing::{this_user, whose, Sharing};

/// Which directory holds the topics, and whether this library made up its name.
#[derive(Clone, Debug)]
pub(crate) struct RootPath {
    path: PathBuf,
    /// `/dev/shm/shm-<uid>`: nobody but this library uses it, so it goes when it is empty.
    is_default: bool,
    sharing: Sharing,
}

impl RootPath {
    /// The directory asked for, else `$SHM_ROOT`, else `/dev/shm/shm-<uid>`.
    pub(crate) fn new(asked: Option<&Path>) -> RootPath {
        let named = asked
            .map(Path::to_owned)
            .or_else(|| std::env::var_os("SHM_ROOT").filter(|value| !value.is_empty()).map(PathBuf::from));
        let is_default = named.is_none();
        let path = named.unwrap_or_else(|| PathBuf::from(format!("/dev/shm/shm-{}", this_user())));
        // Absolute, since it is looked up again on leaving, when the working directory may be another. Without a slash or a dot
        // at its end, since the kernel follows a symbolic link that has one behind it.
        let path = std::path::absolute(&path).map_or(path, |path| path.components().collect());
        RootPath { path, is_default, sharing: Sharing::PRIVATE }
    }

    /// The same directory, for topics that are shared like this.
    pub(crate) fn shared(self, sharing: Sharing) -> Result<RootPath> {
        match sharing.group() {
            Some(group) if self.is_default => Err(Error::InvalidOption {
                option: "group",
                found: group.into(),
                allowed: "given together with a root: the option `root`, or SHM_ROOT; the default one is its user's alone",
            }),
            _ => Ok(RootPath { sharing, ..self }),
        }
    }

    /// Opens the root, making it when it isn't there.
    pub(crate) fn open(&self) -> Result<Dir> {
        // Another process may take the empty default root away between our two calls; it can't do so forever,
        // since each time it does, it was using a topic.
        for _ in 0..1000 {
            match Dir::open_path(&self.path, self.sharing) {
                Ok(dir) => return self.trusted(dir),
                Err(Errno::NOENT) => self.make()?,
                Err(errno) => return Err(self.refusal(errno)),
            }
        }
        Err(self.os("open", Errno::NOENT))
    }

    /// Opens the root; `None` when it isn't there.
    pub(crate) fn open_existing(&self) -> Result<Option<Dir>> {
        match Dir::open_path(&self.path, self.sharing) {
            Ok(dir) => self.trusted(dir).map(Some),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.refusal(errno)),
        }
    }

    /// Makes the root, unless somebody else did.
    fn make(&self) -> Result<()> {
        if self.sharing.group().is_some() {
            return self.make_shared();
        }
        point();
        match rustix::fs::mkdir(&self.path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(Error::space("mkdir", self.text(), 0, errno)),
        }
    }

    /// Makes a root for a group, which finds it with the group and the mode that it should have, or not at all.
    fn make_shared(&self) -> Result<()> {
        self.sweep_unfinished();
        let mut temporary = self.path.clone().into_os_string();
        temporary.push(format!("{NEW}{:016x}", random_u64()?));
        let temporary = Path::new(&temporary);
        point();
        rustix::fs::mkdir(temporary, Mode::RWXU)
            .map_err(|errno| Error::space("mkdir", self.text(), 0, errno))?;
        let placed = self.place(temporary);
        if !matches!(placed, Ok(true)) {
            point();
            let _ = rustix::fs::rmdir(temporary);
        }
        placed.map(drop)
    }

    /// Gives the new directory to the group, and then its place. False: one is there, or a sweeper was faster than our lock.
    fn place(&self, temporary: &Path) -> Result<bool> {
        point();
        let opened =
            rustix::fs::chmod(temporary, Mode::RWXU).and_then(|()| Dir::open_path(temporary, self.sharing));
        let dir = match opened {
            Ok(dir) => dir,
            Err(Errno::NOENT) => return Ok(false),
            Err(errno) => return Err(self.os("open", errno)),
        };
        point();
        if dir.lock_alone() == Err(Errno::WOULDBLOCK) {
            return Ok(false);
        }
        self.sharing.apply_to_dir(&dir, &self.text())?;
        point();
        match rustix::fs::renameat_with(CWD, temporary, CWD, &self.path, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST | Errno::NOENT) => Ok(false),
            Err(errno) => Err(self.os("rename", errno)),
        }
    }

    /// Deletes what those left beside a shared root that were killed while they made it; returns how many directories.
    ///
    /// A living maker holds a lock on its directory soon after `mkdir`; one that is robbed before that starts again.
    pub(crate) fn sweep_unfinished(&self) -> usize {
        let (Some(parent), Some(name)) = (self.path.parent(), self.path.file_name()) else { return 0 };
        if self.sharing.group().is_none() {
            return 0;
        }
        let is_unfinished = |found: &OsStr| {
            let rest = found.as_bytes().strip_prefix(name.as_bytes());
            rest.and_then(|rest| std::str::from_utf8(rest).ok()).is_some_and(create::is_new)
        };
        let Ok(entries) = std::fs::read_dir(parent) else { return 0 };
        entries.flatten().filter(|one| is_unfinished(&one.file_name()) && self.sweep_one(&one.path())).count()
    }

    fn sweep_one(&self, unfinished: &Path) -> bool {
        let locked = match Dir::open_path(unfinished, self.sharing) {
            Ok(dir) => {
                point();
                let is_ours = rustix::fs::fstat(dir.as_fd()).is_ok_and(|stat| self.sharing.trusts(&stat));
                (is_ours && dir.lock_alone().is_ok()).then_some(dir)
            }
            Err(Errno::ACCESS) => None,
            Err(_) => return false,
        };
        // Killed before it could itself open what its umask closed.
        let is_closed = || {
            rustix::fs::lstat(unfinished)
                .is_ok_and(|stat| stat.st_uid == this_user() && stat.st_mode & 0o700 != 0o700)
        };
        point();
        (locked.is_some() || is_closed()) && rustix::fs::rmdir(unfinished).is_ok()
    }

    /// Whoever can write to the root can replace topics: it must be the user's own, or that of the group that shares them, and
    /// nobody else's.
    fn trusted(&self, dir: Dir) -> Result<Dir> {
        let stat = rustix::fs::fstat(dir.as_fd()).map_err(|errno| self.os("fstat", errno))?;
        match self.distrust(&stat) {
            None => Ok(dir),
            Some(reason) => Err(self.not_trusted(reason)),
        }
    }

    fn distrust(&self, stat: &Stat) -> Option<String> {
        const GROUP: u32 = 0o020;
        const OTHERS: u32 = 0o002;
        const STICKY: u32 = 0o1000;
        let (mode, group, is_own) = (stat.st_mode & 0o7777, stat.st_gid, stat.st_uid == this_user());
        let is_shared = self.sharing.group() == Some(group);
        if is_own && mode & (GROUP | OTHERS) == 0 {
            return None;
        }
        if !is_own && !is_shared {
            let mut reason = self.sharing.foreign(stat);
            if mode & (GROUP | OTHERS) == GROUP && self.sharing.group().is_none() {
                reason += &format!("; to share it with its group, set the option `group` to {group}");
            }
            return Some(reason);
        }
        if mode & OTHERS != 0 {
            let right = if is_shared { "0770" } else { "0700" };
            return Some(format!("others may write to it (mode {mode:04o}); chmod it to {right}"));
        }
        match (is_shared, mode & GROUP != 0) {
            (true, true) if mode & STICKY != 0 => Some(format!(
                "its sticky bit (mode {mode:04o}) keeps members of the group from removing each other's topics; chmod it to 0770"
            )),
            (true, true) => None,
            (true, false) => {
                Some(format!("its group {group} may not write to it (mode {mode:04o}); chmod it to 0770"))
            }
            (false, _) => Some(format!(
                "others may write to it (mode {mode:04o}); chmod it to 0700, or set the option `group` to its group, {group}"
            )),
        }
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
            errno => match rustix::fs::lstat(&self.path) {
                Ok(stat) if errno == Errno::ACCESS => Error::denied("open", self.text(), &whose(&stat)),
                _ => self.os("open", errno),
            },
        }
    }

    fn not_trusted(&self, reason: String) -> Error {
        Error::NotTrusted { path: self.text(), reason }
    }

    fn os(&self, call: &'static str, errno: Errno) -> Error {
        Error::os(call, self.text(), errno)
    }

    fn text(&self) -> String {
        self.path.display().to_string()
    }
}
