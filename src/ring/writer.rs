// SPDX-License-Identifier: MIT OR Apache-2.0
//! The publishing side: `publish`, `evict` and the retirement of chunks that left the ring.

use std::collections::VecDeque;

use super::{ChunkId, Ring, Slot};
use crate::sync::{fence, load_acquire, Ordering};

/// Why a chunk wasn't published.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// A reliable subscriber has yet to read what would be overwritten.
    Full,
    /// The ring's words contradict I1: somebody wrote over them.
    Damaged,
}

/// Tries before the ring is called damaged. A try fails only because another publisher got ahead, and each of
/// the at most 1,024 others may do so over and over; a million times in a row is not chance.
const TRIES: u32 = 1 << 20;

impl Ring<'_> {
    /// Publishes `chunk`, whose payload is complete, and returns its position.
    ///
    /// `may_fill` says whether a position may be filled (I7). `stamp` is called with the position before each try, to write it into
    /// the chunk's header; the chunk isn't visible then. Lock-free: a try fails only when another publisher succeeded.
    #[inline(always)]
    pub(crate) fn publish(
        &self,
        chunk: ChunkId,
        may_fill: impl Fn(u64) -> bool,
        mut stamp: impl FnMut(u64),
    ) -> Result<u64, Refused> {
        for _ in 0..TRIES {
            // T1. SeqCst isn't needed: a stale hint only costs a round.
            let raw = self.tail.load(Ordering::Acquire);
            let position = raw.max(self.capacity());
            let word = self.slot(position);
            // Acquire: the chunk that is overwritten may be ours, and S1 of ours argues through this slot.
            let old = Slot(word.load(Ordering::Acquire));
            let lag = self.lag(position, old);
            if lag <= 0 {
                if lag == 0 {
                    // Its publisher was stopped, or killed, between W1 and the hint: do it for them.
                    self.advance(raw, position);
                } else if self.tail.load(Ordering::Acquire) == raw {
                    // A whole lap beyond the hint contradicts I1.
                    return Err(Refused::Damaged);
                }
                continue;
            }
            if !may_fill(position) {
                return Err(Refused::Full);
            }
            stamp(position);
            let new = Slot::new(self.tag(position), chunk);
            // W1. Relaxed on failure: the next round loads again.
            if word.compare_exchange(old.0, new.0, Ordering::SeqCst, Ordering::Relaxed).is_ok() {
                self.advance(raw, position);
                return Ok(position);
            }
        }
        Err(Refused::Damaged)
    }

    /// Takes `chunk` out of its slot, if it is still there, so that its memory can be used before the ring
    /// comes round. Readers count the message as lost.
    pub(crate) fn evict(&self, position: u64, chunk: ChunkId) {
        let old = Slot::new(self.tag(position), chunk);
        let new = Slot::new(self.tag(position), ChunkId::NULL);
        // W2. A failure means that it is out already. Either way this access comes before the fence of a reclaim that frees the
        // chunk, as S1 does.
        let _ = self.slot(position).compare_exchange(old.0, new.0, Ordering::SeqCst, Ordering::Relaxed);
    }
}

/// Who may hold chunks: reclaim asks for every hold of every participant.
pub(crate) trait Holder {
    /// Calls `found` with each non-zero hold word, loaded with Acquire (S2).
    fn each_hold(&self, found: impl FnMut(u64));
}

/// One publisher's chunks that were published and aren't free yet. Private to its process.
#[derive(Default)]
pub(crate) struct Retiring {
    /// In the ring, as far as is known, oldest first.
    published: VecDeque<(u64, ChunkId)>,
    /// Seen out of the ring; maybe held by subscribers.
    limbo: Vec<ChunkId>,
    /// Scratch: the holds that the last scan found.
    held: Vec<u64>,
}

impl Retiring {
    /// Notes a chunk that this publisher put (or, for an adopted one, found) at `position`.
    #[inline]
    pub(crate) fn published(&mut self, position: u64, chunk: ChunkId) {
        self.published.push_back((position, chunk));
    }

    /// Notes a chunk that nothing names any more, though somebody may hold it.
    pub(crate) fn retire(&mut self, chunk: ChunkId) {
        self.limbo.push(chunk);
    }

    /// Takes over chunks that another publisher left: those in the ring, by position, and the others.
    pub(crate) fn adopt(&mut self, in_ring: Vec<(u64, ChunkId)>, others: impl IntoIterator<Item = ChunkId>) {
        self.published.extend(in_ring);
        self.published.make_contiguous().sort_unstable_by_key(|&(position, _)| position);
        self.limbo.extend(others);
    }

    /// Evicts this publisher's oldest message, if it is before `end` (I7). False when there is none.
    pub(crate) fn evict_oldest(&mut self, ring: Ring<'_>, end: u64) -> bool {
        let Some(&(position, chunk)) = self.published.front().filter(|(position, _)| *position < end) else {
            return false;
        };
        self.published.pop_front();
        ring.evict(position, chunk);
        self.limbo.push(chunk);
        true
    }

    /// Hands every chunk that is out of the ring and held by nobody to `free` (I3); returns how many.
    pub(crate) fn reclaim(
        &mut self,
        ring: Ring<'_>,
        holders: &impl Holder,
        mut free: impl FnMut(ChunkId),
    ) -> usize {
        while let Some(&(position, chunk)) = self.published.front() {
            // S1. Positions are overwritten in order, so the first that is still there ends the search.
            if Slot(load_acquire(ring.slot(position))) == Slot::new(ring.tag(position), chunk) {
                break;
            }
            self.published.pop_front();
            self.limbo.push(chunk);
        }
        if self.limbo.is_empty() {
            return 0;
        }
        // Between S1 and S2: see I3.
        fence(Ordering::SeqCst);
        self.held.clear();
        let held = &mut self.held;
        holders.each_hold(|word| held.push(word));
        let before = self.limbo.len();
        if held.is_empty() {
            self.limbo.drain(..).for_each(free);
            return before;
        }
        held.sort_unstable();
        self.limbo.retain(|&chunk| {
            let keep = held.binary_search(&chunk.hold_word()).is_ok();
            if !keep {
                free(chunk);
            }
            keep
        });
        before - self.limbo.len()
    }

    /// How many chunks are in the ring, as far as the last reclaim saw.
    pub(crate) fn in_ring(&self) -> usize {
        self.published.len()
    }

    /// Chunks that are out of the ring but were held by somebody when last looked at.
    pub(crate) fn limbo(&self) -> &[ChunkId] {
        &self.limbo
    }
}
