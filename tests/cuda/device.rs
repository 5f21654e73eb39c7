// SPDX-License-Identifier: MIT OR Apache-2.0
//! Device topics: what is in one process's device memory is what another one's device reads, at the cost of a look into a table.

use std::path::Path;
use std::time::Duration;

use shm::copier::cuda::{DeviceOptions, DevicePublisher, DeviceSample, DeviceSubscriber, Placement};
use shm::dlpack::{DLDataType, DLManagedTensorVersioned};
use shm::{Error, Publisher, PublisherOptions, Subscriber, SubscriberOptions};

use crate::driver::{root, Driver};
use crate::support::child::{Child, Parent};
use crate::support::{publishing, subscribing};
use crate::{run, with_driver, LONG, TOPIC};

pub const LARGEST: usize = 3 << 20;
pub const BLOCKS: u32 = 4;

const fn is_for_any_thread<T: Send + Sync>() {}
const _: () = is_for_any_thread::<DevicePublisher>();
const _: () = is_for_any_thread::<DeviceSample<'static>>();

pub fn device_options(blocks: u32, placement: Placement) -> DeviceOptions {
    DeviceOptions { device: 0, largest: LARGEST, blocks, placement }
}

pub fn publisher(root: &Path, blocks: u32, placement: Placement) -> DevicePublisher {
    DevicePublisher::new(TOPIC, &publishing(root), &device_options(blocks, placement)).unwrap()
}

pub fn subscriber(root: &Path) -> DeviceSubscriber {
    DeviceSubscriber::new(TOPIC, &subscribing(root), 0).unwrap()
}

/// Publishes `len` bytes that are all `byte`.
pub fn publish(driver: &Driver, publisher: &DevicePublisher, byte: u8, len: usize) {
    let loan = publisher.loan(len).unwrap();
    match loan.placement() {
        Placement::Device => driver.behind(loan.as_ptr(), len.max(1))[..len].fill(byte),
        // SAFETY: the fake driver's host memory is where the processor sees it.
        _ => unsafe { std::slice::from_raw_parts_mut(loan.as_ptr(), len) }.fill(byte),
    }
    loan.publish().unwrap();
}

pub fn receive(subscriber: &DeviceSubscriber) -> DeviceSample<'_> {
    subscriber.receive_timeout(LONG).unwrap().expect("a message")
}

#[track_caller]
pub fn assert_all(driver: &Driver, sample: &DeviceSample<'_>, byte: u8, len: usize) {
    assert_eq!(sample.len(), len);
    assert_eq!(sample.placement(), Placement::Device);
    assert!(driver.behind(sample.as_ptr(), len.max(1))[..len].iter().all(|&found| found == byte));
}

#[test]
fn a_block_is_mapped_once() {
    run("device::there_and_back", &[]);
    run("device::there_and_back", &[("FAKE_CUDA_READ_ACCESS", "0")]);
}

pub fn there_and_back(mut parent: Parent) {
    let (root, driver) = (root(&mut parent), Driver::open());
    let (publisher, subscriber) = (publisher(&root, BLOCKS, Placement::Auto), subscriber(&root));
    for len in [0, 1, 4096, 2 << 20, LARGEST] {
        publish(&driver, &publisher, len as u8 ^ 7, len);
        assert_all(&driver, &receive(&subscriber), len as u8 ^ 7, len);
    }
    // All blocks have been around.
    for n in 0..2 * BLOCKS as u8 {
        publish(&driver, &publisher, n, 10);
        assert_all(&driver, &receive(&subscriber), n, 10);
    }
    let calls = driver.count("calls");
    for n in 0..100 {
        publish(&driver, &publisher, n, 10);
        assert_all(&driver, &receive(&subscriber), n, 10);
    }
    assert_eq!(driver.count("calls"), calls, "no call of the driver for a message");
    // The publisher's, its subscriber's, and the one that it was tried out with.
    assert_eq!(driver.count("cuMemMap"), 2 * u64::from(BLOCKS) + 1);
    assert_eq!(subscriber.lost(), 0);
    let kept = receive_kept(&driver, &publisher, &subscriber);
    drop((publisher, subscriber));
    assert_all(&driver, &kept, 9, 10);
    drop(kept);
    driver.assert_clean();
}

fn receive_kept(
    driver: &Driver,
    publisher: &DevicePublisher,
    subscriber: &DeviceSubscriber,
) -> DeviceSample<'static> {
    publish(driver, publisher, 9, 10);
    receive(subscriber).keep()
}

#[test]
fn device_messages_are_tensors_of_the_device() {
    run("device::tensors", &[]);
}

pub fn tensors(mut parent: Parent) {
    let (root, driver) = (root(&mut parent), Driver::open());
    let (publisher, subscriber) = (publisher(&root, BLOCKS, Placement::Device), subscriber(&root));
    // More than there are holds: each is given back by the tensor's end.
    for n in 0..40u8 {
        publish(&driver, &publisher, n, 24);
        let sample = receive(&subscriber).keep();
        let start = sample.as_ptr();
        if n % 4 == 3 {
            assert!(matches!(sample.into_dlpack(&[5], DLDataType::F32), Err(Error::WrongSize { .. })));
            continue;
        }
        let managed = sample.into_dlpack_versioned(&[2, 3], DLDataType::F32).unwrap();
        // SAFETY: it lives until its deleter is called, which is below.
        let (tensor, flags, delete) = unsafe {
            let managed = managed.as_ref();
            (managed.dl_tensor, managed.flags, managed.deleter.unwrap())
        };
        assert_eq!((tensor.device.device_type, tensor.device.device_id), (2, 0), "CUDA's");
        assert_eq!((tensor.data.cast_const().cast(), tensor.byte_offset), (start, 0));
        assert_eq!(flags, DLManagedTensorVersioned::READ_ONLY);
        assert!(driver.behind(tensor.data.cast(), 24).iter().all(|&byte| byte == n));
        let tensor = managed.as_ptr() as usize;
        // SAFETY: from any thread, once.
        let end = move || unsafe { delete(tensor as *mut DLManagedTensorVersioned) };
        std::thread::spawn(end).join().unwrap();
    }
    drop((publisher, subscriber));
    driver.assert_clean();
}

#[test]
fn processes_exchange_device_messages() {
    run("device::receives", &[]);
}

/// Publishes `rounds` messages, each when it is told to.
pub fn publishes(mut parent: Parent) {
    let (root, driver) = (root(&mut parent), Driver::open());
    let publisher = publisher(&root, BLOCKS, Placement::Device);
    parent.say("ready");
    while let Some(byte) = parent.hear() {
        publish(&driver, &publisher, byte.parse().unwrap(), LARGEST);
        parent.say("published");
    }
    drop(publisher);
    driver.assert_clean();
}

pub fn receives(mut parent: Parent) {
    let root = root(&mut parent);
    let (driver, subscriber) = (Driver::open(), subscriber(&root));
    let start = || Child::start_with(with_driver(&[]), "device::publishes", &[&root.display()]);
    let mut publishers = [start(), start()];
    for publisher in &mut publishers {
        publisher.expect("ready");
    }
    for round in 0..8 {
        for (of, publisher) in publishers.iter_mut().enumerate() {
            publisher.say(2 * round + of);
            publisher.expect("published");
            assert_all(&driver, &receive(&subscriber), (2 * round + of) as u8, LARGEST);
        }
    }
    assert_eq!(driver.count("cuMemImportFromShareableHandle"), 2 * u64::from(BLOCKS));
    publishers.into_iter().for_each(Child::finish);
    // Those who are gone are let go of when there is nothing of theirs to come.
    for _ in 0..2 {
        assert!(subscriber.receive_timeout(Duration::from_millis(1)).unwrap().is_none());
    }
    assert_eq!(driver.count("vmm_mappings"), 0);
    assert_eq!(subscriber.lost(), 0);
    drop(subscriber);
    driver.assert_clean();
}

#[test]
fn payloads_may_be_in_host_memory() {
    run("device::in_host_memory", &[("PLACEMENT", "host")]);
    run("device::in_host_memory", &[("FAKE_CUDA_EXPORTS", "0")]);
    run("device::in_host_memory", &[("FAKE_CUDA_EXPORTS", "0"), ("FAKE_CUDA_SAME_ADDRESSES", "0")]);
    run("device::in_host_memory", &[("FAKE_CUDA_EXPORTS", "0"), ("FAKE_CUDA_READ_ONLY", "0")]);
}

pub fn in_host_memory(mut parent: Parent) {
    let (root, driver) = (root(&mut parent), Driver::open());
    let wanted = if std::env::var_os("PLACEMENT").is_some() { Placement::Host } else { Placement::Auto };
    let (publisher, subscriber) = (publisher(&root, BLOCKS, wanted), subscriber(&root));
    assert_eq!(publisher.placement(), Placement::Host);
    let is_copied = std::env::var_os("FAKE_CUDA_READ_ONLY").is_some();
    let exchange = |round, len| {
        publish(&driver, &publisher, round, len);
        let sample = receive(&subscriber);
        assert_eq!((sample.len(), sample.placement()), (len, Placement::Host));
        assert_eq!(sample.as_ptr() as usize % 64, 0);
        let bytes = match is_copied {
            _ if len == 0 => return,
            true => &*driver.behind(sample.as_ptr(), len),
            // SAFETY: as in `publish`.
            false => unsafe { std::slice::from_raw_parts(sample.as_ptr(), len) },
        };
        assert!(bytes.iter().all(|&found| found == round));
    };
    for len in [0, 1, 4096, LARGEST] {
        exchange(1, len);
    }
    (0..8).for_each(|round| exchange(round, LARGEST));
    let calls = driver.count("calls");
    (0..8).for_each(|round| exchange(round, LARGEST));
    if !is_copied && std::env::var_os("FAKE_CUDA_SAME_ADDRESSES").is_none() {
        assert_eq!(driver.count("calls"), calls, "no call of the driver for a message");
    }
    assert_eq!(driver.count("vmm_mappings"), 0);
    // What the device was told of stays so for a kept sample.
    publish(&driver, &publisher, 9, 10);
    let (kept, registered) = (receive(&subscriber).keep(), driver.count("registrations"));
    drop((publisher, subscriber));
    assert!(is_copied || (registered > 0 && driver.count("registrations") > 0));
    drop(kept);
    driver.assert_clean();
}

#[test]
fn streams_order_the_messages() {
    run("device::on_streams", &[]);
}

pub fn on_streams(mut parent: Parent) {
    let (root, driver) = (root(&mut parent), Driver::open());
    let (publisher, subscriber) = (publisher(&root, 1, Placement::Device), subscriber(&root));
    driver.set_device(0);
    let stream = driver.stream();
    driver.hold();
    let loan = publisher.loan(10).unwrap();
    driver.behind(loan.as_ptr(), 10).fill(1);
    // SAFETY: the stream stays.
    unsafe { loan.publish_on_stream(stream) }.unwrap();
    assert!(!publisher.wait(Duration::from_millis(10)).unwrap());
    assert!(subscriber.try_receive().unwrap().is_none(), "its stream hasn't come to it");
    assert!(matches!(publisher.loan(1), Err(Error::NoBlock { .. })), "the only block is in use");
    driver.go_on();
    assert!(publisher.wait(LONG).unwrap());
    let sample = receive(&subscriber);
    assert_all(&driver, &sample, 1, 10);
    driver.hold();
    // SAFETY: as above.
    unsafe { sample.release_on_stream(stream) }.unwrap();
    for _ in 0..3 {
        assert!(matches!(publisher.loan(1), Err(Error::NoBlock { .. })), "the device may be reading it");
    }
    driver.go_on();
    let loan = loop {
        match publisher.loan(1) {
            Err(Error::NoBlock { .. }) => std::thread::yield_now(),
            other => break other.unwrap(),
        }
    };
    driver.capture(stream, true);
    // SAFETY: as above.
    assert!(matches!(unsafe { loan.publish_on_stream(stream) }, Err(Error::Copier { status: 900, .. })));
    publish(&driver, &publisher, 2, 1);
    let sample = receive(&subscriber);
    // SAFETY: as above.
    assert!(matches!(unsafe { sample.release_on_stream(stream) }, Err(Error::Copier { status: 900, .. })));
    driver.capture(stream, false);
    drop(publisher.loan(1).unwrap());
    drop((publisher, subscriber));
    driver.assert_rules();
}

#[test]
fn a_publisher_s_end_waits_for_its_streams() {
    run("device::ends_with_work_begun", &[]);
}

pub fn ends_with_work_begun(mut parent: Parent) {
    let (root, driver) = (root(&mut parent), Driver::open());
    let (publisher, subscriber) = (publisher(&root, 1, Placement::Device), subscriber(&root));
    publish(&driver, &publisher, 1, 10);
    drop(receive(&subscriber));
    driver.set_device(0);
    let (stream, mut source) = (driver.stream(), [2; 10]);
    driver.register(&mut source);
    driver.hold();
    let loan = publisher.loan(10).unwrap();
    driver.copy(loan.as_ptr(), source.as_ptr(), 10, stream);
    // SAFETY: the stream stays.
    unsafe { loan.publish_on_stream(stream) }.unwrap();
    let ending = std::thread::spawn(move || drop(publisher));
    assert!(subscriber.receive_timeout(Duration::from_millis(50)).unwrap().is_none());
    assert!(!ending.is_finished());
    driver.go_on();
    ending.join().unwrap();
    assert_all(&driver, &subscriber.try_receive().unwrap().expect("its last message"), 2, 10);
    driver.unregister(source.as_mut_ptr());
    drop(subscriber);
    driver.assert_rules();
}

#[test]
fn what_is_no_device_message_is_an_error() {
    run("device::of_what_is_no_device_message", &[]);
}

/// Publishes what `change` makes of a real message's descriptor.
fn forge(ordinary: &Publisher, real: &[u8], change: impl FnOnce(&mut Vec<u8>)) {
    let mut forged = real.to_vec();
    change(&mut forged);
    ordinary.publish(&forged).unwrap();
}

pub fn of_what_is_no_device_message(mut parent: Parent) {
    let (root, driver) = (root(&mut parent), Driver::open());
    let (publisher, subscriber) = (publisher(&root, BLOCKS, Placement::Device), subscriber(&root));
    let plain = Subscriber::with_options(TOPIC, &subscribing(&root)).unwrap();
    let ordinary = Publisher::with_options(TOPIC, &publishing(&root)).unwrap();
    publish(&driver, &publisher, 1, 10);
    let real = plain.receive().unwrap().to_vec();
    drop(receive(&subscriber));
    let mut lost = 0;
    let mut refused = |change: &dyn Fn(&mut Vec<u8>)| {
        forge(&ordinary, &real, change);
        lost += 1;
        let error = subscriber.try_receive().expect_err("it is refused");
        assert_eq!(subscriber.lost(), lost);
        error
    };
    // As descriptor.rs has them: magic, version, placement, length, id, size, device, door, network.
    for at in [0, 8, 12] {
        assert!(matches!(refused(&|bytes| bytes[at] ^= 0x55), Error::Decode(_)));
    }
    assert!(matches!(refused(&|bytes| bytes.truncate(127)), Error::Decode(_)));
    assert!(matches!(refused(&|bytes| bytes.clear()), Error::Decode(_)));
    assert!(matches!(refused(&|bytes| bytes[20] = 1), Error::Decode(_)), "beyond its block");
    assert!(matches!(refused(&|bytes| bytes[45] = 1), Error::Copier { .. }), "a larger block of that id");
    assert!(matches!(refused(&|bytes| bytes[24] ^= 1), Error::Copier { .. }), "no such id");
    assert!(
        matches!(refused(&|bytes| (bytes[24], bytes[48]) = (0, 0xee)), Error::Copier { .. }),
        "no such device"
    );
    let elsewhere = refused(&|bytes| (bytes[24], bytes[72]) = (bytes[24] ^ 1, bytes[72] ^ 1));
    assert!(elsewhere.to_string().contains("network namespace"), "{elsewhere}");
    // A publisher that is gone.
    forge(&ordinary, &real, |bytes| (bytes[24], bytes[64]) = (bytes[24] ^ 1, bytes[64] ^ 1));
    assert!(subscriber.try_receive().unwrap().is_none());
    assert_eq!(subscriber.lost(), lost + 1);
    publish(&driver, &publisher, 2, 10);
    assert_all(&driver, &receive(&subscriber), 2, 10);
    drop((publisher, subscriber, plain, ordinary));
    driver.assert_clean();
}

#[test]
fn the_driver_refuses_a_block_that_is_larger_than_its_memory() {
    run("device::of_a_larger_block", &[]);
}

pub fn of_a_larger_block(mut parent: Parent) {
    let (root, driver) = (root(&mut parent), Driver::open());
    let publisher = publisher(&root, BLOCKS, Placement::Device);
    let plain = Subscriber::with_options(TOPIC, &subscribing(&root)).unwrap();
    publish(&driver, &publisher, 1, 10);
    let real = plain.receive().unwrap().to_vec();
    let (subscriber, ordinary) =
        (subscriber(&root), Publisher::with_options(TOPIC, &publishing(&root)).unwrap());
    forge(&ordinary, &real, |bytes| bytes[43] = 1);
    assert!(matches!(subscriber.try_receive(), Err(Error::Copier { call: "cuMemMap", .. })));
    drop((publisher, subscriber, plain, ordinary));
    driver.assert_clean();
}

#[test]
fn other_devices_read_it_where_they_can() {
    run("device::without_peers", &[]);
    run("device::without_peers", &[("FAKE_CUDA_PEERS", "0")]);
}

pub fn without_peers(mut parent: Parent) {
    let (root, driver) = (root(&mut parent), Driver::open());
    let publisher = publisher(&root, BLOCKS, Placement::Auto);
    let subscriber = DeviceSubscriber::new(TOPIC, &subscribing(&root), 1).unwrap();
    publish(&driver, &publisher, 1, 10);
    if std::env::var_os("FAKE_CUDA_PEERS").is_none() {
        assert_all(&driver, &receive(&subscriber), 1, 10);
    } else {
        let error = subscriber.try_receive().expect_err("there are no peers");
        assert!(error.to_string().contains("Placement::Host"), "{error}");
        assert_eq!(subscriber.lost(), 1);
        // The publisher is told, and does without.
        while publisher.placement() == Placement::Device {
            std::thread::yield_now();
        }
        publish(&driver, &publisher, 2, 10);
        let sample = receive(&subscriber);
        assert_eq!((sample.placement(), sample.len()), (Placement::Host, 10));
    }
    drop((publisher, subscriber));
    driver.assert_clean();
}

#[test]
fn what_can_not_be_had_is_refused() {
    run("device::refuses", &[]);
}

const CALLS: [&str; 6] = [
    "cuMemGetAllocationGranularity",
    "cuMemCreate",
    "cuMemAddressReserve",
    "cuMemMap",
    "cuMemSetAccess",
    "cuCtxPushCurrent",
];

pub fn refuses(mut parent: Parent) {
    let (root, driver) = (root(&mut parent), Driver::open());
    let refused = |options: &PublisherOptions, device: DeviceOptions| {
        let made = DevicePublisher::new(TOPIC, options, &device);
        assert!(matches!(made, Err(Error::InvalidOption { .. })), "{made:?}");
    };
    refused(&publishing(&root), device_options(65, Placement::Auto));
    refused(&publishing(&root), DeviceOptions::default());
    refused(&PublisherOptions { memory: 1 << 30, ..publishing(&root) }, device_options(1, Placement::Auto));
    let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
    let before = threads();
    let unnamed = DevicePublisher::new("", &publishing(&root), &device_options(1, Placement::Device));
    assert!(matches!(unnamed, Err(Error::InvalidName { .. })));
    assert_eq!(threads(), before, "what was begun has ended");
    let none = DeviceSubscriber::new(TOPIC, &SubscriberOptions { holds: 1, ..subscribing(&root) }, 7);
    assert!(matches!(none, Err(Error::NoDevice { .. })));
    let (publisher, subscriber) = (publisher(&root, 1, Placement::Device), subscriber(&root));
    assert!(matches!(publisher.loan(LARGEST + 1), Err(Error::TooLarge { .. })));
    for call in CALLS {
        driver.fail(call, 1, 2);
        assert!(matches!(publisher.loan(1), Err(Error::Copier { status: 2, .. })), "{call}");
    }
    publish(&driver, &publisher, 1, 10);
    for (lost, call) in (1..).zip([
        "cuMemImportFromShareableHandle",
        "cuMemAddressReserve",
        "cuMemMap",
        "cuMemExportToShareableHandle",
    ]) {
        driver.fail(call, 1, 2);
        assert!(matches!(subscriber.try_receive(), Err(Error::Copier { .. })), "{call}");
        assert_eq!(subscriber.lost(), lost);
        assert_eq!(driver.count("vmm_mappings"), 1, "{call}: the publisher's alone");
        publish(&driver, &publisher, 1, 10);
    }
    drop((publisher, subscriber));
    driver.assert_clean();
}

#[test]
fn who_has_no_block_left_is_told_of_the_option_that_says_how_many() {
    run("device::has_no_block", &[]);
}

pub fn has_no_block(mut parent: Parent) {
    let (root, driver) = (root(&mut parent), Driver::open());
    for placement in [Placement::Device, Placement::Host] {
        let publisher = publisher(&root, 2, placement);
        let two = [(); 2].map(|()| publisher.loan(LARGEST).unwrap());
        let error = publisher.loan(LARGEST).expect_err("there is no third");
        assert!(matches!(error, Error::NoBlock { blocks: 2 }), "{error:?}");
        let words = error.to_string();
        assert!(words.starts_with("all 2 blocks of the device publisher are taken by loans"), "{words}");
        assert!(words.contains("release some, or create it with a larger option `blocks`"), "{words}");
        drop(two);
        assert_eq!(publisher.loan(LARGEST).unwrap().placement(), placement);
    }
    driver.assert_clean();
}

#[test]
fn device_memory_that_can_not_be_exported_is_refused() {
    run("device::can_not_export", &[("FAKE_CUDA_EXPORTS", "0")]);
}

pub fn can_not_export(mut parent: Parent) {
    let root = root(&mut parent);
    let made = DevicePublisher::new(TOPIC, &publishing(&root), &device_options(1, Placement::Device));
    assert!(matches!(made, Err(Error::Copier { .. })), "{made:?}");
}

#[test]
fn who_only_asks_lets_go_of_publishers_that_are_gone() {
    run("device::polls", &[]);
}

pub fn polls(mut parent: Parent) {
    let (root, driver) = (root(&mut parent), Driver::open());
    let (publisher, subscriber) = (publisher(&root, 1, Placement::Device), subscriber(&root));
    publish(&driver, &publisher, 1, 10);
    drop(receive(&subscriber));
    drop(publisher);
    assert_eq!(driver.count("vmm_mappings"), 1);
    for _ in 0..10_000 {
        assert!(subscriber.try_receive().unwrap().is_none());
    }
    assert_eq!(driver.count("vmm_mappings"), 0);
    drop(subscriber);
    driver.assert_clean();
}
