// SPDX-License-Identifier: MIT OR Apache-2.0
//! Loom models of calls: `queue.rs` and `call.rs` as they are, with holds and chunks as `client.rs` and `server.rs` use them.
//!
//! Payloads are loom cells, so that a server that reads a request while its client writes the next one, or a client that reads a
//! reply while its server does, is found.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use loom::cell::UnsafeCell;
use loom::thread;

use super::call::{fail_calls, named_by, Call, CallId, Failure, Stage, State, WORDS};
use super::queue::{Queue, Taken};
use crate::ring::models::Steps;
use crate::ring::{ChunkId, Ring};
use crate::sleep::{sleep_together, sleep_until, wake_any, wake_gate, wake_one};
use crate::sync::{barrier_after_rmw, fence, Ordering, Word};

/// The words of a service with one client that has one call, and some servers.
struct Shared {
    slots: Vec<Word>,
    tail: Word,
    head: Word,
    call: [Word; WORDS],
    /// What the client, and what the servers sleep on.
    wakes: [Word; 2],
    /// The client's, then those of the servers.
    holds: Vec<Word>,
    /// The client's chunks, then those of the servers.
    payloads: Vec<UnsafeCell<u64>>,
    steps: Steps,
}

// SAFETY: loom's cells report any access that isn't exclusive.
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

impl Shared {
    fn new(participants: usize, chunks: usize) -> Arc<Self> {
        let words = |count| (0..count).map(|_| Word::new(0)).collect();
        Arc::new(Shared {
            slots: words(2),
            tail: Word::new(0),
            head: Word::new(0),
            call: std::array::from_fn(|_| Word::new(0)),
            wakes: [Word::new(0), Word::new(0)],
            holds: words(participants),
            payloads: (0..chunks).map(|_| UnsafeCell::new(0)).collect(),
            steps: Steps::new(),
        })
    }

    fn queue(&self) -> Queue<'_> {
        self.steps.step();
        Queue::new(Ring::new(&self.slots, &self.tail), &self.head)
    }

    /// The call, of which something is about to be done.
    fn call(&self) -> Call<'_> {
        self.steps.step();
        Call(&self.call)
    }

    fn write(&self, chunk: ChunkId, value: u64) {
        // SAFETY: loom checks that nobody else is there.
        self.payloads[chunk.index() as usize].with_mut(|p| unsafe { *p = value });
    }

    fn read(&self, chunk: ChunkId) -> u64 {
        // SAFETY: loom checks that nobody writes.
        self.payloads[chunk.index() as usize].with(|p| unsafe { *p })
    }

    /// What a reclaim finds: whether nobody holds `chunk`, which nothing names any more.
    fn is_free(&self, chunk: ChunkId) -> bool {
        fence(Ordering::SeqCst);
        self.steps.step();
        self.holds.iter().all(|hold| hold.load(Ordering::Acquire) != chunk.hold_word())
    }

    /// Server `me` takes a request, if there is one, and answers with twice its number; returns that number.
    fn serve(&self, me: usize, reply: ChunkId) -> Option<u64> {
        let mut found = None;
        let taken = self.queue().take(|entry| {
            found = self.claim(me, entry);
            found.is_some()
        });
        assert_ne!(taken, Taken::Damaged);
        let (token, request) = found?;
        let number = self.read(request);
        self.holds[me].store(0, Ordering::Release);
        self.write(reply, 2 * number);
        self.call().answer(token, me as u32, reply).then_some(number)
    }

    fn claim(&self, me: usize, entry: ChunkId) -> Option<(u32, ChunkId)> {
        let (client, index, is_of) = named_by(entry)?;
        assert_eq!((client, index), (0, 0));
        let seen = self.call().state();
        if seen.stage != Stage::Queued || !is_of(seen.token) {
            return None;
        }
        let request = self.call().request();
        self.holds[me].store(request.hold_word(), Ordering::Release);
        if self.call().claim(seen, me as u32) {
            return Some((seen.token, request));
        }
        self.holds[me].store(0, Ordering::Release);
        None
    }

    fn send(&self, request: ChunkId, number: u64) -> State {
        self.write(request, number);
        let state = self.call().queue(request);
        self.queue().put(entry(state), &Cell::new(0)).unwrap();
        state
    }

    /// The server sends a part of a stream; the state that the client finds.
    fn send_part(&self, token: u32, me: u32, part: ChunkId) -> State {
        assert!(self.call().answer(token, me, part));
        wake_one((self.call().waiting(), 1), &self.wakes[0]);
        State { token, stage: Stage::Answered(part) }
    }

    /// The client sleeps until its call isn't `seen` any more; what it is then.
    fn sleep_of_client(&self, seen: State) -> Stage {
        let call = self.call();
        while call.is(seen) {
            sleep_until((call.waiting(), 1), &self.wakes[0], LONG, || !call.is(seen));
        }
        call.state().stage
    }

    /// Server `me` claims the call of `sent`, and sends the first part of a stream; what the client finds.
    fn begin_stream(&self, sent: State, me: u32, part: ChunkId) -> State {
        assert!(self.claim(me as usize, entry(sent)).is_some());
        self.send_part(sent.token, me, part)
    }

    /// The client takes a reply to `number` out, if it is there.
    fn take_reply(&self, sent: State, number: u64) -> bool {
        let seen = self.call().state();
        assert_eq!(seen.token, sent.token);
        let Stage::Answered(reply) = seen.stage else { return false };
        self.holds[0].store(reply.hold_word(), Ordering::Release);
        assert!(self.call().taken(seen, None));
        assert_eq!(self.read(reply), 2 * number, "a reply changed under its reader, or is another's");
        self.holds[0].store(0, Ordering::Release);
        true
    }
}

pub(super) fn explore(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(preemptions);
    builder.max_branches = 10_000;
    builder.check(model);
}

/// How the queue names the one call of the one client.
fn entry(sent: State) -> ChunkId {
    CallId { token: sent.token, client: 0, index: 0 }.entry()
}

/// Loom has no clock: who sleeps is woken, or sleeps on.
const LONG: Duration = Duration::MAX;

fn chunk(index: u32) -> ChunkId {
    ChunkId::new(1, index)
}

/// Two servers look for the same request: one gets it, and its reply is the right one.
#[test]
fn models_a_request_goes_to_one_server() {
    explore(3, || {
        let shared = Shared::new(3, 3);
        let serving: Vec<_> = [1, 2]
            .map(|me| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || shared.serve(me, chunk(me as u32)))
            })
            .into();
        let sent = shared.send(chunk(0), 7);
        let mut served: Vec<_> = serving.into_iter().filter_map(|thread| thread.join().unwrap()).collect();
        served.extend(shared.serve(1, chunk(1)));
        assert_eq!(served, [7]);
        assert!(shared.take_reply(sent, 7));
        assert_eq!(shared.serve(2, chunk(2)), None);
    });
}

/// The client gives up at any moment and uses the request's chunk again as soon as nobody holds it; the call's second use must
/// get its own reply.
#[test]
fn models_a_cancelled_call_is_nobodys() {
    explore(3, || {
        let shared = Shared::new(2, 3);
        let theirs = Arc::clone(&shared);
        let server = thread::spawn(move || theirs.serve(1, chunk(1)));
        shared.send(chunk(0), 7);
        let was = shared.call().end();
        if shared.is_free(chunk(0)) {
            shared.write(chunk(0), 0);
        }
        let first = server.join().unwrap();
        assert_eq!(
            first.is_some(),
            matches!(was.stage, Stage::Answered(_)),
            "answered though it was cancelled"
        );
        let sent = shared.send(chunk(0), 8);
        while !shared.take_reply(sent, 8) {
            assert!(shared.serve(1, chunk(2)).is_some(), "the second call is lost");
        }
    });
}

/// A server answers while it is taken for dead: the client gets one of the two, and the server learns which.
#[test]
fn models_a_call_ends_once() {
    explore(3, || {
        let shared = Shared::new(2, 2);
        let sent = shared.send(chunk(0), 7);
        let claimed = shared.claim(1, entry(sent)).unwrap();
        let theirs = Arc::clone(&shared);
        let server = thread::spawn(move || {
            theirs.write(chunk(1), 14);
            theirs.call().answer(claimed.0, 1, chunk(1))
        });
        let failed = shared.call().fail(sent.token, 1, Failure::Died);
        let answered = server.join().unwrap();
        assert!(failed != answered);
        assert_eq!(shared.take_reply(sent, 7), answered);
        shared.call().end();
        assert_eq!(shared.call().state(), State { token: sent.token, stage: Stage::Idle });
    });
}

/// A server takes the chunk of its reply back when the client has moved on, or somebody adopts what a dead one left, and writes into it
/// while the client reads.
#[test]
fn models_a_reply_stays_while_it_is_held() {
    for is_dead in [false, true] {
        explore(3, move || {
            let shared = Shared::new(2, 2);
            let sent = shared.send(chunk(0), 7);
            assert_eq!(shared.serve(1, chunk(1)), Some(7));
            let theirs = Arc::clone(&shared);
            let server = thread::spawn(move || {
                let reply = State { token: sent.token, stage: Stage::Answered(chunk(1)) };
                let is_out = if is_dead {
                    theirs.call().chunk() == Some(chunk(1))
                } else {
                    theirs.call().state() == reply
                };
                if !is_out && theirs.is_free(chunk(1)) {
                    theirs.write(chunk(1), 0);
                }
            });
            assert!(shared.take_reply(sent, 7));
            server.join().unwrap();
        });
    }
}

/// A server gives a stream up while its client asks for more: the client learns it by one way or the other.
#[test]
fn models_a_stream_that_is_given_up_keeps_nobody() {
    explore(3, || {
        let shared = Shared::new(2, 2);
        let sent = shared.send(chunk(0), 7);
        let seen = shared.begin_stream(sent, 1, chunk(1));
        let theirs = Arc::clone(&shared);
        let server = thread::spawn(move || {
            if theirs.call().give_up(sent.token, 1) {
                wake_one((theirs.call().waiting(), 1), &theirs.wakes[0]);
            }
        });
        if shared.call().expect_more(seen, 1, || true) {
            shared.sleep_of_client(State { stage: Stage::Claimed(1), ..seen });
        }
        assert_eq!(shared.call().state().stage, Stage::Failed(Failure::Dropped));
        server.join().unwrap();
    });
}

/// A client that sleeps for room in a full queue is woken (Q2, G3 of `sleep.rs`).
#[test]
fn models_no_wake_at_a_full_queue_is_missed() {
    explore(3, || {
        let shared = Shared::new(1, 0);
        let waiting = Arc::new(Word::new(0));
        let put = |index| shared.queue().put(chunk(index), &Cell::new(0));
        assert!(put(0).is_ok() && put(1).is_ok() && put(2).is_err());
        let (theirs, asked) = (Arc::clone(&shared), Arc::clone(&waiting));
        let server = thread::spawn(move || {
            assert_eq!(theirs.queue().take(|_| true), Taken::Claimed);
            // As `server.rs`.
            barrier_after_rmw();
            wake_gate(&asked, &theirs.wakes[0]);
        });
        while !shared.queue().has_room() {
            sleep_together(&waiting, &shared.wakes[0], LONG, || shared.queue().has_room());
        }
        server.join().unwrap();
        assert!(put(2).is_ok());
    });
}

const LIVE: u64 = 2;
const RECOVERING: u64 = 3;
const EPOCH: u64 = 1 << 32;

/// A server that sent a part of a stream is recovered, and another comes in its place, while the client asks for more: the call has one
/// end, and the client gets to know it.
#[test]
fn models_a_stream_of_a_dead_server_ends_once() {
    for comes_another in [false, true] {
        explore(3, move || {
            let shared = Shared::new(2, 2);
            let sent = shared.send(chunk(0), 7);
            let seen = shared.begin_stream(sent, 1, chunk(1));
            let status = Arc::new(Word::new(LIVE));
            let (theirs, theirs_status) = (Arc::clone(&shared), Arc::clone(&status));
            let recoverer = thread::spawn(move || {
                // The order is that of `topic/recover.rs` and `topic/join.rs`.
                theirs_status.store(RECOVERING, Ordering::Relaxed);
                let ends = Cell::new(0);
                let calls = || std::iter::once((0, theirs.call()));
                fail_calls(1, calls, |_, call| {
                    ends.set(ends.get() + 1);
                    wake_one((call.waiting(), 1), &theirs.wakes[0]);
                });
                if comes_another {
                    theirs_status.store(EPOCH | LIVE, Ordering::Release);
                }
                ends.get()
            });
            let is_there = shared.call().expect_more(seen, 1, || {
                shared.steps.step();
                status.load(Ordering::Acquire) == LIVE
            });
            if is_there {
                shared.sleep_of_client(State { stage: Stage::Claimed(1), ..seen });
            }
            assert_eq!(shared.call().state(), State { stage: Stage::Failed(Failure::Died), ..seen });
            let ends = recoverer.join().unwrap();
            assert!(ends == 1 || !is_there, "who ended it?");
        });
    }
}

/// A server that sleeps until the part before was taken is woken, and so is its client, who sleeps until the next part comes (P1, P2 of
/// `wait.rs`).
#[test]
fn models_no_wake_within_a_stream_is_missed() {
    explore(3, || {
        let shared = Shared::new(2, 3);
        let sent = shared.send(chunk(0), 7);
        let seen = shared.begin_stream(sent, 1, chunk(1));
        let theirs = Arc::clone(&shared);
        let server = thread::spawn(move || {
            let call = theirs.call();
            while call.is(seen) {
                sleep_until((call.eager(), 1), &theirs.wakes[1], LONG, || !call.is(seen));
            }
            theirs.send_part(sent.token, 1, chunk(2));
        });
        assert!(shared.call().expect_more(seen, 1, || true));
        wake_one((shared.call().eager(), 1), &shared.wakes[1]);
        let next = shared.sleep_of_client(State { stage: Stage::Claimed(1), ..seen });
        assert_eq!(next, Stage::Answered(chunk(2)));
        server.join().unwrap();
    });
}

/// A client that sleeps for its reply is woken, and so is the server that sleeps for the request (P1, P2 of `wait.rs`).
#[test]
fn models_no_wake_of_a_call_is_missed() {
    explore(3, || {
        let shared = Shared::new(2, 2);
        let bits = Arc::new([Word::new(0)]);
        let (theirs, their_bits) = (Arc::clone(&shared), Arc::clone(&bits));
        let server = thread::spawn(move || {
            while !theirs.queue().has_some() {
                sleep_until((&their_bits[0], 1), &theirs.wakes[1], LONG, || theirs.queue().has_some());
            }
            assert_eq!(theirs.serve(1, chunk(1)), Some(7));
            wake_one((theirs.call().waiting(), 1), &theirs.wakes[0]);
        });
        let sent = shared.send(chunk(0), 7);
        wake_any(&*bits, &shared.wakes[1]);
        let mut seen = sent;
        while !matches!(seen.stage, Stage::Answered(_)) {
            seen.stage = shared.sleep_of_client(seen);
        }
        assert!(shared.take_reply(sent, 7));
        server.join().unwrap();
    });
}

/// A client dies at any moment. Its request's memory is adopted when nothing names it and nobody holds it, its server takes its reply's
/// back, and the next client in its place gets its own reply.
#[test]
fn models_a_dead_clients_call_is_nobodys() {
    explore(3, || {
        let shared = Shared::new(2, 4);
        let sent = shared.send(chunk(0), 7);
        let theirs = Arc::clone(&shared);
        let server = thread::spawn(move || {
            let served = theirs.serve(1, chunk(1));
            // As its `take_back`; what it couldn't send it has still.
            let reply = State { token: sent.token, stage: Stage::Answered(chunk(1)) };
            if served != Some(8) && theirs.call().state() != reply && theirs.is_free(chunk(1)) {
                theirs.write(chunk(1), 0);
            }
            served
        });
        shared.call().abandon();
        assert_eq!(shared.call().chunk(), None);
        if shared.is_free(chunk(0)) {
            shared.write(chunk(0), 0);
        }
        let next = shared.send(chunk(2), 8);
        let served = server.join().unwrap();
        assert_eq!(shared.take_reply(next, 8), served == Some(8));
        if served != Some(8) {
            assert_eq!(shared.serve(1, chunk(3)), Some(8), "the next call is lost");
            assert!(shared.take_reply(next, 8));
        }
    });
}
