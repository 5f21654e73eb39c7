// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mappings are registered once each, never for a message, and not any more when they go or the copier does.

use std::sync::mpsc::channel;

use shm::copier::{Done, SharedCopier};
use shm::{Publisher, PublisherOptions, Subscriber};

use crate::driver::{copier, filled, root, Driver};
use crate::support::child::Parent;
use crate::support::{publishing, subscribing};
use crate::{run, LONG, TOPIC};

fn both(parent: &mut Parent) -> (Publisher, Subscriber) {
    let root = root(parent);
    // Few and small messages: all of them fit into one segment.
    let options = PublisherOptions { capacity: 8, ..publishing(&root) };
    let publisher = Publisher::with_options(TOPIC, &options).unwrap();
    (publisher, Subscriber::with_options(TOPIC, &subscribing(&root)).unwrap())
}

/// One message, of device memory to device memory.
fn pass(driver: &Driver, copier: &SharedCopier, (publisher, subscriber): (&Publisher, &Subscriber), n: u8) {
    let memory = filled(driver, copier, &[n; 1000]);
    // SAFETY: as many bytes are there.
    unsafe { publisher.publish_from(copier, memory.as_ptr(), 1000) }.unwrap();
    let received = copier.copy_out(&subscriber.receive_timeout(LONG).unwrap().unwrap()).unwrap();
    assert_eq!(driver.behind(received.as_ptr(), 1000), [n; 1000]);
}

#[test]
fn a_mapping_is_registered_once() {
    run("pins::once", &[]);
}

pub fn once(mut parent: Parent) {
    let (driver, copier) = (Driver::open(), copier(0));
    let (publisher, subscriber) = both(&mut parent);
    (0..200).for_each(|n| pass(&driver, &copier, (&publisher, &subscriber), n));
    assert_eq!(driver.count("cuMemHostRegister"), 2, "the publisher's mapping and the subscriber's");
    assert_eq!((driver.count("cuMemHostUnregister"), driver.count("pageable_copies")), (0, 0));
    drop(subscriber);
    assert_eq!(driver.count("registrations"), 1);
    drop(publisher);
    assert_eq!(driver.count("registrations"), 0);
    driver.assert_rules();
    drop(copier);
    driver.assert_clean();
}

#[test]
fn copiers_of_two_devices_share_a_registration() {
    run("pins::two_copiers", &[]);
}

pub fn two_copiers(mut parent: Parent) {
    let (driver, first, second) = (Driver::open(), copier(0), copier(1));
    let (publisher, subscriber) = both(&mut parent);
    pass(&driver, &first, (&publisher, &subscriber), 1);
    pass(&driver, &second, (&publisher, &subscriber), 2);
    drop(first);
    pass(&driver, &second, (&publisher, &subscriber), 3);
    assert_eq!((driver.count("cuMemHostRegister"), driver.count("pageable_copies")), (2, 0));
    drop(second);
    driver.assert_clean();
}

#[test]
fn without_registrations_to_read_only_copies_go_the_slow_way() {
    run("pins::none_of_read_only", &[("FAKE_CUDA_READ_ONLY", "0")]);
}

pub fn none_of_read_only(mut parent: Parent) {
    let (driver, copier) = (Driver::open(), copier(0));
    let (publisher, subscriber) = both(&mut parent);
    (0..10).for_each(|n| pass(&driver, &copier, (&publisher, &subscriber), n));
    assert_eq!((driver.count("cuMemHostRegister"), driver.count("pageable_copies")), (1, 10));
    drop((publisher, subscriber, copier));
    driver.assert_clean();
}

#[test]
fn what_others_registered_stays_theirs() {
    run("pins::registered_by_others", &[]);
}

pub fn registered_by_others(mut parent: Parent) {
    let (driver, copier) = (Driver::open(), copier(0));
    let (publisher, subscriber) = both(&mut parent);
    driver.set_device(0);
    let mut loan = publisher.loan(1000).unwrap();
    let theirs = loan.as_mut_ptr();
    driver.register(&mut loan[..100]);
    drop(loan);
    (0..10).for_each(|n| pass(&driver, &copier, (&publisher, &subscriber), n));
    driver.fail("cuMemHostRegister", 1, 2);
    drop(copier);
    driver.unregister(theirs);
    assert_eq!(driver.count("registrations"), 0);
    driver.assert_rules();
}

#[test]
fn the_end_of_a_copy_may_be_the_end_of_the_copier() {
    run("pins::end_of_the_copier", &[]);
}

pub fn end_of_the_copier(mut parent: Parent) {
    let (driver, copier, beside) = (Driver::open(), copier(0), copier(1));
    let (publisher, subscriber) = both(&mut parent);
    pass(&driver, &copier, (&publisher, &subscriber), 1);
    let target = filled(&driver, &beside, &[0; 1000]);
    publisher.publish(&[7; 1000]).unwrap();
    let sample = subscriber.receive().unwrap().keep();
    driver.set_device(0);
    let (stream, to) = (driver.stream(), copier.alloc(1000).unwrap());
    driver.hold();
    let ((told, ends), into) = (channel(), to.into_raw());
    // SAFETY: the memory stays.
    unsafe {
        copier.shm_to_user_on_stream(into, sample, stream, Done::new(move |ended| told.send(ended).unwrap()))
    };
    // From here on the copy alone keeps the copier, the subscriber and its mapping.
    drop((copier, subscriber, target, beside));
    assert_eq!(driver.count("registrations"), 2);
    driver.go_on();
    ends.recv().unwrap().unwrap();
    assert_eq!(driver.behind(into, 1000), [7; 1000]);
    // The stream and the context that are left are this test's.
    assert_eq!((driver.count("registrations"), driver.count("streams"), driver.count("contexts")), (0, 1, 1));
    driver.assert_rules();
    drop(publisher);
}
