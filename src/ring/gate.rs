// SPDX-License-Identifier: MIT OR Apache-2.0
//! The gate: what keeps publishers from overwriting what a reliable subscriber has yet to read.
//!
//! ```text
//!   publisher, at position p >= limit         joiner
//!       p = tail                              J1  cursor = end, then status JOINING | RELIABLE
//!   G1  fence (SeqCst)                        J2  fence (SeqCst)
//!       m = min(p, cursors of the reliable)       start = end; cursor = start
//!       limit = m + R                         J3  status LIVE | RELIABLE
//! ```
//!
//! - **I7** A position p is filled, and a message at p - R overwritten, only when p - R is below the cursor of every reliable
//!   subscriber that was LIVE with a start at or below p - R. Evicting obeys the same.
//!
//! A scan (G1) that sees the joiner uses its cursor. One that misses it has its fence before J2 in the single total order, so the
//! joiner's second look at the end sees at least what the publisher knew: start >= p. Until its next scan that publisher fills
//! positions below p + R, which overwrite messages below p: none that the joiner starts with. So one scan serves `R` messages, and
//! a topic without reliable subscribers pays one comparison with a private number a message.
//!
//! A joiner that isn't LIVE yet gates from the end that it saw first, which is before its start. One that is LIVE was never
//! passed by more than a lap: a cursor further back is damage, and gates nobody. Who is RECOVERING is dead or leaving, and
//! doesn't gate: a recoverer that is stopped there holds up nobody. Who has left, but has samples kept, says a cursor ahead of all.
//!
//! Cursors only grow, so a limit stays right however old it is.

use std::cell::Cell;

use super::Ring;
use crate::sync::{fence, Ordering, Word};

/// Who may gate: the reliable subscribers.
pub(crate) trait Gates {
    /// Calls `found` for each reliable participant with its cursor, loaded with Acquire, and whether it has a start yet.
    fn each_gate(&self, found: impl FnMut(Gated));
}

/// What a reliable participant says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gated {
    pub(crate) participant: u32,
    pub(crate) cursor: u64,
    pub(crate) is_live: bool,
}

/// J1, before the status says that publishers wait for the joiner: they never wait for less than this.
#[cfg_attr(feature = "crash-points", track_caller)]
pub(crate) fn announce(ring: Ring<'_>, cursor: &Word) {
    // Relaxed: the status that follows is a Release.
    cursor.store(ring.end(), Ordering::Relaxed);
}

/// J2, when the status says so: where the joiner starts. When that is its cursor it may become LIVE.
pub(crate) fn start(ring: Ring<'_>) -> u64 {
    // A publisher that doesn't see the status is seen here, with all that it knew to be published.
    fence(Ordering::SeqCst);
    ring.end()
}

/// How far one publisher may go without a look. Private to its process.
#[derive(Default, Debug)]
pub(crate) struct Limit {
    /// Positions below it may be filled.
    end: Cell<u64>,
    /// From here on it is time for the next look.
    ask_at: Cell<u64>,
}

impl Limit {
    /// Positions below it may be filled without a look.
    #[inline(always)]
    pub(crate) fn end(&self) -> u64 {
        self.end.get()
    }

    /// Whether `position` may be filled (I7).
    #[inline(always)]
    pub(crate) fn admits(&self, ring: Ring<'_>, gates: &impl Gates, position: u64) -> bool {
        position < self.end.get() || self.look(ring, gates, position)
    }

    /// Looks, when `position` was filled, whether those to come may be, so that they needn't be kept from their readers by that: the fence
    /// waits for the message's own stores to be through, if it comes before them, and costs next to nothing behind the slot's CAS.
    #[inline(always)]
    pub(crate) fn look_ahead(&self, ring: Ring<'_>, gates: &impl Gates, position: u64) {
        if position >= self.ask_at.get() {
            self.look(ring, gates, position.wrapping_add(1));
        }
    }

    #[cold]
    #[inline(never)]
    fn look(&self, ring: Ring<'_>, gates: &impl Gates, position: u64) -> bool {
        let unread = unread_from(ring, gates, position);
        // A damaged tail may be so far on that no limit is beyond it: that is no reason to wait.
        self.end.set(unread.saturating_add(ring.capacity()));
        let room = ring.capacity().saturating_sub(position - unread);
        // With little room the next look, too, would find little: better late, when there may be more.
        let ahead = room > ring.capacity() / 2;
        self.ask_at.set(if ahead { position.saturating_add(room / 2) } else { u64::MAX });
        room > 0
    }
}

/// The first position that a reliable subscriber has yet to read, at most `position`, which the caller saw the ring filled up to.
pub(crate) fn unread_from(ring: Ring<'_>, gates: &impl Gates, position: u64) -> u64 {
    // G1: after whatever told `position`, before the look at who gates.
    fence(Ordering::SeqCst);
    let mut oldest = position;
    gates.each_gate(|gated| {
        if gates_at(ring, gated, position) {
            oldest = oldest.min(gated.cursor);
        }
    });
    oldest
}

/// Whether `gated` is one to be waited for, as its words are possible ones.
pub(crate) fn gates_at(ring: Ring<'_>, gated: Gated, position: u64) -> bool {
    // No position is below the first one. A joiner may have seen the end any time ago.
    let first = ring.capacity();
    let oldest = if gated.is_live { position.saturating_sub(ring.capacity()).max(first) } else { first };
    gated.cursor >= oldest
}
