// SPDX-License-Identifier: MIT OR Apache-2.0
//! Atomics from std or, under `--cfg loom`, from loom; and the two barriers of the protocol.
//!
//! Loom treats SeqCst *accesses* as AcqRel and models only `fence(SeqCst)`, so the places where the
//! protocol needs a store ordered before a later load have a name here and a fence under loom.

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{fence, AtomicU64, Ordering};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{fence, AtomicU64, Ordering};

/// Loads with acquire semantics from memory that may be mapped read-only.
///
/// std promises that a *Relaxed* load of a word works on read-only memory and says nothing of stronger ones
/// ("Atomic accesses to read-only memory" in `std::sync::atomic`), hence the fence of its own. On x86-64 both are
/// one plain `mov`.
#[inline]
pub(crate) fn load_acquire(word: &AtomicU64) -> u64 {
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
pub(crate) fn store_then_barrier(word: &AtomicU64, value: u64) {
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
