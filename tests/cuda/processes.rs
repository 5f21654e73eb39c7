// SPDX-License-Identifier: MIT OR Apache-2.0
//! Processes that are killed, fork or end with copies under way.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use shm::copier::cuda::CudaCopier;
use shm::copier::StreamPublisher;
use shm::{Error, Publisher, PublisherOptions, Subscriber, SubscriberOptions};

use crate::driver::{copier, filled, root, Driver};
use crate::support::child::{Child, Parent};
use crate::support::{files_below, publishing, subscribing, Root};
use crate::{run, with_driver, LONG, TOPIC};

const CAPACITY: u32 = 8;
/// So small that all that the ring keeps fit into one segment.
const LEN: usize = 1000;

fn options(root: &Path) -> PublisherOptions {
    PublisherOptions { capacity: CAPACITY, ..publishing(root) }
}

/// Publishes some messages, and stands still when the device has written half of another one.
pub fn is_killed_midway(mut parent: Parent) {
    let (root, driver, copier) = (root(&mut parent), Driver::open(), copier(0));
    let publisher = Publisher::with_options(TOPIC, &options(&root)).unwrap();
    driver.set_device(0);
    let (stream, memory) = (driver.stream(), filled(&driver, &copier, &[0; LEN]));
    let publisher = StreamPublisher::new(publisher, copier);
    for n in 1..=6 {
        if n == 6 {
            driver.hold_midway();
        }
        driver.behind(memory.as_ptr(), LEN).fill(n);
        // SAFETY: the memory stays.
        unsafe { publisher.publish(memory.as_ptr(), LEN, stream) }.unwrap();
        if n < 6 {
            assert!(publisher.wait(LONG).unwrap());
        }
    }
    driver.wait_midway();
    parent.say_and_wait("midway");
}

pub fn segments(root: &Path) -> BTreeSet<PathBuf> {
    let is_segment =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("seg."));
    files_below(root).into_iter().filter(is_segment).collect()
}

#[test]
fn nobody_writes_to_what_a_device_may_still_write_to() {
    let root = Root::new();
    let subscriber = SubscriberOptions { capacity: CAPACITY, ..subscribing(root.path()) };
    let subscriber = Subscriber::with_options(TOPIC, &subscriber).unwrap();
    let mut dying = Child::start_with(with_driver(&[]), "processes::is_killed_midway", &[&root.text()]);
    dying.expect("midway");
    dying.kill();
    let of_the_dead = segments(root.path());
    assert_eq!(of_the_dead.len(), 1);
    let publisher = Publisher::with_options(TOPIC, &options(root.path())).unwrap();
    publisher.publish(&[100; LEN]).unwrap();
    assert_eq!(segments(root.path()).len(), 2, "the dead's segment isn't adopted");
    let receive = || subscriber.receive_timeout(LONG).unwrap().unwrap();
    for n in [1, 2, 3, 4, 5, 100] {
        assert_eq!(&*receive(), &[n; LEN][..], "whole messages only");
    }
    for n in 0..2 * CAPACITY as u8 {
        publisher.publish(&[n; LEN]).unwrap();
        assert_eq!(receive()[..], [n; LEN]);
    }
    // Who comes and goes looks after what the dead left; nobody can read it any more.
    drop(Publisher::with_options(TOPIC, &options(root.path())).unwrap());
    assert!(of_the_dead.is_disjoint(&segments(root.path())), "{:?}", segments(root.path()));
    drop((publisher, subscriber));
    root.assert_empty();
}

#[test]
fn the_child_of_a_fork_leaves_the_driver_alone() {
    run("processes::forks", &[]);
}

pub fn forks(mut parent: Parent) {
    let (root, driver, copier) = (root(&mut parent), Driver::open(), copier(0));
    let alone = CudaCopier::new(0).unwrap();
    let publisher = Publisher::with_options(TOPIC, &publishing(&root)).unwrap();
    let memory = filled(&driver, &copier, &[1; 100]);
    // SAFETY: as many bytes are there.
    let publish = || unsafe { publisher.publish_from(&copier, memory.as_ptr(), 100) };
    publish().unwrap();
    // SAFETY: no other thread has a lock that the child needs: they wait for work.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let before = driver.count("calls");
        let is_forked = matches!(copier.alloc(1), Err(Error::Forked))
            && matches!(CudaCopier::new(0), Err(Error::NoDevice { reason, .. }) if reason.contains("child of a fork"));
        drop((alone, memory, publisher, copier));
        let done = is_forked && driver.count("calls") == before;
        // SAFETY: the child's end.
        unsafe { libc::_exit(i32::from(!done)) };
    }
    let mut status = 0;
    // SAFETY: waits for one child, into a local.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0);
    publish().unwrap();
    drop((alone, memory, publisher, copier));
    driver.assert_clean();
}

#[test]
fn a_process_may_exit_with_copies_under_way() {
    let root = Root::new();
    for how in ["midway", "at work", "at work", "at work"] {
        Child::start_with(with_driver(&[]), "processes::ends_with_copies_begun", &[&root.text(), &how])
            .finish();
    }
    drop(Publisher::with_options(TOPIC, &options(root.path())).unwrap());
    root.assert_empty();
}

pub fn ends_with_copies_begun(mut parent: Parent) {
    let (root, driver, copier) = (root(&mut parent), Driver::open(), copier(0));
    let publisher = Publisher::with_options(TOPIC, &options(&root)).unwrap();
    driver.set_device(0);
    let (stream, memory) = (driver.stream(), filled(&driver, &copier, &[0; LEN]));
    let publisher = StreamPublisher::new(publisher, copier);
    for n in 0..10 {
        if n == 5 {
            assert!(publisher.wait(LONG).unwrap());
            driver.hold_midway();
        }
        // SAFETY: the memory stays.
        unsafe { publisher.publish(memory.as_ptr(), LEN, stream) }.unwrap();
    }
    driver.wait_midway();
    if parent.text() == "at work" {
        driver.go_on();
    }
    std::process::exit(0);
}
