// SPDX-License-Identifier: MIT OR Apache-2.0
//! Device topics whose processes are killed or stopped.

use std::io::{ErrorKind, Read};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use shm::copier::cuda::{DeviceSubscriber, Placement};
use shm::{Error, SubscriberOptions};

use crate::device::{assert_all, publish, publisher, receive, subscriber};
use crate::driver::{root, Driver};
use crate::processes::segments;
use crate::support::child::{Child, Parent};
use crate::support::subscribing;
use crate::{run, with_driver, TOPIC};

const LEN: usize = 1000;

fn start(role: &str, root: &std::path::Path) -> Child {
    let mut child = Child::start_with(with_driver(&[]), role, &[&root.display()]);
    child.expect("ready");
    child
}

/// Publishes one message each time it is told to, and never leaves.
pub fn publishes_one(mut parent: Parent) {
    let (root, driver) = (root(&mut parent), Driver::open());
    let publisher = publisher(&root, 4, Placement::Device);
    let mut said = parent.say_and_wait("ready");
    loop {
        publish(&driver, &publisher, said.parse().unwrap(), LEN);
        said = parent.say_and_wait("published");
    }
}

fn tell(publisher: &mut Child, byte: u8) {
    publisher.say(byte);
    publisher.expect("published");
}

#[test]
fn what_is_mapped_outlives_its_publisher() {
    run("device_deaths::keeps_reading", &[]);
}

pub fn keeps_reading(mut parent: Parent) {
    let root = root(&mut parent);
    let (driver, subscriber) = (Driver::open(), subscriber(&root));
    let mut publisher = start("device_deaths::publishes_one", &root);
    tell(&mut publisher, 1);
    let held = receive(&subscriber);
    tell(&mut publisher, 2);
    publisher.kill();
    assert_all(&driver, &held, 1, LEN);
    // Its block was never mapped here, and can't be any more.
    assert!(subscriber.receive_timeout(Duration::from_millis(1)).unwrap().is_none());
    assert_eq!(subscriber.lost(), 1);
    for _ in 0..3 {
        assert!(subscriber.receive_timeout(Duration::from_millis(1)).unwrap().is_none());
    }
    assert_eq!(driver.count("vmm_mappings"), 1, "the held sample's block");
    assert_all(&driver, &held, 1, LEN);
    drop(held);
    assert_eq!(driver.count("vmm_mappings"), 0);
    drop(subscriber);
    driver.assert_clean();
}

#[test]
fn messages_that_were_mapped_are_read_after_their_publisher_s_death() {
    run("device_deaths::reads_what_is_left", &[]);
}

pub fn reads_what_is_left(mut parent: Parent) {
    let root = root(&mut parent);
    let (driver, subscriber) = (Driver::open(), subscriber(&root));
    let mut publisher = start("device_deaths::publishes_one", &root);
    for byte in 0..8 {
        tell(&mut publisher, byte);
        assert_all(&driver, &receive(&subscriber), byte, LEN);
    }
    // Another one's blocks are mapped when it is gone, and before that is read.
    let mut next = start("device_deaths::publishes_one", &root);
    for byte in 50..53 {
        tell(&mut next, byte);
    }
    for byte in 8..12 {
        tell(&mut publisher, byte);
    }
    publisher.kill();
    for byte in (50..53).chain(8..12) {
        assert_all(&driver, &subscriber.try_receive().unwrap().expect("it is left"), byte, LEN);
    }
    assert_eq!(subscriber.lost(), 0);
    next.kill();
    drop(subscriber);
    driver.assert_clean();
}

/// Is killed when its device has written half of a message.
pub fn is_killed_midway(mut parent: Parent) {
    let (root, driver) = (root(&mut parent), Driver::open());
    let publisher = publisher(&root, 2, Placement::Device);
    parent.say_and_wait("ready");
    publish(&driver, &publisher, 1, LEN);
    driver.set_device(0);
    let (stream, mut source) = (driver.stream(), vec![2; LEN]);
    driver.register(&mut source);
    let loan = publisher.loan(LEN).unwrap();
    driver.hold_midway();
    driver.copy(loan.as_ptr(), source.as_ptr(), LEN, stream);
    // SAFETY: the stream stays.
    unsafe { loan.publish_on_stream(stream) }.unwrap();
    driver.wait_midway();
    parent.say_and_wait("midway");
}

#[test]
fn half_a_message_is_never_seen() {
    run("device_deaths::sees_whole_messages", &[]);
}

pub fn sees_whole_messages(mut parent: Parent) {
    let root = root(&mut parent);
    let (driver, subscriber) = (Driver::open(), subscriber(&root));
    let mut dying = start("device_deaths::is_killed_midway", &root);
    dying.say("");
    dying.expect("midway");
    assert_all(&driver, &receive(&subscriber), 1, LEN);
    dying.kill();
    assert!(subscriber.receive_timeout(Duration::from_millis(10)).unwrap().is_none());
    let of_the_dead = segments(&root);
    let publisher = publisher(&root, 2, Placement::Device);
    publish(&driver, &publisher, 2, LEN);
    assert!(!segments(&root).is_subset(&of_the_dead), "it has one of its own");
    assert_all(&driver, &receive(&subscriber), 2, LEN);
    for byte in 3..10 {
        publish(&driver, &publisher, byte, LEN);
        assert_all(&driver, &receive(&subscriber), byte, LEN);
    }
    assert_eq!(subscriber.lost(), 0);
    drop((publisher, subscriber));
    driver.assert_clean();
}

/// Holds one message, and says whether it stays as it is.
pub fn holds(mut parent: Parent) {
    let root = root(&mut parent);
    let (driver, subscriber) = (Driver::open(), subscriber(&root));
    parent.say("ready");
    let held = receive(&subscriber);
    loop {
        parent.say_and_wait("holds");
        assert_all(&driver, &held, 1, LEN);
    }
}

#[test]
fn a_dead_subscriber_s_block_is_written_to_when_it_is_recovered() {
    run("device_deaths::goes_on_though_held", &[]);
}

pub fn goes_on_though_held(mut parent: Parent) {
    let (root, driver) = (root(&mut parent), Driver::open());
    let publisher = publisher(&root, 3, Placement::Device);
    let mut subscriber = start("device_deaths::holds", &root);
    publish(&driver, &publisher, 1, LEN);
    subscriber.expect("holds");
    for _ in 0..10 {
        publish(&driver, &publisher, 2, LEN);
    }
    subscriber.say("");
    subscriber.expect("holds");
    let two = [(); 2].map(|()| publisher.loan(LEN).unwrap());
    assert!(matches!(publisher.loan(LEN), Err(Error::NoBlock { .. })), "the third one is held");
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let with_connection = descriptors();
    subscriber.kill();
    let third = publisher.loan(LEN).unwrap();
    // The pipes to the child are gone, too.
    while descriptors() > with_connection - 3 {
        std::thread::yield_now();
    }
    assert_eq!(driver.count("vmm_memories"), 3);
    drop((two, third));
    drop(publisher);
    driver.assert_clean();
}

#[test]
fn nobody_waits_long_for_a_stopped_publisher() {
    run("device_deaths::waits_for_no_one", &[]);
}

pub fn waits_for_no_one(mut parent: Parent) {
    let root = root(&mut parent);
    let (driver, subscriber) = (Driver::open(), subscriber(&root));
    let mut publisher = start("device_deaths::publishes_one", &root);
    for byte in 1..=3 {
        tell(&mut publisher, byte);
    }
    publisher.stop();
    let begun = Instant::now();
    for lost in 1..=2 {
        let error = subscriber.try_receive().expect_err("nobody answers");
        assert!(
            matches!(&error, Error::Os { source, .. } if source.kind() == ErrorKind::TimedOut),
            "{error}"
        );
        assert_eq!(subscriber.lost(), lost);
    }
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(1), "{took:?}");
    assert!(took < Duration::from_millis(1900), "it is waited for once: {took:?}");
    publisher.signal(libc::SIGCONT);
    tell(&mut publisher, 4);
    // It answers again: what it answered to what was given up is passed over. The third message may still find it late.
    let mut seen = Vec::new();
    while seen.last() != Some(&4) {
        match subscriber.receive_timeout(Duration::from_secs(10)) {
            Ok(Some(sample)) => seen.push(driver.behind(sample.as_ptr(), LEN)[0]),
            Ok(None) => panic!("{seen:?}"),
            Err(Error::Os { .. }) => tell(&mut publisher, 4),
            Err(error) => panic!("{error}"),
        }
    }
    publisher.kill();
    drop(subscriber);
    driver.assert_clean();
}

/// Forks, and publishes one message; the child lives on without it.
pub fn leaves_a_child(mut parent: Parent) {
    let (root, driver) = (root(&mut parent), Driver::open());
    let publisher = publisher(&root, 4, Placement::Device);
    parent.say_and_wait("ready");
    publish(&driver, &publisher, 1, LEN);
    let (mut reader, writer) = std::io::pipe().unwrap();
    // SAFETY: the child does nothing but system calls.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: as above.
        unsafe {
            libc::alarm(20);
            libc::write(writer.as_raw_fd(), [1u8].as_ptr().cast(), 1);
            libc::pause();
            libc::_exit(0);
        }
    }
    // The child is on its own, and has let go of what is only its parent's.
    reader.read_exact(&mut [0]).unwrap();
    parent.say_and_wait(&child.to_string());
}

#[test]
fn a_publisher_s_forked_child_does_not_answer_for_it() {
    run("device_deaths::sees_the_end_of_a_parent", &[]);
}

pub fn sees_the_end_of_a_parent(mut parent: Parent) {
    let root = root(&mut parent);
    let (driver, subscriber) = (Driver::open(), subscriber(&root));
    let mut publisher = start("device_deaths::leaves_a_child", &root);
    publisher.say("");
    let child = publisher.hear_number() as i32;
    publisher.kill();
    assert!(subscriber.try_receive().unwrap().is_none());
    assert_eq!(subscriber.lost(), 1, "its publisher is gone");
    // SAFETY: a plain system call; the process was made by a child of this one for this test, and sleeps.
    unsafe { libc::kill(child, libc::SIGKILL) };
    drop(subscriber);
    driver.assert_clean();
}

#[test]
fn who_is_always_busy_lets_go_of_publishers_that_are_gone() {
    run("device_deaths::is_always_busy", &[]);
}

pub fn is_always_busy(mut parent: Parent) {
    let (root, driver) = (root(&mut parent), Driver::open());
    let options = SubscriberOptions { capacity: 4, ..subscribing(&root) };
    let subscriber = DeviceSubscriber::new(TOPIC, &options, 0).unwrap();
    let take = |publisher: &mut Child, byte| {
        tell(publisher, byte);
        assert_all(&driver, &subscriber.try_receive().unwrap().unwrap(), byte, LEN);
    };
    let [mut first, mut second, mut third] = [(); 3].map(|()| start("device_deaths::publishes_one", &root));
    take(&mut first, 1);
    first.kill();
    // It is seen to be gone; what it may have left in the ring is passed when as many as that takes were read.
    for byte in 0..4 {
        take(&mut second, byte);
    }
    assert_eq!(driver.count("vmm_mappings"), 1 + 4);
    take(&mut third, 2);
    assert_eq!(driver.count("vmm_mappings"), 4 + 1);
    second.kill();
    third.kill();
    drop(subscriber);
    driver.assert_clean();
}
