// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where payloads live: each publisher has segments of its own, each segment equal chunks of one size class.
//!
//! A chunk is always in one of four places, all of them known to its publisher alone but for the third:
//!
//! ```text
//!   free --loan--> loaned --publish--> in the ring --overwritten or evicted--> limbo --reclaim--> free
//!     ^               |
//!     +---discarded---+
//! ```
//!
//! What a loan does when its class has no free chunk, cheapest first: reclaim what left the ring (I3); take over
//! a dead publisher's segment or make a new one, within the budget; take a larger free chunk; destroy segments
//! that are wholly free; recover dead participants, who may hold chunks; evict this publisher's oldest message, unless a reliable
//! subscriber has yet to read it (I7).
//! Only then it is an error, and everything that was published and held is as it was, but for what was evicted.
//!
//! In a service a request or a reply that was sent is followed by the first of these, if that may spare the next loan the time (`prepare`).

mod class;
mod orphan;
mod scarce;
mod segment;
mod views;

use std::ptr::NonNull;

use crate::crash::point;
use crate::error::{Error, Result};
use crate::options::MemoryInfo;
use crate::ring::{ChunkId, Retiring, MAX_CHUNKS, SEGMENTS};
use crate::sync::{fetch_line_to_write, Ordering};
use crate::topic::layout::{ChunkHeader, SegmentState, SegmentWord, CHUNK_HEADER};
use crate::topic::Topic;
use segment::file_size;

pub(crate) use segment::{mark_pinned, NotMapped, Segment};
pub(crate) use views::{Message, Views};

/// Chunks are made in files of at least this many bytes ...
const SMALLEST_SEGMENT: u64 = 16 << 10;
/// ... and, when one chunk isn't larger, of at most this many.
const LARGEST_SEGMENT: u64 = 4 << 20;
/// How many scarce loans go by between two looks for dead participants, or for room on a file system that was full:
/// both cost system calls.
const SCARCE_ROUNDS: u64 = 256;
/// However large the chunks are, up to the largest segment ...
const SMALLEST_BATCH: u64 = 4;
/// ... also in a service, where a look at the other side's holds, which is about to change them, takes a tenth of a call.
const SMALLEST_BATCH_OF_CALLS: u64 = 8;
/// What one reclaim should yield, so that looking at every subscriber's holds is spread over many messages.
const BATCH_BYTES: u64 = 64 << 10;

/// The budget of a pool for `count` messages of up to `len` bytes, and for no more where they are so small that one segment has all of them.
pub(crate) fn budget_for(len: usize, count: u32) -> Result<u64> {
    let stride = class::stride(class::payload_size(len)?);
    if stride <= LARGEST_SEGMENT / u64::from(count.max(1)) {
        return Ok(file_size(stride, count));
    }
    Ok(u64::from(count) * file_size(stride, 1))
}

/// A chunk in its publisher's hands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chunk {
    pub(crate) id: ChunkId,
    start: NonNull<u8>,
    /// Bytes of payload that it takes.
    pub(crate) size: usize,
}

impl Chunk {
    pub(crate) fn payload(&self) -> NonNull<u8> {
        // SAFETY: a chunk is a header and a payload.
        unsafe { self.start.add(CHUNK_HEADER) }
    }

    /// Starts to bring what a message starts with into the cache, to be written: whoever read the last one in this chunk still has it.
    #[inline]
    pub(crate) fn fetch_to_write(&self) {
        fetch_to_write(self.start);
    }

    /// Fills the header but for the position, and for what is reserved and stays zero.
    #[inline]
    #[cfg_attr(feature = "crash-points", track_caller)]
    pub(crate) fn describe(&self, len: usize, timestamp: u64, publisher: u32) {
        debug_assert!(len <= self.size);
        let header = self.start.cast::<ChunkHeader>().as_ptr();
        point();
        // SAFETY: the chunk is loaned, so nobody else reads or writes it (I3); it starts aligned with a header.
        unsafe {
            (*header).len = len as u64;
            (*header).timestamp = timestamp;
            (*header).flags = 0;
            (*header).publisher = publisher;
        }
    }

    /// Writes the position that the chunk is about to be published at.
    #[inline]
    #[cfg_attr(feature = "crash-points", track_caller)]
    pub(crate) fn stamp(&self, position: u64) {
        point();
        // SAFETY: as above: before W1 nobody else sees it. The position is the header's first word.
        unsafe { self.start.cast::<u64>().write(position) };
    }
}

#[inline(always)]
fn fetch_to_write(start: NonNull<u8>) {
    fetch_line_to_write(start.as_ptr());
    fetch_line_to_write(start.as_ptr().wrapping_add(CHUNK_HEADER));
}

/// The chunks of one size.
#[derive(Debug)]
struct Class {
    payload: u64,
    /// Last in, first out: what was used last is likeliest to be in the cache.
    free: Vec<Free>,
    total: u64,
}

/// A free chunk and where it is.
#[derive(Clone, Copy, Debug)]
struct Free {
    id: ChunkId,
    start: NonNull<u8>,
}

/// One publisher's memory.
pub(crate) struct Pool {
    /// By entry of the segment table.
    segments: Vec<Option<Segment>>,
    classes: Vec<Class>,
    retiring: Retiring,
    /// How many chunks the last reclaim found held.
    held_back: usize,
    is_of_service: bool,
    budget: u64,
    used: u64,
    /// Loans that found neither a free chunk nor room.
    scarce: u64,
    /// The value of `scarce` from which on the file system is asked again.
    full_until: u64,
}

// SAFETY: the pointers that a pool gives out point into its own mappings, which move with it between threads.
unsafe impl Send for Pool {}

impl Pool {
    /// An empty pool that may take `budget` bytes of shared memory.
    pub(crate) fn new(topic: &Topic, budget: u64) -> Pool {
        let mut pool = Pool {
            segments: Vec::new(),
            classes: Vec::new(),
            retiring: Retiring::default(),
            held_back: 0,
            is_of_service: topic.geometry().calls > 0,
            budget,
            used: 0,
            scarce: 0,
            full_until: 0,
        };
        // What the dead left and nobody reads any more.
        pool.destroy_orphans(topic);
        pool
    }

    /// A chunk for `len` bytes.
    #[inline(always)]
    pub(crate) fn loan(&mut self, topic: &Topic, len: usize) -> Result<Chunk> {
        let payload = class::payload_size(len)?;
        let index = self.class(payload);
        let class = &mut self.classes[index];
        match class.free.pop() {
            Some(Free { id, start }) => Ok(Chunk { id, start, size: payload as usize }),
            None => self.loan_slow(topic, index),
        }
    }

    /// Does for the next loan of `payload` bytes, a class's size, what it would have to do itself, now that nobody waits for it: takes back
    /// what can be taken back when there is no free chunk, and starts to bring the first one into the cache. Makes no memory: that is for
    /// a loan that there is.
    #[inline]
    pub(crate) fn prepare(&mut self, topic: &Topic, payload: usize) {
        let index = self.classes.iter().position(|class| class.payload == payload as u64);
        let Some(index) = index else { return };
        if self.classes[index].free.is_empty() {
            self.reclaim_batch(topic, index);
        }
        if let Some(next) = self.classes[index].free.last() {
            fetch_to_write(next.start);
        }
    }

    /// Reclaims if that may give what a loan would be content with, but for the chunk that was just sent: otherwise the loan would only
    /// look once more.
    #[cold]
    #[inline(never)]
    fn reclaim_batch(&mut self, topic: &Topic, class: usize) {
        let retired = self.retiring.limbo().len().saturating_sub(self.held_back);
        if retired as u64 + 1 >= self.batch(topic, class).max(2) {
            self.reclaim(topic);
        }
    }

    /// Takes a loan back unused.
    pub(crate) fn discard(&mut self, chunk: Chunk) {
        free_into(&self.segments, &mut self.classes, chunk.id);
    }

    /// Notes that a loan was published at `position`.
    #[inline(always)]
    pub(crate) fn published(&mut self, position: u64, chunk: Chunk) {
        self.retiring.published(position, chunk.id);
    }

    /// Takes back a chunk of a call that is over: it is free when nobody holds it.
    pub(crate) fn retire(&mut self, chunk: ChunkId) {
        self.retiring.retire(chunk);
    }

    /// How the budget is used, after taking back what can be taken back.
    pub(crate) fn memory(&mut self, topic: &Topic) -> MemoryInfo {
        self.reclaim(topic);
        let count = |of: fn(&Class) -> u64| self.classes.iter().map(of).sum();
        MemoryInfo {
            budget: self.budget,
            used: self.used,
            chunks: count(|class| class.total),
            free: count(|class| class.free.len() as u64),
            in_topic: self.retiring.in_ring() as u64,
            held: self.retiring.limbo().len() as u64,
        }
    }

    /// Gives back what can be given back before leaving; what is still read stays, as an orphan.
    pub(crate) fn leave(&mut self, topic: &Topic) {
        self.reclaim(topic);
        self.destroy_segments(topic, &self.free_segments());
    }

    /// The class for chunks of exactly `payload` bytes.
    #[inline(always)]
    fn class(&mut self, payload: u64) -> usize {
        match self.classes.iter().position(|class| class.payload == payload) {
            Some(index) => index,
            None => self.new_class(payload),
        }
    }

    #[cold]
    #[inline(never)]
    fn new_class(&mut self, payload: u64) -> usize {
        self.classes.push(Class { payload, free: Vec::new(), total: 0 });
        self.classes.len() - 1
    }

    fn reclaim(&mut self, topic: &Topic) -> usize {
        let Pool { segments, classes, retiring, .. } = self;
        let freed = retiring.reclaim(topic.ring(), topic, |id| free_into(segments, classes, id));
        self.held_back = retiring.limbo().len();
        freed
    }

    #[cold]
    #[inline(never)]
    fn loan_slow(&mut self, topic: &Topic, class: usize) -> Result<Chunk> {
        self.reclaim(topic);
        if (self.classes[class].free.len() as u64) < self.batch(topic, class) {
            self.try_grow(topic, class)?;
        }
        match self.pop(class) {
            Some(chunk) => Ok(chunk),
            None => self.loan_scarce(topic, class),
        }
    }

    fn pop(&mut self, class: usize) -> Option<Chunk> {
        let Class { payload, free, .. } = &mut self.classes[class];
        free.pop().map(|Free { id, start }| Chunk { id, start, size: *payload as usize })
    }

    /// How many free chunks a reclaim should give before it is worth making more.
    fn batch(&self, topic: &Topic, class: usize) -> u64 {
        let stride = class::stride(self.classes[class].payload);
        if stride > LARGEST_SEGMENT {
            return 1;
        }
        let ring = u64::from(topic.geometry().capacity) / 4;
        let wanted = ring.max(4 * topic.subscribers().count() as u64);
        let smallest = if self.is_of_service { SMALLEST_BATCH_OF_CALLS } else { SMALLEST_BATCH };
        wanted.min((BATCH_BYTES / stride).max(smallest)).max(1)
    }

    /// Grows if there is room, and not when there was none a moment ago.
    fn try_grow(&mut self, topic: &Topic, class: usize) -> Result<()> {
        if self.scarce < self.full_until {
            return Ok(());
        }
        match self.grow(topic, class) {
            Err(Error::NoSpace { .. }) => {
                self.full_until = self.scarce + SCARCE_ROUNDS;
                Ok(())
            }
            Ok(()) | Err(Error::OutOfMemory { .. } | Error::NoSegment { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Adds a segment to the class: a dead publisher's, or a new one.
    fn grow(&mut self, topic: &Topic, class: usize) -> Result<()> {
        let payload = self.classes[class].payload;
        let stride = class::stride(payload);
        // First of all: this is where a publisher that lives at its budget's edge turns back at each loan.
        self.room_for(stride)?;
        while self.adopt_orphan(topic, payload)? {
            if !self.classes[class].free.is_empty() {
                return Ok(());
            }
            // All of its chunks are in the ring, or held: that is no reason to make others pay while there is room.
        }
        // Once more: what was adopted counts.
        let count = self.growth(topic, class).min(self.room_for(stride)?);
        // A file system that can't take many may still take one.
        match self.make_segment(topic, stride, count) {
            Err(Error::NoSpace { .. }) if count > 1 => self.make_segment(topic, stride, 1),
            other => other,
        }
    }

    /// How many chunks to add: as many as there are, up to what a full ring and one batch need.
    fn growth(&self, topic: &Topic, class: usize) -> u64 {
        let Class { payload, total, .. } = self.classes[class];
        let stride = class::stride(payload);
        let fit = |bytes: u64| (bytes / stride).max(1);
        let geometry = topic.geometry();
        let batch = self.batch(topic, class);
        let needed = u64::from(geometry.capacity) + u64::from(geometry.holds) + batch;
        total
            .max(fit(SMALLEST_SEGMENT - SEGMENT_ROOM))
            .min(needed.saturating_sub(total).max(batch).max(fit(SMALLEST_SEGMENT - SEGMENT_ROOM)))
            .min(fit(LARGEST_SEGMENT))
            .min(u64::from(MAX_CHUNKS))
    }

    /// How many chunks of `stride` one more segment may have: one at least, or it is an error.
    fn room_for(&self, stride: u64) -> Result<u64> {
        match self.budget_left(stride) {
            0 => {
                let wanted = file_size(stride, 1);
                Err(Error::OutOfMemory { wanted, used: self.used, budget: self.budget })
            }
            room => Ok(room),
        }
    }

    /// How many chunks of `stride` the budget has room for beside what is taken.
    fn budget_left(&self, stride: u64) -> u64 {
        self.budget.saturating_sub(self.used).saturating_sub(SEGMENT_ROOM) / stride
    }

    fn make_segment(&mut self, topic: &Topic, stride: u64, count: u64) -> Result<()> {
        let count = count as u32;
        let me = topic.index();
        for (segment, word) in (1..).zip(&topic.segments()[1..]) {
            let seen = SegmentWord(word.load(Ordering::Acquire));
            let generation = seen.generation();
            let creating = SegmentWord::new(SegmentState::Creating, me, generation);
            // AcqRel: entries are taken by one publisher only, before the file exists (I4).
            if seen.state() != SegmentState::Empty
                || self.has(segment)
                || word.compare_exchange(seen.0, creating.0, Ordering::AcqRel, Ordering::Relaxed).is_err()
            {
                continue;
            }
            return match Segment::create(topic, segment, generation, stride, count) {
                Ok(made) => {
                    let ready = SegmentWord::new(SegmentState::Ready, me, generation);
                    // Release: who sees READY finds the file whole.
                    word.store(ready.0, Ordering::Release);
                    self.add(segment, made, 0..count);
                    Ok(())
                }
                Err(error) => {
                    let empty = SegmentWord::new(SegmentState::Empty, 0, generation.wrapping_add(1));
                    word.store(empty.0, Ordering::Release);
                    Err(error)
                }
            };
        }
        Err(Error::NoSegment { limit: SEGMENTS - 1 })
    }

    /// Whether `segment` is mapped here: then it is ours, and its chunks are about, even if the damaged table says otherwise.
    fn has(&self, segment: u32) -> bool {
        matches!(self.segments.get(segment as usize), Some(Some(_)))
    }

    /// Takes a mapped segment in, with those of its chunks that are free.
    fn add(&mut self, segment: u32, mapped: Segment, free: impl Iterator<Item = u32>) {
        let class = self.class(mapped.payload_size());
        self.used += mapped.size();
        self.classes[class].total += u64::from(mapped.count());
        // Lowest index on top: who reads a message reads the next.
        let first = self.classes[class].free.len();
        self.classes[class].free.extend(free.filter_map(|index| {
            Some(Free { id: ChunkId::new(segment, index), start: mapped.chunk(index)? })
        }));
        // Calls in the order of their addresses, or at equal distances, look like a stream to the reader's processor, which fetches those that
        // are about to be written, too: a sixth of a call's time. So a chunk's neighbours come as long after it as can be.
        if self.is_of_service {
            self.classes[class].free[first..].sort_unstable_by_key(|free| free.id.index().reverse_bits());
        }
        self.classes[class].free[first..].reverse();
        if self.segments.len() <= segment as usize {
            self.segments.resize_with(segment as usize + 1, || None);
        }
        self.segments[segment as usize] = Some(mapped);
    }

    /// Of each segment, whether all of its chunks are free.
    fn free_segments(&self) -> Vec<bool> {
        let mut free = vec![0u32; self.segments.len()];
        for chunk in self.classes.iter().flat_map(|class| &class.free) {
            free[chunk.id.segment() as usize] += 1;
        }
        let is_whole = |(mapped, free): (&Option<Segment>, u32)| {
            mapped.as_ref().is_some_and(|mapped| mapped.count() == free)
        };
        self.segments.iter().zip(free).map(is_whole).collect()
    }

    /// Destroys those segments of ours to which neither the ring nor a hold refers.
    fn destroy_segments(&mut self, topic: &Topic, doomed: &[bool]) {
        for class in &mut self.classes {
            class.free.retain(|chunk| !doomed[chunk.id.segment() as usize]);
        }
        for (segment, _) in (0..).zip(doomed).filter(|&(_, &doomed)| doomed) {
            let Some(mapped) = self.segments[segment as usize].take() else { continue };
            let class = self.class(mapped.payload_size());
            self.classes[class].total -= u64::from(mapped.count());
            self.used -= mapped.size();
            orphan::destroy(topic, segment, mapped.generation());
        }
    }
}

/// Room for a segment's header, and then some, in sums of bytes.
const SEGMENT_ROOM: u64 = crate::topic::layout::SEGMENT_HEADER as u64;

fn free_into(segments: &[Option<Segment>], classes: &mut [Class], id: ChunkId) {
    // An id of this pool was made from one of its segments, which stay while an id of theirs is anywhere.
    let Some(Some(segment)) = segments.get(id.segment() as usize) else { return };
    let payload = segment.payload_size();
    let class = classes.iter_mut().find(|class| class.payload == payload);
    if let (Some(class), Some(start)) = (class, segment.chunk(id.index())) {
        class.free.push(Free { id, start });
    }
}
