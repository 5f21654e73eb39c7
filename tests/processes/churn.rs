// SPDX-License-Identifier: MIT OR Apache-2.0
//! Processes that join and leave all the time are killed at random moments: whoever comes next always gets in, and in
//! the end nothing is left.

use std::path::{Path, PathBuf};

use shm::{Publisher, PublisherOptions, Subscriber, SubscriberOptions};

use crate::support::child::{Child, Parent};
use crate::support::payload::Id;
use crate::support::random::Random;
use crate::support::shared::{dawdle, Shared};
use crate::support::{publishing, rounds, subscribing, Root};

const TOPICS: [&str; 2] = ["one", "two"];
const CHILDREN: usize = 3;
/// As many as live at a time: the dead must not be in the way of anybody.
const PARTICIPANTS: u32 = CHILDREN as u32;

/// Joins, does a little, leaves; again and again. Its shared word counts the rounds.
pub fn churner(mut parent: Parent) {
    let root = PathBuf::from(parent.text());
    let shared = Shared::open(Path::new(&parent.text()));
    let (me, seed) = (parent.number(), parent.number());
    let mut random = Random::new(seed);
    parent.say("here");
    for round in 1.. {
        let topic = TOPICS[random.below(2) as usize];
        if random.below(2) == 0 {
            publish_some(&root, topic, &mut random);
        } else {
            receive_some(&root, topic, &mut random);
        }
        shared.set(me as usize, round);
    }
}

fn publish_some(root: &Path, topic: &str, random: &mut Random) {
    let options =
        PublisherOptions { capacity: 4, participants: PARTICIPANTS, memory: 100 << 10, ..publishing(root) };
    let publisher = Publisher::with_options(topic, &options).unwrap();
    for sequence in 0..random.below(10) {
        let id = Id { publisher: random.next(), sequence };
        let mut loan = publisher.loan(id.len(20_000)).unwrap();
        id.fill(&mut loan);
        loan.publish().unwrap();
    }
}

fn receive_some(root: &Path, topic: &str, random: &mut Random) {
    let options =
        SubscriberOptions { capacity: 4, participants: PARTICIPANTS, history: 4, ..subscribing(root) };
    let subscriber = Subscriber::with_options(topic, &options).unwrap();
    let mut held = Vec::new();
    for _ in 0..random.below(6) {
        held.extend(subscriber.try_receive().unwrap());
    }
    held.iter().for_each(|sample| Id::of(sample).check(sample));
}

#[test]
fn whoever_is_killed_the_next_gets_in() {
    let (root, beside) = (Root::new(), tempfile::tempdir().unwrap());
    let file = beside.path().join("shared");
    let shared = Shared::open(&file);
    let mut random = Random::printed();
    let mut start = |me: usize| {
        let seed = random.next() >> 1;
        let mut child = Child::start("churn::churner", &[&root.text(), &file.to_str().unwrap(), &me, &seed]);
        child.expect("here");
        child
    };
    let mut children: Vec<Child> = (0..CHILDREN).map(&mut start).collect();
    let mut victims = Random::printed();
    for _ in 0..rounds(120) {
        let victim = victims.below(CHILDREN as u64) as usize;
        let seen = shared.get(victim);
        while shared.get(victim) == seen && children[victim].is_alive() {
            std::thread::yield_now();
        }
        dawdle(victims.below(20_000));
        if victims.below(6) > 0 {
            // The next comes when this one is gone: no more than may be are alive at a time.
            children.remove(victim).kill();
            children.insert(victim, start(victim));
        } else {
            children.iter().for_each(|child| child.signal(libc::SIGKILL));
            children.drain(..).for_each(Child::kill);
            come_and_go(&root);
            children.extend((0..CHILDREN).map(&mut start));
        }
    }
    children.drain(..).for_each(Child::kill);
    come_and_go(&root);
}

/// All are dead: the next to come cleans up after them.
fn come_and_go(root: &Root) {
    for topic in TOPICS {
        drop(root.publisher(topic));
    }
    root.assert_empty();
}
