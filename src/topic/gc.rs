// SPDX-License-Identifier: MIT OR Apache-2.0
//! Taking away what the dead left, without joining anything.
//!
//! Nothing here is a protocol of its own: it does to every topic what a joiner does to the one that it joins. So it
//! may run at any time, several at once, beside anybody.

use super::join::{open_dir, open_peers, open_ring, remove_unused};
use super::name::{self, Named};
use super::remove::delete;
use super::{create, Files, Place, Role};
use crate::error::{Error, Result};
use crate::options::RootOptions;
use crate::os::dir::Dir;

/// What [`gc`] did.
#[derive(Default, Debug)]
#[non_exhaustive]
pub struct Collected {
    /// Topics and services that nobody used any more, which are gone now.
    pub removed: Vec<Named>,
    /// Topics and services that somebody uses.
    pub in_use: Vec<Named>,
    /// Participants that were dead, whose entries and holds were freed in what others use.
    pub recovered: usize,
    /// Directories of topics or services, or of a root that a group shares, which were never put in place.
    pub swept: usize,
    /// What was left alone, and why.
    pub refused: Vec<Error>,
}

/// Takes away what the dead left in a root: topics and services that nobody uses, those that were never finished, and in those that are
/// in use the entries and the holds of the dead. Never what is in use.
///
/// The root is for topics and services alone: an empty directory in it is taken for what a removal left, and goes.
///
/// Nobody needs to call this: whoever joins one does the same for it. It is for those that nobody joins any more.
///
/// ```
/// # let root = tempfile::tempdir()?; std::env::set_var("SHM_ROOT", root.path());
/// let collected = shm::gc(&Default::default())?;
/// for gone in &collected.removed {
///     println!("removed the {gone}"); // such as "removed the topic /greetings"
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`Error::NotTrusted`] and [`Error::Os`] for the root. What can't be done to one of them is in [`Collected::refused`], and a root that
/// isn't there has nothing to take away.
pub fn gc(options: &RootOptions) -> Result<Collected> {
    let root_path = options.path()?;
    let mut collected = Collected { swept: root_path.sweep_unfinished(), ..Collected::default() };
    let Some(root) = root_path.open_existing()? else { return Ok(collected) };
    collected.swept += create::sweep(&root);
    let mut files: Vec<_> = root.names()?.into_iter().filter_map(|name| name.into_string().ok()).collect();
    files.sort_unstable();
    for file in files {
        let Some(named) = name::unescape(&file) else { continue };
        let place = Place { root: root_path.clone(), name: file };
        match collect(&place, &root, &mut collected.recovered) {
            Ok(Outcome::Removed) => collected.removed.push(named),
            Ok(Outcome::InUse) => collected.in_use.push(named),
            Ok(Outcome::NotThere) => {}
            Err(error) => collected.refused.push(error),
        }
    }
    root_path.remove_if_empty();
    Ok(collected)
}

enum Outcome {
    Removed,
    InUse,
    NotThere,
}

fn collect(place: &Place, root: &Dir, recovered: &mut usize) -> Result<Outcome> {
    let Some(dir) = open_dir(place, root)? else { return Ok(Outcome::NotThere) };
    let Some(peers) = open_peers(&dir)? else {
        // What a removal leaves last is an empty directory. A directory with something in it may be anybody's.
        if root.remove_dir(&place.name) {
            return Ok(Outcome::Removed);
        }
        return match dir.names()?.is_empty() {
            true => Ok(Outcome::NotThere),
            false => Err(Error::corrupt(dir.join("peers"), "it isn't there, though other files are")),
        };
    };
    if remove_unused(place, &dir, &peers)? {
        return Ok(Outcome::Removed);
    }
    let Some(ring) = open_ring(&dir, &peers, Role::Subscriber)? else { return Ok(Outcome::Removed) };
    let files = Files { place: place.clone(), dir, peers, ring, role: Role::Subscriber };
    let recovery = recover_all(&files, recovered);
    // Also when that failed: whoever left meanwhile saw a lock of ours, took us for a user, and left the topic to us.
    if files.peers.remove_if_deserted()? {
        delete(&files.place, &files.dir)?;
        return Ok(Outcome::Removed);
    }
    recovery.map(|()| Outcome::InUse)
}

fn recover_all(files: &Files, recovered: &mut usize) -> Result<()> {
    for q in 0..files.peers.geometry.participants {
        // What is deleted under our eyes can't be recovered, and needn't be.
        if files.peers.is_removed() {
            break;
        }
        *recovered += usize::from(files.recover_if_dead(q)?);
    }
    Ok(())
}
