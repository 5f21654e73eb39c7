// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the options `mode` and `group` may be, what they give, and what isn't used without them. For this user and its own group,
//! so that anybody can run this.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use shm::{Error, Publisher, PublisherOptions, RootOptions, Subscriber};

use crate::members::{set_mode, GROUP, TOPIC};
use crate::support::child::{Child, Parent};
use crate::support::{files_below, Root};

pub fn with_mode(root: &Path, mode: u32, group: Option<u32>) -> shm::Result<Publisher> {
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
pub fn assert_not_trusted<T>(found: shm::Result<T>, named: &Path, words: &str) {
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
    Child::start("sharing::default_root", &[]).finish();
}
