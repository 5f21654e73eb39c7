// SPDX-License-Identifier: MIT OR Apache-2.0
//! Several threads at one copy.
//!
//! A copy is cut into pieces at `dst`'s cache lines, which the caller and the workers take until none is left. So the caller waits for
//! nobody who hasn't begun: on a busy machine, where no worker gets to run, it copies everything itself. One copy at a time
//! has the workers; who comes meanwhile copies alone.
//!
//! The workers' stores come before the caller's next ones: a worker's copy ends with a fence where it needs one, and then the worker
//! unlocks the mutex that the caller locks. The child of a fork has no workers, and the mutex may be one that a thread held which it hasn't
//! either: it touches neither.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::{CpuCopy, LINE};
use crate::error::{Error, Result};
use crate::os::fork::Token;
use crate::os::thread;

const MOST_THREADS: usize = 256;
/// Threads when nothing else is said, at most: fewer than a socket's cores take all that its memory gives.
const DEFAULT_THREADS: usize = 4;
/// Where a worker that wakes late costs less than it saves.
const DEFAULT_THRESHOLD: usize = 8 << 20;
/// Bytes of a piece: long enough for the prefetchers and the mutex, short enough for the one who waits for the last.
const PIECE: (usize, usize) = (64 << 10, 1 << 20);

/// Options of a [`ParallelCopy`].
#[derive(Clone, Copy, Debug, Default)]
pub struct ParallelOptions {
    /// How each thread copies.
    pub copy: CpuCopy,
    /// Threads that copy, with the caller's: up to 256. Default (0): the CPUs that this thread may use, at most 4.
    pub threads: usize,
    /// Bytes from which on it takes more than the caller. Default (0): 8 MiB.
    pub threshold: usize,
}

/// Copies large buffers with several threads, which it starts when it is made and ends when it is dropped. They run where the thread
/// that makes it may run, and take no signals. In the child of a fork it copies with the caller's thread alone.
///
/// ```
/// # fn main() -> shm::Result<()> {
/// use shm::copier::cpu::{ParallelCopy, ParallelOptions};
///
/// let copier = ParallelCopy::new(ParallelOptions::default())?;
/// let source = vec![7u8; 8 << 20];
/// let mut target = vec![0u8; source.len()];
/// // SAFETY: two buffers of the same length.
/// unsafe { copier.copy(target.as_mut_ptr(), source.as_ptr(), source.len()) };
/// assert!(target == source);
/// # Ok(())
/// # }
/// ```
pub struct ParallelCopy {
    copy: CpuCopy,
    threshold: usize,
    workers: Vec<JoinHandle<()>>,
    pool: Arc<Pool>,
    token: Token,
}

#[derive(Default)]
struct Pool {
    state: Mutex<State>,
    /// There are pieces, or it is over.
    work: Condvar,
    /// The last piece was copied.
    done: Condvar,
}

#[derive(Default)]
struct State {
    job: Option<Job>,
    /// Pieces that workers are at.
    running: usize,
    is_over: bool,
}

/// What is left of a copy.
struct Job {
    copy: CpuCopy,
    dst: *mut u8,
    src: *const u8,
    left: usize,
    piece: usize,
}

// SAFETY: the buffers are the caller's of `copy`, which doesn't return before all who use them are done.
unsafe impl Send for Job {}

struct Piece {
    copy: CpuCopy,
    dst: *mut u8,
    src: *const u8,
    len: usize,
}

impl Piece {
    fn copy(&self) {
        // SAFETY: a part of the buffers that the caller of `ParallelCopy::copy` vouches for, taken by this thread alone.
        unsafe { self.copy.copy(self.dst, self.src, self.len) }
    }
}

impl State {
    fn take_piece(&mut self) -> Option<Piece> {
        let job = self.job.as_mut().filter(|job| job.left > 0)?;
        // Up to a line of `dst`: no two threads write to one.
        let len = (job.piece - job.dst as usize % LINE).min(job.left);
        let piece = Piece { copy: job.copy, dst: job.dst, src: job.src, len };
        // Past the end at the last piece, and then not used.
        job.dst = job.dst.wrapping_add(len);
        job.src = job.src.wrapping_add(len);
        job.left -= len;
        Some(piece)
    }
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that is done with it held panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ParallelCopy {
    /// Starts its threads.
    pub fn new(options: ParallelOptions) -> Result<ParallelCopy> {
        let threads = match options.threads {
            0 => std::thread::available_parallelism().map_or(1, |cpus| cpus.get().min(DEFAULT_THREADS)),
            1..=MOST_THREADS => options.threads,
            _ => {
                let found = options.threads as u64;
                return Err(Error::InvalidOption { option: "threads", found, allowed: "at most 256" });
            }
        };
        let threshold = if options.threshold == 0 { DEFAULT_THRESHOLD } else { options.threshold };
        let mut copier = ParallelCopy {
            copy: options.copy,
            threshold,
            workers: Vec::with_capacity(threads - 1),
            pool: Arc::default(),
            token: Token::current()?,
        };
        // Should one not start, dropping the copier ends the others.
        for _ in 1..threads {
            let pool = Arc::clone(&copier.pool);
            copier.workers.push(thread::spawn("shm-copier", move || work(&pool))?);
        }
        Ok(copier)
    }

    /// How many threads copy, with the caller's.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Copies `len` bytes, and returns when all are there.
    ///
    /// # Safety
    /// `src` can be read and `dst` written for `len` bytes, and they don't overlap.
    pub unsafe fn copy(&self, dst: *mut u8, src: *const u8, len: usize) {
        // By the whole's length: a piece is smaller than what pays for stores past the caches.
        let copy = self.copy.implementation(len);
        if len >= self.threshold && !self.workers.is_empty() && self.token.is_ours() {
            let piece = (len / (self.threads() * 4)).clamp(PIECE.0, PIECE.1).next_multiple_of(LINE);
            if self.share(Job { copy, dst, src, left: len, piece }) {
                return;
            }
        }
        // SAFETY: the caller vouches for it.
        unsafe { copy.copy(dst, src, len) }
    }

    /// False when the workers are at another's copy.
    fn share(&self, job: Job) -> bool {
        let mut state = self.pool.lock();
        if state.job.is_some() {
            return false;
        }
        state.job = Some(job);
        self.pool.work.notify_all();
        while let Some(piece) = state.take_piece() {
            drop(state);
            piece.copy();
            state = self.pool.lock();
        }
        while state.running > 0 {
            state = self.pool.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.job = None;
        true
    }
}

fn work(pool: &Pool) {
    let mut state = pool.lock();
    while !state.is_over {
        if let Some(piece) = state.take_piece() {
            state.running += 1;
            drop(state);
            piece.copy();
            state = pool.lock();
            state.running -= 1;
            if state.running == 0 {
                pool.done.notify_one();
            }
        } else {
            state = pool.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for ParallelCopy {
    fn drop(&mut self) {
        let workers = std::mem::take(&mut self.workers);
        if !self.token.is_ours() {
            // In the child of a fork they aren't there.
            workers.into_iter().for_each(std::mem::forget);
            return;
        }
        self.pool.lock().is_over = true;
        self.pool.work.notify_all();
        for worker in workers {
            // It has nothing to say.
            let _ = worker.join();
        }
    }
}
