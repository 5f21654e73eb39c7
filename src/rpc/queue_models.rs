// SPDX-License-Identifier: MIT OR Apache-2.0
//! Loom models of a queue that fills up: `queue.rs` as it is, with two slots, and calls that are sent, cancelled and claimed.

use std::cell::Cell;
use std::sync::Arc;

use loom::thread;

use super::call::{named_by, Call, CallId, Stage, State, WORDS};
use super::models::explore;
use super::queue::{Queue, Taken};
use crate::ring::models::Steps;
use crate::ring::{ChunkId, Refused, Ring};
use crate::sync::{Ordering, Word};

/// The words of a service with one client, which has some calls. Nobody looks into a request here.
struct Shared {
    slots: Vec<Word>,
    tail: Word,
    head: Word,
    calls: Vec<[Word; WORDS]>,
    steps: Steps,
}

const SERVER: u32 = 1;
/// The queue's head before anything was taken.
const FIRST: u64 = 2;

impl Shared {
    fn new(calls: usize) -> Arc<Self> {
        Arc::new(Shared {
            slots: vec![Word::new(0), Word::new(0)],
            tail: Word::new(0),
            head: Word::new(0),
            calls: (0..calls).map(|_| std::array::from_fn(|_| Word::new(0))).collect(),
            steps: Steps::new(),
        })
    }

    fn queue(&self) -> Queue<'_> {
        self.steps.step();
        Queue::new(Ring::new(&self.slots, &self.tail), &self.head)
    }

    fn call(&self, index: u32) -> Call<'_> {
        self.steps.step();
        Call(&self.calls[index as usize])
    }

    /// As `Client::enqueue` does it, with what it saw of the head. `None`: the queue is full, and the call withdrawn.
    fn send(&self, index: u32, seen: u64) -> Option<State> {
        let state = self.call(index).queue(ChunkId::new(1, index));
        let entry = CallId { token: state.token, client: 0, index }.entry();
        match self.queue().put(entry, &Cell::new(seen)) {
            Err(Refused::Full) if self.call(index).taken(state, None) => None,
            Err(Refused::Damaged) => panic!("I1"),
            _ => Some(state),
        }
    }

    /// As `Client::make_room` does it.
    fn make_room(&self) -> bool {
        self.queue().pass_over(|entry| self.named(entry).is_some())
    }

    /// The call that `entry` names, if it is queued, and its state.
    fn named(&self, entry: ChunkId) -> Option<(u32, State)> {
        let (client, index, is_of) = named_by(entry)?;
        assert_eq!(client, 0);
        let state = self.call(index).state();
        (state.stage == Stage::Queued && is_of(state.token)).then_some((index, state))
    }

    /// A server takes a call, if there is one.
    fn take(&self) -> Option<u32> {
        let mut found = None;
        let taken = self.queue().take(|entry| {
            found = self.named(entry).filter(|&(index, state)| self.call(index).claim(state, SERVER));
            found.is_some()
        });
        assert_ne!(taken, Taken::Damaged);
        found.map(|(index, _)| index)
    }

    /// What the server takes until nothing is left, after `taken`; sorted.
    fn take_all(&self, taken: impl IntoIterator<Item = u32>) -> Vec<u32> {
        let mut all: Vec<_> = taken.into_iter().chain(std::iter::from_fn(|| self.take())).collect();
        all.sort_unstable();
        all
    }
}

/// Two clients, who saw the head long ago, send into a full queue while a server takes: what they sent is taken, once, and nothing
/// is put over what wasn't.
#[test]
fn models_a_full_queue_loses_nothing() {
    explore(3, || {
        let shared = Shared::new(4);
        assert!(shared.send(0, FIRST).is_some() && shared.send(1, FIRST).is_some());
        let theirs = Arc::clone(&shared);
        let server = thread::spawn(move || [theirs.take(), theirs.take()]);
        let theirs = Arc::clone(&shared);
        let client = thread::spawn(move || theirs.send(2, FIRST).map(|_| 2));
        let third = shared.send(3, FIRST).map(|_| 3);
        let sent: Vec<u32> = [0, 1].into_iter().chain(client.join().unwrap()).chain(third).collect();
        let taken = server.join().unwrap().into_iter().flatten();
        assert_eq!(shared.take_all(taken), sent);
        assert!(shared.send(0, FIRST).is_some(), "the queue is empty");
    });
}

/// While a server looks at the head, another takes what is there and a client puts the next lap's over it: that is no damage.
#[test]
fn models_a_server_is_overtaken_by_a_lap() {
    explore(3, || {
        let shared = Shared::new(4);
        assert!(shared.send(0, FIRST).is_some() && shared.send(1, FIRST).is_some());
        let theirs = Arc::clone(&shared);
        let server = thread::spawn(move || theirs.take());
        let mut taken: Vec<u32> = shared.take().into_iter().collect();
        assert!(shared.send(2, FIRST).is_some(), "one was taken");
        taken.extend(shared.take());
        taken.extend(server.join().unwrap());
        assert_eq!(shared.take_all(taken), [0, 1, 2]);
    });
}

/// While a client looks at the end, another fills that place, and it is taken: the queue isn't full.
#[test]
fn models_a_client_is_overtaken_by_the_head() {
    explore(3, || {
        let shared = Shared::new(2);
        let theirs = Arc::clone(&shared);
        let client = thread::spawn(move || theirs.send(1, 0).is_some());
        assert!(shared.send(0, FIRST).is_some());
        let taken = shared.take();
        assert!(client.join().unwrap(), "there were never more than two");
        assert_eq!(shared.take_all(taken), [0, 1]);
    });
}

/// A client whose call was cancelled passes over what is left of it in a full queue, while a server does the same, and sends it again.
#[test]
fn models_what_was_cancelled_makes_room() {
    explore(3, || {
        let shared = Shared::new(3);
        assert!(shared.send(0, FIRST).is_some() && shared.send(1, FIRST).is_some());
        shared.call(0).end();
        let theirs = Arc::clone(&shared);
        let server = thread::spawn(move || theirs.take());
        let again = shared.send(0, FIRST).or_else(|| shared.make_room().then(|| shared.send(0, FIRST))?);
        let other = shared.send(2, FIRST).or_else(|| shared.make_room().then(|| shared.send(2, FIRST))?);
        let taken = server.join().unwrap();
        let sent: Vec<u32> = again.map(|_| 0).into_iter().chain([1]).chain(other.map(|_| 2)).collect();
        assert_eq!(shared.take_all(taken), sent);
    });
}

/// The queue is full, and what is left in it of a call long ago has the token of the one that finds no place: that one is claimed by way
/// of the old entry, or withdrawn, and not both.
#[test]
fn models_what_finds_no_place_may_be_claimed_by_an_older_entry() {
    explore(3, || {
        let shared = Shared::new(2);
        let old = shared.send(0, FIRST).unwrap();
        assert!(shared.send(1, FIRST).is_some());
        shared.call(0).end();
        // As after 2^12 - 1 more calls: IDLE, and the next token is one that the entry can't tell from its own.
        shared.calls[0][0].store(u64::from(old.token + 0xfff) << 32, Ordering::Relaxed);
        let theirs = Arc::clone(&shared);
        let server = thread::spawn(move || [theirs.take(), theirs.take()]);
        let is_sent = shared.send(0, FIRST).is_some();
        let taken = server.join().unwrap().into_iter().flatten();
        assert_eq!(shared.take_all(taken), if is_sent { vec![0, 1] } else { vec![1] });
    });
}
