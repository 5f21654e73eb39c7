// SPDX-License-Identifier: MIT OR Apache-2.0
//! A process is killed, or stopped, at each system call of joining and of leaving in turn, and some instructions
//! after it: whatever it left half done, others go on, find one topic, and leave nothing behind.

use std::path::{Path, PathBuf};
use std::time::Duration;

use shm::{Error, Publisher, PublisherOptions, Subscriber, SubscriberOptions};

use crate::support::child::{this_thread, Child, Parent};
use crate::support::payload::Id;
use crate::support::random::Random;
use crate::support::shared::Shared;
use crate::support::trace::Traced;
use crate::support::{assert_nothing_in, files_below, publishing, skipped, subscribing, Root};

const TOPIC: &str = "t";
const CAPACITY: u32 = 4;
const PARTICIPANTS: u32 = 5;
const LONG: Duration = Duration::from_secs(60);
/// Instructions that a victim may do beyond a system call.
const INSTRUCTIONS: u64 = 600;

/// The shared words: set when the victim has joined, and when it has left.
pub const JOINED: usize = 0;
pub const LEFT: usize = 1;
pub const INSTANCE: usize = 2;

/// Which part of a victim's life is taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    Join,
    Leave,
}

/// What becomes of a victim in the middle of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Killed,
    Stopped,
}

/// What there is when the victim comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Around {
    Nothing,
    /// A topic whose users were all killed.
    Deserted,
    /// This process's publisher and subscriber.
    Others,
    /// The same and a publisher that was killed.
    OthersAndADead,
    /// This process's subscriber, the only other one, which leaves while the victim stands still.
    OneWhoLeaves,
}

fn publisher(root: &Path) -> shm::Result<Publisher> {
    let options = PublisherOptions { capacity: CAPACITY, participants: PARTICIPANTS, ..publishing(root) };
    Publisher::with_options(TOPIC, &options)
}

pub fn subscriber(root: &Path) -> shm::Result<Subscriber> {
    let options = SubscriberOptions {
        capacity: CAPACITY,
        participants: PARTICIPANTS,
        history: u32::MAX,
        ..subscribing(root)
    };
    Subscriber::with_options(TOPIC, &options)
}

/// Joins, uses what it joined, and leaves, each when it is told to.
pub fn victim(mut parent: Parent) {
    let (root, shared, publishes) =
        (PathBuf::from(parent.text()), Shared::open(Path::new(&parent.text())), parent.number() == 1);
    parent.say_and_wait(&this_thread().to_string());
    let joined = |instance| {
        shared.set(INSTANCE, instance);
        shared.set(JOINED, 1);
        parent.say_and_wait("joined");
    };
    if publishes {
        let publisher = publisher(&root).unwrap();
        publish_each_size(&publisher, 1);
        joined(publisher.info().instance);
        drop(publisher);
    } else {
        let subscriber = subscriber(&root).unwrap();
        let held = subscriber.try_receive().unwrap();
        joined(subscriber.info().instance);
        drop(held);
        drop(subscriber);
    }
    shared.set(LEFT, 1);
    parent.say("left");
}

/// Two size classes, so two segments.
fn publish_each_size(publisher: &Publisher, id: u64) {
    for (sequence, len) in [(0, 100), (1, 20_000)] {
        let mut loan = publisher.loan(len).unwrap();
        Id { publisher: id, sequence }.fill(&mut loan);
        loan.publish().unwrap();
    }
}

pub fn start_victim(root: &Path, shared: &Path, publishes: bool) -> Child {
    let (root, shared) = (root.to_str().unwrap(), shared.to_str().unwrap());
    Child::start("steps::victim", &[&root, &shared, &u8::from(publishes)])
}

/// A publisher with messages in the ring, killed.
pub fn leave_a_dead(root: &Path, shared: &Path) {
    let mut dead = start_victim(root, shared, true);
    dead.hear();
    dead.say("join");
    dead.expect("joined");
    dead.kill();
}

/// What one round is.
#[derive(Debug)]
struct Round<'a> {
    root: &'a Path,
    beside: &'a Path,
    around: Around,
    phase: Phase,
    fate: Fate,
    publishes: bool,
}

const ALL_AROUND: [Around; 5] =
    [Around::Nothing, Around::Deserted, Around::Others, Around::OthersAndADead, Around::OneWhoLeaves];

/// Who is there beside a victim.
enum Company {
    None,
    Leaves(Subscriber),
    Stays {
        publisher: Box<Publisher>,
        subscriber: Subscriber,
        /// The segments that are there without the victim.
        segments: Vec<PathBuf>,
    },
}

impl Round<'_> {
    fn start_victim(&self) -> Child {
        start_victim(self.root, &self.beside.join("shared"), self.publishes)
    }

    fn surround(&self) -> Company {
        match self.around {
            Around::Nothing => Company::None,
            Around::Deserted => {
                leave_a_dead(self.root, &self.beside.join("shared"));
                Company::None
            }
            Around::OneWhoLeaves => Company::Leaves(subscriber(self.root).unwrap()),
            Around::Others | Around::OthersAndADead => {
                let (publisher, subscriber) = (publisher(self.root).unwrap(), subscriber(self.root).unwrap());
                publisher.publish(&[0; 100]).unwrap();
                let segments = segments(self.root);
                if self.around == Around::OthersAndADead {
                    leave_a_dead(self.root, &self.beside.join("shared"));
                }
                while subscriber.try_receive().unwrap().is_some() {}
                Company::Stays { publisher: publisher.into(), subscriber, segments }
            }
        }
    }

    /// Runs the victim up to its `calls`th system call within the phase and `instructions` more. False: the phase
    /// ended before that, so that there is nothing left to try.
    fn run(&self, calls: u64, instructions: u64) -> std::io::Result<bool> {
        let shared = Shared::open(&self.beside.join("shared"));
        let company = self.surround();
        shared.set(JOINED, 0);
        shared.set(LEFT, 0);
        let mut victim = self.start_victim();
        let thread = victim.hear_number() as i32;
        if self.phase == Phase::Leave {
            victim.say("join");
            victim.expect("joined");
        }
        let mut traced = Traced::attach(victim.pid(), thread)?;
        victim.say("go on");
        let is_midway = run_to(&mut traced, &shared, self.phase, calls, instructions);
        match self.fate {
            Fate::Killed => {
                victim.signal(libc::SIGKILL);
                traced.gone();
                victim.kill();
                self.check_after_death(company);
            }
            Fate::Stopped => self.check_while_stopped(company, &shared, traced, victim),
        }
        assert_nothing_in(self.root);
        Ok(is_midway)
    }

    fn check_after_death(&self, company: Company) {
        let Company::Stays { publisher: own, subscriber, segments } = company else {
            drop(company);
            let (publisher, subscriber) = (publisher(self.root).unwrap(), subscriber(self.root).unwrap());
            assert!(subscriber.try_receive().unwrap().is_none(), "a message of the dead");
            exchange(&publisher, &subscriber);
            fill(self.root, 2);
            return;
        };
        exchange(&own, &subscriber);
        // Nothing of the dead is in the ring then, so the next publisher takes their segments away.
        drop(publisher(self.root).unwrap());
        assert_eq!(self::segments(self.root), segments);
        fill(self.root, 2);
        exchange(&own, &subscriber);
    }

    fn check_while_stopped(&self, company: Company, shared: &Shared, traced: Traced, mut victim: Child) {
        let (publisher, subscriber) = match company {
            Company::Stays { publisher, subscriber, .. } => (*publisher, subscriber),
            Company::Leaves(one) if self.phase == Phase::Leave => {
                // Whichever of the two is the last has to remove the topic.
                drop((one, traced));
                victim.expect("left");
                return victim.finish();
            }
            Company::Leaves(_) | Company::None => {
                drop(company);
                (publisher(self.root).unwrap(), subscriber(self.root).unwrap())
            }
        };
        exchange(&publisher, &subscriber);
        drop(traced);
        if self.phase == Phase::Join {
            victim.expect("joined");
            assert_eq!(shared.get(INSTANCE), publisher.info().instance, "two topics of one name");
            victim.say("leave");
        }
        victim.expect("left");
        // Whoever comes now finds the same topic as those who came while the victim stood still.
        assert_eq!(self::subscriber(self.root).unwrap().info().instance, publisher.info().instance);
        drop(subscriber);
        exchange(&publisher, &self::subscriber(self.root).unwrap());
        victim.finish();
    }
}

/// Runs a victim to its `calls`th system call within the phase and `instructions` more. False: the phase is over.
pub fn run_to(traced: &mut Traced, shared: &Shared, phase: Phase, calls: u64, instructions: u64) -> bool {
    let end = if phase == Phase::Join { JOINED } else { LEFT };
    for _ in 0..2 * calls {
        if shared.get(end) == 0 {
            assert!(traced.run_to_call(), "the victim ended by itself");
        }
    }
    for _ in 0..instructions {
        if shared.get(end) == 0 {
            assert!(traced.step(), "the victim ended by itself");
        }
    }
    shared.get(end) == 0
}

/// More messages than the ring keeps, all of which arrive or are counted.
fn exchange(publisher: &Publisher, subscriber: &Subscriber) {
    while subscriber.try_receive().unwrap().is_some() {}
    for sequence in 0..u64::from(CAPACITY) + 2 {
        let id = Id { publisher: 9, sequence };
        let mut loan = publisher.loan(100).unwrap();
        id.fill(&mut loan);
        let position = loan.publish().unwrap();
        let sample = loop {
            // A stopped victim may publish in between, when it goes on.
            let sample = subscriber.receive_timeout(LONG).unwrap().expect("a message");
            if sample.position() == position {
                break sample;
            }
        };
        assert_eq!(Id::of(&sample), id);
    }
}

/// Every entry that isn't taken by the `taken` that live can be taken.
fn fill(root: &Path, taken: u32) {
    let all: Vec<Subscriber> = (taken..PARTICIPANTS).map(|_| subscriber(root).unwrap()).collect();
    assert!(matches!(subscriber(root), Err(Error::NoParticipant { .. })));
    drop(all);
}

fn segments(root: &Path) -> Vec<PathBuf> {
    let mut files = files_below(root);
    files.retain(|path| path.file_name().unwrap().to_string_lossy().starts_with("seg."));
    files
}

fn at_every_call(phase: Phase, fate: Fate) {
    let (root, beside) = (Root::new(), tempfile::tempdir().unwrap());
    let mut random = Random::printed();
    for around in ALL_AROUND {
        for publishes in [true, false] {
            let (root, beside) = (root.path(), beside.path());
            let round = Round { root, beside, around, phase, fate, publishes };
            for calls in 0.. {
                let instructions = random.below(2) * random.below(INSTRUCTIONS);
                eprintln!("{round:?}, {calls} calls and {instructions} instructions");
                match round.run(calls, instructions) {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => return skipped(&format!("ptrace isn't permitted: {error}")),
                }
            }
        }
    }
    root.assert_empty();
}

#[test]
fn a_process_may_be_killed_anywhere_while_it_joins() {
    at_every_call(Phase::Join, Fate::Killed);
}

#[test]
fn a_process_may_be_killed_anywhere_while_it_leaves() {
    at_every_call(Phase::Leave, Fate::Killed);
}

#[test]
fn a_process_may_be_stopped_anywhere_while_it_joins() {
    at_every_call(Phase::Join, Fate::Stopped);
}

#[test]
fn a_process_may_be_stopped_anywhere_while_it_leaves() {
    at_every_call(Phase::Leave, Fate::Stopped);
}
