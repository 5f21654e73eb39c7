// SPDX-License-Identifier: MIT OR Apache-2.0
//! Segments whose publisher is gone: adopted by a publisher that needs their size, destroyed when nobody
//! reads them any more.

use super::segment::{file_size, NotMapped, Segment};
use super::Pool;
use crate::error::{Error, Result};
use crate::os::dir::Access;
use crate::ring::{ChunkId, Holder, SEGMENTS};
use crate::sync::{fence, Ordering, Word};
use crate::topic::layout::{SegmentState, SegmentWord};
use crate::topic::Topic;

/// Unlinks a segment that nothing refers to, through DYING, so that a kill at any point leaves no file behind an
/// EMPTY entry (I4).
pub(super) fn destroy(topic: &Topic, segment: u32, generation: u32) {
    let word = &topic.segments()[segment as usize];
    let dying = SegmentWord::new(SegmentState::Dying, topic.index(), generation);
    // Release, twice: the states are seen in this order.
    word.store(dying.0, Ordering::Release);
    Segment::destroy_file(topic, segment, generation);
    let empty = SegmentWord::new(SegmentState::Empty, 0, generation.wrapping_add(1));
    word.store(empty.0, Ordering::Release);
}

/// Makes an ORPHAN this publisher's, in state `state`. False when somebody else was faster.
fn take(topic: &Topic, word: &Word, seen: SegmentWord, state: SegmentState) -> bool {
    let mine = SegmentWord::new(state, topic.index(), seen.generation());
    // Acquire: pairs with the recoverer's Release, behind which the dead publisher wrote its last.
    word.compare_exchange(seen.0, mine.0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
}

fn orphans(topic: &Topic) -> impl Iterator<Item = (u32, &Word, SegmentWord)> {
    (1..).zip(&topic.segments()[1..]).filter_map(|(segment, word)| {
        let seen = SegmentWord(word.load(Ordering::Acquire));
        (seen.state() == SegmentState::Orphan).then_some((segment, word, seen))
    })
}

impl Pool {
    /// Takes over one orphan with chunks of exactly `payload` bytes, if there is one that the budget allows.
    pub(super) fn adopt_orphan(&mut self, topic: &Topic, payload: u64) -> Result<bool> {
        let mut is_passed = false;
        for (segment, word, seen) in orphans(topic) {
            if self.has(segment) || !take(topic, word, seen, SegmentState::Ready) {
                continue;
            }
            let give_back = |_| word.store(seen.0, Ordering::Release);
            match Segment::open(topic.dir(), topic.instance(), segment, seen.generation(), Access::ReadWrite)
            {
                Ok(mapped)
                    if mapped.payload_size() == payload
                        && self.used + mapped.size() <= self.budget
                        && !mapped.is_pinned()
                        && !is_named_by_a_call(topic, segment) =>
                {
                    self.adopt(topic, segment, mapped);
                    return Ok(true);
                }
                Ok(mapped) => {
                    is_passed |= mapped.is_pinned();
                    give_back(());
                }
                // Destroyed by its publisher but for the entry, which that one's death kept from becoming EMPTY.
                Err(NotMapped::Gone) => destroy(topic, segment, seen.generation()),
                // Damaged, or somebody else's: of no use for us, but its messages may still be read.
                Err(NotMapped::Failed(
                    Error::Corrupt { .. } | Error::Version { .. } | Error::NotTrusted { .. },
                )) => give_back(()),
                Err(NotMapped::Failed(Error::Os { source, .. }))
                    if source.kind() == std::io::ErrorKind::PermissionDenied =>
                {
                    give_back(())
                }
                Err(NotMapped::Failed(error)) => {
                    give_back(());
                    return Err(error);
                }
            }
        }
        if is_passed {
            // Nobody will ever adopt it: so it goes as soon as somebody needs room who finds that nobody reads it.
            self.destroy_orphans(topic);
        }
        Ok(false)
    }

    fn adopt(&mut self, topic: &Topic, segment: u32, mapped: Segment) {
        debug_assert_eq!(mapped.size(), file_size(mapped.stride(), mapped.count()));
        let count = mapped.count();
        if topic.geometry().calls > 0 {
            // Nothing names any of them, so all are in limbo.
            self.add(segment, mapped, std::iter::empty());
            self.retiring.adopt(Vec::new(), (0..count).map(|index| ChunkId::new(segment, index)));
            self.reclaim(topic);
            return;
        }
        let mut elsewhere = vec![true; count as usize];
        // Each chunk once (I2): a damaged ring that named one twice would have it lent twice.
        let in_ring: Vec<(u64, ChunkId)> = topic
            .ring()
            .chunks()
            .filter(|(_, chunk)| {
                let place = elsewhere.get_mut(chunk.index() as usize).filter(|_| chunk.segment() == segment);
                place.is_some_and(|elsewhere| std::mem::replace(elsewhere, false))
            })
            .collect();
        self.add(segment, mapped, std::iter::empty());
        let others = (0..count).filter(|&index| elsewhere[index as usize]);
        self.retiring.adopt(in_ring, others.map(|index| ChunkId::new(segment, index)));
        self.reclaim(topic);
    }

    /// Destroys every orphan to which neither the ring nor a hold refers.
    pub(super) fn destroy_orphans(&mut self, topic: &Topic) {
        let dying: Vec<_> = orphans(topic)
            .filter(|&(segment, word, seen)| {
                !self.has(segment) && take(topic, word, seen, SegmentState::Dying)
            })
            .collect();
        if dying.is_empty() {
            return;
        }
        let needed = referred_to(topic);
        for (segment, word, seen) in dying {
            if needed[segment as usize] {
                word.store(seen.0, Ordering::Release);
            } else {
                destroy(topic, segment, seen.generation());
            }
        }
    }
}

/// Whether a call of a service names a chunk of `segment`: a dead server's reply that wasn't taken yet. Nobody but its client takes it out
/// of the call, so it stays an orphan for so long.
fn is_named_by_a_call(topic: &Topic, segment: u32) -> bool {
    topic.geometry().calls > 0 && topic.named_chunks().iter().any(|chunk| chunk.segment() == segment)
}

/// Which segments the ring, a call or a hold names. Of those whose owner is dead nothing is put into the ring (I2), and what is out of it
/// and not held now isn't held later (I3).
fn referred_to(topic: &Topic) -> Vec<bool> {
    let mut needed = vec![false; SEGMENTS as usize];
    topic.named_chunks().iter().for_each(|chunk| needed[chunk.segment() as usize] = true);
    // Between S1 and S2.
    fence(Ordering::SeqCst);
    topic.each_hold(|word| needed[ChunkId::from_hold_word(word).segment() as usize] = true);
    needed
}
