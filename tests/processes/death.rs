// SPDX-License-Identifier: MIT OR Apache-2.0
//! SIGKILL of processes that have loans, messages and samples: the others go on, and all that they had comes back.

use std::path::PathBuf;
use std::time::Duration;

use shm::{Error, Loan, Publisher, PublisherOptions, Sample, Subscriber, SubscriberOptions};

use crate::support::child::{Child, Parent};
use crate::support::payload::Id;
use crate::support::{publishing, subscribing, Root};

const TOPIC: &str = "t";
const CAPACITY: u32 = 16;
const PARTICIPANTS: u32 = 6;
const HOLDS: u32 = 8;
const LONG: Duration = Duration::from_secs(60);
/// Messages that the publisher who dies leaves in the ring.
const LEFT_BEHIND: u64 = 10;

fn publisher(root: &Root, memory: u64) -> Publisher {
    let (capacity, participants) = (CAPACITY, PARTICIPANTS);
    let options = PublisherOptions { capacity, participants, memory, ..publishing(root.path()) };
    Publisher::with_options(TOPIC, &options).unwrap()
}

fn try_subscriber(root: &Root) -> shm::Result<Subscriber> {
    let options =
        SubscriberOptions { capacity: CAPACITY, participants: PARTICIPANTS, ..subscribing(root.path()) };
    Subscriber::with_options(TOPIC, &options)
}

fn publish(publisher: &Publisher, id: Id) {
    let mut loan = publisher.loan(id.len(70_000)).unwrap();
    id.fill(&mut loan);
    loan.publish().unwrap();
}

/// More than the ring keeps, each received by `subscriber`.
fn go_on(publisher: &Publisher, subscriber: &Subscriber) {
    for sequence in 0..3 * u64::from(CAPACITY) {
        let id = Id { publisher: 100, sequence };
        publish(publisher, id);
        assert_eq!(Id::of(&subscriber.receive_timeout(LONG).unwrap().expect("a message")), id);
    }
}

/// Every entry that isn't taken by the `living` can be.
fn assert_entries_are_free(root: &Root, living: u32) {
    let all: Vec<Subscriber> = (living..PARTICIPANTS).map(|_| try_subscriber(root).unwrap()).collect();
    assert!(matches!(try_subscriber(root), Err(Error::NoParticipant { limit: PARTICIPANTS })));
    drop(all);
}

/// Publishes, then stands still with a loan that is half written.
pub fn publishes_and_holds(mut parent: Parent) {
    let root = PathBuf::from(parent.text());
    let publisher = Publisher::with_options(TOPIC, &publishing(&root)).unwrap();
    (0..LEFT_BEHIND).for_each(|sequence| publish(&publisher, Id { publisher: 1, sequence }));
    let mut loan = publisher.loan(5000).unwrap();
    loan[..2500].fill(0xee);
    parent.say_and_wait("holding");
}

/// Files below the root, and the blocks that they take, when a publisher came and ended in the way that `end` ends it.
fn usage_after(end: impl Fn(Child)) -> (usize, u64) {
    let root = Root::new();
    let (survivor, subscriber) = (publisher(&root, 0), try_subscriber(&root).unwrap());
    let mut other = Child::start("death::publishes_and_holds", &[&root.text()]);
    other.expect("holding");
    end(other);
    for sequence in 0..LEFT_BEHIND {
        let sample = subscriber.receive_timeout(LONG).unwrap().expect("what the dead had published");
        assert_eq!(Id::of(&sample), Id { publisher: 1, sequence });
    }
    go_on(&survivor, &subscriber);
    // Whoever comes recovers the dead; nothing of theirs is in the ring any more.
    drop(publisher(&root, 0));
    assert_entries_are_free(&root, 2);
    go_on(&survivor, &subscriber);
    let usage = (root.files().len(), root.blocks());
    drop((survivor, subscriber));
    root.assert_empty();
    usage
}

#[test]
fn a_publisher_killed_with_a_loan_leaves_its_messages_and_nothing_else() {
    let by_leaving = usage_after(|mut child| {
        child.say("leave");
        child.finish();
    });
    assert_eq!(usage_after(Child::kill), by_leaving);
}

#[test]
fn segments_of_the_dead_are_used_again() {
    let root = Root::new();
    let subscriber = try_subscriber(&root).unwrap();
    let mut most = Vec::new();
    for _ in 0..20 {
        let mut dead = Child::start("death::publishes_and_holds", &[&root.text()]);
        dead.expect("holding");
        dead.kill();
        most.push((root.files().len(), root.blocks()));
        while subscriber.try_receive().unwrap().is_some() {}
    }
    // Each may leave what the ring refers to; the ring never refers to more than two of them.
    assert!(most[5..].iter().all(|later| later <= most[..5].iter().max().unwrap()), "{most:?}");
    drop(subscriber);
    root.assert_empty();
}

/// Takes as many samples as it may, and stands still with them.
pub fn holds_samples(mut parent: Parent) {
    let root = PathBuf::from(parent.text());
    let subscriber = Subscriber::with_options(TOPIC, &subscribing(&root)).unwrap();
    parent.say_and_wait("joined");
    let held: Vec<Sample> = (0..HOLDS).map(|_| subscriber.receive().unwrap()).collect();
    parent.say_and_wait("holding");
    drop(held);
}

/// Bytes of messages that all have one size, so that it can be said how many fit.
const EQUAL: usize = 4096;

fn publish_equal(publisher: &Publisher, count: u32) {
    for _ in 0..count {
        publisher.publish(&[7; EQUAL]).unwrap();
    }
}

/// How many loans the publisher can have at a time.
fn loans(publisher: &Publisher) -> usize {
    let mut all: Vec<Loan> = Vec::new();
    loop {
        match publisher.loan(EQUAL) {
            Ok(loan) => all.push(loan),
            Err(Error::OutOfMemory { .. }) => return all.len(),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn what_a_killed_subscriber_held_comes_back() {
    let root = Root::new();
    let (publisher, survivor) = (publisher(&root, 200 << 10), try_subscriber(&root).unwrap());
    let all = loans(&publisher);
    assert!(all > 40);
    for _ in 0..3 {
        let mut dead = Child::start("death::holds_samples", &[&root.text()]);
        dead.expect("joined");
        publish_equal(&publisher, HOLDS);
        dead.say("take them");
        dead.expect("holding");
        assert_eq!(loans(&publisher), all - HOLDS as usize, "what is held isn't reused");
        dead.kill();
        assert_eq!(loans(&publisher), all);
        // Also when somebody else has the dead one's entry, and each chunk was in the ring meanwhile.
        let heirs: Vec<Subscriber> = (2..PARTICIPANTS).map(|_| try_subscriber(&root).unwrap()).collect();
        publish_equal(&publisher, 2 * all as u32);
        assert_eq!(loans(&publisher), all);
        drop(heirs);
        while survivor.try_receive().unwrap().is_some() {}
        publish_equal(&publisher, HOLDS);
        (0..HOLDS).for_each(|_| assert_eq!(survivor.receive().unwrap().len(), EQUAL));
        assert_entries_are_free(&root, 2);
    }
    drop((publisher, survivor));
    root.assert_empty();
}

/// Publishes without end.
pub fn publishes_on(mut parent: Parent) {
    let root = PathBuf::from(parent.text());
    let publisher = Publisher::with_options(TOPIC, &publishing(&root)).unwrap();
    parent.say("in");
    for sequence in 0.. {
        publish(&publisher, Id { publisher: 2, sequence });
    }
}

/// Receives without end, always some of the newest in its hands.
pub fn receives_on(mut parent: Parent) {
    let root = PathBuf::from(parent.text());
    let subscriber = Subscriber::with_options(TOPIC, &subscribing(&root)).unwrap();
    parent.say("in");
    let mut held = std::collections::VecDeque::new();
    loop {
        let sample = subscriber.receive().unwrap();
        held.push_back((Id::of(&sample), sample));
        if held.len() == 4 {
            let (id, oldest) = held.pop_front().unwrap();
            id.check(&oldest);
        }
    }
}

#[test]
fn when_all_are_killed_the_next_starts_anew() {
    let root = Root::new();
    let mut instances = std::collections::BTreeSet::new();
    for _ in 0..8 {
        let mut all: Vec<Child> =
            ["death::publishes_on", "death::receives_on", "death::publishes_on", "death::receives_on"]
                .map(|role| Child::start(role, &[&root.text()]))
                .into();
        all.iter_mut().for_each(|child| child.expect("in"));
        all.iter().for_each(|child| child.signal(libc::SIGKILL));
        all.into_iter().for_each(Child::kill);
        let options = SubscriberOptions { history: u32::MAX, ..subscribing(root.path()) };
        let next = Subscriber::with_options(TOPIC, &options).unwrap();
        assert!(instances.insert(next.info().instance), "the old topic");
        assert!(next.try_receive().unwrap().is_none(), "an old message");
        let names: Vec<_> = root.files().iter().map(|path| path.file_name().unwrap().to_owned()).collect();
        assert_eq!(names, [TOPIC, "peers", "ring"]);
        drop(next);
        root.assert_empty();
    }
}

#[test]
fn a_stopped_publisher_blocks_nobody() {
    let root = Root::new();
    let (publisher, subscriber) = (publisher(&root, 0), try_subscriber(&root).unwrap());
    let mut stopped = Child::start("death::publishes_on", &[&root.text()]);
    stopped.expect("in");
    for _ in 0..20 {
        stopped.signal(libc::SIGSTOP);
        wait_until_stopped(&stopped);
        while subscriber.try_receive().unwrap().is_some() {}
        go_on(&publisher, &subscriber);
        stopped.signal(libc::SIGCONT);
    }
    stopped.kill();
    drop((publisher, subscriber));
    // The killed one's entry is left to the next to come.
    drop(try_subscriber(&root).unwrap());
    root.assert_empty();
}

fn wait_until_stopped(child: &Child) {
    let mut status = 0;
    // SAFETY: waits for one child, into a local; a stop leaves it waitable for its end.
    let found = unsafe { libc::waitpid(child.pid(), &mut status, libc::WUNTRACED) };
    assert!(found == child.pid() && libc::WIFSTOPPED(status), "{status:#x}");
}
