// SPDX-License-Identifier: MIT OR Apache-2.0
//! What copiers are told, and what becomes of it: topics, services and streams of one process.

#[path = "support/copier.rs"]
mod copier;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

use copier::{Counting, Told, STREAM};
use shm::copier::cpu::{CpuCopy, ParallelCopy, ParallelOptions};
use shm::copier::{Copier, Done, SharedCopier, StreamPublisher, UserMemory};
use shm::{
    Client, ClientOptions, Error, Publisher, PublisherOptions, Server, ServerOptions, Subscriber,
    SubscriberOptions,
};

/// Of the topic; the first message's position, too.
const CAPACITY: u64 = 4;

fn publisher(root: &Path) -> Publisher {
    let options = PublisherOptions { root: Some(root.into()), capacity: 4, ..Default::default() };
    Publisher::with_options("t", &options).unwrap()
}

fn subscriber(root: &Path) -> Subscriber {
    let options = SubscriberOptions { root: Some(root.into()), capacity: 4, ..Default::default() };
    Subscriber::with_options("t", &options).unwrap()
}

fn reliable(root: &Path, holds: u32) -> Subscriber {
    let root = Some(root.into());
    let options = SubscriberOptions { root, capacity: 4, holds, reliable: true, ..Default::default() };
    Subscriber::with_options("t", &options).unwrap()
}

fn counting(pins: bool) -> (SharedCopier, Arc<Told>) {
    let (counting, told) = Counting::new(pins);
    (SharedCopier::new(counting).unwrap(), told)
}

/// What a user has in memory of this kind.
fn written(copier: &SharedCopier, text: &[u8]) -> UserMemory {
    let memory = copier.alloc(text.len()).unwrap();
    for (at, byte) in text.iter().enumerate() {
        // SAFETY: within what was allocated; each byte is its complement there.
        unsafe { memory.as_ptr().add(at).write(!byte) };
    }
    memory
}

fn read(memory: &UserMemory) -> Vec<u8> {
    // SAFETY: within what was allocated.
    (0..memory.len()).map(|at| !unsafe { memory.as_ptr().add(at).read() }).collect()
}

fn publish(publisher: &Publisher, copier: &SharedCopier, text: &[u8]) -> shm::Result<u64> {
    let memory = written(copier, text);
    // SAFETY: as many bytes were allocated.
    unsafe { publisher.publish_from(copier, memory.as_ptr(), memory.len()) }
}

#[test]
fn what_a_copier_publishes_another_one_receives() {
    let root = tempfile::tempdir().unwrap();
    let (publisher, subscriber) = (publisher(root.path()), subscriber(root.path()));
    let ((from, told_from), (to, told_to)) = (counting(true), counting(true));
    let all_sizes = || {
        for round in 0..100usize {
            let text = vec![round as u8; 1 + 97 * round];
            publish(&publisher, &from, &text).unwrap();
            let sample = subscriber.try_receive().unwrap().expect("a message");
            assert_eq!(*sample, *text, "as the processor sees it");
            assert_eq!(read(&to.copy_out(&sample).unwrap()), text);
        }
    };
    all_sizes();
    let segments = told_from.count(|told| &told.pins);
    (0..3).for_each(|_| all_sizes());
    assert_eq!(told_from.count(|told| &told.copies_in), 400);
    assert_eq!(told_from.count(|told| &told.copies_out), 0);
    assert_eq!(told_to.count(|told| &told.copies_out), 400);
    assert_eq!(told_to.count(|told| &told.bytes), (0..100).map(|round| 1 + 97 * round).sum::<u64>() * 4);
    // Once a mapping, not a message: the same sizes are in the same segments.
    assert_eq!(told_from.count(|told| &told.pins), segments);
    assert_eq!(told_to.count(|told| &told.pins), segments);
    assert_eq!(told_from.pinned.lock().unwrap().len() as u64, segments);
    assert!(told_from.pinned.lock().unwrap().values().all(|&(_, is_writable)| is_writable));
    assert!(told_to.pinned.lock().unwrap().values().all(|&(_, is_writable)| !is_writable));
    drop((from, to));
    told_from.assert_ended();
    told_to.assert_ended();
}

#[test]
fn mappings_are_unpinned_before_they_go() {
    let root = tempfile::tempdir().unwrap();
    let (copier, told) = counting(true);
    for _ in 0..3 {
        let (publisher, subscriber) = (publisher(root.path()), subscriber(root.path()));
        publish(&publisher, &copier, b"text").unwrap();
        drop(copier.copy_out(&subscriber.try_receive().unwrap().unwrap()).unwrap());
        assert_eq!(told.pinned.lock().unwrap().len(), 2);
        drop((publisher, subscriber));
        assert!(told.pinned.lock().unwrap().is_empty());
    }
    assert_eq!(told.count(|told| &told.pins), 6);
    drop(copier);
    told.assert_ended();
}

#[test]
fn the_last_of_copier_and_mapping_ends_the_pin_whichever_it_is() {
    let root = tempfile::tempdir().unwrap();
    let publisher = publisher(root.path());
    for _ in 0..3 {
        let ((copier, told), (other, told_other)) = (counting(true), counting(true));
        publish(&publisher, &copier, b"text").unwrap();
        publish(&publisher, &other, b"text").unwrap();
        drop(copier.clone());
        assert_eq!(told.count(|told| &told.unpins), 0);
        drop(copier);
        told.assert_ended();
        assert_eq!(told_other.count(|told| &told.unpins), 0);
        drop(other);
        told_other.assert_ended();
    }
}

#[test]
fn a_copier_that_wants_no_pins_hears_of_none() {
    let root = tempfile::tempdir().unwrap();
    let publisher = publisher(root.path());
    let (copier, told) = counting(false);
    publish(&publisher, &copier, b"text").unwrap();
    assert_eq!(told.count(|told| &told.pins), 0);
    drop(copier);
    told.assert_ended();
}

#[test]
fn nothing_is_copied_of_nothing() {
    let root = tempfile::tempdir().unwrap();
    let (publisher, subscriber) = (publisher(root.path()), subscriber(root.path()));
    let (copier, told) = counting(true);
    publish(&publisher, &copier, b"").unwrap();
    let memory = copier.copy_out(&subscriber.try_receive().unwrap().unwrap()).unwrap();
    assert!(memory.is_empty() && memory.as_ptr().is_null());
    drop(memory);
    drop(copier);
    told.assert_ended();
    assert_eq!(told.count(|told| &told.copies_in) + told.count(|told| &told.copies_out), 0);
}

#[test]
fn a_failure_reaches_the_caller_and_loses_nothing() {
    let root = tempfile::tempdir().unwrap();
    let (publisher, subscriber) = (publisher(root.path()), subscriber(root.path()));
    let (copier, told) = counting(true);
    let memory = written(&copier, b"text");
    told.fails.store(true, Ordering::SeqCst);
    for _ in 0..100 {
        // SAFETY: as many bytes were allocated.
        let failed = unsafe { publisher.publish_from(&copier, memory.as_ptr(), memory.len()) };
        assert!(matches!(failed, Err(Error::Copier { status: 7, .. })), "{failed:?}");
    }
    assert!(subscriber.try_receive().unwrap().is_none());
    let found = publisher.memory().unwrap();
    assert_eq!(found.free, found.chunks, "no loan is lost");
    told.fails.store(false, Ordering::SeqCst);
    publish(&publisher, &copier, b"text").unwrap();
    let sample = subscriber.try_receive().unwrap().unwrap();
    told.fails.store(true, Ordering::SeqCst);
    assert!(matches!(copier.copy_out(&sample), Err(Error::Copier { .. })));
    assert!(matches!(copier.alloc(5), Err(Error::Copier { .. })));
    drop((memory, copier));
    told.assert_ended();
}

#[test]
fn memory_is_given_away_and_freed_by_its_copier() {
    let (copier, told) = counting(false);
    let raw = copier.alloc(10).unwrap().into_raw();
    assert_eq!(told.allocated.lock().unwrap().len(), 1);
    // SAFETY: it came from there.
    unsafe { copier.dealloc(raw, 10).unwrap() };
    // SAFETY: no memory.
    unsafe { copier.dealloc(std::ptr::null_mut(), 0).unwrap() };
    let kept = copier.alloc(5).unwrap();
    drop(copier);
    assert_eq!(told.count(|told| &told.ends), 0, "what it allocated keeps it");
    drop(kept);
    told.assert_ended();
}

#[test]
fn copiers_of_the_processors_own_memory_are_copiers() {
    let root = tempfile::tempdir().unwrap();
    let (publisher, subscriber) = (publisher(root.path()), subscriber(root.path()));
    let options = ParallelOptions { threads: 3, threshold: 1000, ..Default::default() };
    let copiers = CpuCopy::ALL.map(|copy| SharedCopier::new(copy).unwrap());
    let parallel = SharedCopier::new(ParallelCopy::new(options).unwrap()).unwrap();
    for copier in copiers.iter().chain([&parallel]) {
        for len in [1, 63, 100, 5000, 3 << 20] {
            let text: Vec<u8> = (0..len).map(|at| (at * 7) as u8).collect();
            // SAFETY: as many bytes.
            unsafe { publisher.publish_from(copier, text.as_ptr(), len).unwrap() };
            let memory = copier.copy_out(&subscriber.try_receive().unwrap().unwrap()).unwrap();
            assert_eq!(memory.as_ptr() as usize % 64, 0);
            // SAFETY: the process's own memory, of as many bytes.
            assert!(unsafe { std::slice::from_raw_parts(memory.as_ptr(), len) } == text);
        }
    }
    // Whoever asks past `SharedCopier` for nothing gets something to free.
    let nothing = Copier::alloc(&CpuCopy::Auto, 0).unwrap();
    // SAFETY: it came from there.
    unsafe { Copier::dealloc(&CpuCopy::Auto, nothing, 0).unwrap() };
    assert!(matches!(parallel.alloc(usize::MAX), Err(Error::Copier { .. })));
    assert!(matches!(parallel.alloc(isize::MAX as usize - 63), Err(Error::Copier { .. })));
}

#[test]
fn requests_and_replies_go_through_copiers_as_well() {
    let root = tempfile::tempdir().unwrap();
    let root = Some(root.path().to_owned());
    let client = ClientOptions { root: root.clone(), wait_for_server: true, ..Default::default() };
    let client = Client::with_options("s", &client).unwrap();
    let server = Server::with_options("s", &ServerOptions { root, ..Default::default() }).unwrap();
    let (copier, told) = counting(true);
    let asked = written(&copier, b"question");
    let mut loan = client.loan(asked.len()).unwrap();
    // SAFETY: as many bytes were allocated.
    unsafe { copier.user_to_shm(&mut loan, asked.as_ptr()).unwrap() };
    let pending = loan.send().unwrap();

    let request = server.try_receive().unwrap().unwrap();
    assert_eq!(*request, *b"question");
    let heard = copier.copy_out(&request).unwrap();
    assert_eq!(read(&heard), b"question");
    let mut loan = request.loan(heard.len()).unwrap();
    // SAFETY: as many bytes were allocated.
    unsafe { copier.user_to_shm(&mut loan, heard.as_ptr()).unwrap() };
    assert!(loan.send().unwrap());

    let reply = pending.wait().unwrap();
    assert_eq!(read(&copier.copy_out(&reply).unwrap()), b"question");
    drop(reply);
    // The client's and the server's own segments, and each other's.
    assert_eq!(told.count(|told| &told.pins), 4);
    drop((asked, heard, client, server, copier));
    told.assert_ended();
}

#[test]
fn a_message_is_visible_when_its_stream_has_come_to_it() {
    let root = tempfile::tempdir().unwrap();
    let subscriber = subscriber(root.path());
    let (copier, told) = counting(true);
    let publisher = StreamPublisher::new(publisher(root.path()), copier.clone());
    let memory: Vec<UserMemory> = (0..3).map(|n| written(&copier, &[n; 100])).collect();
    for memory in &memory {
        // SAFETY: it is there until the copies have ended.
        unsafe { publisher.publish(memory.as_ptr(), memory.len(), STREAM).unwrap() };
    }
    assert!(!publisher.wait(Duration::from_millis(1)).unwrap());
    for n in 0..3 {
        assert!(subscriber.try_receive().unwrap().is_none(), "nothing before its time");
        assert!(told.go_on());
        assert_eq!(*subscriber.try_receive().unwrap().unwrap(), [n; 100]);
    }
    assert!(publisher.wait(Duration::ZERO).unwrap());
    drop((publisher, memory, copier));
    told.assert_ended();
}

#[test]
fn what_a_stream_could_not_copy_is_not_published_and_told_once() {
    let root = tempfile::tempdir().unwrap();
    let subscriber = subscriber(root.path());
    let (copier, told) = counting(true);
    let publisher = StreamPublisher::new(publisher(root.path()), copier.clone());
    let memory = written(&copier, b"text");
    for fails in [true, true, false] {
        // SAFETY: it is there until the copy has ended.
        unsafe { publisher.publish(memory.as_ptr(), memory.len(), STREAM).unwrap() };
        told.fails.store(fails, Ordering::SeqCst);
        assert!(told.go_on());
    }
    let failed = publisher.wait(Duration::ZERO);
    assert!(matches!(failed, Err(Error::Copier { status: 7, .. })), "{failed:?}");
    assert!(publisher.wait(Duration::ZERO).unwrap());
    assert_eq!(*subscriber.try_receive().unwrap().unwrap(), *b"text");
    assert!(subscriber.try_receive().unwrap().is_none());
}

#[test]
fn a_stream_publisher_that_goes_waits_for_its_streams() {
    let root = tempfile::tempdir().unwrap();
    let subscriber = subscriber(root.path());
    let (copier, told) = counting(true);
    let memory = written(&copier, b"text");
    let publisher = StreamPublisher::new(publisher(root.path()), copier);
    // SAFETY: it is there until the copy has ended.
    unsafe { publisher.publish(memory.as_ptr(), memory.len(), STREAM).unwrap() };
    let gone = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            drop(publisher);
            gone.store(1, Ordering::SeqCst);
        });
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(gone.load(Ordering::SeqCst), 0);
        assert!(told.go_on());
    });
    assert_eq!(*subscriber.try_receive().unwrap().unwrap(), *b"text");
    drop((memory, subscriber));
    told.assert_ended();
}

#[test]
fn a_stream_waits_for_reliable_subscribers_and_others_do_not_wait_with_it() {
    let root = tempfile::tempdir().unwrap();
    let subscriber = reliable(root.path(), 0);
    let (copier, told) = counting(true);
    let publisher = StreamPublisher::new(publisher(root.path()), copier.clone());
    let memory = written(&copier, b"text");
    // SAFETY: it is there until the copies have ended.
    let publish = || unsafe { publisher.publish(memory.as_ptr(), memory.len(), STREAM).unwrap() };
    (0..5).for_each(|_| publish());
    std::thread::scope(|scope| {
        scope.spawn(|| while told.go_on() {});
        while told.count(|told| &told.copies_in) < 5 {
            std::thread::yield_now();
        }
        // The fifth waits for room; this one only for its turn.
        assert!(!publisher.wait(Duration::from_millis(5)).unwrap());
        publish();
        while !told.go_on() {}
        (0..6).for_each(|_| drop(subscriber.receive().unwrap()));
    });
    assert!(publisher.wait(Duration::from_secs(10)).unwrap());
}

#[test]
fn a_sample_is_held_until_its_stream_has_come_to_it() {
    let root = tempfile::tempdir().unwrap();
    let (publisher, subscriber) = (publisher(root.path()), subscriber(root.path()));
    let (copier, told) = counting(true);
    publish(&publisher, &copier, b"text").unwrap();
    let memory = copier.alloc(4).unwrap();
    let sample = subscriber.try_receive().unwrap().unwrap().keep();
    let ends = Arc::new(AtomicU64::new(0));
    let seen = ends.clone();
    let done = Done::new(move |ended| {
        ended.unwrap();
        seen.fetch_add(1, Ordering::SeqCst);
    });
    // SAFETY: it is there until the copy has ended.
    unsafe { copier.shm_to_user_on_stream(memory.as_ptr(), sample, STREAM, done) };
    drop(subscriber);
    let held = |publisher: &Publisher| {
        (0..5).for_each(|_| assert_ne!(publisher.publish(b"more").unwrap(), 0));
        publisher.memory().unwrap().held
    };
    assert_eq!((held(&publisher), ends.load(Ordering::SeqCst)), (1, 0));
    assert!(told.go_on());
    assert_eq!((held(&publisher), ends.load(Ordering::SeqCst)), (0, 1));
    assert_eq!(read(&memory), b"text");
    drop((memory, copier));
    drop(publisher);
    told.assert_ended();
}

/// Has its bytes in itself, and they move with it.
struct Inline([u8; 64]);

impl std::ops::Deref for Inline {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

#[test]
fn what_has_its_bytes_in_itself_stays_in_place_for_a_stream() {
    let (copier, told) = counting(false);
    let memory = copier.alloc(64).unwrap();
    let done = Done::new(|ended| ended.unwrap());
    // SAFETY: it is there until the copy has ended.
    unsafe { copier.shm_to_user_on_stream(memory.as_ptr(), Inline([5; 64]), STREAM, done) };
    assert!(told.go_on());
    assert_eq!(read(&memory), [5; 64]);
}

#[test]
fn a_shut_gate_keeps_no_stream_from_going_on() {
    let root = tempfile::tempdir().unwrap();
    let subscriber = reliable(root.path(), 2);
    let (copier, told) = counting(true);
    let publisher = StreamPublisher::new(publisher(root.path()), copier.clone());
    let memory = written(&copier, b"text");
    // SAFETY: it is there until the copies have ended.
    let publish = || unsafe { publisher.publish(memory.as_ptr(), memory.len(), STREAM).unwrap() };
    (0..7).for_each(|_| publish());
    // The device's one thread comes by: three find no room.
    (0..7).for_each(|_| assert!(told.go_on()));
    assert!(!publisher.wait(Duration::from_millis(5)).unwrap());
    let mut received = 0u64;
    while received < 7 {
        // Both holds, which the same thread gives back behind the messages that wait.
        for _ in 0..2 {
            let Some(sample) = subscriber.receive_timeout(Duration::from_secs(10)).unwrap() else { break };
            assert_eq!(sample.position(), CAPACITY + received, "in order");
            received += 1;
            let done = Done::new(|ended| ended.unwrap());
            // SAFETY: it is there until the copy has ended; all write the same.
            unsafe { copier.shm_to_user_on_stream(memory.as_ptr(), sample.keep(), STREAM, done) };
            if received == 7 {
                break;
            }
        }
        while told.go_on() {}
    }
    assert!(publisher.wait(Duration::from_secs(10)).unwrap());
    drop((publisher, subscriber, memory, copier));
    told.assert_ended();
}

#[test]
fn a_mapping_that_the_device_does_not_let_go_of_stays() {
    let root = tempfile::tempdir().unwrap();
    for ends_first in [false, true] {
        let (copier, told) = counting(true);
        let publisher = publisher(root.path());
        publish(&publisher, &copier, b"text").unwrap();
        let start = *told.pinned.lock().unwrap().keys().next().unwrap();
        told.fails.store(true, Ordering::SeqCst);
        if ends_first {
            drop(copier);
            drop(publisher);
        } else {
            drop(publisher);
            drop(copier);
        }
        assert_eq!(told.count(|told| &told.unpins), 1);
        let mut page = 0u8;
        // SAFETY: asks whether a page is mapped, and writes nothing but the answer for the one.
        let mapped = unsafe { libc::mincore(start as *mut libc::c_void, 1, &raw mut page) };
        assert_eq!(mapped, 0, "{}", std::io::Error::last_os_error());
    }
}

#[test]
fn whoever_forgets_the_end_of_a_copy_ends_it() {
    let ended = Arc::new(AtomicU64::new(0));
    let seen = ended.clone();
    drop(Done::new(move |end| {
        assert!(matches!(end, Err(Error::Copier { .. })));
        seen.fetch_add(1, Ordering::SeqCst);
    }));
    assert_eq!(ended.load(Ordering::SeqCst), 1);
}

#[test]
fn threads_share_a_copier() {
    let root = tempfile::tempdir().unwrap();
    let (copier, told) = counting(true);
    std::thread::scope(|scope| {
        for thread in 0..4u8 {
            let (copier, root) = (copier.clone(), root.path());
            scope.spawn(move || {
                for round in 0..50 {
                    let publisher = publisher(root);
                    let text = vec![thread; 100 + 5000 * (round % 3)];
                    publish(&publisher, &copier, &text).unwrap();
                }
            });
        }
    });
    assert_eq!(told.count(|told| &told.pins), 200);
    drop(copier);
    told.assert_ended();
}
