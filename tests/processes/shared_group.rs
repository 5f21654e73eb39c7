// SPDX-License-Identifier: MIT OR Apache-2.0
//! Topics that a group shares, used by processes of different users.

use std::os::unix::fs::{chown, MetadataExt};
use std::path::PathBuf;

use crate::members::{
    run_as_root, set_mode, Place, User, ANNA, BEN, CAPACITY, GROUP, NO_GROUP, STRANGER, TOPIC,
};
use crate::support::child::Parent;
use crate::support::files_below;

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
