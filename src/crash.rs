// SPDX-License-Identifier: MIT OR Apache-2.0
//! Crash points: where a process may be killed, for tests that kill it there.
//!
//! What others find after a kill depends only on which stores to shared memory and which system calls were done before. So
//! there is one point before each of them, and that is all the places there are: the methods of [`Word`](crate::sync::Word)
//! that write, the system calls of `os/` that change files or locks, and the writes to a chunk's header. A store to a shared
//! word without a point can't be written, since mappings give out nothing but `Word`s.
//!
//! A point is named by where it is in the source. Without the feature `crash-points` it is nothing at all.

/// A place to be killed at, named by its caller's place in the source.
#[inline(always)]
#[cfg_attr(feature = "crash-points", track_caller)]
pub(crate) fn point() {
    #[cfg(feature = "crash-points")]
    armed::hit(std::panic::Location::caller());
}

#[cfg(feature = "crash-points")]
pub use armed::{kill_at, record, recorded};

#[cfg(feature = "crash-points")]
mod armed {
    use std::cell::RefCell;
    use std::panic::Location;

    /// What a thread does at its points.
    enum Mode {
        Off,
        Record(Vec<&'static Location<'static>>),
        /// Lets so many go by.
        Kill(usize),
    }

    thread_local! {
        static MODE: RefCell<Mode> = const { RefCell::new(Mode::Off) };
    }

    /// From now on this thread's points are noted.
    pub fn record() {
        MODE.set(Mode::Record(Vec::new()));
    }

    /// The points that this thread came by since [`record`], in order, as `file:line:column`; they aren't noted any more.
    pub fn recorded() -> Vec<String> {
        match MODE.replace(Mode::Off) {
            Mode::Record(points) => points.iter().map(|point| point.to_string()).collect(),
            Mode::Off | Mode::Kill(_) => Vec::new(),
        }
    }

    /// This process ends by SIGKILL when this thread comes by its `index`th point from now on, counted from 0.
    pub fn kill_at(index: usize) {
        MODE.set(Mode::Kill(index));
    }

    #[cold]
    pub(super) fn hit(place: &'static Location<'static>) {
        // A thread that ends has no mode any more, and nobody to ask for one.
        let _ = MODE.try_with(|mode| match &mut *mode.borrow_mut() {
            Mode::Off => {}
            Mode::Record(points) => points.push(place),
            Mode::Kill(0) => die(),
            Mode::Kill(left) => *left -= 1,
        });
    }

    fn die() -> ! {
        loop {
            // SAFETY: plain system calls, of which the first one ends the process.
            unsafe {
                libc::kill(libc::getpid(), libc::SIGKILL);
                libc::pause();
            }
        }
    }
}
