// SPDX-License-Identifier: MIT OR Apache-2.0
//! Loom explores the interleavings and the weak orderings of the ring's own code: `publish`, `evict`, `reclaim`, `poll`,
//! and the hand-shake of sleeping and waking.
//!
//! A chunk's payload is a loom cell, so that any access to it that isn't ordered after the one before is found, and
//! holds the position that it was published at, so that a torn or a mixed-up message is too.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test --release --lib models`.

use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::thread;

use super::*;
use crate::sync::{barrier_after_rmw, fence};

/// What the processes of a topic share, in small.
pub(super) struct Shared {
    slots: Vec<Word>,
    tail: Word,
    pub(super) holds: Vec<Word>,
    payloads: Vec<UnsafeCell<u64>>,
    steps: Steps,
}

/// Where the order of the threads matters. Loom tries another order of two accesses when they conflict, but it looks only at the last one
/// before, and that may be the thread's own: a compare-and-swap of what it has just read hides that somebody else read it before. Every
/// two steps conflict. They order nothing.
pub(crate) struct Steps(Word);

impl Steps {
    pub(crate) fn new() -> Self {
        Steps(Word::new(0))
    }

    pub(crate) fn step(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: loom's cells report any access that isn't exclusive.
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

impl Shared {
    pub(super) fn new(capacity: usize, subscribers: usize, chunks: usize) -> Arc<Self> {
        Arc::new(Shared {
            slots: (0..capacity).map(|_| Word::new(0)).collect(),
            tail: Word::new(0),
            holds: (0..subscribers).map(|_| Word::new(0)).collect(),
            payloads: (0..chunks).map(|_| UnsafeCell::new(0)).collect(),
            steps: Steps::new(),
        })
    }

    pub(super) fn ring(&self) -> Ring<'_> {
        self.steps.step();
        Ring::new(&self.slots, &self.tail)
    }
}

struct Holds<'a>(&'a [Word]);

impl Holder for Holds<'_> {
    fn each_hold(&self, mut found: impl FnMut(u64)) {
        for hold in self.0 {
            let word = hold.load(Ordering::Acquire);
            if word != 0 {
                found(word);
            }
        }
    }
}

/// A publisher with its chunks.
pub(super) struct Writer {
    pub(super) free: Vec<ChunkId>,
    pub(super) retiring: Retiring,
    may_evict: bool,
}

impl Writer {
    pub(super) fn new(chunks: std::ops::Range<u32>, may_evict: bool) -> Self {
        let free = chunks.map(|index| ChunkId::new(1, index)).collect();
        Writer { free, retiring: Retiring::default(), may_evict }
    }

    pub(super) fn reclaim(&mut self, shared: &Shared) {
        let free = &mut self.free;
        self.retiring.reclaim(shared.ring(), &Holds(&shared.holds), |chunk| free.push(chunk));
    }

    /// Publishes one message if there is a chunk for it; returns how many were published.
    fn publish(&mut self, shared: &Shared) -> u64 {
        if self.free.is_empty() {
            self.reclaim(shared);
        }
        if self.free.is_empty() && self.may_evict && self.retiring.evict_oldest(shared.ring(), u64::MAX) {
            self.reclaim(shared);
        }
        self.publish_if(shared, |_| true).map_or(0, |_| 1)
    }

    /// Publishes one message if there is a chunk for it and `may_fill` lets it; returns its position.
    pub(super) fn publish_if(&mut self, shared: &Shared, may_fill: impl Fn(u64) -> bool) -> Option<u64> {
        let chunk = self.free.pop()?;
        let payload = &shared.payloads[chunk.index() as usize];
        // SAFETY: loom checks that nobody else is there.
        let stamp = |position| payload.with_mut(|p| unsafe { *p = position });
        match shared.ring().publish(chunk, may_fill, stamp) {
            Ok(position) => {
                self.retiring.published(position, chunk);
                Some(position)
            }
            Err(Refused::Full) => {
                self.free.push(chunk);
                None
            }
            Err(Refused::Damaged) => panic!("I1"),
        }
    }
}

/// Polls once; true when a message came. Checks its content and that positions only grow.
pub(super) fn receive(shared: &Shared, reader: &mut Reader, last: &mut u64, subscriber: usize) -> bool {
    let hold = &shared.holds[subscriber];
    let Poll::Pinned { position, chunk } = reader.poll(shared.ring(), hold, |_| ()) else { return false };
    // SAFETY: loom checks that nobody writes.
    let found = shared.payloads[chunk.index() as usize].with(|p| unsafe { *p });
    assert_eq!(found, position, "a message changed under its reader");
    assert!(position > *last);
    *last = position;
    hold.store(0, Ordering::Release); // H2
    true
}

pub(super) fn explore(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(preemptions);
    builder.max_branches = 10_000;
    builder.check(model);
}

/// `writers` publish `messages` each from `chunks` chunks each; `readers` poll `polls` times each. Afterwards every
/// message was received or counted as lost by every reader, and every chunk is in the ring or free again.
fn run(writers: u32, messages: u32, chunks: u32, readers: usize, polls: u32, may_evict: bool) {
    let shared = Shared::new(2, readers, (writers * chunks) as usize);
    let writing: Vec<_> = (0..writers)
        .map(|w| {
            let shared = Arc::clone(&shared);
            move || {
                let mut writer = Writer::new(w * chunks..(w + 1) * chunks, may_evict);
                let published: u64 = (0..messages).map(|_| writer.publish(&shared)).sum();
                (writer, published)
            }
        })
        .collect();
    let reading: Vec<_> = (0..readers)
        .map(|subscriber| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let (mut reader, mut last) = (Reader::at(2), 0);
                let got: u64 =
                    (0..polls).map(|_| u64::from(receive(&shared, &mut reader, &mut last, subscriber))).sum();
                (reader, last, got)
            })
        })
        .collect();
    // The last writer is this thread: loom's count of threads is small.
    let mut writing = writing.into_iter();
    let mine = writing.next_back().unwrap();
    let others: Vec<_> = writing.map(thread::spawn).collect();
    let mut done = vec![mine()];
    done.extend(others.into_iter().map(|thread| thread.join().unwrap()));
    let published: u64 = done.iter().map(|(_, published)| published).sum();
    assert_eq!(shared.ring().end(), 2 + published, "I1");

    for (subscriber, thread) in reading.into_iter().enumerate() {
        let (mut reader, mut last, mut got) = thread.join().unwrap();
        while receive(&shared, &mut reader, &mut last, subscriber) {
            got += 1;
        }
        assert_eq!(got + reader.lost(), published);
    }
    for (mut writer, _) in done {
        writer.reclaim(&shared);
        while writer.retiring.evict_oldest(shared.ring(), u64::MAX) {
            writer.reclaim(&shared);
        }
        assert!(writer.retiring.limbo().is_empty());
        assert_eq!(writer.free.len(), chunks as usize, "a chunk leaked");
    }
}

/// The ring goes round while the reader looks: with two slots and two chunks every publish reuses the oldest.
#[test]
fn models_one_publisher_one_subscriber_wrapping() {
    explore(3, || run(1, 4, 3, 1, 2, false));
    explore(3, || run(1, 3, 1, 1, 2, true));
}

#[test]
fn models_two_publishers_one_subscriber() {
    explore(2, || run(2, 2, 2, 1, 1, false));
}

#[test]
fn models_two_publishers_one_subscriber_wrapping_and_evicting() {
    explore(2, || run(2, 2, 1, 1, 1, true));
}

#[test]
fn models_one_publisher_two_subscribers_wrapping() {
    explore(2, || run(1, 3, 2, 2, 2, true));
}

/// The hint is left behind by a publisher that died right after W1; the next one and the readers get along.
#[test]
fn models_a_publisher_dies_between_its_slot_and_the_hint() {
    explore(3, || {
        let shared = Shared::new(2, 1, 3);
        let dead = ChunkId::new(1, 2);
        // SAFETY: loom checks that nobody else is there.
        shared.payloads[2].with_mut(|p| unsafe { *p = 2 });
        let word = Slot::new(shared.ring().tag(2), dead).0;
        let two = Arc::clone(&shared);
        let victim = thread::spawn(move || {
            let _ = two.slots[0].compare_exchange(0, word, Ordering::SeqCst, Ordering::Relaxed);
        });
        let three = Arc::clone(&shared);
        let reader = thread::spawn(move || {
            let (mut reader, mut last) = (Reader::at(2), 0);
            receive(&three, &mut reader, &mut last, 0);
            receive(&three, &mut reader, &mut last, 0);
        });
        let mut writer = Writer::new(0..2, false);
        writer.publish(&shared);
        writer.publish(&shared);
        victim.join().unwrap();
        reader.join().unwrap();
        let ends = shared.ring().end() - shared.ring().tail();
        assert!(ends <= 1, "I1");
    });
}

/// A sleeper that sets its bit, looks and finds nothing is woken by a publisher that comes then (P1, P2), also when two
/// publishers take the bits. `futex_wait` is a comparison here: if it finds the number unchanged it sleeps, and whoever counts
/// up afterwards wakes it.
#[test]
fn models_no_wake_is_missed() {
    for publishers in 1..=2 {
        explore(3, move || {
            let shared = Shared::new(2, 1, 2);
            let waiters = Arc::new(Word::new(0));
            let wakes = Arc::new(Word::new(0));
            let (theirs, bits, count) = (Arc::clone(&shared), Arc::clone(&waiters), Arc::clone(&wakes));
            let sleeper = thread::spawn(move || {
                let seen = count.load(Ordering::Acquire);
                bits.fetch_or(1, Ordering::SeqCst);
                fence(Ordering::SeqCst);
                (!theirs.ring().is_filled(2) && count.load(Ordering::SeqCst) == seen).then_some(seen)
            });
            let publishing: Vec<_> = (0..publishers)
                .map(|index| {
                    let (shared, waiters, wakes) =
                        (Arc::clone(&shared), Arc::clone(&waiters), Arc::clone(&wakes));
                    thread::spawn(move || {
                        Writer::new(index..index + 1, false).publish(&shared);
                        barrier_after_rmw();
                        if waiters.load(Ordering::SeqCst) != 0 && waiters.swap(0, Ordering::SeqCst) != 0 {
                            wakes.fetch_add(1, Ordering::SeqCst);
                        }
                    })
                })
                .collect();
            publishing.into_iter().for_each(|thread| thread.join().unwrap());
            if let Some(seen) = sleeper.join().unwrap() {
                assert_ne!(wakes.load(Ordering::SeqCst), seen, "it sleeps on");
            }
        });
    }
}
