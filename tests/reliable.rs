// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reliable subscribers and publishers of one process: who waits for whom, and what is kept.

use std::path::Path;
use std::time::{Duration, Instant};

use shm::{Error, Publisher, PublisherOptions, Subscriber, SubscriberOptions};

const CAPACITY: u32 = 4;
const A_MOMENT: Duration = Duration::from_millis(3);

fn publisher(root: &Path, capacity: u32) -> Publisher {
    let options = PublisherOptions { root: Some(root.into()), capacity, ..Default::default() };
    Publisher::with_options("t", &options).unwrap()
}

fn reliable(root: &Path, capacity: u32, history: u32) -> Subscriber {
    let root = Some(root.into());
    let options = SubscriberOptions { root, capacity, history, reliable: true, ..Default::default() };
    Subscriber::with_options("t", &options).unwrap()
}

fn unreliable(root: &Path) -> Subscriber {
    let options = SubscriberOptions { root: Some(root.into()), ..Default::default() };
    Subscriber::with_options("t", &options).unwrap()
}

fn publish(publisher: &Publisher, number: u64) {
    publisher.publish(&number.to_le_bytes()).unwrap();
}

/// Publishes until the gate is shut; returns how many those were.
fn fill(publisher: &Publisher, mut number: u64) -> u64 {
    let first = number;
    while publisher.try_publish(&number.to_le_bytes()).unwrap().is_some() {
        number += 1;
    }
    number - first
}

fn number(sample: &[u8]) -> u64 {
    u64::from_le_bytes(sample.try_into().unwrap())
}

/// All that is there now.
fn numbers(subscriber: &Subscriber) -> Vec<u64> {
    std::iter::from_fn(|| subscriber.try_receive().unwrap().map(|sample| number(&sample))).collect()
}

#[test]
fn a_reliable_subscriber_has_the_ring_to_itself() {
    let root = tempfile::tempdir().unwrap();
    let (subscriber, lossy) = (reliable(root.path(), CAPACITY, 0), unreliable(root.path()));
    let publishers = [publisher(root.path(), CAPACITY), publisher(root.path(), CAPACITY)];
    let mut next = 0;
    for round in 0..50 {
        // As many as there is room for, whoever publishes them.
        let filled = fill(&publishers[round % 2], next);
        assert_eq!(filled, u64::from(CAPACITY));
        assert_eq!(fill(&publishers[1 - round % 2], 99), 0);
        assert_eq!(numbers(&subscriber), (next..next + filled).collect::<Vec<_>>());
        next += filled;
    }
    assert_eq!(subscriber.lost(), 0);
    assert_eq!(numbers(&lossy).len() as u64 + lossy.lost(), next);
    assert!(lossy.lost() > 0, "it had to be waited for, too");
}

#[test]
fn each_message_that_is_read_makes_room_for_one() {
    let root = tempfile::tempdir().unwrap();
    let (subscriber, other) = (reliable(root.path(), CAPACITY, 0), reliable(root.path(), CAPACITY, 0));
    let publisher = publisher(root.path(), CAPACITY);
    let filled = fill(&publisher, 0);
    for next in filled..filled + 20 {
        assert_eq!(fill(&publisher, next), 0);
        assert_eq!(number(&subscriber.receive().unwrap()), next - filled);
        assert_eq!(fill(&publisher, next), 0, "the other has yet to read it");
        assert_eq!(number(&other.receive().unwrap()), next - filled);
        assert_eq!(fill(&publisher, next), 1);
    }
}

#[test]
fn what_could_not_be_published_is_still_the_callers() {
    let root = tempfile::tempdir().unwrap();
    let subscriber = reliable(root.path(), CAPACITY, 0);
    let publisher = publisher(root.path(), CAPACITY);
    let filled = fill(&publisher, 0);
    let before = publisher.memory().unwrap();
    let mut loan = publisher.loan(3000).unwrap();
    loan.fill(7);
    let mut loan = loan.try_publish().unwrap().expect_err("the ring is full");
    assert!(loan.len() == 3000 && loan.iter().all(|&byte| byte == 7));
    loan.resize(5000).unwrap();
    loan[3000..].fill(7);
    let start = Instant::now();
    let loan = loan.publish_timeout(A_MOMENT).unwrap().expect_err("the ring is full");
    assert!(start.elapsed() >= A_MOMENT);
    assert!(loan.len() == 5000 && loan.iter().all(|&byte| byte == 7));
    let loan = loan.publish_timeout(Duration::ZERO).unwrap().expect_err("the ring is full");
    assert_eq!(number(&subscriber.receive().unwrap()), 0);
    let position = loan.try_publish().unwrap().expect("there is room");
    // A copy that can't be published leaves no chunk behind.
    for _ in 0..1000 {
        assert_eq!(publisher.try_publish(&[1; 3000]).unwrap(), None);
    }
    assert!(publisher.memory().unwrap().used <= before.used + (256 << 10));
    assert_eq!(numbers_but_last(&subscriber), (1..filled).collect::<Vec<_>>());
    let last = subscriber.receive().unwrap();
    assert!(last.position() == position && last.len() == 5000 && last.iter().all(|&byte| byte == 7));
}

/// Reads what `fill` published, but for the one that was read already.
fn numbers_but_last(subscriber: &Subscriber) -> Vec<u64> {
    (1..CAPACITY).map(|_| number(&subscriber.receive().unwrap())).collect()
}

#[test]
fn without_reliable_subscribers_nobody_waits() {
    let root = tempfile::tempdir().unwrap();
    let publisher = publisher(root.path(), CAPACITY);
    let _lossy = unreliable(root.path());
    for n in 0..100u64 {
        assert!(publisher.try_publish(&n.to_le_bytes()).unwrap().is_some());
        let loan = publisher.loan(8).unwrap();
        assert!(loan.publish_timeout(Duration::ZERO).unwrap().is_ok());
    }
}

#[test]
fn a_waiting_publisher_goes_on_when_there_is_room() {
    let root = tempfile::tempdir().unwrap();
    let subscriber = reliable(root.path(), CAPACITY, 0);
    let publisher = publisher(root.path(), CAPACITY);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let publisher = publisher;
            for n in 0..2000u64 {
                if n % 2 == 0 {
                    publisher.publish(&n.to_le_bytes()).unwrap();
                } else {
                    let mut loan = publisher.loan(8).unwrap();
                    loan.copy_from_slice(&n.to_le_bytes());
                    loan.publish_timeout(Duration::MAX).unwrap().unwrap();
                }
            }
        });
        for n in 0..2000 {
            assert_eq!(number(&subscriber.receive().unwrap()), n);
        }
    });
    assert_eq!(subscriber.lost(), 0);
}

#[test]
fn leaving_opens_the_gate() {
    let root = tempfile::tempdir().unwrap();
    let publisher = publisher(root.path(), CAPACITY);
    for _ in 0..20 {
        let subscriber = reliable(root.path(), CAPACITY, 0);
        assert_eq!(fill(&publisher, 0), u64::from(CAPACITY));
        std::thread::scope(|scope| {
            scope.spawn(|| drop(subscriber));
            publisher.publish(b"waits for it to leave").unwrap();
        });
    }
}

/// Samples that are kept keep a subscriber's entry, but nobody reads any more.
#[test]
fn kept_samples_of_one_who_left_keep_nobody_waiting() {
    let root = tempfile::tempdir().unwrap();
    let publisher = publisher(root.path(), CAPACITY);
    let subscriber = reliable(root.path(), CAPACITY, 0);
    assert_eq!(fill(&publisher, 0), u64::from(CAPACITY));
    let kept = subscriber.receive().unwrap().keep();
    drop(subscriber);
    for n in 0..20u64 {
        assert!(publisher.try_publish(&n.to_le_bytes()).unwrap().is_some(), "message {n}");
    }
    assert_eq!(number(&kept), 0);
}

#[test]
fn history_comes_before_what_is_kept() {
    let root = tempfile::tempdir().unwrap();
    let publisher = publisher(root.path(), CAPACITY);
    (0..10).for_each(|n| publish(&publisher, n));
    for (history, expected) in [(0, 10), (2, 8), (u32::MAX, 6)] {
        let late = reliable(root.path(), CAPACITY, history);
        assert_eq!(numbers(&late), (expected..10).collect::<Vec<_>>());
        assert_eq!(late.lost(), 0);
    }
}

/// What comes from before the join may be overwritten, up to the first message after it and no further.
#[test]
fn one_that_is_lapped_within_its_history_has_all_that_came_since() {
    const CAPACITY: u64 = 64;
    for since in 1..=CAPACITY {
        let root = tempfile::tempdir().unwrap();
        let publisher = publisher(root.path(), CAPACITY as u32);
        (0..CAPACITY).for_each(|n| publish(&publisher, n));
        let late = reliable(root.path(), 0, u32::MAX);
        (CAPACITY..CAPACITY + since).for_each(|n| publish(&publisher, n));
        let seen = numbers(&late);
        assert!(seen.is_sorted_by(|a, b| b - a == 1));
        assert!(seen.contains(&CAPACITY), "of {since} since the join: {seen:?}");
        assert_eq!(late.lost() + seen.len() as u64, CAPACITY + since);
    }
}

#[test]
fn what_is_yet_to_be_read_is_not_evicted() {
    let root = tempfile::tempdir().unwrap();
    let options = PublisherOptions { root: Some(root.path().into()), memory: 10_000, ..Default::default() };
    let publisher = Publisher::with_options("t", &options).unwrap();
    let subscriber = reliable(root.path(), 0, 0);
    let publish = |n: u64| {
        let mut loan = publisher.loan(3000)?;
        loan[..8].copy_from_slice(&n.to_le_bytes());
        loan.publish()
    };
    let mut next = 0;
    for read in 0..20 {
        while let Ok(_position) = publish(next) {
            next += 1;
        }
        assert!(matches!(publish(next), Err(Error::OutOfMemory { .. })));
        assert!(next - read >= 2, "there was room for more");
        let sample = subscriber.receive().unwrap();
        assert_eq!(number(&sample[..8]), read);
        assert!(matches!(publish(next), Err(Error::OutOfMemory { .. })), "it is held");
    }
    assert_eq!(subscriber.lost(), 0);
}
