// SPDX-License-Identifier: MIT OR Apache-2.0
//! Changes to a topic's files: words that say something else, and files that aren't what they should be.

use std::fs::File as Open;
use std::os::unix::fs::FileExt;
use std::path::Path;

use arbitrary::Arbitrary;

use super::place::{open, File, Place};

/// A word that gets another value.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub struct Edit {
    place: Place,
    value: Value,
    /// Whether only its lower half does.
    half: bool,
}

/// What is written.
#[derive(Clone, Copy, Debug, Arbitrary)]
enum Value {
    Zero,
    Max,
    Small(u8),
    Word(u64),
    /// What is there, and a little more or less.
    Near(i8),
    Flipped(u8),
    Shifted(u8),
    /// What another word says.
    Copied(Place),
    /// What is there, some laps later.
    Laps(i32),
    /// A slot's word: the lap of what is there, another chunk.
    Chunk {
        laps: i8,
        segment: u8,
        index: u8,
    },
    /// An entry of the segment table: what is there, in another state and another's.
    Entry {
        state: u8,
        owner: u8,
        generations: i8,
    },
    /// A participant's status.
    Status {
        state: u8,
        publisher: bool,
    },
}

impl Value {
    fn of(self, old: u64, topic: &Path) -> u64 {
        match self {
            Value::Zero => 0,
            Value::Max => u64::MAX,
            Value::Small(value) => value.into(),
            Value::Word(value) => value,
            Value::Near(delta) => old.wrapping_add_signed(delta.into()),
            Value::Flipped(bit) => old ^ 1 << (bit % 64),
            Value::Shifted(bits) => old.wrapping_shl(bits.into()),
            Value::Copied(place) => read(place, topic).unwrap_or(old),
            Value::Laps(laps) => old.wrapping_add_signed(i64::from(laps) << 32),
            Value::Chunk { laps, segment, index } => {
                let lap = (old >> 32).wrapping_add_signed(laps.into());
                lap << 32 | u64::from(segment % 12) << 20 | u64::from(index)
            }
            Value::Entry { state, owner, generations } => {
                let generation = (old >> 32).wrapping_add_signed(generations.into());
                generation << 32 | u64::from(owner % 8) << 16 | u64::from(state % 6)
            }
            Value::Status { state, publisher } => {
                old >> 32 << 32 | u64::from(publisher) << 8 | u64::from(state % 5)
            }
        }
    }
}

fn read(place: Place, topic: &Path) -> Option<u64> {
    let (path, offset) = place.find(topic)?;
    let mut word = [0; 8];
    open(&path)?.read_exact_at(&mut word, offset).ok()?;
    Some(u64::from_ne_bytes(word))
}

impl Edit {
    /// Makes the change, if there is such a word. Never changes a file's size: the file may be mapped.
    pub fn apply(&self, topic: &Path) -> Option<()> {
        let (path, offset) = self.place.find(topic)?;
        let file = open(&path)?;
        let mut word = [0; 8];
        file.read_exact_at(&mut word, offset).ok()?;
        let value = self.value.of(u64::from_ne_bytes(word), topic).to_ne_bytes();
        file.write_all_at(if self.half { &value[..4] } else { &value }, offset).ok()
    }
}

/// A change to a whole file.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub enum Shape {
    Removed(File),
    Cut(File, u32),
    /// Longer than anything that is there: a hole.
    Stretched(File, u8),
    /// One file in the place of another.
    Replaced(File, File),
    /// A segment of another entry or generation, with another one's content.
    Segment {
        like: File,
        segment: u8,
        generation: u8,
        /// Whether its header says so.
        fits: bool,
    },
    Directory(File),
    Link(File),
    Fifo(File),
    /// A file that isn't a topic's.
    Strange,
}

impl Shape {
    /// Whether nobody may have the file mapped: a file that becomes shorter takes its pages away from under its users, which
    /// the library can't help.
    pub fn is_for_unused(&self) -> bool {
        matches!(self, Shape::Cut(..) | Shape::Stretched(..) | Shape::Replaced(..))
    }

    pub fn apply(&self, topic: &Path) -> Option<()> {
        match *self {
            Shape::Removed(file) => remove(&file.find(topic)?),
            Shape::Cut(file, len) => {
                let file = open(&file.find(topic)?)?;
                let whole = file.metadata().ok()?.len();
                file.set_len(u64::from(len) % (whole + 1)).ok()
            }
            Shape::Stretched(file, bits) => open(&file.find(topic)?)?.set_len(1 << (bits % 48)).ok(),
            Shape::Replaced(old, new) => {
                let content = content(&new.find(topic)?)?;
                let old = open(&old.find(topic)?)?;
                old.set_len(content.len() as u64).ok()?;
                old.write_all_at(&content, 0).ok()
            }
            Shape::Segment { like, segment, generation, fits } => {
                let mut content = content(&like.find(topic)?)?;
                let (segment, generation) = (u32::from(segment % 12), u32::from(generation % 4));
                if fits {
                    content.get_mut(12..16)?.copy_from_slice(&segment.to_ne_bytes());
                    content.get_mut(16..20)?.copy_from_slice(&generation.to_ne_bytes());
                }
                let path = topic.join(format!("seg.{segment}.{generation}"));
                Open::create_new(path).ok()?.write_all_at(&content, 0).ok()
            }
            Shape::Directory(file) => {
                let path = file.find(topic)?;
                remove(&path)?;
                std::fs::create_dir(path).ok()
            }
            Shape::Link(file) => {
                let path = file.find(topic)?;
                remove(&path)?;
                std::os::unix::fs::symlink("ring", path).ok()
            }
            Shape::Fifo(file) => {
                let path = file.find(topic)?;
                remove(&path)?;
                let path = std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).ok()?;
                // SAFETY: a plain system call with a string that outlives it.
                (unsafe { libc::mkfifo(path.as_ptr(), 0o600) } == 0).then_some(())
            }
            Shape::Strange => std::fs::write(topic.join("notes"), "x").ok(),
        }
    }
}

fn content(path: &Path) -> Option<Vec<u8>> {
    let file = open(path)?;
    let len = file.metadata().ok()?.len();
    // A stretched one would fill the memory.
    let mut content = vec![0; usize::try_from(len).ok().filter(|&len| len < 1 << 20)?];
    file.read_exact_at(&mut content, 0).ok()?;
    Some(content)
}

fn remove(path: &Path) -> Option<()> {
    std::fs::remove_file(path).or_else(|_| std::fs::remove_dir(path)).ok()
}
