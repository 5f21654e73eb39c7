// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ends other than being killed: exec, exit with everything still in one's hands, and the ends of threads.

use std::cell::RefCell;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::channel;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use shm::{
    Error, Publisher, PublisherOptions, RootOptions, Sample, Subscriber, SubscriberOptions, TopicAudit,
};

use crate::support::child::{this_thread, Child, Parent};
use crate::support::payload::Id;
use crate::support::{publishing, subscribing, Root};

const TOPIC: &str = "t";
const CAPACITY: u32 = 16;
const PARTICIPANTS: u32 = 8;
const LONG: Duration = Duration::from_secs(60);
/// Messages of the living that the one who ends holds ...
const HELD: u64 = 4;
/// ... and messages that it leaves in the ring.
const LEFT_BEHIND: u64 = 10;

fn publisher(root: &Path) -> Publisher {
    let options = PublisherOptions { capacity: CAPACITY, participants: PARTICIPANTS, ..publishing(root) };
    Publisher::with_options(TOPIC, &options).unwrap()
}

fn try_subscriber(root: &Path, history: u32) -> shm::Result<Subscriber> {
    let (capacity, participants) = (CAPACITY, PARTICIPANTS);
    let options = SubscriberOptions { capacity, participants, history, ..subscribing(root) };
    Subscriber::with_options(TOPIC, &options)
}

fn publish(publisher: &Publisher, id: Id) {
    let mut loan = publisher.loan(id.len(70_000)).unwrap();
    id.fill(&mut loan);
    loan.publish().unwrap();
}

/// Publishes more than the ring keeps, so that what was in it is held or free.
fn push_out(publisher: &Publisher) {
    for _ in 0..2 * CAPACITY {
        publisher.publish(b"x").unwrap();
    }
}

#[track_caller]
fn expect(subscriber: &Subscriber, id: Id) {
    assert_eq!(Id::of(&subscriber.receive_timeout(LONG).unwrap().expect("a message")), id);
}

fn audit(root: &Path) -> TopicAudit {
    let found = shm::audit(&RootOptions { root: Some(root.into()), ..Default::default() }).unwrap();
    found.topics.into_iter().find(|topic| topic.name == TOPIC).unwrap()
}

/// Who is there before the one who ends, and afterwards.
struct Living {
    root: Root,
    publisher: Publisher,
    subscriber: Subscriber,
}

impl Living {
    fn new() -> Living {
        let root = Root::new();
        let (subscriber, publisher) = (try_subscriber(root.path(), 0).unwrap(), publisher(root.path()));
        for sequence in 0..HELD {
            publish(&publisher, Id { publisher: 0, sequence });
            expect(&subscriber, Id { publisher: 0, sequence });
        }
        Living { root, publisher, subscriber }
    }

    fn start(&self, role: &str) -> Child {
        Child::start(role, &[&self.root.text()])
    }

    /// More than the ring keeps.
    fn go_on(&self) {
        for sequence in 0..3 * u64::from(CAPACITY) {
            publish(&self.publisher, Id { publisher: 100, sequence });
            expect(&self.subscriber, Id { publisher: 100, sequence });
        }
    }

    /// Finds `dead` participants dead, who had what `take_part` takes, and nobody the worse for it.
    fn bury(self, dead: u32) {
        let Living { root, publisher, subscriber } = &self;
        let topic = audit(root.path());
        assert_eq!((topic.living, topic.dead), (2, dead));
        for sequence in 0..LEFT_BEHIND {
            expect(subscriber, Id { publisher: 1, sequence });
        }
        self.go_on();
        assert_eq!(publisher.memory().unwrap().held, HELD, "nobody recovered the dead yet");

        let others: Vec<_> = (2..PARTICIPANTS).map(|_| try_subscriber(root.path(), 0).unwrap()).collect();
        let full = try_subscriber(root.path(), 0);
        assert!(matches!(full, Err(Error::NoParticipant { limit: PARTICIPANTS })));
        let topic = audit(root.path());
        assert_eq!((topic.living, topic.dead), (PARTICIPANTS, 0));
        assert!(topic.findings.is_empty(), "{topic:?}");
        assert_eq!(publisher.memory().unwrap().held, 0);
        drop(others);
        self.go_on();
        assert_eq!((subscriber.lost(), audit(root.path()).findings), (0, Vec::new()));
        let Living { root, publisher, subscriber } = self;
        drop((publisher, subscriber));
        root.assert_empty();
    }
}

type Handles = (Publisher, Subscriber, Vec<Sample<'static>>);

/// Two participants, one with messages in the ring and one with samples.
fn take_part(root: &Path) -> Handles {
    let (publisher, subscriber) = (publisher(root), try_subscriber(root, HELD as u32).unwrap());
    let samples: Vec<_> = (0..HELD).map(|_| subscriber.receive().unwrap().keep()).collect();
    for (sequence, sample) in (0..).zip(&samples) {
        assert_eq!(Id::of(sample), Id { publisher: 0, sequence });
    }
    (0..LEFT_BEHIND).for_each(|sequence| publish(&publisher, Id { publisher: 1, sequence }));
    (publisher, subscriber, samples)
}

/// Becomes another program, which lives on.
pub fn execs(mut parent: Parent) {
    let (publisher, _subscriber, _samples) = take_part(Path::new(&parent.text()));
    let mut loan = publisher.loan(5000).unwrap();
    loan[..2500].fill(0xee);
    parent.say_and_wait("holding");
    // Said by the other program: the kernel puts off closing files until it runs.
    let script = "printf '\\001executed\\n'; exec /bin/sleep 1000";
    panic!("{}", Command::new("/bin/sh").args(["-c", script]).exec());
}

#[test]
fn a_program_that_executes_another_is_dead() {
    let living = Living::new();
    let mut other = living.start("ending::execs");
    other.expect("holding");
    let topic = audit(living.root.path());
    assert_eq!((topic.living, topic.dead), (4, 0));
    other.say("execute");
    other.expect("executed");
    living.bury(2);
    assert!(other.is_alive());
    other.kill();
}

/// What is in statics isn't dropped at the end.
static HANDLES: Mutex<Option<Handles>> = Mutex::new(None);
const STATUS: i32 = 7;

/// Exits from a thread that isn't the main one, while another sleeps in a receive and a third one publishes.
pub fn exits(mut parent: Parent) {
    let root = PathBuf::from(parent.text());
    *HANDLES.lock().unwrap() = Some(take_part(&root));
    let leaked: &'static Publisher = Box::leak(Box::new(publisher(&root)));
    let mut loan = leaked.loan(5000).unwrap();
    loan[..2500].fill(0xee);
    std::mem::forget(loan);
    let (asleep, busy) = (try_subscriber(&root, 0).unwrap(), channel());
    thread::spawn(move || {
        busy.0.send(i64::from(this_thread())).unwrap();
        panic!("received {:?}", asleep.receive());
    });
    let sleeper = busy.1.recv().unwrap();
    let (publishing, started) = (Publisher::with_options("busy", &publishing(&root)).unwrap(), channel());
    thread::spawn(move || loop {
        publishing.publish(&[1; 1000]).unwrap();
        let _ = started.0.send(());
    });
    started.1.recv().unwrap();
    parent.say_and_wait(&sleeper.to_string());
    std::process::exit(STATUS);
}

#[test]
fn exit_with_everything_in_ones_hands_is_a_death_like_others() {
    let living = Living::new();
    let mut other = living.start("ending::exits");
    let sleeper = other.hear_number();
    other.wait_until_asleep(sleeper);
    other.say("exit");
    let status = other.wait();
    assert_eq!(status.code(), Some(STATUS), "{status}");
    // Nobody is left in this one: who comes makes it anew.
    living.root.publisher("busy").publish(b"anew").unwrap();
    living.bury(4);
}

#[test]
fn handles_are_used_and_dropped_on_another_thread_than_they_were_made_on() {
    let root = Root::new();
    let keeper = try_subscriber(root.path(), 0).unwrap();
    for round in 0..20 {
        let (publisher, subscriber) = (publisher(root.path()), try_subscriber(root.path(), 0).unwrap());
        publish(&publisher, Id { publisher: 1, sequence: round });
        thread::spawn(move || {
            expect(&subscriber, Id { publisher: 1, sequence: round });
            publish(&publisher, Id { publisher: 2, sequence: round });
            expect(&subscriber, Id { publisher: 2, sequence: round });
        })
        .join()
        .unwrap();
        let topic = audit(root.path());
        assert_eq!((topic.living, topic.dead, topic.findings), (1, 0, Vec::new()));
        expect(&keeper, Id { publisher: 1, sequence: round });
        expect(&keeper, Id { publisher: 2, sequence: round });
    }
    drop(keeper);
    root.assert_empty();
}

#[test]
fn samples_are_released_by_other_threads() {
    let root = Root::new();
    let (publisher, subscriber) = (publisher(root.path()), try_subscriber(root.path(), 0).unwrap());
    let holds = u64::from(subscriber.info().holds);
    for round in 0..50 {
        let ids = (0..holds).map(|n| Id { publisher: 1, sequence: round * holds + n });
        ids.clone().for_each(|id| publish(&publisher, id));
        thread::scope(|scope| {
            for id in ids {
                let sample = subscriber.try_receive().unwrap().expect("a message and a hold for it");
                scope.spawn(move || assert_eq!(Id::of(&sample), id));
            }
        });
    }
    push_out(&publisher);
    assert_eq!(publisher.memory().unwrap().held, 0);
    drop((publisher, subscriber));
    root.assert_empty();
}

#[test]
fn the_last_kept_sample_ends_its_participant_from_any_thread() {
    let root = Root::new();
    let (publisher, subscriber) = (publisher(root.path()), try_subscriber(root.path(), 0).unwrap());
    let holds = u64::from(subscriber.info().holds);
    (0..holds).for_each(|sequence| publish(&publisher, Id { publisher: 1, sequence }));
    let kept: Vec<_> = (0..holds).map(|_| subscriber.try_receive().unwrap().unwrap().keep()).collect();
    drop(subscriber);
    push_out(&publisher);
    assert_eq!((publisher.memory().unwrap().held, audit(root.path()).living), (holds, 2));
    let threads = (0..).zip(kept).map(|(sequence, sample)| {
        thread::spawn(move || assert_eq!(Id::of(&sample), Id { publisher: 1, sequence }))
    });
    threads.collect::<Vec<_>>().into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!((publisher.memory().unwrap().held, audit(root.path()).living), (0, 1));
    drop(publisher);
    root.assert_empty();
}

/// Publishes and receives once more when it is dropped.
struct LastWords(Handles);

impl Drop for LastWords {
    fn drop(&mut self) {
        let (publisher, subscriber, samples) = &mut self.0;
        assert_eq!(Id::of(&samples[0]), Id { publisher: 0, sequence: 0 });
        publish(publisher, Id { publisher: 1, sequence: LEFT_BEHIND });
        for sequence in 0..=LEFT_BEHIND {
            expect(subscriber, Id { publisher: 1, sequence });
        }
    }
}

thread_local! {
    static OF_THREAD: RefCell<Option<LastWords>> = const { RefCell::new(None) };
}

#[test]
fn handles_in_a_thread_local_end_with_their_thread() {
    let living = Living::new();
    let root = living.root.path().to_owned();
    thread::spawn(move || OF_THREAD.with_borrow_mut(|own| *own = Some(LastWords(take_part(&root)))))
        .join()
        .unwrap();
    let Living { root, publisher, subscriber } = &living;
    // Its segments are for the next publisher: the ring refers to them.
    let topic = audit(root.path());
    assert_eq!((topic.living, topic.dead, topic.findings), (2, 0, Vec::new()));
    for sequence in 0..=LEFT_BEHIND {
        expect(subscriber, Id { publisher: 1, sequence });
    }
    living.go_on();
    assert_eq!(publisher.memory().unwrap().held, 0);
    let Living { root, publisher, subscriber } = living;
    drop((publisher, subscriber));
    root.assert_empty();
}
