// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the tests with several processes share: roots, children, a watchdog, payloads that can be checked.

// Each test binary uses its own part of this.
#![allow(dead_code)]

pub mod child;
pub mod delay;
pub mod payload;
pub mod random;
pub mod shared;
pub mod trace;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{channel, RecvTimeoutError, Sender};
use std::time::Duration;

use shm::{Publisher, PublisherOptions, Subscriber, SubscriberOptions};
use tempfile::TempDir;

/// A root of this test's own, on tmpfs, which must be empty when the test ends.
pub struct Root {
    dir: TempDir,
    _watchdog: Watchdog,
}

impl Root {
    pub fn new() -> Root {
        let dir = tempfile::Builder::new().prefix("shm-test-").tempdir_in("/dev/shm").unwrap();
        Root { dir, _watchdog: Watchdog::start() }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// As a child's argument.
    pub fn text(&self) -> &str {
        self.path().to_str().unwrap()
    }

    pub fn publisher(&self, topic: &str) -> Publisher {
        Publisher::with_options(topic, &publishing(self.path())).unwrap()
    }

    pub fn subscriber(&self, topic: &str) -> Subscriber {
        Subscriber::with_options(topic, &subscribing(self.path())).unwrap()
    }

    /// Everything below the root, sorted.
    pub fn files(&self) -> Vec<PathBuf> {
        files_below(self.path())
    }

    /// Bytes that the files below the root really take, as 512-byte blocks.
    pub fn blocks(&self) -> u64 {
        use std::os::unix::fs::MetadataExt;
        let of = |path: &PathBuf| std::fs::symlink_metadata(path).map_or(0, |data| data.blocks());
        self.files().iter().map(of).sum()
    }

    #[track_caller]
    pub fn assert_empty(&self) {
        assert_nothing_in(self.path());
    }
}

#[track_caller]
pub fn assert_nothing_in(path: &Path) {
    let left = files_below(path);
    assert!(left.is_empty(), "left behind: {left:?}");
}

/// Everything below `path`, sorted.
pub fn files_below(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        found.push(entry.path());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(files_below(&entry.path()));
        }
    }
    found.sort();
    found
}

pub fn publishing(root: &Path) -> PublisherOptions {
    PublisherOptions { root: Some(root.into()), ..Default::default() }
}

pub fn subscribing(root: &Path) -> SubscriberOptions {
    SubscriberOptions { root: Some(root.into()), ..Default::default() }
}

/// How long a test may take at most, on a machine that does much else.
const LIMIT: Duration = Duration::from_secs(100);

/// Aborts the process unless it is dropped in time: a hang is a failure like others.
pub struct Watchdog {
    _alive: Sender<()>,
}

impl Watchdog {
    pub fn start() -> Watchdog {
        let (alive, watched) = channel();
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        std::thread::spawn(move || {
            if watched.recv_timeout(LIMIT * factor() as u32) == Err(RecvTimeoutError::Timeout) {
                eprintln!("{test} did not end within {LIMIT:?}");
                std::process::abort();
            }
        });
        Watchdog { _alive: alive }
    }
}

/// How often to do what is random: `usual`, times `$SHM_TEST_FACTOR` for a thorough search.
pub fn rounds(usual: u64) -> u64 {
    usual * factor()
}

pub fn factor() -> u64 {
    std::env::var("SHM_TEST_FACTOR").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// Runs a child in `role`, given `place`, with a tmpfs of its own mounted there, which goes with it.
pub fn run_mounted(options: &str, place: &Path, role: &str) {
    let mount = format!("mount -t tmpfs -o {options} none {} && exec \"$0\" \"$@\"", place.display());
    let within = |program: &Path| {
        // As root of a user namespace, so that it works for everybody.
        let mut command = std::process::Command::new("unshare");
        command.args(["-rm", "sh", "-c", &mount]).arg(program).env_remove("SHM_ROOT");
        command
    };
    match within(Path::new("true")).output() {
        Ok(output) if output.status.success() => {}
        refused => return skipped(&format!("a tmpfs can't be mounted here: {refused:?}")),
    }
    let program = within(&std::env::current_exe().unwrap());
    child::Child::start_with(program, role, &[&place.display()]).finish();
}

/// Names the file that `make test` has the skips noted in, a line each.
pub const SKIPS: &str = "SHM_TEST_SKIPS";

/// Says why a test can't run here; it then counts as passed, visibly.
pub fn skipped(reason: &str) {
    let test = child::role().or_else(|| std::thread::current().name().map(str::to_owned));
    let line = format!("SKIPPED {}: {reason}\n", test.as_deref().unwrap_or("a test"));
    eprint!("{line}");
    if let Some(path) = std::env::var_os(SKIPS) {
        let mut file = std::fs::File::options().create(true).append(true).open(path).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}
