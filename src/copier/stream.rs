// SPDX-License-Identifier: MIT OR Apache-2.0
//! Publishing what a device copies in its own time.
//!
//! A message is loaned and its copy begun at once; whoever says that the copy has ended publishes it. So the order of messages of one
//! stream is that of the stream, and between streams that of their ends. A loan that isn't in anybody's hands meanwhile is a [`Resting`] one.
//!
//! Who says that a copy has ended may have others to tell, on whom the subscriber depends that a shut gate waits for. So nobody is kept
//! there: what finds the gate shut, and what comes behind it, is for a thread of the publisher's own, which is started then.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Done, SharedCopier, Stream};
use crate::error::{Error, Result};
use crate::options::TopicInfo;
use crate::os::thread;
use crate::publisher::{Loan, Publisher, Resting};

/// Publishes messages that a copier copies on streams: each becomes visible when its stream has come to it.
///
/// Any threads use it at once. Dropping it waits until all that was begun has ended, as a device that isn't stuck sees to.
pub struct StreamPublisher {
    shared: Arc<Pending>,
    copier: SharedCopier,
    info: TopicInfo,
}

/// A publisher, and its messages that are published by whoever says that a stream has come to them. Its user looks for the child of a fork: there
/// somebody who isn't there may have the locks.
pub(super) struct Pending {
    /// None at the end: whoever ended the last copy may still have a share in this.
    publisher: Mutex<Option<Publisher>>,
    progress: Mutex<Progress>,
    /// With `progress`: something has ended.
    ended: Condvar,
    at_gate: Mutex<AtGate>,
    /// With `at_gate`: something came there, or it is over.
    came: Condvar,
}

/// What has been copied and waits for a reliable subscriber, in order.
#[derive(Default)]
struct AtGate {
    queue: VecDeque<(u64, Resting)>,
    /// The thread is at one that it took out.
    is_at_one: bool,
    is_over: bool,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Progress {
    begun: u64,
    /// The numbers of those that haven't ended. Streams don't end theirs in the order in which they were begun.
    open: BTreeSet<u64>,
    /// What the first one that failed since the last look failed with.
    failed: Option<Error>,
}

/// How long the publisher is kept from others while the gate of a reliable subscriber is shut.
const TURN: Duration = Duration::from_millis(1);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Neither a publisher nor the counts are left halfway by a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl StreamPublisher {
    /// Publishes with `publisher`, and copies with `copier`.
    pub fn new(publisher: Publisher, copier: SharedCopier) -> StreamPublisher {
        let info = publisher.info();
        StreamPublisher { shared: Arc::new(Pending::new(publisher)), copier, info }
    }

    /// Has `len` bytes at `from`, in memory of the copier's kind, copied and published when `stream` comes to it. Doesn't wait for that, nor
    /// for reliable subscribers: while one has yet to read what would be overwritten, this publisher's messages wait, and streams go on. A copier that has no
    /// copies on streams of its own copies at once. A message of no bytes isn't copied, wherever the stream is. How it ended, says
    /// [`wait`](Self::wait).
    ///
    /// # Errors
    /// Those of [`Publisher::loan`].
    ///
    /// # Safety
    /// Until it has ended, `from` is memory of the copier's kind of at least `len` bytes, and nobody writes to it but on `stream`, before
    /// or behind this.
    pub unsafe fn publish(&self, from: *const u8, len: usize, stream: Stream) -> Result<()> {
        // First: in the child of a fork somebody who isn't there may have the locks.
        self.copier.check()?;
        let resting = self.shared.loan(len)?;
        let number = self.shared.begin();
        let (to, shared) = (resting.as_ptr(), self.shared.clone());
        let done = Done::new(move |copied| shared.end(number, resting, copied));
        // SAFETY: the caller's; the loan is nobody's until `done` is called.
        unsafe { self.copier.user_to_shm_on_stream(to, from, len, stream, done) };
        Ok(())
    }

    /// Waits until everything that was begun before has ended, but not longer than `timeout`: false. Fails with what the first of those
    /// failed with that weren't reported yet; what failed isn't published.
    ///
    /// # Errors
    /// [`Error::Copier`]; those of [`Loan::publish`](crate::Loan::publish).
    pub fn wait(&self, timeout: Duration) -> Result<bool> {
        self.copier.check()?;
        self.shared.wait(timeout)
    }

    /// The topic's sizes.
    pub fn info(&self) -> TopicInfo {
        self.info
    }
}

impl Progress {
    /// The number of one that is begun now.
    fn begin(&mut self) -> u64 {
        self.begun += 1;
        self.open.insert(self.begun);
        self.begun
    }
}

impl Pending {
    pub(super) fn new(publisher: Publisher) -> Pending {
        Pending {
            publisher: Mutex::new(Some(publisher)),
            progress: Mutex::default(),
            ended: Condvar::new(),
            at_gate: Mutex::default(),
            came: Condvar::new(),
        }
    }

    pub(super) fn loan(&self, len: usize) -> Result<Resting> {
        match &*lock(&self.publisher) {
            Some(publisher) => Ok(publisher.loan(len)?.rest()),
            None => Err(Error::Closed),
        }
    }

    pub(super) fn discard(&self, resting: Resting) {
        if let Some(publisher) = &*lock(&self.publisher) {
            drop(publisher.resume(resting));
        }
    }

    /// The number of something that is begun now, which [`end`](Self::end) ends.
    pub(super) fn begin(&self) -> u64 {
        lock(&self.progress).begin()
    }

    /// As [`StreamPublisher::wait`].
    pub(super) fn wait(&self, timeout: Duration) -> Result<bool> {
        let deadline = Instant::now().checked_add(timeout);
        let mut progress = lock(&self.progress);
        let until = progress.begun;
        while progress.open.first().is_some_and(|&first| first <= until) {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(false);
            }
            progress = self.sleep(progress, left);
        }
        progress.failed.take().map_or(Ok(true), Err)
    }

    /// Waits until everything that was begun has ended, and leaves the topic.
    pub(super) fn close(&self) {
        let mut progress = lock(&self.progress);
        while !progress.open.is_empty() {
            progress = self.sleep(progress, None);
        }
        drop(progress);
        let mut at_gate = lock(&self.at_gate);
        at_gate.is_over = true;
        let thread = at_gate.thread.take();
        drop(at_gate);
        self.came.notify_all();
        // It has nothing to say.
        let _ = thread.map(JoinHandle::join);
        drop(lock(&self.publisher).take());
    }

    /// Publishes the loan whose copy has ended, or discards it. Doesn't wait for reliable subscribers.
    pub(super) fn end(self: &Arc<Self>, number: u64, resting: Resting, copied: Result<()>) {
        let ended = match copied {
            Ok(()) => match self.publish_or_queue(number, resting) {
                Some(ended) => ended,
                None => return,
            },
            Err(error) => {
                self.discard(resting);
                Err(error)
            }
        };
        self.note(number, ended);
    }

    fn note(&self, number: u64, ended: Result<()>) {
        let mut progress = lock(&self.progress);
        progress.open.remove(&number);
        if let Err(error) = ended {
            progress.failed.get_or_insert(error);
        }
        self.ended.notify_all();
    }

    /// How it ended; `None` when it is for the thread.
    fn publish_or_queue(self: &Arc<Self>, number: u64, mut resting: Resting) -> Option<Result<()>> {
        let mut at_gate = lock(&self.at_gate);
        if at_gate.queue.is_empty() && !at_gate.is_at_one {
            let tried = match &*lock(&self.publisher) {
                Some(publisher) => {
                    publisher.resume(resting).try_publish().map(|tried| tried.map_err(Loan::rest))
                }
                None => Err(Error::Closed),
            };
            resting = match tried {
                Ok(Ok(_)) => return Some(Ok(())),
                Ok(Err(resting)) => resting,
                Err(error) => return Some(Err(error)),
            };
        }
        if at_gate.thread.is_none() {
            let theirs = self.clone();
            match thread::spawn("shm-stream", move || theirs.publish_queued()) {
                Ok(thread) => at_gate.thread = Some(thread),
                Err(error) => {
                    self.discard(resting);
                    return Some(Err(error));
                }
            }
        }
        at_gate.queue.push_back((number, resting));
        drop(at_gate);
        self.came.notify_all();
        None
    }

    /// The thread's part.
    fn publish_queued(&self) {
        let mut at_gate = lock(&self.at_gate);
        while !at_gate.is_over {
            let Some((number, resting)) = at_gate.queue.pop_front() else {
                at_gate = self.came.wait(at_gate).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            at_gate.is_at_one = true;
            drop(at_gate);
            let ended = self.publish(resting).map(|_| ());
            at_gate = lock(&self.at_gate);
            at_gate.is_at_one = false;
            self.note(number, ended);
        }
    }

    /// Publishes the loan, and returns its position.
    pub(super) fn publish(&self, mut resting: Resting) -> Result<u64> {
        loop {
            // The gate of a reliable subscriber may be shut for long, and others have loans to make.
            match &*lock(&self.publisher) {
                Some(publisher) => match publisher.resume(resting).publish_timeout(TURN)? {
                    Ok(position) => return Ok(position),
                    Err(loan) => resting = loan.rest(),
                },
                None => return Err(Error::Closed),
            }
            std::thread::yield_now();
        }
    }

    fn sleep<'a>(
        &self,
        progress: MutexGuard<'a, Progress>,
        left: Option<Duration>,
    ) -> MutexGuard<'a, Progress> {
        match left {
            Some(left) => self.ended.wait_timeout(progress, left).unwrap_or_else(PoisonError::into_inner).0,
            None => self.ended.wait(progress).unwrap_or_else(PoisonError::into_inner),
        }
    }
}

impl Drop for StreamPublisher {
    fn drop(&mut self) {
        // In the child of a fork nobody is there to end anything.
        if self.copier.0.token.is_ours() {
            self.shared.close();
        }
    }
}

impl std::fmt::Debug for StreamPublisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamPublisher").field("info", &self.info()).finish_non_exhaustive()
    }
}
