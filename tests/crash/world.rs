// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who is there beside a victim, and what must hold when it is dead.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use shm::{Publisher, RootOptions, Subscriber};

use crate::calls;
use crate::operations::{self, all, Around, Operation, CAPACITY, DEATHS, SMALL};
use crate::service::Pair;
use crate::support::child::Child;
use crate::support::delay::Delay;
use crate::support::payload::Id;
use crate::support::shared::Shared;
use crate::support::trace::Traced;
use crate::support::Root;

/// No survivor is kept from anything for longer, whatever happens to others.
const LONGEST: Duration = Duration::from_millis(100);
/// Publishers' numbers: a victim has a smaller one.
pub const OWN: u64 = 1000;
pub const NEWCOMER: u64 = 1001;

/// How many there is room for beside us.
const OTHERS: usize = operations::PARTICIPANTS as usize - 2;

/// What became of a victim.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    Killed,
    /// It did all that it should, since it had fewer points than that; then it was killed, too.
    Done,
}

/// A root, and who lives and died in it.
pub struct World {
    pub root: Root,
    pub around: Around,
    own: Option<Own>,
    /// The same for a service.
    pub pair: Option<Pair>,
    pub sleeper: Option<Child>,
    victims: Cell<u64>,
}

impl World {
    pub fn new(around: Around) -> World {
        let root = Root::new();
        let (own, pair, sleeper) = (None, None, None);
        let mut world = World { root, around, own, pair, sleeper, victims: Cell::new(0) };
        use Around::{Abandoned, Deserted, Emptied, NoService, Nobody, Removing, SleepingServer};
        if around.is_of_a_service() {
            world.pair = (around != NoService).then(|| {
                let queued = if around == SleepingServer { 0 } else { 2 };
                Pair::busy(&world.root, OWN, queued)
            });
        } else if !matches!(around, Nobody | Deserted | Abandoned | Removing | Emptied) {
            let mut own = Own::join(&world.root, OWN);
            own.go_on(CAPACITY + 2);
            world.own = Some(own);
        }
        world.surround();
        world
    }

    fn surround(&mut self) {
        match self.around {
            Around::Nobody | Around::Others | Around::TheDying | Around::TheReliableDying => {}
            Around::Deserted => self.die(&[&DEATHS[0]]),
            Around::Abandoned => self.die_before("make a topic, to publish", "src/topic/create.rs", 0),
            // All is deleted but `peers`, and the directory.
            Around::Removing => self.die_before("leave last, as a publisher", "src/topic/remove.rs", 1),
            Around::Emptied => self.die_before("leave last, as a publisher", "src/topic/remove.rs", 0),
            Around::Growing => self.die_before("grow", "src/pool/mod.rs", 0),
            Around::TheDead => self.die(&[&DEATHS[0], &DEATHS[1]]),
            Around::TheForgotten => {
                self.die(&[&DEATHS[0], &DEATHS[1]]);
                self.own.as_mut().unwrap().go_on(CAPACITY + 1);
            }
            Around::Orphans => {
                self.die(&[&DEATHS[0]]);
                drop(operations::subscriber(self.root.path()).unwrap());
            }
            Around::PinnedOrphans => {
                self.die(&[&DEATHS[3]]);
                drop(operations::subscriber(self.root.path()).unwrap());
            }
            Around::HintBehind => self.die_before("publish", "src/ring/mod.rs", 0),
            Around::Sleeper => self.sleeper = Some(self.asleep("operations::sleeper")),
            Around::Crowd => self.die(&[&DEATHS[1]; OTHERS]),
            Around::CrowdOfPublishers => self.die(&[&DEATHS[0]; OTHERS]),
            Around::NoService | Around::Service => {}
            Around::TheDeadOfAService => self.die(&[&calls::DEATHS[0]]),
            Around::SleepingServer => self.sleeper = Some(self.asleep("calls::sleeping_server")),
            Around::SleepingClient => self.sleeper = Some(self.asleep("calls::sleeping_client")),
        }
    }

    /// One who sleeps, and is stopped so that it doesn't wake up by itself; its waiter bit stays.
    fn asleep(&self, role: &str) -> Child {
        let mut sleeper = Child::start(role, &[&self.root.text()]);
        let thread = sleeper.hear_number();
        sleeper.stop_asleep(thread);
        sleeper
    }

    fn start(&self, operation: &Operation, at: &str) -> (Child, i32) {
        let id = self.victims.replace(self.victims.get() + 1);
        let arguments: [&dyn ToString; 4] = [&self.root.text(), &operation.name, &at, &id];
        let mut child = Child::start("operations::victim", &arguments);
        let thread = child.hear_number() as i32;
        child.expect("prepared");
        (child, thread)
    }

    /// All of them come, and then all die.
    fn die(&self, deaths: &[&Operation]) {
        let dying: Vec<_> = deaths.iter().map(|death| self.start(death, "")).collect();
        dying.into_iter().for_each(|(child, _)| child.kill());
    }

    /// A victim dies in `operation` at the `before_last`th last point that is in `file`.
    fn die_before(&self, operation: &str, file: &str, before_last: usize) {
        static RECORDED: OnceLock<std::sync::Mutex<BTreeMap<String, Vec<String>>>> = OnceLock::new();
        let operation = all().into_iter().find(|other| other.name == operation).unwrap();
        let mut recorded = RECORDED.get_or_init(Default::default).lock().unwrap();
        let points = recorded.entry(operation.name.to_owned()).or_insert_with(|| {
            let world = World::new(operation.around);
            world.record(operation)
        });
        let is_there = |&(_, point): &(usize, &String)| point.contains(file);
        let (at, _) = points.iter().enumerate().rev().filter(is_there).nth(before_last).unwrap();
        drop(recorded);
        assert_eq!(self.run(operation, at), Ending::Killed);
    }

    /// Runs `operation` in a victim that is killed at its `at`th point.
    pub fn run(&self, operation: &Operation, at: usize) -> Ending {
        match self.act(operation, &at.to_string()) {
            None => Ending::Killed,
            Some(_) => Ending::Done,
        }
    }

    /// Runs `operation` in a victim that is killed when it is done; returns the points that it came by.
    pub fn record(&self, operation: &Operation) -> Vec<String> {
        let points = self.act(operation, "").expect("it ended by itself");
        points.split_whitespace().map(str::to_owned).collect()
    }

    fn act(&self, operation: &Operation, at: &str) -> Option<String> {
        let (mut victim, _) = self.start(operation, at);
        match self.around {
            Around::TheDying => self.die(&[&DEATHS[0], &DEATHS[1]]),
            Around::TheReliableDying => self.die(&[&DEATHS[2]]),
            _ => {}
        }
        victim.say("act");
        let points = victim.try_hear();
        if points.is_some() {
            victim.expect("done");
        }
        victim.kill();
        points
    }

    /// Runs `operation` in a victim that is killed `instructions` behind its `calls`th system call; returns how many calls it did.
    pub fn step(&self, operation: &Operation, calls: u64, instructions: u64) -> std::io::Result<u64> {
        let beside = tempfile::NamedTempFile::new().unwrap();
        let shared = Shared::open(beside.path());
        let (mut victim, thread) = self.start(operation, beside.path().to_str().unwrap());
        let mut traced = Traced::attach(victim.pid(), thread)?;
        victim.say("act");
        while shared.get(operations::BEGUN) == 0 {
            assert!(traced.run_to_call(), "it ended by itself");
        }
        // The end of the call that it told by.
        assert!(traced.run_to_call());
        let is_at_work = || shared.get(operations::DONE) == 0;
        let mut done = 0;
        while done < calls && is_at_work() {
            // Into the call, and out of it.
            assert!(traced.run_to_call() && (!is_at_work() || traced.run_to_call()), "it ended by itself");
            done += u64::from(is_at_work());
        }
        for _ in 0..instructions {
            assert!(!is_at_work() || traced.step(), "it ended by itself");
        }
        victim.signal(libc::SIGKILL);
        traced.gone();
        victim.kill();
        Ok(done)
    }

    /// Everybody who is left goes on, newcomers come, nothing is amiss or left over. Returns the longest that one of them
    /// was kept from something.
    pub fn check(mut self) -> Duration {
        if self.around.is_of_a_service() {
            return self.check_calls();
        }
        let mut own = self.own.take().unwrap_or_else(|| Own::join(&self.root, OWN));
        own.go_on(2 * CAPACITY);
        let mut newcomer = Own::join(&self.root, NEWCOMER);
        newcomer.go_on(2);
        own.go_on(CAPACITY + 1);
        if let Some(mut sleeper) = self.sleeper.take() {
            sleeper.signal(libc::SIGCONT);
            let last = format!("{OWN} {}", own.sequence - 1);
            while sleeper.hear() != last {}
            sleeper.kill();
        }
        let slowest = own.slowest.max(newcomer.slowest);
        drop(newcomer);
        // In the ring there is nothing but our own: who comes now can take away all that the dead left.
        drop(operations::publisher(self.root.path(), 0).unwrap());
        self.audit(&own);
        drop(own);
        self.root.assert_empty();
        slowest
    }

    fn audit(&self, own: &Own) {
        let audit =
            shm::audit(&RootOptions { root: Some(self.root.path().into()), ..Default::default() }).unwrap();
        assert!(audit.abandoned.is_empty() && audit.foreign.is_empty(), "{audit:?}");
        let [topic] = &audit.topics[..] else { panic!("{audit:?}") };
        assert!(topic.findings.is_empty(), "{:?}", topic.findings);
        assert_eq!((topic.living, topic.dead, topic.orphans), (2, 0, 0), "{topic:?}");
        let memory = own.publisher.memory().unwrap();
        assert_eq!(memory.free + memory.in_topic, memory.chunks, "{memory:?}");
    }
}

/// A publisher and a subscriber of this process, who check all that they see.
struct Own {
    publisher: Publisher,
    subscriber: Subscriber,
    id: u64,
    sequence: u64,
    /// The last message of each publisher.
    last: BTreeMap<u64, u64>,
    position: u64,
    lost: u64,
    slowest: Duration,
}

impl Own {
    fn join(root: &Root, id: u64) -> Own {
        let mut slowest = Duration::ZERO;
        let publisher = timed(&mut slowest, || operations::publisher(root.path(), 0)).unwrap();
        let subscriber = timed(&mut slowest, || operations::subscriber(root.path())).unwrap();
        Own { publisher, subscriber, id, sequence: 0, last: BTreeMap::new(), position: 0, lost: 0, slowest }
    }

    /// Publishes `count` messages, each of which arrives at once.
    fn go_on(&mut self, count: u32) {
        for _ in 0..count {
            let id = Id { publisher: self.id, sequence: self.sequence };
            self.sequence += 1;
            timed(&mut self.slowest, || {
                let mut loan = self.publisher.loan(SMALL).unwrap();
                id.fill(&mut loan);
                loan.publish().unwrap();
            });
            while self.receive() != id {}
        }
    }

    fn receive(&mut self) -> Id {
        let sample = timed(&mut self.slowest, || self.subscriber.try_receive()).unwrap().expect("a message");
        let id = Id::of(&sample);
        let (position, lost) = (sample.position(), self.subscriber.lost());
        if self.position > 0 {
            assert_eq!(
                position - self.position - 1,
                lost - self.lost,
                "lost and not counted, or out of order"
            );
        }
        (self.position, self.lost) = (position, lost);
        if let Some(last) = self.last.insert(id.publisher, id.sequence) {
            assert!(id.sequence > last, "{id:?} came after {last}");
        }
        id
    }
}

/// Does `work`, and notes how long it took if that was longer than anything before.
pub fn timed<T>(slowest: &mut Duration, work: impl FnOnce() -> T) -> T {
    let delay = Delay::start();
    let result = work();
    let took = delay.elapsed();
    assert!(took < LONGEST, "a survivor was kept from its work for {took:?}");
    *slowest = took.max(*slowest);
    result
}
