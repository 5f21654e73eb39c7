// SPDX-License-Identifier: MIT OR Apache-2.0
//! A subscriber's mappings of other participants' segments, each kept until its entry has another generation.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use super::segment::{NotMapped, Segment};
use crate::error::{Error, Result};
use crate::os::dir::Access;
use crate::ring::{ChunkId, SEGMENTS};
use crate::sync::load_acquire;
use crate::topic::layout::{segment_name, SegmentWord, CHUNK_HEADER};
use crate::topic::Topic;

/// What a pinned chunk says, read once and checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message {
    pub(crate) payload: NonNull<u8>,
    pub(crate) len: usize,
    pub(crate) timestamp: u64,
}

/// The mappings, by entry of the segment table.
#[derive(Debug, Default)]
pub(crate) struct Views {
    current: Vec<Option<Segment>>,
    /// Mappings of earlier generations. A sample that is held keeps its segment from changing; should the table say
    /// otherwise, because somebody damaged it, the sample's memory must stay mapped all the same.
    outdated: Vec<Segment>,
}

impl Views {
    /// The message in `chunk`, which is pinned and was published at `position`. `idle` says that no sample is held.
    #[inline]
    pub(crate) fn message(
        &mut self,
        topic: &Topic,
        chunk: ChunkId,
        position: u64,
        idle: impl FnOnce() -> bool,
    ) -> Result<Message> {
        let index = chunk.segment();
        let entry = &topic.segments()[(index % SEGMENTS) as usize];
        // While the chunk is pinned its segment isn't destroyed, so the entry stands still. Acquire: pairs with READY.
        let generation = SegmentWord(load_acquire(entry)).generation();
        let mapped =
            matches!(self.current.get(index as usize), Some(Some(view)) if view.generation() == generation);
        if !mapped {
            self.map(topic, index, generation, idle())?;
        }
        match self.current.get(index as usize) {
            Some(Some(view)) => read(topic, view, chunk, position),
            _ => Err(damaged(topic, chunk, "it isn't mapped")),
        }
    }

    #[cold]
    fn map(&mut self, topic: &Topic, index: u32, generation: u32, idle: bool) -> Result<()> {
        if idle {
            self.outdated.clear();
        }
        let view = Segment::open(topic, index, generation, Access::ReadOnly).map_err(|why| match why {
            NotMapped::Gone => {
                let name = topic.dir().join(&segment_name(index, generation));
                Error::corrupt(name, "a published message lies in it, but it isn't there")
            }
            NotMapped::Failed(error) => error,
        })?;
        if self.current.len() <= index as usize {
            self.current.resize_with(index as usize + 1, || None);
        }
        self.outdated.extend(self.current[index as usize].replace(view));
        Ok(())
    }
}

#[inline]
fn read(topic: &Topic, view: &Segment, chunk: ChunkId, position: u64) -> Result<Message> {
    let Some(start) = view.chunk(chunk.index()) else {
        return Err(damaged(topic, chunk, "the ring names a chunk that it doesn't have"));
    };
    // SAFETY: a chunk starts with a header of eight aligned words, inside the mapping. Its publisher wrote them before W1 and
    // leaves them alone while the chunk is pinned; as atomics they may be read whatever others do.
    let words = unsafe { start.cast::<[AtomicU64; 3]>().as_ref() };
    // Relaxed: R1 ordered them. The length is read once, and only the checked copy is used.
    let [found, len, timestamp] = [0, 1, 2].map(|word: usize| words[word].load(Ordering::Relaxed));
    if found != position || len > view.payload_size() {
        return Err(damaged(topic, chunk, "a chunk's header doesn't fit the ring or its size"));
    }
    // SAFETY: the payload follows the header within the chunk.
    let payload = unsafe { start.add(CHUNK_HEADER) };
    Ok(Message { payload, len: len as usize, timestamp })
}

#[cold]
fn damaged(topic: &Topic, chunk: ChunkId, what: &str) -> Error {
    Error::corrupt(topic.dir().join(&format!("seg.{}", chunk.segment())), what)
}
