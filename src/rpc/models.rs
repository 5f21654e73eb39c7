// SPDX-License-Identifier: MIT OR Apache-2.0
//! Loom models of calls: `queue.rs` and `call.rs` as they are, with holds and chunks as `client.rs` and `server.rs` use them.
//!
//! Payloads are loom cells, so that a server that reads a request while its client writes the next one, or a client that reads a
//! reply while its server does, is found.

use std::cell::Cell;
use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::thread;

use super::call::{named_by, Call, CallId, Failure, Stage, State, WORDS};
use super::queue::{Queue, Taken};
use crate::ring::{ChunkId, Ring};
use crate::sync::{barrier_after_rmw, fence, store_then_barrier, Ordering, Word};

/// The words of a service with one client that has one call, and some servers.
struct Shared {
    slots: Vec<Word>,
    tail: Word,
    head: Word,
    call: Vec<Word>,
    /// The client's, then those of the servers.
    holds: Vec<Word>,
    /// The client's chunks, then those of the servers.
    payloads: Vec<UnsafeCell<u64>>,
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
            call: words(WORDS),
            holds: words(participants),
            payloads: (0..chunks).map(|_| UnsafeCell::new(0)).collect(),
        })
    }

    fn queue(&self) -> Queue<'_> {
        Queue::new(Ring::new(&self.slots, &self.tail), &self.head)
    }

    fn call(&self) -> Call<'_> {
        Call::new(&self.call)
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

fn explore(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(preemptions);
    builder.max_branches = 10_000;
    builder.check(model);
}

/// How the queue names the one call of the one client.
fn entry(sent: State) -> ChunkId {
    CallId { token: sent.token, client: 0, index: 0 }.entry()
}

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

/// A server takes the chunk of its reply back when the client has moved on, and writes the next one into it while the client reads.
#[test]
fn models_a_reply_stays_while_it_is_held() {
    explore(3, || {
        let shared = Shared::new(2, 2);
        let sent = shared.send(chunk(0), 7);
        assert_eq!(shared.serve(1, chunk(1)), Some(7));
        let theirs = Arc::clone(&shared);
        let server = thread::spawn(move || {
            let is_out =
                theirs.call().state() == State { token: sent.token, stage: Stage::Answered(chunk(1)) };
            if !is_out && theirs.is_free(chunk(1)) {
                theirs.write(chunk(1), 0);
            }
        });
        assert!(shared.take_reply(sent, 7));
        server.join().unwrap();
    });
}

/// A server gives a stream up while its client asks for more: the client learns it by one way or the other.
#[test]
fn models_a_stream_that_is_given_up_keeps_nobody() {
    explore(3, || {
        let shared = Shared::new(2, 2);
        let sent = shared.send(chunk(0), 7);
        assert_eq!(shared.serve(1, chunk(1)), Some(7));
        let theirs = Arc::clone(&shared);
        let server = thread::spawn(move || theirs.call().give_up(sent.token, 1));
        let seen = shared.call().state();
        assert!(shared.call().taken(seen, Some(1)));
        let in_vain = shared.call().asks_in_vain(sent.token);
        let failed = server.join().unwrap();
        assert!(failed || in_vain, "it waits for ever");
    });
}

/// A client that sleeps for room in a full queue is woken (Q2, G3 of `wait.rs`).
#[test]
fn models_no_wake_at_a_full_queue_is_missed() {
    explore(3, || {
        let shared = Shared::new(1, 0);
        let [waiting, wakes] = [(); 2].map(|()| Arc::new(Word::new(0)));
        let put = |index| shared.queue().put(chunk(index), &Cell::new(0));
        assert!(put(0).is_ok() && put(1).is_ok() && put(2).is_err());
        let (theirs, asked, count) = (Arc::clone(&shared), Arc::clone(&waiting), Arc::clone(&wakes));
        let server = thread::spawn(move || {
            assert_eq!(theirs.queue().take(|_| true), Taken::Claimed);
            barrier_after_rmw();
            if asked.load(Ordering::SeqCst) != 0 && asked.swap(0, Ordering::SeqCst) != 0 {
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        let before = wakes.load(Ordering::Acquire);
        store_then_barrier(&waiting, 1);
        let sleeps = !shared.queue().has_room() && wakes.load(Ordering::SeqCst) == before;
        server.join().unwrap();
        assert!(!sleeps || wakes.load(Ordering::SeqCst) != before, "it sleeps on");
        assert!(put(2).is_ok());
    });
}

/// A client that sleeps for its reply is woken (P1, P2 of `wait.rs`).
#[test]
fn models_no_wake_of_a_client_is_missed() {
    explore(3, || {
        let shared = Shared::new(2, 2);
        let sent = shared.send(chunk(0), 7);
        let wakes = Arc::new(Word::new(0));
        let (theirs, count) = (Arc::clone(&shared), Arc::clone(&wakes));
        let server = thread::spawn(move || {
            assert_eq!(theirs.serve(1, chunk(1)), Some(7));
            barrier_after_rmw();
            let waiting = theirs.call().waiting;
            if waiting.load(Ordering::SeqCst) != 0 && waiting.swap(0, Ordering::SeqCst) != 0 {
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        let before = wakes.load(Ordering::Acquire);
        store_then_barrier(shared.call().waiting, 1);
        let seen = shared.call().state();
        let sleeps = !matches!(seen.stage, Stage::Answered(_)) && wakes.load(Ordering::SeqCst) == before;
        server.join().unwrap();
        assert!(!sleeps || wakes.load(Ordering::SeqCst) != before, "it sleeps on");
        assert!(shared.take_reply(sent, 7));
    });
}
