// SPDX-License-Identifier: MIT OR Apache-2.0
//! Threads of the library's own, which take none of the program's signals.

use std::thread::JoinHandle;

use crate::error::{Error, Result};

/// Starts a thread in which all signals are blocked: the program's handlers run in the program's threads.
pub(crate) fn spawn(name: &'static str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    // SAFETY: sigset_t is plain data, and `sigfillset` makes it whole.
    let (mut all, mut before) = unsafe { std::mem::zeroed::<(libc::sigset_t, libc::sigset_t)>() };
    // SAFETY: local sets; only this thread's mask changes. A new thread has that of the thread that starts it.
    unsafe {
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
    }
    let thread = std::thread::Builder::new().name(name.into()).spawn(body);
    // SAFETY: as above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut()) };
    thread.map_err(|source| Error::Os { call: "pthread_create", path: name.into(), source })
}
