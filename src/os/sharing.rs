// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who may use what this library makes, and whose directories and files it uses.
//!
//! A topic is its user's alone, or shared with one group. What is made gets its group and mode on the open descriptor, so that
//! neither the umask nor the maker's own group matters. What is used must belong to this user or to that group: a file gets a
//! group only from one of its members, or from root, so it is a member's then, and members trust each other. And nobody else
//! may write to it: who doesn't say that it shares with a group doesn't use what a group may write to, not even its own.

use std::os::fd::AsFd;

use rustix::fs::{Gid, Mode, Stat};
use rustix::io::Errno;

use crate::crash::point;
use crate::error::{Error, Result};

/// Reading and writing, for the owner: what a topic's files have at least.
const OWNER: u32 = 0o600;
/// The same for the group.
const GROUP: u32 = 0o060;
/// Writing, for the group and for everybody else.
const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;

/// Who shares what is made in a directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sharing {
    /// The permission bits of files.
    mode: u32,
    group: Option<u32>,
}

impl Sharing {
    /// What is this user's alone.
    pub(crate) const PRIVATE: Sharing = Sharing { mode: OWNER, group: None };

    /// As the options `mode` (0: the usual one) and `group` ask for.
    pub(crate) fn new(mode: u32, group: Option<u32>) -> Result<Sharing> {
        if group == Some(u32::MAX) {
            let allowed = "the id of a group";
            return Err(Error::InvalidOption { option: "group", found: u32::MAX.into(), allowed });
        }
        let mode = match (mode, group) {
            (0, None) => OWNER,
            (0, Some(_)) => OWNER | GROUP,
            (0o600 | 0o640, None) | (0o660, Some(_)) => mode,
            _ => {
                let allowed = "0600, 0640 or 0660: the owner reads and writes, others have no access; with the option `group`, \
                               and only with it, 0660";
                return Err(Error::InvalidOption { option: "mode", found: mode.into(), allowed });
            }
        };
        Ok(Sharing { mode, group })
    }

    /// As the existing topic has it whose file this is: those who come later make theirs like it.
    pub(crate) fn of(file: &Stat) -> Sharing {
        let mode = file.st_mode & (OWNER | GROUP) | OWNER;
        Sharing { mode, group: (mode & GROUP != 0).then_some(file.st_gid) }
    }

    pub(crate) fn mode(&self) -> u32 {
        self.mode
    }

    pub(crate) fn group(&self) -> Option<u32> {
        self.group
    }

    /// Whether something with this owner, group and mode may be used.
    pub(crate) fn trusts(&self, stat: &Stat) -> bool {
        self.distrust(stat).is_none()
    }

    /// Why something may not be used that `trusts` refuses.
    pub(crate) fn distrust(&self, stat: &Stat) -> Option<String> {
        let (mode, group) = (stat.st_mode & 0o7777, stat.st_gid);
        let is_shared = self.mode & GROUP_WRITES != 0 && self.group == Some(group);
        if stat.st_uid != this_user() && !is_shared {
            return Some(self.foreign(stat));
        }
        if mode & OTHERS_WRITE != 0 {
            return Some(format!("others may write to it (mode {mode:04o})"));
        }
        (mode & GROUP_WRITES != 0 && !is_shared).then(|| {
            format!(
                "its group {group} may write to it (mode {mode:04o}); to share it with that group, set the option `group` to {group}"
            )
        })
    }

    /// Whose something is that is neither this user's nor the group's.
    pub(crate) fn foreign(&self, stat: &Stat) -> String {
        let (owner, group, user) = (stat.st_uid, stat.st_gid, this_user());
        match self.group {
            None => format!("it belongs to user {owner}, not {user}"),
            Some(ours) => {
                format!("it belongs to user {owner} and group {group}, neither to user {user} nor to group {ours}")
            }
        }
    }

    /// Gives a new file its group and mode.
    #[cfg_attr(feature = "crash-points", track_caller)]
    pub(crate) fn apply(&self, file: impl AsFd, path: &str) -> Result<()> {
        self.set(file, path, self.mode)
    }

    /// The same for a directory, in which who may read it may also look up names.
    #[cfg_attr(feature = "crash-points", track_caller)]
    pub(crate) fn apply_to_dir(&self, dir: impl AsFd, path: &str) -> Result<()> {
        self.set(dir, path, self.mode | self.mode >> 2 & 0o111)
    }

    #[cfg_attr(feature = "crash-points", track_caller)]
    fn set(&self, fd: impl AsFd, path: &str, mode: u32) -> Result<()> {
        if let Some(group) = self.group {
            point();
            rustix::fs::fchown(&fd, None, Some(Gid::from_raw(group))).map_err(|errno| match errno {
                Errno::PERM => {
                    Error::denied("fchown", path, &format!("this process is not a member of group {group}"))
                }
                errno => Error::os("fchown", path, errno),
            })?;
        }
        // Last: until then nobody else gets in.
        point();
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode)).map_err(|errno| Error::os("fchmod", path, errno))
    }
}

/// Who this process makes files as.
pub(crate) fn this_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Whose something is that the system keeps from us.
pub(crate) fn whose(stat: &Stat) -> String {
    let mode = stat.st_mode & 0o7777;
    let (owner, group, user) = (stat.st_uid, stat.st_gid, this_user());
    format!(
        "it is for user {owner} and group {group} (mode {mode:04o}), and this process runs as user {user}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_for_the_owner_and_at_most_the_group() {
        let mode = |mode, group| Sharing::new(mode, group).map(|sharing| sharing.mode).ok();
        assert_eq!((mode(0, None), mode(0, Some(7))), (Some(0o600), Some(0o660)));
        assert_eq!([0o600, 0o640, 0o660].map(|bits| mode(bits, None)), [Some(0o600), Some(0o640), None]);
        assert_eq!([0o600, 0o640, 0o660].map(|bits| mode(bits, Some(0))), [None, None, Some(0o660)]);
        for refused in
            [1, 0o060, 0o400, 0o460, 0o700, 0o604, 0o602, 0o620, 0o666, 0o1660, 0o660 << 9, u32::MAX]
        {
            assert_eq!([None, Some(7)].map(|group| mode(refused, group)), [None; 2], "{refused:o}");
        }
        assert_eq!(mode(0o660, Some(u32::MAX)), None, "to fchown that means no change");
    }
}
