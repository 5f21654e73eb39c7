// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the children do until they are killed or told to leave: join a topic, publish or receive for a while, leave, join another.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use shm::{Error, Publisher, PublisherOptions, Sample, Subscriber, SubscriberOptions};

use crate::calls::Calls;
use crate::support::child::Parent;
use crate::support::payload::Id;
use crate::support::random::Random;
use crate::support::shared::Shared;
use crate::{options, words, LARGEST, TOPICS};

pub struct Me {
    pub root: PathBuf,
    pub calls: Calls,
    pub random: Random,
}

impl Me {
    pub fn new(mut parent: Parent) -> Me {
        let root = PathBuf::from(parent.text());
        let shared = Shared::open(Path::new(&parent.text()));
        let calls = Calls::new(shared, parent.number() as usize);
        Me { root, calls, random: Random::new(parent.number()) }
    }

    fn topic(&mut self) -> &'static str {
        TOPICS[self.random.below(TOPICS.len() as u64) as usize]
    }

    /// Sometimes at once, sometimes later.
    pub fn pause(&mut self) {
        match self.random.below(8) {
            0 => std::thread::sleep(Duration::from_micros(self.random.below(3000))),
            1..4 => std::thread::yield_now(),
            _ => {}
        }
    }
}

pub fn publish_to(root: &Path, topic: &str, memory: u64) -> Publisher {
    Publisher::with_options(topic, &PublisherOptions { memory, ..options(root).0 }).unwrap()
}

pub fn subscribe_to(root: &Path, topic: &str, history: u32, reliable: bool) -> Subscriber {
    Subscriber::with_options(topic, &SubscriberOptions { history, reliable, ..options(root).1 }).unwrap()
}

pub fn publisher(parent: Parent) {
    let mut me = Me::new(parent);
    while !me.calls.is_to_leave() {
        // From one that can't hold two of the largest at once to one that holds some.
        let memory = 300 << 10 << me.random.below(3);
        let topic = me.topic();
        let publisher = publish_to(&me.root, topic, memory);
        me.calls.count(words::JOINS, 1);
        let number = me.random.next() >> 24;
        for sequence in 0..me.random.below(3000) {
            if me.calls.is_to_leave() {
                break;
            }
            publish(&me.calls, &publisher, Id { publisher: number, sequence });
            me.pause();
        }
    }
}

/// How long a message is worth waiting for a reliable subscriber, which may be stopped.
const AT_GATE: Duration = Duration::from_millis(2);

fn publish(calls: &Calls, publisher: &Publisher, id: Id) -> Option<u64> {
    let len = id.len(LARGEST);
    let mut loan = match calls.timed("a loan", Duration::ZERO, || publisher.loan(len)) {
        Ok(loan) => loan,
        // Subscribers hold what it would need.
        Err(Error::OutOfMemory { .. }) => {
            calls.count(words::REFUSED, 1);
            return None;
        }
        Err(error) => panic!("{error}"),
    };
    id.fill(&mut loan);
    match calls.timed("a publish", AT_GATE, || loan.publish_timeout(AT_GATE)).unwrap() {
        Ok(position) => {
            calls.count(words::PUBLISHED, 1);
            Some(position)
        }
        Err(_) => {
            calls.count(words::GATED, 1);
            None
        }
    }
}

pub fn subscriber(parent: Parent) {
    let mut me = Me::new(parent);
    while !me.calls.is_to_leave() {
        let topic = me.topic();
        // Not where the monitor publishes: it waits for nobody.
        let reliable = topic != TOPICS[0] && me.random.below(2) == 0;
        // What a reliable one gets of the history may be lost, and couldn't be told from what mustn't.
        let history = if reliable { 0 } else { [0, 3, u32::MAX][me.random.below(3) as usize] };
        let subscriber = subscribe_to(&me.root, topic, history, reliable);
        me.calls.count(words::JOINS, 1);
        let mut held: Vec<(Sample, Id)> = Vec::new();
        let mut order = Order { has_history: history > 0, ..Order::default() };
        for _ in 0..me.random.below(3000) {
            if me.calls.is_to_leave() {
                break;
            }
            if let Some(sample) = receive(&mut me, &subscriber) {
                let id = check(&me.calls, &sample, Id::of);
                order.check(&me.calls, &sample, id, subscriber.lost());
                if held.len() < 3 && me.random.below(4) == 0 {
                    held.push((sample, id));
                }
            }
            if !held.is_empty() && me.random.below(4) == 0 {
                let which = me.random.below(held.len() as u64) as usize;
                let (sample, id) = held.swap_remove(which);
                check(&me.calls, &sample, |payload| id.check(payload));
            }
            me.pause();
        }
        held.iter().for_each(|(sample, id)| check(&me.calls, sample, |payload| id.check(payload)));
        me.calls.count(words::LOST, subscriber.lost());
        if reliable {
            me.calls.count(words::RELIABLE, 1);
            me.calls.count(words::UNREAD, subscriber.lost());
        }
    }
}

fn receive<'a>(me: &mut Me, subscriber: &'a Subscriber) -> Option<Sample<'a>> {
    let longest = Duration::from_millis(me.random.below(20));
    let received = if me.random.below(2) == 0 {
        me.calls.timed("a receive", Duration::ZERO, || subscriber.try_receive())
    } else {
        me.calls.timed("a wait", longest, || subscriber.receive_timeout(longest))
    };
    let sample = received.unwrap()?;
    me.calls.count(words::RECEIVED, 1);
    Some(sample)
}

/// Counts a sample that isn't whole as torn, and ends.
pub fn check<T>(calls: &Calls, sample: &[u8], whole: impl FnOnce(&[u8]) -> T) -> T {
    let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| whole(sample)));
    checked.unwrap_or_else(|torn| {
        calls.count(words::TORN, 1);
        std::panic::resume_unwind(torn)
    })
}

/// What a subscriber has seen.
#[derive(Default)]
struct Order {
    has_history: bool,
    /// The last position, and how many were lost by then.
    last: Option<(u64, u64)>,
    sequences: HashMap<u64, u64>,
}

impl Order {
    fn check(&mut self, calls: &Calls, sample: &Sample, id: Id, lost: u64) {
        let position = sample.position();
        let in_order = self.last.is_none_or(|(last, lost_then)| {
            let missing = position.wrapping_sub(last + 1);
            // What was evicted before a subscriber joined is missing from its history, but not lost.
            position > last
                && if self.has_history { lost - lost_then <= missing } else { lost - lost_then == missing }
        });
        let ascends = self.sequences.insert(id.publisher, id.sequence).is_none_or(|last| id.sequence > last);
        if !in_order || !ascends {
            calls.count(words::DISORDERED, 1);
            panic!("{id:?} at {position}, {lost} lost, after {:?}", self.last);
        }
        self.last = Some((position, lost));
    }
}

/// Publishes to each topic in turn, and receives that or later ones. It is never stopped.
pub fn monitor(parent: Parent) {
    let mut me = Me::new(parent);
    let on = |me: &Me, topic| (publish_to(&me.root, topic, 4 << 20), subscribe_to(&me.root, topic, 0, false));
    let stays = on(&me, TOPICS[0]);
    for sequence in 0.. {
        if me.calls.is_to_leave() {
            break;
        }
        round(&me, &stays, sequence);
        let topic = TOPICS[1 + me.random.below(2) as usize];
        let comes = on(&me, topic);
        round(&me, &comes, sequence);
        drop(comes);
        std::thread::sleep(Duration::from_millis(me.random.below(40)));
    }
}

fn round(me: &Me, (publisher, subscriber): &(Publisher, Subscriber), sequence: u64) {
    let id = Id { publisher: me.calls.place() as u64, sequence };
    let Some(position) = publish(&me.calls, publisher, id) else { return };
    let lost = subscriber.lost();
    loop {
        let longest = Duration::from_millis(50);
        let received =
            me.calls.timed("the monitor's receive", Duration::ZERO, || subscriber.receive_timeout(longest));
        let Some(sample) = received.unwrap() else {
            // Others overwrote it, and evicted what they wrote.
            if subscriber.lost() == lost {
                eprintln!("the monitor's message doesn't come");
                me.calls.count(words::STUCK, 1);
            }
            break;
        };
        check(&me.calls, &sample, Id::of);
        if sample.position() >= position {
            break;
        }
    }
    me.calls.count(words::MONITORED, 1);
}
