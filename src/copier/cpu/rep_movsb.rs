// SPDX-License-Identifier: MIT OR Apache-2.0
//! One instruction, whose microcode picks the way.

/// # Safety
/// `src` can be read and `dst` written for `len` bytes, and they don't overlap.
pub(super) unsafe fn copy(dst: *mut u8, src: *const u8, len: usize) {
    // SAFETY: the instruction touches `len` bytes upwards from both pointers: the direction flag is clear where asm! begins.
    unsafe {
        core::arch::asm!(
            "rep movsb",
            inout("rcx") len => _,
            inout("rdi") dst => _,
            inout("rsi") src => _,
            options(nostack, preserves_flags)
        );
    }
}
