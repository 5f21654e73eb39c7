// SPDX-License-Identifier: MIT OR Apache-2.0
//! Segments that a device was told of: what it writes may go on after the process was killed that it writes for.

use std::path::Path;

use shm::copier::SharedCopier;
use shm::{Publisher, PublisherOptions, RootOptions, Subscriber, TopicAudit};

use crate::copier::Counting;
use crate::support::child::{Child, Parent};
use crate::support::{publishing, subscribing, Root};

const LARGE: usize = 5000;
const CAPACITY: u32 = 4;

fn publisher(root: &Path) -> Publisher {
    let options = PublisherOptions { capacity: CAPACITY, ..publishing(root) };
    Publisher::with_options("t", &options).unwrap()
}

/// Publishes two messages, with a copier that pins or with none, and waits to be killed.
pub fn publishes(mut parent: Parent) {
    let root = parent.text();
    let (counting, _) = Counting::new(parent.number() == 1);
    let (copier, publisher) = (SharedCopier::new(counting).unwrap(), publisher(Path::new(&root)));
    for _ in 0..2 {
        // SAFETY: as many bytes.
        unsafe { publisher.publish_from(&copier, [0u8; LARGE].as_ptr(), LARGE) }.unwrap();
    }
    parent.say_and_wait("published");
}

fn audit(root: &Root) -> TopicAudit {
    let options = RootOptions { root: Some(root.path().into()), ..Default::default() };
    let mut audit = shm::audit(&options).unwrap();
    let topic = audit.topics.pop().unwrap();
    assert!(topic.findings.is_empty(), "{:?}", topic.findings);
    topic
}

/// What becomes of the dead one's segment when another publisher needs its size: how many orphans there are then.
fn orphans_that_stay(is_pinned: bool) -> u32 {
    let root = Root::new();
    let options = shm::SubscriberOptions { capacity: CAPACITY, ..subscribing(root.path()) };
    let subscriber = Subscriber::with_options("t", &options).unwrap();
    let mut dead = Child::start("pinned::publishes", &[&root.text(), &u32::from(is_pinned)]);
    dead.expect("published");
    dead.kill();
    let sample = subscriber.receive().unwrap();
    let publisher = publisher(root.path());
    assert_eq!(audit(&root).orphans, 1);
    let mut loans: Vec<_> = (0..8).map(|_| publisher.loan(LARGE).unwrap()).collect();
    loans.iter_mut().for_each(|loan| loan.fill(1));
    let stay = audit(&root).orphans;
    assert!(sample.iter().all(|&byte| byte == 0xff), "what is held stays as it is");
    drop((loans, sample));
    // When nobody reads it any more, it goes.
    (0..CAPACITY).for_each(|_| publisher.publish(&[1; LARGE]).map(drop).unwrap());
    drop(self::publisher(root.path()));
    assert_eq!(audit(&root).orphans, 0);
    drop((publisher, subscriber));
    root.assert_empty();
    stay
}

#[test]
fn what_a_device_may_write_to_is_not_written_to_by_others_when_its_publisher_is_dead() {
    assert_eq!(orphans_that_stay(true), 1);
    // And otherwise it is.
    assert_eq!(orphans_that_stay(false), 0);
}
