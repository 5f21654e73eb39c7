// SPDX-License-Identifier: MIT OR Apache-2.0
//! Orders of events that the public door doesn't offer at will, and damaged words.

use std::cell::Cell;
use std::time::Duration;

use super::call::{Call, Failure, Stage, WORDS};
use super::queue::{Queue, Taken};
use super::{Client, Pending, Server};
use crate::options::{ClientOptions, ServerOptions};
use crate::ring::{ChunkId, Ring};
use crate::sync::{Ordering, Word};
use crate::Error;

const SERVER: u32 = 7;
const CHUNK: ChunkId = ChunkId::NULL;

fn words(count: usize) -> Vec<Word> {
    (0..count).map(|_| Word::new(0)).collect()
}

/// A call that `SERVER` has claimed; its token.
fn claimed(call: &Call<'_>) -> u32 {
    let state = call.queue(CHUNK);
    assert!(call.claim(state, SERVER));
    state.token
}

#[test]
fn a_stream_given_up_stays_so_when_its_client_wakes_the_server() {
    let words = words(WORDS);
    let call = Call::new(&words);
    let token = claimed(&call);
    // The client took a reply, the server sends another, and gives up before that is taken: only then the client wakes it.
    assert!(call.answer(token, SERVER, ChunkId::new(1, 0)));
    assert!(!call.give_up(token, SERVER));
    call.eager.swap(0, Ordering::SeqCst);
    assert!(call.taken(call.state(), Some(SERVER)));
    assert!(call.asks_in_vain(token));
}

#[test]
fn a_server_that_comes_too_late_takes_nothing_back_that_another_said() {
    let words = words(WORDS);
    let call = Call::new(&words);
    let old = claimed(&call);
    call.end();
    let token = claimed(&call);
    assert!(call.answer(token, SERVER, ChunkId::new(1, 0)));
    assert!(!call.give_up(token, SERVER));
    assert!(!call.give_up(old, 8));
    assert!(call.taken(call.state(), Some(SERVER)));
    assert!(call.asks_in_vain(token));
    assert!(call.fail(token, SERVER, Failure::Dropped));
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

/// What the client whose call's word says that `server` has it gets.
fn with_claim_by(server: impl Fn(&Client, &Server) -> u32) -> Error {
    let root = tempfile::tempdir().unwrap();
    let options = ClientOptions { root: Some(root.path().into()), ..Default::default() };
    let client = Client::with_options("s", &options).unwrap();
    let options = ServerOptions { root: options.root, ..Default::default() };
    let living = Server::with_options("s", &options).unwrap();
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
    let root = tempfile::tempdir().unwrap();
    let options = ClientOptions { root: Some(root.path().into()), ..Default::default() };
    let client = Client::with_options("s", &options).unwrap();
    let options = ServerOptions { root: options.root, ..Default::default() };
    let server = Server::with_options("s", &options).unwrap();
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
