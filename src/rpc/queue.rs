// SPDX-License-Identifier: MIT OR Apache-2.0
//! The queue of a service: a ring whose slots name calls, and `head`, before which everything was taken.
//!
//! Putting in is the topic's publish (`ring/writer.rs`) with a bound: position p only when p - R was taken (Q1). Taking looks at the slot
//! at `head`, tries to claim the call that it names, and moves `head` on (Q2), whether that was successful or not: a call that isn't
//! QUEUED is somebody's already, or nobody's any more. So a server that dies between the claim and the move leaves nothing behind, and
//! who moves `head` for it loses nothing.
//!
//! An entry may be stale: its call was cancelled, and may have been queued again further on. An entry has the call's token, as much
//! of it as there is room for, and is passed over unless the call is QUEUED with that. Should one fit by chance after 2^12 calls, then its
//! call is claimed early, by way of this one, and the later entry is the one to be passed over. No call is claimed twice, since the claim
//! is one compare-and-swap of its state. A client that finds the queue full passes over what is stale at its head, too: there may be no
//! server that does.
//!
//! Clients that wait for room sleep as publishers do before a shut gate, on the same words (`wait.rs`): G2 is Q2, by a server.
//!
//! | point | where | pairs with |
//! |---|---|---|
//! | Q1 | `put`'s load of `head`, Acquire, now or at an earlier call | Q2: whoever took what was in the slot has read it |
//! | Q2 | `head` CAS, Release; SeqCst for those who wait for room | Q1 |
//! | W1, T1 | as in the ring; the call's state is QUEUED before W1 | `take`'s load of the slot, Acquire: who sees the slot sees the state |

use std::cell::Cell;

use crate::ring::{At, ChunkId, Refused, Ring};
use crate::sync::{Ordering, Word};

/// A view of the queue's words.
#[derive(Clone, Copy)]
pub(crate) struct Queue<'a> {
    ring: Ring<'a>,
    head: &'a Word,
}

/// What a look at the queue gave.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// A call was claimed.
    Claimed,
    /// Nothing is there.
    Empty,
    /// The words contradict each other: somebody wrote over them.
    Damaged,
}

/// Entries that were passed over, or lost to other servers, in one look, before it is called damage: the largest queue, and then some.
const LOOKS: u32 = 1 << 21;

impl<'a> Queue<'a> {
    pub(crate) fn new(ring: Ring<'a>, head: &'a Word) -> Self {
        Queue { ring, head }
    }

    /// Where 0 reads as the first position.
    #[inline]
    fn head(&self) -> u64 {
        self.head.load(Ordering::Acquire).max(self.ring.capacity())
    }

    /// Starts to bring what `put` will write into the cache.
    #[inline]
    pub(crate) fn fetch_end(&self) {
        self.ring.fetch_next();
    }

    /// Puts `call` at the end. [`Refused::Full`] when nothing can be put in before something is taken. `head` is what the caller saw of
    /// the head: while that leaves room, the servers' line needn't be fetched.
    #[inline]
    pub(crate) fn put(&self, call: ChunkId, head: &Cell<u64>) -> Result<u64, Refused> {
        let may_fill = |position: u64| {
            // Signed: others may have filled the position, and taken what they put there, since it was looked at; then the try fails.
            let has_room = || (position.wrapping_sub(head.get()) as i64) < self.ring.capacity() as i64;
            // Q1. The head only grows.
            has_room() || {
                head.set(self.head());
                has_room()
            }
        };
        self.ring.publish(call, may_fill, |_| ())
    }

    /// Claims the first call that `claim` can claim.
    #[inline]
    pub(crate) fn take(&self, mut claim: impl FnMut(ChunkId) -> bool) -> Taken {
        for _ in 0..LOOKS {
            let raw = self.head.load(Ordering::Acquire);
            let head = raw.max(self.ring.capacity());
            let call = match self.ring.look_at(head) {
                At::Named(call) => call,
                At::NotYet => return Taken::Empty,
                At::Passed if self.head.load(Ordering::Acquire) != raw => continue,
                // A whole lap ahead of `head`, against Q1.
                At::Passed => return Taken::Damaged,
            };
            let claimed = claim(call);
            // Q2. Relaxed on failure: somebody else moved it.
            let _ =
                self.head.compare_exchange(raw, head.wrapping_add(1), Ordering::SeqCst, Ordering::Relaxed);
            if claimed {
                return Taken::Claimed;
            }
        }
        Taken::Damaged
    }

    /// Moves `head` on over the first entries whose calls aren't `queued`, as a server that takes does. Whether there were any.
    #[cold]
    pub(crate) fn pass_over(&self, queued: impl Fn(ChunkId) -> bool) -> bool {
        let mut passed = false;
        for _ in 0..self.ring.capacity() {
            let raw = self.head.load(Ordering::Acquire);
            let head = raw.max(self.ring.capacity());
            match self.ring.look_at(head) {
                At::Named(call) if !queued(call) => {
                    // Q2. Relaxed on failure: somebody else moved it.
                    let next = head.wrapping_add(1);
                    let _ = self.head.compare_exchange(raw, next, Ordering::Release, Ordering::Relaxed);
                    passed = true;
                }
                _ => break,
            }
        }
        passed
    }

    /// Whether there is something to look at.
    #[inline]
    pub(crate) fn has_some(&self) -> bool {
        self.ring.is_filled(self.head())
    }

    /// Whether there is room for one more: after G3 for those who wait for it.
    pub(crate) fn has_room(&self) -> bool {
        self.len() < self.ring.capacity()
    }

    /// Whether `head` is beyond the end, or more than a lap behind it, against Q1: somebody wrote over it, and nothing will ever be
    /// taken, or put in.
    pub(crate) fn is_damaged(&self) -> bool {
        // The end before the head and after it: each was there before the other could come so far.
        let (before, head) = (self.ring.end(), self.head());
        before.saturating_sub(head) > self.ring.capacity() || head > self.ring.end()
    }

    /// How many entries wait to be taken, stale ones included.
    pub(crate) fn len(&self) -> u64 {
        self.ring.end().saturating_sub(self.head())
    }
}
