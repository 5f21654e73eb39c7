// SPDX-License-Identifier: MIT OR Apache-2.0
//! A word at a time, for any machine: what the others are better than.

const WORD: usize = size_of::<u64>();

/// # Safety
/// `src` can be read and `dst` written for `len` bytes, and they don't overlap.
pub(super) unsafe fn copy(dst: *mut u8, src: *const u8, len: usize) {
    let words = len / WORD;
    // SAFETY: the words and the bytes after them are the `len` bytes.
    unsafe {
        for at in (0..words).map(|word| word * WORD) {
            dst.add(at).cast::<u64>().write_unaligned(src.add(at).cast::<u64>().read_unaligned());
        }
        for at in words * WORD..len {
            dst.add(at).write(src.add(at).read());
        }
    }
}
