// SPDX-License-Identifier: MIT OR Apache-2.0
//! Streams of replies of which one side is killed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use shm::Error;

use crate::rpc::{assert_clean, client, idempotent_client, learns, server, LONG, SOON};
use crate::support::child::{Child, Parent};
use crate::support::delay::Delay;
use crate::support::{rounds, Root};

/// Takes some replies of a stream, tells, and takes no more until it is killed.
pub fn takes_of_a_stream(mut parent: Parent) {
    let root = PathBuf::from(parent.text());
    let client = client(&root);
    let mut pending = client.send(b"all").unwrap();
    parent.say("sent");
    for part in 0..10u8 {
        assert_eq!(*pending.next().unwrap().unwrap(), [part]);
    }
    parent.say_and_wait("taken");
    drop(pending);
}

#[test]
fn a_stream_to_a_killed_client_ends() {
    let root = Root::new();
    let server = server(root.path());
    for sequence in 0..rounds(6) {
        let mut dead = Child::start("rpc_streams::takes_of_a_stream", &[&root.text()]);
        dead.expect("sent");
        let mut request = server.receive_timeout(LONG).unwrap().unwrap();
        for part in 0..11u8 {
            assert!(request.send_part(&[part]).unwrap());
        }
        dead.expect("taken");
        assert_eq!(request.send_part_timeout(&[11], Duration::from_millis(1)).unwrap(), None);
        dead.signal(libc::SIGKILL);
        let delay = Delay::start();
        if sequence % 2 == 0 {
            assert!(!request.send_part(&[11]).unwrap());
        } else {
            assert_eq!(request.send_part_timeout(&[11], LONG).unwrap(), Some(false));
        }
        assert!(delay.elapsed() < SOON, "{:?}", delay.elapsed());
        dead.kill();
        assert!(request.is_cancelled());
        drop(request);
        let memory = server.memory().unwrap();
        assert_eq!((memory.free, memory.held), (memory.chunks, 0), "{memory:?}");
    }
    assert_clean(&root, 1);
    drop(server);
    root.assert_empty();
}

/// Sends some replies of a stream to each request, and no more until it is killed.
pub fn sends_a_stream(mut parent: Parent) {
    let server = server(Path::new(&parent.text()));
    parent.say("serving");
    let mut request = server.receive().unwrap();
    for part in 0..10u8 {
        assert!(request.send_part(&[part]).unwrap());
    }
    parent.say_and_wait("sent");
}

#[test]
fn a_stream_of_a_killed_server_ends() {
    let root = Root::new();
    for sequence in 0..rounds(6) {
        // What has begun isn't asked for again, idempotent or not: replies would come twice.
        let is_idempotent = sequence % 2 == 0;
        let client = if is_idempotent { idempotent_client(root.path()) } else { client(root.path()) };
        let mut dead = Child::start("rpc_streams::sends_a_stream", &[&root.text()]);
        dead.expect("serving");
        let mut pending = client.send(b"all").unwrap();
        for part in 0..9u8 {
            assert_eq!(*pending.next().unwrap().unwrap(), [part]);
        }
        dead.expect("sent");
        let ((), took) = learns(dead, || {
            // The one that it had sent is there, alive or dead.
            assert_eq!(*pending.next().unwrap().unwrap(), [9]);
            assert!(matches!(pending.next(), Err(Error::PeerDied)));
        });
        assert!(took < SOON, "{took:?}");
        drop(pending);
        assert_clean(&root, 1);
        drop(client);
    }
    root.assert_empty();
}
