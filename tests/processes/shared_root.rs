// SPDX-License-Identifier: MIT OR Apache-2.0
//! The root that a group shares: how it is made, looked after and swept.

use std::os::unix::fs::{chown, MetadataExt};

use shm::{Error, RootOptions};

use crate::members::{
    run_as_root, set_mode, Place, User, ANNA, BEN, GROUP, JOINED, NO_GROUP, STRANGER, TOPIC,
};
use crate::sharing::{assert_not_trusted, with_mode};
use crate::support::child::Parent;
use crate::support::shared::Shared;
use crate::support::trace::Traced;
use crate::support::{assert_nothing_in, files_below, rounds, skipped, Root};

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
        // A root that wasn't in place yet is in nobody's way, and goes when its owner comes by.
        let mut anna = User::start(&place, ANNA, &GROUP);
        anna.expect_refusal("gc", &["removed [], in use [], recovered 0, swept"]);
        place.assert_empty();
        if !is_midway {
            assert!(calls > 30, "{calls}");
            return;
        }
    }
}

#[test]
fn a_maker_killed_anywhere_leaves_nothing_in_the_groups_way() {
    run_as_root("shared_root::killed_anywhere");
}

/// What a maker leaves beside the root when it is killed is taken away by the next, if it may.
pub fn beside_the_root(_: Parent) {
    let place = Place::new();
    let beside = |name: &str| place.root.path().join(name);
    let leave = |name: &str, owner: u32, mode: u32| {
        std::fs::create_dir(beside(name)).unwrap();
        chown(beside(name), Some(owner), Some(GROUP)).unwrap();
        set_mode(&beside(name), mode);
    };
    let left = |mode: u32| {
        [0, 1, 2].iter().for_each(|n| {
            leave(&format!("space.new-000000000000000{n}"), ANNA, [0o700, 0o770, mode][*n]);
        })
    };
    // Others' names, somebody at work, and somebody else's.
    let kept = [
        "space.new-00000000000000",
        "space.new-000000000000000g",
        "space.new-00000000000000000",
        "space.dead-0000000000000000",
        "paces.new-0000000000000000",
        "space.new-00000000000000aa",
        "space.new-00000000000000ff",
        "space.new-00000000000000bb",
    ];
    kept.iter().for_each(|name| leave(name, ANNA, 0o770));
    std::fs::write(beside(kept[5]).join("notes"), "mine").unwrap();
    let at_work = std::fs::File::open(beside(kept[6])).unwrap();
    at_work.lock().unwrap();
    chown(beside(kept[7]), Some(STRANGER), Some(STRANGER)).unwrap();
    set_mode(&beside(kept[7]), 0o755);
    let target = beside("target");
    std::fs::create_dir(&target).unwrap();
    std::os::unix::fs::symlink(&target, beside("space.new-00000000000000cc")).unwrap();
    std::fs::write(beside("space.new-00000000000000dd"), "mine").unwrap();
    let all_kept = || files_below(place.root.path()).len();
    let before = all_kept();

    left(0);
    let mut anna = User::start(&place, ANNA, &GROUP);
    // Not by one who doesn't share it.
    User::start(&place, STRANGER, &NO_GROUP).expect("gc", "removed [], in use [], recovered 0, swept 0");
    anna.expect("gc", "removed [], in use [], recovered 0, swept 3");
    assert_eq!(all_kept(), before);
    left(0);
    anna.expect("open", "open");
    anna.expect("leave", "left");
    assert_nothing_in(&place.space);
    std::fs::remove_dir(&place.space).unwrap();
    assert_eq!(all_kept(), before);
    // In a directory that isn't sticky, members do it for each other, as soon as the group is given.
    set_mode(place.root.path(), 0o777);
    left(0o770);
    User::start(&place, BEN, &GROUP).expect("gc", "removed [], in use [], recovered 0, swept 2");
    anna.expect("gc", "removed [], in use [], recovered 0, swept 1");
    assert_eq!(all_kept(), before);
    drop(at_work);
    anna.expect("gc", "removed [], in use [], recovered 0, swept 1");
}

#[test]
fn unfinished_roots_are_swept_and_nothing_else() {
    run_as_root("shared_root::beside_the_root");
}

/// Several make the same root, and each sweeps what others seem to have left.
#[test]
fn makers_of_one_root_do_not_rob_each_other() {
    let root = Root::new();
    // SAFETY: always succeeds.
    let own = unsafe { libc::getegid() };
    let space = root.path().join("space");
    for _ in 0..rounds(200) {
        let meet = std::sync::Barrier::new(4);
        let make = || {
            meet.wait();
            with_mode(&space, 0, Some(own)).unwrap()
        };
        std::thread::scope(|scope| {
            let makers = [0; 4].map(|_| scope.spawn(|| drop(make())));
            makers.into_iter().for_each(|maker| maker.join().unwrap());
        });
        std::fs::remove_dir(&space).unwrap();
        root.assert_empty();
    }
}

#[test]
fn a_shared_root_may_have_any_path() {
    use std::os::unix::ffi::OsStrExt;
    let root = Root::new();
    // SAFETY: always succeeds.
    let own = unsafe { libc::getegid() };
    let name = std::ffi::OsStr::from_bytes(b"not\xffutf-8");
    let space = root.path().join(name).join(name);
    std::fs::create_dir(root.path().join(name)).unwrap();
    let publisher = with_mode(&space, 0, Some(own)).unwrap();
    publisher.publish(b"x").unwrap();
    assert_eq!(std::fs::metadata(&space).unwrap().mode() & 0o7777, 0o770);
    drop(publisher);
    assert_eq!(files_below(root.path()), [root.path().join(name), space]);
}

/// Whoever looks after a root says with whom it is shared, too.
pub fn looking_after(_: Parent) {
    let place = Place::new();
    let path = place.space.display().to_string();
    let [mut anna, mut ben] = [ANNA, BEN].map(|user| User::start(&place, user, &GROUP));
    anna.expect("open", "open");
    anna.expect("publish 1 100", "published");
    ben.expect("audit", "t: 2 living, 0 dead");
    ben.expect("gc", "removed [], in use [\"t\"], recovered 0, swept 0");
    for verb in ["audit", "gc"] {
        User::start(&place, BEN, &NO_GROUP)
            .expect_refusal(verb, &["not trusted", &path, "set the option `group` to 13000"]);
        User::start(&place, STRANGER, &GROUP).expect_refusal(verb, &["permission denied", &path]);
        User::start(&place, STRANGER, &STRANGER).expect_refusal(verb, &["permission denied", &path]);
    }
    ben.expect("open", "open");
    anna.child.kill();
    ben.expect("audit", "t: 2 living, 2 dead");
    ben.expect("gc", "removed [], in use [\"t\"], recovered 2, swept 0");
    ben.expect("audit", "t: 2 living, 0 dead");
    ben.expect("receive", "1");
    ben.child.kill();
    // What both left goes through a third, who never took part.
    let mut third = User::start(&place, ANNA, &GROUP);
    third.expect("gc", "removed [\"t\"], in use [], recovered 0, swept 0");
    third.expect("audit", "");
    place.assert_empty();
}

#[test]
fn members_look_after_a_root_with_the_group_only() {
    run_as_root("shared_root::looking_after");
}

/// The same for those who aren't root, in a group of their own.
#[test]
fn a_shared_root_is_looked_after_with_its_group() {
    let root = Root::new();
    // SAFETY: always succeeds.
    let own = unsafe { libc::getegid() };
    let space = root.path().join("space");
    let publisher = with_mode(&space, 0, Some(own)).unwrap();
    let options = |group| RootOptions { root: Some(space.clone()), group };
    let words = format!("set the option `group` to its group, {own}");
    assert_not_trusted(shm::audit(&options(None)), &space, &words);
    assert_not_trusted(shm::gc(&options(None)), &space, &words);
    let audit = shm::audit(&options(Some(own))).unwrap();
    assert_eq!((audit.topics[0].living, &audit.topics[0].findings[..]), (1, &[][..]));
    assert_eq!(shm::gc(&options(Some(own))).unwrap().in_use[0].name, TOPIC);
    match shm::gc(&RootOptions { root: Some(space.clone()), group: Some(u32::MAX) }) {
        Err(Error::InvalidOption { option: "group", .. }) => {}
        other => panic!("{other:?}"),
    }
    drop(publisher);
    std::fs::remove_dir(space).unwrap();
    root.assert_empty();
}
