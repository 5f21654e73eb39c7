// SPDX-License-Identifier: MIT OR Apache-2.0
//! 16 bytes at once. There are no intrinsics for stores past the caches.

use core::arch::aarch64::*;

use super::LINE;

/// # Safety
/// The CPU has NEON; `len` is at least `LINE`, `src` can be read and `dst` written for `len` bytes, and they don't overlap.
#[target_feature(enable = "neon")]
pub(super) unsafe fn copy(dst: *mut u8, src: *const u8, len: usize) {
    // SAFETY: `at` plus a line never exceeds `len`; the last line, which may overlap the one before, ends there.
    unsafe {
        let mut at = 0;
        while len - at > LINE {
            line(dst.add(at), src.add(at));
            at += LINE;
        }
        line(dst.add(len - LINE), src.add(len - LINE));
    }
}

/// # Safety
/// As for `copy`, for a line.
#[target_feature(enable = "neon")]
#[inline]
unsafe fn line(dst: *mut u8, src: *const u8) {
    // SAFETY: the four vectors are the line.
    unsafe {
        let (a, b) = (vld1q_u8(src), vld1q_u8(src.add(16)));
        let (c, d) = (vld1q_u8(src.add(32)), vld1q_u8(src.add(48)));
        vst1q_u8(dst, a);
        vst1q_u8(dst.add(16), b);
        vst1q_u8(dst.add(32), c);
        vst1q_u8(dst.add(48), d);
    }
}
