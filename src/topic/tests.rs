// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the dead may leave at each point of the protocols, made by hand: a participant whose lock nobody has is a dead
//! one, whatever its entry says.

use std::path::{Path, PathBuf};

use super::layout::{segment_name, SegmentState, SegmentWord, PEERS_MAGIC};
use super::remove::REMOVED;
use super::*;

const WANTED: Wanted = Wanted { capacity: 4, participants: 4, holds: 3, calls: None, mode: 0, group: None };

fn new_root() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

fn open(root: &tempfile::TempDir, role: Role) -> Result<Topic> {
    Topic::open("t", Some(root.path()), WANTED, role)
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(path)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The files of the topic as one sees them who has no entry.
fn files(root: &tempfile::TempDir, role: Role) -> Files {
    let place = Place { root: RootPath::new(Some(root.path())), name: "t".into() };
    let dir = place.root.open().unwrap().open_dir("t").unwrap();
    let lock = LockFile::open(|| Ok(dir.open_file("peers", Access::ReadWrite).unwrap())).unwrap();
    let (geometry, instance) = join::read_header(lock.file(), PEERS_MAGIC, "peers").unwrap();
    let map = Mapping::new(lock.file(), geometry.peers_size(), Access::ReadWrite, "peers").unwrap();
    let ring = dir.open_file("ring", role.ring_access()).unwrap();
    let ring = Mapping::new(&ring, geometry.ring_size(), role.ring_access(), "ring").unwrap();
    let peers = Peers { lock, map, geometry, instance, joined: AtomicU64::new(0) };
    Files { place, dir, peers, ring, role }
}

/// Writes an entry as a dead participant may leave it.
fn leave_entry(host: &Topic, q: u32, state: u64, publisher: bool) {
    let peers = &host.files.peers;
    peers.joined_word().fetch_max(u64::from(q) + 1, Ordering::SeqCst);
    peers.status()[q as usize]
        .store(status::next(0, state, if publisher { status::PUBLISHER } else { 0 }), Ordering::SeqCst);
    if !publisher {
        peers.holds(q).iter().for_each(|hold| hold.store(77 << 20, Ordering::SeqCst));
        peers.waiters()[0].fetch_or(1 << q, Ordering::SeqCst);
    }
}

fn leave_segment(host: &Topic, segment: u32, state: SegmentState, owner: u32, has_file: bool) {
    host.segments()[segment as usize].store(SegmentWord::new(state, owner, 5).0, Ordering::SeqCst);
    if has_file {
        std::fs::write(PathBuf::from(host.dir().join(&segment_name(segment, 5))), "x").unwrap();
    }
}

fn segment(host: &Topic, segment: usize) -> (SegmentState, u32, u32) {
    let word = SegmentWord(host.segments()[segment].load(Ordering::SeqCst));
    (word.state(), word.owner(), word.generation())
}

#[test]
fn what_a_dead_subscriber_left_is_undone_by_whoever_joins() {
    for state in [status::JOINING, status::LIVE, status::RECOVERING] {
        let root = new_root();
        let host = open(&root, Role::Publisher).unwrap();
        leave_entry(&host, 2, state, false);
        assert_eq!(host.subscribers().collect::<Vec<_>>(), [2], "its holds count");
        let comer = open(&root, Role::Publisher).unwrap();
        assert_eq!(comer.index(), 1, "a free entry is taken first");
        assert_eq!(host.subscribers().count(), 0);
        assert!(host.files.peers.holds(2).iter().all(|hold| hold.load(Ordering::SeqCst) == 0));
        assert_eq!(host.waiters()[0].load(Ordering::SeqCst), 0);
        let _third = open(&root, Role::Subscriber).unwrap();
        assert_eq!(open(&root, Role::Subscriber).unwrap().index(), 3);
    }
}

#[test]
fn what_a_dead_publisher_left_becomes_orphans() {
    let states = [status::JOINING, status::LIVE, status::RECOVERING];
    let cases = states.map(|state| [(state, Role::Publisher), (state, Role::Subscriber)]);
    for (state, recoverer) in cases.into_iter().flatten() {
        let root = new_root();
        let host = open(&root, Role::Publisher).unwrap();
        leave_entry(&host, 2, state, true);
        for (first, has_file) in [(1, true), (10, false)] {
            leave_segment(&host, first, SegmentState::Creating, 2, has_file);
            leave_segment(&host, first + 1, SegmentState::Ready, 2, has_file);
            leave_segment(&host, first + 2, SegmentState::Dying, 2, has_file);
            leave_segment(&host, first + 3, SegmentState::Ready, host.index(), has_file);
        }
        drop(open(&root, recoverer).unwrap());
        for first in [1, 10] {
            assert_eq!(segment(&host, first), (SegmentState::Empty, 0, 6));
            assert_eq!(segment(&host, first + 1), (SegmentState::Orphan, 0, 5));
            assert_eq!(segment(&host, first + 2), (SegmentState::Orphan, 0, 5));
            assert_eq!(segment(&host, first + 3), (SegmentState::Ready, host.index(), 5));
        }
        let left = names(&root.path().join("t"));
        assert_eq!(left, ["peers", "ring", "seg.2.5", "seg.3.5", "seg.4.5"], "I4: nothing without an entry");
    }
}

#[test]
fn entries_of_the_dead_are_taken_when_no_other_is_free() {
    let root = new_root();
    let host = open(&root, Role::Publisher).unwrap();
    (1..4).for_each(|q| leave_entry(&host, q, status::LIVE, q == 2));
    let all = [Role::Subscriber; 3].map(|role| open(&root, role).unwrap());
    assert!(matches!(open(&root, Role::Subscriber), Err(Error::NoParticipant { limit: 4 })));
    drop(all);
}

/// Marks the topic REMOVED, as a remover does that then dies.
fn mark_removed(topic: &Files) {
    topic.peers.life().fetch_or(REMOVED, Ordering::SeqCst);
}

/// A topic in which nobody lives, with one segment.
fn deserted(root: &tempfile::TempDir) -> Files {
    let host = open(root, Role::Publisher).unwrap();
    leave_segment(&host, 1, SegmentState::Ready, 3, true);
    leave_entry(&host, 3, status::LIVE, true);
    let files = files(root, Role::Publisher);
    // As if killed: it lets go of its lock and of nothing else.
    let host = std::mem::ManuallyDrop::new(host);
    host.files.peers.lock.unlock(host.q);
    files
}

#[test]
fn a_removal_that_stopped_anywhere_is_finished() {
    let gone: [&[&str]; 5] =
        [&[], &["seg.1.5"], &["seg.1.5", "ring"], &["seg.1.5", "ring", "peers"], &["peers"]];
    for gone in gone {
        for removed in [true, false] {
            let root = new_root();
            let old = deserted(&root);
            if removed {
                mark_removed(&old);
            }
            gone.iter().for_each(|name| std::fs::remove_file(root.path().join("t").join(name)).unwrap());
            let new = open(&root, Role::Subscriber).unwrap();
            assert_ne!(new.instance(), old.peers.instance);
            assert_eq!(names(&root.path().join("t")), ["peers", "ring"], "{gone:?}");
            drop(new);
            assert_eq!(names(root.path()), [""; 0], "{gone:?}");
        }
    }
}

#[test]
fn a_joiner_that_finds_the_topic_removed_backs_out() {
    let root = new_root();
    let late = deserted(&root);
    mark_removed(&late);
    assert!(join::claim(late).unwrap().is_none());
    assert_eq!(names(root.path()), [""; 0], "it helps with the removal");
}

#[test]
fn a_removal_under_a_joiners_eyes_is_no_error() {
    let root = new_root();
    let late = Files { role: Role::Subscriber, ..deserted(&root) };
    (0..4).for_each(|q| {
        late.peers.status()[q].store(status::next(0, status::LIVE, status::PUBLISHER), Ordering::SeqCst);
    });
    mark_removed(&late);
    // A subscriber needs it to recover a publisher, and there is no other entry.
    std::fs::remove_file(root.path().join("t/ring")).unwrap();
    assert!(join::claim(late).unwrap().is_none());
}

#[test]
fn a_recoverer_in_a_removed_topic_is_not_taken_for_a_user() {
    let root = new_root();
    let late = deserted(&root);
    mark_removed(&late);
    // It has the dead one's lock and has begun with the recovery.
    assert!(late.peers.lock.try_lock(3).unwrap());
    late.peers.status()[3].store(status::next(0, status::RECOVERING, status::PUBLISHER), Ordering::SeqCst);
    let new = open(&root, Role::Publisher).unwrap();
    assert_ne!(new.instance(), late.peers.instance);
}

#[test]
fn a_topic_in_use_that_says_it_is_removed_is_damaged() {
    let root = new_root();
    let host = open(&root, Role::Publisher).unwrap();
    mark_removed(&host.files);
    assert!(matches!(open(&root, Role::Subscriber), Err(Error::Corrupt { .. })));
    assert_eq!(names(&root.path().join("t")), ["peers", "ring"], "its users go on");
}

#[test]
fn what_a_user_put_into_a_topic_stays() {
    let root = new_root();
    let host = open(&root, Role::Publisher).unwrap();
    std::fs::write(root.path().join("t/notes"), "x").unwrap();
    drop(host);
    assert!(matches!(open(&root, Role::Publisher), Err(Error::Corrupt { .. })));
    std::fs::remove_file(root.path().join("t/notes")).unwrap();
    drop(open(&root, Role::Publisher).unwrap());
    assert_eq!(names(root.path()), [""; 0]);
}

#[test]
fn what_a_dead_maker_left_is_swept() {
    let root = new_root();
    // A whole topic that isn't in place, and what its maker had of it earlier.
    drop(deserted(&root));
    let path = |name: &str| root.path().join(name);
    std::fs::rename(path("t"), path(".new-0000000000000004")).unwrap();
    for (name, files) in [
        (".new-0000000000000000", 0),
        (".new-0000000000000001", 1),
        (".new-0000000000000002", 2),
        (".dead-0000000000000003", 2),
    ] {
        std::fs::create_dir(path(name)).unwrap();
        let made = [("peers", &b""[..]), ("ring", &[0; 300][..])];
        made[..files].iter().for_each(|(file, bytes)| std::fs::write(path(name).join(file), bytes).unwrap());
    }
    let made = open(&root, Role::Publisher).unwrap();
    assert_eq!(names(root.path()), ["t"]);
    drop(made);
}

#[test]
fn what_a_living_maker_makes_is_not_swept() {
    let root = new_root();
    let made = open(&root, Role::Publisher).unwrap();
    // Not yet in place: somebody else makes a topic meanwhile.
    std::fs::rename(root.path().join("t"), root.path().join(".new-0000000000000000")).unwrap();
    let other = Topic::open("other", Some(root.path()), WANTED, Role::Publisher).unwrap();
    assert_eq!(names(root.path()), [".new-0000000000000000", "other"]);
    std::fs::rename(root.path().join(".new-0000000000000000"), root.path().join("t")).unwrap();
    drop((made, other));
    assert_eq!(names(root.path()), [""; 0]);
}
