// SPDX-License-Identifier: MIT OR Apache-2.0
//! A few words shared by the processes of a test, beside the library: barriers tighter than a pipe's, and results.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::MmapRaw;

/// Words that a file keeps.
pub struct Shared {
    map: MmapRaw,
}

const WORDS: usize = 64;
/// The word that counts arrivals.
const BARRIER: usize = WORDS - 1;
/// Set by a party that failed, for which nobody should wait.
const FAILED: usize = WORDS - 2;

impl Shared {
    pub fn open(path: &Path) -> Shared {
        let file =
            std::fs::File::options().create(true).truncate(false).read(true).write(true).open(path).unwrap();
        file.set_len(WORDS as u64 * 8).unwrap();
        Shared { map: MmapRaw::map_raw(&file).unwrap() }
    }

    pub fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < WORDS);
        // SAFETY: inside the mapping, which is page-aligned and lives as long as `self`; all use it as atomics.
        unsafe { &*self.map.as_mut_ptr().cast::<AtomicU64>().add(index) }
    }

    pub fn set(&self, index: usize, value: u64) {
        self.word(index).store(value, Ordering::SeqCst);
    }

    pub fn add(&self, index: usize, by: u64) {
        self.word(index).fetch_add(by, Ordering::SeqCst);
    }

    pub fn get(&self, index: usize) -> u64 {
        self.word(index).load(Ordering::SeqCst)
    }

    /// Waits until `parties` processes have called this equally often. Yields, since cores are few.
    pub fn meet(&self, parties: u64) {
        let arrived = self.word(BARRIER).fetch_add(1, Ordering::SeqCst) + 1;
        let all = arrived.next_multiple_of(parties);
        while self.get(BARRIER) < all {
            assert_eq!(self.get(FAILED), 0, "the other one failed");
            std::thread::yield_now();
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.set(FAILED, 1);
        }
    }
}

/// Passes a little time in which others may get ahead, so that over many rounds they meet everywhere.
pub fn dawdle(turns: u64) {
    for _ in 0..turns {
        std::hint::spin_loop();
    }
}
