// SPDX-License-Identifier: MIT OR Apache-2.0
//! Orders of events that the public door doesn't offer at will, damaged words, and where chunks lie.

use std::cell::Cell;
use std::future::Future;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::call::Stage;
use super::queue::{Queue, Taken};
use super::{Client, Pending, Server};
use crate::options::{ClientOptions, ServerOptions};
use crate::ring::{ChunkId, Ring};
use crate::sync::{Ordering, Word};
use crate::topic::layout::{status, JOINED_OFFSET, STATUS_OFFSET};
use crate::Error;

fn words(count: usize) -> Vec<Word> {
    (0..count).map(|_| Word::new(0)).collect()
}

#[test]
fn a_position_that_was_filled_and_taken_meanwhile_is_not_a_full_queue() {
    let (slots, tail, head) = (words(2), Word::new(0), Word::new(0));
    let queue = Queue::new(Ring::new(&slots, &tail), &head);
    // As one sees it who looked at the tail before others filled it, and at `head` after.
    head.store(3, Ordering::Relaxed);
    assert!(queue.put(ChunkId::new(1, 0), &Cell::new(0)).is_ok());
    head.store(2, Ordering::Relaxed);
    assert_eq!(queue.take(|call| call == ChunkId::new(1, 0)), Taken::Claimed);
}

fn pair() -> (tempfile::TempDir, Client, Server) {
    let root = tempfile::tempdir().unwrap();
    let options = ClientOptions { root: Some(root.path().into()), ..Default::default() };
    let client = Client::with_options("s", &options).unwrap();
    let server = server(&root);
    (root, client, server)
}

fn server(root: &tempfile::TempDir) -> Server {
    let options = ServerOptions { root: Some(root.path().into()), memory: 1 << 20, ..Default::default() };
    Server::with_options("s", &options).unwrap()
}

/// The server leaves with its last reply not taken, and another comes in its place.
fn replaced(root: &tempfile::TempDir, old: Server) -> Server {
    let place = old.member.topic.index();
    drop(old);
    let new = server(root);
    assert_eq!(new.member.topic.index(), place);
    new
}

#[test]
fn a_stream_is_not_waited_for_from_who_came_in_its_servers_place() {
    let (root, client, server) = pair();
    let mut pending = client.send(b"all").unwrap();
    let mut request = server.receive().unwrap();
    assert!(request.send_part(b"1").unwrap());
    // As a death would leave it: not given up.
    std::mem::forget(request);
    let _server = replaced(&root, server);
    assert_eq!(&*pending.next().unwrap().unwrap(), b"1");
    let learnt = pending.wait_timeout(Duration::from_secs(5));
    assert!(matches!(learnt, Err(Error::PeerDied)), "{learnt:?}");
}

#[test]
fn a_reply_that_was_not_taken_is_in_nobody_else_s_memory() {
    let (root, client, server) = pair();
    let pending = client.send(b"1").unwrap();
    assert!(server.receive().unwrap().reply(b"reply").unwrap());
    let server = replaced(&root, server);
    let mut drafts: Vec<_> = std::iter::from_fn(|| server.draft(5).ok()).collect();
    drafts.iter_mut().for_each(|draft| draft.fill(0xff));
    assert_eq!(&*pending.wait().unwrap(), b"reply");
}

/// What the client whose call's word says that `server` has it gets.
fn with_claim_by(server: impl Fn(&Client, &Server) -> u32) -> Error {
    let (_root, client, living) = pair();
    let mut pending: Pending<'_> = client.send(b"1").unwrap();
    let topic = &client.member.topic;
    let call = topic.call(topic.index(), 0).unwrap();
    assert_eq!(call.state().stage, Stage::Queued);
    assert!(call.claim(call.state(), server(&client, &living)));
    pending.wait_timeout(Duration::from_secs(5)).unwrap_err()
}

#[test]
fn a_call_that_nobody_can_have_is_damage() {
    for nobody in [5, 64, u32::from(u16::MAX)] {
        assert!(matches!(with_claim_by(|_, _| nobody), Error::Corrupt { .. }));
    }
    assert!(matches!(with_claim_by(|client, _| client.member.topic.index()), Error::Corrupt { .. }));
}

#[test]
fn a_reply_that_the_server_did_not_send_is_not_waited_for() {
    let (_root, client, server) = pair();
    let topic = &client.member.topic;
    for parts in 0..2 {
        let pending = client.send(b"1").unwrap();
        let mut request = server.receive().unwrap();
        (0..parts).for_each(|_| assert!(request.send_part(b"1").unwrap()));
        let call = topic.call(topic.index(), 0).unwrap();
        let token = call.state().token;
        if parts > 0 {
            assert!(call.taken(call.state(), Some(server.member.topic.index())));
        }
        assert!(call.answer(token, server.member.topic.index(), ChunkId::new(77, 0)));
        assert!(!request.reply(b"2").unwrap());
        drop(pending);
    }
}

/// Writes over a word of `peers`.
fn damage(client: &Client, offset: usize, value: u64) {
    let path = client.member.topic.dir().join("peers");
    let peers = std::fs::File::options().write(true).open(path).unwrap();
    peers.write_all_at(&value.to_ne_bytes(), offset as u64).unwrap();
}

#[test]
fn a_damaged_count_of_joins_costs_no_time() {
    let (_root, client, server) = pair();
    drop(server);
    damage(&client, JOINED_OFFSET, u64::MAX);
    let from = Instant::now();
    assert!(matches!(client.send(b"1"), Err(Error::NoServer { .. })));
    assert!(from.elapsed() < Duration::from_secs(1), "{:?}", from.elapsed());
}

/// Claims call `index` of `client` for `server`.
fn claim(client: &Client, index: u32, server: u32) {
    let call = client.member.topic.call(client.member.topic.index(), index).unwrap();
    assert!(call.claim(call.state(), server));
}

/// Asks again and again, as one that has other things to do in between; what it learns.
fn learns(mut ask: impl FnMut() -> Option<Error>) -> Error {
    let from = Instant::now();
    loop {
        if let Some(error) = ask() {
            return error;
        }
        assert!(from.elapsed() < Duration::from_secs(5), "it would ask for ever");
        std::thread::sleep(Duration::from_millis(25));
    }
}

#[test]
fn each_task_looks_for_its_own_server() {
    let (_root, client, server) = pair();
    let (mut slow, mut lost) = (client.send(b"1").unwrap(), client.send(b"2").unwrap());
    claim(&client, 0, server.member.topic.index());
    claim(&client, 1, 5);
    let mut context = Context::from_waker(Waker::noop());
    let learnt = learns(|| {
        assert!(Pin::new(&mut slow).poll(&mut context).is_pending());
        match Pin::new(&mut lost).poll(&mut context) {
            Poll::Ready(result) => result.err(),
            Poll::Pending => None,
        }
    });
    assert!(matches!(learnt, Error::Corrupt { .. }), "{learnt}");
}

#[test]
fn who_never_sleeps_looks_for_its_server_too() {
    let (_root, client, _server) = pair();
    for index in 0..2 {
        let mut pending = client.send(b"1").unwrap();
        claim(&client, 0, 5);
        let learnt = learns(|| match index {
            0 => pending.try_reply().err(),
            _ => pending.wait_timeout(Duration::ZERO).err(),
        });
        assert!(matches!(learnt, Error::Corrupt { .. }), "{learnt}");
    }
}

/// Says that `participant` is being recovered, by somebody who was stopped in it: the lock is not to be had.
fn recovers_for_ever(client: &Client, participant: u32) {
    let recovering = status::with_state(client.member.topic.status(participant), status::RECOVERING);
    damage(client, STATUS_OFFSET + 8 * participant as usize, recovering);
}

#[test]
fn nobody_waits_for_a_server_whose_recoverer_was_stopped() {
    let (_root, client, server) = pair();
    let mut pending = client.send(b"1").unwrap();
    claim(&client, 0, server.member.topic.index());
    recovers_for_ever(&client, server.member.topic.index());
    let learnt = pending.wait_timeout(Duration::from_secs(5));
    assert!(matches!(learnt, Err(Error::PeerDied)), "{learnt:?}");
}

#[test]
fn nobody_waits_for_a_client_whose_recoverer_was_stopped() {
    let (_root, client, server) = pair();
    let _pending = client.send(b"all").unwrap();
    let mut request = server.receive().unwrap();
    assert!(request.send_part(b"1").unwrap());
    recovers_for_ever(&client, client.member.topic.index());
    assert!(!request.send_part(b"2").unwrap());
}

#[test]
fn nobody_who_only_asks_waits_for_such_a_client_either() {
    let (_root, client, server) = pair();
    let _pending = client.send(b"all").unwrap();
    let mut request = server.receive().unwrap();
    assert!(request.send_part(b"1").unwrap());
    recovers_for_ever(&client, client.member.topic.index());
    assert_eq!(request.send_part_timeout(b"2", Duration::ZERO).unwrap(), Some(false));
}

#[test]
fn who_waits_for_room_is_woken_by_the_first_who_makes_it() {
    let (root, client, server) = pair();
    let topic = &client.member.topic;
    let words = || [topic.gate_waiting(), topic.gate_wakes()].map(|word| word.load(Ordering::SeqCst));
    let options = ClientOptions { root: Some(root.path().into()), ..Default::default() };
    let others: Vec<_> = (0..4).map(|_| Client::with_options("s", &options).unwrap()).collect();
    let sent: Vec<_> = others.iter().flat_map(|other| (0..64).map(|_| other.send(b"1").unwrap())).collect();
    assert!(matches!(client.send(b"1"), Err(Error::QueueFull { .. })));
    assert_eq!(words(), [0, 0], "who doesn't wait doesn't say so");
    // On a busy machine its time may be over before it sleeps.
    let waits =
        |_| client.call_timeout(b"1", Duration::from_millis(1)).unwrap().is_none() && words() == [1, 0];
    assert!((0..1000).any(waits), "{:?}", words());
    drop(server.receive().unwrap());
    assert_eq!(words(), [0, 1]);
    drop(server.receive().unwrap());
    assert_eq!(words(), [0, 1], "nobody waits any more");
    drop(sent);
}

#[test]
fn a_waker_that_panics_is_its_own_affair() {
    struct Panics;
    impl std::task::Wake for Panics {
        fn wake(self: std::sync::Arc<Self>) {
            panic!("meant to: a waker that panics");
        }
    }
    struct Tells(std::sync::mpsc::Sender<()>);
    impl std::task::Wake for Tells {
        fn wake(self: std::sync::Arc<Self>) {
            let _ = self.0.send(());
        }
    }
    let (_root, client, _server) = pair();
    let mut pending = client.send(b"1").unwrap();
    let mut poll = |waker: Waker| Pin::new(&mut pending).poll(&mut Context::from_waker(&waker)).is_pending();
    assert!(poll(std::sync::Arc::new(Panics).into()));
    std::thread::sleep(Duration::from_millis(100));
    let (tell, told) = std::sync::mpsc::channel();
    assert!(poll(std::sync::Arc::new(Tells(tell)).into()));
    told.recv_timeout(Duration::from_secs(5)).expect("nobody wakes tasks any more");
}

#[test]
fn large_calls_one_at_a_time_take_one_chunk_each_way() {
    let (root, client, _small) = pair();
    let options = ServerOptions { root: Some(root.path().into()), ..Default::default() };
    let server = Server::with_options("s", &options).unwrap();
    let large = vec![1; 8 << 20];
    for _ in 0..4 {
        let pending = client.send(&large).unwrap();
        assert!(server.try_receive().unwrap().unwrap().reply(&large).unwrap());
        assert_eq!(pending.wait().unwrap().len(), large.len());
    }
    assert_eq!((client.memory().unwrap().chunks, server.memory().unwrap().chunks), (1, 1));
}

/// The processor that reads one would fetch the next ones, too, while they are written.
#[test]
fn requests_do_not_lie_in_the_order_that_they_are_sent_in() {
    const APART: usize = 2048;
    let (_root, client, _server) = pair();
    let loans: Vec<_> = (0..16).map(|_| client.loan(64).unwrap()).collect();
    let places: Vec<usize> = loans.iter().map(|loan| loan.as_ptr() as usize).collect();
    let steps: Vec<isize> = places.windows(2).map(|pair| pair[1].wrapping_sub(pair[0]) as isize).collect();
    assert!(steps.iter().all(|step| step.unsigned_abs() >= APART), "{steps:?}");
    assert!(steps.windows(2).all(|pair| pair[0] != pair[1]), "equal distances are a stream: {steps:?}");
}
