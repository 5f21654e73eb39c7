// SPDX-License-Identifier: MIT OR Apache-2.0
//! A subscriber that writes where it should only read, through a cast pointer or by a wild one, ends itself and harms nobody.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

use shm::{Error, Publisher, PublisherOptions, Subscriber, SubscriberOptions};

use crate::support::child::{Child, Parent};
use crate::support::payload::Id;
use crate::support::{publishing, subscribing, Root};

const TOPIC: &str = "t";
const PARTICIPANTS: u32 = 3;
const CAPACITY: u32 = 4;
const LEN: usize = 1000;

fn publish(publisher: &Publisher, sequence: u64) {
    let mut loan = publisher.loan(LEN).unwrap();
    Id { publisher: 1, sequence }.fill(&mut loan);
    loan.publish().unwrap();
}

/// A mapping of this process: where it starts, and what may be done to it.
struct Mapped {
    start: *mut u8,
    access: String,
}

/// This process's mappings of the files below `root` whose name begins with `name`.
fn mapped(root: &Path, name: &str) -> Vec<Mapped> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let topic = root.join(TOPIC);
    let of_file = |line: &&str| {
        let path = line.find('/').map_or(Path::new(""), |start| Path::new(&line[start..]));
        path.parent() == Some(&topic) && path.file_name().unwrap().to_str().unwrap().starts_with(name)
    };
    let parse = |line: &str| {
        let (range, rest) = line.split_once(' ').unwrap();
        let start = usize::from_str_radix(range.split_once('-').unwrap().0, 16).unwrap();
        Mapped { start: std::ptr::with_exposed_provenance_mut(start), access: rest[..4].to_owned() }
    };
    maps.lines().filter(of_file).map(parse).collect()
}

/// Receives a message, holds it, and writes to it or to what is around it.
pub fn scribbler(mut parent: Parent) {
    let (root, target) = (PathBuf::from(parent.text()), parent.text());
    let subscriber = Subscriber::with_options(TOPIC, &subscribing(&root)).unwrap();
    parent.say_and_wait("joined");
    let sample = subscriber.try_receive().unwrap().unwrap();
    let [ring, segment] = ["ring", "seg."].map(|name| mapped(&root, name));
    assert_eq!((ring.len(), segment.len()), (1, 1));
    assert_eq!((&*ring[0].access, &*segment[0].access), ("r--s", "r--s"));
    let place = match &*target {
        "payload" => sample.as_ptr().cast_mut(),
        "segment" => segment[0].start,
        "tail" => ring[0].start.wrapping_add(256),
        "slots" => ring[0].start.wrapping_add(384),
        other => panic!("{other}?"),
    };
    parent.say_and_wait("holding");
    // SAFETY: none, that's what is tested.
    unsafe { place.write_volatile(!place.read_volatile()) };
    parent.say("alive");
}

#[test]
fn a_subscriber_that_writes_ends_itself_and_harms_nobody() {
    for target in ["payload", "segment", "tail", "slots"] {
        let root = Root::new();
        let rest = publishing(root.path());
        let options = PublisherOptions { capacity: CAPACITY, participants: PARTICIPANTS, ..rest };
        let publisher = Publisher::with_options(TOPIC, &options).unwrap();
        let subscriber = root.subscriber(TOPIC);
        let mut scribbler = Child::start("readonly::scribbler", &[&root.text(), &target]);
        scribbler.expect("joined");
        publish(&publisher, 0);
        scribbler.say("receive");
        scribbler.expect("holding");
        scribbler.say("write");
        let status = scribbler.wait();
        assert_eq!(status.signal(), Some(libc::SIGSEGV), "{target}: {status}");

        // What it held and wrote to is as it was, and so is everything else.
        let first = subscriber.try_receive().unwrap().unwrap().keep();
        assert_eq!(Id::of(&first), Id { publisher: 1, sequence: 0 });
        for sequence in 1..3 * u64::from(CAPACITY) {
            publish(&publisher, sequence);
            assert_eq!(Id::of(&subscriber.try_receive().unwrap().unwrap()).sequence, sequence);
        }
        assert_eq!((subscriber.lost(), Id::of(&first).sequence), (0, 0));
        // Its entry is another's.
        let history = u32::MAX;
        let late = SubscriberOptions { history, ..subscribing(root.path()) };
        let late = Subscriber::with_options(TOPIC, &late).unwrap();
        assert_eq!(late.info().instance, publisher.info().instance);
        (0..CAPACITY).for_each(|_| assert!(late.try_receive().unwrap().is_some()));
        let full = Subscriber::with_options(TOPIC, &subscribing(root.path()));
        assert!(matches!(full, Err(Error::NoParticipant { limit: PARTICIPANTS })));
        drop((first, subscriber, late, publisher));
        root.assert_empty();
    }
}
