// SPDX-License-Identifier: MIT OR Apache-2.0
//! The fork rule: a handle belongs to the process that made it, and says so in the child.
//!
//! Three things happen in a child, and none may depend on the child's code:
//!
//! - **Detection.** One private page is mapped with `MADV_WIPEONFORK` (madvise(2), Linux 4.14): the kernel hands the
//!   child a page of zeroes. The page's word is a token that every handle remembers; a handle whose token isn't
//!   the page's is another process's. That costs one load a call, and holds for raw `clone` too.
//! - **Keeping out.** Mappings aren't inherited (`MADV_DONTFORK`): a child that writes to a loan, or reads a sample, of its parent ends
//!   itself instead of changing a message under its readers.
//! - **Letting go.** The child must not keep its parent's liveness locks: handlers of `pthread_atfork(3)` close the
//!   lock descriptors in the child. Opening one and noting it happen under a mutex that the prepare handler takes, so
//!   no fork falls between. (A raw `clone` without exec skips the handlers: such a child keeps its parent's
//!   participants alive until it ends.)

use std::cell::UnsafeCell;
use std::fs::File;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};

use rustix::mm::{Advice, MapFlags, ProtFlags};

use crate::crash::point;
use crate::error::{Error, Result};

/// What a handle remembers of the process that made it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Token(u64);

/// The page that a fork wipes; null before the first handle.
static PAGE: AtomicPtr<AtomicU64> = AtomicPtr::new(std::ptr::null_mut());
/// The last token given out. Ordinary memory: a child goes on counting from its parent's.
static LAST: AtomicU64 = AtomicU64::new(0);

impl Token {
    /// This process's token, made at its first call.
    pub(crate) fn current() -> Result<Token> {
        register()?;
        let _guard = lock_descriptors();
        // SAFETY: `register` made the page, which is never unmapped.
        let word = unsafe { &*PAGE.load(Ordering::Acquire) };
        let token = word.load(Ordering::Relaxed);
        if token != 0 {
            return Ok(Token(token));
        }
        // First in this process, and no two threads come here at once. Relaxed: the mutex orders them.
        let token = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        word.store(token, Ordering::Relaxed);
        Ok(Token(token))
    }

    /// Whether this process made the handle.
    #[inline]
    pub(crate) fn is_ours(self) -> bool {
        // Relaxed twice: the pointer was set before the token was made, in this very process or a parent of it.
        // SAFETY: a token exists, so the page does, and it is never unmapped.
        let word = unsafe { &*PAGE.load(Ordering::Relaxed) };
        word.load(Ordering::Relaxed) == self.0
    }

    /// `Err(Forked)` unless this process made the handle.
    #[inline]
    pub(crate) fn check(self) -> Result<()> {
        if self.is_ours() {
            Ok(())
        } else {
            Err(Error::Forked)
        }
    }
}

/// A file whose description no child of a fork keeps.
#[derive(Debug)]
pub(crate) struct Unshared {
    file: ManuallyDrop<File>,
    token: Token,
}

impl Unshared {
    pub(crate) fn open(open: impl FnOnce() -> Result<File>) -> Result<Self> {
        let token = Token::current()?;
        let mut descriptors = lock_descriptors();
        let file = open()?;
        descriptors.list().push(file.as_raw_fd());
        Ok(Unshared { file: ManuallyDrop::new(file), token })
    }

    pub(crate) fn get(&self) -> &File {
        &self.file
    }
}

impl Drop for Unshared {
    fn drop(&mut self) {
        // In a child the number was closed already, and may be another file's by now.
        if !self.token.is_ours() {
            return;
        }
        let mut descriptors = lock_descriptors();
        let number = self.file.as_raw_fd();
        descriptors.list().retain(|&other| other != number);
        // Closing gives the locks up.
        point();
        // SAFETY: dropped once, here, and not used afterwards.
        unsafe { ManuallyDrop::drop(&mut self.file) };
    }
}

/// The open lock descriptors of this process.
struct Descriptors {
    mutex: UnsafeCell<libc::pthread_mutex_t>,
    list: UnsafeCell<Vec<RawFd>>,
}

// SAFETY: `list` is touched only with `mutex` held (or in a child's single thread before it runs on).
unsafe impl Sync for Descriptors {}

/// A pthread mutex, not std's: it is locked in the prepare handler and unlocked in another one.
static DESCRIPTORS: Descriptors = Descriptors {
    mutex: UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER),
    list: UnsafeCell::new(Vec::new()),
};

struct Guard;

impl Guard {
    fn list(&mut self) -> &mut Vec<RawFd> {
        // SAFETY: the mutex is held by this guard, and the borrow ends with it.
        unsafe { &mut *DESCRIPTORS.list.get() }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // SAFETY: this thread locked it.
        unsafe { libc::pthread_mutex_unlock(DESCRIPTORS.mutex.get()) };
    }
}

fn lock_descriptors() -> Guard {
    // SAFETY: a static, initialised mutex; every holder leaves it soon and none locks it twice.
    unsafe { libc::pthread_mutex_lock(DESCRIPTORS.mutex.get()) };
    Guard
}

/// The thread that is in fork(2), between the handlers; 0: none. Should the handlers be registered twice, by two threads that make
/// the first handles at once, the second of each pair sees here that the first did its work.
static FORKING: AtomicUsize = AtomicUsize::new(0);

fn this_thread() -> usize {
    // SAFETY: always succeeds. The forking thread keeps its value in the child.
    unsafe { libc::pthread_self() as usize }
}

// Relaxed in all three: only the thread itself ever finds its own value here, and the mutex orders the rest.
extern "C" fn before_fork() {
    if FORKING.load(Ordering::Relaxed) != this_thread() {
        std::mem::forget(lock_descriptors());
        FORKING.store(this_thread(), Ordering::Relaxed);
    }
}

extern "C" fn after_fork_in_parent() {
    if FORKING.load(Ordering::Relaxed) == this_thread() {
        FORKING.store(0, Ordering::Relaxed);
        drop(Guard);
    }
}

extern "C" fn after_fork_in_child() {
    if FORKING.load(Ordering::Relaxed) != this_thread() {
        return;
    }
    FORKING.store(0, Ordering::Relaxed);
    let mut guard = Guard;
    for number in guard.list().drain(..) {
        // SAFETY: close(2) is async-signal-safe; these numbers are this child's copies, and nothing else uses them
        // (`Unshared` doesn't, once the token differs).
        unsafe { libc::close(number) };
    }
}

/// Maps the page and registers the handlers. No lock is held meanwhile: a fork at any moment must leave the child able to
/// go on, so two threads may do this at once, and the second one's work is undone or harmless.
fn register() -> Result<()> {
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    if PAGE.load(Ordering::Acquire).is_null() {
        map_page()?;
    }
    if !REGISTERED.load(Ordering::Acquire) {
        // SAFETY: the handlers are functions of this library and touch only its statics.
        let failed = unsafe {
            libc::pthread_atfork(Some(before_fork), Some(after_fork_in_parent), Some(after_fork_in_child))
        };
        if failed != 0 {
            let errno = rustix::io::Errno::from_raw_os_error(failed);
            return Err(Error::os("pthread_atfork", "the fork handlers", errno));
        }
        REGISTERED.store(true, Ordering::Release);
    }
    Ok(())
}

fn map_page() -> Result<()> {
    let size = rustix::param::page_size();
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new anonymous mapping, which nothing else refers to.
    let page =
        unsafe { rustix::mm::mmap_anonymous(std::ptr::null_mut(), size, protection, MapFlags::PRIVATE) }
            .map_err(|errno| Error::os("mmap", "the fork page", errno))?;
    // SAFETY: exactly the page mapped above.
    let advised = unsafe { rustix::mm::madvise(page, size, Advice::LinuxWipeOnFork) };
    let null = std::ptr::null_mut();
    // AcqRel: who sees the pointer sees a page that a fork wipes.
    let mine = advised.is_ok()
        && PAGE.compare_exchange(null, page.cast(), Ordering::AcqRel, Ordering::Relaxed).is_ok();
    if !mine {
        // SAFETY: nobody else knows of it.
        let _ = unsafe { rustix::mm::munmap(page, size) };
    }
    advised.map_err(|errno| Error::os("madvise(MADV_WIPEONFORK)", "the fork page", errno))
}
