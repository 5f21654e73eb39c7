// SPDX-License-Identifier: MIT OR Apache-2.0
//! Roots and topics that aren't what they should be, and names of all kinds.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{chown, symlink, FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use shm::{Error, Publisher, RootOptions, Subscriber};

use crate::support::child::{Child, Parent};
use crate::support::{publishing, run_mounted, skipped, subscribing, Root};

const TOPIC: &str = "t";

fn open(root: &Path) -> shm::Result<Publisher> {
    Publisher::with_options(TOPIC, &publishing(root))
}

#[track_caller]
fn assert_not_trusted(root: &Path) {
    match open(root) {
        Err(Error::NotTrusted { path, reason }) => {
            assert!(path.starts_with(root.to_str().unwrap().trim_end_matches(['/', '.'])), "{path}");
            assert!(!reason.is_empty());
        }
        other => panic!("{}: {:?}", root.display(), other.map(|_| "it was used")),
    }
}

#[test]
fn a_root_that_is_a_symbolic_link_is_refused() {
    let root = Root::new();
    let (real, link) = (root.path().join("real"), root.path().join("link"));
    std::fs::create_dir(&real).unwrap();
    std::fs::set_permissions(&real, PermissionsExt::from_mode(0o700)).unwrap();
    symlink(&real, &link).unwrap();
    assert_not_trusted(&link);
    // The kernel follows a link that has a slash behind it.
    assert_not_trusted(&link.join(""));
    assert_not_trusted(&link.join("."));
    assert_eq!(std::fs::read_dir(&real).unwrap().count(), 0);
    // Links on the way are the user's own business.
    symlink(root.path(), root.path().join("way")).unwrap();
    assert!(open(&root.path().join("way/real")).is_ok());
}

#[test]
fn a_root_that_others_may_write_to_is_refused() {
    let root = Root::new();
    let dir = root.path().join("root");
    std::fs::create_dir(&dir).unwrap();
    for mode in [0o777, 0o1777, 0o770, 0o720, 0o702] {
        std::fs::set_permissions(&dir, PermissionsExt::from_mode(mode)).unwrap();
        assert_not_trusted(&dir);
    }
    for mode in [0o700, 0o755, 0o750] {
        std::fs::set_permissions(&dir, PermissionsExt::from_mode(mode)).unwrap();
        open(&dir).unwrap();
    }
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
}

#[test]
fn a_root_of_another_user_is_refused() {
    let root = Root::new();
    let dir = root.path().join("root");
    std::fs::create_dir(&dir).unwrap();
    std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o700)).unwrap();
    if let Err(error) = chown(&dir, Some(12345), None) {
        return skipped(&format!("only root can give a directory away: {error}"));
    }
    assert_not_trusted(&dir);
}

#[test]
fn a_root_that_is_no_directory_is_refused() {
    let root = Root::new();
    let file = root.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert_not_trusted(&file);
    let fifo = root.path().join("fifo");
    make_fifo(&fifo);
    assert_not_trusted(&fifo);
}

#[test]
fn a_root_that_is_not_there_is_made_for_the_user_alone() {
    let root = Root::new();
    let dir = root.path().join("root");
    drop(open(&dir).unwrap());
    assert_eq!(std::fs::metadata(&dir).unwrap().mode() & 0o7777, 0o700);
    match open(&root.path().join("neither/nor")) {
        Err(Error::Os { call: "mkdir", path, .. }) => assert!(path.ends_with("neither/nor")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_root_that_was_taken_away_is_not_made_again_on_leaving() {
    let root = Root::new();
    let dir = root.path().join("root");
    let publisher = open(&dir).unwrap();
    publisher.publish(b"x").unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    drop(publisher);
    root.assert_empty();
}

/// Two who come and go in the default root, in topics of their own and in one of both.
pub fn default_root_users(mut parent: Parent) {
    let place = PathBuf::from(parent.text());
    let use_topics = |own: &'static str| {
        move || {
            for round in 0..300 {
                let topic = if round % 3 == 0 { "shared" } else { own };
                let publisher = Publisher::new(topic).unwrap();
                let subscriber = Subscriber::new(topic).unwrap();
                publisher.publish(b"x").unwrap();
                assert!(subscriber.try_receive().unwrap().is_some());
            }
        }
    };
    let threads = ["one", "two"].map(|own| std::thread::spawn(use_topics(own)));
    assert!(threads.map(|thread| thread.join().is_ok()) == [true; 2]);
    assert_eq!(std::fs::read_dir(place).unwrap().count(), 0, "the root isn't removed");
}

#[test]
fn the_default_root_comes_and_goes() {
    // The real one may be in use: here it is in a file system of the child's own.
    run_mounted("size=20m", Path::new("/dev/shm"), "trust::default_root_users");
}

fn make_fifo(path: &Path) {
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: the path is a C string.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
}

/// Puts something in the way at `path`.
type Obstacle = fn(&Path);

const OBSTACLES: [(&str, Obstacle); 5] = [
    ("a fifo", make_fifo),
    ("a link to a file", |path| symlink("/etc/passwd", path).unwrap()),
    ("a link to nothing", |path| symlink("nothing", path).unwrap()),
    ("a link to a device", |path| symlink("/dev/zero", path).unwrap()),
    ("a socket", |path| drop(std::os::unix::net::UnixListener::bind(path).unwrap())),
];

#[test]
fn something_else_in_place_of_a_topic_is_refused() {
    let root = Root::new();
    let path = root.path().join(TOPIC);
    let others: [(&str, Obstacle); 2] = [
        ("a file", |path| std::fs::write(path, "x").unwrap()),
        ("a link to a directory", |path| symlink("/tmp", path).unwrap()),
    ];
    for (what, obstacle) in OBSTACLES.into_iter().chain(others) {
        obstacle(&path);
        match open(root.path()) {
            Err(Error::NotTrusted { path: named, .. }) => assert_eq!(Path::new(&named), path, "{what}"),
            other => panic!("{what}: {other:?}"),
        }
        std::fs::remove_file(&path).unwrap();
        root.assert_empty();
    }
}

#[test]
fn something_else_in_place_of_a_topics_files_is_refused() {
    let root = Root::new();
    let subscriber = Subscriber::with_options(TOPIC, &subscribing(root.path())).unwrap();
    let directory: (&str, Obstacle) = ("a directory", |path| std::fs::create_dir(path).unwrap());
    for name in ["peers", "ring"] {
        let (path, aside) = (root.path().join(TOPIC).join(name), root.path().join("aside"));
        for (what, obstacle) in OBSTACLES.into_iter().chain([directory]) {
            std::fs::rename(&path, &aside).unwrap();
            obstacle(&path);
            let as_publisher = open(root.path()).map(drop);
            let as_subscriber = Subscriber::with_options(TOPIC, &subscribing(root.path())).map(drop);
            for found in [as_publisher, as_subscriber] {
                match found {
                    Err(Error::NotTrusted { path: named, .. } | Error::Corrupt { file: named, .. }) => {
                        assert_eq!(Path::new(&named), path, "{what} for {name}");
                    }
                    other => panic!("{what} for {name}: {other:?}"),
                }
            }
            let removed = std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir(&path));
            removed.unwrap();
            std::fs::rename(&aside, &path).unwrap();
        }
    }
    open(root.path()).unwrap().publish(b"all is well").unwrap();
    assert!(subscriber.try_receive().unwrap().is_some());
}

/// A topic that was marked REMOVED, and whose remover was killed then.
fn leave_removed(root: &Root, topic: &Path) {
    let other = root.publisher("other");
    std::fs::create_dir(topic).unwrap();
    for name in ["peers", "ring"] {
        std::fs::copy(root.path().join("other").join(name), topic.join(name)).unwrap();
    }
    let peers = std::fs::File::options().write(true).open(topic.join("peers")).unwrap();
    // The word `life`, as in src/topic/layout.rs.
    peers.write_all_at(&(1u64 << 63).to_ne_bytes(), 256).unwrap();
    drop(other);
}

#[track_caller]
fn assert_in_the_way(root: &Root, topic: &Path, name: &str) {
    let opened = open(root.path()).map(drop);
    let subscribed = Subscriber::with_options(TOPIC, &subscribing(root.path())).map(drop);
    for found in [opened, subscribed] {
        let said = found.expect_err("it was used").to_string();
        assert!(said.contains(&format!("{} is damaged", topic.display())), "{said}");
        assert!(said.contains(&format!("{name} is in the way")), "{said}");
    }
    let options = RootOptions { root: Some(root.path().into()), ..Default::default() };
    let collected = shm::gc(&options).unwrap();
    assert_eq!((collected.removed, collected.refused.len()), (vec![], 1));
}

/// Such a directory can't be joined, and a topic can't take its place.
#[test]
fn what_is_neither_a_topic_nor_empty_is_refused_at_once() {
    let root = Root::new();
    let topic = root.path().join(TOPIC);
    for was_topic in [false, true] {
        for (name, is_dir) in [("notes", false), ("notes", true), ("ring.old", false), ("seg.1.0", true)] {
            match was_topic {
                false => std::fs::create_dir(&topic).unwrap(),
                true => leave_removed(&root, &topic),
            }
            let path = topic.join(name);
            let made = if is_dir { std::fs::create_dir(&path) } else { std::fs::write(&path, "mine") };
            made.unwrap();
            assert_in_the_way(&root, &topic, name);
            let removed = std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir(&path));
            removed.expect("it stays");
            drop(open(root.path()).unwrap());
            root.assert_empty();
        }
    }
}

#[test]
fn any_name_stays_inside_the_root() {
    let root = Root::new();
    let beside = root.path().join("root");
    let names = [
        "/",
        "..",
        ".",
        "../../x",
        "/a/b",
        "a b\n\tc",
        "größe/☃/日本",
        ".new-0000000000000000",
        "%2F",
        "a\\b",
        "-",
        "~",
        "COM1",
    ];
    let all: Vec<Publisher> =
        names.iter().map(|name| Publisher::with_options(name, &publishing(&beside)).unwrap()).collect();
    let instances: std::collections::BTreeSet<u64> = all.iter().map(|one| one.info().instance).collect();
    assert_eq!(instances.len(), names.len(), "two names, one topic");
    for (name, publisher) in names.iter().zip(&all) {
        let subscriber = Subscriber::with_options(name, &subscribing(&beside)).unwrap();
        publisher.publish(name.as_bytes()).unwrap();
        assert_eq!(&*subscriber.try_receive().unwrap().unwrap(), name.as_bytes());
    }
    assert_eq!(std::fs::read_dir(&beside).unwrap().count(), names.len());
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1, "it got out");
    drop(all);
    assert_eq!(std::fs::read_dir(&beside).unwrap().count(), 0);
}

#[test]
fn a_name_that_cannot_be_is_refused() {
    let root = Root::new();
    for name in ["", "a\0b", &"x".repeat(10 << 10), &"☃".repeat(100), &"x".repeat(256)] {
        match Publisher::with_options(name, &publishing(root.path())) {
            Err(Error::InvalidName { name: said, .. }) => assert!(name.starts_with(&said)),
            other => panic!("{name:?}: {other:?}"),
        }
    }
    let longest = "x".repeat(255);
    drop(Publisher::with_options(&longest, &publishing(root.path())).unwrap());
    root.assert_empty();
}

/// Goes elsewhere between joining and leaving.
pub fn wanderer(mut parent: Parent) {
    let (start, other) = (PathBuf::from(parent.text()), PathBuf::from(parent.text()));
    std::env::set_current_dir(&start).unwrap();
    let publisher = open(Path::new("root")).unwrap();
    std::env::set_current_dir(&other).unwrap();
    drop(publisher);
    assert_eq!(std::fs::read_dir(start.join("root")).unwrap().count(), 0);
}

#[test]
fn a_relative_root_is_that_of_the_moment_of_joining() {
    let root = Root::new();
    let (start, other) = (root.path().join("start"), root.path().join("other"));
    std::fs::create_dir(&start).unwrap();
    std::fs::create_dir(&other).unwrap();
    Child::start("trust::wanderer", &[&start.display(), &other.display()]).finish();
    assert_eq!(root.files(), [other, start.clone(), start.join("root")]);
}
