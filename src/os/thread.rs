// SPDX-License-Identifier: MIT OR Apache-2.0
//! Threads of the library's own.

use std::mem::MaybeUninit;
use std::thread::JoinHandle;

use crate::error::{Error, Result};

/// What a thread raises by its own doing. Blocked, they would end the process without its handlers being asked.
const RAISED_BY_ITSELF: [libc::c_int; 6] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP, libc::SIGSYS];

/// Starts a thread that takes no signal meant for the process: handlers run in the program's threads.
pub(crate) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    // A thread begins with its maker's mask, so there is no moment at which a signal could reach it.
    let before = block_signals();
    let spawned = std::thread::Builder::new().name(name.into()).spawn(work);
    // SAFETY: `before` is the mask that this thread had.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut()) };
    spawned.map_err(|source| Error::Os { call: "pthread_create", path: format!("a thread {name}"), source })
}

/// Returns the mask before.
fn block_signals() -> libc::sigset_t {
    let mut all = MaybeUninit::uninit();
    let mut before = MaybeUninit::uninit();
    // SAFETY: sigfillset initialises the set; the numbers are signals and the pointers valid, so that no call fails, and
    // pthread_sigmask stores the old mask.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        for signal in RAISED_BY_ITSELF {
            libc::sigdelset(all.as_mut_ptr(), signal);
        }
        libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), before.as_mut_ptr());
        before.assume_init()
    }
}
