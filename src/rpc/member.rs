// SPDX-License-Identifier: MIT OR Apache-2.0
//! What clients and servers have in common: an entry, chunks of their own, and holds on those of others.

use std::cell::{Cell, RefCell};
use std::path::Path;

use super::call::CallId;
use crate::error::{Error, Result};
use crate::pool::{Chunk, Message, Pool, Views};
use crate::ring::ChunkId;
use crate::sync::Ordering;
use crate::topic::{Role, Topic, Wanted};

/// What a header says beside its length, in place of a message's timestamp. A request: which function is meant. A reply:
/// `{server's epoch: 32 | server: 16 | 0: 8 | flags: 8}`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Info(u64);

impl Info {
    /// The payload is a code and words.
    pub(super) const ERROR: u64 = 1;
    /// Another reply of the stream follows.
    pub(super) const MORE: u64 = 2;
    /// The end of a stream, without a payload.
    pub(super) const END: u64 = 4;

    /// What `server`, whose status is `status`, says.
    pub(super) fn new(flags: u64, server: u32, status: u64) -> Info {
        Info(status >> 32 << 32 | u64::from(server as u16) << 16 | flags)
    }

    /// Of a request: which of the service's functions is meant.
    pub(super) fn for_function(function: u64) -> Info {
        Info(function)
    }

    pub(super) fn function(self) -> u64 {
        self.0
    }

    pub(super) fn server(self) -> u32 {
        u32::from((self.0 >> 16) as u16)
    }

    pub(super) fn of(message: &Message) -> Info {
        Info(message.timestamp)
    }

    #[inline]
    pub(super) fn has(self, flag: u64) -> bool {
        self.0 & flag != 0
    }

    /// Whether `status` is that of the server that sent this.
    pub(super) fn is_from(self, status: u64) -> bool {
        self.0 >> 32 == status >> 32
    }
}

/// A participant of a service. For one thread at a time.
pub(super) struct Member {
    /// No user code runs while one of these is borrowed, so the borrows never meet.
    pool: RefCell<Pool>,
    views: RefCell<Views>,
    /// Which holds are taken, by the segment that the chunk is in; 0: free.
    taken: Box<[Cell<u32>]>,
    // Last: leaving makes orphans of what the pool didn't give back.
    pub(super) topic: Topic,
}

impl Member {
    pub(super) fn open(
        name: &str,
        root: Option<&Path>,
        wanted: Wanted,
        role: Role,
        memory: u64,
    ) -> Result<Member> {
        let topic = Topic::open(name, root, wanted, role)?;
        let memory = if memory == 0 { crate::options::DEFAULT_MEMORY } else { memory };
        let taken = (0..topic.geometry().holds).map(|_| Cell::new(0)).collect();
        Ok(Member {
            pool: RefCell::new(Pool::new(&topic, memory)),
            views: RefCell::new(Views::default()),
            taken,
            topic,
        })
    }

    #[inline]
    pub(super) fn loan(&self, len: usize) -> Result<Chunk> {
        self.pool.borrow_mut().loan(&self.topic, len)
    }

    #[inline]
    pub(super) fn discard(&self, chunk: Chunk) {
        self.pool.borrow_mut().discard(chunk);
    }

    /// Gets ready for the next loan of the size of `chunk`, while the other side is at it.
    #[inline]
    pub(super) fn prepare(&self, chunk: &Chunk) {
        self.pool.borrow_mut().prepare(&self.topic, chunk.size);
    }

    /// Takes back a chunk of a call that is over.
    #[inline]
    pub(super) fn retire(&self, chunk: ChunkId) {
        self.pool.borrow_mut().retire(chunk);
    }

    #[inline]
    pub(super) fn free_hold(&self) -> Result<u32> {
        match self.taken.iter().position(|taken| taken.get() == 0) {
            Some(hold) => Ok(hold as u32),
            None => Err(Error::NoHold { limit: self.taken.len() as u32 }),
        }
    }

    /// Holds `chunk`, which whoever is about to free it learns by a later change of the call's state.
    #[inline]
    pub(super) fn hold(&self, hold: u32, chunk: ChunkId) {
        // Release: the hold before it is over (H2).
        self.topic.holds()[hold as usize].store(chunk.hold_word(), Ordering::Release);
    }

    /// Notes that `hold` is in use for `chunk`.
    #[inline]
    pub(super) fn keep(&self, hold: u32, chunk: ChunkId) {
        self.taken[hold as usize].set(chunk.segment());
    }

    #[inline]
    pub(super) fn release(&self, hold: u32) {
        // In the child of a fork the shared word is the parent's.
        if self.topic.token().is_ours() {
            // H2.
            self.topic.holds()[hold as usize].store(0, Ordering::Release);
        }
        self.taken[hold as usize].set(0);
    }

    /// Starts to bring `chunk` into the cache.
    #[inline]
    pub(super) fn fetch(&self, chunk: ChunkId) {
        self.views.borrow().fetch(chunk);
    }

    /// What the held `chunk` of call `id` says.
    #[inline]
    pub(super) fn read(&self, chunk: ChunkId, id: CallId) -> Result<Message> {
        let is_held = |segment| self.taken.iter().any(|taken| taken.get() == segment);
        self.views.borrow_mut().message(&self.topic, chunk, id.word(), is_held)
    }

    /// Fills the header of a chunk of call `id`.
    #[inline]
    #[cfg_attr(feature = "crash-points", track_caller)]
    pub(super) fn describe(&self, chunk: &Chunk, len: usize, id: CallId, info: Info) {
        chunk.describe(len, info.0, self.topic.index());
        chunk.stamp(id.word());
    }

    /// How this participant's memory is used.
    pub(super) fn memory(&self) -> Result<crate::MemoryInfo> {
        self.topic.token().check()?;
        Ok(self.pool.borrow_mut().memory(&self.topic))
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if self.topic.token().is_ours() {
            self.pool.get_mut().leave(&self.topic);
        }
    }
}

/// `len` bytes of a chunk that is nobody else's yet, for reading.
///
/// # Safety
/// As for `bytes_mut`; others may read them, too.
#[inline]
pub(super) unsafe fn bytes<'a>(chunk: &Chunk, len: usize) -> &'a [u8] {
    // SAFETY: the caller's, as below.
    unsafe { std::slice::from_raw_parts(chunk.payload().as_ptr(), len) }
}

/// `len` bytes of a chunk that is nobody else's yet.
///
/// # Safety
/// The chunk is the caller's alone for `'a`, and `len` at most its size.
#[inline]
pub(super) unsafe fn bytes_mut<'a>(chunk: &Chunk, len: usize) -> &'a mut [u8] {
    // SAFETY: the caller's; its bytes were initialised by the kernel or by earlier messages.
    unsafe { std::slice::from_raw_parts_mut(chunk.payload().as_ptr(), len) }
}
