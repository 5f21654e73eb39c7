// SPDX-License-Identifier: MIT OR Apache-2.0
//! Members of a group, and one who isn't, for the tests of what a group shares: only root can become others, so each such
//! test's body is a child that is root, here or in a user namespace.

use std::os::unix::fs::{chown, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use shm::{Publisher, PublisherOptions, RootOptions, Sample, Subscriber, SubscriberOptions};

use crate::support::child::{this_thread, Child, Parent};
use crate::support::payload::Id;
use crate::support::shared::Shared;
use crate::support::{assert_nothing_in, files_below, skipped, Root};

pub const TOPIC: &str = "t";
pub const CAPACITY: u32 = 8;
const PARTICIPANTS: u32 = 4;
const LONG: Duration = Duration::from_secs(60);

/// Two members of the group, and one who isn't.
pub const ANNA: u32 = 12_001;
pub const BEN: u32 = 12_002;
pub const STRANGER: u32 = 12_003;
pub const GROUP: u32 = 13_000;
pub const NO_GROUP: &str = "none";

/// The word that says that a member has joined.
pub const JOINED: usize = 0;

/// What a user's process does at its parent's word.
struct Member {
    root: PathBuf,
    group: Option<u32>,
    publisher: Option<Publisher>,
    subscriber: Option<Subscriber>,
    held: Vec<Sample<'static>>,
}

impl Member {
    fn open(&mut self, mode: u32) -> shm::Result<String> {
        let (root, group) = (Some(self.root.clone()), self.group);
        let (capacity, participants, history) = (CAPACITY, PARTICIPANTS, u32::MAX);
        let rest = PublisherOptions::default();
        let options = PublisherOptions { root, capacity, participants, mode, group, ..rest };
        let publisher = Publisher::with_options(TOPIC, &options)?;
        let PublisherOptions { root, .. } = options;
        let rest = SubscriberOptions::default();
        let options = SubscriberOptions { root, capacity, participants, history, mode, group, ..rest };
        self.subscriber = Some(Subscriber::with_options(TOPIC, &options)?);
        self.publisher = Some(publisher);
        Ok("open".into())
    }

    fn publish(&self, sequence: u64, len: usize) -> shm::Result<String> {
        let mut loan = self.publisher.as_ref().unwrap().loan(len)?;
        Id { publisher: 1, sequence }.fill(&mut loan);
        loan.publish()?;
        Ok("published".into())
    }

    fn receive(&mut self, keep: bool) -> shm::Result<String> {
        let Some(sample) = self.subscriber.as_ref().unwrap().receive_timeout(LONG)? else {
            return Ok("nothing".into());
        };
        let sequence = Id::of(&sample).sequence;
        self.held.extend(keep.then(|| sample.keep()));
        Ok(sequence.to_string())
    }

    fn root_options(&self) -> RootOptions {
        RootOptions { root: Some(self.root.clone()), group: self.group }
    }

    fn audit(&self) -> shm::Result<String> {
        let audit = shm::audit(&self.root_options())?;
        let topics = audit.topics.iter().map(|topic| {
            assert!(topic.findings.is_empty(), "{topic:?}");
            format!("{}: {} living, {} dead", topic.name, topic.living, topic.dead)
        });
        Ok(topics.collect::<Vec<_>>().join("; "))
    }

    fn gc(&self) -> shm::Result<String> {
        let collected = shm::gc(&self.root_options())?;
        assert!(collected.refused.is_empty(), "{collected:?}");
        let shm::Collected { recovered, swept, .. } = collected;
        let names = |all: Vec<shm::Named>| all.into_iter().map(|topic| topic.name).collect::<Vec<_>>();
        let (removed, in_use) = (names(collected.removed), names(collected.in_use));
        Ok(format!("removed {removed:?}, in use {in_use:?}, recovered {recovered}, swept {swept}"))
    }

    fn obey(&mut self, line: &str) -> shm::Result<String> {
        let mut words = line.split(' ');
        let verb = words.next().unwrap();
        let mut number = || words.next().map_or(0, |word| word.parse::<u64>().unwrap());
        match verb {
            "open" => self.open(number() as u32),
            "publish" => self.publish(number(), number() as usize),
            "receive" => self.receive(false),
            "hold" => self.receive(true),
            "audit" => self.audit(),
            "gc" => self.gc(),
            "leave" => {
                self.held.clear();
                (self.publisher, self.subscriber) = (None, None);
                Ok("left".into())
            }
            other => panic!("{other}?"),
        }
    }
}

pub fn member(mut parent: Parent) {
    let (root, group, umask) = (parent.text().into(), parent.text().parse().ok(), parent.number());
    let shared = Shared::open(Path::new(&parent.text()));
    // SAFETY: always succeeds.
    unsafe { libc::umask(umask as libc::mode_t) };
    let mut member = Member { root, group, publisher: None, subscriber: None, held: Vec::new() };
    parent.say(this_thread());
    while let Some(line) = parent.hear() {
        let said = member.obey(&line).unwrap_or_else(|error| error.to_string());
        shared.set(JOINED, u64::from(member.publisher.is_some()));
        parent.say(said);
    }
}

/// A user's process, as the test sees it.
pub struct User {
    pub child: Child,
    pub thread: i32,
}

impl User {
    /// As `user`, who has a group of the same number, and GROUP unless it is the stranger.
    pub fn start(place: &Place, user: u32, group: &dyn ToString) -> User {
        Self::start_with_umask(place, user, group, 0o022)
    }

    pub fn start_with_umask(place: &Place, user: u32, group: &dyn ToString, umask: u32) -> User {
        // By its link: the program's directory may be closed to other users.
        let mut command = Command::new("/proc/self/exe");
        let become_user = move || {
            let groups = [GROUP];
            let count = usize::from(user != STRANGER);
            // SAFETY: plain system calls, in a child between fork and exec; `groups` has `count` elements.
            let done = unsafe {
                libc::setgroups(count, groups.as_ptr()) == 0
                    && libc::setgid(user) == 0
                    && libc::setuid(user) == 0
            };
            if done {
                Ok(())
            } else {
                Err(std::io::Error::last_os_error())
            }
        };
        // SAFETY: nothing but system calls.
        unsafe { command.pre_exec(become_user) };
        let shared = place.beside.path().join("shared");
        let arguments: [&dyn ToString; 4] = [&place.space.display(), group, &umask, &shared.display()];
        let mut child = Child::start_with(command, "members::member", &arguments);
        let thread = child.hear_number() as i32;
        User { child, thread }
    }

    pub fn ask(&mut self, line: &str) -> String {
        self.child.say(line);
        self.child.hear()
    }

    #[track_caller]
    pub fn expect(&mut self, line: &str, answer: &str) {
        let said = self.ask(line);
        assert_eq!(said, answer, "to {line:?}");
    }

    /// The words of an error, which have to name all of `words`.
    #[track_caller]
    pub fn expect_refusal(&mut self, line: &str, words: &[&str]) {
        let said = self.ask(line);
        for word in words {
            assert!(said.contains(word), "{said:?} doesn't say {word:?}");
        }
    }
}

/// A directory in which everybody may make a root, and the root in it.
pub struct Place {
    pub root: Root,
    pub space: PathBuf,
    pub beside: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Place {
        let (root, beside) = (Root::new(), tempfile::tempdir().unwrap());
        set_mode(root.path(), 0o1777);
        set_mode(beside.path(), 0o755);
        drop(Shared::open(&beside.path().join("shared")));
        set_mode(&beside.path().join("shared"), 0o666);
        Place { space: root.path().join("space"), root, beside }
    }

    /// Makes the root for `owner` and the group.
    pub fn make(&self, owner: u32, mode: u32) {
        std::fs::create_dir(&self.space).unwrap();
        chown(&self.space, Some(owner), Some(GROUP)).unwrap();
        set_mode(&self.space, mode);
    }

    /// Every file is the group's, whoever made it.
    pub fn check_files(&self, owners: &[u32]) {
        let mut found = Vec::new();
        for path in files_below(&self.space) {
            let data = std::fs::symlink_metadata(&path).unwrap();
            let mode = if data.is_dir() { 0o770 } else { 0o660 };
            assert_eq!((data.mode() & 0o7777, data.gid()), (mode, GROUP), "{}", path.display());
            found.push(data.uid());
        }
        found.sort();
        found.dedup();
        assert_eq!(found, owners);
    }

    #[track_caller]
    pub fn assert_empty(self) {
        assert_nothing_in(&self.space);
        std::fs::remove_dir(&self.space).unwrap();
        self.root.assert_empty();
    }
}

pub fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

/// Runs `role` as root, who can be any user: this process, or a child in a user namespace with more users than one.
pub fn run_as_root(role: &str) {
    // SAFETY: always succeeds.
    if unsafe { libc::geteuid() } == 0 {
        return Child::start(role, &[]).finish();
    }
    let within = |program: &Path| {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--map-auto", "--"]).arg(program);
        command
    };
    match within(Path::new("true")).output() {
        Ok(output) if output.status.success() => {}
        refused => return skipped(&format!("needs root, or newuidmap and a range of users: {refused:?}")),
    }
    Child::start_with(within(&std::env::current_exe().unwrap()), role, &[]).finish();
}
