// SPDX-License-Identifier: MIT OR Apache-2.0
//! Says that copies have ended, from a thread of its own.
//!
//! The driver tells of the end of a copy in a thread of its own in which it must not be called, and which holds up the stream meanwhile. But what is
//! done then may publish, unmap and so unregister memory, or be the end of the copier itself. So that thread only hands over.

use std::ffi::c_void;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::thread::JoinHandle;

use super::driver::{check, Handle, Status};
use crate::copier::Done;
use crate::error::Result;
use crate::os::thread;

pub(super) struct Completions {
    queue: Sender<Ended>,
    thread: JoinHandle<()>,
}

struct Ended {
    done: Done,
    status: Status,
}

/// On its way through the driver.
struct Begun {
    done: Done,
    queue: Sender<Ended>,
}

impl Completions {
    pub(super) fn start() -> Result<Completions> {
        let (queue, ended) = channel();
        let thread = thread::spawn("shm-cuda", move || work(&ended))?;
        Ok(Completions { queue, thread })
    }

    /// Packs `done` for the driver, which gives it to [`callback`] exactly once, or to [`take_back`](Self::take_back).
    pub(super) fn pack(&self, done: Done) -> *mut c_void {
        Box::into_raw(Box::new(Begun { done, queue: self.queue.clone() })).cast()
    }

    /// Unpacks what the driver didn't take.
    ///
    /// # Safety
    /// It came from [`pack`](Self::pack), and nobody else uses it.
    pub(super) unsafe fn take_back(packed: *mut c_void) -> Done {
        // SAFETY: the caller's.
        unsafe { Box::from_raw(packed.cast::<Begun>()) }.done
    }

    /// Ends the thread when everything has ended that was begun; waits for that, but for what this very thread has begun with.
    pub(super) fn end(self) {
        let Completions { queue, thread } = self;
        drop(queue);
        // What is done at the end of a copy may drop the copier: then the thread is this one, and ends by itself.
        if thread.thread().id() != std::thread::current().id() {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}

fn work(ended: &Receiver<Ended>) {
    // Until all senders are gone: the copier's, and one a copy.
    while let Ok(Ended { done, status }) = ended.recv() {
        // A panic of somebody's, which was reported, must not keep the others waiting.
        let _ = catch_unwind(AssertUnwindSafe(|| done.call(check("cuMemcpyAsync", status))));
    }
}

/// `cuStreamAddCallback`'s: all before it on the stream has ended, or the context has failed.
///
/// # Safety
/// `data` is from [`Completions::pack`].
pub(super) unsafe extern "C" fn callback(_: Handle, status: Status, data: *mut c_void) {
    // SAFETY: the caller's; the driver calls it once.
    let Begun { done, queue } = *unsafe { Box::from_raw(data.cast::<Begun>()) };
    // The thread is there as long as somebody may send.
    let _ = queue.send(Ended { done, status });
}
