// SPDX-License-Identifier: MIT OR Apache-2.0
//! Becoming a participant of a topic that is there.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use bytemuck::Zeroable;
use rustix::io::Errno;

use super::layout::{status, Geometry, Header, PEERS_MAGIC, RING_MAGIC};
use super::remove::REMOVED;
use super::{Files, Hot, Peers, Place, Role, Topic, Wanted};
use crate::error::{Error, Result};
use crate::os::dir::{Access, Dir};
use crate::os::fork::Token;
use crate::os::lock::LockFile;
use crate::os::map::Mapping;
use crate::ring::gate;
use crate::sync::Ordering;
use crate::wait::pass_gate;

/// Joins the topic. `None` when there is none (any more).
pub(super) fn join(place: &Place, root: &Dir, wanted: Wanted, role: Role) -> Result<Option<Topic>> {
    let Some(mut dir) = open_dir(place, root)? else { return Ok(None) };
    let Some(peers) = open_peers(&dir)? else {
        super::remove::delete_remains(place, &dir)?;
        return Ok(None);
    };
    if remove_unused(place, &dir, &peers)? {
        return Ok(None);
    }
    wanted.check(&peers.geometry)?;
    dir.share(wanted.check_sharing(peers.lock.file())?);
    match open_ring(&dir, &peers, role)? {
        Some(ring) => claim(Files { place: place.clone(), dir, peers, ring, role }),
        None => Ok(None),
    }
}

/// Opens the topic's directory; `None` when it isn't there.
pub(super) fn open_dir(place: &Place, root: &Dir) -> Result<Option<Dir>> {
    match root.open_dir(&place.name) {
        Ok(dir) => Ok(Some(dir)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno @ (Errno::LOOP | Errno::NOTDIR)) => {
            let reason = format!("it is not a directory of its own ({errno})");
            Err(Error::NotTrusted { path: root.join(&place.name), reason })
        }
        Err(errno) => Err(root.refusal(&place.name, errno)),
    }
}

/// Deletes the topic if nobody uses it. True when it is deleted, or being deleted.
pub(super) fn remove_unused(place: &Place, dir: &Dir, peers: &Peers) -> Result<bool> {
    if peers.is_removed() && peers.someone_is_live()? {
        // Deleting it would split its users from those to come.
        return Err(Error::corrupt(dir.join("peers"), "it says that the topic is removed, but it is in use"));
    }
    let unused = peers.is_removed() || peers.remove_if_deserted()?;
    if unused {
        super::remove::delete(place, dir)?;
    }
    Ok(unused)
}

/// Opens and checks `peers`; `None` when it isn't there: it is the last file that a removal deletes.
pub(super) fn open_peers(dir: &Dir) -> Result<Option<Peers>> {
    let mut missing = false;
    let opened = LockFile::open(|| {
        dir.open_file("peers", Access::ReadWrite).map_err(|errno| {
            missing = errno == Errno::NOENT;
            dir.refusal("peers", errno)
        })
    });
    let lock = match opened {
        Err(_) if missing => return Ok(None),
        other => other?,
    };
    let path = dir.join("peers");
    let (geometry, instance) = read_header(lock.file(), PEERS_MAGIC, &path)?;
    let map = Mapping::new(lock.file(), geometry.peers_size(), Access::ReadWrite, &path)?;
    Ok(Some(Peers { lock, map, geometry, instance, joined: AtomicU64::new(0) }))
}

/// Opens and checks `ring`; `None` when it was deleted under our eyes.
pub(super) fn open_ring(dir: &Dir, peers: &Peers, role: Role) -> Result<Option<Mapping>> {
    match map_ring(dir, peers, role) {
        Err(_) if peers.is_removed() => Ok(None),
        other => other.map(Some),
    }
}

fn map_ring(dir: &Dir, peers: &Peers, role: Role) -> Result<Mapping> {
    let path = dir.join("ring");
    let file = dir.open_file("ring", role.ring_access()).map_err(|errno| dir.refusal("ring", errno))?;
    let (geometry, instance) = read_header(&file, RING_MAGIC, &path)?;
    if geometry != peers.geometry || instance != peers.instance {
        return Err(Error::corrupt(path, "it belongs to another `peers` than the one beside it"));
    }
    Mapping::new(&file, geometry.ring_size(), role.ring_access(), &path)
}

/// Reads a header once and checks it; what it said later doesn't matter.
pub(super) fn read_header(file: &File, magic: u64, name: &str) -> Result<(Geometry, u64)> {
    let mut header = Header::zeroed();
    file.read_exact_at(bytemuck::bytes_of_mut(&mut header), 0).map_err(|source| {
        if source.kind() == std::io::ErrorKind::UnexpectedEof {
            Error::corrupt(name, "it was cut off within its header")
        } else {
            Error::Os { call: "read", path: name.to_owned(), source }
        }
    })?;
    Ok((Geometry::read(&header, magic, name)?, header.instance))
}

/// How often to look for an entry while others are at work on those of the dead: such work takes microseconds, unless its
/// process was stopped in it.
const LOOKS: u32 = 200;
/// And how long at most: where many others want the processor, each look may have to wait for it.
const LOOKING: Duration = Duration::from_millis(100);

/// Takes an entry, whose lock is this description's then. `None`: all are taken by the living.
///
/// A free one first. Others may be recovering the dead's at this moment, and have their locks: then there soon will be one.
fn take_entry(files: &Files) -> Result<Option<u32>> {
    let Files { peers, .. } = files;
    let state = |q: u32| status::state(peers.status()[q as usize].load(Ordering::Acquire));
    let all = 0..peers.geometry.participants;
    let mut failed = None;
    let from = Instant::now();
    for look in 0..LOOKS {
        let free_first = all.clone().filter(|&q| state(q) == status::FREE);
        for q in free_first.chain(all.clone().filter(|&q| state(q) != status::FREE)) {
            if !peers.lock.try_lock(q)? {
                continue;
            }
            // The lock is ours: whatever the status says now, nobody else is there (I5).
            match files.recover(q) {
                Ok(()) => return Ok(Some(q)),
                Err(error) => failed = Some(error),
            }
            peers.lock.unlock(q);
        }
        let in_work = |q| matches!(state(q), status::FREE | status::RECOVERING);
        // Once more in any case: the first thing that somebody at work does is to say so, but the lock comes before.
        if failed.is_some() || look > 0 && (!all.clone().any(in_work) || from.elapsed() > LOOKING) {
            break;
        }
        std::thread::yield_now();
    }
    failed.map_or(Ok(None), Err)
}

/// Becomes a participant, and then looks for the dead. `None` when the topic was removed meanwhile.
pub(super) fn claim(files: Files) -> Result<Option<Topic>> {
    let token = Token::current()?;
    let q = match take_entry(&files) {
        Ok(Some(q)) => q,
        // What is deleted under our eyes can't be recovered, and needn't be. And who left meanwhile may have seen a lock of ours, taken us
        // for a user, and left the topic to us.
        _ if files.peers.remove_if_deserted().unwrap_or(false) => {
            super::remove::delete(&files.place, &files.dir)?;
            return Ok(None);
        }
        Ok(None) => return Err(Error::NoParticipant { limit: files.peers.geometry.participants }),
        Err(error) => return Err(error),
    };
    let mut topic = Topic { hot: Hot::new(&files, q), files, q, token, start: None };
    let peers = &topic.files.peers;
    let word = &peers.status()[q as usize];
    // Release, before the status says that the entry is anything.
    peers.joined_word().fetch_max(u64::from(q) + 1, Ordering::Release);
    let is_reliable = topic.files.role == Role::Reliable;
    if is_reliable {
        gate::announce(topic.ring(), topic.cursor());
    }
    // Release, before any hold or segment of ours exists (I6).
    let joining = status::next(word.load(Ordering::Relaxed), status::JOINING, topic.files.role.flags());
    word.store(joining, Ordering::Release);
    if !peers.count_join() {
        // Dropping the topic backs out, and helps with the removal.
        return Ok(None);
    }
    if is_reliable {
        // Publishers may wait for what it announced, which it never reads.
        let start = gate::start(topic.ring());
        topic.start = Some(start);
        pass_gate(&topic, start);
    }
    // J3: Release, after the start.
    word.store(status::with_state(joining, status::LIVE), Ordering::Release);
    // A failure here is the next looker's to report.
    let _ = topic.recover_dead();
    Ok(Some(topic))
}

impl Peers {
    /// Counts one more join, unless the topic is REMOVED.
    fn count_join(&self) -> bool {
        let life = self.life();
        // Bounded: a try fails only when another joined or removed; 2^20 in a row is a damaged word.
        for _ in 0..1 << 20 {
            let seen = life.load(Ordering::SeqCst);
            if seen & REMOVED != 0 {
                return false;
            }
            // SeqCst with `remove_if_deserted`: one of the two sees the other.
            if life.compare_exchange(seen, seen + 1, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                return true;
            }
        }
        false
    }
}
