// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the words are that much hangs on. Written down once more, as the files are all that a hostile process has.

use std::path::{Path, PathBuf};

use arbitrary::Arbitrary;

pub const TOPIC: &str = "t";

/// The sizes of all topics here: small, so that few edits go far.
pub const CAPACITY: u32 = 8;
pub const PARTICIPANTS: u32 = 6;
pub const HOLDS: u32 = 4;

const LINE: u64 = 128;
pub const TAIL: u64 = 256;
const SLOTS: u64 = 384;
const SEGMENTS: u64 = (SLOTS + CAPACITY as u64 * 8).next_multiple_of(LINE);
const LIFE: u64 = 256;
const WAITERS: u64 = 384;
const WAKES: u64 = 512;
const STATUS: u64 = 640;
const ENTRIES: u64 = (STATUS + PARTICIPANTS as u64 * 8).next_multiple_of(LINE);
const ENTRY: u64 = ((2 + HOLDS as u64) * 8).next_multiple_of(LINE);
const SEGMENT_HEADER: u64 = 128;

/// One of a topic's files.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub enum File {
    Ring,
    Peers,
    /// A segment's, in the order of their names.
    Segment(u8),
}

impl File {
    /// The file's path, if there is such a file.
    pub fn find(self, topic: &Path) -> Option<PathBuf> {
        match self {
            File::Ring => Some(topic.join("ring")),
            File::Peers => Some(topic.join("peers")),
            File::Segment(which) => {
                let mut segments = segments(topic);
                (!segments.is_empty()).then(|| segments.swap_remove(which as usize % segments.len()))
            }
        }
    }
}

/// The files of all segments.
pub fn segments(topic: &Path) -> Vec<PathBuf> {
    let is_segment =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"seg."));
    let entries = std::fs::read_dir(topic).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_segment).collect();
    found.sort();
    found
}

/// Opens a file to change it.
pub fn open(path: &Path) -> Option<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    // A shape may have put a fifo or a link there.
    let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW;
    let file = std::fs::File::options().read(true).write(true).custom_flags(flags).open(path).ok()?;
    file.metadata().is_ok_and(|data| data.is_file()).then_some(file)
}

/// A word of a topic.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub enum Place {
    Header(File, u8),
    Tail,
    Slot(u8),
    /// An entry of the segment table.
    Entry(u8),
    LastEntry,
    Life,
    Joined,
    Waiters(u8),
    Wakes,
    Status(u8),
    Cursor(u8),
    Hold(u8, u8),
    /// A word of the header of a segment's chunk, or the first one of its payload.
    Chunk(u8, u8, u8),
    Anywhere(File, u16),
}

impl Place {
    /// The file and the offset in it.
    pub fn find(self, topic: &Path) -> Option<(PathBuf, u64)> {
        let below = |value: u8, count: u32| u64::from(value) % u64::from(count);
        let (file, offset) = match self {
            // By halves: most of what a header says is a u32.
            Place::Header(file, half) => (file, below(half, 12) * 4),
            Place::Tail => (File::Ring, TAIL),
            Place::Slot(slot) => (File::Ring, SLOTS + below(slot, CAPACITY) * 8),
            Place::Entry(segment) => (File::Ring, SEGMENTS + below(segment, 12) * 8),
            Place::LastEntry => (File::Ring, SEGMENTS + 4095 * 8),
            Place::Life => (File::Peers, LIFE),
            Place::Joined => (File::Peers, LIFE + 8),
            Place::Waiters(word) => (File::Peers, WAITERS + below(word, 16) * 8),
            Place::Wakes => (File::Peers, WAKES),
            Place::Status(q) => (File::Peers, STATUS + below(q, PARTICIPANTS) * 8),
            Place::Cursor(q) => (File::Peers, entry(q)),
            Place::Hold(q, hold) => (File::Peers, entry(q) + 16 + below(hold, HOLDS) * 8),
            Place::Chunk(segment, chunk, word) => {
                let path = File::Segment(segment).find(topic)?;
                let offset = chunk_offset(&path, chunk)? + below(word, 9) * 8;
                return Some((path, offset));
            }
            Place::Anywhere(file, word) => (file, u64::from(word) * 8),
        };
        Some((file.find(topic)?, offset))
    }
}

fn entry(q: u8) -> u64 {
    ENTRIES + u64::from(q) % u64::from(PARTICIPANTS) * ENTRY
}

/// Where a chunk begins, as the segment's header says.
fn chunk_offset(segment: &Path, chunk: u8) -> Option<u64> {
    use std::os::unix::fs::FileExt;
    let mut header = [0; 48];
    open(segment)?.read_exact_at(&mut header, 0).ok()?;
    let count = u64::from(u32::from_ne_bytes(header[20..24].try_into().ok()?));
    let stride = u64::from_ne_bytes(header[32..40].try_into().ok()?);
    let chunk = u64::from(chunk) % count.max(1);
    Some(SEGMENT_HEADER + chunk.checked_mul(stride)?).filter(|&offset| offset < 1 << 24)
}
