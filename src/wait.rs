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
//! Publishers that wait for reliable subscribers (`ring/gate.rs`) sleep in the same way, on words of their own:
//!
//! ```text
//!   publisher                                 reliable subscriber
//!       w = gate_wakes                        G2  cursor = next, full barrier
//!   G3  waiting = 1 (SeqCst), fence               waiting == 0? no system call
//!       look at the gate: still shut?             take it: swap 0 (SeqCst)
//!       futex_wait(gate_wakes, w)                 gate_wakes += 1 (SeqCst), futex_wake(gate_wakes)
//! ```
//!
//! Before each sleep the publisher sees whether those that it waits for are alive; its sleeps are short enough to find them dead soon.
//! A service has no gate: there clients that wait for room in the queue (`rpc/queue.rs`) sleep on these words, and a server that takes a
//! request wakes them.
//!
//! A blocked hand-off costs some 25 us, a spun one 0.1 us, but spinning takes a core from others. How long to spin is
//! learnt: longer when a message came while spinning, shorter when the sleep was needed anyhow.

use std::time::{Duration, Instant};

use crate::error::Result;
use crate::ring::{gate, Gates, Limit};
pub(crate) use crate::sleep::{say_that_one_waits, sleep_until, wake_gate, wake_one};
use crate::sleep::{sleep_together, wake_any};
use crate::sync::{store_then_barrier, Word};
use crate::topic::Topic;

/// Bounds every sleep, so that a wake that was never sent costs no more than this.
const LONGEST_SLEEP: Duration = Duration::from_millis(50);
/// The same for a publisher at the gate, who also finds out that whom it waits for is dead.
const LONGEST_SLEEP_AT_GATE: Duration = Duration::from_millis(10);
/// Looks at the gate before the first sleep, each at all participants: some 10 us.
const LOOKS_AT_GATE: u32 = 100;
/// Sleeps in vain between two looks for dead participants: about a second.
const SLEEPS_PER_LOOK: u32 = 20;
/// Looks at the slot while spinning: some 2 us to 100 us.
const SPIN: std::ops::RangeInclusive<u32> = 64..=4096;

/// How long to spin, learnt from what came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spin(u32);

impl Spin {
    pub(crate) fn new() -> Self {
        Spin(1024)
    }

    /// Looks for a while whether it is `ready`.
    #[inline]
    pub(crate) fn until(&mut self, ready: impl Fn() -> bool) -> bool {
        for _ in 0..self.0 {
            if ready() {
                self.0 = (self.0 * 2).min(*SPIN.end());
                return true;
            }
            std::hint::spin_loop();
        }
        self.0 = (self.0 / 2).max(*SPIN.start());
        false
    }
}

/// One subscriber's way of waiting.
#[derive(Debug)]
pub(crate) struct Waiter {
    spin: Spin,
    vain_sleeps: u32,
}

impl Waiter {
    pub(crate) fn new() -> Self {
        Waiter { spin: Spin::new(), vain_sleeps: 0 }
    }

    /// Waits until position `next` is filled (true) or `deadline` has passed (false).
    pub(crate) fn wait(&mut self, topic: &Topic, next: u64, deadline: Option<Instant>) -> bool {
        let ring = topic.ring();
        if self.spin.until(|| ring.is_filled(next)) {
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
}

/// Sleeps once; true when `next` is filled afterwards.
fn sleep(topic: &Topic, next: u64, longest: Duration) -> bool {
    sleep_until(own_bit(topic), topic.wakes(), longest, || topic.ring().is_filled(next))
}

/// The participant's own waiter bit, and its word.
pub(crate) fn own_bit(topic: &Topic) -> (&Word, u64) {
    (&topic.waiters()[topic.index() as usize / 64], 1 << (topic.index() % 64))
}

/// A publisher's side, to be called after each publish: wakes whoever sleeps. No system call when nobody does.
#[inline(always)]
pub(crate) fn wake(topic: &Topic) {
    wake_any(topic.waiters(), topic.wakes());
}

/// A reliable subscriber's side of the gate, when it has read all before `next`: says so, and wakes the publishers that wait for it.
#[inline]
#[cfg_attr(feature = "crash-points", track_caller)]
pub(crate) fn pass_gate(topic: &Topic, next: u64) {
    // G2.
    store_then_barrier(topic.cursor(), next);
    wake_gate(topic.gate_waiting(), topic.gate_wakes());
}

/// Whether the gate is open for the next message.
fn is_open(topic: &Topic, limit: &Limit) -> bool {
    limit.admits(topic.ring(), topic, topic.ring().end())
}

/// Waits until the gate is open (true) or `deadline` has passed (false). Recovers those that it finds dead.
pub(crate) fn wait_at_gate(topic: &Topic, limit: &Limit, deadline: Option<Instant>) -> Result<bool> {
    for _ in 0..LOOKS_AT_GATE {
        if is_open(topic, limit) {
            return Ok(true);
        }
        std::hint::spin_loop();
    }
    // A look after each sleep, before it says again that it waits: what is read next needn't wake anybody then.
    while !is_open(topic, limit) {
        recover_gating(topic)?;
        let left = match deadline {
            None => LONGEST_SLEEP_AT_GATE,
            Some(deadline) => deadline.saturating_duration_since(Instant::now()),
        };
        if left.is_zero() {
            return Ok(is_open(topic, limit));
        }
        sleep_at_gate(topic, left.min(LONGEST_SLEEP_AT_GATE), || is_open(topic, limit));
    }
    Ok(true)
}

/// Sleeps once until somebody opens the gate, or makes room in a service's queue, unless it is `open`.
pub(crate) fn sleep_at_gate(topic: &Topic, longest: Duration, open: impl Fn() -> bool) {
    sleep_together(topic.gate_waiting(), topic.gate_wakes(), longest, open);
}

/// Recovers the dead among those that keep the gate shut: a system call each.
fn recover_gating(topic: &Topic) -> Result<()> {
    let (ring, position) = (topic.ring(), topic.ring().end());
    let mut gating = Vec::new();
    topic.each_gate(|gated| {
        if gate::gates_at(ring, gated, position) && position.saturating_sub(gated.cursor) >= ring.capacity() {
            gating.push(gated.participant);
        }
    });
    for participant in gating {
        topic.recover_if_dead(participant)?;
    }
    Ok(())
}
