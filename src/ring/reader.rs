// SPDX-License-Identifier: MIT OR Apache-2.0
//! The receiving side: one subscriber's place in the ring, and the way from a slot to a pinned chunk.

use std::collections::VecDeque;

use super::{ChunkId, Ring, Slot};
use crate::sync::{load_acquire, store_then_barrier, Ordering, Word};

/// What a look at the next position gave.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Poll {
    /// Nothing is there yet, or the ring went round so fast that nothing could be pinned in this call.
    Empty,
    /// The chunk is pinned by the hold word that `poll` was given: it won't change until the word is cleared.
    Pinned { position: u64, chunk: ChunkId },
    /// The ring's words contradict I1: somebody wrote over them.
    Damaged,
}

/// A subscriber's place. Private to its process.
#[derive(Debug)]
pub(crate) struct Reader {
    next: u64,
    lost: u64,
    /// Nothing from this position on is overwritten before it was read (I7); 0: anything may be.
    kept_from: u64,
    /// Positions of the history that were evicted before this reader joined: not its losses.
    holes: VecDeque<u64>,
}

impl Reader {
    /// A reader that starts with the newest `history` messages before `start` that are in the ring, then those from there on. `None`
    /// as `start`: now.
    pub(crate) fn join(ring: Ring<'_>, start: Option<u64>, history: u64) -> Self {
        let end = start.unwrap_or_else(|| ring.end());
        let oldest = end.saturating_sub(ring.capacity()).max(ring.capacity());
        let mut next = end;
        let mut found = 0;
        let mut holes = VecDeque::new();
        for position in (oldest..end).rev() {
            if found == history {
                break;
            }
            if ring.chunk_at(position).is_some() {
                found += 1;
                next = position;
            } else {
                holes.push_front(position);
            }
        }
        holes.retain(|&position| position > next);
        Reader { next, lost: 0, kept_from: start.unwrap_or(0), holes }
    }

    /// A reader at the start of a ring.
    #[cfg(all(test, loom))]
    pub(super) fn at(next: u64) -> Self {
        Reader { next, lost: 0, kept_from: 0, holes: VecDeque::new() }
    }

    /// The next position to read.
    #[inline]
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// How many messages this reader missed since it joined.
    #[inline]
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    /// Pins the next message with `hold`, a free hold word of this subscriber (0).
    ///
    /// Wait-free: the loop is bounded by the ring's capacity. A reader that was lapped goes to the oldest
    /// message that is safely ahead of the publishers, and further with each lap within one call.
    ///
    /// `fetch` may start to bring the chunk into the cache: what it fetches is on its way while the barrier of the hold is waited for,
    /// instead of after it. That takes a third off the time from one process to another.
    #[inline(always)]
    pub(crate) fn poll(&mut self, ring: Ring<'_>, hold: &Word, fetch: impl FnOnce(ChunkId)) -> Poll {
        let word = ring.slot(self.next);
        // R1, the way of nearly every call; what comes beside it is apart.
        let slot = Slot(load_acquire(word));
        if ring.lag(self.next, slot) > 0 {
            return Poll::Empty;
        }
        if ring.lag(self.next, slot) == 0 && !slot.chunk().is_null() {
            fetch(slot.chunk());
            if pin(word, slot, hold) {
                return self.pinned(slot.chunk());
            }
        }
        self.poll_slow(ring, hold)
    }

    #[inline]
    fn pinned(&mut self, chunk: ChunkId) -> Poll {
        let position = self.next;
        self.next = position.wrapping_add(1);
        Poll::Pinned { position, chunk }
    }

    #[cold]
    #[inline(never)]
    fn poll_slow(&mut self, ring: Ring<'_>, hold: &Word) -> Poll {
        let capacity = ring.capacity();
        // How far ahead of the oldest position to start after a lap.
        let mut slack = (capacity / 4).max(1);
        for _ in 0..2 * capacity {
            let word = ring.slot(self.next);
            let slot = Slot(load_acquire(word)); // R1
            let lag = ring.lag(self.next, slot);
            if lag > 0 {
                return Poll::Empty;
            }
            if lag < 0 {
                let tail = ring.tail();
                // Whoever filled the slot had read the hint there, before W1: we see it there or further.
                let filled = self.next.wrapping_add(u64::from(lag.unsigned_abs()) * capacity);
                if (tail.wrapping_sub(filled) as i64) < 0 {
                    return Poll::Damaged;
                }
                let oldest = tail.wrapping_sub(capacity);
                let mut target = self.next.wrapping_add(1).max(oldest.wrapping_add(slack));
                if self.next < self.kept_from {
                    // Lapped within the history: what it was promised begins behind that.
                    target = target.min(self.kept_from);
                }
                self.skip_to(target);
                slack = (slack * 2).min(capacity - 1).max(1);
            } else if slot.chunk().is_null() {
                self.skip_to(self.next.wrapping_add(1));
            } else if pin(word, slot, hold) {
                return self.pinned(slot.chunk());
            }
        }
        Poll::Empty
    }

    /// Takes back that `position`, the last one, was read: it couldn't be, and the hold was given back, but another try may succeed.
    pub(crate) fn unread(&mut self, position: u64) {
        self.next = position;
    }

    /// Counts the last message as lost: it can't be read, now or later.
    pub(crate) fn lose_last(&mut self) {
        self.lost = self.lost.wrapping_add(1);
    }

    /// Goes on at `target`; all that lies between was published (I1) and is lost, but for known holes.
    fn skip_to(&mut self, target: u64) {
        let mut missed = target.wrapping_sub(self.next);
        while self.holes.front().is_some_and(|&hole| hole < target) {
            self.holes.pop_front();
            missed = missed.wrapping_sub(1);
        }
        self.lost = self.lost.wrapping_add(missed);
        self.next = target;
    }
}

/// H1 then R2: writes the hold and looks whether the chunk was still in its slot afterwards.
#[inline(always)]
fn pin(word: &Word, slot: Slot, hold: &Word) -> bool {
    // H1. The barrier stands between the hold and R2: I3 fails without it.
    store_then_barrier(hold, slot.chunk().hold_word());
    // R2.
    if Slot(load_acquire(word)) == slot {
        return true;
    }
    // Overwritten or evicted meanwhile. Nothing was read from this chunk, but the word may have held another one before: a
    // publisher that reads this 0 instead of that one's H2 must be ordered after its last read as well, hence Release.
    hold.store(0, Ordering::Release);
    false
}
