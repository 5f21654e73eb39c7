// SPDX-License-Identifier: MIT OR Apache-2.0
//! Publishers and subscribers on several topics, clients and servers of a service, killed, stopped and started again without end: what
//! they receive is whole, in order and counted, or all of it where they are reliable, what they call for is right, nobody waits for anybody, and in the end nothing is left. `make storm SECONDS=600` for longer.
//!
//! What the parent does, to whom and after how long, comes from the seed alone; what the children are at then doesn't.

#[path = "../support/mod.rs"]
mod support;

mod calls;
mod children;
mod service;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use shm::{Publisher, RootOptions, Subscriber};
use support::child::Child;
use support::payload::Id;
use support::random::Random;
use support::shared::Shared;
use support::Root;

/// The first always has the monitor in it, the others go when their last user does.
const TOPICS: [&str; 3] = ["busy", "/brief/one", "/brief/two"];
const CAPACITY: u32 = 16;
/// Twice as many as are alive on a topic at a time: the dead must not be in the way of anybody.
const PARTICIPANTS: u32 = 24;
const PUBLISHERS: usize = 4;
const SUBSCRIBERS: usize = 4;
const CLIENTS: usize = 2;
const SERVERS: usize = 2;
const CHILDREN: usize = PUBLISHERS + SUBSCRIBERS + CLIENTS + SERVERS;
const SERVICE: &str = "calls";
const LARGEST: usize = 256 << 10;

/// The shared words: sums of all children.
mod words {
    pub const PUBLISHED: usize = 0;
    pub const RECEIVED: usize = 1;
    pub const LOST: usize = 2;
    pub const TORN: usize = 3;
    pub const DISORDERED: usize = 4;
    pub const STUCK: usize = 5;
    pub const JOINS: usize = 6;
    /// Messages for which there was no memory.
    pub const REFUSED: usize = 7;
    /// The longest call, in microseconds.
    pub const LONGEST: usize = 8;
    pub const MONITORED: usize = 9;
    /// Calls that were, and that weren't.
    pub const ANSWERED: usize = 10;
    pub const UNANSWERED: usize = 11;
    pub const SERVED: usize = 12;
    /// Messages that a reliable subscriber kept from being published.
    pub const GATED: usize = 13;
    /// Reliable subscribers, and what they lost: nothing.
    pub const RELIABLE: usize = 14;
    pub const UNREAD: usize = 15;
    /// By child: counts each stop twice, before it and before its end.
    pub const STOPS: usize = 16;
    /// By child: it is to leave.
    pub const LEAVE: usize = 32;
}

#[test]
#[ignore = "a child's part: the other test starts it"]
fn child() {
    support::child::run(&[
        ("publisher", children::publisher),
        ("subscriber", children::subscriber),
        ("monitor", children::monitor),
        ("client", service::client),
        ("server", service::server),
    ]);
}

enum Place {
    Running(Child),
    Stopped(Child),
    Empty,
}

#[derive(Default, Debug)]
struct Done {
    kills: u64,
    kills_of_stopped: u64,
    stops: u64,
    starts: u64,
}

struct Storm {
    root: Root,
    file: PathBuf,
    shared: Shared,
    places: Vec<Place>,
    random: Random,
    done: Done,
}

impl Storm {
    fn start(&mut self, place: usize) {
        let places = [("publisher", PUBLISHERS), ("subscriber", SUBSCRIBERS), ("client", CLIENTS)];
        let mut before = 0;
        let role = places.iter().find_map(|(role, count)| {
            before += count;
            (place < before).then_some(*role)
        });
        let role = role.unwrap_or("server");
        self.done.starts += 1;
        self.places[place] = Place::Running(self.child(role, place));
    }

    fn child(&mut self, role: &str, place: usize) -> Child {
        let seed = self.random.next() >> 1;
        Child::start(role, &[&self.root.text(), &self.file.to_str().unwrap(), &place, &seed])
    }

    fn kill(&mut self, place: usize) {
        match std::mem::replace(&mut self.places[place], Place::Empty) {
            Place::Running(child) => child.kill(),
            Place::Stopped(child) => {
                self.done.kills_of_stopped += 1;
                child.kill();
            }
            Place::Empty => return,
        }
        self.done.kills += 1;
    }

    fn stop(&mut self, place: usize) {
        if let Place::Running(child) = std::mem::replace(&mut self.places[place], Place::Empty) {
            self.shared.add(words::STOPS + place, 1);
            child.signal(libc::SIGSTOP);
            self.done.stops += 1;
            self.places[place] = Place::Stopped(child);
        }
    }

    fn go_on(&mut self, place: usize) {
        if let Place::Stopped(child) = std::mem::replace(&mut self.places[place], Place::Empty) {
            // Before it runs: a call that was stopped must see it.
            self.shared.add(words::STOPS + place, 1);
            child.signal(libc::SIGCONT);
            self.places[place] = Place::Running(child);
        }
    }

    /// One blow of the storm: the seed says which. What it does depends on the blows before it alone.
    fn blow(&mut self) {
        let (place, what) = (self.random.below(CHILDREN as u64) as usize, self.random.below(100));
        match (&self.places[place], what) {
            (_, 0) => (0..CHILDREN).for_each(|place| self.kill(place)),
            (Place::Empty, _) => self.start(place),
            (Place::Running(_), 1..60) => {
                self.kill(place);
                self.start(place);
            }
            (Place::Running(_), 60..70) => self.kill(place),
            (Place::Running(_), _) => self.stop(place),
            (Place::Stopped(_), 1..30) => self.kill(place),
            (Place::Stopped(_), _) => self.go_on(place),
        }
    }

    fn assert_alive(&mut self) {
        for (number, place) in self.places.iter_mut().enumerate() {
            if let Place::Running(child) | Place::Stopped(child) = place {
                assert!(child.is_alive(), "child {number} ended by itself");
            }
        }
    }

    /// All who are left leave, one after the other.
    fn calm(&mut self) {
        for place in 0..CHILDREN {
            self.go_on(place);
            self.shared.set(words::LEAVE + place, 1);
            if let Place::Running(child) = std::mem::replace(&mut self.places[place], Place::Empty) {
                child.finish();
            }
        }
    }
}

/// One who publishes and one who receives, to see what the others leave.
struct Witness {
    name: &'static str,
    publisher: Publisher,
    subscriber: Subscriber,
}

impl Witness {
    fn join(root: &Root, name: &'static str) -> Witness {
        Witness {
            name,
            publisher: children::publish_to(root.path(), name, 1 << 20),
            subscriber: children::subscribe_to(root.path(), name, 0, false),
        }
    }

    /// Overwrites all that others published, so that nobody needs it.
    fn fill(&self, sequence: &mut u64) {
        for _ in 0..CAPACITY {
            let id = Id { publisher: 0, sequence: *sequence };
            *sequence += 1;
            let mut loan = self.publisher.loan(id.len(1000)).unwrap();
            id.fill(&mut loan);
            loan.publish().unwrap();
        }
        while let Some(sample) = self.subscriber.try_receive().unwrap() {
            Id::of(&sample);
        }
    }
}

/// Looks for what the dead and the gone left. Returns how much of it there is.
fn look(root: &Root, witnesses: &[Witness], orphans_too: bool) -> u64 {
    let audit = shm::audit(&RootOptions { root: Some(root.path().into()), ..Default::default() }).unwrap();
    let mut leaked =
        audit.abandoned.len() + audit.foreign.len() + TOPICS.len().abs_diff(audit.topics.len() - 1);
    for topic in &audit.topics {
        let is_known = match topic.kind {
            shm::Kind::Service => topic.name == SERVICE,
            shm::Kind::Topic => witnesses.iter().any(|witness| witness.name == topic.name),
        };
        assert!(is_known, "{}", topic.name);
        let alive = topic.living.abs_diff(2) as usize;
        let orphans = if orphans_too { topic.orphans as usize } else { 0 };
        leaked += alive + topic.dead as usize + orphans + topic.findings.len();
    }
    if leaked > 0 {
        eprintln!("leaked: {audit:#?}");
    }
    leaked as u64
}

fn seconds() -> u64 {
    let given = std::env::var("SHM_STORM_SECONDS").ok().and_then(|text| text.parse().ok());
    given.unwrap_or(60 * support::factor())
}

#[test]
fn storm() {
    let beside = tempfile::tempdir().unwrap();
    let file = beside.path().join("shared");
    let mut storm = Storm {
        root: Root::new(),
        shared: Shared::open(&file),
        file,
        places: (0..CHILDREN).map(|_| Place::Empty).collect(),
        random: Random::printed(),
        done: Done::default(),
    };
    let mut monitor = storm.child("monitor", CHILDREN);
    (0..CHILDREN).for_each(|place| storm.start(place));
    let (start, wanted) = (Instant::now(), Duration::from_secs(seconds()));
    while start.elapsed() < wanted {
        std::thread::sleep(Duration::from_micros(storm.random.below(160_000)));
        storm.blow();
        storm.assert_alive();
        assert!(monitor.is_alive(), "the monitor ended by itself");
    }
    let (leaked, took) = (settle(&mut storm, monitor), start.elapsed());
    report(&storm, leaked, took);
}

/// All leave but for witnesses, who look at what is left, and then leave too.
fn settle(storm: &mut Storm, monitor: Child) -> u64 {
    let witnesses = TOPICS.map(|name| Witness::join(&storm.root, name));
    let caller = service::Witness::join(storm.root.path());
    storm.calm();
    storm.shared.set(words::LEAVE + CHILDREN, 1);
    monitor.finish();
    // Whoever joins frees the entries of the dead, and a publisher what they left.
    let come_and_go = || {
        TOPICS.iter().for_each(|name| drop(children::publish_to(storm.root.path(), name, 1 << 20)));
        drop(service::Witness::join(storm.root.path()));
    };
    come_and_go();
    let mut leaked = look(&storm.root, &witnesses, false);
    witnesses.iter().for_each(|witness| witness.fill(&mut 0));
    leaked += u64::from(!caller.is_whole());
    come_and_go();
    leaked += look(&storm.root, &witnesses, true);
    drop((witnesses, caller));
    let left = storm.root.files();
    if !left.is_empty() {
        eprintln!("left when all had left: {left:?}");
    }
    leaked + left.len() as u64
}

fn report(storm: &Storm, leaked: u64, took: Duration) {
    let get = |word| storm.shared.get(word);
    let Done { kills, kills_of_stopped, stops, starts } = storm.done;
    eprintln!(
        "storm: {} s, {kills} kills ({kills_of_stopped} of stopped ones), {stops} stops, {starts} starts, {} joins",
        took.as_secs(),
        get(words::JOINS)
    );
    eprintln!(
        "storm: {} messages published, {} refused for memory, {} at a gate, {} received, {} lost, {} rounds of the monitor",
        get(words::PUBLISHED),
        get(words::REFUSED),
        get(words::GATED),
        get(words::RECEIVED),
        get(words::LOST),
        get(words::MONITORED)
    );
    eprintln!(
        "storm: {} calls answered, {} not, {} requests served",
        get(words::ANSWERED),
        get(words::UNANSWERED),
        get(words::SERVED)
    );
    let (torn, disordered, stuck) = (get(words::TORN), get(words::DISORDERED), get(words::STUCK));
    eprintln!(
        "storm: {torn} torn, {disordered} out of order, {} lost to {} reliable subscribers, {stuck} stuck (longest call {} us), {leaked} leaked",
        get(words::UNREAD),
        get(words::RELIABLE),
        get(words::LONGEST)
    );
    assert_eq!((torn, disordered, get(words::UNREAD), stuck, leaked), (0, 0, 0, 0, 0));
    assert!(get(words::RECEIVED) > 0 && get(words::MONITORED) > 0 && kills > 0);
    assert!(get(words::ANSWERED) > 0 && get(words::RELIABLE) > 0);
}

/// What a child is given.
fn options(root: &Path) -> (shm::PublisherOptions, shm::SubscriberOptions) {
    let publishing = shm::PublisherOptions {
        capacity: CAPACITY,
        participants: PARTICIPANTS,
        holds: 4,
        ..support::publishing(root)
    };
    let subscribing = shm::SubscriberOptions {
        capacity: CAPACITY,
        participants: PARTICIPANTS,
        holds: 4,
        ..support::subscribing(root)
    };
    (publishing, subscribing)
}
