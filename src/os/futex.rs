// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sleeping on a word of shared memory, across processes (futex(2), without FUTEX_PRIVATE_FLAG).

use std::sync::atomic::AtomicU32;
use std::time::Duration;

use crate::crash::point;
use crate::sync::Word;
use rustix::thread::futex;

/// The half of `word` that counts: a futex is 32 bits wide.
fn low_half(word: &Word) -> &AtomicU32 {
    let offset = usize::from(cfg!(target_endian = "big"));
    // SAFETY: a Word is eight aligned bytes, of which this is one aligned half; the futex call only compares it.
    unsafe { &*std::ptr::from_ref(word).cast::<AtomicU32>().add(offset) }
}

/// Sleeps until woken, at most for `timeout`, unless the low half of `word` isn't that of `expected` any more.
/// Returns early for signals too: the caller looks again in any case.
pub(crate) fn wait(word: &Word, expected: u64, timeout: Duration) {
    let timeout = futex::Timespec {
        tv_sec: timeout.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    };
    let _ = futex::wait(low_half(word), futex::Flags::empty(), expected as u32, Some(&timeout));
}

/// Wakes everybody who sleeps on `word`.
#[cfg_attr(feature = "crash-points", track_caller)]
pub(crate) fn wake_all(word: &Word) {
    point();
    let _ = futex::wake(low_half(word), futex::Flags::empty(), i32::MAX as u32);
}
