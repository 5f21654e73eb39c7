// SPDX-License-Identifier: MIT OR Apache-2.0
//! The place a run happens in: a directory of its own under /dev/shm, and someone who removes it afterwards.
//!
//! Removal is the work of a janitor, a process that waits for the end of its standard input. That comes when
//! the run ends, however it ends: a panic, Ctrl-C and SIGKILL close the pipe as surely as a return does.

use std::fs;
use std::io::Read;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::Result;

/// The hidden subcommand that makes this program the janitor.
pub const JANITOR: &str = "__janitor";

const SHARED_MEMORY: &str = "/dev/shm";
const PREFIX: &str = "shm-bench-";

/// What every side has to know of the run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Room {
    run: u32,
    pub cpus: [usize; 2],
}

impl Room {
    pub fn new(cpus: [usize; 2]) -> Room {
        Room { run: std::process::id(), cpus }
    }

    /// The directory that holds everything of the run but iceoryx2's shared memory.
    pub fn path(&self) -> PathBuf {
        Path::new(SHARED_MEMORY).join(format!("{PREFIX}{}", self.run))
    }

    /// What SHM_ROOT is to the sides.
    pub fn shm_root(&self) -> PathBuf {
        self.path().join("shm")
    }

    /// Where iceoryx2 keeps the files that aren't shared memory.
    pub fn iceoryx2_root(&self) -> PathBuf {
        self.path().join("iceoryx2")
    }

    /// The start of the name of each of iceoryx2's shared memory objects. It doesn't start like the room.
    pub fn iceoryx2_prefix(&self) -> String {
        format!("iox2-{PREFIX}{}_", self.run)
    }

    /// The bytes of shared memory that are left to be had.
    pub fn free_bytes(&self) -> u64 {
        rustix::fs::statvfs(SHARED_MEMORY).map_or(0, |about| about.f_bavail * about.f_frsize)
    }

    /// The bytes that iceoryx2 occupies.
    pub fn iceoryx2_bytes(&self) -> u64 {
        let objects: u64 = self.iceoryx2_objects().iter().map(|path| occupied(path)).sum();
        objects + occupied(&self.iceoryx2_root())
    }

    fn iceoryx2_objects(&self) -> Vec<PathBuf> {
        let prefix = self.iceoryx2_prefix();
        let ours =
            |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix));
        entries(Path::new(SHARED_MEMORY)).into_iter().filter(ours).collect()
    }

    fn remove(&self) -> bool {
        self.iceoryx2_objects().iter().for_each(|path| drop(fs::remove_file(path)));
        drop(fs::remove_dir_all(self.path()));
        !self.path().exists() && self.iceoryx2_objects().is_empty()
    }
}

/// The bytes that a file, or a directory with all below it, takes in its file system.
pub fn occupied(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(about) = fs::symlink_metadata(path) else { return 0 };
    let below: u64 = match about.is_dir() {
        true => entries(path).iter().map(|entry| occupied(entry)).sum(),
        false => 0,
    };
    about.blocks() * 512 + below
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries.flatten().map(|entry| entry.path()).collect()
}

/// Holds the room open. Dropping it has the room removed, and waits until it is.
pub struct Lease {
    janitor: Child,
    pipe: Option<ChildStdin>,
}

impl Lease {
    pub fn open(room: &Room) -> Result<Lease> {
        let mut janitor = Command::new(std::env::current_exe()?)
            .args([JANITOR, &serde_json::to_string(room)?])
            .stdin(Stdio::piped())
            .spawn()?;
        let lease = Lease { pipe: janitor.stdin.take(), janitor };
        for path in [room.path(), room.shm_root(), room.iceoryx2_root()] {
            fs::DirBuilder::new().mode(0o700).create(path)?;
        }
        Ok(lease)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        drop(self.pipe.take());
        if let Err(error) = self.janitor.wait() {
            eprintln!("shm-bench: the janitor is lost: {error}");
        }
    }
}

/// The janitor's life: wait for the end of the run, then clean up behind the sides, which die with it too.
pub fn janitor(room: &Room) -> Result<()> {
    rustix::process::setsid()?; // Ctrl-C is meant for the run, not for who cleans up after it
    std::io::stdin().read_to_end(&mut Vec::new())?;
    let start = Instant::now();
    while !room.remove() {
        if start.elapsed() > Duration::from_secs(5) {
            return Err(format!("cannot remove {}", room.path().display()).into());
        }
        sleep(Duration::from_millis(10));
    }
    Ok(())
}
