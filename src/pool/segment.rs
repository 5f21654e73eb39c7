// SPDX-License-Identifier: MIT OR Apache-2.0
//! A segment's file: made and written by one publisher, mapped read-only by everyone else.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::ptr::NonNull;

use bytemuck::Zeroable;
use rustix::io::Errno;

use crate::copier::{self, PinAccess};
use crate::error::{Error, Result};
use crate::os::dir::{punch, Access, Dir};
use crate::os::map::Mapping;
use crate::ring::MAX_CHUNKS;
use crate::sync::{Ordering, Word};
use crate::topic::layout::{
    segment_name, SegmentHeader, CHUNK_HEADER, SEGMENT_HEADER, SEGMENT_MAGIC, VERSION,
};
use crate::topic::Topic;

/// Why a segment can't be used.
pub(crate) enum NotMapped {
    /// Its file isn't there.
    Gone,
    Failed(Error),
}

/// A mapped segment, with its sizes as they were when they were checked.
#[derive(Debug)]
pub(crate) struct Segment {
    map: Mapping,
    generation: u32,
    stride: u64,
    count: u32,
}

/// Bytes of the file of a segment.
pub(super) fn file_size(stride: u64, count: u32) -> u64 {
    SEGMENT_HEADER as u64 + stride * u64::from(count)
}

impl Drop for Segment {
    fn drop(&mut self) {
        // In the child of a fork the mapping isn't there.
        if self.map.token().is_ours() && !copier::unmapped(self.map.token(), self.map.base()) {
            self.map.stay();
        }
    }
}

/// Where a segment says that it was pinned.
const PINNED: usize = std::mem::offset_of!(SegmentHeader, pinned);

/// Says in the header of a segment that a device may write to it from now on.
///
/// # Safety
/// `start` is the start of a writable mapping of a segment.
pub(crate) unsafe fn mark_pinned(start: *mut u8) {
    // SAFETY: the caller's; the word is inside the header and aligned, and all use it as an atomic.
    let word = unsafe { &*start.add(PINNED).cast::<Word>() };
    // Release: who recovers this publisher sees it, as everything that it wrote.
    word.store(1, Ordering::Release);
}

impl Segment {
    /// Makes the file of `segment`, whose entry says CREATING.
    pub(super) fn create(
        topic: &Topic,
        segment: u32,
        generation: u32,
        stride: u64,
        count: u32,
    ) -> Result<Segment> {
        let name = segment_name(segment, generation);
        let size = file_size(stride, count);
        let path = topic.dir().join(&name);
        let header = SegmentHeader {
            magic: SEGMENT_MAGIC,
            version: VERSION,
            segment,
            generation,
            count,
            instance: topic.instance(),
            stride,
            ..SegmentHeader::zeroed()
        };
        let file = topic.dir().create_file(&name, size, bytemuck::bytes_of(&header))?;
        let map = Mapping::new(&file, size, Access::ReadWrite, &path)
            // Only what was made here: a file that was there before is another's.
            .inspect_err(|_| topic.dir().remove_file(&name))?;
        Ok(Segment::of(map, Access::ReadWrite, generation, stride, count))
    }

    fn of(map: Mapping, access: Access, generation: u32, stride: u64, count: u32) -> Segment {
        let access = match access {
            Access::ReadOnly => PinAccess::Read,
            Access::ReadWrite => PinAccess::Write,
        };
        copier::mapped(map.token(), map.base(), map.len(), access);
        Segment { map, generation, stride, count }
    }

    /// Maps the existing file of `segment`.
    pub(crate) fn open(
        dir: &Dir,
        instance: u64,
        segment: u32,
        generation: u32,
        access: Access,
    ) -> std::result::Result<Segment, NotMapped> {
        let name = segment_name(segment, generation);
        let path = dir.join(&name);
        let file = dir.open_file(&name, access).map_err(|errno| match errno {
            Errno::NOENT => NotMapped::Gone,
            errno => NotMapped::Failed(dir.refusal(&name, errno)),
        })?;
        Self::check_and_map(&file, (segment, generation, instance), access, &path).map_err(NotMapped::Failed)
    }

    fn check_and_map(file: &File, identity: (u32, u32, u64), access: Access, path: &str) -> Result<Segment> {
        let mut header = SegmentHeader::zeroed();
        file.read_exact_at(bytemuck::bytes_of_mut(&mut header), 0)
            .map_err(|_| Error::corrupt(path, "it was cut off within its header"))?;
        if header.magic != SEGMENT_MAGIC {
            let what = format!("its first word is {:#018x}, not {SEGMENT_MAGIC:#018x}", header.magic);
            return Err(Error::corrupt(path, what));
        }
        if header.version != VERSION {
            return Err(Error::Version { file: path.into(), found: header.version, supported: VERSION });
        }
        if (header.segment, header.generation, header.instance) != identity {
            return Err(Error::corrupt(path, "it belongs to another topic or place"));
        }
        let (stride, count) = (header.stride, header.count);
        let whole = (2 * CHUNK_HEADER as u64..=super::class::stride(super::class::MAX_PAYLOAD))
            .contains(&stride)
            && stride % CHUNK_HEADER as u64 == 0
            && (1..=MAX_CHUNKS).contains(&count);
        if !whole {
            return Err(Error::corrupt(path, format!("it says {count} chunks of {stride} bytes")));
        }
        let map = Mapping::new(file, file_size(stride, count), access, path)?;
        Ok(Segment::of(map, access, header.generation, stride, count))
    }

    /// Gives the memory back, though subscribers may still have the file mapped, and removes the file.
    pub(super) fn destroy_file(topic: &Topic, segment: u32, generation: u32) {
        let name = segment_name(segment, generation);
        if let Ok(file) = topic.dir().open_file(&name, Access::ReadWrite) {
            punch(&file, file.metadata().map_or(0, |data| data.len()));
        }
        topic.dir().remove_file(&name);
    }

    /// Whether a device may be writing to it, also after its publisher's death.
    pub(super) fn is_pinned(&self) -> bool {
        let word = self.map.words(PINNED, 1).first();
        // Acquire: pairs with the store in `mark_pinned`, which is long past: its publisher is dead.
        word.is_none_or(|word| word.load(Ordering::Acquire) != 0)
    }

    #[inline]
    pub(super) fn generation(&self) -> u32 {
        self.generation
    }

    pub(super) fn stride(&self) -> u64 {
        self.stride
    }

    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    pub(super) fn size(&self) -> u64 {
        self.map.len() as u64
    }

    /// Bytes of payload that one of its chunks takes.
    #[inline]
    pub(crate) fn payload_size(&self) -> u64 {
        self.stride - CHUNK_HEADER as u64
    }

    /// Where a chunk starts, and the position, the length and the timestamp that its header says, each read once and to be
    /// checked; `None` for an index beyond the segment.
    #[inline(always)]
    pub(crate) fn header(&self, index: u32) -> Option<(NonNull<u8>, [u64; 3])> {
        let start = self.chunk(index)?;
        // SAFETY: a chunk starts with a header of eight aligned words, inside the mapping. Its publisher writes them only before
        // W1; as atomics they may be read whatever others do.
        let words = unsafe { start.cast::<[Word; 3]>().as_ref() };
        // Relaxed: who comes from the ring is ordered by R1.
        Some((start, [0, 1, 2].map(|word: usize| words[word].load(Ordering::Relaxed))))
    }

    /// The start of a chunk; `None` for an index beyond the segment.
    #[inline]
    pub(crate) fn chunk(&self, index: u32) -> Option<NonNull<u8>> {
        if index >= self.count {
            return None;
        }
        let offset = SEGMENT_HEADER + self.stride as usize * index as usize;
        // SAFETY: the mapping has header + count * stride bytes (checked when it was made), so this is inside.
        NonNull::new(unsafe { self.map.base().add(offset) })
    }
}
