// SPDX-License-Identifier: MIT OR Apache-2.0
//! Wakes the tasks that wait for a client's replies as futures: a thread of the client's, started by the first of them.
//!
//! A future that finds no reply leaves its waker here, says in its call that it waits, and looks once more, as a thread does that goes to
//! sleep (P1 of `wait.rs`). The server that answers counts in the client's word of wakes, on which this thread sleeps; it wakes all tasks,
//! which look for themselves. It does so now and then in any case, for those whose servers died.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread::JoinHandle;

use super::LONGEST_SLEEP;
use crate::error::{Error, Result};
use crate::os::fork::Token;
use crate::os::futex;
use crate::sync::Word;

pub(super) struct Watcher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    token: Token,
}

struct Shared {
    wakers: Mutex<Vec<Waker>>,
    is_over: AtomicBool,
    /// Of the client's mapping, which is there until the thread has ended.
    wakes: &'static Word,
}

impl Shared {
    fn wakers(&self) -> MutexGuard<'_, Vec<Waker>> {
        // A panic of somebody's waker leaves the list as good as before.
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watcher {
    /// Starts to watch the client's word of wakes.
    ///
    /// # Safety
    /// `wakes` stays mapped until the watcher is dropped.
    pub(super) unsafe fn start(wakes: &Word, token: Token) -> Result<Watcher> {
        // SAFETY: the thread, which alone uses it, ends before the watcher does.
        let wakes: &'static Word = unsafe { &*std::ptr::from_ref(wakes) };
        let shared = Arc::new(Shared { wakers: Mutex::default(), is_over: AtomicBool::new(false), wakes });
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("shm-watcher".into())
            .spawn(move || watch(&theirs))
            .map_err(|source| Error::Os { call: "pthread_create", path: "a watcher".into(), source })?;
        Ok(Watcher { shared, thread: Some(thread), token })
    }

    /// Has `waker` called when something may have come, once.
    pub(super) fn add(&self, waker: &Waker) {
        let mut wakers = self.shared.wakers();
        // A task may be polled often between two wakes, which wakes nobody twice.
        if !wakers.iter().any(|other| other.will_wake(waker)) {
            wakers.push(waker.clone());
        }
    }
}

fn watch(shared: &Shared) {
    use crate::sync::Ordering::Acquire;
    // Relaxed: it carries nothing but itself.
    while !shared.is_over.load(Ordering::Relaxed) {
        let seen = shared.wakes.load(Acquire);
        // Taken out first: a waker may poll at once, and come back here.
        let wakers = std::mem::take(&mut *shared.wakers());
        for waker in wakers {
            // One that panics, which was reported, must not keep the others from being woken.
            let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
        futex::wait(shared.wakes, seen, LONGEST_SLEEP);
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        // In the child of a fork there is no thread.
        if self.token.is_ours() {
            self.shared.is_over.store(true, Ordering::Relaxed);
            self.shared.wakes.fetch_add(1, crate::sync::Ordering::SeqCst);
            futex::wake_all(self.shared.wakes);
            // It has nothing to say.
            let _ = thread.join();
        } else {
            std::mem::forget(thread);
        }
    }
}
