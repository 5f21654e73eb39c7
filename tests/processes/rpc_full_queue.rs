// SPDX-License-Identifier: MIT OR Apache-2.0
//! A queue that is full of what the killed had sent, or that nobody serves any more, holds nobody up.

use std::path::Path;
use std::time::{Duration, Instant};

use shm::{Client, ClientOptions, Error, Pending};

use crate::rpc::{
    assert_clean, client_options, learns, send, server, start_holder, CALLS, LONG, SERVICE, SOON,
};
use crate::support::child::{Child, Parent};
use crate::support::payload::Id;
use crate::support::{rounds, Root};

/// Sends as many requests as the queue takes, for nobody, until it is killed.
pub fn fills_the_queue(mut parent: Parent) {
    let client = client_of_a_small_queue(Path::new(&parent.text()));
    let mut all: Vec<Pending<'_>> = Vec::new();
    while let Ok(pending) = client.send(b"1") {
        all.push(pending);
    }
    parent.say_and_wait("full");
}

fn client_of_a_small_queue(root: &Path) -> Client {
    let options = ClientOptions { capacity: CALLS / 2, wait_for_server: true, ..client_options(root) };
    Client::with_options(SERVICE, &options).unwrap()
}

#[test]
fn what_a_killed_client_sent_fills_no_queue() {
    let root = Root::new();
    let client = client_of_a_small_queue(root.path());
    let mut dead = Child::start("rpc_full_queue::fills_the_queue", &[&root.text()]);
    dead.expect("full");
    assert!(matches!(client.send(b"2"), Err(Error::QueueFull { .. })));
    dead.kill();
    let from = Instant::now();
    let pending = loop {
        match client.send(b"2") {
            Ok(pending) => break pending,
            Err(Error::QueueFull { .. }) => assert!(from.elapsed() < LONG, "the dead keep it full"),
            Err(error) => panic!("{error}"),
        }
    };
    drop(pending);
    assert_clean(&root, 1);
    drop(client);
    root.assert_empty();
}

#[test]
fn what_a_killed_client_sent_holds_up_no_call() {
    let root = Root::new();
    let client = client_of_a_small_queue(root.path());
    let root_path = root.path();
    for _ in 0..rounds(6) {
        let mut filling = Child::start("rpc_full_queue::fills_the_queue", &[&root.text()]);
        filling.expect("full");
        std::thread::scope(|scope| {
            scope.spawn(move || {
                // It could take what there is; but who waits doesn't need that.
                let server = server(root_path);
                std::thread::sleep(Duration::from_millis(5));
                assert_eq!(server.waiting(), u64::from(CALLS / 2));
                filling.kill();
                let from = Instant::now();
                while server.waiting() > 1 {
                    assert!(from.elapsed() < LONG, "the dead keep it full");
                    std::thread::yield_now();
                }
                server.receive().unwrap().reply(b"3").unwrap();
            });
            assert_eq!(*client.call_timeout(b"2", LONG).unwrap().unwrap(), *b"3");
        });
    }
    assert_clean(&root, 1);
    drop(client);
    root.assert_empty();
}

#[test]
fn a_call_at_a_full_queue_learns_soon_that_the_last_server_was_killed() {
    let root = Root::new();
    let options = ClientOptions { capacity: 2, ..client_options(root.path()) };
    let client = Client::with_options(SERVICE, &options).unwrap();
    for sequence in 0..rounds(6) {
        let mut holder = start_holder(&root);
        let _begun = send(&client, Id { publisher: 1, sequence }).unwrap();
        holder.expect("holding");
        let _queued = [2, 3].map(|publisher| send(&client, Id { publisher, sequence }).unwrap());
        assert!(client.call_timeout(b"4", Duration::from_millis(30)).unwrap().is_none());
        let (learnt, took) = learns(holder, || client.call(b"4").map(drop));
        assert!(matches!(learnt, Err(Error::NoServer { .. })), "{learnt:?}");
        assert!(took < SOON, "{took:?}");
    }
    drop(client);
    root.assert_empty();
}
