// SPDX-License-Identifier: MIT OR Apache-2.0
//! Publishers and subscribers of one process: what arrives, in which order, and what doesn't.

use std::path::Path;
use std::time::Duration;

use shm::{Error, Publisher, PublisherOptions, Subscriber, SubscriberOptions};

fn publisher(root: &Path, capacity: u32) -> Publisher {
    let options = PublisherOptions { root: Some(root.into()), capacity, ..Default::default() };
    Publisher::with_options("t", &options).unwrap()
}

fn subscriber(root: &Path, history: u32) -> Subscriber {
    let options = SubscriberOptions { root: Some(root.into()), history, ..Default::default() };
    Subscriber::with_options("t", &options).unwrap()
}

fn number(sample: &[u8]) -> u64 {
    u64::from_le_bytes(sample.try_into().unwrap())
}

#[test]
fn what_is_published_is_received_once_and_in_order() {
    let root = tempfile::tempdir().unwrap();
    let subscriber = subscriber(root.path(), 0);
    let publisher = publisher(root.path(), 0);
    for n in 0..10_000u64 {
        publisher.publish(&n.to_le_bytes()).unwrap();
        let sample = subscriber.try_receive().unwrap().unwrap();
        assert_eq!(number(&sample), n);
    }
    assert!(subscriber.try_receive().unwrap().is_none());
    assert_eq!(subscriber.lost(), 0);
}

#[test]
fn every_size_arrives() {
    let root = tempfile::tempdir().unwrap();
    let subscriber = subscriber(root.path(), 0);
    let publisher = publisher(root.path(), 0);
    for len in [0, 1, 63, 64, 65, 4095, 4096, 4097, 1 << 20, (8 << 20) + 3] {
        let payload: Vec<u8> = (0..len).map(|i| (i * 31 + len) as u8).collect();
        publisher.publish(&payload).unwrap();
        let sample = subscriber.receive().unwrap();
        assert_eq!(sample.as_ptr() as usize % 64, 0);
        assert!(*sample == *payload, "{len}");
    }
}

#[test]
fn two_subscribers_see_one_order() {
    let root = tempfile::tempdir().unwrap();
    let (one, two) = (subscriber(root.path(), 0), subscriber(root.path(), 0));
    let (a, b) = (publisher(root.path(), 0), publisher(root.path(), 0));
    for n in 0..30u64 {
        if n % 3 == 0 { &a } else { &b }.publish(&n.to_le_bytes()).unwrap();
    }
    for n in 0..30 {
        let (x, y) = (one.receive().unwrap(), two.receive().unwrap());
        assert_eq!((number(&x), number(&y)), (n, n));
        assert_eq!(x.position(), y.position());
    }
}

#[test]
fn a_slow_subscriber_knows_what_it_lost() {
    let root = tempfile::tempdir().unwrap();
    let subscriber = subscriber(root.path(), 0);
    let publisher = publisher(root.path(), 0);
    for n in 0..1000u64 {
        publisher.publish(&n.to_le_bytes()).unwrap();
    }
    let first = number(&subscriber.receive().unwrap());
    assert_eq!(subscriber.lost(), first);
    let mut received = 1;
    while let Some(sample) = subscriber.try_receive().unwrap() {
        assert_eq!(number(&sample), first + received);
        received += 1;
    }
    assert_eq!(received + subscriber.lost(), 1000);
}

#[test]
fn history_is_what_the_ring_still_has() {
    let root = tempfile::tempdir().unwrap();
    let publisher = publisher(root.path(), 16);
    for n in 0..100u64 {
        publisher.publish(&n.to_le_bytes()).unwrap();
    }
    for (history, expected) in [(0, 0), (1, 1), (5, 5), (16, 16), (u32::MAX, 16)] {
        let late = subscriber(root.path(), history);
        let got: Vec<u64> = std::iter::from_fn(|| late.try_receive().unwrap().map(|s| number(&s))).collect();
        assert_eq!(got, (100 - expected..100).collect::<Vec<_>>());
        assert_eq!(late.lost(), 0);
    }
}

#[test]
fn a_held_sample_never_changes() {
    let root = tempfile::tempdir().unwrap();
    let subscriber = subscriber(root.path(), 0);
    let publisher = publisher(root.path(), 0);
    publisher.publish(&[7; 1000]).unwrap();
    let held = subscriber.receive().unwrap();
    for n in 0..10_000u64 {
        publisher.publish(&[n as u8; 1000]).unwrap();
    }
    assert!(held.iter().all(|&byte| byte == 7));
}

#[test]
fn holds_run_out_and_come_back() {
    let root = tempfile::tempdir().unwrap();
    let subscriber = subscriber(root.path(), 0);
    let publisher = publisher(root.path(), 0);
    for n in 0..9u64 {
        publisher.publish(&n.to_le_bytes()).unwrap();
    }
    let mut held: Vec<_> = (0..8).map(|_| subscriber.receive().unwrap()).collect();
    assert!(matches!(subscriber.try_receive(), Err(Error::NoHold { limit: 8 })));
    held.remove(3);
    assert_eq!(number(&subscriber.receive().unwrap()), 8);
    assert_eq!(subscriber.lost(), 0);
}

#[test]
fn a_kept_sample_outlives_its_subscriber() {
    let root = tempfile::tempdir().unwrap();
    let publisher = publisher(root.path(), 0);
    let kept = {
        let subscriber = subscriber(root.path(), 0);
        publisher.publish(&[9; 100]).unwrap();
        let sample = subscriber.receive().unwrap();
        sample.keep()
    };
    for _ in 0..1000 {
        publisher.publish(&[1; 100]).unwrap();
    }
    std::thread::spawn(move || assert!(kept.iter().all(|&byte| byte == 9))).join().unwrap();
}

#[test]
fn a_full_budget_evicts_the_publishers_own_oldest() {
    let root = tempfile::tempdir().unwrap();
    let options =
        PublisherOptions { root: Some(root.path().into()), memory: 300 << 10, ..Default::default() };
    let publisher = Publisher::with_options("t", &options).unwrap();
    let subscriber = subscriber(root.path(), 0);
    for n in 0..50u8 {
        publisher.publish(&vec![n; 64 << 10]).unwrap();
    }
    let mut got = Vec::new();
    while let Some(sample) = subscriber.try_receive().unwrap() {
        assert!(sample.iter().all(|&byte| byte == sample[0]));
        got.push(sample[0]);
    }
    assert_eq!(got.last(), Some(&49));
    assert!(got.windows(2).all(|pair| pair[1] == pair[0] + 1));
    assert_eq!(subscriber.lost() + got.len() as u64, 50);
}

#[test]
fn a_message_beyond_the_budget_is_refused_and_costs_nothing() {
    let root = tempfile::tempdir().unwrap();
    let options = PublisherOptions { root: Some(root.path().into()), memory: 1 << 20, ..Default::default() };
    let publisher = Publisher::with_options("t", &options).unwrap();
    let subscriber = subscriber(root.path(), 0);
    publisher.publish(b"kept").unwrap();
    assert!(matches!(publisher.loan(2 << 20), Err(Error::OutOfMemory { .. })));
    assert_eq!(&*subscriber.receive().unwrap(), b"kept");
}

#[test]
fn sizes_may_change_within_the_budget() {
    let root = tempfile::tempdir().unwrap();
    let options = PublisherOptions { root: Some(root.path().into()), memory: 2 << 20, ..Default::default() };
    let publisher = Publisher::with_options("t", &options).unwrap();
    let subscriber = subscriber(root.path(), 0);
    for round in 0..200usize {
        let len = [64, 1 << 20, 5000, 300_000, 0][round % 5] + round;
        publisher.publish(&vec![round as u8; len]).unwrap();
        let sample = subscriber.receive().unwrap();
        assert!(sample.len() == len && sample.iter().all(|&byte| byte == round as u8));
    }
}

#[test]
fn loans_grow_and_keep_what_they_have() {
    let root = tempfile::tempdir().unwrap();
    let subscriber = subscriber(root.path(), 0);
    let publisher = publisher(root.path(), 0);
    let mut loan = publisher.loan(3).unwrap();
    loan.copy_from_slice(b"abc");
    loan.resize(100_000).unwrap();
    assert_eq!(&loan[..3], b"abc");
    loan.resize(2).unwrap();
    loan.publish().unwrap();
    assert_eq!(&*subscriber.receive().unwrap(), b"ab");
}

#[test]
fn a_timeout_is_kept() {
    let root = tempfile::tempdir().unwrap();
    let subscriber = subscriber(root.path(), 0);
    let start = std::time::Instant::now();
    assert!(subscriber.receive_timeout(Duration::from_millis(120)).unwrap().is_none());
    assert!(start.elapsed() >= Duration::from_millis(120));
    assert!(subscriber.receive_timeout(Duration::ZERO).unwrap().is_none());
}

#[test]
fn a_sleeper_is_woken() {
    let root = tempfile::tempdir().unwrap();
    let publisher = publisher(root.path(), 0);
    let subscriber = subscriber(root.path(), 0);
    let (to_main, from_thread) = std::sync::mpsc::channel();
    let sleeper = std::thread::spawn(move || {
        for _ in 0..200 {
            let sample = subscriber.receive().unwrap();
            to_main.send(number(&sample)).unwrap();
        }
    });
    for n in 0..200u64 {
        publisher.publish(&n.to_le_bytes()).unwrap();
        assert_eq!(from_thread.recv().unwrap(), n);
    }
    sleeper.join().unwrap();
}

#[test]
fn an_existing_topic_must_be_large_enough() {
    let root = tempfile::tempdir().unwrap();
    let first = publisher(root.path(), 16);
    assert_eq!(first.info().capacity, 16);
    let options = PublisherOptions { root: Some(root.path().into()), capacity: 32, ..Default::default() };
    match Publisher::with_options("t", &options) {
        Err(Error::Mismatch { option: "capacity", found: 16, wanted: 32 }) => {}
        other => panic!("{other:?}"),
    }
    drop(first);
    assert_eq!(Publisher::with_options("t", &options).unwrap().info().capacity, 32);
}

#[test]
fn nothing_is_left_when_the_last_one_leaves() {
    let root = tempfile::tempdir().unwrap();
    let publisher = publisher(root.path(), 0);
    let subscriber = subscriber(root.path(), 0);
    publisher.publish(&[1; 5000]).unwrap();
    drop(publisher);
    assert_eq!(subscriber.receive().unwrap().len(), 5000, "the dead's messages stay readable");
    drop(subscriber);
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
}

#[test]
fn participants_run_out_and_come_back() {
    let root = tempfile::tempdir().unwrap();
    let options = SubscriberOptions { root: Some(root.path().into()), participants: 3, ..Default::default() };
    let mut all: Vec<_> = (0..3).map(|_| Subscriber::with_options("t", &options).unwrap()).collect();
    assert!(matches!(Subscriber::with_options("t", &options), Err(Error::NoParticipant { limit: 3 })));
    all.remove(1);
    all.push(Subscriber::with_options("t", &options).unwrap());
    assert!(matches!(Subscriber::with_options("t", &options), Err(Error::NoParticipant { limit: 3 })));
}

#[test]
fn the_smallest_ring_keeps_its_messages_without_subscribers_too() {
    let root = tempfile::tempdir().unwrap();
    let publisher = publisher(root.path(), 2);
    for n in 0..10u8 {
        publisher.publish(&vec![n; 100_000]).unwrap();
    }
    let late = subscriber(root.path(), u32::MAX);
    assert_eq!((late.receive().unwrap()[0], late.receive().unwrap()[0]), (8, 9));
}

#[test]
fn always_holding_the_latest_sample_leaks_no_mapping() {
    let root = tempfile::tempdir().unwrap();
    // So little memory that each change of size destroys the segment of the other one.
    let options = PublisherOptions { root: Some(root.path().into()), memory: 4 << 20, ..Default::default() };
    let publisher = Publisher::with_options("t", &options).unwrap();
    let subscriber = subscriber(root.path(), 0);
    let mappings = || std::fs::read_to_string("/proc/self/maps").unwrap().lines().count();
    let mut latest = None;
    let mut before = 0;
    for n in 0..400usize {
        publisher.publish(&vec![n as u8; (1 << 20) + (n % 2) * (1 << 19)]).unwrap();
        latest = Some(subscriber.receive().unwrap());
        if n == 20 {
            before = mappings();
        }
    }
    assert_eq!(latest.unwrap()[0], 399usize as u8);
    assert!(mappings() < before + 20, "{} mappings grew from {before}", mappings());
}

#[test]
fn a_large_message_takes_the_place_of_many_small_ones() {
    let root = tempfile::tempdir().unwrap();
    let options = PublisherOptions {
        root: Some(root.path().into()),
        capacity: 1 << 14,
        memory: 4 << 20,
        ..Default::default()
    };
    let publisher = Publisher::with_options("t", &options).unwrap();
    let subscriber = subscriber(root.path(), 0);
    // Loaned in one order and published in another, so that no segment becomes free before nearly all are.
    let mut loans: Vec<_> = (0..1 << 14).map(|_| publisher.loan(64).unwrap()).collect();
    for n in 0..loans.len() {
        loans.swap_remove((n * 7919) % loans.len()).publish().unwrap();
    }
    publisher.publish(&vec![5; 3 << 20]).unwrap();
    while let Some(sample) = subscriber.try_receive().unwrap() {
        if sample.len() > 64 {
            assert!(sample.iter().all(|&byte| byte == 5));
            return;
        }
    }
    panic!("the large one didn't come");
}

#[test]
fn what_cannot_be_mapped_is_still_the_next_message() {
    // In a process of its own: the limit is the process's.
    if std::env::var_os("SHM_TEST_NO_FILES").is_none() {
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "what_cannot_be_mapped_is_still_the_next_message", "--nocapture"])
            .env("SHM_TEST_NO_FILES", "1")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let (publisher, subscriber) = (publisher(root.path(), 0), subscriber(root.path(), 0));
    publisher.publish(b"one").unwrap();
    let mut files = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        files.push(file);
    }
    assert!(matches!(subscriber.try_receive(), Err(Error::Os { .. })));
    drop(files);
    assert_eq!(&*subscriber.receive().unwrap(), b"one");
    assert_eq!(subscriber.lost(), 0);
}

#[test]
fn leaving_without_a_descriptor_leaves_a_topic_that_can_be_opened() {
    if std::env::var_os("SHM_TEST_NO_FILES").is_none() {
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "leaving_without_a_descriptor_leaves_a_topic_that_can_be_opened",
                "--nocapture",
            ])
            .env("SHM_TEST_NO_FILES", "1")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let first = publisher(root.path(), 0);
    first.publish(b"one").unwrap();
    let mut files = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        files.push(file);
    }
    drop(first);
    drop(files);
    let (publisher, subscriber) = (publisher(root.path(), 0), subscriber(root.path(), 0));
    publisher.publish(b"two").unwrap();
    assert_eq!(&*subscriber.receive().unwrap(), b"two");
    drop((publisher, subscriber));
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
}

#[test]
fn messages_of_a_dead_publisher_stay_while_there_is_room_for_others() {
    let root = tempfile::tempdir().unwrap();
    let subscriber = subscriber(root.path(), 0);
    let first = publisher(root.path(), 0);
    let mut count = 0;
    // Until each chunk that it has is in the ring.
    while count == 0 || first.memory().unwrap().free > 0 {
        first.publish(&[1; 8192]).unwrap();
        count += 1;
    }
    assert!(count < 64);
    drop(first);
    publisher(root.path(), 0).publish(&[2; 8192]).unwrap();
    for _ in 0..count {
        assert_eq!(subscriber.try_receive().unwrap().expect("it was evicted")[0], 1);
    }
    assert_eq!((subscriber.try_receive().unwrap().unwrap()[0], subscriber.lost()), (2, 0));
}
