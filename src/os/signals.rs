// SPDX-License-Identifier: MIT OR Apache-2.0
//! Keeping the program's signals away from a thread of the library's own.

use std::mem::MaybeUninit;

/// What a thread does to itself, such as a fault in a program's own code that it calls: the handlers for that work as everywhere.
const OWN_FAULTS: [libc::c_int; 6] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGSYS];

/// Starts a thread by `start`, which is to take no signals: they go to the program's own threads, whose affair they are.
pub(crate) fn without_signals<T>(start: impl FnOnce() -> T) -> T {
    let mut all = MaybeUninit::uninit();
    let mut before = MaybeUninit::uninit();
    // A new thread has the mask of the one that starts it.
    // SAFETY: both sets are this call's own, and `all` is filled in before it is used; without `before` nothing was changed.
    let is_changed = unsafe {
        libc::sigfillset(all.as_mut_ptr());
        OWN_FAULTS.iter().for_each(|&fault| {
            libc::sigdelset(all.as_mut_ptr(), fault);
        });
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) == 0
    };
    let started = start();
    if is_changed {
        // SAFETY: the call above wrote `before`.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), std::ptr::null_mut()) };
    }
    started
}
