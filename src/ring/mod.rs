// SPDX-License-Identifier: MIT OR Apache-2.0
//! The broadcast ring: the only lock-free code of the library.
//!
//! A ring is `R` slots (a power of two) and a `tail`. Position `p` lives in slot `p % R`; a slot is one
//! word, `{tag: 32 | chunk: 32}`, where `tag(p) = p / R` counts laps. Positions start at `R`, so that
//! tag 0 means "never written" and all-zero memory is a valid empty ring.
//!
//! ```text
//!   slot of p:  {tag(p)-1, old}  --W1: publish-->  {tag(p), c}  --W2: evict-->  {tag(p), null}
//!                                                      |                             |
//!                                                      +----W1 of p + R-----+--------+
//! ```
//!
//! **W1**, the CAS that puts a chunk into its slot, is where a message is published: there is no moment
//! between claiming a place and filling it, so a process killed or stopped anywhere holds up nobody.
//! `tail` is only a hint that whoever sees it behind moves forward.
//!
//! The sync points, by the names that the code uses:
//!
//! | point | where | pairs with |
//! |---|---|---|
//! | W1 | slot CAS of `publish`, SeqCst | R1: the reader that sees the slot sees header and payload; S1 |
//! | W2 | slot CAS of `evict`, SeqCst | R2, S1 |
//! | R1 | the reader's first load of the slot, Acquire | W1 |
//! | H1 | the reader's store of its hold, then a full barrier | S2 |
//! | R2 | the reader's second load of the slot | W1 and W2: unchanged means that the hold came in time |
//! | H2 | the release of a hold, Release | S2: the publisher writes the chunk only after the reader's last read |
//! | S1 | reclaim's load of the slot, Acquire, then a SeqCst fence | W1, W2 |
//! | S2 | reclaim's loads of the holds, Acquire | H1, H2 |
//! | T1 | `tail` CAS, Release; its loads are Acquire | orders a slot's content before the hint that names it |
//! | G1, J2 | `gate.rs`: a publisher's fence before it looks for reliable subscribers; a joiner's before it looks where to start | each other |
//! | P1, P2 | `wait.rs`: waiter bit set, then the slot read; slot CAS, then the waiter bits taken | each other |
//!
//! Invariants (proved by the models beside this file):
//!
//! - **I1** Filled positions form a prefix, and its end is at most one ahead of `tail`.
//! - **I2** A chunk is in at most one slot, put there only by the owner of its segment.
//! - **I3** A chunk is reused only after: it was seen out of its slot (S1) -> SeqCst fence -> no hold on it was
//!   seen (S2). A hold that S2 missed comes after the fence in the single total order, so its R2 comes
//!   after the removal, sees another word and fails.
//! - **I7** What a reliable subscriber has yet to read is neither overwritten nor evicted: `gate.rs`.
//!
//! A slot word repeats only after 2^32 laps with the same chunk: the ABA that is left.

pub(crate) mod gate;
mod reader;
mod writer;

#[cfg(all(test, loom))]
mod gate_models;
#[cfg(all(test, loom))]
pub(crate) mod models;
#[cfg(all(test, not(loom), not(miri)))]
mod stress;
#[cfg(all(test, not(loom)))]
mod tests;

pub(crate) use gate::{Gated, Gates, Limit};
pub(crate) use reader::{Poll, Reader};
pub(crate) use writer::{Holder, Refused, Retiring};

use crate::sync::{load_acquire, Ordering, Word};

/// Bits of a chunk's index within its segment.
pub(crate) const INDEX_BITS: u32 = 20;
/// Chunks that a segment can have at most.
pub(crate) const MAX_CHUNKS: u32 = 1 << INDEX_BITS;
/// Entries of the segment table; entry 0 is never used, since segment 0 means "null".
pub(crate) const SEGMENTS: u32 = 1 << (32 - INDEX_BITS);

/// A chunk's name within a topic: `{segment: 12 | index: 20}`. Segment 0 is the null chunk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct ChunkId(u32);

impl ChunkId {
    /// What an evicted message leaves in its slot.
    pub(crate) const NULL: ChunkId = ChunkId(0);

    pub(crate) fn new(segment: u32, index: u32) -> Self {
        debug_assert!(segment < SEGMENTS && index < MAX_CHUNKS);
        ChunkId(segment << INDEX_BITS | index)
    }

    #[inline]
    pub(crate) fn segment(self) -> u32 {
        self.0 >> INDEX_BITS
    }

    #[inline]
    pub(crate) fn index(self) -> u32 {
        self.0 & (MAX_CHUNKS - 1)
    }

    #[inline]
    pub(crate) fn is_null(self) -> bool {
        self.segment() == 0
    }

    /// The word of a hold on this chunk; never 0, which means "no hold".
    #[inline]
    pub(crate) fn hold_word(self) -> u64 {
        u64::from(self.0)
    }

    #[inline]
    pub(crate) fn from_hold_word(word: u64) -> Self {
        ChunkId(word as u32)
    }
}

/// A slot's word, taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Slot(u64);

impl Slot {
    #[inline]
    fn new(tag: u32, chunk: ChunkId) -> Self {
        Slot(u64::from(tag) << 32 | u64::from(chunk.0))
    }

    #[inline]
    fn tag(self) -> u32 {
        (self.0 >> 32) as u32
    }

    #[inline]
    pub(crate) fn chunk(self) -> ChunkId {
        ChunkId(self.0 as u32)
    }
}

/// What is at a position.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum At {
    /// It isn't filled.
    NotYet,
    /// It names this, which is null when it was evicted.
    Named(ChunkId),
    /// A later one is in its slot.
    Passed,
}

/// A view of the ring's words. Cheap to make; the geometry comes from private memory, never from the mapping.
#[derive(Clone, Copy)]
pub(crate) struct Ring<'a> {
    slots: &'a [Word],
    tail: &'a Word,
    shift: u32,
}

impl<'a> Ring<'a> {
    /// `slots.len()` is a power of two.
    #[inline]
    pub(crate) fn new(slots: &'a [Word], tail: &'a Word) -> Self {
        debug_assert!(slots.len().is_power_of_two());
        Ring { slots, tail, shift: slots.len().trailing_zeros() }
    }

    #[inline]
    pub(crate) fn capacity(&self) -> u64 {
        self.slots.len() as u64
    }

    #[inline]
    fn tag(&self, position: u64) -> u32 {
        (position >> self.shift) as u32
    }

    #[inline]
    fn slot(&self, position: u64) -> &'a Word {
        &self.slots[(position & (self.slots.len() as u64 - 1)) as usize]
    }

    /// How many laps slot `slot` is behind `position`: 0 when it holds it, negative when it holds a later one.
    #[inline]
    fn lag(&self, position: u64, slot: Slot) -> i32 {
        self.tag(position).wrapping_sub(slot.tag()) as i32
    }

    /// The hint, where 0 reads as the first position (T1).
    #[inline]
    pub(crate) fn tail(&self) -> u64 {
        load_acquire(self.tail).max(self.capacity())
    }

    /// Starts to bring the slot that is likely the next to be filled into the cache.
    #[inline]
    pub(crate) fn fetch_next(&self) {
        self.slot(self.tail()).fetch_to_write();
    }

    /// The first position that isn't filled. By I1 that is the hint or the one after it; the walk is bounded
    /// all the same, since others go on filling while it looks.
    pub(crate) fn end(&self) -> u64 {
        let mut end = self.tail();
        for _ in 0..self.capacity() {
            if self.lag(end, Slot(load_acquire(self.slot(end)))) > 0 {
                break;
            }
            end = end.wrapping_add(1).max(self.tail());
        }
        end
    }

    /// What position `position` holds now: its chunk, or `None` when it was evicted, overwritten or isn't filled.
    pub(crate) fn chunk_at(&self, position: u64) -> Option<ChunkId> {
        let slot = Slot(load_acquire(self.slot(position)));
        (self.lag(position, slot) == 0 && !slot.chunk().is_null()).then(|| slot.chunk())
    }

    /// What is at `position` now, seen at one moment.
    #[inline]
    pub(crate) fn look_at(&self, position: u64) -> At {
        // Acquire (R1): what was written before the slot is seen.
        let slot = Slot(load_acquire(self.slot(position)));
        match self.lag(position, slot) {
            1.. => At::NotYet,
            0 => At::Named(slot.chunk()),
            _ => At::Passed,
        }
    }

    /// Every chunk that is in the ring, with its position.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = (u64, ChunkId)> + 'a {
        let (ring, tail) = (*self, self.tail());
        self.slots.iter().enumerate().filter_map(move |(index, word)| {
            let slot = Slot(load_acquire(word));
            (!slot.chunk().is_null()).then(|| (ring.position(index, slot, tail), slot.chunk()))
        })
    }

    /// The position that the slot at `index` holds; less than the capacity: none yet. Its tag has the lower half of its lap, and by
    /// I1 no lap of the ring is far from the tail's, which has the rest.
    fn position(&self, index: usize, slot: Slot, tail: u64) -> u64 {
        let lap = (tail >> self.shift).wrapping_sub(self.lag(tail, slot) as u64);
        lap << self.shift | index as u64
    }

    /// The end as the slots alone tell it, for those who check the hint. Exact while nobody publishes.
    fn end_of_slots(&self) -> u64 {
        let tail = self.tail();
        let position = |(index, word)| self.position(index, Slot(load_acquire(word)), tail);
        let last = self.slots.iter().enumerate().map(position).max().unwrap_or(0);
        last.wrapping_add(1).max(self.capacity())
    }

    /// Positions that aren't filled though a later one is, against I1.
    pub(crate) fn gaps(&self) -> Vec<u64> {
        let end = self.end_of_slots();
        let oldest = end.saturating_sub(self.capacity()).max(self.capacity());
        let is_gap = |&position: &u64| self.lag(position, Slot(load_acquire(self.slot(position)))) != 0;
        (oldest..end).filter(is_gap).collect()
    }

    /// How far the hint is behind the end: 0 or 1 by I1.
    pub(crate) fn hint_lag(&self) -> i64 {
        self.end_of_slots().wrapping_sub(self.tail()) as i64
    }

    /// Whether `position` can be read or has been passed: a reader there has something to do. P1's second half.
    #[inline]
    pub(crate) fn is_filled(&self, position: u64) -> bool {
        self.lag(position, Slot(load_acquire(self.slot(position)))) <= 0
    }

    /// Moves the hint from `position` to the one after it, unless somebody did (T1).
    #[inline]
    fn advance(&self, raw_tail: u64, position: u64) {
        let next = position.wrapping_add(1);
        let _ = self.tail.compare_exchange(raw_tail, next, Ordering::Release, Ordering::Relaxed);
    }
}
