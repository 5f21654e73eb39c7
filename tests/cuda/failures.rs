// SPDX-License-Identifier: MIT OR Apache-2.0
//! What fails is an error with the driver's words, of the call that failed; nothing is published then, and nothing is left.

use shm::copier::cuda::CudaCopier;
use shm::copier::{SharedCopier, StreamPublisher};
use shm::{Error, Publisher, Subscriber};

use crate::driver::{copier, filled, root, Driver};
use crate::support::child::Parent;
use crate::support::{publishing, subscribing};
use crate::{run, LONG, TOPIC};

const STATUS: u32 = 719;
/// Of another size than the other messages, and so in a segment of its own.
const STREAMED: usize = 5000;

fn both(parent: &mut Parent) -> (Publisher, Subscriber) {
    let root = root(parent);
    let publisher = Publisher::with_options(TOPIC, &publishing(&root)).unwrap();
    (publisher, Subscriber::with_options(TOPIC, &subscribing(&root)).unwrap())
}

#[track_caller]
fn assert_failed<T>(result: shm::Result<T>, call: &str, status: u32) {
    match result.err() {
        Some(Error::Copier { call: failed, status: given, message }) => {
            assert_eq!((failed, given), (call, status as i32));
            assert_eq!(message, format!("FAKE_ERROR_{status} (words of the fake driver)"));
        }
        other => panic!("{call}: {other:?}"),
    }
}

#[test]
fn the_failure_of_each_call_reaches_the_caller() {
    run("failures::of_each_call", &[]);
}

pub fn of_each_call(mut parent: Parent) {
    let (driver, (publisher, subscriber)) = (Driver::open(), both(&mut parent));
    drop(copier(0));
    let of_making = [
        "cuDeviceGetCount",
        "cuDeviceGet",
        "cuDevicePrimaryCtxRetain",
        "cuCtxPushCurrent",
        "cuDeviceGetAttribute",
        "cuStreamCreate",
    ];
    for call in of_making {
        driver.fail(call, 1, STATUS);
        assert_failed(CudaCopier::new(0), call, STATUS);
        driver.assert_clean();
    }
    driver.fail("cuStreamCreate", 1, 12345);
    let error = CudaCopier::new(0).unwrap_err().to_string();
    assert!(error.contains("12345, which the driver has no words for"), "{error}");

    let copier = copier(0);
    for call in ["cuCtxPushCurrent", "cuMemAlloc"] {
        driver.fail(call, 1, STATUS);
        assert_failed(copier.alloc(10), call, STATUS);
    }
    of_copies(&driver, &copier, &publisher, &subscriber);
    let memory = copier.alloc(10).unwrap().into_raw();
    driver.fail("cuMemFree", 1, STATUS);
    // SAFETY: it wasn't freed by the first.
    unsafe {
        assert_failed(copier.dealloc(memory, 10), "cuMemFree", STATUS);
        copier.dealloc(memory, 10).unwrap();
    }
    let memory = filled(&driver, &copier, &[1; STREAMED]);
    of_streams(&driver, &copier, publisher, memory.as_ptr());
    assert_eq!(subscriber.receive().unwrap().len(), STREAMED);
    assert!(subscriber.try_receive().unwrap().is_none());
    drop((memory, subscriber, copier));
    driver.assert_rules();
    for name in ["allocations", "registrations", "left_at_the_end"] {
        assert_eq!(driver.count(name), 0, "{name}");
    }
}

fn of_copies(driver: &Driver, copier: &SharedCopier, publisher: &Publisher, subscriber: &Subscriber) {
    let memory = filled(driver, copier, &[1; 100]);
    // SAFETY: as many bytes are there.
    let publish = || unsafe { publisher.publish_from(copier, memory.as_ptr(), 100) };
    driver.fail("cuMemHostRegister", 1, STATUS);
    publish().unwrap();
    assert_eq!(driver.count("pageable_copies"), 1, "what can't be registered goes the slow way");
    let sample = subscriber.receive_timeout(LONG).unwrap().unwrap();
    let calls = ["cuCtxPushCurrent", "cuPointerGetAttributes", "cuMemcpyAsync", "cuStreamSynchronize"];
    for call in calls {
        driver.fail(call, 1, STATUS);
        assert_failed(publish(), call, STATUS);
        let memory = publisher.memory().unwrap();
        assert_eq!((memory.in_topic, memory.in_topic + memory.free), (1, memory.chunks), "{call}");
        if call != "cuCtxPushCurrent" {
            driver.fail(call, 1, STATUS);
            assert_failed(copier.copy_out(&sample), call, STATUS);
        }
        assert_eq!(driver.count("allocations"), 1, "{call}");
    }
    assert!(subscriber.try_receive().unwrap().is_none());
}

fn of_streams(driver: &Driver, copier: &SharedCopier, publisher: Publisher, memory: *const u8) {
    driver.set_device(0);
    let stream = driver.stream();
    let publisher = StreamPublisher::new(publisher, copier.clone());
    // SAFETY: the memory stays, here and below.
    unsafe { publisher.publish(memory, STREAMED, stream) }.unwrap();
    assert!(publisher.wait(LONG).unwrap());
    let pageable = driver.count("pageable_copies");
    let calls = [
        "cuCtxPushCurrent",
        "cuPointerGetAttributes",
        "cuStreamIsCapturing",
        "cuMemcpyAsync",
        "cuStreamAddCallback",
    ];
    for call in calls {
        driver.fail(call, 1, STATUS);
        // SAFETY: the memory stays.
        unsafe { publisher.publish(memory, STREAMED, stream) }.unwrap();
        assert_failed(publisher.wait(LONG), call, STATUS);
        assert!(publisher.wait(LONG).unwrap(), "once");
    }
    // A copy that was begun, but of whose end the driver won't tell, has ended before the loan is anybody's again.
    let before = driver.count("copies_made");
    driver.fail("cuStreamAddCallback", 1, STATUS);
    driver.hold_midway();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            driver.wait_midway();
            driver.go_on();
        });
        // SAFETY: the memory stays.
        unsafe { publisher.publish(memory, STREAMED, stream) }.unwrap();
        assert_failed(publisher.wait(LONG), "cuStreamAddCallback", STATUS);
        assert_eq!(driver.count("copies_made"), before + 1);
    });
    assert_eq!(driver.count("pageable_copies"), pageable, "the driver waits for those by itself");
}

#[test]
fn the_failure_of_the_device_reaches_the_caller() {
    run("failures::of_the_device", &[]);
}

pub fn of_the_device(mut parent: Parent) {
    let (driver, copiers) = (Driver::open(), [copier(0), copier(1)]);
    let (publisher, subscriber) = both(&mut parent);
    let memory = copiers.each_ref().map(|copier| filled(&driver, copier, &[1; 100]));
    driver.fail("copy", 1, 700);
    // SAFETY: as many bytes are there.
    let published = unsafe { publisher.publish_from(&copiers[0], memory[0].as_ptr(), 100) };
    assert_failed(published, "cuStreamSynchronize", 700);
    driver.set_device(1);
    let stream = driver.stream();
    let publisher = StreamPublisher::new(publisher, copiers[1].clone());
    driver.fail("copy", 2, 700);
    driver.hold();
    for _ in 0..3 {
        // SAFETY: the memory stays.
        unsafe { publisher.publish(memory[1].as_ptr(), 100, stream) }.unwrap();
    }
    driver.go_on();
    // Of the second, and not of the third as well.
    assert_failed(publisher.wait(LONG), "cuMemcpyAsync", 700);
    assert_eq!(subscriber.receive_timeout(LONG).unwrap().unwrap().len(), 100);
    assert!(subscriber.try_receive().unwrap().is_none());
    assert_failed(copiers[1].alloc(10), "cuMemAlloc", 700);
}

#[test]
fn only_memory_that_the_device_reaches_is_copied() {
    run("failures::memory_of_others", &[]);
}

pub fn memory_of_others(mut parent: Parent) {
    let (driver, copier, other) = (Driver::open(), copier(0), copier(1));
    let (publisher, subscriber) = both(&mut parent);
    let mut plain = vec![3u8; 100];
    let theirs = other.alloc(100).unwrap();
    let refused = |memory: *const u8, why: &str| {
        // SAFETY: as many bytes are there, if the copier took them.
        match unsafe { publisher.publish_from(&copier, memory, 100) } {
            Err(Error::Copier { message, .. }) => assert!(message.contains(why), "{message}"),
            other => panic!("{other:?}"),
        }
    };
    refused(plain.as_ptr(), "isn't memory that CUDA knows");
    refused(std::ptr::null(), "isn't memory that CUDA knows");
    refused(theirs.as_ptr(), "is memory of device 1, but this copier is device 0's");
    driver.pretend_managed(plain.as_ptr(), 1, false);
    refused(plain.as_ptr(), "is memory that device 0 doesn't reach");
    assert!(subscriber.try_receive().unwrap().is_none());
    driver.pretend_managed(plain.as_ptr(), 1, true);
    // SAFETY: as many bytes are there.
    unsafe { publisher.publish_from(&copier, plain.as_ptr(), 100) }.unwrap();
    assert_eq!(&*subscriber.receive().unwrap(), &plain, "managed memory, wherever it is");
    driver.pretend_managed(std::ptr::null(), 0, false);
    driver.set_device(1);
    driver.register(&mut plain);
    // SAFETY: as many bytes are there.
    unsafe { publisher.publish_from(&copier, plain.as_ptr(), 100) }.unwrap();
    assert_eq!(&*subscriber.receive().unwrap(), &plain);
    driver.unregister(plain.as_mut_ptr());
    driver.assert_rules();
}

#[test]
fn a_stream_that_is_captured_is_refused() {
    run("failures::while_capturing", &[]);
}

pub fn while_capturing(mut parent: Parent) {
    let (driver, copier) = (Driver::open(), copier(0));
    let (publisher, subscriber) = both(&mut parent);
    driver.set_device(0);
    let (stream, memory) = (driver.stream(), filled(&driver, &copier, &[1; 100]));
    let publisher = StreamPublisher::new(publisher, copier);
    for is_capturing in [true, false] {
        driver.capture(stream, is_capturing);
        // SAFETY: the memory stays.
        unsafe { publisher.publish(memory.as_ptr(), 100, stream) }.unwrap();
        match publisher.wait(LONG) {
            Err(Error::Copier { message, .. }) if is_capturing => assert!(message.contains("graph")),
            Ok(true) if !is_capturing => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(subscriber.receive().unwrap().len(), 100);
    assert!(subscriber.try_receive().unwrap().is_none());
    driver.assert_rules();
}
