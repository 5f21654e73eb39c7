// SPDX-License-Identifier: MIT OR Apache-2.0
//! As many participants as a topic may have.

use std::path::PathBuf;

use shm::{Error, Publisher, PublisherOptions, Subscriber};

use crate::support::child::{Child, Parent};
use crate::support::payload::Id;
use crate::support::{publishing, subscribing, Root};

const TOPIC: &str = "t";
const PARTICIPANTS: u32 = 256;
const CHILDREN: u32 = 5;
/// 130 subscribers in all.
const EACH: u32 = 26;
const MESSAGES: u64 = 40;

/// Some subscribers, each of which receives everything.
pub fn crowd(mut parent: Parent) {
    let root = PathBuf::from(parent.text());
    let all: Vec<Subscriber> =
        (0..EACH).map(|_| Subscriber::with_options(TOPIC, &subscribing(&root)).unwrap()).collect();
    parent.say_and_wait("in");
    for subscriber in &all {
        for sequence in 0..MESSAGES {
            assert_eq!(Id::of(&subscriber.receive().unwrap()), Id { publisher: 1, sequence });
        }
        assert!(subscriber.try_receive().unwrap().is_none());
        assert_eq!(subscriber.lost(), 0);
    }
    parent.say_and_wait("all received");
}

#[test]
fn a_hundred_and_thirty_subscribers_receive_everything() {
    let root = Root::new();
    let options = PublisherOptions { participants: PARTICIPANTS, ..publishing(root.path()) };
    let publisher = Publisher::with_options(TOPIC, &options).unwrap();
    let mut crowd: Vec<Child> = (0..CHILDREN).map(|_| Child::start("many::crowd", &[&root.text()])).collect();
    crowd.iter_mut().for_each(|child| child.expect("in"));
    for sequence in 0..MESSAGES {
        let id = Id { publisher: 1, sequence };
        let mut loan = publisher.loan(id.len(2000)).unwrap();
        id.fill(&mut loan);
        loan.publish().unwrap();
    }
    crowd.iter_mut().for_each(|child| child.say("receive"));
    crowd.iter_mut().for_each(|child| child.expect("all received"));
    fill_up(&root, PARTICIPANTS - 1 - CHILDREN * EACH);
    // One goes in good order, one doesn't; the places of both can be taken.
    let mut leaver = crowd.remove(0);
    leaver.say("leave");
    leaver.finish();
    crowd.remove(0).kill();
    fill_up(&root, PARTICIPANTS - 1 - (CHILDREN - 2) * EACH);
    for mut child in crowd {
        child.say("leave");
        child.finish();
    }
    drop(publisher);
    root.assert_empty();
}

/// There are exactly `free` places.
fn fill_up(root: &Root, free: u32) {
    let more: Vec<Subscriber> = (0..free).map(|_| root.subscriber(TOPIC)).collect();
    let one_too_many = Subscriber::with_options(TOPIC, &subscribing(root.path()));
    assert!(matches!(one_too_many, Err(Error::NoParticipant { limit: PARTICIPANTS })));
    drop(more);
}
