// SPDX-License-Identifier: MIT OR Apache-2.0
//! Wakes the tasks that wait for a client's replies as futures: a thread of the client's, started by the first of them.
//!
//! A future that finds no reply leaves its waker here, says in its call that it waits, and looks once more, as a thread does that goes to
//! sleep (P1 of `wait.rs`). The server that answers counts in the client's word of wakes, on which this thread sleeps; it wakes all tasks,
//! which look for themselves. It does so now and then in any case, for those whose servers died.
//!
//! When nobody came during one such sleep, it sleeps on without an end, and not on that word: the next future wakes it. What that one
//! saw of the word, before it said that it waits, is what the thread then goes to sleep with, so no reply is missed in between.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread::JoinHandle;

use super::LONGEST_SLEEP;
use crate::error::Result;
use crate::os::fork::Token;
use crate::os::futex;
use crate::os::thread;
use crate::sync::{Ordering, Word};

pub(super) struct Watcher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    token: Token,
}

struct Shared {
    tasks: Mutex<Tasks>,
    /// Somebody ended `is_idle`.
    came: Condvar,
    /// Of the client's mapping, which is there until the thread has ended.
    wakes: &'static Word,
}

/// Who waits, and what the thread does about it.
struct Tasks {
    wakers: Vec<Waker>,
    /// What `wakes` said before the first of them said that it waits.
    seen: u64,
    /// The thread sleeps until somebody comes.
    is_idle: bool,
    is_over: bool,
}

impl Shared {
    fn tasks(&self) -> MutexGuard<'_, Tasks> {
        // No panic leaves them halfway changed.
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the sleep of the thread that has nobody to wake.
    fn rouse(&self, tasks: &mut Tasks) {
        if std::mem::take(&mut tasks.is_idle) {
            self.came.notify_one();
        }
    }
}

impl Watcher {
    /// Starts to watch the client's word of wakes.
    ///
    /// # Safety
    /// `wakes` stays mapped until the watcher is dropped.
    pub(super) unsafe fn start(wakes: &Word, token: Token) -> Result<Watcher> {
        // SAFETY: the watcher and its thread use it, and the thread ends before the watcher does.
        let wakes: &'static Word = unsafe { &*std::ptr::from_ref(wakes) };
        let tasks = Tasks { wakers: Vec::new(), seen: 0, is_idle: true, is_over: false };
        let shared = Arc::new(Shared { tasks: Mutex::new(tasks), came: Condvar::new(), wakes });
        let theirs = Arc::clone(&shared);
        let thread = thread::spawn("shm-watcher", move || watch(&theirs))?;
        Ok(Watcher { shared, thread: Some(thread), token })
    }

    /// Has `waker` called when something may have come, once.
    pub(super) fn add(&self, waker: &Waker) {
        let mut tasks = self.shared.tasks();
        if tasks.is_idle {
            // Acquire: stays before P1, which comes after this.
            tasks.seen = self.shared.wakes.load(Ordering::Acquire);
            self.shared.rouse(&mut tasks);
        }
        // A task may be polled often between two wakes, which wakes nobody twice.
        if !tasks.wakers.iter().any(|other| other.will_wake(waker)) {
            tasks.wakers.push(waker.clone());
        }
    }
}

fn watch(shared: &Shared) {
    loop {
        let idle = shared.came.wait_while(shared.tasks(), |tasks| tasks.is_idle);
        let tasks = idle.unwrap_or_else(PoisonError::into_inner);
        if tasks.is_over {
            return;
        }
        let seen = tasks.seen;
        drop(tasks);
        futex::wait(shared.wakes, seen, LONGEST_SLEEP);
        let mut tasks = shared.tasks();
        tasks.seen = shared.wakes.load(Ordering::Acquire);
        // Taken out first: a waker may poll at once, and come back here.
        let wakers = std::mem::take(&mut tasks.wakers);
        tasks.is_idle = wakers.is_empty() && !tasks.is_over;
        drop(tasks);
        for waker in wakers {
            // One that panics, which was reported, must not keep the others from being woken.
            let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        // In the child of a fork there is no thread.
        if self.token.is_ours() {
            let mut tasks = self.shared.tasks();
            tasks.is_over = true;
            self.shared.rouse(&mut tasks);
            drop(tasks);
            self.shared.wakes.fetch_add(1, Ordering::SeqCst);
            futex::wake_all(self.shared.wakes);
            // It has nothing to say. A waker may be the last that had the client: then this is the thread, which ends by itself.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        } else {
            std::mem::forget(thread);
        }
    }
}
