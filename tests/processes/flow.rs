// SPDX-License-Identifier: MIT OR Apache-2.0
//! Several publishers and several subscribers at full speed: one order, no message torn, every loss counted.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Duration;

use shm::{Error, Publisher, PublisherOptions, Sample, Subscriber, SubscriberOptions};

use crate::support::child::{Child, Parent};
use crate::support::payload::Id;
use crate::support::random::Random;
use crate::support::shared::dawdle;
use crate::support::{publishing, subscribing, Root};

const TOPIC: &str = "flow";

/// What a test lets flow.
#[derive(Clone, Copy)]
struct Flow {
    capacity: u32,
    publishers: u64,
    subscribers: u64,
    /// Messages of each publisher.
    count: u64,
    /// Bytes of the largest message.
    largest: u64,
    /// Each publisher's budget.
    memory: u64,
    /// Samples that a subscriber keeps before it releases the oldest.
    keep: u64,
    /// Turns, at most, that a subscriber passes after each message.
    slowness: u64,
}

impl Flow {
    fn total(&self) -> u64 {
        self.publishers * self.count
    }

    /// Runs it and checks what everybody saw; returns how many messages each subscriber lost.
    fn run(&self) -> Vec<u64> {
        let (root, logs) = (Root::new(), tempfile::tempdir().unwrap());
        let log = |name: &str, id: u64| logs.path().join(format!("{name}{id}"));
        let start = |role: &str, id: u64, log: PathBuf, rest: &[&dyn ToString]| {
            let mut arguments: Vec<&dyn ToString> = vec![];
            let (root, log) = (root.text(), log.to_str().unwrap());
            arguments.extend([&root as &dyn ToString, &log, &self.capacity, &id]);
            arguments.extend(rest);
            Child::start(role, &arguments)
        };
        let mut subscribers: Vec<Child> = (0..self.subscribers)
            .map(|id| {
                let rest: [&dyn ToString; 3] = [&self.total(), &self.keep, &self.slowness];
                start("flow::subscriber", id, log("subscriber", id), &rest)
            })
            .collect();
        subscribers.iter_mut().for_each(|child| child.expect("ready"));
        let mut publishers: Vec<Child> = (0..self.publishers)
            .map(|id| {
                let rest: [&dyn ToString; 3] = [&self.count, &self.largest, &self.memory];
                start("flow::publisher", id, log("publisher", id), &rest)
            })
            .collect();
        publishers.iter_mut().for_each(|child| child.expect("ready"));
        publishers.iter_mut().for_each(|child| child.say("go"));
        let lost = subscribers.iter_mut().map(Child::hear_number).collect();
        publishers.into_iter().chain(subscribers).for_each(Child::finish);
        root.assert_empty();
        let published: Vec<Vec<u64>> =
            (0..self.publishers).map(|id| read::<1>(&log("publisher", id)).concat()).collect();
        let order = self.check_order(&published);
        for id in 0..self.subscribers {
            check_seen(&order, &read(&log("subscriber", id)), self.capacity, id);
        }
        lost
    }

    /// The message at each position, by what `publish` returned: no gap, no place taken twice, and each publisher's own
    /// messages in the order in which it published them.
    fn check_order(&self, published: &[Vec<u64>]) -> Vec<Id> {
        let mut order = vec![None; self.total() as usize];
        for (publisher, positions) in (0..).zip(published) {
            assert_eq!(positions.len() as u64, self.count);
            assert!(positions.is_sorted_by(|a, b| a < b), "publisher {publisher}");
            for (sequence, position) in (0..).zip(positions) {
                let place = &mut order[(position - u64::from(self.capacity)) as usize];
                assert_eq!(place.replace(Id { publisher, sequence }), None, "position {position}");
            }
        }
        order.into_iter().map(Option::unwrap).collect()
    }
}

/// What a subscriber received is, in this order, what was published at these positions.
fn check_seen(order: &[Id], seen: &[[u64; 3]], capacity: u32, subscriber: u64) {
    assert!(seen.is_sorted_by(|a, b| a[0] < b[0]), "subscriber {subscriber} went back");
    for &[position, publisher, sequence] in seen {
        let id = Id { publisher, sequence };
        assert_eq!(order[(position - u64::from(capacity)) as usize], id, "subscriber {subscriber}");
    }
}

fn read<const N: usize>(log: &Path) -> Vec<[u64; N]> {
    let bytes = std::fs::read(log).unwrap();
    let words: Vec<u64> = bytes.chunks(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect();
    words.chunks(N).map(|row| row.try_into().unwrap()).collect()
}

fn write(log: &str, words: &[u64]) {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    std::fs::write(log, bytes).unwrap();
}

/// What both roles are given first.
fn arguments(parent: &mut Parent) -> (PathBuf, String, u32, u64) {
    (parent.text().into(), parent.text(), parent.number() as u32, parent.number())
}

pub fn publisher(mut parent: Parent) {
    let (root, log, capacity, id) = arguments(&mut parent);
    let (count, largest, memory) = (parent.number(), parent.number() as usize, parent.number());
    let options = PublisherOptions { capacity, memory, ..publishing(&root) };
    let publisher = Publisher::with_options(TOPIC, &options).unwrap();
    parent.say_and_wait("ready");
    let positions: Vec<u64> =
        (0..count).map(|sequence| publish(&publisher, Id { publisher: id, sequence }, largest)).collect();
    drop(publisher);
    write(&log, &positions);
}

/// Publishes in one of the ways that there are. Waits while subscribers hold all of the budget.
fn publish(publisher: &Publisher, id: Id, largest: usize) -> u64 {
    let len = id.len(largest);
    loop {
        let first = if id.sequence.is_multiple_of(3) { len } else { len / 2 };
        match publisher.loan(first).and_then(|mut loan| loan.resize(len).map(|()| loan)) {
            Ok(mut loan) => {
                id.fill(&mut loan);
                if id.sequence.is_multiple_of(5) {
                    // One that is written and thrown away.
                    drop(publisher.loan(len));
                }
                return loan.publish().unwrap();
            }
            Err(Error::OutOfMemory { .. }) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
}

pub fn subscriber(mut parent: Parent) {
    let (root, log, capacity, id) = arguments(&mut parent);
    let (total, keep, slowness) = (parent.number(), parent.number() as usize, parent.number());
    let options = SubscriberOptions { capacity, ..subscribing(&root) };
    let subscriber = Subscriber::with_options(TOPIC, &options).unwrap();
    parent.say("ready");
    let mut random = Random::new(id);
    let mut seen = Vec::new();
    let mut held: VecDeque<(Id, Sample)> = VecDeque::new();
    let mut received = 0;
    while received + subscriber.lost() < total {
        let sample = subscriber.receive_timeout(Duration::from_millis(20)).unwrap();
        if let Some(sample) = &sample {
            received += 1;
            let id = Id::of(sample);
            seen.extend([sample.position(), id.publisher, id.sequence]);
        }
        // Also when nothing comes: a publisher may be waiting for the memory.
        if sample.is_none() || held.len() >= keep {
            if let Some((id, oldest)) = held.pop_front() {
                id.check(&oldest);
            }
        }
        held.extend(sample.map(|sample| (Id::of(&sample), sample)));
        dawdle(random.below(slowness + 1));
    }
    held.iter().for_each(|(id, sample)| id.check(sample));
    assert_eq!(received + subscriber.lost(), total);
    assert!(subscriber.try_receive().unwrap().is_none());
    write(&log, &seen);
    parent.say(subscriber.lost());
}

#[test]
fn all_subscribers_see_one_order_and_every_message() {
    let flow = Flow {
        capacity: 8192,
        publishers: 3,
        subscribers: 3,
        count: 2500,
        largest: 40_000,
        memory: 0,
        keep: 3,
        slowness: 0,
    };
    assert_eq!(flow.run(), [0; 3]);
}

#[test]
fn subscribers_that_are_lapped_over_and_over_know_how_much_they_lost() {
    for capacity in [2, 4, 16] {
        let flow = Flow {
            capacity,
            publishers: 3,
            subscribers: 2,
            count: 6000,
            largest: 64,
            memory: 0,
            keep: 0,
            slowness: 5000,
        };
        let lost = flow.run();
        assert!(lost.iter().all(|&lost| lost > flow.total() / 4), "they weren't lapped: {lost:?}");
    }
}

#[test]
fn what_is_evicted_and_reused_is_never_torn() {
    for (capacity, memory) in [(8, 100 << 10), (256, 200 << 10)] {
        let flow = Flow {
            capacity,
            publishers: 3,
            subscribers: 2,
            count: 6000,
            largest: 24_000,
            memory,
            keep: 6,
            slowness: 200,
        };
        flow.run();
    }
}
