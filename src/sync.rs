// SPDX-License-Identifier: MIT OR Apache-2.0
//! The words of shared memory, on atomics from std or, under `--cfg loom`, from loom; and the barriers of the protocol.
//!
//! Loom treats SeqCst *accesses* as AcqRel and models only `fence(SeqCst)`, so the places where the
//! protocol needs a store ordered before a later load have a name here and a fence under loom.

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{fence, AtomicU64, Ordering};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{fence, AtomicU64, Ordering};

use crate::crash;

/// A word of shared memory: an atomic of which each write is a crash point (`crash.rs`).
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Word(AtomicU64);

/// Writes nothing to shared memory but through one of these.
macro_rules! writes {
    ($($(#[$doc:meta])* $name:ident($($argument:ident: $kind:ty),*) $(-> $result:ty)?;)*) => {
        $($(#[$doc])*
        #[inline(always)]
        #[cfg_attr(feature = "crash-points", track_caller)]
        pub(crate) fn $name(&self, $($argument: $kind),*) $(-> $result)? {
            crash::point();
            self.0.$name($($argument),*)
        })*
    };
}

impl Word {
    /// A word that is nobody else's, for tests.
    #[cfg(test)]
    pub(crate) fn new(value: u64) -> Self {
        Word(AtomicU64::new(value))
    }

    #[inline(always)]
    pub(crate) fn load(&self, order: Ordering) -> u64 {
        self.0.load(order)
    }

    /// Starts to bring the word into the cache, to be written.
    #[inline(always)]
    pub(crate) fn fetch_to_write(&self) {
        fetch_line_to_write(std::ptr::from_ref(self).cast());
    }

    writes! {
        store(value: u64, order: Ordering);
        swap(value: u64, order: Ordering) -> u64;
        compare_exchange(old: u64, new: u64, success: Ordering, failure: Ordering) -> Result<u64, u64>;
        fetch_add(value: u64, order: Ordering) -> u64;
        fetch_and(value: u64, order: Ordering) -> u64;
        fetch_or(value: u64, order: Ordering) -> u64;
        fetch_max(value: u64, order: Ordering) -> u64;
    }
}

/// Loads with acquire semantics from memory that may be mapped read-only.
///
/// std promises that a *Relaxed* load of a word works on read-only memory and says nothing of stronger ones
/// ("Atomic accesses to read-only memory" in `std::sync::atomic`), hence the fence of its own. On x86-64 both are
/// one plain `mov`. ThreadSanitizer knows nothing of fences, hence its own way.
#[inline]
pub(crate) fn load_acquire(word: &Word) -> u64 {
    if cfg!(shm_tsan) {
        return word.load(Ordering::Acquire);
    }
    let value = word.load(Ordering::Relaxed);
    fence(Ordering::Acquire);
    value
}

/// Stores `value` with release semantics and orders the store before every later load of this thread (a full barrier).
///
/// Release, because a hold word goes from one chunk to the next: who reads the second must be ordered after the
/// release of the first (H2), though its own store is the one it reads.
///
/// x86-64: one `xchg` (2 ns), whose bus lock is the full barrier; `mfence` after a `mov` costs several times that.
/// The SeqCst `swap` also takes part in the single total order that I3 argues with; the load that follows
/// is kept behind it by the compiler fence. Elsewhere the store and the fence are spelled out.
#[inline]
#[cfg_attr(feature = "crash-points", track_caller)]
pub(crate) fn store_then_barrier(word: &Word, value: u64) {
    #[cfg(all(target_arch = "x86_64", not(loom), not(miri)))]
    {
        word.swap(value, Ordering::SeqCst);
        std::sync::atomic::compiler_fence(Ordering::SeqCst);
    }
    #[cfg(not(all(target_arch = "x86_64", not(loom), not(miri))))]
    {
        word.store(value, Ordering::Release);
        fence(Ordering::SeqCst);
    }
}

/// Orders the SeqCst read-modify-write just done before the SeqCst load that follows.
///
/// In the memory model of C++20 and Rust the two accesses are ordered by themselves; only loom needs to be told.
#[inline]
pub(crate) fn barrier_after_rmw() {
    #[cfg(loom)]
    fence(Ordering::SeqCst);
}

/// What the models have in place of `os/futex.rs`. Whoever sleeps and isn't woken goes on for ever here, which loom reports.
#[cfg(loom)]
pub(crate) mod futex {
    use super::{Ordering, Word};

    pub(crate) fn wait(word: &Word, expected: u64, _: std::time::Duration) {
        while word.load(Ordering::Relaxed) == expected {
            loom::thread::yield_now();
        }
    }

    pub(crate) fn wake_all(_: &Word) {}
}

/// Asks for the line at `address`. No effect that the program could see, whatever the address.
#[inline(always)]
pub(crate) fn fetch_line(address: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch of any address is harmless.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: as above; nothing is written, no flags change.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{}]", in(reg) address, options(readonly, nostack, preserves_flags));
    }
    #[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
    let _ = address;
}

/// The same for a line that is about to be written: a later store or read-modify-write needn't wait for others to give it up.
#[inline(always)]
pub(crate) fn fetch_line_to_write(address: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch of any address is harmless; processors that don't know this one ignore it.
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) address, options(readonly, nostack, preserves_flags));
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!("prfm pstl1keep, [{}]", in(reg) address, options(readonly, nostack, preserves_flags));
    }
    #[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
    let _ = address;
}

#[cfg(all(test, not(loom), not(miri)))]
mod tests {
    use super::*;

    /// What loom can't see is what the processor makes of `store_then_barrier`: two threads each write a word of their own and then read the
    /// other's. Without a full barrier in between both may read the old value (store buffering).
    #[test]
    fn the_store_comes_before_later_loads_on_this_machine() {
        const ROUNDS: u64 = 100_000;
        let words = [Word::new(0), Word::new(0)];
        let seen = [Word::new(0), Word::new(0)];
        let round = Word::new(0);
        let play = |me: usize| {
            for now in 1..=ROUNDS {
                // Both start at once, and neither before the other has judged the last round.
                round.fetch_add(1, Ordering::SeqCst);
                while round.load(Ordering::SeqCst) < 2 * now {
                    std::hint::spin_loop();
                }
                store_then_barrier(&words[me], now);
                let other = words[1 - me].load(Ordering::Relaxed);
                seen[me].store(now << 1 | u64::from(other == now), Ordering::Release);
                let theirs = loop {
                    let theirs = seen[1 - me].load(Ordering::Acquire);
                    if theirs >> 1 >= now {
                        break theirs;
                    }
                    std::hint::spin_loop();
                };
                // The other may be a round further on already, which is its affair.
                let both_missed = other < now && theirs == now << 1;
                assert!(!both_missed, "round {now}: each missed the other's store");
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| play(0));
            play(1);
        });
    }
}
