// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the files of a topic look like. Only fixed-width integers, in the machine's byte order.
//!
//! ```text
//!   ring    header 256 | tail, head (own lines) | slots: capacity x u64 | segment table: 4096 x u64
//!   peers   header 256 | life, joined (own lines) | waiters: 16 x u64 | wakes | gate: waiting, wakes | status: participants x u64 | entries
//!   entry   cursor u64 | wakes u64 | held: holds x u64, padded to whole lines | calls x 64 bytes, padded, in a service
//!   seg.*   header 128 | chunks, each: header 64 | payload, all of one stride
//! ```
//!
//! A line here is 128 bytes: two cache lines, since today's processors fetch them in pairs.
//!
//! A service (`rpc/`) differs by `calls`, which is 0 in a topic: how many calls each client can have in flight.
//!
//! Reserved for self-description: the schema's place in the ring header.

use bytemuck::{Pod, Zeroable};

use crate::error::{Error, Result};
use crate::ring::SEGMENTS;
use crate::rpc::call::{MAX_CALLS, WORDS};

/// The layout's version; a library speaks exactly one.
pub(crate) const VERSION: u32 = 1;
pub(crate) const RING_MAGIC: u64 = u64::from_le_bytes(*b"shm:ring");
pub(crate) const PEERS_MAGIC: u64 = u64::from_le_bytes(*b"shm:peer");
pub(crate) const SEGMENT_MAGIC: u64 = u64::from_le_bytes(*b"shm:segm");

pub(crate) const LINE: usize = 128;
const PAGE: usize = 4096;

pub(crate) const MAX_CAPACITY: u32 = 1 << 20;
pub(crate) const MAX_PARTICIPANTS: u32 = 1024;
pub(crate) const MAX_HOLDS: u32 = 256;

/// The start of `ring` and of `peers`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Header {
    pub(crate) magic: u64,
    pub(crate) version: u32,
    pub(crate) capacity: u32,
    pub(crate) participants: u32,
    pub(crate) holds: u32,
    /// The same in all files of one topic; another for each topic ever made.
    pub(crate) instance: u64,
    /// Bytes of the file.
    pub(crate) size: u64,
    pub(crate) schema_offset: u32,
    pub(crate) schema_len: u32,
    pub(crate) calls: u32,
    pub(crate) padding: u32,
    pub(crate) reserved: [u64; 25],
}

const HEADER: usize = 256;
const _: () = assert!(size_of::<Header>() == HEADER);
const _: () = assert!(std::mem::offset_of!(Header, instance) == 24);
const _: () = assert!(std::mem::offset_of!(Header, size) == 32);

/// The start of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct SegmentHeader {
    pub(crate) magic: u64,
    pub(crate) version: u32,
    /// The entry of the segment table.
    pub(crate) segment: u32,
    pub(crate) generation: u32,
    pub(crate) count: u32,
    pub(crate) instance: u64,
    /// Bytes from one chunk to the next, header included.
    pub(crate) stride: u64,
    /// 1: a device may write to it, even a while after its publisher was killed; so no other publisher does. A word of its own: it is
    /// written when others have the file mapped.
    pub(crate) pinned: u64,
    pub(crate) reserved: [u64; 10],
}

pub(crate) const SEGMENT_HEADER: usize = LINE;
const _: () = assert!(size_of::<SegmentHeader>() == SEGMENT_HEADER);

/// The start of a chunk. Written by its publisher before the message is visible, never while it is pinned.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct ChunkHeader {
    pub(crate) position: u64,
    /// Bytes of the payload.
    pub(crate) len: u64,
    /// Nanoseconds since the epoch; 0: none.
    pub(crate) timestamp: u64,
    pub(crate) flags: u32,
    /// The publisher's participant index.
    pub(crate) publisher: u32,
    pub(crate) reserved: [u64; 4],
}

/// Bytes before a payload; also the payload's alignment.
pub(crate) const CHUNK_HEADER: usize = 64;
const _: () = assert!(size_of::<ChunkHeader>() == CHUNK_HEADER);

/// The sizes of a topic, and where things are because of them. Private to the process, checked once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Geometry {
    pub(crate) capacity: u32,
    pub(crate) participants: u32,
    pub(crate) holds: u32,
    /// Calls that a client can have in flight; 0: it is a topic.
    pub(crate) calls: u32,
}

/// Words of the waiter bitmap, one bit a participant.
pub(crate) const WAITER_WORDS: usize = MAX_PARTICIPANTS as usize / 64;
pub(crate) const TAIL_OFFSET: usize = HEADER;
/// Apart from `tail` by a cache line: servers move the one, clients the other.
pub(crate) const HEAD_OFFSET: usize = TAIL_OFFSET + 64;
pub(crate) const SLOTS_OFFSET: usize = TAIL_OFFSET + LINE;
pub(crate) const LIFE_OFFSET: usize = HEADER;
pub(crate) const JOINED_OFFSET: usize = LIFE_OFFSET + 8;
pub(crate) const WAITERS_OFFSET: usize = LIFE_OFFSET + LINE;
pub(crate) const WAKES_OFFSET: usize = WAITERS_OFFSET + WAITER_WORDS * 8;
/// Apart from `wakes` by a cache line: those who write the one don't disturb the others.
pub(crate) const GATE_OFFSET: usize = WAKES_OFFSET + 64;
pub(crate) const STATUS_OFFSET: usize = WAKES_OFFSET + LINE;
const _: () = assert!(
    SLOTS_OFFSET.is_multiple_of(LINE)
        && WAITERS_OFFSET.is_multiple_of(LINE)
        && WAKES_OFFSET.is_multiple_of(LINE)
);

/// Words of an entry before its holds.
const ENTRY_HEAD: usize = 2;

impl Geometry {
    /// Checks what a caller or a file says.
    pub(crate) fn new(capacity: u32, participants: u32, holds: u32) -> Result<Geometry> {
        let bad =
            |option, found: u32, allowed| Err(Error::InvalidOption { option, found: found.into(), allowed });
        if !capacity.is_power_of_two() || !(2..=MAX_CAPACITY).contains(&capacity) {
            return bad("capacity", capacity, "a power of two from 2 to 1048576");
        }
        if !(1..=MAX_PARTICIPANTS).contains(&participants) {
            return bad("participants", participants, "from 1 to 1024");
        }
        if !(1..=MAX_HOLDS).contains(&holds) {
            return bad("holds", holds, "from 1 to 256");
        }
        Ok(Geometry { capacity, participants, holds, calls: 0 })
    }

    /// The geometry of a service whose clients can have `calls` calls in flight; 0: of a topic.
    pub(crate) fn with_calls(self, calls: u32) -> Result<Geometry> {
        if calls > MAX_CALLS {
            return Err(Error::InvalidOption {
                option: "calls",
                found: calls.into(),
                allowed: "from 1 to 256",
            });
        }
        Ok(Geometry { calls, ..self })
    }

    pub(crate) fn segments_offset(&self) -> usize {
        (SLOTS_OFFSET + self.capacity as usize * 8).next_multiple_of(LINE)
    }

    pub(crate) fn ring_size(&self) -> u64 {
        (self.segments_offset() + SEGMENTS as usize * 8).next_multiple_of(PAGE) as u64
    }

    fn entries_offset(&self) -> usize {
        (STATUS_OFFSET + self.participants as usize * 8).next_multiple_of(LINE)
    }

    /// Bytes of an entry before its calls.
    fn entry_head_size(&self) -> usize {
        ((ENTRY_HEAD + self.holds as usize) * 8).next_multiple_of(LINE)
    }

    fn entry_size(&self) -> usize {
        self.entry_head_size() + (self.calls as usize * WORDS * 8).next_multiple_of(LINE)
    }

    /// Where participant `q`'s cursor is.
    #[inline]
    pub(crate) fn cursor_offset(&self, q: u32) -> usize {
        self.entries_offset() + q as usize * self.entry_size()
    }

    /// Where participant `q`'s holds are.
    #[inline]
    pub(crate) fn holds_offset(&self, q: u32) -> usize {
        self.cursor_offset(q) + ENTRY_HEAD * 8
    }

    /// Where the counter is that participant `q` sleeps on when it waits for a call of its own.
    #[inline]
    pub(crate) fn own_wakes_offset(&self, q: u32) -> usize {
        self.cursor_offset(q) + 8
    }

    /// Where participant `q`'s calls are.
    #[inline]
    pub(crate) fn calls_offset(&self, q: u32) -> usize {
        self.cursor_offset(q) + self.entry_head_size()
    }

    pub(crate) fn peers_size(&self) -> u64 {
        (self.entries_offset() + self.participants as usize * self.entry_size()).next_multiple_of(PAGE) as u64
    }

    pub(crate) fn ring_header(&self, instance: u64) -> Header {
        self.header(RING_MAGIC, instance, self.ring_size())
    }

    pub(crate) fn peers_header(&self, instance: u64) -> Header {
        self.header(PEERS_MAGIC, instance, self.peers_size())
    }

    fn header(&self, magic: u64, instance: u64, size: u64) -> Header {
        Header {
            magic,
            version: VERSION,
            capacity: self.capacity,
            participants: self.participants,
            holds: self.holds,
            instance,
            size,
            calls: self.calls,
            ..Header::zeroed()
        }
    }

    /// The geometry that a file's header tells, when the header is one of ours. `name` is for messages.
    pub(crate) fn read(header: &Header, magic: u64, name: &str) -> Result<Geometry> {
        if header.magic != magic {
            let what = format!("its first word is {:#018x}, not {magic:#018x}", header.magic);
            return Err(Error::corrupt(name, what));
        }
        if header.version != VERSION {
            return Err(Error::Version { file: name.into(), found: header.version, supported: VERSION });
        }
        let geometry = Geometry::new(header.capacity, header.participants, header.holds)
            .and_then(|geometry| geometry.with_calls(header.calls))
            .map_err(|error| Error::corrupt(name, error.to_string()))?;
        let size = if magic == RING_MAGIC { geometry.ring_size() } else { geometry.peers_size() };
        if header.size != size {
            return Err(Error::corrupt(name, format!("it says {} bytes where {size} belong", header.size)));
        }
        Ok(geometry)
    }
}

/// Bit fields of a participant's status word: `{epoch: 32 | reserved: 16 | flags: 8 | state: 8}`.
pub(crate) mod status {
    pub(crate) const FREE: u64 = 0;
    pub(crate) const JOINING: u64 = 1;
    pub(crate) const LIVE: u64 = 2;
    /// Somebody undoes what its dead or leaving owner left; holds still count.
    pub(crate) const RECOVERING: u64 = 3;
    const STATE: u64 = 0xff;
    pub(crate) const PUBLISHER: u64 = 1 << 8;
    /// A subscriber that publishers wait for.
    pub(crate) const RELIABLE: u64 = 1 << 9;
    /// A client or a server of a service: it has segments and holds.
    pub(crate) const CLIENT: u64 = 1 << 10;
    pub(crate) const SERVER: u64 = 1 << 11;
    const FLAGS: u64 = PUBLISHER | RELIABLE | CLIENT | SERVER;
    const EPOCH: u32 = 32;

    pub(crate) fn state(word: u64) -> u64 {
        word & STATE
    }

    /// Whether the participant never holds anything, so that reclaim needn't look.
    pub(crate) fn is_publisher(word: u64) -> bool {
        word & PUBLISHER != 0
    }

    /// Whether the participant may have segments.
    pub(crate) fn owns_segments(word: u64) -> bool {
        word & (PUBLISHER | CLIENT | SERVER) != 0
    }

    pub(crate) fn is_client(word: u64) -> bool {
        word & CLIENT != 0
    }

    pub(crate) fn is_server(word: u64) -> bool {
        word & SERVER != 0
    }

    /// Whether publishers wait for the participant. Not once it is being recovered: then it is dead or leaving.
    pub(crate) fn gates(word: u64) -> bool {
        word & FLAGS == RELIABLE && matches!(state(word), JOINING | LIVE)
    }

    /// The word of the entry's next user, in state `state` and with the flags `flags`.
    pub(crate) fn next(old: u64, state: u64, flags: u64) -> u64 {
        let epoch = (old >> EPOCH).wrapping_add(1) << EPOCH;
        epoch | flags | state
    }

    /// The same user in another state; FREE drops its flags.
    pub(crate) fn with_state(old: u64, state: u64) -> u64 {
        let flags = if state == FREE { 0 } else { old & FLAGS };
        old >> EPOCH << EPOCH | flags | state
    }
}

/// A word of the segment table: `{generation: 32 | owner: 16 | reserved: 8 | state: 8}`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SegmentWord(pub(crate) u64);

/// What a segment's file is to its owner.
///
/// ```text
///   EMPTY(g) -> CREATING(me, g) -> READY(me, g) -> ORPHAN(g) -> READY(other, g) ...
///      ^             | failed or died    |              | nobody needs it
///      +-(g+1)-------+                   +-> DYING(me, g) -(unlinked)-> EMPTY(g+1)
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SegmentState {
    Empty,
    Creating,
    Ready,
    Orphan,
    Dying,
    /// Not a state: the word was damaged.
    Unknown,
}

impl SegmentWord {
    pub(crate) fn new(state: SegmentState, owner: u32, generation: u32) -> Self {
        let state = match state {
            SegmentState::Empty => 0,
            SegmentState::Creating => 1,
            SegmentState::Ready => 2,
            SegmentState::Orphan => 3,
            SegmentState::Dying => 4,
            SegmentState::Unknown => 0xff,
        };
        SegmentWord(u64::from(generation) << 32 | u64::from(owner as u16) << 16 | state)
    }

    pub(crate) fn state(self) -> SegmentState {
        match self.0 & 0xff {
            0 => SegmentState::Empty,
            1 => SegmentState::Creating,
            2 => SegmentState::Ready,
            3 => SegmentState::Orphan,
            4 => SegmentState::Dying,
            _ => SegmentState::Unknown,
        }
    }

    pub(crate) fn owner(self) -> u32 {
        u32::from((self.0 >> 16) as u16)
    }

    #[inline]
    pub(crate) fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// The file name of a segment.
pub(crate) fn segment_name(segment: u32, generation: u32) -> String {
    format!("seg.{segment}.{generation}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_topic_is_small() {
        let geometry = Geometry::new(64, 128, 8).unwrap();
        assert!(geometry.ring_size() + geometry.peers_size() <= 128 << 10);
    }

    #[test]
    fn the_last_entry_fits() {
        for (capacity, participants, holds) in [(2, 1, 1), (64, 128, 8), (1 << 20, 1024, 256)] {
            let g = Geometry::new(capacity, participants, holds).unwrap();
            let end = g.holds_offset(participants - 1) + holds as usize * 8;
            assert!(end as u64 <= g.peers_size());
            assert!(g.cursor_offset(0).is_multiple_of(LINE));
        }
    }

    #[test]
    fn options_outside_their_range_are_named() {
        for (capacity, participants, holds, option) in [
            (3, 1, 1, "capacity"),
            (1, 1, 1, "capacity"),
            (1 << 21, 1, 1, "capacity"),
            (2, 1025, 1, "participants"),
            (2, 1, 257, "holds"),
        ] {
            match Geometry::new(capacity, participants, holds) {
                Err(Error::InvalidOption { option: found, .. }) => assert_eq!(found, option),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_segment_word_keeps_its_parts() {
        let word = SegmentWord::new(SegmentState::Dying, 1023, u32::MAX);
        assert_eq!((word.state(), word.owner(), word.generation()), (SegmentState::Dying, 1023, u32::MAX));
        assert_eq!(SegmentWord(0).state(), SegmentState::Empty);
    }

    #[test]
    fn a_status_word_counts_its_users() {
        let first = status::next(0, status::JOINING, status::PUBLISHER);
        let live = status::with_state(first, status::LIVE);
        assert!(status::is_publisher(live) && status::state(live) == status::LIVE);
        let free = status::with_state(live, status::FREE);
        assert!(!status::is_publisher(free));
        let reliable = status::next(free, status::JOINING, status::RELIABLE);
        assert_ne!(reliable >> 32, first >> 32);
        assert!(status::gates(reliable) && status::gates(status::with_state(reliable, status::LIVE)));
        assert!(!status::gates(status::with_state(reliable, status::RECOVERING)) && !status::gates(live));
        assert_eq!(status::with_state(reliable, status::FREE) & 0xffff_ffff, 0);
    }
}
