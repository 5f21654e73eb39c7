// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a call fails with, and the words of a thread's last failure.

use super::status::{self, SHM_ERR_INTERNAL, SHM_ERR_INVALID_NAME, SHM_ERR_INVALID_OPTION, SHM_ERR_NULL};
use crate::Error;
use std::any::Any;
use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::ffi::{c_char, CString};

/// Why an entry doesn't return `SHM_OK`: a status below 0 and its words.
#[derive(Debug)]
pub(super) struct Failure {
    status: i32,
    message: Cow<'static, str>,
    /// The code of a function that was called.
    code: i32,
}

impl Failure {
    #[cold]
    pub(super) fn null(argument: &'static str) -> Self {
        Failure { status: SHM_ERR_NULL, message: format!("{argument} is NULL").into(), code: 0 }
    }

    #[cold]
    pub(super) fn name(reason: String) -> Self {
        Failure { status: SHM_ERR_INVALID_NAME, message: reason.into(), code: 0 }
    }

    #[cold]
    pub(super) fn option(reason: impl Into<Cow<'static, str>>) -> Self {
        Failure { status: SHM_ERR_INVALID_OPTION, message: reason.into(), code: 0 }
    }

    #[cold]
    pub(super) fn panic(payload: &(dyn Any + Send)) -> Self {
        let words = payload.downcast_ref::<&str>().copied();
        let words = words.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let message = format!("a bug in the library: {}", words.unwrap_or("panic"));
        Failure { status: SHM_ERR_INTERNAL, message: message.into(), code: 0 }
    }
}

impl From<Error> for Failure {
    #[cold]
    fn from(error: Error) -> Self {
        let status = status::of(&error);
        match error {
            // The function's own words, and nothing else.
            Error::Remote { code, message } => Failure { status, message: message.into(), code },
            Error::Copier { status: code, .. } => Failure { status, message: error.to_string().into(), code },
            error => Failure { status, message: error.to_string().into(), code: 0 },
        }
    }
}

thread_local! {
    static LAST: RefCell<Option<CString>> = const { RefCell::new(None) };
    static LAST_CODE: Cell<i32> = const { Cell::new(0) };
}

/// Leaves the words and the code of `failure` to `shm_last_error_message` and `shm_last_error_code`; returns its status.
#[cold]
pub(super) fn report(failure: Failure) -> i32 {
    let words = c_string(failure.message.into_owned());
    // A thread that is being torn down has no place for words any more; the status says enough.
    let _ = LAST.try_with(|last| last.replace(Some(words)));
    LAST_CODE.set(failure.code);
    failure.status
}

/// The words without what a C string can't have.
pub(super) fn c_string(words: String) -> CString {
    let mut words = words.into_bytes();
    words.retain(|&byte| byte != 0);
    CString::new(words).unwrap_or_default()
}

/// Says in words what was wrong in the last call of this thread that failed. Calls that succeed don't change it.
///
/// Never NULL; "" when no call of this thread has failed. The string belongs to the library and is valid until
/// the next call of this thread that fails, or until the thread ends: copy what is to be kept.
#[no_mangle]
pub extern "C" fn shm_last_error_message() -> *const c_char {
    let words = LAST.try_with(|last| last.borrow().as_ref().map(|words| words.as_ptr()));
    words.ok().flatten().unwrap_or(c"".as_ptr())
}

/// The code that the function gave which was called, when the last call of this thread that failed did so with SHM_ERR_REMOTE:
/// `shm_last_error_message` gives the function's own words then. With SHM_ERR_COPIER the number that the copier gave. Otherwise 0.
#[no_mangle]
pub extern "C" fn shm_last_error_code() -> i32 {
    LAST_CODE.get()
}
