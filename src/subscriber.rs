// SPDX-License-Identifier: MIT OR Apache-2.0
//! The receiving side of a topic: pin the next message, read it in place, release it.

use std::cell::{Cell, UnsafeCell};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::options::{SubscriberOptions, TopicInfo};
use crate::pool::Views;
use crate::ring::{Poll, Reader};
use crate::sample::Sample;
use crate::sync::Word;
use crate::topic::{Role, Topic};
use crate::wait::{pass_gate, Waiter};

/// Receives the messages of a topic, each exactly once and in the order that all its subscribers see.
///
/// A subscriber that is slower than the publishers loses the oldest messages, never the order, and
/// [`lost`](Self::lost) says exactly how many. One made with the option
/// [`reliable`](SubscriberOptions::reliable) loses none: publishers wait for it.
///
/// It may move between threads but not be used by two at once (`Send`, not `Sync`): give each thread its own. Samples may
/// go to any thread.
///
/// Signals harm no call: none fails, and no wait ends early, because of one. A signal handler must not use a handle, nor release a
/// sample: nothing here is async-signal-safe. A receive may allocate, to map a segment, and so in a handler that interrupted the
/// allocator would never end.
///
/// ```
/// # let root = tempfile::tempdir()?; std::env::set_var("SHM_ROOT", root.path());
/// use std::time::Duration;
/// let subscriber = shm::Subscriber::new("/greetings")?;
/// assert!(subscriber.try_receive()?.is_none());
/// assert!(subscriber.receive_timeout(Duration::from_millis(1))?.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Subscriber {
    shared: Arc<Shared>,
    /// Not Sync: `Shared::state` is this handle's alone.
    single_threaded: PhantomData<Cell<()>>,
}

/// What samples need of their subscriber, and what only the subscriber itself uses.
pub(crate) struct Shared {
    // Before the topic: mappings go before the participant leaves.
    state: UnsafeCell<State>,
    /// Which holds are taken, by the segment that the sample is in; 0: free. The private twin of the shared hold words, which
    /// others could damage.
    taken: Box<[AtomicU32]>,
    topic: Topic,
    myself: Weak<Shared>,
}

struct State {
    reader: Reader,
    views: Views,
    waiter: Waiter,
    /// The hold that was free last time.
    hint: u32,
}

// SAFETY: `state` is touched only by the methods of `Subscriber`, which is not Sync and of which there is one a `Shared`;
// samples, which may be anywhere, use `taken` and the hold words, which are atomic.
unsafe impl Sync for Shared {}
// SAFETY: nothing in it is tied to a thread; the mappings that `state` points into move with it.
unsafe impl Send for Shared {}

impl Subscriber {
    /// Joins `topic`, making it when it isn't there, and receives what is published from now on.
    ///
    /// # Errors
    /// See [`with_options`](Self::with_options).
    pub fn new(topic: &str) -> Result<Subscriber> {
        Self::with_options(topic, &SubscriberOptions::default())
    }

    /// Joins `topic`, making it when it isn't there, with at least the sizes that `options` ask for.
    ///
    /// # Errors
    /// Those of [`Publisher::with_options`](crate::Publisher::with_options).
    pub fn with_options(topic: &str, options: &SubscriberOptions) -> Result<Subscriber> {
        let role = if options.reliable { Role::Reliable } else { Role::Subscriber };
        let topic = Topic::open(topic, options.root.as_deref(), options.wanted(), role)?;
        let reader = Reader::join(topic.ring(), topic.start(), options.history.into());
        if topic.start().is_none() {
            topic.cursor().store(reader.next(), Ordering::Release);
        }
        let taken = (0..topic.geometry().holds).map(|_| AtomicU32::new(0)).collect();
        let state = State { reader, views: Views::default(), waiter: Waiter::new(), hint: 0 };
        let state = UnsafeCell::new(state);
        let shared = Arc::new_cyclic(|myself| Shared { state, taken, topic, myself: myself.clone() });
        Ok(Subscriber { shared, single_threaded: PhantomData })
    }

    /// The next message if there is one. Never blocks.
    ///
    /// # Errors
    /// [`Error::NoHold`] when a message is there but all samples that may be held are; [`Error::Corrupt`] when another
    /// process damaged the topic: that message is skipped and counted as lost; [`Error::Os`] when the message can't be mapped: it is
    /// the next one still; [`Error::Forked`].
    // Always: callers from C would pay 5 to 10 ns for the way of what is returned through memory.
    #[inline(always)]
    pub fn try_receive(&self) -> Result<Option<Sample<'_>>> {
        let shared = &*self.shared;
        let topic = &shared.topic;
        topic.token().check()?;
        // SAFETY: see `Shared`: we are its one subscriber, on one thread, and no reference to the state leaves this call.
        let state = unsafe { &mut *shared.state.get() };
        let Some(hold) = shared.free_hold(state.hint) else {
            return shared.without_hold(&state.reader);
        };
        let word = &topic.holds()[hold as usize];
        let State { reader, views, hint, .. } = &mut *state;
        let (position, chunk) = match reader.poll(topic.ring(), word, |chunk| views.fetch(chunk)) {
            Poll::Pinned { position, chunk } => (position, chunk),
            Poll::Empty => {
                if topic.start().is_some() {
                    shared.passed(reader);
                }
                return Ok(None);
            }
            Poll::Damaged => return Err(damaged(topic)),
        };
        *hint = hold;
        let is_held = |segment| shared.taken.iter().any(|taken| taken.load(Ordering::Acquire) == segment);
        match views.message(topic, chunk, position, is_held) {
            Ok(message) => {
                shared.read(reader);
                // Relaxed: releases, from any thread, come after the sample was handed over.
                shared.taken[hold as usize].store(chunk.segment(), Ordering::Relaxed);
                Ok(Some(Sample::new(shared, hold, message, position)))
            }
            Err(error) => {
                let error = unreadable(reader, word, position, error);
                if topic.start().is_some() {
                    shared.passed(reader);
                }
                Err(error)
            }
        }
    }

    /// The next message; waits for it.
    ///
    /// # Errors
    /// Those of [`try_receive`](Self::try_receive).
    pub fn receive(&self) -> Result<Sample<'_>> {
        loop {
            if let Some(sample) = self.receive_until(None)? {
                return Ok(sample);
            }
        }
    }

    /// The next message; waits for it, but not longer than `timeout`. `None`: nothing came.
    ///
    /// # Errors
    /// Those of [`try_receive`](Self::try_receive).
    pub fn receive_timeout(&self, timeout: Duration) -> Result<Option<Sample<'_>>> {
        match self.try_receive()? {
            Some(sample) => Ok(Some(sample)),
            // A time so far ahead that the clock can't say it is no deadline.
            None => self.receive_until(Instant::now().checked_add(timeout)),
        }
    }

    /// Like `receive_timeout`; `None` as deadline: waits for ever.
    fn receive_until(&self, deadline: Option<Instant>) -> Result<Option<Sample<'_>>> {
        loop {
            if let Some(sample) = self.try_receive()? {
                return Ok(Some(sample));
            }
            // Also here, not only while waiting: publishers that lap this subscriber at each try could keep it busy.
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Ok(None);
            }
            // SAFETY: as in `try_receive`, whose borrow has ended.
            let state = unsafe { &mut *self.shared.state.get() };
            let next = state.reader.next();
            if !state.waiter.wait(&self.shared.topic, next, deadline) {
                return Ok(None);
            }
        }
    }

    /// How many messages this subscriber missed since it joined, because it was too slow or because they were evicted. Exact
    /// for all positions up to the last received one.
    pub fn lost(&self) -> u64 {
        // SAFETY: as in `try_receive`.
        unsafe { (*self.shared.state.get()).reader.lost() }
    }

    /// The topic's sizes.
    pub fn info(&self) -> TopicInfo {
        TopicInfo::of(&self.shared.topic)
    }

    /// Nothing more is received: publishers needn't wait for it any longer. Kept samples may keep its entry for as long as they like.
    pub(crate) fn stop_gating(&self) {
        let topic = &self.shared.topic;
        if topic.start().is_some() && topic.token().is_ours() {
            pass_gate(topic, u64::MAX);
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.stop_gating();
    }
}

/// Gives the hold of a message that can't be read back. What another try may read isn't lost.
#[cold]
#[inline(never)]
fn unreadable(reader: &mut Reader, hold: &Word, position: u64, error: Error) -> Error {
    hold.store(0, Ordering::Release);
    match error {
        Error::Os { .. } => reader.unread(position),
        _ => reader.lose_last(),
    }
    error
}

#[cold]
#[inline(never)]
fn damaged(topic: &Topic) -> Error {
    Error::corrupt(topic.dir().join("ring"), "a slot is ahead of its tail")
}

impl std::fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscriber").field("info", &self.info()).finish_non_exhaustive()
    }
}

impl Shared {
    /// A hold that isn't taken, looking at `hint` first.
    #[inline]
    fn free_hold(&self, hint: u32) -> Option<u32> {
        // Acquire: pairs with the release of the sample that had it.
        let is_free = |hold: u32| self.taken[hold as usize].load(Ordering::Acquire) == 0;
        if is_free(hint) {
            return Some(hint);
        }
        (0..self.taken.len() as u32).find(|&hold| is_free(hold))
    }

    #[cold]
    #[inline(never)]
    fn without_hold(&self, reader: &Reader) -> Result<Option<Sample<'_>>> {
        if self.topic.ring().is_filled(reader.next()) {
            return Err(Error::NoHold { limit: self.taken.len() as u32 });
        }
        Ok(None)
    }

    /// Says how far this subscriber is.
    #[inline]
    fn read(&self, reader: &Reader) {
        match self.topic.start() {
            // Release: for those who look how far it is.
            None => self.topic.cursor().store(reader.next(), Ordering::Release),
            Some(from) if reader.next() > from => pass_gate(&self.topic, reader.next()),
            // Of the history: publishers don't wait for that.
            Some(_) => {}
        }
    }

    /// The same for a reliable one, when no message was read but some were passed by, which publishers may be waiting for.
    #[cold]
    #[inline(never)]
    fn passed(&self, reader: &Reader) {
        // Relaxed: this process wrote it.
        if self.topic.cursor().load(Ordering::Relaxed) != reader.next() {
            self.read(reader);
        }
    }

    /// Ends a hold: H2, then the private twin.
    #[inline]
    pub(crate) fn release(&self, hold: u32) {
        // In the child of a fork the shared word is the parent's.
        if self.topic.token().is_ours() {
            self.topic.holds()[hold as usize].store(0, Ordering::Release);
        }
        self.taken[hold as usize].store(0, Ordering::Release);
    }

    /// Another owner, for a sample that outlives the subscriber.
    pub(crate) fn arc(&self) -> Arc<Shared> {
        // A `Shared` lives in the Arc that made it, so the upgrade can't fail while there is a `&self`.
        self.myself.upgrade().unwrap_or_else(|| unreachable!("a Shared outside of its Arc"))
    }
}
