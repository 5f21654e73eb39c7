// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sleeping and waking, as far as it is about words: P1 and P2 of `wait.rs`, apart from it so that the models run them.

use std::time::Duration;

#[cfg(not(loom))]
use crate::os::futex;
#[cfg(loom)]
use crate::sync::futex;
use crate::sync::{barrier_after_rmw, fence, store_then_barrier, Ordering, Word};

/// P1: what is looked at after this, and isn't seen, will be followed by a wake.
pub(crate) fn say_that_one_waits(word: &Word, bit: u64) {
    word.fetch_or(bit, Ordering::SeqCst);
    fence(Ordering::SeqCst);
}

/// Sleeps once on `wakes`, with `bit` set, unless it is `ready`; whether it is afterwards.
pub(crate) fn sleep_until(
    (word, bit): (&Word, u64),
    wakes: &Word,
    longest: Duration,
    ready: impl Fn() -> bool,
) -> bool {
    // Acquire: stays before P1.
    let seen = wakes.load(Ordering::Acquire);
    say_that_one_waits(word, bit);
    if !ready() {
        futex::wait(wakes, seen, longest);
    }
    // Relaxed: if nobody took it, a waker that still sees it makes one needless system call.
    word.fetch_and(!bit, Ordering::Relaxed);
    ready()
}

/// The other side of [`sleep_until`] for one sleeper, after what it waits for was done by a SeqCst read-modify-write.
#[inline]
pub(crate) fn wake_one((word, bit): (&Word, u64), wakes: &Word) {
    barrier_after_rmw();
    // P2.
    if word.load(Ordering::SeqCst) & bit != 0 {
        take_one_and_wake(word, bit, wakes);
    }
}

#[cold]
#[inline(never)]
fn take_one_and_wake(word: &Word, bit: u64, wakes: &Word) {
    // What else the word says isn't the waker's.
    if word.fetch_and(!bit, Ordering::SeqCst) & bit != 0 {
        wakes.fetch_add(1, Ordering::SeqCst);
        futex::wake_all(wakes);
    }
}

/// The same for all that sleep on `wakes`, each with a bit of its own in `bits`.
#[inline(always)]
pub(crate) fn wake_any(bits: &[Word], wakes: &Word) {
    barrier_after_rmw();
    // P2.
    if bits.iter().any(|word| word.load(Ordering::SeqCst) != 0) {
        take_and_wake(bits, wakes);
    }
}

#[cold]
#[inline(never)]
fn take_and_wake(bits: &[Word], wakes: &Word) {
    let mut taken = 0;
    for word in bits {
        if word.load(Ordering::Relaxed) != 0 {
            taken |= word.swap(0, Ordering::SeqCst);
        }
    }
    if taken != 0 {
        wakes.fetch_add(1, Ordering::SeqCst);
        futex::wake_all(wakes);
    }
}

/// Sleeps once on `wakes`, having said in `waiting`, which all who do share, that somebody sleeps, unless it is `open` (G3).
pub(crate) fn sleep_together(waiting: &Word, wakes: &Word, longest: Duration, open: impl Fn() -> bool) {
    // Acquire: stays before G3.
    let seen = wakes.load(Ordering::Acquire);
    // G3.
    store_then_barrier(waiting, 1);
    if !open() {
        futex::wait(wakes, seen, longest);
    }
}

/// Wakes the publishers that wait at the gate, or the clients that wait for room in the queue, if there are any. After what they wait for was
/// done with a barrier behind it.
#[inline]
pub(crate) fn wake_gate(waiting: &Word, wakes: &Word) {
    if waiting.load(Ordering::SeqCst) != 0 {
        take_and_wake(std::slice::from_ref(waiting), wakes);
    }
}
