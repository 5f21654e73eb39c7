// SPDX-License-Identifier: MIT OR Apache-2.0
//! From C's pointers to Rust's references: the checks that every entry makes the same way.

use super::error::Failure;
use crate::Error;
use std::ffi::{c_char, c_void, CStr};
use std::ptr::NonNull;

/// The handle or struct behind a pointer that must not be NULL.
///
/// # Safety
/// NULL, or C1 and C2 hold for `pointer` as long as the reference lives.
#[inline]
pub(super) unsafe fn required<'a, T>(pointer: *const T, argument: &'static str) -> Result<&'a T, Failure> {
    // SAFETY: the caller's.
    unsafe { pointer.as_ref() }.ok_or_else(|| Failure::null(argument))
}

/// The same, to change it.
///
/// # Safety
/// NULL, or C1 and C3 hold for `pointer` as long as the reference lives.
#[inline]
pub(super) unsafe fn required_mut<'a, T>(
    pointer: *mut T,
    argument: &'static str,
) -> Result<&'a mut T, Failure> {
    // SAFETY: the caller's.
    unsafe { pointer.as_mut() }.ok_or_else(|| Failure::null(argument))
}

/// The place of an output that must not be NULL.
#[inline]
pub(super) fn output<T>(place: *mut T, argument: &'static str) -> Result<NonNull<T>, Failure> {
    NonNull::new(place).ok_or_else(|| Failure::null(argument))
}

/// Writes an output that the caller may not want.
///
/// # Safety
/// NULL, or C2 holds for `place`.
#[inline]
pub(super) unsafe fn write_wanted<T>(place: *mut T, value: T) {
    if let Some(place) = NonNull::new(place) {
        // SAFETY: the caller's.
        unsafe { place.write(value) }
    }
}

/// The bytes to publish or to send. `data` may be NULL when there are none.
///
/// # Safety
/// NULL, or C2 holds for the `size` bytes at `data` as long as the slice lives.
#[inline]
pub(super) unsafe fn bytes<'a>(data: *const c_void, size: usize) -> Result<&'a [u8], Failure> {
    if size == 0 {
        return Ok(&[]);
    }
    if size > isize::MAX as usize {
        return Err(Error::TooLarge { wanted: size as u64, limit: isize::MAX as u64 }.into());
    }
    let data = output(data.cast_mut(), "data")?;
    // SAFETY: the caller's; `size` is within what a slice can have.
    Ok(unsafe { std::slice::from_raw_parts(data.as_ptr().cast(), size) })
}

/// The bytes to copy to. `data` may be NULL when there are none.
///
/// # Safety
/// NULL, or C2 holds for the `size` bytes at `data`, which nobody else uses as long as the slice lives.
pub(super) unsafe fn bytes_mut<'a>(data: *mut c_void, size: usize) -> Result<&'a mut [u8], Failure> {
    // SAFETY: the caller's.
    let checked = unsafe { bytes(data, size)? };
    if checked.is_empty() {
        return Ok(&mut []);
    }
    // SAFETY: the caller's; they were checked.
    Ok(unsafe { std::slice::from_raw_parts_mut(data.cast(), checked.len()) })
}

/// The name of a topic or a service.
///
/// # Safety
/// NULL, or C2 holds for `name` as long as the string lives.
pub(super) unsafe fn name<'a>(name: *const c_char, argument: &'static str) -> Result<&'a str, Failure> {
    let name = output(name.cast_mut(), argument)?;
    // SAFETY: the caller's.
    let name = unsafe { CStr::from_ptr(name.as_ptr()) };
    name.to_str().map_err(|error| {
        let (name, at) = (name.to_bytes().escape_ascii(), error.valid_up_to());
        let name: String = name.map(char::from).take(64).collect();
        Failure::name(format!(
            "{argument} name \"{name}\": it isn't UTF-8 from byte {at} on; write it in UTF-8"
        ))
    })
}
