// SPDX-License-Identifier: MIT OR Apache-2.0
//! Directories and the files in them, reached through descriptors only: a name is never looked up twice from
//! the root, so that what was checked is what is used.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{AtFlags, FallocateFlags, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::sharing::{whose, Sharing};
use crate::crash::point;
use crate::error::{Error, Result};

/// Owner only: others get in when all is as it should be.
const DIR_MODE: Mode = Mode::RWXU;
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);
const DIR_FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What opening something gives that belongs to somebody else, or that others may write to.
pub(crate) const NOT_OURS: Errno = Errno::PERM;

/// An open directory, its path for messages, and who shares what is made in it.
#[derive(Debug)]
pub(crate) struct Dir {
    fd: OwnedFd,
    path: String,
    sharing: Sharing,
}

/// How a file is to be opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Access {
    ReadOnly,
    ReadWrite,
}

impl Dir {
    /// Opens the directory at `path`; a symbolic link in its last part is refused.
    pub(crate) fn open_path(path: &Path, sharing: Sharing) -> std::result::Result<Dir, Errno> {
        let fd = rustix::fs::open(path, DIR_FLAGS, Mode::empty())?;
        Ok(Dir { fd, path: path.display().to_string(), sharing })
    }

    /// Opens `name` in this directory; `NOT_OURS` when it isn't to be trusted.
    pub(crate) fn open_dir(&self, name: &str) -> std::result::Result<Dir, Errno> {
        let fd = rustix::fs::openat(&self.fd, name, DIR_FLAGS, Mode::empty())?;
        match self.sharing.trusts(&rustix::fs::fstat(&fd)?) {
            true => Ok(Dir { fd, path: self.join(name), sharing: self.sharing }),
            false => Err(NOT_OURS),
        }
    }

    /// Makes `name` in this directory, for the owner only.
    #[cfg_attr(feature = "crash-points", track_caller)]
    pub(crate) fn make_dir(&self, name: &str) -> std::result::Result<(), Errno> {
        point();
        rustix::fs::mkdirat(&self.fd, name, DIR_MODE)
    }

    /// Opens `name`, which this process just made, and lets those in who share it.
    #[cfg_attr(feature = "crash-points", track_caller)]
    pub(crate) fn open_made_dir(&self, name: &str) -> Result<Dir> {
        let mut open = self.open_dir(name);
        if matches!(open, Err(Errno::ACCESS)) {
            // The umask took away even the owner's bits.
            point();
            let chmod = rustix::fs::chmodat(&self.fd, name, DIR_MODE, AtFlags::empty());
            open = chmod.and_then(|()| self.open_dir(name));
        }
        let dir = open.map_err(|errno| self.refusal(name, errno))?;
        dir.sharing.apply_to_dir(&dir.fd, &dir.path)?;
        Ok(dir)
    }

    /// What is made here from now on is shared like this.
    pub(crate) fn share(&mut self, sharing: Sharing) {
        self.sharing = sharing;
    }

    /// Locks the directory until this is dropped; WOULDBLOCK when somebody else has.
    pub(crate) fn lock_alone(&self) -> std::result::Result<(), Errno> {
        rustix::fs::flock(&self.fd, FlockOperation::NonBlockingLockExclusive)
    }

    /// Opens the regular file `name`; ENXIO when it is something else, `NOT_OURS` when it isn't to be trusted.
    pub(crate) fn open_file(&self, name: &str, access: Access) -> std::result::Result<File, Errno> {
        let access = match access {
            Access::ReadOnly => OFlags::RDONLY,
            Access::ReadWrite => OFlags::RDWR,
        };
        // NONBLOCK: a planted fifo must not make the open wait.
        let flags = access | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd = rustix::fs::openat(&self.fd, name, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&fd)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile if self.sharing.trusts(&stat) => Ok(fd.into()),
            FileType::RegularFile => Err(NOT_OURS),
            _ => Err(Errno::NXIO),
        }
    }

    /// Why `name` of a topic couldn't be opened.
    pub(crate) fn refusal(&self, name: &str, errno: Errno) -> Error {
        match errno {
            Errno::LOOP => {
                Error::NotTrusted { path: self.join(name), reason: "it is a symbolic link".to_owned() }
            }
            Errno::NXIO | Errno::ISDIR => Error::corrupt(self.join(name), "it is not a regular file"),
            NOT_OURS => match self.stat(name).ok().and_then(|stat| self.sharing.distrust(&stat)) {
                Some(reason) => Error::NotTrusted { path: self.join(name), reason },
                None => Error::os("open", self.join(name), errno),
            },
            Errno::ACCESS => match self.stat(name) {
                Ok(stat) => Error::denied("open", self.join(name), &whose(&stat)),
                Err(_) => Error::os("open", self.join(name), errno),
            },
            errno => Error::os("open", self.join(name), errno),
        }
    }

    fn stat(&self, name: &str) -> std::result::Result<Stat, Errno> {
        rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Makes the file `name`: `header`, and zeroes up to `len` bytes that are really there: a full file system is an error
    /// here, not a SIGBUS later. A file that can't have them is removed again.
    #[cfg_attr(feature = "crash-points", track_caller)]
    pub(crate) fn create_file(&self, name: &str, len: u64, header: &[u8]) -> Result<File> {
        point();
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, name, flags, FILE_MODE)
            .map_err(|errno| Error::space("openat", self.join(name), len, errno))?;
        let file = File::from(fd);
        // Whose it is comes first, while it is empty.
        let filled = self.sharing.apply(&file, &self.join(name)).and_then(|()| {
            allocate(&file, len).map_err(|errno| Error::space("fallocate", self.join(name), len, errno))
        });
        let written = filled.and_then(|()| {
            point();
            file.write_all_at(header, 0).map_err(|source| Error::Os {
                call: "write",
                path: self.join(name),
                source,
            })
        });
        match written {
            Ok(()) => Ok(file),
            Err(error) => {
                self.remove_file(name);
                Err(error)
            }
        }
    }

    /// Whether the file system takes one more file, told by one that never has a name.
    pub(crate) fn takes_a_file(&self) -> bool {
        let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
        let made = rustix::fs::openat(&self.fd, ".", flags, FILE_MODE);
        // Others don't know such files, or have other reasons, which making a file will show.
        !matches!(made, Err(Errno::NOSPC | Errno::DQUOT))
    }

    /// Removes the file `name`; that it is gone already is fine, and nothing else can be done about an error.
    #[cfg_attr(feature = "crash-points", track_caller)]
    pub(crate) fn remove_file(&self, name: &str) {
        point();
        let _ = rustix::fs::unlinkat(&self.fd, name, AtFlags::empty());
    }

    /// Removes the empty directory `name`; false when it isn't empty or isn't there.
    #[cfg_attr(feature = "crash-points", track_caller)]
    pub(crate) fn remove_dir(&self, name: &str) -> bool {
        point();
        rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR).is_ok()
    }

    /// Gives the directory `from` the name `to`, in one step. An existing `to` is replaced only when it is empty.
    #[cfg_attr(feature = "crash-points", track_caller)]
    pub(crate) fn rename_dir(&self, from: &str, to: &str) -> std::result::Result<(), Errno> {
        point();
        rustix::fs::renameat(&self.fd, from, &self.fd, to)
    }

    /// The names in this directory.
    pub(crate) fn names(&self) -> Result<Vec<CString>> {
        let listing = rustix::fs::Dir::read_from(&self.fd)
            .map_err(|errno| Error::os("opendir", self.path.clone(), errno))?;
        let mut names = Vec::new();
        for entry in listing {
            let entry = entry.map_err(|errno| Error::os("readdir", self.path.clone(), errno))?;
            let name = entry.file_name();
            if name != c"." && name != c".." {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    /// Notes that the directory has another path now.
    pub(crate) fn moved_to(&mut self, path: String) {
        self.path = path;
    }

    /// The directory's path, for messages.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The path of `name`, for messages.
    pub(crate) fn join(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Gives the file its bytes.
#[cfg_attr(feature = "crash-points", track_caller)]
fn allocate(file: &File, len: u64) -> std::result::Result<(), Errno> {
    let mut steps = Steps::new(len);
    while let Some((start, bytes)) = steps.next() {
        point();
        steps.done(bytes, rustix::fs::fallocate(file, FallocateFlags::empty(), start, bytes))?;
    }
    Ok(())
}

/// The way through a file, a piece at a time. Some kernels undo a piece that a signal interrupts: under a timer that is faster than a
/// piece it would never be done, hence smaller ones then.
struct Steps {
    start: u64,
    len: u64,
    most: u64,
}

impl Steps {
    const LARGEST: u64 = 16 << 20;
    const SMALLEST: u64 = 64 << 10;

    fn new(len: u64) -> Steps {
        Steps { start: 0, len, most: Self::LARGEST }
    }

    /// Where the next piece starts, and its bytes.
    fn next(&self) -> Option<(u64, u64)> {
        let bytes = self.most.min(self.len - self.start);
        (bytes > 0).then_some((self.start, bytes))
    }

    /// Notes what became of the last piece; an interruption is no failure.
    fn done(&mut self, bytes: u64, result: std::result::Result<(), Errno>) -> std::result::Result<(), Errno> {
        match result {
            Ok(()) => self.start += bytes,
            Err(Errno::INTR) => self.most = (self.most / 2).max(Self::SMALLEST),
            Err(errno) => return Err(errno),
        }
        Ok(())
    }
}

/// Gives the file's memory back to the system while others may have it mapped.
#[cfg_attr(feature = "crash-points", track_caller)]
pub(crate) fn punch(file: &File, len: u64) {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    point();
    // Where the file system can't, the memory goes with the last mapping.
    let _ = retry(|| rustix::fs::fallocate(file, flags, 0, len.max(1)));
}

fn retry(mut call: impl FnMut() -> std::result::Result<(), Errno>) -> std::result::Result<(), Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_gets_its_bytes_though_a_timer_interrupts_all_but_small_steps() {
        for len in [0, 1, 64 << 10, (64 << 10) + 1, (40 << 20) + 4096] {
            let (mut steps, mut end, mut tries) = (Steps::new(len), 0, 0);
            while let Some((start, bytes)) = steps.next() {
                tries += 1;
                assert!(tries < 10_000, "it goes on trying {bytes} bytes");
                let small = bytes <= 64 << 10;
                steps.done(bytes, if small { Ok(()) } else { Err(Errno::INTR) }).unwrap();
                if small {
                    assert_eq!(start, end, "a gap, or twice the same");
                    end += bytes;
                }
            }
            assert_eq!(end, len);
        }
    }

    #[test]
    fn other_failures_are_no_interruptions() {
        assert_eq!(Steps::new(10).done(10, Err(Errno::NOSPC)), Err(Errno::NOSPC));
    }
}
