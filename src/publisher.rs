// SPDX-License-Identifier: MIT OR Apache-2.0
//! The publishing side of a topic: loan a chunk, write in place, publish.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use bytemuck::{NoUninit, Pod};

use crate::copier::SharedCopier;
use crate::error::{Error, Result};
use crate::options::{MemoryInfo, PublisherOptions, TopicInfo, DEFAULT_MEMORY};
use crate::os::realtime_ns;
use crate::pool::{Chunk, Pool};
use crate::ring::{ChunkId, Limit, Refused};
use crate::topic::{Role, Topic};
use crate::wait::{wait_at_gate, wake};

/// Publishes messages to a topic.
///
/// It may move between threads but not be used by two at once (`Send`, not `Sync`): give each thread its own, or put it
/// behind a `Mutex`. Any number of publishers, in any number of processes, share a topic; all subscribers see their
/// messages in one order. When the topic's ring is full the oldest message makes room, and publishing doesn't wait; but a message that
/// a **reliable** subscriber ([`SubscriberOptions::reliable`](crate::SubscriberOptions::reliable)) has yet to read doesn't make room,
/// and then [`publish`](Self::publish) waits, [`try_publish`](Self::try_publish) says so.
///
/// Signals harm no call: none fails or ends early because of one. A signal handler must not use a handle, not even one that only it
/// uses: nothing here is async-signal-safe. A publish may allocate, to note what it put into the ring, and so may a loan, to make a
/// segment; in a handler that interrupted the allocator that would never end.
///
/// A process may end in any way, by `exit` or by executing another program as well, with handles, loans and samples in its hands: what
/// it had comes back to the others as after a kill.
///
/// ```
/// # let root = tempfile::tempdir()?; std::env::set_var("SHM_ROOT", root.path());
/// let subscriber = shm::Subscriber::new("/greetings")?;
/// let publisher = shm::Publisher::new("/greetings")?;
/// let mut loan = publisher.loan(5)?;
/// loan.copy_from_slice(b"hello");
/// loan.publish()?;
/// assert_eq!(&*subscriber.receive()?, b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Publisher {
    /// No user code runs while it is borrowed, so the borrows never meet.
    pool: RefCell<Pool>,
    // After the pool: leaving the topic makes orphans of what the pool didn't give back.
    topic: Topic,
    timestamps: bool,
    limit: Limit,
}

impl Publisher {
    /// Joins `topic`, making it when it isn't there.
    ///
    /// # Errors
    /// See [`with_options`](Self::with_options).
    pub fn new(topic: &str) -> Result<Publisher> {
        Self::with_options(topic, &PublisherOptions::default())
    }

    /// Joins `topic`, making it when it isn't there, with at least the sizes that `options` ask for.
    ///
    /// # Errors
    /// [`Error::InvalidName`] and [`Error::InvalidOption`] for what the caller got wrong; [`Error::Mismatch`] when the
    /// topic exists with less, or is shared with others; [`Error::NoParticipant`], [`Error::NoSpace`] when there is no room;
    /// [`Error::NotTrusted`], [`Error::Corrupt`], [`Error::Version`] for files that can't be used; [`Error::Os`].
    pub fn with_options(topic: &str, options: &PublisherOptions) -> Result<Publisher> {
        let topic = Topic::open(topic, options.root.as_deref(), options.wanted(), Role::Publisher)?;
        let budget = if options.memory == 0 { DEFAULT_MEMORY } else { options.memory };
        let pool = RefCell::new(Pool::new(&topic, budget));
        Ok(Publisher { pool, topic, timestamps: options.timestamps, limit: Limit::default() })
    }

    /// Lends `len` bytes of shared memory, aligned to 64, to write a message into. The content is unspecified.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when the budget can't take it even with older messages of this publisher evicted, as far as no reliable
    /// subscriber has yet to read them: a loan never waits. [`Error::NoSpace`], [`Error::NoSegment`], [`Error::TooLarge`]; [`Error::Forked`] in the child of a fork.
    // Always: callers from C would pay 5 to 10 ns for the way of what is returned through memory.
    #[inline(always)]
    pub fn loan(&self, len: usize) -> Result<Loan<'_>> {
        self.topic.token().check()?;
        let chunk = self.pool.borrow_mut().loan(&self.topic, len)?;
        Ok(Loan { publisher: self, chunk, len })
    }

    /// Publishes a copy of `payload` and returns its position in the topic's order. Waits while a reliable subscriber has yet to read
    /// what would be overwritten.
    ///
    /// # Errors
    /// Those of [`loan`](Self::loan) and [`Loan::publish`].
    #[inline(always)]
    pub fn publish(&self, payload: &[u8]) -> Result<u64> {
        let mut loan = self.loan(payload.len())?;
        loan.copy_from_slice(payload);
        loan.publish()
    }

    /// Publishes a copy of `payload`, unless a reliable subscriber has yet to read what would be overwritten: `None`. Never waits.
    ///
    /// # Errors
    /// Those of [`publish`](Self::publish).
    pub fn try_publish(&self, payload: &[u8]) -> Result<Option<u64>> {
        let mut loan = self.loan(payload.len())?;
        loan.copy_from_slice(payload);
        Ok(loan.try_publish()?.ok())
    }

    /// Publishes `len` bytes at `from`, in memory of `copier`'s kind, and returns the message's position. Otherwise as
    /// [`publish`](Self::publish).
    ///
    /// # Errors
    /// Those of [`publish`](Self::publish); [`Error::Copier`]: nothing is published then.
    ///
    /// # Safety
    /// `from` is memory of the copier's kind of at least `len` bytes, and nobody writes to it.
    pub unsafe fn publish_from(&self, copier: &SharedCopier, from: *const u8, len: usize) -> Result<u64> {
        let mut loan = self.loan(len)?;
        // SAFETY: the caller's.
        unsafe { copier.user_to_shm(&mut loan, from)? };
        loan.publish()
    }

    /// Lends memory for one `T` of plain data, to fill in place. The content is unspecified.
    ///
    /// # Errors
    /// Those of [`loan`](Self::loan).
    #[inline]
    pub fn loan_plain<T: Pod>(&self) -> Result<PlainLoan<'_, T>> {
        const { assert!(align_of::<T>() <= 64, "payloads are aligned to 64 bytes") };
        Ok(PlainLoan { loan: self.loan(size_of::<T>())?, plain: PhantomData })
    }

    /// Publishes a copy of the plain value `value` and returns its position in the topic's order.
    ///
    /// # Errors
    /// Those of [`publish`](Self::publish).
    #[inline]
    pub fn publish_plain<T: NoUninit>(&self, value: &T) -> Result<u64> {
        self.publish(bytemuck::bytes_of(value))
    }

    /// How this publisher's memory is used.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn memory(&self) -> Result<MemoryInfo> {
        self.topic.token().check()?;
        Ok(self.pool.borrow_mut().memory(&self.topic))
    }

    /// The topic's sizes.
    pub fn info(&self) -> TopicInfo {
        TopicInfo::of(&self.topic)
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        if self.topic.token().is_ours() {
            self.pool.get_mut().leave(&self.topic);
        }
    }
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher").field("info", &self.info()).finish_non_exhaustive()
    }
}

/// A message being written: `len` bytes of shared memory that nobody else sees until [`publish`](Self::publish).
/// Dropping it discards the message. In the child of a fork its memory isn't there.
pub struct Loan<'a> {
    publisher: &'a Publisher,
    chunk: Chunk,
    len: usize,
}

/// A loan in nobody's hands, while a device writes to it.
pub(crate) struct Resting {
    chunk: Chunk,
    len: usize,
}

// SAFETY: the address of memory that its publisher has, which moves with it between threads.
unsafe impl Send for Resting {}

impl Resting {
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.chunk.payload().as_ptr()
    }

    /// Which chunk of its publisher's it is.
    pub(crate) fn chunk(&self) -> ChunkId {
        self.chunk.id
    }
}

impl Publisher {
    /// Takes a loan of this publisher up again.
    pub(crate) fn resume(&self, Resting { chunk, len }: Resting) -> Loan<'_> {
        Loan { publisher: self, chunk, len }
    }
}

impl Loan<'_> {
    /// Lays the loan down: it is lost unless it is taken up again.
    pub(crate) fn rest(self) -> Resting {
        let this = std::mem::ManuallyDrop::new(self);
        Resting { chunk: this.chunk, len: this.len }
    }

    /// Makes the message `len` bytes long. What it contains stays, up to the shorter of the lengths; when
    /// `len` is beyond [`capacity`](Self::capacity), it moves to a larger chunk.
    ///
    /// # Errors
    /// Those of [`Publisher::loan`]; the loan is unchanged then.
    pub fn resize(&mut self, len: usize) -> Result<()> {
        self.publisher.topic.token().check()?;
        if len > self.chunk.size {
            let mut larger = self.publisher.loan(len)?;
            larger[..self.len].copy_from_slice(self);
            // `larger` discards the smaller chunk when it is dropped.
            std::mem::swap(&mut self.chunk, &mut larger.chunk);
        }
        self.len = len;
        Ok(())
    }

    /// How long the message can become without moving, in bytes.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.chunk.size
    }

    /// Publishes the message and returns its position in the topic's order. Waits while a reliable subscriber has yet to read what
    /// would be overwritten: for ever, if that one lives and doesn't read.
    ///
    /// # Errors
    /// [`Error::Forked`]; [`Error::Corrupt`] when another process damaged the ring; [`Error::Os`] when a dead subscriber that it waits
    /// for can't be recovered. The message is discarded then.
    #[inline(always)]
    pub fn publish(self) -> Result<u64> {
        let position = match self.publish_once()? {
            Some(position) => position,
            None => self.publish_at_gate()?,
        };
        std::mem::forget(self);
        Ok(position)
    }

    /// Publishes the message, or gives it back when a reliable subscriber has yet to read what would be overwritten. Never waits.
    ///
    /// # Errors
    /// Those of [`publish`](Self::publish).
    pub fn try_publish(self) -> Result<std::result::Result<u64, Self>> {
        let published = self.publish_once()?;
        Ok(self.end(published))
    }

    /// Publishes the message; waits for reliable subscribers up to `timeout`, and gives the message back then.
    ///
    /// ```
    /// # let root = tempfile::tempdir()?; std::env::set_var("SHM_ROOT", root.path());
    /// use std::time::Duration;
    /// let options = shm::SubscriberOptions { capacity: 2, reliable: true, ..Default::default() };
    /// let subscriber = shm::Subscriber::with_options("/orders", &options)?;
    /// let publisher = shm::Publisher::new("/orders")?;
    /// publisher.publish(b"1")?;
    /// publisher.publish(b"2")?;
    /// let third = publisher.loan(1)?;
    /// let third = third.publish_timeout(Duration::from_millis(1))?.expect_err("nobody has read the first one");
    /// assert_eq!(&*subscriber.receive()?, b"1");
    /// assert!(third.publish_timeout(Duration::from_millis(1))?.is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`publish`](Self::publish).
    pub fn publish_timeout(self, timeout: Duration) -> Result<std::result::Result<u64, Self>> {
        let published = self.publish_until(Instant::now().checked_add(timeout))?;
        Ok(self.end(published))
    }

    fn end(self, published: Option<u64>) -> std::result::Result<u64, Self> {
        match published {
            Some(position) => {
                std::mem::forget(self);
                Ok(position)
            }
            None => Err(self),
        }
    }

    /// As [`publish_once`](Self::publish_once), as long as it takes.
    #[cold]
    #[inline(never)]
    pub(crate) fn publish_at_gate(&self) -> Result<u64> {
        loop {
            // Without a deadline it comes back with a position or an error; the loop is for the compiler.
            if let Some(position) = self.publish_until(None)? {
                return Ok(position);
            }
        }
    }

    /// As [`publish_once`](Self::publish_once), up to `deadline`.
    pub(crate) fn publish_until(&self, deadline: Option<Instant>) -> Result<Option<u64>> {
        let Publisher { topic, limit, .. } = self.publisher;
        loop {
            let published = self.publish_once()?;
            if published.is_some() || !wait_at_gate(topic, limit, deadline)? {
                return Ok(published);
            }
            // Also here, not only while waiting: other publishers could take each place that is made.
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return self.publish_once();
            }
        }
    }

    /// The part of [`publish_once`](Self::publish_once) that the gate may refuse.
    #[cold]
    #[inline(never)]
    fn publish_with_a_look(&self) -> Result<Option<u64>> {
        let Publisher { topic, limit, .. } = self.publisher;
        let ring = topic.ring();
        let may_fill = |position| limit.admits(ring, topic, position);
        match ring.publish(self.chunk.id, may_fill, |position| self.chunk.stamp(position)) {
            Ok(position) => Ok(Some(position)),
            Err(Refused::Full) => Ok(None),
            Err(Refused::Damaged) => Err(damaged(topic)),
        }
    }

    /// Publishes without consuming: on success the chunk isn't the loan's any more, and it must be forgotten. `None`: the gate is shut.
    // Always: as for `loan`.
    #[inline(always)]
    pub(crate) fn publish_once(&self) -> Result<Option<u64>> {
        let Publisher { pool, topic, timestamps, limit } = self.publisher;
        topic.token().check()?;
        let timestamp = if *timestamps { realtime_ns() } else { 0 };
        self.chunk.describe(self.len, timestamp, topic.index());
        let ring = topic.ring();
        // A copy: nothing of what a look needs is kept ready on the way of nearly every message.
        let end = limit.end();
        let may_fill = |position| position < end;
        let position = match ring.publish(self.chunk.id, may_fill, |position| self.chunk.stamp(position)) {
            Ok(position) => position,
            Err(Refused::Full) => match self.publish_with_a_look()? {
                Some(position) => position,
                None => return Ok(None),
            },
            Err(Refused::Damaged) => return Err(damaged(topic)),
        };
        wake(topic);
        limit.look_ahead(ring, topic, position);
        pool.borrow_mut().published(position, self.chunk);
        Ok(Some(position))
    }
}

#[cold]
#[inline(never)]
fn damaged(topic: &Topic) -> Error {
    Error::corrupt(topic.dir().join("ring"), "its tail is not where its messages end")
}

impl Deref for Loan<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: as below, shared.
        unsafe { std::slice::from_raw_parts(self.chunk.payload().as_ptr(), self.len) }
    }
}

impl DerefMut for Loan<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: the chunk is this loan's alone: out of the ring and not held (I3), until it is published. Its segment is
        // mapped as long as the publisher lives, `len` is at most the chunk's size, and its bytes were initialised by the
        // kernel or by earlier messages.
        unsafe { std::slice::from_raw_parts_mut(self.chunk.payload().as_ptr(), self.len) }
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        self.publisher.pool.borrow_mut().discard(self.chunk);
    }
}

impl std::fmt::Debug for Loan<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loan").field("len", &self.len).field("capacity", &self.chunk.size).finish()
    }
}

/// One `T` of plain data being written in place. Dropping it discards the message.
#[derive(Debug)]
pub struct PlainLoan<'a, T> {
    loan: Loan<'a>,
    plain: PhantomData<T>,
}

impl<T: Pod> PlainLoan<'_, T> {
    /// Publishes the value and returns its position in the topic's order.
    ///
    /// # Errors
    /// Those of [`Loan::publish`].
    #[inline]
    pub fn publish(self) -> Result<u64> {
        self.loan.publish()
    }
}

impl<T: Pod> Deref for PlainLoan<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // The size is T's and the alignment 64: neither can fail.
        bytemuck::from_bytes(&self.loan)
    }
}

impl<T: Pod> DerefMut for PlainLoan<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        bytemuck::from_bytes_mut(&mut self.loan)
    }
}
