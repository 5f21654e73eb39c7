// SPDX-License-Identifier: MIT OR Apache-2.0
//! Waits for the other side of a call: clients for room in a full queue, servers for those who take streams.

#[path = "support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use shm::{Client, ClientOptions, Error, Pending, Server, ServerOptions};
use support::Root;

const SERVICE: &str = "service";
const CAPACITY: u32 = 2;
const SHORT: Duration = Duration::from_millis(5);
const LONG: Duration = Duration::from_secs(10);

fn options(root: &Root) -> ClientOptions {
    ClientOptions { root: Some(root.path().into()), capacity: CAPACITY, ..Default::default() }
}

fn client(root: &Root) -> Client {
    Client::with_options(SERVICE, &options(root)).unwrap()
}

fn server(root: &Root) -> Server {
    let options = ServerOptions { root: options(root).root, capacity: CAPACITY, ..Default::default() };
    Server::with_options(SERVICE, &options).unwrap()
}

/// Fills the queue, for nobody.
fn fill(client: &Client) -> Vec<Pending<'_>> {
    let all = (0..CAPACITY).map(|_| client.send(b"first").unwrap()).collect();
    assert!(matches!(client.send(b"more"), Err(Error::QueueFull { .. })));
    all
}

/// Serves with what it says, backwards; what that was.
fn serve(server: &Server) -> Vec<u8> {
    let request = server.receive_timeout(LONG).unwrap().expect("a request");
    let (asked, reply) = (request.to_vec(), request.iter().rev().copied().collect::<Vec<u8>>());
    request.reply(&reply).unwrap();
    asked
}

fn caller(root: &Root) -> shm::FunctionCaller {
    shm::FunctionCaller::with_options(SERVICE, None, &options(root)).unwrap()
}

#[test]
fn a_call_waits_at_a_full_queue_until_its_deadline() {
    let root = Root::new();
    let (server, client, caller) = (server(&root), client(&root), caller(&root));
    let all = fill(&client);
    let from = Instant::now();
    assert!(client.call_timeout(b"2", SHORT).unwrap().is_none());
    assert!(client.loan(1).unwrap().call_timeout(SHORT).unwrap().is_none());
    assert!(caller.call_timeout::<i32>((1,), SHORT).unwrap().is_none());
    assert!(from.elapsed() >= 3 * SHORT);
    assert!(client.call_timeout(b"2", Duration::ZERO).unwrap().is_none());
    (0..CAPACITY).for_each(|_| assert_eq!(serve(&server), b"first"));
    assert!(server.try_receive().unwrap().is_none(), "what timed out is nobody's request");
    all.into_iter().for_each(|pending| assert_eq!(&*pending.wait().unwrap(), b"tsrif"));
    let memory = client.memory().unwrap();
    assert_eq!((memory.free, memory.held), (memory.chunks, 0), "{memory:?}");
}

#[test]
fn a_call_goes_on_when_there_is_room() {
    let root = Root::new();
    let (server, first) = (server(&root), client(&root));
    for way in 0..5 {
        let all = fill(&first);
        let root = &root;
        std::thread::scope(|scope| {
            let calling = scope.spawn(move || match way {
                0 => client(root).call(b"\x01").unwrap().to_vec(),
                1 => client(root).call_timeout(b"\x01", LONG).unwrap().unwrap().to_vec(),
                2 => {
                    let client = client(root);
                    let mut loan = client.loan(1).unwrap();
                    loan.fill(1);
                    let reply = loan.call().unwrap();
                    reply.to_vec()
                }
                3 => vec![caller(root).call(1).unwrap()],
                _ => vec![caller(root).call_timeout(1, LONG).unwrap().unwrap()],
            });
            std::thread::sleep(SHORT);
            assert!(!calling.is_finished());
            let mut served = Vec::new();
            while served != b"\x01" {
                served = serve(&server);
            }
            assert_eq!(calling.join().unwrap(), [1], "way {way}");
        });
        drop(all);
    }
}

#[test]
fn who_waits_at_a_full_queue_learns_that_nobody_serves() {
    let root = Root::new();
    let (server, client) = (server(&root), client(&root));
    let _all = fill(&client);
    let caller = caller(&root);
    std::thread::scope(|scope| {
        let calling = scope.spawn(move || caller.call::<i32>(1));
        std::thread::sleep(SHORT);
        assert!(!calling.is_finished());
        drop(server);
        let ended = calling.join().unwrap();
        assert!(matches!(ended, Err(Error::NoServer { .. })), "{ended:?}");
    });
}

#[test]
fn many_callers_share_a_small_queue() {
    const CALLS: u32 = 500;
    let root = Root::new();
    let server = server(&root);
    std::thread::scope(|scope| {
        for number in 0..6 {
            let client = client(&root);
            scope.spawn(move || {
                for call in 0..CALLS {
                    assert_eq!(*client.call(&[number, call as u8]).unwrap(), [call as u8, number]);
                }
            });
        }
        (0..6 * CALLS).for_each(|_| drop(serve(&server)));
    });
}

#[test]
fn a_request_whose_server_went_waits_for_room_too() {
    let root = Root::new();
    let idempotent = ClientOptions { idempotent: true, ..options(&root) };
    let idempotent = Client::with_options(SERVICE, &idempotent).unwrap();
    let (first, other, filling) = (server(&root), server(&root), client(&root));
    let mut pending = idempotent.send(b"12").unwrap();
    let request = first.receive().unwrap();
    let all = fill(&filling);
    std::mem::forget(request);
    drop(first);
    for _ in 0..3 {
        assert!(pending.try_reply().unwrap().is_none());
        assert!(pending.wait_timeout(SHORT).unwrap().is_none());
    }
    assert!(!pending.is_over());
    assert_eq!(serve(&other), b"first");
    assert!(pending.try_reply().unwrap().is_none());
    assert_eq!(serve(&other), b"first");
    assert_eq!(serve(&other), b"12");
    assert_eq!(&*pending.wait().unwrap(), b"21");
    drop(all);
}

#[test]
fn no_function_is_called_whose_reply_cannot_be_held() {
    let root = Root::new();
    let client = Client::with_options(SERVICE, &ClientOptions { holds: 1, ..options(&root) }).unwrap();
    let server = server(&root);
    let pending = client.send(b"1").unwrap();
    serve(&server);
    let held = pending.wait().unwrap();
    assert!(matches!(client.call(b"2"), Err(Error::NoHold { limit: 1 })));
    assert!(matches!(client.call_timeout(b"2", LONG), Err(Error::NoHold { limit: 1 })));
    assert!(server.try_receive().unwrap().is_none());
    assert_eq!(&*held, b"1");
}

#[test]
fn a_head_that_is_set_back_keeps_no_caller() {
    let root = Root::new();
    let (server, client) = (server(&root), client(&root));
    for _ in 0..10 {
        let pending = client.send(b"1").unwrap();
        serve(&server);
        pending.wait().unwrap();
    }
    // The head lies a cache line behind the tail: see src/topic/layout.rs.
    let ring = std::fs::File::options().write(true).open(root.path().join("+service/ring")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&ring, &3u64.to_ne_bytes(), 256 + 64).unwrap();
    // One that has seen the head before may not look again.
    let ended = self::client(&root).call_timeout(b"1", LONG).map(|reply| reply.is_some());
    assert!(matches!(ended, Err(Error::Corrupt { .. })), "{ended:?}");
}

#[test]
fn a_part_waits_for_its_client_until_the_deadline() {
    let root = Root::new();
    let (server, client) = (server(&root), client(&root));
    let mut pending = client.send(b"all").unwrap();
    let mut request = server.receive().unwrap();
    assert_eq!(request.send_part_timeout(b"1", Duration::ZERO).unwrap(), Some(true));
    let from = Instant::now();
    assert_eq!(request.send_part_timeout(b"2", SHORT).unwrap(), None);
    let request = request.finish_timeout(SHORT).unwrap().expect_err("the client took nothing");
    let request = request.fail_timeout(1, "no", SHORT).unwrap().expect_err("the client took nothing");
    let mut loan = request.loan(1).unwrap();
    loan[0] = b'2';
    let loan = loan.send_part_timeout(SHORT).unwrap().expect_err("the client took nothing");
    assert!(from.elapsed() >= 4 * SHORT);
    assert_eq!(&*pending.next().unwrap().unwrap(), b"1");
    let sent = loan.send_part_timeout(Duration::ZERO).unwrap();
    let request = sent.expect("it took the first one").expect("nobody has cancelled it");
    assert_eq!(&*pending.next().unwrap().unwrap(), b"2");
    let mut loan = request.loan(2).unwrap();
    loan.copy_from_slice(b"34");
    let request = loan.send_part().unwrap().expect("nobody has cancelled it");
    assert_eq!(&*pending.next().unwrap().unwrap(), b"34");
    assert!(request.finish_timeout(Duration::ZERO).unwrap().expect("it took the last one"));
    assert!(pending.next().unwrap().is_none() && pending.is_over());
    let memory = server.memory().unwrap();
    assert_eq!((memory.free, memory.held), (memory.chunks, 0), "{memory:?}");
}

#[test]
fn a_stream_fails_within_its_time() {
    let root = Root::new();
    let (server, client) = (server(&root), client(&root));
    let mut pending = client.send(b"all").unwrap();
    let mut request = server.receive().unwrap();
    assert!(request.send_part(b"1").unwrap());
    assert_eq!(&*pending.next().unwrap().unwrap(), b"1");
    assert!(request.fail_timeout(7, "no more", Duration::ZERO).unwrap().expect("it took the part"));
    let failed = pending.next().map(|reply| reply.is_some());
    assert!(matches!(&failed, Err(Error::Remote { code: 7, message }) if message == "no more"), "{failed:?}");
}

#[test]
fn a_wait_with_a_part_ends_when_nobody_wants_it() {
    let root = Root::new();
    let server = server(&root);
    for way in 0..8 {
        let root = &root;
        std::thread::scope(|scope| {
            let (waits, wait) = std::sync::mpsc::channel();
            scope.spawn(move || {
                let client = client(root);
                let pending = client.send(b"all").unwrap();
                wait.recv().unwrap();
                std::thread::sleep(SHORT);
                if way % 2 == 0 {
                    pending.cancel();
                    // The client lives on until nobody waits any more.
                    wait.recv().unwrap_err();
                } else {
                    std::mem::forget(pending);
                }
            });
            let mut request = server.receive().unwrap();
            assert!(request.send_part(b"1").unwrap());
            waits.send(()).unwrap();
            let from = Instant::now();
            let is_over = match way / 2 {
                0 => request.send_part_timeout(b"2", LONG).unwrap() == Some(false),
                1 => matches!(request.finish_timeout(LONG).unwrap(), Ok(false)),
                2 => matches!(request.fail_timeout(1, "no", LONG).unwrap(), Ok(false)),
                _ => matches!(request.loan(1).unwrap().send_part_timeout(LONG).unwrap(), Ok(None)),
            };
            drop(waits);
            assert!(is_over && from.elapsed() < LONG, "way {way}: {:?}", from.elapsed());
        });
    }
}
