// SPDX-License-Identifier: MIT OR Apache-2.0
//! Topics that a group shares, used by processes of different users: only root can become others, so each test's body is a
//! child that is root, here or in a user namespace.

use std::os::unix::fs::{chown, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use shm::{Error, Publisher, PublisherOptions, RootOptions, Sample, Subscriber, SubscriberOptions};

use crate::support::child::{this_thread, Child, Parent};
use crate::support::payload::Id;
use crate::support::shared::Shared;
use crate::support::trace::Traced;
use crate::support::{assert_nothing_in, files_below, skipped, Root};

const TOPIC: &str = "t";
const CAPACITY: u32 = 8;
const PARTICIPANTS: u32 = 4;
const LONG: Duration = Duration::from_secs(60);

/// Two members of the group, and one who isn't.
const ANNA: u32 = 12_001;
const BEN: u32 = 12_002;
const STRANGER: u32 = 12_003;
const GROUP: u32 = 13_000;
const NO_GROUP: &str = "none";

/// The word that says that a member has joined.
const JOINED: usize = 0;

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

    fn obey(&mut self, line: &str) -> shm::Result<String> {
        let mut words = line.split(' ');
        let verb = words.next().unwrap();
        let mut number = || words.next().map_or(0, |word| word.parse::<u64>().unwrap());
        match verb {
            "open" => self.open(number() as u32),
            "publish" => self.publish(number(), number() as usize),
            "receive" => self.receive(false),
            "hold" => self.receive(true),
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
struct User {
    child: Child,
    thread: i32,
}

impl User {
    /// As `user`, who has a group of the same number, and GROUP unless it is the stranger.
    fn start(place: &Place, user: u32, group: &dyn ToString) -> User {
        Self::start_with_umask(place, user, group, 0o022)
    }

    fn start_with_umask(place: &Place, user: u32, group: &dyn ToString, umask: u32) -> User {
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
        let mut child = Child::start_with(command, "shared_group::member", &arguments);
        let thread = child.hear_number() as i32;
        User { child, thread }
    }

    fn ask(&mut self, line: &str) -> String {
        self.child.say(line);
        self.child.hear()
    }

    #[track_caller]
    fn expect(&mut self, line: &str, answer: &str) {
        let said = self.ask(line);
        assert_eq!(said, answer, "to {line:?}");
    }

    /// The words of an error, which have to name all of `words`.
    #[track_caller]
    fn expect_refusal(&mut self, line: &str, words: &[&str]) {
        let said = self.ask(line);
        for word in words {
            assert!(said.contains(word), "{said:?} doesn't say {word:?}");
        }
    }
}

/// A directory in which everybody may make a root, and the root in it.
struct Place {
    root: Root,
    space: PathBuf,
    beside: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let (root, beside) = (Root::new(), tempfile::tempdir().unwrap());
        set_mode(root.path(), 0o1777);
        set_mode(beside.path(), 0o755);
        drop(Shared::open(&beside.path().join("shared")));
        set_mode(&beside.path().join("shared"), 0o666);
        Place { space: root.path().join("space"), root, beside }
    }

    /// Makes the root for `owner` and the group.
    fn make(&self, owner: u32, mode: u32) {
        std::fs::create_dir(&self.space).unwrap();
        chown(&self.space, Some(owner), Some(GROUP)).unwrap();
        set_mode(&self.space, mode);
    }

    /// Every file is the group's, whoever made it.
    fn check_files(&self, owners: &[u32]) {
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
    fn assert_empty(self) {
        assert_nothing_in(&self.space);
        std::fs::remove_dir(&self.space).unwrap();
        self.root.assert_empty();
    }
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

/// Runs `role` as root, who can be any user: this process, or a child in a user namespace with more users than one.
fn run_as_root(role: &str) {
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

pub fn both_directions(_: Parent) {
    let owners = [None, Some((0, 0o770)), Some((ANNA, 0o2770)), Some((BEN, 0o770)), Some((STRANGER, 0o775))];
    for (owner, umask) in owners.into_iter().zip([0o022, 0o077, 0o777, 0, 0o027]) {
        let place = Place::new();
        if let Some((owner, mode)) = owner {
            place.make(owner, mode);
        }
        let [mut anna, mut ben] = [ANNA, BEN].map(|user| User::start_with_umask(&place, user, &GROUP, umask));
        anna.expect("open", "open");
        ben.expect("open", "open");
        for (sequence, len) in [(1, 100), (2, 10_000), (3, 100), (4, 100_000)] {
            let publisher = if sequence % 2 == 0 { &mut anna } else { &mut ben };
            publisher.expect(&format!("publish {sequence} {len}"), "published");
            for one in [&mut anna, &mut ben] {
                one.expect("receive", &sequence.to_string());
            }
        }
        place.check_files(&[ANNA, BEN]);
        let space = std::fs::metadata(&place.space).unwrap();
        if owner.is_none() {
            assert_eq!((space.uid(), space.gid(), space.mode() & 0o7777), (ANNA, GROUP, 0o770));
        }
        // Who made the topic isn't who removes it.
        anna.expect("leave", "left");
        ben.expect("publish 5 200000", "published");
        place.check_files(&[ANNA, BEN]);
        ben.expect("leave", "left");
        place.assert_empty();
    }
}

#[test]
fn two_users_talk_in_both_directions() {
    run_as_root("shared_group::both_directions");
}

pub fn strangers(_: Parent) {
    let place = Place::new();
    let path = place.space.display().to_string();
    let mut anna = User::start(&place, ANNA, &GROUP);
    // Only members can make something for the group.
    let mut stranger = User::start(&place, STRANGER, &GROUP);
    stranger.expect_refusal("open", &["fchown", &path, "not a member of group 13000"]);
    place.root.assert_empty();

    anna.expect("open", "open");
    anna.expect("publish 1 100", "published");
    let whose = ["user 12001", "group 13000", "mode 0770", "user 12003"];
    for group in [&GROUP as &dyn ToString, &STRANGER, &NO_GROUP] {
        let mut stranger = User::start(&place, STRANGER, group);
        stranger.expect_refusal("open", &[&["permission denied", "open", &path], &whose[..]].concat());
    }
    // Where looking is allowed, writing still isn't.
    set_mode(&place.space, 0o775);
    let mut stranger = User::start(&place, STRANGER, &GROUP);
    stranger.expect_refusal("open", &["permission denied", &format!("{path}/t"), "user 12001", "user 12003"]);
    let mut stranger = User::start(&place, STRANGER, &STRANGER);
    let neither = "neither to user 12003 nor to group 12003";
    stranger.expect_refusal("open", &["not trusted", &path, "user 12001 and group 13000", neither]);
    // A member who doesn't say that it shares it is told how.
    let mut ben = User::start(&place, BEN, &NO_GROUP);
    ben.expect_refusal("open", &["not trusted", &path, "user 12001", "set the option `group` to 13000"]);

    let mut ben = User::start(&place, BEN, &GROUP);
    ben.expect("open", "open");
    ben.expect("receive", "1");
    ben.expect("leave", "left");
    anna.expect("leave", "left");
    place.assert_empty();
}

#[test]
fn a_user_outside_of_the_group_is_told_so() {
    run_as_root("shared_group::strangers");
}

pub fn roots(_: Parent) {
    let refused: [(u32, u32, u32, &str); 7] = [
        (ANNA, GROUP, 0o777, "others may write to it (mode 0777); chmod it to 0770"),
        (ANNA, GROUP, 0o1770, "sticky bit"),
        (ANNA, GROUP, 0o750, "its group 13000 may not write to it (mode 0750)"),
        (ANNA, STRANGER, 0o777, "belongs to user 12001 and group 12003, neither"),
        (0, STRANGER, 0o775, "belongs to user 0 and group 12003, neither"),
        (BEN, STRANGER, 0o775, "others may write to it (mode 0775); chmod it to 0700"),
        (BEN, GROUP, 0o772, "others may write to it (mode 0772); chmod it to 0770"),
    ];
    for (owner, group, mode, words) in refused {
        let place = Place::new();
        std::fs::create_dir(&place.space).unwrap();
        chown(&place.space, Some(owner), Some(group)).unwrap();
        set_mode(&place.space, mode);
        let path = place.space.display().to_string();
        let mut ben = User::start(&place, BEN, &GROUP);
        ben.expect_refusal("open", &["not trusted", &path, words]);
        place.assert_empty();
    }
    // Things of others in a root that is as it should be.
    let place = Place::new();
    place.make(0, 0o770);
    let mut ben = User::start(&place, BEN, &GROUP);
    ben.expect("open", "open");
    let topic = place.space.join(TOPIC);
    for path in [topic.clone(), topic.join("peers"), topic.join("ring")] {
        chown(&path, Some(STRANGER), Some(STRANGER)).unwrap();
        set_mode(&path, if path == topic { 0o777 } else { 0o666 });
        let mut anna = User::start(&place, ANNA, &GROUP);
        let neither = "neither to user 12001 nor to group 13000";
        anna.expect_refusal("open", &["not trusted", &path.display().to_string(), "user 12003", neither]);
        chown(&path, Some(BEN), Some(GROUP)).unwrap();
        set_mode(&path, if path == topic { 0o770 } else { 0o660 });
    }
    ben.expect("leave", "left");
    place.assert_empty();
}

#[test]
fn a_root_or_a_topic_that_is_not_the_groups_is_refused() {
    run_as_root("shared_group::roots");
}

fn segments(place: &Place) -> Vec<(PathBuf, u32)> {
    let files = files_below(&place.space).into_iter();
    let segments = files.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("seg."));
    segments.map(|path| (path.clone(), std::fs::metadata(path).unwrap().uid())).collect()
}

pub fn the_dead(_: Parent) {
    let place = Place::new();
    let mut ben = User::start(&place, BEN, &GROUP);
    let mut anna = User::start_with_umask(&place, ANNA, &GROUP, 0o077);
    anna.expect("open", "open");
    ben.expect("open", "open");
    for sequence in 0..4 {
        anna.expect(&format!("publish {sequence} 1000"), "published");
        anna.expect("hold", &sequence.to_string());
    }
    anna.expect("publish 4 50000", "published");
    let made = segments(&place);
    assert_eq!(made.len(), 2);
    anna.child.kill();

    // Both of hers are recovered: there is room for two.
    let mut more = User::start(&place, BEN, &GROUP);
    more.expect("open", "open");
    let mut full = User::start(&place, ANNA, &GROUP);
    full.expect_refusal("open", &["all 4 participants"]);
    full.child.finish();
    more.expect("leave", "left");
    // What she had published is there, though she is not; and her memory is taken over.
    (0..5).for_each(|sequence| ben.expect("receive", &sequence.to_string()));
    ben.expect("publish 5 1000", "published");
    ben.expect("receive", "5");
    assert_eq!(segments(&place), made, "he made a segment of his own");
    // What nobody wants any more is destroyed, though it was hers.
    for sequence in 6..6 + u64::from(CAPACITY) {
        ben.expect(&format!("publish {sequence} 1000"), "published");
    }
    more.expect("open", "open");
    assert_eq!(segments(&place).len(), 1, "{:?}", segments(&place));
    more.expect("leave", "left");
    ben.expect("leave", "left");
    place.assert_empty();
}

#[test]
fn another_user_recovers_adopts_and_removes() {
    run_as_root("shared_group::the_dead");
}

/// Lets a user of the group make root and topic, up to its `calls`th system call, and kills it there. False: it was done.
fn kill_at(place: &Place, calls: u64) -> std::io::Result<bool> {
    let shared = Shared::open(&place.beside.path().join("shared"));
    shared.set(JOINED, 0);
    let mut anna = User::start_with_umask(place, ANNA, &GROUP, 0o077);
    let mut traced = Traced::attach(anna.child.pid(), anna.thread)?;
    anna.child.say("open");
    for _ in 0..2 * calls {
        if shared.get(JOINED) == 0 {
            assert!(traced.run_to_call(), "it ended by itself");
        }
    }
    anna.child.signal(libc::SIGKILL);
    traced.gone();
    anna.child.kill();
    Ok(shared.get(JOINED) == 0)
}

pub fn killed_anywhere(_: Parent) {
    for calls in 0.. {
        let place = Place::new();
        if calls % 2 == 0 {
            place.make(0, 0o770);
        }
        let is_midway = match kill_at(&place, calls) {
            Ok(is_midway) => is_midway,
            Err(error) => return skipped(&format!("ptrace isn't permitted: {error}")),
        };
        let mut ben = User::start(&place, BEN, &GROUP);
        ben.expect("open", "open");
        ben.expect("publish 1 100", "published");
        ben.expect("receive", "1");
        place.check_files(&[BEN]);
        ben.expect("leave", "left");
        assert_nothing_in(&place.space);
        // A root that wasn't in place yet is nobody's to remove, and in nobody's way.
        let left = std::fs::read_dir(place.root.path()).unwrap().flatten();
        let left: Vec<_> = left.filter(|entry| entry.path() != place.space).collect();
        assert!(left.len() <= 1, "{left:?}");
        left.iter().for_each(|entry| std::fs::remove_dir(entry.path()).unwrap());
        place.assert_empty();
        if !is_midway {
            assert!(calls > 30, "{calls}");
            return;
        }
    }
}

#[test]
fn a_maker_killed_anywhere_leaves_nothing_in_the_groups_way() {
    run_as_root("shared_group::killed_anywhere");
}

fn with_mode(root: &Path, mode: u32, group: Option<u32>) -> shm::Result<Publisher> {
    let options = PublisherOptions { root: Some(root.into()), mode, group, ..Default::default() };
    Publisher::with_options(TOPIC, &options)
}

#[test]
fn modes_are_exact() {
    let root = Root::new();
    // SAFETY: always succeeds.
    let own = unsafe { libc::getegid() };
    for (mode, group, file, dir) in [
        (0, None, 0o600, 0o700),
        (0o600, None, 0o600, 0o700),
        (0o640, None, 0o640, 0o750),
        (0o660, Some(own), 0o660, 0o770),
        (0, Some(own), 0o660, 0o770),
    ] {
        let space = root.path().join("space");
        let publisher = with_mode(&space, mode, group).unwrap();
        publisher.publish(b"x").unwrap();
        // Another one, who has no wishes, makes its segment like the others.
        let other = with_mode(&space, 0, group).unwrap();
        other.publish(b"x").unwrap();
        let files = files_below(&space);
        assert_eq!(files.len(), 5);
        for path in files {
            let data = std::fs::metadata(&path).unwrap();
            let expected = if data.is_dir() { dir } else { file };
            assert_eq!(data.mode() & 0o7777, expected, "{} with {mode:o}", path.display());
        }
        let space_mode = if group.is_some() { dir } else { 0o700 };
        assert_eq!(std::fs::metadata(&space).unwrap().mode() & 0o7777, space_mode);
        drop((publisher, other));
        std::fs::remove_dir(space).unwrap();
    }
}

#[test]
fn what_cannot_be_shared_is_refused() {
    let root = Root::new();
    // SAFETY: always succeeds.
    let own = unsafe { libc::getegid() };
    let never = [0o666, 0o604, 0o400, 0o060, 0o700, 0o1600, u32::MAX].map(|mode| (mode, None));
    // To share is to let the group write, and nobody writes with whom nothing is shared.
    let contradictions = [(0o660, None), (0o600, Some(own)), (0o640, Some(own)), (0o666, Some(own))];
    for (mode, group) in never.into_iter().chain(contradictions) {
        match with_mode(root.path(), mode, group) {
            Err(error @ Error::InvalidOption { option: "mode", .. }) => {
                let words = error.to_string();
                let wanted = format!("mode is {mode:04o}, but must be 0600, 0640 or 0660");
                assert!(words.contains(&wanted) && words.contains("with the option `group`"), "{words}");
            }
            other => panic!("{mode:o}: {other:?}"),
        }
    }
    match with_mode(root.path(), 0, Some(u32::MAX)) {
        Err(Error::InvalidOption { option: "group", .. }) => {}
        other => panic!("{other:?}"),
    }
    let made = with_mode(root.path(), 0o640, None).unwrap();
    for (wanted, group) in [(0o600, None), (0o660, Some(own))] {
        match with_mode(root.path(), if group.is_some() { 0 } else { wanted }, group) {
            Err(error @ Error::Mismatch { option: "mode", found: 0o640, .. }) => {
                let words = format!(
                    "exists with mode 0640, but {wanted:04o} was asked for; ask for what it has, or for none"
                );
                assert!(error.to_string().contains(&words), "{error}");
            }
            other => panic!("{other:?}"),
        }
    }
    let another = own + 1;
    assert!(matches!(with_mode(root.path(), 0, Some(another)), Err(Error::Mismatch { option: "group", .. })));
    drop(made);
    root.assert_empty();
}

#[track_caller]
fn assert_not_trusted<T>(found: shm::Result<T>, named: &Path, words: &str) {
    match found.map(|_| "it was used") {
        Err(Error::NotTrusted { path, reason }) => {
            assert_eq!(Path::new(&path), named);
            assert!(reason.contains(words), "{reason:?} doesn't say {words:?}");
        }
        other => panic!("{}: {other:?}", named.display()),
    }
}

/// Members could have written anything into it.
#[test]
fn what_its_user_shared_with_a_group_is_not_used_without_saying_so() {
    let root = Root::new();
    // SAFETY: always succeeds.
    let own = unsafe { libc::getegid() };
    let topic = root.path().join(TOPIC);
    let shared = with_mode(root.path(), 0, Some(own)).unwrap();
    let words = format!("its group {own} may write to it (mode 0770); to share it");
    assert_not_trusted(with_mode(root.path(), 0, None), &topic, &words);
    assert_not_trusted(with_mode(root.path(), 0o600, None), &topic, &format!("option `group` to {own}"));
    let subscriber = Subscriber::with_options(TOPIC, &crate::support::subscribing(root.path()));
    assert_not_trusted(subscriber, &topic, &words);
    with_mode(root.path(), 0, Some(own)).unwrap();
    drop(shared);
    root.assert_empty();
}

#[test]
fn a_topic_that_others_may_write_to_is_refused() {
    let root = Root::new();
    let topic = root.path().join(TOPIC);
    let subscriber = root.subscriber(TOPIC);
    let publisher = root.publisher(TOPIC);
    for (path, mode) in [(topic.clone(), 0o700), (topic.join("peers"), 0o600), (topic.join("ring"), 0o600)] {
        for more in [0o020, 0o060, 0o002, 0o022] {
            set_mode(&path, mode | more);
            let whose = if more & 2 == 0 { "its group" } else { "others" };
            let words = format!("may write to it (mode {:04o})", mode | more);
            assert_not_trusted(with_mode(root.path(), 0, None), &path, &format!("{whose} "));
            assert_not_trusted(with_mode(root.path(), 0, None), &path, &words);
        }
        set_mode(&path, mode | 0o044);
        with_mode(root.path(), 0, None).unwrap();
        set_mode(&path, mode);
    }
    publisher.publish(&[1; 100]).unwrap();
    let segment = topic.join("seg.1.0");
    set_mode(&segment, 0o620);
    assert_not_trusted(subscriber.try_receive(), &segment, "its group");
    assert_eq!(subscriber.lost(), 1);
    drop((publisher, subscriber));
    root.assert_empty();
}

/// Whoever shares nothing doesn't know who lives among those who do.
#[test]
fn what_a_group_is_about_to_share_is_not_swept_by_others() {
    let root = Root::new();
    // SAFETY: always succeeds.
    let own = unsafe { libc::getegid() };
    let unfinished = root.path().join(".new-0000000000000000");
    let made = with_mode(root.path(), 0, Some(own)).unwrap();
    std::fs::rename(root.path().join(TOPIC), &unfinished).unwrap();
    drop(root.publisher("another"));
    shm::gc(&RootOptions { root: Some(root.path().into()), ..Default::default() }).unwrap();
    std::fs::rename(&unfinished, root.path().join(TOPIC)).unwrap();
    drop(made);
    root.assert_empty();
}

/// A child without SHM_ROOT asks for a group.
pub fn default_root(_: Parent) {
    std::env::remove_var("SHM_ROOT");
    match Publisher::with_options(TOPIC, &PublisherOptions { group: Some(GROUP), ..Default::default() }) {
        Err(error @ Error::InvalidOption { option: "group", found: 13_000, .. }) => {
            let words = error.to_string();
            assert!(words.contains("together with a root") && words.contains("SHM_ROOT"), "{words}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_default_root_is_for_no_group() {
    Child::start("shared_group::default_root", &[]).finish();
}
