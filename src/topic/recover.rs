// SPDX-License-Identifier: MIT OR Apache-2.0
//! Undoing what a participant left: after its death by whoever comes by, on leaving by itself.
//!
//! `recover(q)` runs with the lock of `q` held, so nobody else touches what is `q`'s (I5). Every step can be
//! done twice: a recoverer that dies gives the lock back, and the next one starts from the top, since the status
//! becomes FREE last (I6).

use super::layout::{segment_name, status, SegmentState, SegmentWord};
use super::{segments_of, Files, Peers, Topic};
use crate::error::Result;
use crate::os::dir::Access;
use crate::os::map::Mapping;
use crate::rpc::call::{self, Call};
use crate::sync::{Ordering, Word};
use crate::wait::wake_one;

impl Files {
    /// Frees everything of participant `q`, whose lock this description holds.
    pub(super) fn recover(&self, q: u32) -> Result<()> {
        let word = &self.peers.status()[q as usize];
        let seen = word.load(Ordering::Acquire);
        if seen == status::with_state(seen, status::FREE) {
            return Ok(());
        }
        // Relaxed: a hint for those who look for an entry, and the end of its gate. It isn't LIVE while another than its owner has
        // the lock.
        word.store(status::with_state(seen, status::RECOVERING), Ordering::Relaxed);
        for hold in self.peers.holds(q) {
            // Release (H2): on leaving, our own reads of the chunks come before.
            hold.store(0, Ordering::Release);
        }
        // The cursor stays: a publisher that saw the status before may read it yet, and 0 would shut its gate.
        let bit = 1 << (q % 64);
        // Relaxed: a publisher that still sees the bit makes one needless system call.
        self.peers.waiters()[q as usize / 64].fetch_and(!bit, Ordering::Relaxed);
        if status::is_server(seen) {
            self.peers.fail_calls(q);
        }
        if status::is_client(seen) {
            self.peers.abandon_calls(q);
        }
        if status::owns_segments(seen) {
            self.orphan_segments(q)?;
        }
        word.store(status::with_state(seen, status::FREE), Ordering::Release);
        if status::gates(status::with_state(seen, status::LIVE)) {
            self.peers.open_gate();
        }
        Ok(())
    }

    /// Recovers `q` if it is dead. False: it is alive, or free, or somebody else is at it.
    pub(super) fn recover_if_dead(&self, q: u32) -> Result<bool> {
        let word = self.peers.status()[q as usize].load(Ordering::Acquire);
        if status::state(word) == status::FREE || !self.peers.lock.try_lock(q)? {
            return Ok(false);
        }
        let result = self.recover(q);
        self.peers.lock.unlock(q);
        result.map(|()| true)
    }

    /// Leaves the segments of `q` to whoever needs them. Messages in them stay readable.
    fn orphan_segments(&self, q: u32) -> Result<()> {
        if self.role.ring_access() == Access::ReadWrite {
            self.orphan_in(segments_of(&self.ring, &self.peers.geometry), q);
            return Ok(());
        }
        // A subscriber's ring is read-only, so that none of its bugs can harm it: write access for this only.
        let path = self.dir.join("ring");
        let file =
            self.dir.open_file("ring", Access::ReadWrite).map_err(|errno| self.dir.refusal("ring", errno))?;
        let geometry = &self.peers.geometry;
        let map = Mapping::new(&file, geometry.ring_size(), Access::ReadWrite, &path)?;
        self.orphan_in(segments_of(&map, geometry), q);
        Ok(())
    }

    fn orphan_in(&self, segments: &[Word], q: u32) {
        for (segment, word) in (0..).zip(segments) {
            let seen = SegmentWord(word.load(Ordering::Acquire));
            if seen.owner() != q {
                continue;
            }
            let next = match seen.state() {
                SegmentState::Creating => {
                    // Gone before the entry says EMPTY (I4).
                    self.dir.remove_file(&segment_name(segment, seen.generation()));
                    SegmentWord::new(SegmentState::Empty, 0, seen.generation().wrapping_add(1))
                }
                SegmentState::Ready | SegmentState::Dying => {
                    SegmentWord::new(SegmentState::Orphan, 0, seen.generation())
                }
                SegmentState::Empty | SegmentState::Orphan | SegmentState::Unknown => continue,
            };
            // Release: pairs with the adopter's Acquire.
            word.store(next.0, Ordering::Release);
        }
    }
}

impl Peers {
    /// Answers for a server that is gone: whoever waits for it learns that.
    fn fail_calls(&self, server: u32) {
        call::fail_calls(server, || self.calls(), |client, call| self.wake_client(client, &call));
    }

    /// Ends the calls of a client that is gone.
    fn abandon_calls(&self, client: u32) {
        (0..self.geometry.calls).filter_map(|index| self.call(client, index)).for_each(|call| call.abandon());
    }

    fn wake_client(&self, client: u32, call: &Call<'_>) {
        let wakes = &self.map.words(self.geometry.own_wakes_offset(client), 1)[0];
        wake_one((call.waiting(), 1), wakes);
    }
}

impl Topic {
    /// Recovers every participant that isn't alive; returns how many. Costs a system call each living one.
    pub(crate) fn recover_dead(&self) -> Result<usize> {
        let mut recovered = 0;
        for q in 0..self.geometry().participants {
            recovered += usize::from(self.recover_if_dead(q)?);
        }
        Ok(recovered)
    }

    /// Looks at the next participant after this one, and at all of them if that one is dead. When everybody does this now and then, the
    /// dead are found at the cost of one system call each, however many there are.
    pub(crate) fn recover_neighbour(&self) -> Result<()> {
        let participants = self.geometry().participants;
        let taken = |q: &u32| {
            let word = self.files.peers.status()[*q as usize].load(Ordering::Acquire);
            status::state(word) != status::FREE
        };
        let next = (1..participants).map(|step| (self.q + step) % participants).find(taken);
        if let Some(next) = next {
            if self.recover_if_dead(next)? {
                self.recover_dead()?;
            }
        }
        Ok(())
    }

    /// Recovers `q` if it is dead. There may be none such: a word of shared memory may have named it.
    pub(crate) fn recover_if_dead(&self, q: u32) -> Result<bool> {
        Ok(q != self.q && q < self.geometry().participants && self.files.recover_if_dead(q)?)
    }
}
