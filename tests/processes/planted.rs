// SPDX-License-Identifier: MIT OR Apache-2.0
//! Things that somebody put where the library has its own: links, and directories and files of other users. They are
//! refused with their path and the reason, or passed by; none is followed, and nothing outside is deleted or changed.

use std::os::unix::fs::{chown, symlink, PermissionsExt};
use std::path::{Path, PathBuf};

use shm::{Error, Publisher, Subscriber, SubscriberOptions};

use crate::support::child::{Child, Parent};
use crate::support::{publishing, skipped, subscribing, Root};

const TOPIC: &str = "t";
const LEN: usize = 100_000;
const STRANGER: u32 = 12_003;

fn open(root: &Path) -> shm::Result<Publisher> {
    Publisher::with_options(TOPIC, &publishing(root))
}

fn subscriber(root: &Path) -> shm::Result<Subscriber> {
    Subscriber::with_options(TOPIC, &SubscriberOptions { history: u32::MAX, ..subscribing(root) })
}

/// A directory beside the root, with files that nobody has to touch.
struct Outside {
    dir: tempfile::TempDir,
}

/// Files named like a topic's, which a deletion that followed a link would take.
const NAMES: [&str; 3] = ["peers", "ring", "seg.1.0"];
const CONTENT: [u8; 8192] = [0xcd; 8192];

impl Outside {
    fn new() -> Outside {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        NAMES.iter().for_each(|name| std::fs::write(dir.path().join(name), CONTENT).unwrap());
        Outside { dir }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join(NAMES[2])
    }

    #[track_caller]
    fn assert_untouched(&self) {
        for name in NAMES {
            assert!(std::fs::read(self.dir.path().join(name)).unwrap() == CONTENT, "{name}");
        }
        assert_eq!(std::fs::read_dir(self.dir.path()).unwrap().count(), NAMES.len());
    }
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

#[test]
fn links_in_place_of_root_topic_and_files_are_not_followed() {
    let (root, outside) = (Root::new(), Outside::new());
    let link = root.path().join("link");
    symlink(outside.dir.path(), &link).unwrap();
    assert_not_trusted(open(&link), &link, "not a directory of its own");
    std::fs::remove_file(link).unwrap();

    let topic = root.path().join(TOPIC);
    symlink(outside.dir.path(), &topic).unwrap();
    assert_not_trusted(open(root.path()), &topic, "not a directory of its own");
    std::fs::remove_file(&topic).unwrap();

    let (publisher, aside) = (open(root.path()).unwrap(), root.path().join("aside"));
    for name in ["peers", "ring"] {
        let path = topic.join(name);
        std::fs::rename(&path, &aside).unwrap();
        symlink(outside.dir.path().join(name), &path).unwrap();
        assert_not_trusted(open(root.path()), &path, "symbolic link");
        assert_not_trusted(subscriber(root.path()), &path, "symbolic link");
        std::fs::rename(&aside, &path).unwrap();
    }
    // What goes with the topic is the link.
    symlink(outside.file(), topic.join("seg.77.0")).unwrap();
    symlink(outside.dir.path(), topic.join("seg.78.0")).unwrap();
    drop(publisher);
    root.assert_empty();
    outside.assert_untouched();
}

#[test]
fn a_link_in_place_of_a_segment_is_not_followed() {
    let (root, outside) = (Root::new(), Outside::new());
    let keeper = subscriber(root.path()).unwrap();
    // Where the next segment will be.
    let next = root.path().join(TOPIC).join("seg.1.0");
    symlink(outside.file(), &next).unwrap();
    let publisher = open(root.path()).unwrap();
    match publisher.publish(&[1; LEN]) {
        Err(Error::Os { path, source, .. }) => {
            assert_eq!((Path::new(&path), source.kind()), (&*next, std::io::ErrorKind::AlreadyExists));
        }
        other => panic!("{other:?}"),
    }
    publisher.publish(&[2; LEN]).unwrap();
    let segment = root.path().join(TOPIC).join("seg.1.1");
    // Where a segment is, for one who hasn't mapped it yet.
    std::fs::rename(&segment, root.path().join("aside")).unwrap();
    symlink(outside.file(), &segment).unwrap();
    assert_not_trusted(keeper.try_receive(), &segment, "symbolic link");
    assert_eq!(keeper.lost(), 1);
    // Leaving, and whoever destroys what is left, deletes the link.
    drop(publisher);
    (0..64).for_each(|_| assert!(open(root.path()).unwrap().publish(b"x").is_ok()));
    drop(open(root.path()).unwrap());
    assert!(!segment.is_symlink());
    std::fs::remove_file(root.path().join("aside")).unwrap();
    drop(keeper);
    root.assert_empty();
    outside.assert_untouched();
}

#[test]
fn links_among_the_unfinished_are_not_followed() {
    let (root, outside) = (Root::new(), Outside::new());
    for prefix in [".new-", ".dead-"] {
        let path = |name: &str| root.path().join(format!("{prefix}{name:0>16}"));
        symlink(outside.dir.path(), path("a1")).unwrap();
        symlink(outside.file(), path("f1")).unwrap();
        symlink("/dev/null/nothing", path("b1")).unwrap();
        std::fs::create_dir(path("d1")).unwrap();
        for (name, target) in [("peers", outside.file()), ("ring", outside.dir.path().into())] {
            symlink(target, path("d1").join(name)).unwrap();
        }
    }
    open(root.path()).unwrap().publish(b"x").unwrap();
    outside.assert_untouched();
    for name in [".new-00000000000000d1", ".dead-00000000000000d1"] {
        assert!(!root.path().join(name).exists(), "{name} is the library's own litter");
    }
}

/// In the hands of a user that nobody trusts.
fn give_away(path: &Path, mode: u32) {
    chown(path, Some(STRANGER), Some(STRANGER)).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

/// Only root can give away, and is given to itself again.
fn take_back(path: &Path, mode: u32) {
    // SAFETY: always succeed.
    let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
    chown(path, Some(user), Some(group)).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

fn is_root() -> bool {
    // SAFETY: always succeeds.
    let is_root = unsafe { libc::geteuid() } == 0;
    if !is_root {
        skipped("only root can give files away");
    }
    is_root
}

#[test]
fn what_belongs_to_another_user_is_refused() {
    if !is_root() {
        return;
    }
    let root = Root::new();
    let words = "it belongs to user 12003, not 0";
    let topic = root.path().join(TOPIC);
    let keeper = subscriber(root.path()).unwrap();
    let paths = [
        (root.path().to_owned(), 0o700),
        (topic.clone(), 0o700),
        (topic.join("peers"), 0o600),
        (topic.join("ring"), 0o600),
    ];
    for (path, mode) in paths {
        give_away(&path, mode | mode >> 3 | mode >> 6);
        assert_not_trusted(open(root.path()), &path, words);
        assert_not_trusted(subscriber(root.path()), &path, words);
        take_back(&path, mode);
    }
    let publisher = open(root.path()).unwrap();
    publisher.publish(&[1; LEN]).unwrap();
    publisher.publish(&[2; 10]).unwrap();
    let segment = topic.join("seg.1.0");
    give_away(&segment, 0o666);
    assert_not_trusted(keeper.try_receive(), &segment, words);
    assert_eq!((&*keeper.try_receive().unwrap().unwrap(), keeper.lost()), (&[2; 10][..], 1));
    drop((publisher, keeper));
    root.assert_empty();
}

/// Leaves a segment behind.
pub fn leaves_a_segment(mut parent: Parent) {
    let publisher = open(Path::new(&parent.text())).unwrap();
    publisher.publish(&[1; LEN]).unwrap();
    parent.say_and_wait("published");
}

#[test]
fn an_orphan_of_another_user_is_passed_by() {
    if !is_root() {
        return;
    }
    let root = Root::new();
    let keeper = subscriber(root.path()).unwrap();
    let mut dead = Child::start("planted::leaves_a_segment", &[&root.text()]);
    dead.expect("published");
    dead.kill();
    let segment = root.path().join(TOPIC).join("seg.1.0");
    give_away(&segment, 0o666);
    let publisher = open(root.path()).unwrap();
    publisher.publish(&[2; LEN]).unwrap();
    assert!(root.path().join(TOPIC).join("seg.2.0").exists(), "it was adopted");
    assert_not_trusted(keeper.try_receive(), &segment, "it belongs to user 12003, not 0");
    assert_eq!(keeper.try_receive().unwrap().unwrap()[0], 2);
    drop((publisher, keeper));
    root.assert_empty();
}

#[test]
fn unfinished_directories_of_another_user_are_left_alone() {
    if !is_root() {
        return;
    }
    let root = Root::new();
    for prefix in [".new-", ".dead-"] {
        let dir = root.path().join(format!("{prefix}00000000000000e1"));
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("peers"), CONTENT).unwrap();
        give_away(&dir, 0o777);
    }
    open(root.path()).unwrap().publish(b"x").unwrap();
    let kept = root.files();
    let kept = kept.iter().filter(|path| path.ends_with("peers")).count();
    assert_eq!(kept, 2, "{:?}", root.files());
}
