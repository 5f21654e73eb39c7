// SPDX-License-Identifier: MIT OR Apache-2.0
//! The wall around every entry: a panic ends here and becomes `SHM_ERR_INTERNAL`.
//!
//! A panic may leave a handle half-changed, which `AssertUnwindSafe` waves through; the contract says that
//! such a handle is good for `_destroy` only. On the way without a panic the wall costs nothing: unwinding
//! is table-driven.

use super::error::{report, Failure};
use super::status::SHM_ERR_INTERNAL;
use std::panic::{catch_unwind, AssertUnwindSafe};

/// Runs the body of an entry that returns a status.
#[inline]
pub(super) fn guard(body: impl FnOnce() -> Result<i32, Failure>) -> i32 {
    guard_value(SHM_ERR_INTERNAL, || body().unwrap_or_else(report))
}

/// Runs the body of an entry that returns a value and can't fail; `fallback` is for a bug.
#[inline]
pub(super) fn guard_value<T>(fallback: T, body: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        report(Failure::panic(&*payload));
        fallback
    })
}

#[cfg(test)]
mod tests {
    use super::{guard, guard_value};
    use crate::ffi::error::shm_last_error_message;
    use crate::ffi::status::{SHM_ERR_INTERNAL, SHM_OK};
    use std::ffi::CStr;

    fn last_error() -> String {
        // SAFETY: the message is a NUL-terminated string of this thread, and no call fails meanwhile.
        let message = unsafe { CStr::from_ptr(shm_last_error_message()) };
        message.to_str().expect("UTF-8").to_owned()
    }

    #[test]
    fn a_panic_becomes_a_status_with_its_words() {
        assert_eq!(guard(|| panic!("slot {} is odd", 7)), SHM_ERR_INTERNAL);
        assert_eq!(last_error(), "a bug in the library: slot 7 is odd");
        assert_eq!(guard_value(5, || panic!("plain words")), 5);
        assert_eq!(last_error(), "a bug in the library: plain words");
    }

    #[test]
    fn success_leaves_the_message_alone() {
        assert_eq!(guard(|| Ok(SHM_OK)), SHM_OK);
        assert_eq!(last_error(), "");
    }
}
