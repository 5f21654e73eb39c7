// SPDX-License-Identifier: MIT OR Apache-2.0
//! Copiers of the process's own memory.

use std::alloc::Layout;

use super::{CpuCopy, ParallelCopy, LINE};
use crate::copier::Copier;
use crate::error::{Error, Result};

/// Where what they allocate begins: at a cache line. Nothing takes a byte.
fn layout(size: usize) -> Result<Layout> {
    Layout::from_size_align(size.max(1), LINE).map_err(|_| out_of_memory(size))
}

fn out_of_memory(size: usize) -> Error {
    Error::copier("alloc", 0, format!("no memory for {size} bytes"))
}

fn alloc(size: usize) -> Result<*mut u8> {
    // SAFETY: a layout's size isn't 0.
    let memory = unsafe { std::alloc::alloc(layout(size)?) };
    if memory.is_null() {
        return Err(out_of_memory(size));
    }
    Ok(memory)
}

/// # Safety
/// `alloc` gave it for `size` bytes, and it isn't used afterwards.
unsafe fn dealloc(memory: *mut u8, size: usize) -> Result<()> {
    // SAFETY: the caller's.
    unsafe { std::alloc::dealloc(memory, layout(size)?) };
    Ok(())
}

macro_rules! copier {
    ($($kind:ty),*) => {$(
        /// Of the process's own memory, which it aligns to 64.
        // SAFETY: it copies all of the bytes, and nothing beyond them.
        unsafe impl Copier for $kind {
            fn alloc(&self, size: usize) -> Result<*mut u8> {
                alloc(size)
            }

            unsafe fn dealloc(&self, memory: *mut u8, size: usize) -> Result<()> {
                // SAFETY: the caller's.
                unsafe { dealloc(memory, size) }
            }

            unsafe fn shm_to_user(&self, to: *mut u8, from: &[u8]) -> Result<()> {
                // SAFETY: the caller's; nobody else uses `to`, so it isn't in the message.
                unsafe { self.copy(to, from.as_ptr(), from.len()) };
                Ok(())
            }

            unsafe fn user_to_shm(&self, to: &mut [u8], from: *const u8) -> Result<()> {
                // SAFETY: the caller's; the loan is nobody else's, so `from` isn't in it.
                unsafe { self.copy(to.as_mut_ptr(), from, to.len()) };
                Ok(())
            }
        }
    )*};
}

copier!(CpuCopy, ParallelCopy);
