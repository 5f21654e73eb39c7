// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory that isn't a topic's: how bytes get between a message and memory that only a device, or a special way of copying, reaches.
//!
//! A [`Copier`] allocates such memory and copies between it and shared memory. It is used through a [`SharedCopier`], of which each
//! clone is the same copier, and which does what all of them need:
//!
//! - **Pinning** (`pins.rs`). A device reaches a page by itself only when a driver was told of it, which takes long. So a copier is told of
//!   each *mapping* once, before its first copy from or to it, and again before the mapping goes. The messages of a segment share that.
//! - **Streams** (`stream.rs`). A copy that a device does in its own time ends in a [`Done`]; a message is published, or a sample
//!   released, by that.
//! - **Death.** What a device writes for a process may go on after the process was killed. So a publisher's segment that was pinned says
//!   so in its header before it is: when its publisher is dead it isn't written to by anybody else, as others would be, but destroyed when nobody
//!   reads it any more (`pool/orphan.rs`). Until the driver lets go of them its pages aren't anything else's.

pub mod cpu;
pub mod cuda;
mod pins;
mod stream;

use std::ffi::c_void;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::os::fork::Token;

pub(crate) use pins::{mapped, unmapped};
pub use stream::StreamPublisher;

/// A queue of a device's work, which is done in order: for CUDA a `CUstream`. Null is the device's default one. What it points to has to
/// live until the work on it is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stream(pub *mut c_void);

// SAFETY: a name for something of the device's, which is reached only through its copier, from any thread.
unsafe impl Send for Stream {}
// SAFETY: as above.
unsafe impl Sync for Stream {}

/// What is to be done when a copy on a stream has ended, well or not: exactly once, by [`call`](Self::call) or, if that is forgotten, by
/// dropping it, which counts as a failure. It may end the copier, and have mappings unpinned; it must not wait for other copies of the same one.
pub struct Done(Option<Box<dyn FnOnce(Result<()>) + Send>>);

impl Done {
    /// What `then` does, which may run in any thread.
    pub fn new(then: impl FnOnce(Result<()>) + Send + 'static) -> Done {
        Done(Some(Box::new(then)))
    }

    /// Says how the copy ended.
    pub fn call(mut self, ended: Result<()>) {
        if let Some(then) = self.0.take() {
            then(ended);
        }
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        if let Some(then) = self.0.take() {
            then(Err(Error::copier("stream", 0, "the copier never said that the copy has ended")));
        }
    }
}

impl fmt::Debug for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Done")
    }
}

/// Allocates memory of some kind, and copies between it and shared memory.
///
/// The memory is the user's: nothing here reads or writes it but through the copier, and its addresses may mean nothing to the processor.
/// A copier is called by any thread, by several at once, and for any number of publishers, subscribers, clients and servers. It must not
/// call this library from within. In the child of a fork it isn't called.
///
/// # Safety
/// After `Ok` the copy has been made, all of it, and nothing beyond its length was read or written; [`alloc`](Self::alloc) gives memory that
/// takes the bytes asked for. A copy on a stream ends when `done` is called or dropped: until then source and target stay as they are, so nothing but the copy's end
/// may lead there, a panic neither.
pub unsafe trait Copier: Send + Sync {
    /// Allocates `size` bytes, which isn't 0, for a message.
    ///
    /// # Errors
    /// [`Error::Copier`] when there is none.
    fn alloc(&self, size: usize) -> Result<*mut u8>;

    /// Frees what [`alloc`](Self::alloc) gave for `size` bytes.
    ///
    /// # Errors
    /// [`Error::Copier`]: whether it is freed isn't known then.
    ///
    /// # Safety
    /// It came from this copier and isn't used afterwards.
    unsafe fn dealloc(&self, memory: *mut u8, size: usize) -> Result<()>;

    /// Copies `from`, which lies in shared memory, to the user's memory.
    ///
    /// # Errors
    /// [`Error::Copier`]: what `to` contains isn't specified then.
    ///
    /// # Safety
    /// `to` is memory of this copier's kind for as many bytes, and nobody else uses it.
    unsafe fn shm_to_user(&self, to: *mut u8, from: &[u8]) -> Result<()>;

    /// Copies the user's memory into shared memory.
    ///
    /// # Errors
    /// [`Error::Copier`]: what `to` contains isn't specified then.
    ///
    /// # Safety
    /// `from` is memory of this copier's kind of as many bytes, and nobody writes to it.
    unsafe fn user_to_shm(&self, to: &mut [u8], from: *const u8) -> Result<()>;

    /// As [`shm_to_user`](Self::shm_to_user), when `stream` comes to it. Without an own way: at once. A device that goes on by itself when its
    /// process was killed copies in this way only.
    ///
    /// # Safety
    /// As there, from now until `done` is called; and `from` stays readable, too.
    unsafe fn shm_to_user_on_stream(&self, to: *mut u8, from: &[u8], stream: Stream, done: Done) {
        let _ = stream;
        // SAFETY: the caller's.
        done.call(unsafe { self.shm_to_user(to, from) });
    }

    /// As [`user_to_shm`](Self::user_to_shm), when `stream` comes to it. Without an own way: at once.
    ///
    /// # Safety
    /// As there, from now until `done` is called; `to` is `len` bytes of shared memory that nobody else uses.
    unsafe fn user_to_shm_on_stream(
        &self,
        to: *mut u8,
        from: *const u8,
        len: usize,
        stream: Stream,
        done: Done,
    ) {
        let _ = stream;
        // SAFETY: the caller's.
        done.call(unsafe { self.user_to_shm(std::slice::from_raw_parts_mut(to, len), from) });
    }

    /// Whether it is to be told of mappings. Without an own answer: no.
    fn wants_pins(&self) -> bool {
        false
    }

    /// Told of a mapping of shared memory, before the first copy from or to it, so that the device reaches it by itself. True:
    /// [`unpin`](Self::unpin) is to be called before it is unmapped. A failure is this copier's own affair: it goes on without.
    ///
    /// While this and [`unpin`](Self::unpin) run, every other first copy and every mapping that comes or goes waits, also those of a [`Done`]: they
    /// must not wait for one.
    ///
    /// # Safety
    /// A mapping of `len` bytes, that stays until `unpin` has returned.
    unsafe fn pin(&self, memory: *mut u8, len: usize, access: PinAccess) -> bool {
        let _ = (memory, len, access);
        false
    }

    /// The mapping goes, or this copier does. False: the device can't be made to let go of it. Then it stays mapped for ever, so that nothing else comes to
    /// be at its address.
    ///
    /// # Safety
    /// [`pin`](Self::pin) returned true for it, once for each of these; no copy from or to it is under way.
    unsafe fn unpin(&self, memory: *mut u8, len: usize) -> bool {
        let _ = (memory, len);
        true
    }
}

/// What may be done to a pinned mapping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PinAccess {
    /// Others' messages: copies from there.
    Read,
    /// A publisher's own messages: copies from and to there.
    Write,
}

/// A copier in use. Its clones are the same copier, which ends with the last of them and of the copies that they began.
#[derive(Clone)]
pub struct SharedCopier(Arc<Shared>);

struct Shared {
    copier: Arc<dyn Copier>,
    /// No other copier of this process has it.
    id: u64,
    token: Token,
}

static LAST_ID: AtomicU64 = AtomicU64::new(0);

impl SharedCopier {
    /// Makes `copier` ready for use.
    ///
    /// # Errors
    /// [`Error::Os`].
    pub fn new(copier: impl Copier + 'static) -> Result<SharedCopier> {
        Ok(Self::of_process(Token::current()?, copier))
    }

    /// The same, where there are handles already.
    pub(crate) fn of_process(token: Token, copier: impl Copier + 'static) -> SharedCopier {
        Self::of_arc(token, Arc::new(copier))
    }

    fn of_arc(token: Token, copier: Arc<dyn Copier>) -> SharedCopier {
        // Relaxed: a number, nothing hangs on it.
        let id = LAST_ID.fetch_add(1, Ordering::Relaxed) + 1;
        SharedCopier(Arc::new(Shared { copier, id, token }))
    }

    /// [`Error::Forked`] in the child of a fork.
    pub(crate) fn check(&self) -> Result<()> {
        self.0.token.check()
    }

    /// Allocates `len` bytes of this copier's memory; freed when it is dropped.
    ///
    /// # Errors
    /// [`Error::Copier`]; [`Error::Forked`].
    pub fn alloc(&self, len: usize) -> Result<UserMemory> {
        self.check()?;
        let start = if len == 0 { std::ptr::null_mut() } else { self.0.copier.alloc(len)? };
        Ok(UserMemory { copier: self.clone(), start, len })
    }

    /// Frees what was [given away](UserMemory::into_raw). Null is no memory.
    ///
    /// # Errors
    /// [`Error::Copier`]: whether it is freed isn't known then; [`Error::Forked`].
    ///
    /// # Safety
    /// It has `len` bytes, came from this copier, and isn't used afterwards.
    pub unsafe fn dealloc(&self, memory: *mut u8, len: usize) -> Result<()> {
        self.check()?;
        if memory.is_null() {
            return Ok(());
        }
        // SAFETY: the caller's.
        unsafe { self.0.copier.dealloc(memory, len) }
    }

    /// Copies `from`, a sample, a request or a reply, to memory of this copier's kind.
    ///
    /// # Errors
    /// [`Error::Copier`]; [`Error::Forked`].
    ///
    /// # Safety
    /// `to` is memory of this copier's kind of at least as many bytes, and nobody else uses it.
    pub unsafe fn shm_to_user(&self, to: *mut u8, from: &[u8]) -> Result<()> {
        self.check()?;
        if from.is_empty() {
            return Ok(());
        }
        pins::pin(&self.0, from.as_ptr());
        // SAFETY: the caller's.
        unsafe { self.0.copier.shm_to_user(to, from) }
    }

    /// Copies memory of this copier's kind to `to`, all of a loan of any kind.
    ///
    /// # Errors
    /// [`Error::Copier`]; [`Error::Forked`].
    ///
    /// # Safety
    /// `from` is memory of this copier's kind of at least as many bytes, and nobody writes to it.
    pub unsafe fn user_to_shm(&self, to: &mut [u8], from: *const u8) -> Result<()> {
        self.check()?;
        if to.is_empty() {
            return Ok(());
        }
        pins::pin(&self.0, to.as_ptr());
        // SAFETY: the caller's.
        unsafe { self.0.copier.user_to_shm(to, from) }
    }

    /// A copy of `from`, a sample, a request or a reply, in newly allocated memory of this copier's kind.
    ///
    /// # Errors
    /// [`Error::Copier`]: nothing is left allocated then; [`Error::Forked`].
    pub fn copy_out(&self, from: &[u8]) -> Result<UserMemory> {
        let memory = self.alloc(from.len())?;
        // SAFETY: it was allocated for as many bytes, and nobody else knows of it.
        unsafe { self.shm_to_user(memory.start, from)? };
        Ok(memory)
    }

    /// Copies `from`, a kept sample for instance, to memory of this copier's kind when `stream` comes to it. `from` is dropped
    /// when that is done, and then `done` called, from any thread. Doesn't wait.
    ///
    /// # Safety
    /// Until `done` is called, `to` is memory of this copier's kind of at least as many bytes, and nobody else uses it but on `stream`,
    /// behind this.
    pub unsafe fn shm_to_user_on_stream<T>(&self, to: *mut u8, from: T, stream: Stream, done: Done)
    where
        T: std::ops::Deref<Target = [u8]> + Send + 'static,
    {
        if let Err(error) = self.check() {
            return done.call(Err(error));
        }
        // Whose bytes are in itself moves no more.
        let from = Box::new(from);
        // SAFETY: `from` goes into `done`, in its box.
        let bytes = unsafe { std::slice::from_raw_parts(from.as_ptr(), from.len()) };
        let copier = self.clone();
        let done = Done::new(move |ended| {
            drop((from, copier));
            done.call(ended);
        });
        if bytes.is_empty() {
            return done.call(Ok(()));
        }
        pins::pin(&self.0, bytes.as_ptr());
        // SAFETY: the caller's; `bytes` stays there until `done` is called.
        unsafe { self.0.copier.shm_to_user_on_stream(to, bytes, stream, done) };
    }

    /// As [`Copier::user_to_shm_on_stream`].
    ///
    /// # Safety
    /// As there.
    unsafe fn user_to_shm_on_stream(
        &self,
        to: *mut u8,
        from: *const u8,
        len: usize,
        stream: Stream,
        done: Done,
    ) {
        if len == 0 {
            return done.call(Ok(()));
        }
        // Also a copier that wants no pins may have a device write there, after this process was killed.
        pins::mark(self.0.token, to);
        pins::pin(&self.0, to);
        // SAFETY: the caller's.
        unsafe { self.0.copier.user_to_shm_on_stream(to, from, len, stream, done) };
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // In the child of a fork neither the mappings nor the device are there.
        if self.token.is_ours() {
            pins::unpin_all(self.token, self.id);
        } else {
            std::mem::forget(self.copier.clone());
        }
    }
}

impl fmt::Debug for SharedCopier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedCopier").field("id", &self.0.id).finish_non_exhaustive()
    }
}

/// Memory that a copier allocated, freed by it when this is dropped.
#[derive(Debug)]
pub struct UserMemory {
    copier: SharedCopier,
    start: *mut u8,
    len: usize,
}

// SAFETY: copiers are used by any thread.
unsafe impl Send for UserMemory {}
// SAFETY: as above; there is nothing but an address to be had here.
unsafe impl Sync for UserMemory {}

impl UserMemory {
    /// Where it is, in terms of its copier; null when it is empty.
    pub fn as_ptr(&self) -> *mut u8 {
        self.start
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Gives the memory away: [`SharedCopier::dealloc`] frees it.
    pub fn into_raw(self) -> *mut u8 {
        let mut this = self;
        this.len = 0;
        this.start
    }
}

impl Drop for UserMemory {
    fn drop(&mut self) {
        if self.len != 0 {
            // Nobody is there to be told. SAFETY: it came from there, and this is the end of it.
            let _ = unsafe { self.copier.dealloc(self.start, self.len) };
        }
    }
}
