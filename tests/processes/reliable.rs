// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reliable subscribers: they lose nothing, whatever happens to them, and keep publishers waiting only while they live.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use shm::{Error, Publisher, PublisherOptions, Subscriber, SubscriberOptions};

use crate::support::child::{this_thread, Child, Parent};
use crate::support::delay::Delay;
use crate::support::payload::{Id, HEAD};
use crate::support::random::Random;
use crate::support::shared::{dawdle, Shared};
use crate::support::{publishing, rounds, subscribing, Root};

const TOPIC: &str = "t";
const CAPACITY: u32 = 4;
/// Nobody waits for the dead, or for those who leave, any longer.
const LONGEST: Duration = Duration::from_millis(100);
const A_MOMENT: Duration = Duration::from_millis(20);

fn publisher(root: &Path) -> Publisher {
    let options = PublisherOptions { capacity: CAPACITY, ..publishing(root) };
    Publisher::with_options(TOPIC, &options).unwrap()
}

fn subscriber(root: &Path, reliable: bool) -> Subscriber {
    let options = SubscriberOptions { capacity: CAPACITY, reliable, ..subscribing(root) };
    Subscriber::with_options(TOPIC, &options).unwrap()
}

fn publish(publisher: &Publisher, id: Id) {
    let mut loan = publisher.loan(HEAD).unwrap();
    id.fill(&mut loan);
    loan.publish().unwrap();
}

/// Publishes until the gate is shut; returns how many those were.
fn fill(publisher: &Publisher) -> u64 {
    let mut sequence = 0;
    loop {
        let mut loan = publisher.loan(HEAD).unwrap();
        Id { publisher: 0, sequence }.fill(&mut loan);
        if loan.try_publish().unwrap().is_err() {
            return sequence;
        }
        sequence += 1;
    }
}

/// Publishes a number of messages, at full speed.
pub fn publishes(mut parent: Parent) {
    let (root, id, count) = (PathBuf::from(parent.text()), parent.number(), parent.number());
    let publisher = publisher(&root);
    parent.say_and_wait("ready");
    (0..count).for_each(|sequence| self::publish(&publisher, Id { publisher: id, sequence }));
}

/// Reads a number of messages one by one, with some turns between them, and says how many of them it lost.
pub fn reads(mut parent: Parent) {
    let root = PathBuf::from(parent.text());
    let (reliable, total, slowness) = (parent.number() == 1, parent.number(), parent.number());
    let subscriber = subscriber(&root, reliable);
    parent.say_and_wait("ready");
    let mut random = Random::new(total);
    let mut next = [0; 8];
    let mut last = None;
    let mut received = 0;
    while received + subscriber.lost() < total {
        let sample = subscriber.receive().unwrap();
        received += 1;
        let id = Id::of(&sample);
        let expected = std::mem::replace(&mut next[id.publisher as usize], id.sequence + 1);
        assert!(id.sequence >= expected, "{id:?} came after {expected}");
        if reliable {
            assert_eq!(id.sequence, expected, "of publisher {}", id.publisher);
            let before = last.replace(sample.position());
            assert!(before.is_none_or(|before| before + 1 == sample.position()));
        }
        drop(sample);
        dawdle(random.below(slowness + 1));
    }
    parent.say(subscriber.lost());
}

#[test]
fn a_slow_reliable_subscriber_loses_nothing() {
    const PUBLISHERS: u64 = 3;
    const COUNT: u64 = 1500;
    let root = Root::new();
    let reader = |reliable: u64, slowness: u64| {
        let mut child =
            Child::start("reliable::reads", &[&root.text(), &reliable, &(PUBLISHERS * COUNT), &slowness]);
        child.expect("ready");
        child
    };
    // The one that isn't reliable stands still meanwhile.
    let (mut slow, mut standing) = (reader(1, 5000), reader(0, 0));
    slow.say("go");
    let mut publishers: Vec<Child> =
        (0..PUBLISHERS).map(|id| Child::start("reliable::publishes", &[&root.text(), &id, &COUNT])).collect();
    publishers.iter_mut().for_each(|child| child.expect("ready"));
    publishers.iter_mut().for_each(|child| child.say("go"));
    publishers.into_iter().for_each(Child::finish);
    assert_eq!(slow.hear_number(), 0);
    standing.say("go");
    assert!(standing.hear_number() >= PUBLISHERS * COUNT - u64::from(CAPACITY));
    [slow, standing].into_iter().for_each(Child::finish);
    root.assert_empty();
}

/// Joins reliably, and reads as many as it is told at a time; told nothing, it leaves.
pub fn reads_as_told(mut parent: Parent) {
    let subscriber = subscriber(Path::new(&parent.text()), true);
    parent.say("ready");
    let mut last = None;
    while let Some(count) = parent.hear().and_then(|line| line.parse().ok()) {
        for _ in 0..count {
            let sample = subscriber.receive().unwrap();
            let before = last.replace(sample.position());
            assert!(before.is_none_or(|before| before + 1 == sample.position()));
            Id::of(&sample);
        }
        assert_eq!(subscriber.lost(), 0);
        parent.say("read");
    }
    drop(subscriber);
    parent.say("left");
}

fn told(root: &Root) -> Child {
    let mut child = Child::start("reliable::reads_as_told", &[&root.text()]);
    child.expect("ready");
    child
}

/// The clock that all processes share, in nanoseconds.
fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Waits at a gate, and says when it went on, as if it had had a processor all the time.
pub fn waits(mut parent: Parent) {
    let publisher = publisher(Path::new(&parent.text()));
    parent.say_and_wait("ready");
    parent.say(this_thread());
    let (start, delay) = (now(), Delay::start());
    publish(&publisher, Id { publisher: 1, sequence: 0 });
    parent.say(start + delay.elapsed().as_nanos() as u64);
}

/// The children that wait at the gate of `reader`, which `end` ends. They go on at once.
fn gate_opens(root: &Root, reader: Child, end: impl FnOnce(Child)) {
    let mut waiting: Vec<Child> = (0..3).map(|_| Child::start("reliable::waits", &[&root.text()])).collect();
    waiting.iter_mut().for_each(|child| child.expect("ready"));
    assert_eq!(fill(&publisher(root.path())), u64::from(CAPACITY));
    for child in &mut waiting {
        child.say("publish");
        let thread = child.hear_number();
        child.wait_until_asleep(thread);
    }
    let ended = now();
    end(reader);
    for mut child in waiting {
        let went_on = child.hear_number();
        let took = Duration::from_nanos(went_on.saturating_sub(ended));
        assert!(took < LONGEST, "a publisher waited for {took:?}");
        child.finish();
    }
}

#[test]
fn a_dead_subscriber_is_waited_for_by_nobody() {
    let root = Root::new();
    let alive = publisher(root.path());
    for _ in 0..rounds(5) {
        gate_opens(&root, told(&root), Child::kill);
    }
    drop(alive);
    root.assert_empty();
}

#[test]
fn leaving_opens_the_gate() {
    let root = Root::new();
    let alive = publisher(root.path());
    for _ in 0..rounds(5) {
        gate_opens(&root, told(&root), |mut child| {
            child.say("leave");
            child.expect("left");
            child.finish();
        });
    }
    drop(alive);
    root.assert_empty();
}

#[test]
fn a_stopped_subscriber_is_waited_for_as_long_as_the_publisher_likes() {
    let root = Root::new();
    let publisher = publisher(root.path());
    let mut reader = told(&root);
    reader.signal(libc::SIGSTOP);
    let filled = fill(&publisher);
    assert_eq!(filled, u64::from(CAPACITY));
    let id = Id { publisher: 1, sequence: 7 };
    let mut loan = publisher.loan(5000).unwrap();
    id.fill(&mut loan);
    let place = loan.as_ptr();
    for _ in 0..5 {
        let start = Instant::now();
        loan = loan.publish_timeout(A_MOMENT).unwrap().expect_err("nobody has read");
        assert!(start.elapsed() >= A_MOMENT);
        assert!(loan.as_ptr() == place && loan.len() == 5000);
        id.check(&loan);
    }
    reader.say(filled + 1);
    reader.signal(libc::SIGCONT);
    loan.publish().unwrap();
    reader.expect("read");
    reader.finish();
    drop(publisher);
    root.assert_empty();
}

/// The shared words: that publishers are to end; how much they published.
const END: usize = 0;
const PUBLISHED: usize = 1;

/// Publishes until it is told to end.
pub fn publishes_on(mut parent: Parent) {
    let (root, shared) = (PathBuf::from(parent.text()), Shared::open(Path::new(&parent.text())));
    let id = parent.number();
    let publisher = publisher(&root);
    parent.say("ready");
    let mut sequence = 0;
    while shared.get(END) == 0 {
        publish(&publisher, Id { publisher: id, sequence });
        sequence += 1;
        shared.add(PUBLISHED, 1);
    }
}

/// Joins over and over, reads some messages, and leaves.
pub fn comes_and_goes(mut parent: Parent) {
    let (root, seed, count) = (PathBuf::from(parent.text()), parent.number(), parent.number());
    let mut random = Random::new(seed);
    for _ in 0..count {
        let subscriber = subscriber(&root, true);
        let mut next = None;
        for _ in 0..random.below(4 * u64::from(CAPACITY)) {
            dawdle(random.below(3000));
            let sample = subscriber.receive().unwrap();
            Id::of(&sample);
            assert_eq!(*next.get_or_insert(sample.position()), sample.position());
            next = Some(sample.position() + 1);
            assert_eq!(subscriber.lost(), 0);
        }
    }
    parent.say("done");
}

#[test]
fn whoever_joins_in_full_flow_loses_nothing_from_then_on() {
    const PUBLISHERS: u64 = 2;
    let (root, beside) = (Root::new(), tempfile::tempdir().unwrap());
    let file = beside.path().join("shared");
    let shared = Shared::open(&file);
    let file = file.to_str().unwrap();
    let mut publishers: Vec<Child> = (0..PUBLISHERS)
        .map(|id| Child::start("reliable::publishes_on", &[&root.text(), &file, &id]))
        .collect();
    publishers.iter_mut().for_each(|child| child.expect("ready"));
    let mut random = Random::printed();
    let mut joiners: Vec<Child> = (0..3)
        .map(|_| {
            let seed = random.next() >> 1;
            Child::start("reliable::comes_and_goes", &[&root.text(), &seed, &rounds(200)])
        })
        .collect();
    joiners.iter_mut().for_each(|child| child.expect("done"));
    joiners.into_iter().for_each(Child::finish);
    // Nobody is waited for any more.
    let published = shared.get(PUBLISHED);
    while shared.get(PUBLISHED) < published + 1000 {
        std::thread::yield_now();
    }
    shared.set(END, 1);
    publishers.into_iter().for_each(Child::finish);
    root.assert_empty();
}

#[test]
fn a_small_budget_doesnt_evict_what_a_reliable_subscriber_has_yet_to_read() {
    let root = Root::new();
    let options = PublisherOptions { memory: 10_000, ..publishing(root.path()) };
    let publisher = Publisher::with_options(TOPIC, &options).unwrap();
    let mut reader = told(&root);
    let mut sequence = 0;
    let mut publish_all = || {
        let first = sequence;
        loop {
            match publisher.loan(3000) {
                Ok(mut loan) => {
                    Id { publisher: 0, sequence }.fill(&mut loan);
                    assert!(loan.try_publish().unwrap().is_ok(), "the ring has room for many more");
                    sequence += 1;
                }
                Err(Error::OutOfMemory { .. }) => return sequence - first,
                Err(error) => panic!("{error}"),
            }
        }
    };
    let all = publish_all();
    assert!(all >= 2, "{all}");
    for read in 1..=all {
        assert_eq!(publish_all(), 0);
        reader.say(read);
        reader.expect("read");
        assert_eq!(publish_all(), read);
        reader.say(all - read);
        reader.expect("read");
        assert_eq!(publish_all(), all - read);
    }
    reader.finish();
    drop(publisher);
    root.assert_empty();
}

/// The words of `peers` that say whether a publisher waits at the gate, and how often such were woken. A wake that is missed costs a
/// publisher no more than 10 ms, so the time wouldn't tell.
struct Wakes(std::fs::File);

impl Wakes {
    const WAITING: u64 = 576;
    const WAKES: u64 = 584;

    fn of(root: &Root) -> Wakes {
        let path = root.path().join(TOPIC).join("peers");
        Wakes(std::fs::File::options().read(true).write(true).open(path).unwrap())
    }

    fn word(&self, offset: u64) -> u64 {
        let mut word = [0; 8];
        self.0.read_exact_at(&mut word, offset).unwrap();
        u64::from_ne_bytes(word)
    }

    fn is_waiting(&self) -> bool {
        self.word(Self::WAITING) != 0
    }

    fn count(&self) -> u64 {
        self.word(Self::WAKES)
    }

    /// Says that a publisher waits, and sees that `act` wakes it.
    fn expect_from(&self, what: &str, act: impl FnOnce()) {
        let count = self.count();
        self.0.write_all_at(&1u64.to_ne_bytes(), Self::WAITING).unwrap();
        act();
        assert_eq!((self.is_waiting(), self.count()), (false, count + 1), "{what}");
    }
}

/// Whatever moves a gate on wakes those who wait for that.
#[test]
fn whoever_opens_the_gate_wakes_who_waits_there() {
    let root = Root::new();
    let publisher = publisher(root.path());
    let wakes = Wakes::of(&root);
    let mut reader = None;
    wakes.expect_from("a joiner, whose start is beyond what it announced", || {
        reader = Some(subscriber(root.path(), true));
    });
    let reader = reader.unwrap();
    (0..2).for_each(|sequence| publish(&publisher, Id { publisher: 0, sequence }));
    let kept = reader.receive().unwrap().keep();
    let segments: Vec<_> = std::fs::read_dir(root.path().join(TOPIC)).unwrap().flatten().collect();
    let segment =
        segments.iter().find(|file| file.file_name().as_encoded_bytes().starts_with(b"seg.")).unwrap();
    let segment = std::fs::File::options().write(true).open(segment.path()).unwrap();
    // The length of the second chunk's message.
    segment.write_all_at(&u64::MAX.to_ne_bytes(), 128 + 64 + HEAD.next_multiple_of(64) as u64 + 8).unwrap();
    wakes.expect_from("a reader that passes by what can't be read", || {
        assert!(matches!(reader.try_receive(), Err(Error::Corrupt { .. })));
    });
    wakes.expect_from("one who leaves, but keeps a sample", || drop(reader));
    drop(kept);
    let dead = told(&root);
    wakes.expect_from("who recovers a dead one", || {
        dead.kill();
        shm::gc(&shm::RootOptions { root: Some(root.path().into()), ..Default::default() }).unwrap();
    });
    drop(publisher);
    root.assert_empty();
}

#[test]
fn a_waiting_publisher_is_woken_by_each_message_that_is_read() {
    let root = Root::new();
    let reader = subscriber(root.path(), true);
    let wakes = Wakes::of(&root);
    let publisher = publisher(root.path());
    for round in 0..20 {
        assert_eq!(fill(&publisher), if round == 0 { u64::from(CAPACITY) } else { 0 });
        let mut waiting = Child::start("reliable::waits", &[&root.text()]);
        waiting.expect("ready");
        waiting.say("publish");
        let thread = waiting.hear_number();
        // So that it doesn't wake up by itself.
        waiting.stop_asleep(thread);
        assert!(wakes.is_waiting());
        let count = wakes.count();
        Id::of(&reader.receive().unwrap());
        assert_eq!((wakes.is_waiting(), wakes.count()), (false, count + 1));
        waiting.signal(libc::SIGCONT);
        waiting.hear_number();
        waiting.finish();
        // Nobody waits: nobody is woken.
        Id::of(&reader.receive().unwrap());
        assert_eq!(wakes.count(), count + 1);
        publish(&publisher, Id { publisher: 2, sequence: round });
    }
    drop((reader, publisher));
    root.assert_empty();
}
