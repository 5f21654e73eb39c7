// SPDX-License-Identifier: MIT OR Apache-2.0
//! A subscriber's mappings of other participants' segments, each kept until its entry has another generation.

use std::ptr::NonNull;

use super::segment::{NotMapped, Segment};
use crate::error::{Error, Result};
use crate::os::dir::Access;
use crate::ring::{ChunkId, SEGMENTS};
use crate::sync::{fetch_line, load_acquire};
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
    /// Mappings of earlier generations of segments of which a sample is held. A sample keeps its segment from changing; should
    /// the table say otherwise, because somebody damaged it, the sample's memory must stay mapped all the same.
    outdated: Vec<(u32, Segment)>,
}

/// Only damage makes any; so many that it must be somebody's intent.
const MOST_OUTDATED: usize = 64;

impl Views {
    /// Starts to bring the header and the first line of the payload into the cache. Only a hint: the chunk needn't be pinned.
    #[inline(always)]
    pub(crate) fn fetch(&self, chunk: ChunkId) {
        if let Some(Some(view)) = self.current.get(chunk.segment() as usize) {
            if let Some(start) = view.chunk(chunk.index()) {
                fetch_line(start.as_ptr());
                fetch_line(start.as_ptr().wrapping_add(CHUNK_HEADER));
            }
        }
    }

    /// The message in `chunk`, which is pinned and was published at `position`. `is_held` says of a segment whether a sample in it is.
    #[inline(always)]
    pub(crate) fn message(
        &mut self,
        topic: &Topic,
        chunk: ChunkId,
        position: u64,
        is_held: impl Fn(u32) -> bool,
    ) -> Result<Message> {
        let index = chunk.segment();
        let entry = &topic.segments()[(index % SEGMENTS) as usize];
        // While the chunk is pinned its segment isn't destroyed, so the entry stands still. Acquire: pairs with READY.
        let generation = SegmentWord(load_acquire(entry)).generation();
        match self.current.get(index as usize) {
            Some(Some(view)) if view.generation() == generation => read(topic, view, chunk, position),
            _ => read(topic, self.map(topic, index, generation, is_held)?, chunk, position),
        }
    }

    #[cold]
    #[inline(never)]
    fn map(
        &mut self,
        topic: &Topic,
        index: u32,
        generation: u32,
        is_held: impl Fn(u32) -> bool,
    ) -> Result<&Segment> {
        self.outdated.retain(|&(segment, _)| is_held(segment));
        if self.outdated.len() > MOST_OUTDATED {
            let what = "the segment table goes on changing under samples that are held";
            return Err(Error::corrupt(topic.dir().join("ring"), what));
        }
        let view = Segment::open(topic.dir(), topic.instance(), index, generation, Access::ReadOnly)
            .map_err(|why| match why {
                NotMapped::Gone => {
                    let name = topic.dir().join(&segment_name(index, generation));
                    Error::corrupt(name, "a published message lies in it, but it isn't there")
                }
                NotMapped::Failed(error) => error,
            })?;
        if self.current.len() <= index as usize {
            self.current.resize_with(index as usize + 1, || None);
        }
        let place = &mut self.current[index as usize];
        self.outdated.extend(place.take().filter(|_| is_held(index)).map(|view| (index, view)));
        Ok(place.insert(view))
    }
}

#[inline(always)]
fn read(topic: &Topic, view: &Segment, chunk: ChunkId, position: u64) -> Result<Message> {
    let Some((start, [found, len, timestamp])) = view.header(chunk.index()) else {
        return Err(damaged(topic, chunk, "the ring names a chunk that it doesn't have"));
    };
    if found != position || len > view.payload_size() {
        return Err(damaged(topic, chunk, "a chunk's header doesn't fit the ring or its size"));
    }
    // SAFETY: the payload follows the header within the chunk.
    let payload = unsafe { start.add(CHUNK_HEADER) };
    Ok(Message { payload, len: len as usize, timestamp })
}

#[cold]
#[inline(never)]
fn damaged(topic: &Topic, chunk: ChunkId, what: &str) -> Error {
    Error::corrupt(topic.dir().join(&format!("seg.{}", chunk.segment())), what)
}
