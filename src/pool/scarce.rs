// SPDX-License-Identifier: MIT OR Apache-2.0
//! A loan for which there is neither a free chunk nor room: what it takes, in the order that `mod.rs` tells.

use super::segment::file_size;
use super::{class, Chunk, Class, Pool, SCARCE_ROUNDS};
use crate::error::{Error, Result};
use crate::ring::gate;
use crate::topic::Topic;

/// A scarce loan may take a free chunk of at most this many times its size, before others are made to pay.
const LARGER: u64 = 4;

impl Pool {
    /// The budget or the file system is exhausted: take what costs somebody something.
    pub(super) fn loan_scarce(&mut self, topic: &Topic, class: usize) -> Result<Chunk> {
        self.scarce += 1;
        let payload = self.classes[class].payload;
        let wanted = file_size(class::stride(payload), 1);
        if wanted > self.budget {
            // Nothing that others would lose could make room for it.
            return Err(Error::OutOfMemory { wanted, used: self.used, budget: self.budget });
        }
        if !self.retiring.limbo().is_empty() && self.scarce % SCARCE_ROUNDS == 1 {
            self.recover_dead(topic)?;
        }
        // What others would lose has to make room: for a chunk that there is, or for a segment, which needs a file.
        let has_chunks = |other: &Class| other.payload >= payload && other.total > 0;
        if self.classes.iter().any(has_chunks) || topic.dir().takes_a_file() {
            if let Some(chunk) = self.loan_evicting(topic, class)? {
                return Ok(chunk);
            }
        }
        // Nothing of ours is in the ring that would help: what is missing is loaned, held, or yet to be read, by the living or the dead.
        self.recover_dead(topic)?;
        self.full_until = self.scarce;
        match self.pop_scarce(topic, class)? {
            Some(chunk) => Ok(chunk),
            None => {
                self.grow(topic, class)?;
                self.pop(class).ok_or(Error::OutOfMemory { wanted, used: self.used, budget: self.budget })
            }
        }
    }

    /// Evicts this publisher's messages, the oldest first, until that gives a chunk.
    fn loan_evicting(&mut self, topic: &Topic, class: usize) -> Result<Option<Chunk>> {
        // Twice as many at each try: a large message in the place of many small ones must not look everything through for each.
        let mut evictions = 1;
        loop {
            if let Some(chunk) = self.pop_scarce(topic, class)? {
                return Ok(Some(chunk));
            }
            let ring = topic.ring();
            let end = gate::unread_from(ring, topic, ring.end());
            let evicted = (0..evictions).take_while(|_| self.retiring.evict_oldest(ring, end)).count();
            if evicted == 0 {
                return Ok(None);
            }
            self.reclaim(topic);
            evictions *= 2;
        }
    }

    fn recover_dead(&mut self, topic: &Topic) -> Result<()> {
        if topic.recover_dead()? > 0 {
            self.reclaim(topic);
            self.destroy_orphans(topic);
        }
        Ok(())
    }

    /// A free chunk of this class or a larger one, or of a new segment in the place of free ones.
    fn pop_scarce(&mut self, topic: &Topic, class: usize) -> Result<Option<Chunk>> {
        if let Some(chunk) = self.pop(class).or_else(|| self.take_larger(class, LARGER)) {
            return Ok(Some(chunk));
        }
        let others_free = self.classes.iter().any(|other| !other.free.is_empty());
        let doomed = if others_free { self.free_segments() } else { Vec::new() };
        // A destroyed segment gives its bytes back, but not its file while a subscriber has it mapped.
        if doomed.contains(&true) && topic.dir().takes_a_file() {
            self.destroy_segments(topic, &doomed);
            // There is room now, whatever there was a moment ago.
            self.full_until = self.scarce;
            self.try_grow(topic, class)?;
        }
        Ok(self.pop(class).or_else(|| self.take_larger(class, u64::MAX)))
    }

    /// The smallest free chunk of a class up to `times` larger.
    fn take_larger(&mut self, class: usize, times: u64) -> Option<Chunk> {
        let payload = self.classes[class].payload;
        let most = payload.saturating_mul(times);
        let larger = (0..self.classes.len())
            .filter(|&other| {
                let Class { payload: other_payload, ref free, .. } = self.classes[other];
                other_payload > payload && other_payload <= most && !free.is_empty()
            })
            .min_by_key(|&other| self.classes[other].payload)?;
        self.pop(larger)
    }
}
