// SPDX-License-Identifier: MIT OR Apache-2.0
//! Threads publish, receive, hand on, release and reclaim over payloads that are ordinary memory: ThreadSanitizer sees an access
//! that the protocol doesn't order, and any run sees one that it doesn't keep apart.
//!
//! All is in one address space, as the sanitizer knows memory by its address: handles on one topic map it at several.

use std::cell::UnsafeCell;
use std::sync::atomic::AtomicU64;

use super::*;

const CAPACITY: usize = 4;
/// Of each publisher: enough to fill the ring, be held, and have some left.
const CHUNKS: u32 = CAPACITY as u32 + HOLDS as u32 + 2;
const PUBLISHERS: u32 = 2;
const SUBSCRIBERS: usize = 2;
/// Of all subscribers.
const HOLDS: usize = 4;
const MESSAGES: u64 = 50_000;
const WORDS: usize = 8;

struct Shared {
    slots: Vec<Word>,
    tail: Word,
    holds: Vec<Word>,
    /// By hold: the chunk that was handed on to be released; 0: none.
    handed: Vec<AtomicU64>,
    /// By hold: what it said then.
    said: Vec<AtomicU64>,
    payloads: Vec<UnsafeCell<[u64; WORDS]>>,
    publishing: AtomicU64,
    receiving: AtomicU64,
    failed: AtomicU64,
}

/// Counts its thread out. One that panics leaves too many: nobody must wait for what it would have done.
struct Ends<'a>(&'a AtomicU64, &'a AtomicU64);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
        self.1.fetch_add(std::thread::panicking().into(), Ordering::Relaxed);
    }
}

// SAFETY: the payloads are what the protocol keeps apart; that it does is what is tested.
unsafe impl Sync for Shared {}

impl Holder for Shared {
    fn each_hold(&self, mut found: impl FnMut(u64)) {
        // S2.
        self.holds
            .iter()
            .map(|hold| hold.load(Ordering::Acquire))
            .filter(|&word| word != 0)
            .for_each(&mut found);
    }
}

impl Shared {
    fn new() -> Self {
        let words = |count: usize| (0..count).map(|_| Word::new(0)).collect();
        Shared {
            slots: words(CAPACITY),
            tail: Word::new(0),
            holds: words(HOLDS),
            handed: (0..HOLDS).map(|_| AtomicU64::new(0)).collect(),
            said: (0..HOLDS).map(|_| AtomicU64::new(0)).collect(),
            payloads: (0..PUBLISHERS * CHUNKS).map(|_| UnsafeCell::new([0; WORDS])).collect(),
            publishing: AtomicU64::new(PUBLISHERS.into()),
            receiving: AtomicU64::new(SUBSCRIBERS as u64),
            failed: AtomicU64::new(0),
        }
    }

    fn ring(&self) -> Ring<'_> {
        Ring::new(&self.slots, &self.tail)
    }

    fn wait(&self) {
        assert_eq!(self.failed.load(Ordering::Relaxed), 0, "another thread failed");
        std::thread::yield_now();
    }

    fn payload(&self, chunk: ChunkId) -> *mut [u64; WORDS] {
        self.payloads[((chunk.segment() - 1) * CHUNKS + chunk.index()) as usize].get()
    }

    /// Reads a chunk that somebody pins; returns what it says.
    fn check(&self, chunk: ChunkId) -> u64 {
        // SAFETY: it is pinned, so nobody writes to it (I3).
        let words = unsafe { self.payload(chunk).read() };
        assert!(words.iter().all(|&word| word == words[0] && word != 0), "{chunk:?} is torn: {words:?}");
        words[0]
    }

    fn publish(&self, segment: u32) {
        let _ends = Ends(&self.publishing, &self.failed);
        let mut free: Vec<_> = (0..CHUNKS).map(|index| ChunkId::new(segment, index)).collect();
        let mut retiring = Retiring::default();
        for sequence in 1..=MESSAGES {
            let chunk = loop {
                // Now and then also when it needn't, so that evictions meet readers.
                if free.is_empty() || sequence % 5 == 0 {
                    retiring.evict_oldest(self.ring(), u64::MAX);
                }
                retiring.reclaim(self.ring(), self, |chunk| free.push(chunk));
                match free.pop() {
                    Some(chunk) => break chunk,
                    None => self.wait(),
                }
            };
            // SAFETY: it is free, so nobody reads it (I3).
            unsafe { self.payload(chunk).write([sequence << 2 | u64::from(segment); WORDS]) };
            retiring.published(self.ring().publish(chunk, |_| true, |_| ()).unwrap(), chunk);
        }
    }

    /// Every other sample is handed on to another thread.
    fn receive(&self, holds: std::ops::Range<usize>) -> u64 {
        let _ends = Ends(&self.receiving, &self.failed);
        let mut reader = Reader::join(self.ring(), None, 0);
        let mut got = 0;
        loop {
            let last = self.publishing.load(Ordering::Relaxed) == 0;
            // Acquire: pairs with the releaser, as a sample's private twin does.
            let free = holds.clone().find(|&hold| self.handed[hold].load(Ordering::Acquire) == 0);
            let Some(hold) = free else {
                self.wait();
                continue;
            };
            match reader.poll(self.ring(), &self.holds[hold], |_| ()) {
                Poll::Pinned { chunk, .. } => {
                    let said = self.check(chunk);
                    got += 1;
                    if got % 2 == 0 {
                        self.said[hold].store(said, Ordering::Relaxed);
                        self.handed[hold].store(chunk.hold_word(), Ordering::Release);
                    } else {
                        std::thread::yield_now();
                        assert_eq!(self.check(chunk), said, "{chunk:?} changed while it was held");
                        self.holds[hold].store(0, Ordering::Release); // H2
                    }
                }
                Poll::Empty if last => break,
                Poll::Empty => self.wait(),
                Poll::Damaged => panic!("damaged"),
            }
        }
        got
    }

    fn release(&self) {
        let _ends = Ends(&AtomicU64::new(1), &self.failed);
        while self.receiving.load(Ordering::Relaxed) > 0 {
            for (hold, handed) in self.handed.iter().enumerate() {
                let word = handed.load(Ordering::Acquire);
                if word != 0 {
                    let chunk = ChunkId::from_hold_word(word);
                    let said = self.said[hold].load(Ordering::Relaxed);
                    assert_eq!(self.check(chunk), said, "{chunk:?} changed while it was held");
                    self.holds[hold].store(0, Ordering::Release); // H2
                    handed.store(0, Ordering::Release);
                }
            }
            self.wait();
        }
    }
}

#[test]
fn what_is_pinned_is_not_written() {
    let shared = Shared::new();
    let each = HOLDS / SUBSCRIBERS;
    std::thread::scope(|scope| {
        let shared = &shared;
        let receivers = [0, 1].map(|n| scope.spawn(move || shared.receive(n * each..(n + 1) * each)));
        let publishers = [1, 2].map(|segment| scope.spawn(move || shared.publish(segment)));
        let releaser = scope.spawn(|| shared.release());
        // Joined one by one: the sanitizer knows no other end of a thread.
        publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
        let got = receivers.map(|receiver| receiver.join().unwrap());
        releaser.join().unwrap();
        assert!(got.iter().all(|&got| got > 0), "a subscriber that receives nothing tests nothing");
    });
}
