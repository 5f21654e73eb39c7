// SPDX-License-Identifier: MIT OR Apache-2.0
//! Making a topic: whole under a temporary name, with its maker already alive in it, then one `rename`.

use std::sync::atomic::AtomicU64;

use rustix::io::Errno;

use super::join::{claim, read_header};
use super::layout::{Geometry, PEERS_MAGIC};
use super::{Files, Peers, Place, Role, Topic, Wanted};
use crate::error::{Error, Result};
use crate::os::dir::{Access, Dir, NOT_OURS};
use crate::os::lock::LockFile;
use crate::os::map::Mapping;
use crate::os::random_u64;

/// A topic that isn't in place yet.
pub(super) const NEW: &str = ".new-";
/// One that was taken away from its maker, who died or is too slow and will start again.
const DEAD: &str = ".dead-";

/// Makes the topic and joins it. `None` when somebody else was faster: look again.
pub(super) fn create(place: &Place, root: &Dir, wanted: Wanted, role: Role) -> Result<Option<Topic>> {
    let geometry = wanted.geometry()?;
    sweep(root);
    let instance = random_u64()?;
    let temporary = format!("{NEW}{instance:016x}");
    match root.make_dir(&temporary) {
        Ok(()) => {}
        // The root itself was taken away as empty.
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(Error::space("mkdir", root.join(&temporary), 0, errno)),
    }
    let mut made = match build(place, root, &temporary, geometry, instance, role) {
        Ok(topic) => topic,
        Err(error) => {
            let stolen = matches!(root.open_dir(&temporary), Err(Errno::NOENT));
            give_up(root, instance);
            return if stolen { Ok(None) } else { Err(error) };
        }
    };
    match root.rename_dir(&temporary, &place.name) {
        Ok(()) => {
            made.files.dir.moved_to(root.join(&place.name));
            Ok(Some(made))
        }
        Err(errno) => {
            // Its only participant leaves, which deletes the files.
            drop(made);
            give_up(root, instance);
            match errno {
                // Somebody else's topic is there, or a sweeper took ours for litter.
                Errno::EXIST | Errno::NOTEMPTY | Errno::NOENT => Ok(None),
                errno => Err(Error::os("rename", root.join(&place.name), errno)),
            }
        }
    }
}

fn build(
    place: &Place,
    root: &Dir,
    temporary: &str,
    geometry: Geometry,
    instance: u64,
    role: Role,
) -> Result<Topic> {
    let dir = root.open_made_dir(temporary)?;
    let header = geometry.peers_header(instance);
    dir.create_file("peers", geometry.peers_size(), bytemuck::bytes_of(&header))?;
    let header = geometry.ring_header(instance);
    dir.create_file("ring", geometry.ring_size(), bytemuck::bytes_of(&header))?;

    let lock = LockFile::open(|| {
        dir.open_file("peers", Access::ReadWrite).map_err(|errno| dir.refusal("peers", errno))
    })?;
    let map = Mapping::new(lock.file(), geometry.peers_size(), Access::ReadWrite, "peers")?;
    let peers = Peers { lock, map, geometry, instance, joined: AtomicU64::new(0) };
    let ring = dir.open_file("ring", role.ring_access()).map_err(|errno| dir.refusal("ring", errno))?;
    let ring = Mapping::new(&ring, geometry.ring_size(), role.ring_access(), "ring")?;
    claim(Files { place: place.clone(), dir, peers, ring, role })?
        .ok_or_else(|| Error::corrupt(root.join(temporary), "it was removed while it was made"))
}

/// Deletes what this maker made, also under the name that a sweeper gave it: the sweeper may have been done before
/// the last file was made, and then nobody else would come back for it.
fn give_up(root: &Dir, instance: u64) {
    for prefix in [NEW, DEAD] {
        discard(root, &format!("{prefix}{instance:016x}"));
    }
}

/// Deletes a directory that isn't a topic (any more). True when this call did it.
fn discard(root: &Dir, name: &str) -> bool {
    if let Ok(dir) = root.open_dir(name) {
        for file in dir.names().unwrap_or_default() {
            dir.remove_file(&file.to_string_lossy());
        }
    }
    // Also one that can't be opened: its maker was killed before it let others in, and put nothing into it.
    root.remove_dir(name)
}

/// Deletes what makers left that were killed at work; returns how many directories.
///
/// A living maker holds its lock soon after `mkdir`; one that is robbed before that starts again. Taking is a
/// `rename`, so a directory is either put in place by its maker or taken by a sweeper, never both.
pub(super) fn sweep(root: &Dir) -> usize {
    let mut swept = 0;
    for name in root.names().unwrap_or_default() {
        let Ok(name) = name.into_string() else { continue };
        if is_temporary(&name) && name.starts_with(DEAD) {
            swept += usize::from(discard(root, &name));
        } else if is_abandoned(root, &name) {
            let taken = name.replacen(NEW, DEAD, 1);
            if root.rename_dir(&name, &taken).is_ok() {
                swept += usize::from(discard(root, &taken));
            }
        }
    }
    swept
}

/// Whether `name` is that of a directory which isn't in place.
pub(super) fn is_temporary(name: &str) -> bool {
    is_new(name) || has_instance(name, DEAD)
}

/// Whether `name` is that of a directory which its maker hasn't put in place yet.
pub(super) fn is_new(name: &str) -> bool {
    has_instance(name, NEW)
}

fn has_instance(name: &str, prefix: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    name.strip_prefix(prefix).is_some_and(|digits| digits.len() == 16 && digits.bytes().all(is_digit))
}

/// Whether `name` is what a maker left that isn't alive any more.
pub(super) fn is_abandoned(root: &Dir, name: &str) -> bool {
    is_temporary(name) && (name.starts_with(DEAD) || !maker_lives(root, name))
}

fn maker_lives(root: &Dir, name: &str) -> bool {
    let dir = match root.open_dir(name) {
        Ok(dir) => dir,
        // Who shares it with others than we do finds out whether its maker lives.
        Err(NOT_OURS) => return true,
        Err(_) => return false,
    };
    let Ok(lock) = LockFile::open(|| {
        dir.open_file("peers", Access::ReadWrite).map_err(|errno| dir.refusal("peers", errno))
    }) else {
        return false;
    };
    read_header(lock.file(), PEERS_MAGIC, "peers")
        .and_then(|(geometry, _)| lock.others_alive(0, geometry.participants))
        .unwrap_or(false)
}
