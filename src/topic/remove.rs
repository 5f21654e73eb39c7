// SPDX-License-Identifier: MIT OR Apache-2.0
//! Leaving a topic, and taking it away when nobody is left. The protocol is in `mod.rs`.

use super::layout::status;
use super::{Peers, Place, Topic};
use crate::error::{Error, Result};
use crate::os::dir::Dir;
use crate::sync::Ordering;

/// The bit of `life` that makes a directory dead for good; the other bits count joins.
pub(super) const REMOVED: u64 = 1 << 63;

/// How often to look at one who seems to be alive in a REMOVED topic: a recoverer has the lock a moment before it says what it is.
const LOOKS: u32 = 100;

impl Peers {
    /// Whether somebody who takes part is alive: in a REMOVED topic nobody is, as joiners find REMOVED before they are LIVE.
    pub(super) fn someone_is_live(&self) -> Result<bool> {
        for (q, word) in (0..).zip(self.status()) {
            // Only those that are LIVE, twice: who locks a dead one's entry to recover it says so after that.
            let live = || status::state(word.load(Ordering::Acquire)) == status::LIVE;
            let mut looks = 0;
            while live() && self.lock.others_alive(q, 1)? && live() {
                looks += 1;
                if looks == LOOKS {
                    return Ok(true);
                }
                std::thread::yield_now();
            }
        }
        Ok(false)
    }

    pub(super) fn is_removed(&self) -> bool {
        self.life().load(Ordering::SeqCst) & REMOVED != 0
    }

    /// Marks the topic REMOVED when nobody holds a lock but this description. True when it is REMOVED then.
    pub(super) fn remove_if_deserted(&self) -> Result<bool> {
        // Read before looking at the locks: see the protocol.
        let seen = self.life().load(Ordering::SeqCst);
        if seen & REMOVED != 0 {
            return Ok(true);
        }
        if self.lock.others_alive(0, self.geometry.participants)? {
            return Ok(false);
        }
        let removed = seen | REMOVED;
        Ok(self.life().compare_exchange(seen, removed, Ordering::SeqCst, Ordering::SeqCst).is_ok())
    }
}

/// Deletes the files of a REMOVED topic through its own directory, then the empty directory. Any number of processes
/// may do this at once, or stop halfway.
///
/// `peers`, which says REMOVED, goes last: as long as anything else is there, also because the directory couldn't be
/// listed, the next to come must find out what this is.
pub(super) fn delete(place: &Place, dir: &Dir) -> Result<()> {
    let deleted = delete_all_but_peers(dir);
    if dir.names().is_ok_and(|names| names.iter().all(|name| name == c"peers")) {
        dir.remove_file("peers");
    }
    delete_empty(place);
    deleted.and_then(|()| check_empty(dir))
}

/// Deletes what a topic's directory has without `peers`, which isn't a topic's any more, and then the directory.
pub(super) fn delete_remains(place: &Place, dir: &Dir) -> Result<()> {
    let deleted = delete_all_but_peers(dir);
    delete_empty(place);
    deleted.and_then(|()| check_empty(dir))
}

/// What is still there now stays: nobody makes files in a topic that is deleted, and no other can take its place.
fn check_empty(dir: &Dir) -> Result<()> {
    let names = dir.names()?;
    match names.iter().find(|&name| name != c"peers").or(names.first()) {
        None => Ok(()),
        Some(name) => {
            let what = format!("it is no topic any more, but {} is in the way", name.to_string_lossy());
            Err(Error::corrupt(dir.path(), what))
        }
    }
}

/// Only what the library makes: a user's own files aren't ours to take.
fn delete_all_but_peers(dir: &Dir) -> Result<()> {
    for name in dir.names()? {
        let name = name.to_string_lossy();
        if name == "ring" || name.starts_with("seg.") {
            dir.remove_file(&name);
        }
    }
    Ok(())
}

fn delete_empty(place: &Place) {
    // Not made anew if it was taken away.
    if let Ok(Some(root)) = place.root.open_existing() {
        root.remove_dir(&place.name);
    }
    place.root.remove_if_empty();
}

impl Topic {
    /// Leaves. Nothing of what happens here can fail in a way that the caller could mend: what is left undone is
    /// undone by the next who comes, as after a kill.
    fn leave(&self) {
        let files = &self.files;
        if files.recover(self.q).is_err() {
            return;
        }
        // First let go, then look: of several who leave at once the last to let go sees nobody.
        files.peers.lock.unlock(self.q);
        if files.peers.remove_if_deserted().unwrap_or(false) {
            let _ = delete(&files.place, &files.dir);
        }
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        // In the child of a fork the participant is the parent's.
        if self.token.is_ours() {
            self.leave();
        }
    }
}
