// SPDX-License-Identifier: MIT OR Apache-2.0
//! A process publishes, or receives, a few instructions at a time. Wherever it stands still, others publish and
//! receive as if it weren't there, also more than the ring keeps; and what it then goes on with is right all the same.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use shm::{Publisher, PublisherOptions, Sample, Subscriber, SubscriberOptions};

use crate::support::child::{this_thread, Child, Parent};
use crate::support::payload::{Id, HEAD};
use crate::support::random::Random;
use crate::support::shared::Shared;
use crate::support::trace::Traced;
use crate::support::{publishing, rounds, skipped, subscribing, Root};

const TOPIC: &str = "t";
const CAPACITY: u32 = 4;
const PARTICIPANTS: u32 = 4;
/// So little that chunks are evicted and used again all the time.
const MEMORY: u64 = 1500;
/// What a worker does before it is done, in messages or in looks for one.
const WORK: u64 = 8;
/// The shared words: the worker's progress, and that it is done.
const BEGUN: usize = 0;
const DONE: usize = 1;

fn publisher(root: &Path) -> Publisher {
    let (capacity, participants, memory) = (CAPACITY, PARTICIPANTS, MEMORY);
    let options = PublisherOptions { capacity, participants, memory, ..publishing(root) };
    Publisher::with_options(TOPIC, &options).unwrap()
}

fn subscriber(root: &Path) -> Subscriber {
    let options = SubscriberOptions { capacity: CAPACITY, participants: PARTICIPANTS, ..subscribing(root) };
    Subscriber::with_options(TOPIC, &options).unwrap()
}

fn reliable(root: &Path) -> Subscriber {
    let (capacity, participants) = (CAPACITY, PARTICIPANTS);
    let options = SubscriberOptions { capacity, participants, reliable: true, ..subscribing(root) };
    Subscriber::with_options(TOPIC, &options).unwrap()
}

fn publish(publisher: &Publisher, id: Id) {
    let mut loan = publisher.loan(HEAD).unwrap();
    id.fill(&mut loan);
    loan.publish().unwrap();
}

/// What a worker does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Work {
    Publish,
    Receive,
    /// Joins, receives and leaves; others wait for it.
    ReceiveReliably,
}

/// Publishes, or receives, a number of times.
pub fn worker(mut parent: Parent) {
    let (root, shared) = (PathBuf::from(parent.text()), Shared::open(Path::new(&parent.text())));
    let work = parent.number();
    if work == Work::ReceiveReliably as u64 {
        parent.say_and_wait(&this_thread().to_string());
        shared.set(BEGUN, 1);
        receive_reliably(&reliable(&root));
        shared.set(DONE, 1);
    } else if work == Work::Publish as u64 {
        let publisher = publisher(&root);
        // Its segment is there: making one takes a hundred times longer than all that is of interest here.
        drop(publisher.loan(HEAD).unwrap());
        parent.say_and_wait(&this_thread().to_string());
        shared.set(BEGUN, 1);
        (0..WORK).for_each(|sequence| publish(&publisher, Id { publisher: 1, sequence }));
        shared.set(DONE, 1);
    } else {
        let subscriber = subscriber(&root);
        parent.say_and_wait(&this_thread().to_string());
        shared.set(BEGUN, 1);
        receive(&subscriber);
        shared.set(DONE, 1);
    }
    parent.say("done");
}

/// Holds each sample until there are two more.
fn receive(subscriber: &Subscriber) {
    let mut held: Vec<(Id, Sample)> = Vec::new();
    for _ in 0..WORK {
        held.extend(subscriber.try_receive().unwrap().map(|sample| (Id::of(&sample), sample)));
        if held.len() > 2 {
            let (id, oldest) = held.remove(0);
            id.check(&oldest);
        }
    }
    held.iter().for_each(|(id, sample)| id.check(sample));
}

/// Receives what comes, and misses nothing.
fn receive_reliably(subscriber: &Subscriber) {
    let mut next = None;
    for _ in 0..WORK {
        if let Some(sample) = subscriber.try_receive().unwrap() {
            Id::of(&sample);
            assert_eq!(*next.get_or_insert(sample.position()), sample.position());
            next = Some(sample.position() + 1);
        }
        assert_eq!(subscriber.lost(), 0);
    }
}

/// What goes on beside the worker.
struct Others {
    publisher: Publisher,
    subscriber: Subscriber,
    sequence: u64,
    /// The sequence of the worker's next message.
    of_worker: u64,
    /// How many of the workers' messages didn't arrive, though later ones did.
    missed: u64,
}

impl Others {
    fn new(root: &Root) -> Others {
        let (publisher, subscriber) = (publisher(root.path()), subscriber(root.path()));
        Others { publisher, subscriber, sequence: 0, of_worker: 0, missed: 0 }
    }

    /// Publishes `count` messages, each of which arrives at once, behind what the worker published before it.
    fn go_on(&mut self, count: u64) {
        for _ in 0..count {
            let id = Id { publisher: 9, sequence: self.sequence };
            self.sequence += 1;
            publish(&self.publisher, id);
            loop {
                let sample = self.subscriber.try_receive().unwrap().expect("a message");
                let found = Id::of(&sample);
                if found == id {
                    break;
                }
                assert!(found.publisher == 1 && found.sequence >= self.of_worker, "{found:?}");
                self.missed += found.sequence - self.of_worker;
                self.of_worker = found.sequence + 1;
            }
        }
        // A worker evicts its own messages when nobody receives them in time.
        assert!(self.subscriber.lost() >= self.missed);
    }

    /// Publishes `count` messages, each of which arrives at once, or as many as a stopped worker lets them.
    fn go_on_as_far(&mut self, count: u64) {
        for _ in 0..count {
            let id = Id { publisher: 9, sequence: self.sequence };
            // The budget is waited for as well.
            let Ok(mut loan) = self.publisher.loan(HEAD) else { return };
            id.fill(&mut loan);
            if loan.try_publish().unwrap().is_err() {
                return;
            }
            self.sequence += 1;
            assert_eq!(Id::of(&self.subscriber.try_receive().unwrap().expect("a message")), id);
        }
    }
}

/// A worker that is stopped before its work.
struct Worker {
    child: Child,
    traced: Traced,
    shared: Shared,
}

impl Worker {
    fn start(root: &Root, beside: &Path, work: Work) -> std::io::Result<Worker> {
        let file = beside.join("shared");
        let shared = Shared::open(&file);
        shared.set(BEGUN, 0);
        shared.set(DONE, 0);
        let arguments: [&dyn ToString; 3] = [&root.text(), &file.to_str().unwrap(), &(work as u64)];
        let mut child = Child::start("stepping::worker", &arguments);
        let thread = child.hear_number() as i32;
        let mut traced = Traced::attach(child.pid(), thread)?;
        child.say("work");
        while shared.get(BEGUN) == 0 {
            assert!(traced.step());
        }
        Ok(Worker { child, traced, shared })
    }

    /// To the next system call, or out of the one it is in.
    fn run_to_call(&mut self) {
        assert!(self.traced.run_to_call(), "it ended by itself");
    }

    /// False when it is done.
    fn step(&mut self, instructions: u64) -> bool {
        for _ in 0..instructions {
            if self.shared.get(DONE) == 0 {
                assert!(self.traced.step(), "it ended by itself");
            }
        }
        self.shared.get(DONE) == 0
    }
}

fn step_by_step(work: Work) -> std::io::Result<()> {
    let (root, beside) = (Root::new(), tempfile::tempdir().unwrap());
    let mut random = Random::printed();
    let mut others = Others::new(&root);
    for _ in 0..rounds(2) {
        others.of_worker = 0;
        let mut worker = Worker::start(&root, beside.path(), work)?;
        // Mostly a few instructions, but now and then enough for a whole try: publishing is lock-free, not wait-free.
        loop {
            let most = if random.below(50) == 0 { 6000 } else { 8 };
            if !worker.step(1 + random.below(most)) {
                break;
            }
            // Once and again the whole ring.
            let count = if random.below(3) == 0 { u64::from(CAPACITY) + 1 } else { 1 };
            others.go_on(count);
            assert_eq!(others.subscriber.lost(), 0);
        }
        drop(worker.traced);
        worker.child.expect("done");
        worker.child.finish();
        others.go_on(1);
        assert_eq!(others.of_worker, if work == Work::Publish { WORK } else { 0 });
    }
    drop(others);
    root.assert_empty();
    Ok(())
}

#[test]
fn a_publisher_stopped_at_any_instruction_is_in_nobodys_way() {
    if let Err(error) = step_by_step(Work::Publish) {
        skipped(&format!("ptrace isn't permitted: {error}"));
    }
}

#[test]
fn a_subscriber_stopped_at_any_instruction_is_in_nobodys_way() {
    if let Err(error) = step_by_step(Work::Receive) {
        skipped(&format!("ptrace isn't permitted: {error}"));
    }
}

/// What `peers` says of the third participant, who is the worker.
fn state_of_worker(root: &Root) -> u8 {
    const STATUS: u64 = 640;
    let peers = std::fs::File::open(root.path().join(TOPIC).join("peers")).unwrap();
    let mut state = [0];
    peers.read_exact_at(&mut state, STATUS + 2 * 8).unwrap();
    state[0]
}
const FREE: u8 = 0;
const LIVE: u8 = 2;

/// A worker that joins, reads and leaves, while others publish as fast as it lets them.
fn step_through_a_reliable_one() -> std::io::Result<()> {
    let (root, beside) = (Root::new(), tempfile::tempdir().unwrap());
    let mut random = Random::printed();
    let mut others = Others::new(&root);
    let start = || Worker::start(&root, beside.path(), Work::ReceiveReliably);
    // The system calls before the one in front of which it says that it joins.
    let mut first = start()?;
    let mut calls = 0;
    while state_of_worker(&root) == FREE {
        first.run_to_call();
        calls += 1;
    }
    drop(first.traced);
    first.child.finish();
    for _ in 0..rounds(3) {
        let mut worker = start()?;
        (0..calls - 2).for_each(|_| worker.run_to_call());
        // Joining, a few instructions at a time; then the rest.
        while state_of_worker(&root) != LIVE {
            assert!(worker.step(1 + random.below(16)));
            others.go_on_as_far(random.below(u64::from(CAPACITY) + 3));
        }
        while worker.step(1 + random.below(3000)) {
            others.go_on_as_far(random.below(u64::from(CAPACITY) + 3));
        }
        drop(worker.traced);
        worker.child.expect("done");
        worker.child.finish();
        others.go_on(2 * u64::from(CAPACITY));
    }
    assert_eq!(others.subscriber.lost(), 0);
    drop(others);
    root.assert_empty();
    Ok(())
}

#[test]
fn a_reliable_subscriber_stopped_at_any_instruction_loses_nothing() {
    if let Err(error) = step_through_a_reliable_one() {
        skipped(&format!("ptrace isn't permitted: {error}"));
    }
}

/// Tells what comes, for which it sleeps.
pub fn listener(mut parent: Parent) {
    let subscriber = subscriber(Path::new(&parent.text()));
    parent.say(this_thread());
    loop {
        let id = Id::of(&subscriber.receive().unwrap());
        parent.say(format!("{} {}", id.publisher, id.sequence));
    }
}

/// Kills a publisher at the instruction behind the one that made its message visible: it neither moved the hint on nor
/// woke anybody.
fn kill_once_visible() -> std::io::Result<()> {
    let (root, beside) = (Root::new(), tempfile::tempdir().unwrap());
    let mut others = Others::new(&root);
    for _ in 0..3 {
        let mut listener = Child::start("stepping::listener", &[&root.text()]);
        let thread = listener.hear_number();
        let mut worker = Worker::start(&root, beside.path(), Work::Publish)?;
        listener.wait_until_asleep(thread);
        while others.subscriber.try_receive().unwrap().is_none() {
            assert!(worker.step(1), "it published nothing");
        }
        worker.child.signal(libc::SIGKILL);
        worker.traced.gone();
        worker.child.kill();
        listener.expect("1 0");
        let next = others.sequence;
        others.go_on(2);
        [next, next + 1].into_iter().for_each(|sequence| listener.expect(&format!("9 {sequence}")));
        listener.kill();
    }
    drop((others, publisher(root.path())));
    root.assert_empty();
    Ok(())
}

#[test]
fn a_message_whose_publisher_died_before_it_told_anybody_arrives() {
    if let Err(error) = kill_once_visible() {
        skipped(&format!("ptrace isn't permitted: {error}"));
    }
}

/// The one who is killed may have published a message more than it knows.
fn kill_somewhere(random: &mut Random) -> std::io::Result<()> {
    let (root, beside) = (Root::new(), tempfile::tempdir().unwrap());
    let mut others = Others::new(&root);
    let files = root.files().len();
    for round in 0..rounds(30) {
        others.of_worker = 0;
        let work = [Work::Publish, Work::Receive, Work::ReceiveReliably][round as usize % 3];
        let mut worker = Worker::start(&root, beside.path(), work)?;
        // Joining is long.
        let most = 1 << (5 + random.below(if work == Work::ReceiveReliably { 13 } else { 10 }));
        let instructions = random.below(most);
        eprintln!("{instructions} instructions of {work:?}");
        worker.step(instructions);
        worker.child.signal(libc::SIGKILL);
        worker.traced.gone();
        worker.child.kill();
        others.go_on(2 * u64::from(CAPACITY));
    }
    // A publisher that comes clears up; all entries but two are free.
    drop(publisher(root.path()));
    assert!(root.files().len() <= files + 1, "{:?}", root.files());
    drop((2..PARTICIPANTS).map(|_| subscriber(root.path())).collect::<Vec<_>>());
    drop(others);
    root.assert_empty();
    Ok(())
}

#[test]
fn a_process_killed_at_any_instruction_is_in_nobodys_way() {
    if let Err(error) = kill_somewhere(&mut Random::printed()) {
        skipped(&format!("ptrace isn't permitted: {error}"));
    }
}
