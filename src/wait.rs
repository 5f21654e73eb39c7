// SPDX-License-Identifier: MIT OR Apache-2.0
//! Waiting for a message: spin a while, then sleep on the ring's tail; and the publisher's side, waking.
//!
//! ```text
//!   sleeper                                   publisher
//!       w = wakes                             W1  slot CAS (SeqCst)
//!   P1  set own waiter bit (SeqCst), fence    P2  read the waiter bits (SeqCst): none set? no system call
//!       read the slot: still empty?               take them: swap 0 (SeqCst)
//!       futex_wait(wakes, w), at most 50 ms       wakes += 1 (SeqCst), futex_wake(wakes)
//! ```
//!
//! If the sleeper's look at the slot misses W1, its fence comes before W1 in the single total order, so P2 sees the bit. Whoever takes
//! the bit counts it in `wakes` afterwards: the sleeper read `w` before it set the bit, so either its `futex_wait` finds another number
//! and returns at once, or it sleeps before the count and the wake reaches it. A bit that is set after the swap stays for the next
//! publisher; it belongs to a sleeper that looks at the slot after W1.
//!
//! The bits are taken, not left to the sleepers, so a burst pays for one wake and not for as many as it takes a sleeper to get
//! up; a sleeper that is stopped or dead costs nothing more. A publisher killed between W1 and its wake costs at most the bounded
//! sleep.
//!
//! A blocked hand-off costs some 25 us, a spun one 0.1 us, but spinning takes a core from others. How long to spin is
//! learnt: longer when a message came while spinning, shorter when the sleep was needed anyhow.

use std::time::{Duration, Instant};

use crate::os::futex;
use crate::sync::{barrier_after_rmw, fence, Ordering};
use crate::topic::Topic;

/// Bounds every sleep, so that a wake that was never sent costs no more than this.
const LONGEST_SLEEP: Duration = Duration::from_millis(50);
/// Sleeps in vain between two looks for dead participants: about a second.
const SLEEPS_PER_LOOK: u32 = 20;
/// Looks at the slot while spinning: some 2 us to 100 us.
const SPIN: std::ops::RangeInclusive<u32> = 64..=4096;

/// One subscriber's way of waiting.
#[derive(Debug)]
pub(crate) struct Waiter {
    spin: u32,
    vain_sleeps: u32,
}

impl Waiter {
    pub(crate) fn new() -> Self {
        Waiter { spin: 1024, vain_sleeps: 0 }
    }

    /// Waits until position `next` is filled (true) or `deadline` has passed (false).
    pub(crate) fn wait(&mut self, topic: &Topic, next: u64, deadline: Option<Instant>) -> bool {
        if self.spin_for(topic, next) {
            return true;
        }
        loop {
            let left = match deadline {
                None => LONGEST_SLEEP,
                Some(deadline) => deadline.saturating_duration_since(Instant::now()),
            };
            if left.is_zero() {
                return topic.ring().is_filled(next);
            }
            if sleep(topic, next, left.min(LONGEST_SLEEP)) {
                self.vain_sleeps = 0;
                return true;
            }
            self.vain_sleeps += 1;
            if self.vain_sleeps.is_multiple_of(SLEEPS_PER_LOOK) {
                // A failure here is the next looker's to report.
                let _ = topic.recover_neighbour();
            }
        }
    }

    fn spin_for(&mut self, topic: &Topic, next: u64) -> bool {
        let ring = topic.ring();
        for _ in 0..self.spin {
            if ring.is_filled(next) {
                self.spin = (self.spin * 2).min(*SPIN.end());
                return true;
            }
            std::hint::spin_loop();
        }
        self.spin = (self.spin / 2).max(*SPIN.start());
        false
    }
}

/// Sleeps once; true when `next` is filled afterwards.
fn sleep(topic: &Topic, next: u64, longest: Duration) -> bool {
    let (word, bit) = (&topic.waiters()[topic.index() as usize / 64], 1 << (topic.index() % 64));
    // Acquire: stays before P1.
    let wakes = topic.wakes().load(Ordering::Acquire);
    // P1.
    word.fetch_or(bit, Ordering::SeqCst);
    fence(Ordering::SeqCst);
    let ring = topic.ring();
    if !ring.is_filled(next) {
        futex::wait(topic.wakes(), wakes, longest);
    }
    // Relaxed: if nobody took it, a publisher that still sees it makes one needless system call.
    word.fetch_and(!bit, Ordering::Relaxed);
    ring.is_filled(next)
}

/// A publisher's side, to be called after each publish: wakes whoever sleeps. No system call when nobody does.
#[inline(always)]
pub(crate) fn wake(topic: &Topic) {
    barrier_after_rmw();
    // P2.
    if topic.waiters().iter().any(|word| word.load(Ordering::SeqCst) != 0) {
        wake_slow(topic);
    }
}

#[cold]
#[inline(never)]
fn wake_slow(topic: &Topic) {
    let mut taken = 0;
    for word in topic.waiters() {
        if word.load(Ordering::Relaxed) != 0 {
            taken |= word.swap(0, Ordering::SeqCst);
        }
    }
    if taken != 0 {
        topic.wakes().fetch_add(1, Ordering::SeqCst);
        futex::wake_all(topic.wakes());
    }
}
