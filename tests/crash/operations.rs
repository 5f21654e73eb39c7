// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a victim does, operation by operation, and in whose company.

use std::path::PathBuf;
use std::time::Duration;

use shm::{Loan, Publisher, PublisherOptions, RootOptions, Sample, Subscriber, SubscriberOptions};

use crate::calls::{self, Calling, Serving};
use crate::support::child::{this_thread, Parent};
use crate::support::payload::Id;
use crate::support::shared::Shared;
use crate::support::{publishing, subscribing};

pub const TOPIC: &str = "t";
pub const CAPACITY: u32 = 4;
pub const PARTICIPANTS: u32 = 6;
pub const HOLDS: u32 = 2;
/// Lengths of messages: of two classes, and the second takes so much that a small budget has room for three.
pub const SMALL: usize = 100;
pub const LARGE: usize = 3000;
/// A budget for three large messages, fewer than the ring has slots.
pub const SCARCE: u64 = 10_000;

/// Who is there when a victim comes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Around {
    Nobody,
    /// A topic all of whose users were killed.
    Deserted,
    /// A directory that a maker was killed in before it was in place.
    Abandoned,
    /// A topic that somebody was killed in while removing it.
    Removing,
    /// The same, but only its empty directory is left.
    Emptied,
    /// A publisher and a subscriber that live.
    Others,
    /// The same, and a dead publisher with messages in the ring and a dead subscriber with samples.
    TheDead,
    /// The same, but none of the dead publisher's messages is in the ring any more.
    TheForgotten,
    /// The others, and segments whose publisher is dead and recovered; its messages are in the ring.
    Orphans,
    /// The same, but a device may be writing to them.
    PinnedOrphans,
    /// The others, and a publisher that was killed while it made a segment.
    Growing,
    /// The others, and while the victim is there, a publisher and a subscriber come and die.
    TheDying,
    /// The others, and while the victim is there, a reliable subscriber comes and dies.
    TheReliableDying,
    /// The others, and a publisher that was killed between its slot and the hint.
    HintBehind,
    /// The others, and a subscriber that sleeps.
    Sleeper,
    /// The others, and as many more subscribers as there is room for, all dead.
    Crowd,
    /// The same, but publishers.
    CrowdOfPublishers,
    /// Nobody, where a service is to be.
    NoService,
    /// A client and a server of a service that live: one of its calls is in the server's hands, two are queued.
    Service,
    /// The same, and a dead client and server with calls in every state, theirs and the living's.
    TheDeadOfAService,
    /// The others, and a server that sleeps.
    SleepingServer,
    /// The others, and a client that sleeps for a reply.
    SleepingClient,
}

impl Around {
    pub fn is_of_a_service(self) -> bool {
        use Around::{NoService, Service, SleepingClient, SleepingServer, TheDeadOfAService};
        matches!(self, NoService | Service | TheDeadOfAService | SleepingServer | SleepingClient)
    }
}

/// Something that a victim does.
pub struct Operation {
    pub name: &'static str,
    pub around: Around,
    /// What it did before.
    prepare: fn(&mut Victim),
    act: fn(&mut Victim),
}

impl Ord for Operation {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.name.cmp(other.name)
    }
}

impl PartialOrd for Operation {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Operation {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Operation {}

impl std::fmt::Debug for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// A victim's handles.
pub struct Victim {
    pub root: PathBuf,
    publisher: Option<Publisher>,
    subscriber: Option<Subscriber>,
    samples: Vec<Sample<'static>>,
    pub calling: Option<Calling>,
    pub serving: Option<Serving>,
    /// Its next message.
    pub next: Id,
}

impl Victim {
    fn new(root: PathBuf, publisher: u64) -> Victim {
        let next = Id { publisher, sequence: 0 };
        let (publisher, subscriber, samples) = (None, None, Vec::new());
        Victim { root, publisher, subscriber, samples, calling: None, serving: None, next }
    }

    fn publisher(&mut self) {
        self.publisher = Some(publisher(&self.root, 0).unwrap());
    }

    fn scarce_publisher(&mut self) {
        self.publisher = Some(publisher(&self.root, SCARCE).unwrap());
    }

    fn subscriber(&mut self) {
        self.subscriber = Some(subscriber(&self.root).unwrap());
    }

    fn reliable(&mut self) {
        let (capacity, participants, holds) = (CAPACITY, PARTICIPANTS, HOLDS);
        let options =
            SubscriberOptions { capacity, participants, holds, reliable: true, ..subscribing(&self.root) };
        self.subscriber = Some(Subscriber::with_options(TOPIC, &options).unwrap());
    }

    fn loan(&self, len: usize) -> Loan<'_> {
        self.publisher.as_ref().unwrap().loan(len).unwrap()
    }

    fn publish(&mut self, len: usize) {
        let mut loan = self.loan(len);
        self.next.fill(&mut loan);
        loan.publish().unwrap();
        self.next.sequence += 1;
    }

    /// Publishes with a copier that a device might be behind.
    fn publish_pinned(&mut self) {
        let (counting, _) = crate::copier::Counting::new(true);
        let copier = shm::copier::SharedCopier::new(counting).unwrap();
        let mut message = vec![0; LARGE];
        self.next.fill(&mut message);
        // As it is in the copier's memory.
        message.iter_mut().for_each(|byte| *byte = !*byte);
        // SAFETY: as many bytes.
        unsafe { self.publisher.as_ref().unwrap().publish_from(&copier, message.as_ptr(), LARGE) }.unwrap();
        self.next.sequence += 1;
    }

    /// Waits at the gate in vain: long enough to sleep in any case, and not so long that it would sleep twice.
    fn publish_in_vain(&mut self) {
        let refused = self.loan(SMALL).publish_timeout(Duration::from_millis(9)).unwrap();
        assert!(refused.is_err(), "there was room");
    }

    /// Receives one message and keeps it.
    fn receive(&mut self) {
        let sample = self.subscriber.as_ref().unwrap().try_receive().unwrap().expect("a message");
        Id::of(&sample);
        self.samples.push(sample.keep());
    }

    pub fn gc(&self) {
        shm::gc(&RootOptions { root: Some(self.root.clone()), ..Default::default() }).unwrap();
    }
}

pub fn publisher(root: &std::path::Path, memory: u64) -> shm::Result<Publisher> {
    let (capacity, participants, holds) = (CAPACITY, PARTICIPANTS, HOLDS);
    let options = PublisherOptions { capacity, participants, holds, memory, ..publishing(root) };
    Publisher::with_options(TOPIC, &options)
}

/// With everything that the topic has.
pub fn subscriber(root: &std::path::Path) -> shm::Result<Subscriber> {
    let (capacity, participants, holds) = (CAPACITY, PARTICIPANTS, HOLDS);
    let options = SubscriberOptions { capacity, participants, holds, history: u32::MAX, ..subscribing(root) };
    Subscriber::with_options(TOPIC, &options)
}

pub const fn operation(
    name: &'static str,
    around: Around,
    prepare: fn(&mut Victim),
    act: fn(&mut Victim),
) -> Operation {
    Operation { name, around, prepare, act }
}

pub const NOTHING: fn(&mut Victim) = |_| ();

/// The one that takes long.
pub const SLOW: &str = "sleep until the dead are looked for";
/// Those that wait for a time, and so sleep once, or more often, or on a busy machine not at all; and those that look for the dead only when the
/// last look is some time ago.
pub const TIMED: [&str; 7] = [
    SLOW,
    "receive nothing and sleep",
    "take nothing and sleep",
    "wait for a reply, and sleep",
    "wait for a reply, as a task",
    "send where the queue is full",
    "take a request where others wait for room",
];

/// With topics.
const MESSAGES: &[Operation] = &[
    // Coming.
    operation("make a topic, to publish", Around::Nobody, NOTHING, Victim::publisher),
    operation("make a topic, to subscribe", Around::Nobody, NOTHING, Victim::subscriber),
    operation("make a topic beside an abandoned one", Around::Abandoned, NOTHING, Victim::publisher),
    operation("make a topic in place of a deserted one", Around::Deserted, NOTHING, Victim::subscriber),
    operation("make a topic in place of one half removed", Around::Removing, NOTHING, Victim::publisher),
    operation("join to publish", Around::Others, NOTHING, Victim::publisher),
    operation("join to subscribe", Around::Others, NOTHING, Victim::subscriber),
    operation("make a topic, to subscribe reliably", Around::Nobody, NOTHING, Victim::reliable),
    operation("join to subscribe reliably", Around::Others, NOTHING, Victim::reliable),
    operation("join to publish and recover the dead", Around::TheDead, NOTHING, Victim::publisher),
    operation("join to subscribe and recover the dead", Around::TheDead, NOTHING, Victim::subscriber),
    operation(
        "join to publish and destroy what nobody needs",
        Around::TheForgotten,
        NOTHING,
        Victim::publisher,
    ),
    operation("join to subscribe and recover one who grew", Around::Growing, NOTHING, Victim::subscriber),
    operation("join in the place of the dead", Around::Crowd, NOTHING, Victim::subscriber),
    operation("join where the dead can't be recovered", Around::CrowdOfPublishers, NOTHING, |v| {
        // Room to map the topic's files, but not once more to recover.
        limit_memory(64 << 10);
        subscriber(&v.root).map(drop).unwrap_err();
    }),
    // Loaning.
    operation("grow", Around::Others, Victim::publisher, |v| drop(v.loan(SMALL))),
    operation("grow by another size", Around::Others, published, |v| drop(v.loan(LARGE))),
    operation("grow where no file can", Around::Others, without_files, |v| {
        v.publisher.as_ref().unwrap().loan(LARGE).unwrap_err();
    }),
    operation("grow where nothing can be mapped", Around::Others, Victim::publisher, |v| {
        limit_memory(256 << 10);
        v.publisher.as_ref().unwrap().loan(1 << 20).unwrap_err();
    }),
    operation("adopt an orphan", Around::Orphans, Victim::publisher, |v| {
        // All of its chunks that the ring doesn't have, and more: the others' messages must stay as they are.
        let mut loans: Vec<_> = (0..6).map(|_| v.loan(LARGE)).collect();
        loans.iter_mut().for_each(|loan| loan.fill(0xee));
    }),
    operation("adopt no orphan that a device may write to", Around::PinnedOrphans, Victim::publisher, |v| {
        drop(v.loan(LARGE))
    }),
    operation("adopt no orphan of another size", Around::Orphans, Victim::publisher, |v| {
        drop(v.loan(20_000))
    }),
    operation("evict", Around::Others, full, |v| drop(v.loan(LARGE))),
    operation("make room among free chunks", Around::Others, free_but_small, |v| drop(v.loan(LARGE))),
    operation("recover those who hold what is needed", Around::TheDying, all_loaned, |v| {
        v.publisher.as_ref().unwrap().loan(LARGE).unwrap_err();
    }),
    // Publishing.
    operation("publish", Around::Others, published, |v| v.publish(SMALL)),
    operation("publish all around the ring", Around::Others, published, |v| {
        (0..=CAPACITY).for_each(|_| v.publish(SMALL));
    }),
    operation("publish where the hint is behind", Around::HintBehind, Victim::publisher, |v| {
        v.publish(SMALL)
    }),
    operation("publish to one who sleeps", Around::Sleeper, loaned_once, |v| v.publish(SMALL)),
    operation("publish what a device copies", Around::Others, published, Victim::publish_pinned),
    operation("wait for a reliable subscriber", Around::Others, unread, Victim::publish_in_vain),
    operation("wait for one who is dead", Around::TheReliableDying, published, |v| {
        (0..=CAPACITY).for_each(|_| v.publish(SMALL));
    }),
    // Receiving.
    operation("receive", Around::Others, Victim::subscriber, Victim::receive),
    operation("receive after a lap", Around::Others, lapped, Victim::receive),
    operation("receive nothing and sleep", Around::Others, read_all, |v| {
        let wait = Duration::from_millis(1);
        assert!(v.subscriber.as_ref().unwrap().receive_timeout(wait).unwrap().is_none());
    }),
    operation(SLOW, Around::TheDying, Victim::subscriber, |v| {
        let wait = Duration::from_millis(1100);
        while v.subscriber.as_ref().unwrap().receive_timeout(wait).unwrap().is_some() {}
    }),
    operation("receive what can't be mapped", Around::Others, Victim::subscriber, |v| {
        limit(libc::RLIMIT_NOFILE, 0);
        v.subscriber.as_ref().unwrap().try_receive().unwrap_err();
    }),
    operation("receive what publishers wait for", Around::Others, waited_for, Victim::receive),
    operation("release", Around::Others, holding, |v| v.samples.clear()),
    // Leaving.
    operation("leave, with messages in the ring", Around::Others, published, |v| v.publisher = None),
    operation("leave, with nothing in the ring", Around::Others, loaned_once, |v| v.publisher = None),
    operation("leave as a subscriber", Around::Others, Victim::subscriber, |v| v.subscriber = None),
    operation("leave as one whom publishers wait for", Around::Others, waited_for, |v| v.subscriber = None),
    operation("leave, and the last sample after it", Around::Others, holding, |v| {
        v.subscriber = None;
        v.samples.clear();
    }),
    operation("leave last, as a publisher", Around::Nobody, published, |v| v.publisher = None),
    operation("leave last, as a subscriber", Around::Nobody, Victim::subscriber, |v| v.subscriber = None),
    // Clearing up.
    operation("gc of a deserted topic", Around::Deserted, NOTHING, |v| v.gc()),
    operation("gc of one half removed", Around::Removing, NOTHING, |v| v.gc()),
    operation("gc of one all but removed", Around::Emptied, NOTHING, |v| v.gc()),
    operation("gc of an abandoned one", Around::Abandoned, NOTHING, |v| v.gc()),
    operation("gc among the living", Around::TheDead, NOTHING, |v| v.gc()),
];

/// All that is killed.
pub fn all() -> Vec<&'static Operation> {
    MESSAGES.iter().chain(calls::ALL).collect()
}

/// The ways in which somebody comes by one who died where `around` is.
pub fn recoveries(around: Around) -> &'static [Operation] {
    if around.is_of_a_service() {
        calls::RECOVERIES
    } else {
        RECOVERIES
    }
}

/// Ways of coming by a dead one.
const RECOVERIES: &[Operation] = &[
    operation("recovered by one who joins to publish", Around::Nobody, NOTHING, |v| {
        v.publisher();
        drop(v.loan(LARGE));
    }),
    operation("recovered by one who joins to subscribe", Around::Nobody, NOTHING, Victim::subscriber),
    operation("recovered by gc", Around::Nobody, NOTHING, |v| v.gc()),
];

/// Not killed themselves, but what those die of who are there already.
pub const DEATHS: &[Operation] = &[
    operation("die as a publisher", Around::Nobody, published_large, NOTHING),
    operation("die as a subscriber", Around::Nobody, holding, NOTHING),
    operation("die as a reliable subscriber", Around::Nobody, Victim::reliable, NOTHING),
    operation("die as one who copies from a device", Around::Nobody, published_pinned, NOTHING),
];

fn published(victim: &mut Victim) {
    victim.publisher();
    victim.publish(SMALL);
}

fn published_large(victim: &mut Victim) {
    victim.publisher();
    victim.publish(SMALL);
    victim.publish(LARGE);
}

fn published_pinned(victim: &mut Victim) {
    published(victim);
    victim.publish_pinned();
}

/// Its whole budget is in the ring.
fn full(victim: &mut Victim) {
    victim.scarce_publisher();
    (0..3).for_each(|_| victim.publish(LARGE));
}

/// Its whole budget is free, in small chunks.
fn free_but_small(victim: &mut Victim) {
    victim.scarce_publisher();
    let publisher = victim.publisher.as_ref().unwrap();
    let mut loans = Vec::new();
    while publisher.memory().unwrap().used + 3 * LARGE as u64 <= SCARCE {
        loans.push(publisher.loan(SMALL).unwrap());
    }
}

/// Its whole budget is lent.
fn all_loaned(victim: &mut Victim) {
    victim.scarce_publisher();
    (0..3).for_each(|_| std::mem::forget(victim.loan(LARGE)));
}

fn loaned_once(victim: &mut Victim) {
    victim.publisher();
    drop(victim.loan(SMALL));
}

/// Files can't grow, and whoever tries isn't killed for it.
fn without_files(victim: &mut Victim) {
    victim.publisher();
    // SAFETY: sets what a signal does.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    limit(libc::RLIMIT_FSIZE, 1024);
}

/// Lets this process map `more` bytes and no more.
fn limit_memory(more: u64) {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = status.split(' ').next().unwrap().parse().unwrap();
    limit(libc::RLIMIT_AS, pages * 4096 + more);
}

fn limit(what: libc::__rlimit_resource_t, value: u64) {
    let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
    // SAFETY: reads a local.
    assert_eq!(unsafe { libc::setrlimit(what, &limit) }, 0);
}

fn holding(victim: &mut Victim) {
    victim.subscriber();
    victim.receive();
    victim.receive();
}

/// The ring is full of what it has yet to read.
fn unread(victim: &mut Victim) {
    victim.reliable();
    victim.publisher();
    (0..CAPACITY).for_each(|_| victim.publish(SMALL));
}

/// The same, and it has to wake who waits for that.
fn waited_for(victim: &mut Victim) {
    unread(victim);
    victim.publish_in_vain();
}

fn lapped(victim: &mut Victim) {
    victim.subscriber();
    victim.publisher();
    (0..2 * CAPACITY).for_each(|_| victim.publish(SMALL));
}

fn read_all(victim: &mut Victim) {
    victim.subscriber();
    while victim.subscriber.as_ref().unwrap().try_receive().unwrap().is_some() {}
}

/// Prepares, arms its points as told, acts, and waits to be killed.
pub fn victim(mut parent: Parent) {
    let (root, name, at) = (PathBuf::from(parent.text()), parent.text(), parent.text());
    let mut victim = Victim::new(root, parent.number());
    let tables = [MESSAGES, RECOVERIES, DEATHS, calls::ALL, calls::RECOVERIES, calls::DEATHS];
    let operation = tables.into_iter().flatten().find(|operation| operation.name == name).unwrap();
    (operation.prepare)(&mut victim);
    parent.say(this_thread());
    parent.say_and_wait("prepared");
    match at.parse() {
        Ok(at) => shm::crash::kill_at(at),
        Err(_) if at.is_empty() => shm::crash::record(),
        Err(_) => return stepped(operation, &mut victim, std::path::Path::new(&at)),
    }
    (operation.act)(&mut victim);
    parent.say(shm::crash::recorded().join(" "));
    // What it has it takes to its grave.
    parent.say_and_wait("done");
}

/// The words by which a victim whose single instructions are counted tells where it is.
pub const BEGUN: usize = 0;
pub const DONE: usize = 1;

/// Acts between two words in the file `shared`, and waits to be killed.
fn stepped(operation: &Operation, victim: &mut Victim, shared: &std::path::Path) {
    let shared = Shared::open(shared);
    shared.set(BEGUN, 1);
    // SAFETY: a plain system call, at which the parent stops this process.
    unsafe { libc::getppid() };
    (operation.act)(victim);
    shared.set(DONE, 1);
    loop {
        // SAFETY: a plain system call.
        unsafe { libc::pause() };
    }
}

/// Sleeps for each message, and tells what came.
pub fn sleeper(mut parent: Parent) {
    let subscriber = subscriber(std::path::Path::new(&parent.text())).unwrap();
    while subscriber.try_receive().unwrap().is_some() {}
    parent.say(this_thread());
    loop {
        let id = Id::of(&subscriber.receive().unwrap());
        parent.say(format!("{} {}", id.publisher, id.sequence));
    }
}
