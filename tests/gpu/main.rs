// SPDX-License-Identifier: MIT OR Apache-2.0
//! The CUDA copier on a real GPU: `make test-gpu`. Where there is none, it is skipped, and says so.
//!
//! Its own part is tried without one: LD_LIBRARY_PATH=target/tmp/fake-cuda, which tests/cuda leaves, has the driver made for tests.
//!
//! One test, so that nothing else of it takes memory of the device while it is counted. Kernels write and check the messages.

#[path = "../support/mod.rs"]
mod support;

mod device;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use device::{seed_of, Device};
use shm::copier::cuda::CudaCopier;
use shm::copier::{Done, SharedCopier, StreamPublisher};
use shm::{Error, Publisher, PublisherOptions, Subscriber};
use support::child::{Child, Parent};
use support::random::Random;
use support::{publishing, subscribing, Root};

const TOPIC: &str = "t";
const LONG: Duration = Duration::from_secs(60);
/// Bytes that may come and go on the device without being ours.
const NOISE: usize = 4 << 20;

#[test]
#[ignore = "a child's part: the other tests start it"]
fn child() {
    support::child::run(&[("publishes_on", publishes_on)]);
}

fn both(root: &Path) -> (Publisher, Subscriber) {
    let options = PublisherOptions { memory: 1 << 30, ..publishing(root) };
    let publisher = Publisher::with_options(TOPIC, &options).unwrap();
    (publisher, Subscriber::with_options(TOPIC, &subscribing(root)).unwrap())
}

fn copier() -> SharedCopier {
    SharedCopier::new(CudaCopier::new(0).unwrap()).unwrap()
}

#[test]
fn on_a_gpu() {
    match CudaCopier::new(0) {
        Err(Error::NoDevice { reason, .. }) => return support::skipped(&reason),
        made => drop(made.unwrap()),
    }
    let device = match Device::open() {
        Ok(device) => device,
        Err(reason) => return support::skipped(&reason),
    };
    contents(&device);
    streams(&device);
    killed_midway(&device);
    leaks(&device);
}

/// One message of `len` bytes from the device's memory to the device's memory.
fn pass(
    device: &Device,
    copier: &SharedCopier,
    (publisher, subscriber): (&Publisher, &Subscriber),
    len: usize,
) {
    let (stream, seed, memory) = (device.stream(), len as u32, copier.alloc(len).unwrap());
    device.fill(memory.as_ptr(), len, seed, stream);
    device.synchronize(stream);
    // SAFETY: as many bytes are there.
    unsafe { publisher.publish_from(copier, memory.as_ptr(), len) }.unwrap();
    let sample = subscriber.receive_timeout(LONG).unwrap().unwrap();
    assert_eq!(seed_of(&sample), Some(seed), "{len} bytes");
    let received = copier.copy_out(&sample).unwrap();
    device.check(received.as_ptr(), len, seed, stream);
    assert_eq!(device.wrong(stream), 0, "{len} bytes");
    device.end(stream);
}

fn contents(device: &Device) {
    let (root, copier) = (Root::new(), copier());
    let (publisher, subscriber) = both(root.path());
    for len in [4, 64, 4092, 4096, 65_536, (1 << 20) + 4, 64 << 20] {
        pass(device, &copier, (&publisher, &subscriber), len);
    }
    publisher.publish(&[0; 100]).unwrap();
    let sample = subscriber.receive().unwrap();
    drop(copier.copy_out(&sample).unwrap());
    eprintln!("read-only mappings are registered: {}", device.is_registered(sample.as_ptr()));
    let mut loan = publisher.loan(100).unwrap();
    let memory = copier.alloc(100).unwrap();
    // SAFETY: as many bytes are there.
    unsafe { copier.user_to_shm(&mut loan, memory.as_ptr()) }.unwrap();
    assert!(device.is_registered(loan.as_ptr()), "a publisher's own mappings are registered");
    drop(loan);
    let plain = [0; 100];
    // SAFETY: as many bytes are there.
    let refused = unsafe { publisher.publish_from(&copier, plain.as_ptr(), 100) };
    assert!(matches!(refused, Err(Error::Copier { .. })), "{refused:?}");
    drop(sample);
    drop((publisher, subscriber));
    root.assert_empty();
}

/// Kernels, copies and kernels again, without a wait between: streams alone keep their order.
fn streams(device: &Device) {
    let (root, copier) = (Root::new(), copier());
    let (publisher, subscriber) = both(root.path());
    let publisher = StreamPublisher::new(publisher, copier.clone());
    let (from, to, len) = (device.stream(), device.stream(), 1 << 20);
    let (source, target) = (copier.alloc(len).unwrap(), copier.alloc(len).unwrap());
    for seed in 0..100 {
        device.fill(source.as_ptr(), len, seed, from);
        // SAFETY: the source stays, and only the same stream writes to it.
        unsafe { publisher.publish(source.as_ptr(), len, from) }.unwrap();
        let sample = subscriber.receive_timeout(LONG).unwrap().unwrap();
        assert_eq!(seed_of(&sample), Some(seed));
        // SAFETY: the target stays, and only the same stream uses it.
        unsafe {
            let done = Done::new(|ended| ended.unwrap());
            copier.shm_to_user_on_stream(target.as_ptr(), sample.keep(), to, done);
        }
        device.check(target.as_ptr(), len, seed, to);
    }
    assert!(publisher.wait(LONG).unwrap());
    assert_eq!(device.wrong(to), 0);
    device.end(from);
    device.end(to);
    drop((publisher, subscriber, source, target, copier));
    root.assert_empty();
}

/// Publishes large messages until it is killed.
fn publishes_on(mut parent: Parent) {
    let (root, device, copier) = (PathBuf::from(parent.text()), Device::open().unwrap(), copier());
    let options = PublisherOptions { memory: 1 << 30, ..publishing(&root) };
    let publisher = Publisher::with_options(TOPIC, &options).unwrap();
    let publisher = StreamPublisher::new(publisher, copier.clone());
    let (stream, len) = (device.stream(), 8 << 20);
    let memory = copier.alloc(len).unwrap();
    parent.say("ready");
    for seed in 0.. {
        device.fill(memory.as_ptr(), len, seed, stream);
        // SAFETY: the memory stays, and only the same stream writes to it.
        unsafe { publisher.publish(memory.as_ptr(), len, stream) }.unwrap();
        if seed % 4 == 0 {
            assert!(publisher.wait(LONG).unwrap());
        }
    }
}

fn killed_midway(device: &Device) {
    let (root, before, mut random) = (Root::new(), device.free(), Random::printed());
    let subscriber = Subscriber::with_options(TOPIC, &subscribing(root.path())).unwrap();
    for _ in 0..support::rounds(5) {
        let mut child = Child::start("publishes_on", &[&root.text()]);
        child.expect("ready");
        let until = Instant::now() + Duration::from_micros(random.below(200_000));
        let mut received = 0;
        while received == 0 || Instant::now() < until {
            let sample = subscriber.receive_timeout(LONG).unwrap().unwrap();
            assert!(seed_of(&sample).is_some(), "a whole message");
            received += 1;
        }
        child.kill();
        while let Some(sample) = subscriber.try_receive().unwrap() {
            assert!(seed_of(&sample).is_some(), "a whole message");
        }
    }
    // The driver takes back what the dead had in its own time.
    let until = Instant::now() + LONG;
    while device.free() + NOISE < before {
        assert!(
            Instant::now() < until,
            "{} bytes of the device were free, and {} are",
            before,
            device.free()
        );
        std::thread::yield_now();
    }
    drop(Publisher::with_options(TOPIC, &publishing(root.path())).unwrap());
    drop(subscriber);
    root.assert_empty();
}

fn leaks(device: &Device) {
    let cycle = || {
        let (root, copier) = (Root::new(), copier());
        let (publisher, subscriber) = both(root.path());
        for len in [100, 1 << 20, 8 << 20] {
            pass(device, &copier, (&publisher, &subscriber), len);
        }
        drop((publisher, subscriber, copier));
        root.assert_empty();
    };
    (0..5).for_each(|_| cycle());
    let before = device.free();
    (0..support::rounds(50)).for_each(|_| cycle());
    let after = device.free();
    assert!(after + NOISE >= before, "{before} bytes of the device were free, and {after} are");
}
