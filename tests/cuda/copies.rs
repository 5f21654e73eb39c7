// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is copied is what arrives: at any size, by every way, and without the caller's thread noticing.

use std::path::Path;
use std::sync::mpsc::channel;
use std::sync::Arc;
use std::time::Duration;

use shm::copier::{Done, StreamPublisher};
use shm::{Client, ClientOptions, Publisher, PublisherOptions, Server, ServerOptions, Subscriber};

use crate::driver::{copier, filled, root, Driver};
use crate::support::child::Parent;
use crate::support::random::Random;
use crate::support::{publishing, subscribing};
use crate::{run, LONG, TOPIC};

const SIZES: [usize; 9] = [0, 1, 7, 64, 4095, 4096, 65_537, 1 << 20, (5 << 20) + 3];

fn bytes(random: &mut Random, len: usize) -> Vec<u8> {
    (0..len).map(|_| random.below(256) as u8).collect()
}

fn both(root: &Path) -> (Publisher, Subscriber) {
    let publisher = Publisher::with_options(TOPIC, &publishing(root)).unwrap();
    (publisher, Subscriber::with_options(TOPIC, &subscribing(root)).unwrap())
}

#[test]
fn messages_go_from_device_to_device() {
    run("copies::there_and_back", &[]);
}

pub fn there_and_back(mut parent: Parent) {
    let (root, driver, copier) = (root(&mut parent), Driver::open(), copier(0));
    let (publisher, subscriber) = both(&root);
    let mut random = Random::new(1);
    for len in SIZES {
        let sent = bytes(&mut random, len);
        let memory = filled(&driver, &copier, &sent);
        // SAFETY: as many bytes are there.
        unsafe { publisher.publish_from(&copier, memory.as_ptr(), len) }.unwrap();
        let sample = subscriber.receive_timeout(LONG).unwrap().unwrap();
        assert_eq!(&*sample, sent);
        let received = copier.copy_out(&sample).unwrap();
        assert_eq!(received.len(), len);
        if len > 3 {
            assert_eq!(driver.behind(received.as_ptr(), len), sent);
            // From and to anywhere within.
            let (start, end) = (random.below(len as u64) as usize, len - 1);
            // SAFETY: as many bytes are there.
            unsafe { copier.shm_to_user(received.as_ptr(), &sample[start.min(end)..]) }.unwrap();
            assert_eq!(driver.behind(received.as_ptr(), len)[..len - start.min(end)], sent[start.min(end)..]);
        }
    }
    assert_eq!(driver.count("pageable_copies"), 0);
    drop((publisher, subscriber, copier));
    driver.assert_clean();
}

#[test]
fn copies_are_made_when_their_stream_comes_to_them() {
    run("copies::on_streams", &[]);
}

pub fn on_streams(mut parent: Parent) {
    let (root, driver, copier) = (root(&mut parent), Driver::open(), copier(0));
    let (publisher, subscriber) = both(&root);
    driver.set_device(0);
    let stream = driver.stream();
    let publisher = StreamPublisher::new(publisher, copier.clone());
    let sources: Vec<_> = (1..=20u8).map(|n| filled(&driver, &copier, &vec![n; n as usize * 1000])).collect();
    driver.hold();
    for (n, source) in sources.iter().enumerate() {
        // The default stream, too.
        let stream = if n < 10 { stream } else { shm::copier::Stream(std::ptr::null_mut()) };
        // SAFETY: the sources stay until `wait`.
        unsafe { publisher.publish(source.as_ptr(), source.len(), stream) }.unwrap();
    }
    assert!(subscriber.try_receive().unwrap().is_none(), "nothing has come to it yet");
    // What the source has when the stream comes to it is what counts.
    driver.behind(sources[0].as_ptr(), 1000).fill(99);
    driver.go_on();
    assert!(publisher.wait(LONG).unwrap());
    let (told, ends) = channel();
    let mut seen: Vec<u8> = (0..20)
        .map(|_| {
            let sample = subscriber.receive_timeout(LONG).unwrap().unwrap();
            let first = sample[0];
            assert!(sample.iter().all(|&byte| byte == first));
            let (target, told) = (copier.alloc(sample.len()).unwrap(), told.clone());
            let (to, len) = (target.as_ptr(), target.len());
            let done = Done::new(move |ended| told.send((ended, target, len, first)).unwrap());
            // SAFETY: the target lives until it is done.
            unsafe { copier.shm_to_user_on_stream(to, sample.keep(), stream, done) };
            let (ended, target, len, first) = ends.recv().unwrap();
            ended.unwrap();
            assert_eq!(driver.behind(target.as_ptr(), len), vec![first; len]);
            first
        })
        .collect();
    seen.sort_unstable();
    assert_eq!(seen, (2..=20).chain([99]).collect::<Vec<u8>>());
    assert_eq!(driver.count("pageable_copies"), 0);
    driver.assert_rules();
}

#[test]
fn requests_and_replies_are_copied_in_place() {
    run("copies::of_calls", &[]);
}

pub fn of_calls(mut parent: Parent) {
    let (root, driver, copier) = (root(&mut parent), Driver::open(), copier(1));
    let server =
        Server::with_options("s", &ServerOptions { root: Some(root.clone()), ..Default::default() }).unwrap();
    let client =
        Client::with_options("s", &ClientOptions { root: Some(root), ..Default::default() }).unwrap();
    let mut registered_halfway = 0;
    for round in 0..100 {
        if round == 50 {
            registered_halfway = driver.count("cuMemHostRegister");
        }
        let question = filled(&driver, &copier, &[round; 5000]);
        let mut loan = client.loan(5000).unwrap();
        // SAFETY: as many bytes are there.
        unsafe { copier.user_to_shm(&mut loan, question.as_ptr()) }.unwrap();
        let pending = loan.send().unwrap();
        let request = server.receive().unwrap();
        let asked = copier.copy_out(&request).unwrap();
        assert_eq!(driver.behind(asked.as_ptr(), 5000), [round; 5000]);
        driver.behind(asked.as_ptr(), 5000).fill(100 + round);
        let mut answer = request.loan(5000).unwrap();
        // SAFETY: as above.
        unsafe { copier.user_to_shm(&mut answer, asked.as_ptr()) }.unwrap();
        answer.send().unwrap();
        let answered = copier.copy_out(&pending.wait().unwrap()).unwrap();
        assert_eq!(driver.behind(answered.as_ptr(), 5000), [100 + round; 5000]);
    }
    assert_eq!(driver.count("cuMemHostRegister"), registered_halfway, "mappings, not messages");
    assert_eq!(driver.count("pageable_copies"), 0);
    drop((server, client, copier));
    driver.assert_clean();
}

#[test]
fn the_callers_thread_keeps_its_context() {
    run("copies::the_callers_context", &[]);
}

pub fn the_callers_context(mut parent: Parent) {
    let (root, driver) = (root(&mut parent), Driver::open());
    let use_it = |root: &Path| {
        let copier = copier(1);
        let (publisher, subscriber) = both(root);
        let memory = filled(&driver, &copier, &[5; 100]);
        // SAFETY: as many bytes are there.
        unsafe { publisher.publish_from(&copier, memory.as_ptr(), 100) }.unwrap();
        drop(copier.copy_out(&subscriber.receive().unwrap()).unwrap());
        driver.fail("cuMemAlloc", 1, 2);
        copier.alloc(1).unwrap_err();
    };
    use_it(&root);
    assert!(driver.context().is_null(), "there was none");
    let own = driver.set_device(0);
    use_it(&root);
    assert_eq!(driver.context(), own);
}

#[test]
fn any_threads_copy_at_once() {
    run("copies::by_many_threads", &[]);
}

pub fn by_many_threads(mut parent: Parent) {
    let (root, driver, copier) = (root(&mut parent), Arc::new(Driver::open()), copier(0));
    let options = PublisherOptions { memory: 64 << 20, ..publishing(&root) };
    let subscriber = Subscriber::with_options(TOPIC, &subscribing(&root)).unwrap();
    let threads: Vec<_> = (0..4u8)
        .map(|n| {
            let (copier, driver, options) = (copier.clone(), driver.clone(), options.clone());
            std::thread::spawn(move || {
                let publisher = Publisher::with_options(TOPIC, &options).unwrap();
                for round in 0..50u8 {
                    let len = 10_000 * (1 + usize::from(round) % 7);
                    let memory = filled(&driver, &copier, &vec![n * 50 + round; len]);
                    // SAFETY: as many bytes are there.
                    unsafe { publisher.publish_from(&copier, memory.as_ptr(), len) }.unwrap();
                }
            })
        })
        .collect();
    loop {
        let all_have_ended = threads.iter().all(|thread| thread.is_finished());
        match subscriber.receive_timeout(Duration::from_millis(10)).unwrap() {
            Some(sample) => {
                let received = copier.copy_out(&sample).unwrap();
                let bytes = driver.behind(received.as_ptr(), sample.len());
                assert!(bytes.iter().all(|&byte| byte == bytes[0]));
            }
            None if all_have_ended => break,
            None => {}
        }
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    drop((subscriber, copier));
    driver.assert_clean();
}
