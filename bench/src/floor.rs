// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the machine itself costs: a cache line from core to core, bytes from buffer to buffer, a process woken.
//!
//! Nothing that passes messages between processes is faster than these, so they are what others are held to.

use std::fs::OpenOptions;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use memmap2::{MmapMut, MmapOptions};
use rustix::thread::futex;

use crate::room::Room;
use crate::Result;

const PAGE: usize = 4096;
/// Two lines: the prefetcher of many CPUs fetches a line's neighbour with it.
const APART: usize = 128;

/// A page that two sides share: words, each on a line of its own.
pub struct Cells(MmapMut);

impl Cells {
    /// Maps the page called `name`, made by whoever comes first and zero at first.
    pub fn open(room: &Room, name: &str) -> Result<Cells> {
        Ok(Cells(map(room, name, PAGE)?))
    }

    pub fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < PAGE / APART);
        // SAFETY: in bounds and aligned by the assertion, mapped as long as `self`, only accessed as an atomic.
        unsafe { &*self.0.as_ptr().add(index * APART).cast::<AtomicU64>() }
    }

    /// The word that `sleep_until_changed` and `wake` use: not one of the others.
    fn bell(&self) -> &AtomicU32 {
        // SAFETY: as in `word`; the last line of the page, 32 bits of it.
        unsafe { &*self.0.as_ptr().add(PAGE - APART).cast::<AtomicU32>() }
    }

    /// Hands the numbers after `from` over and gets each one back, through one line a direction. The values
    /// are the message, so that relaxed accesses suffice: there is nothing behind them to be ordered.
    pub fn serve(&self, from: u64, count: u64, mut each: impl FnMut()) {
        let (there, back) = (self.word(0), self.word(1));
        for number in from + 1..=from + count {
            there.store(number, Ordering::Relaxed);
            while back.load(Ordering::Relaxed) != number {}
            each();
        }
    }

    /// The other side of `serve`.
    pub fn give_back(&self, from: u64, count: u64) {
        let (there, back) = (self.word(0), self.word(1));
        for number in from + 1..=from + count {
            while there.load(Ordering::Relaxed) != number {}
            back.store(number, Ordering::Relaxed);
        }
    }

    /// How often the bell was rung.
    pub fn rings(&self) -> u32 {
        self.bell().load(Ordering::Acquire)
    }

    pub fn wake(&self) -> Result<()> {
        self.bell().fetch_add(1, Ordering::Release);
        futex::wake(self.bell(), futex::Flags::empty(), 1)?;
        Ok(())
    }

    /// Sleeps until the bell was rung more than `rings` times.
    pub fn sleep_beyond(&self, rings: u32) {
        while self.rings() == rings {
            // Spurious and interrupted waits come round again.
            let _ = futex::wait(self.bell(), futex::Flags::empty(), rings, None);
        }
    }
}

/// Buffers in shared memory to copy into and out of, used in turn as a ring of messages uses its chunks.
pub struct Buffers {
    memory: MmapMut,
    count: usize,
    stride: usize,
    next: usize,
    taken: usize,
}

impl Buffers {
    pub fn new(room: &Room, name: &str, count: usize, size: usize) -> Result<Buffers> {
        let stride = size.next_multiple_of(APART) + APART;
        let mut memory = map(room, name, count * stride)?;
        memory.fill(1); // no page fault is left for the measurement
        Ok(Buffers { memory, count, stride, next: 0, taken: 0 })
    }

    /// Copies `source` into the next buffer.
    pub fn put(&mut self, source: &[u8]) {
        self.memory[self.next * self.stride..][..source.len()].copy_from_slice(source);
        self.next = (self.next + 1) % self.count;
    }

    /// Copies the buffer that was filled first out of the last `depth`, and then the ones after it.
    pub fn get(&mut self, depth: usize, target: &mut [u8]) {
        let index = (self.next + self.count - depth + self.taken) % self.count;
        target.copy_from_slice(&self.memory[index * self.stride..][..target.len()]);
        self.taken = (self.taken + 1) % depth;
    }
}

/// A file of the room, zero at first where it is new.
pub fn map(room: &Room, name: &str, size: usize) -> Result<MmapMut> {
    let path = room.path().join(name);
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    file.set_len(size as u64)?;
    // SAFETY: the file lies in the run's own directory and nobody ever shrinks it.
    Ok(unsafe { MmapOptions::new().len(size).map_mut(&file)? })
}
