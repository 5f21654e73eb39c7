// SPDX-License-Identifier: MIT OR Apache-2.0
//! Segments that a device was told of: what it writes may go on after the process was killed that it writes for.

use std::path::Path;

use shm::copier::{SharedCopier, StreamPublisher};
use shm::{Publisher, PublisherOptions, RootOptions, Subscriber, TopicAudit};

use crate::copier::{Counting, STREAM};
use crate::support::child::{Child, Parent};
use crate::support::{publishing, subscribing, Root};

const LARGE: usize = 5000;
const CAPACITY: u32 = 4;

fn publisher(root: &Path) -> Publisher {
    let options = PublisherOptions { capacity: CAPACITY, ..publishing(root) };
    Publisher::with_options("t", &options).unwrap()
}

/// How a message gets into the segment.
const PLAINLY: u32 = 0;
const PINNED: u32 = 1;
const ON_A_STREAM: u32 = 2;

/// Publishes two messages, with a copier that pins, with one that doesn't, or with one that doesn't on a stream, and waits to be killed.
pub fn publishes(mut parent: Parent) {
    let root = parent.text();
    let how = parent.number() as u32;
    let (counting, told) = Counting::new(how == PINNED);
    let (copier, publisher) = (SharedCopier::new(counting).unwrap(), publisher(Path::new(&root)));
    let message = [0u8; LARGE];
    if how == ON_A_STREAM {
        let publisher = StreamPublisher::new(publisher, copier);
        for _ in 0..2 {
            // SAFETY: as many bytes, there until the copy has ended.
            unsafe { publisher.publish(message.as_ptr(), LARGE, STREAM) }.unwrap();
            assert!(told.go_on());
        }
        parent.say_and_wait("published");
        return;
    }
    for _ in 0..2 {
        // SAFETY: as many bytes.
        unsafe { publisher.publish_from(&copier, message.as_ptr(), LARGE) }.unwrap();
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
fn orphans_that_stay(how: u32) -> u32 {
    let root = Root::new();
    let options = shm::SubscriberOptions { capacity: CAPACITY, ..subscribing(root.path()) };
    let subscriber = Subscriber::with_options("t", &options).unwrap();
    let mut dead = Child::start("pinned::publishes", &[&root.text(), &how]);
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
    // When nobody reads it any more, it goes as soon as somebody needs room.
    (0..CAPACITY).for_each(|_| publisher.publish(&[1; LARGE]).map(drop).unwrap());
    let mut loans = Vec::new();
    while audit(&root).orphans > 0 {
        assert!(loans.len() < 1000, "nobody destroys it");
        loans.push(publisher.loan(LARGE).unwrap());
    }
    drop(loans);
    drop((publisher, subscriber));
    root.assert_empty();
    stay
}

#[test]
fn what_a_device_may_write_to_is_not_written_to_by_others_when_its_publisher_is_dead() {
    assert_eq!(orphans_that_stay(PINNED), 1);
    assert_eq!(orphans_that_stay(ON_A_STREAM), 1);
    // And otherwise it is.
    assert_eq!(orphans_that_stay(PLAINLY), 0);
}
