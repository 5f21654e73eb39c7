// SPDX-License-Identifier: MIT OR Apache-2.0
//! Copiers: memory that isn't a topic's, of whatever kind the callbacks of a `shm_copier_ops` reach.

use super::arguments::{bytes, bytes_mut, output, required, write_wanted};
use super::error::{report, Failure};
use super::guard::{guard, guard_value};
use super::options::read_sized;
use super::publisher::ShmPublisher;
use super::sample::{shm_sample_release, ShmSample};
use super::status::SHM_OK;
use crate::copier::{Copier, Done, PinAccess, SharedCopier, Stream};
use crate::os::fork::Token;
use crate::{Error, Result};
use std::ffi::c_void;
use std::mem::{offset_of, size_of};
use std::ops::Deref;
use std::ptr;

/// Says how a copy on a stream ended: a status, SHM_OK when the bytes are there. It is called exactly once, by any thread.
pub type ShmDone = Option<unsafe extern "C" fn(done_data: *mut c_void, status: i32)>;

/// What a copier is made of. `shm_copier_ops_init` sets it to nothing; `shm_to_user` and `user_to_shm` are needed.
///
/// Each but `destroy` returns 0 when it did what it is for, and otherwise a number of its own: the call that it was made for fails with
/// SHM_ERR_COPIER then, and `shm_last_error_code` is that number. They are called by any thread that uses the copier, by several at once, and
/// must not call functions of this library, nor let an exception out. A device that copies by itself, in its own time, needs the functions on streams: what it
/// writes to is left alone then when its process was killed.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ShmCopierOps {
    /// sizeof(shm_copier_ops), set by `shm_copier_ops_init`.
    pub struct_size: usize,
    /// Given to each of the others.
    pub user_data: *mut c_void,
    /// Allocates `size` bytes, at least 1, and says in `*memory` where. NULL: this copier doesn't allocate.
    pub alloc:
        Option<unsafe extern "C" fn(user_data: *mut c_void, size: usize, memory: *mut *mut c_void) -> i32>,
    /// Frees what `alloc` gave for `size` bytes. NULL only with `alloc`.
    pub dealloc:
        Option<unsafe extern "C" fn(user_data: *mut c_void, memory: *mut c_void, size: usize) -> i32>,
    /// Copies `size` bytes, at least 1, from `src`, which lies in shared memory and is only to be read, to the user's memory at `dst`.
    pub shm_to_user: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            dst: *mut c_void,
            src: *const c_void,
            size: usize,
        ) -> i32,
    >,
    /// Copies `size` bytes, at least 1, from the user's memory at `src` to `dst`, which lies in shared memory.
    pub user_to_shm: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            dst: *mut c_void,
            src: *const c_void,
            size: usize,
        ) -> i32,
    >,
    /// As `shm_to_user`, when `stream` comes to it, without waiting for that. On 0 it calls `done(done_data, status)` exactly once, by any thread,
    /// when the copy has ended: 0 or a number of its own. Otherwise it never does. `done` may call `unpin` and `destroy`. NULL: the copy is made at once.
    pub shm_to_user_on_stream: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            dst: *mut c_void,
            src: *const c_void,
            size: usize,
            stream: *mut c_void,
            done: ShmDone,
            done_data: *mut c_void,
        ) -> i32,
    >,
    /// The same the other way.
    pub user_to_shm_on_stream: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            dst: *mut c_void,
            src: *const c_void,
            size: usize,
            stream: *mut c_void,
            done: ShmDone,
            done_data: *mut c_void,
        ) -> i32,
    >,
    /// Told of a mapping of `size` bytes of shared memory, once, before the first copy from or to it; `is_writable` is 1 when copies go there, too. 0:
    /// `unpin` is to be called before it is unmapped. Otherwise it goes on without. It may not be NULL when `unpin` isn't. While these two run every other first
    /// copy waits, and every mapping that comes or goes, also in a `done`: they must not wait for one.
    pub pin: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            memory: *mut c_void,
            size: usize,
            is_writable: i32,
        ) -> i32,
    >,
    /// The mapping goes, or the copier does. Unless this returns 0 the mapping stays for ever, so that the device doesn't write to what comes to be there next.
    pub unpin: Option<unsafe extern "C" fn(user_data: *mut c_void, memory: *mut c_void, size: usize) -> i32>,
    /// The end of the copier: called once, by the thread that ends it or the last copy of it, and none of the others after it.
    pub destroy: Option<unsafe extern "C" fn(user_data: *mut c_void)>,
}

impl ShmCopierOps {
    const DEFAULT: Self = Self {
        struct_size: size_of::<Self>(),
        user_data: ptr::null_mut(),
        alloc: None,
        dealloc: None,
        shm_to_user: None,
        user_to_shm: None,
        shm_to_user_on_stream: None,
        user_to_shm_on_stream: None,
        pin: None,
        unpin: None,
        destroy: None,
    };

    const ENDS: [usize; 10] = [
        offset_of!(Self, alloc),
        offset_of!(Self, dealloc),
        offset_of!(Self, shm_to_user),
        offset_of!(Self, user_to_shm),
        offset_of!(Self, shm_to_user_on_stream),
        offset_of!(Self, user_to_shm_on_stream),
        offset_of!(Self, pin),
        offset_of!(Self, unpin),
        offset_of!(Self, destroy),
        size_of::<Self>(),
    ];

    /// # Safety
    /// C2 holds for `ops` and its `struct_size`.
    unsafe fn read(ops: *const Self) -> std::result::Result<Self, Failure> {
        output(ops.cast_mut(), "ops")?;
        // SAFETY: the caller's; pointers to functions that may be NULL are any bytes.
        let ops = unsafe { read_sized(ops, Self::DEFAULT, &Self::ENDS)? };
        let missing = match ops {
            Self { shm_to_user: None, .. } => "shm_to_user",
            Self { user_to_shm: None, .. } => "user_to_shm",
            Self { alloc: Some(_), dealloc: None, .. } => "dealloc",
            Self { unpin: Some(_), pin: None, .. } => "pin",
            _ => return Ok(ops),
        };
        Err(Failure::option(format!("member {missing} of the copier is NULL, but needed")))
    }
}

/// A copier of a C program.
struct Foreign(ShmCopierOps);

// SAFETY: what is behind `user_data` is used by any thread, says the contract of `shm_copier_ops`.
unsafe impl Send for Foreign {}
// SAFETY: as above.
unsafe impl Sync for Foreign {}

/// Memory of the user's that is needed for `size` bytes.
pub(super) fn present(
    memory: *const c_void,
    size: usize,
    argument: &'static str,
) -> std::result::Result<(), Failure> {
    if size != 0 {
        output(memory.cast_mut(), argument)?;
    }
    Ok(())
}

/// What a callback returned, as a result.
fn returned(call: &'static str, status: i32) -> Result<()> {
    match status {
        0 => Ok(()),
        status => Err(Error::copier(call, status, "its own number")),
    }
}

fn missing<T>(call: &'static str) -> Result<T> {
    Err(Error::copier(call, 0, "it has none"))
}

type OnStream = unsafe extern "C" fn(
    *mut c_void,
    *mut c_void,
    *const c_void,
    usize,
    *mut c_void,
    ShmDone,
    *mut c_void,
) -> i32;

impl Foreign {
    /// # Safety
    /// Those of the copier's copies on a stream.
    unsafe fn on_stream(
        &self,
        (call, copy): (&'static str, OnStream),
        (to, from, len): (*mut u8, *const u8, usize),
        stream: Stream,
        done: Done,
    ) {
        let data = Box::into_raw(Box::new((call, done)));
        let (to, from, user_data) = (to.cast(), from.cast(), self.0.user_data);
        // SAFETY: the caller's.
        let status = unsafe { copy(user_data, to, from, len, stream.0, Some(has_ended), data.cast()) };
        if status != 0 {
            // SAFETY: made above, and a copy that didn't begin never says that it ended.
            let (call, done) = *unsafe { Box::from_raw(data) };
            done.call(returned(call, status));
        }
    }
}

/// What a copier of a C program calls at the end of a copy on a stream.
unsafe extern "C" fn has_ended(data: *mut c_void, status: i32) {
    guard_value((), || {
        // SAFETY: `on_stream` made it, and this is called once.
        let (call, done) = *unsafe { Box::from_raw(data.cast::<(&'static str, Done)>()) };
        done.call(returned(call, status));
    })
}

// SAFETY: the contract of `shm_copier_ops` says the same.
unsafe impl Copier for Foreign {
    fn alloc(&self, size: usize) -> Result<*mut u8> {
        let Some(alloc) = self.0.alloc else { return missing("alloc") };
        let mut memory = ptr::null_mut();
        // SAFETY: C2.
        returned("alloc", unsafe { alloc(self.0.user_data, size, &raw mut memory) })?;
        if memory.is_null() {
            return Err(Error::copier("alloc", 0, "it gave NULL"));
        }
        Ok(memory.cast())
    }

    unsafe fn dealloc(&self, memory: *mut u8, size: usize) -> Result<()> {
        let Some(dealloc) = self.0.dealloc else { return missing("dealloc") };
        // SAFETY: the caller's.
        returned("dealloc", unsafe { dealloc(self.0.user_data, memory.cast(), size) })
    }

    unsafe fn shm_to_user(&self, to: *mut u8, from: &[u8]) -> Result<()> {
        let Some(copy) = self.0.shm_to_user else { return missing("shm_to_user") };
        // SAFETY: the caller's.
        let status = unsafe { copy(self.0.user_data, to.cast(), from.as_ptr().cast(), from.len()) };
        returned("shm_to_user", status)
    }

    unsafe fn user_to_shm(&self, to: &mut [u8], from: *const u8) -> Result<()> {
        let Some(copy) = self.0.user_to_shm else { return missing("user_to_shm") };
        // SAFETY: the caller's.
        let status = unsafe { copy(self.0.user_data, to.as_mut_ptr().cast(), from.cast(), to.len()) };
        returned("user_to_shm", status)
    }

    unsafe fn shm_to_user_on_stream(&self, to: *mut u8, from: &[u8], stream: Stream, done: Done) {
        match self.0.shm_to_user_on_stream {
            Some(copy) => {
                let (copy, what) = (("shm_to_user_on_stream", copy), (to, from.as_ptr(), from.len()));
                // SAFETY: the caller's.
                unsafe { self.on_stream(copy, what, stream, done) }
            }
            // SAFETY: the caller's.
            None => done.call(unsafe { self.shm_to_user(to, from) }),
        }
    }

    unsafe fn user_to_shm_on_stream(
        &self,
        to: *mut u8,
        from: *const u8,
        len: usize,
        stream: Stream,
        done: Done,
    ) {
        match self.0.user_to_shm_on_stream {
            Some(copy) => {
                // SAFETY: the caller's.
                unsafe { self.on_stream(("user_to_shm_on_stream", copy), (to, from, len), stream, done) }
            }
            // SAFETY: the caller's.
            None => done.call(unsafe { self.user_to_shm(std::slice::from_raw_parts_mut(to, len), from) }),
        }
    }

    fn wants_pins(&self) -> bool {
        self.0.pin.is_some()
    }

    unsafe fn pin(&self, memory: *mut u8, len: usize, access: PinAccess) -> bool {
        let is_writable = i32::from(access == PinAccess::Write);
        // SAFETY: a mapping that stays until `unpin`.
        self.0.pin.is_some_and(|pin| unsafe { pin(self.0.user_data, memory.cast(), len, is_writable) } == 0)
    }

    unsafe fn unpin(&self, memory: *mut u8, len: usize) -> bool {
        // SAFETY: a mapping that `pin` was told of.
        self.0.unpin.is_none_or(|unpin| unsafe { unpin(self.0.user_data, memory.cast(), len) } == 0)
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        if let Some(destroy) = self.0.destroy {
            // SAFETY: the copier's end.
            unsafe { destroy(self.0.user_data) };
        }
    }
}

/// Allocates memory of some kind, and copies between it and shared memory.
///
/// Any threads may use a copier, also at once, with any publishers, subscribers, clients and servers.
pub struct ShmCopier {
    pub(super) core: SharedCopier,
}

impl ShmCopier {
    /// The handle for the caller.
    pub(super) fn boxed(core: SharedCopier) -> *mut ShmCopier {
        Box::into_raw(Box::new(ShmCopier { core }))
    }
}

/// Sets `ops` to a copier that can do nothing yet, and its `struct_size`.
///
/// The struct stays the caller's. Errors: SHM_ERR_NULL. Any thread may call this at any time.
#[no_mangle]
pub unsafe extern "C" fn shm_copier_ops_init(ops: *mut ShmCopierOps) -> i32 {
    guard(|| {
        let ops = output(ops, "ops")?;
        // SAFETY: C2.
        unsafe { ops.write(ShmCopierOps::DEFAULT) };
        Ok(SHM_OK)
    })
}

/// Makes a copier of the functions in `ops`, which is only read during the call.
///
/// On SHM_OK `*copier` is the caller's, to be ended with `shm_copier_destroy`, and `ops->destroy` will be called once; otherwise it never is. Any
/// thread may call this at any time.
///
/// Errors: SHM_ERR_NULL; SHM_ERR_INVALID_OPTION when a function is missing; SHM_ERR_OS.
#[no_mangle]
pub unsafe extern "C" fn shm_copier_create(ops: *const ShmCopierOps, copier: *mut *mut ShmCopier) -> i32 {
    guard(|| {
        let place = output(copier, "copier")?;
        // SAFETY: C2.
        let ops = unsafe { ShmCopierOps::read(ops)? };
        // First: a failure leaves what it is made of the caller's.
        let token = Token::current()?;
        let core = SharedCopier::of_process(token, Foreign(ops));
        // SAFETY: C2.
        unsafe { place.write(ShmCopier::boxed(core)) };
        Ok(SHM_OK)
    })
}

/// Ends the use of a copier. NULL does nothing.
///
/// The copier itself ends, by its `destroy`, when the copies on streams that it began have ended, and the stream publishers that copy with it are
/// destroyed. What it allocated has to be freed before. Runs while no other call on `copier` does.
#[no_mangle]
pub unsafe extern "C" fn shm_copier_destroy(copier: *mut ShmCopier) {
    guard_value((), || {
        if !copier.is_null() {
            // SAFETY: C1, C4.
            drop(unsafe { Box::from_raw(copier) });
        }
    })
}

/// Allocates `size` bytes of the copier's memory.
///
/// On SHM_OK `*memory` is the caller's, to be freed with `shm_copier_dealloc` and the same size; NULL when `size` is 0. Any threads, also at
/// once.
///
/// Errors: SHM_ERR_NULL, SHM_ERR_COPIER, SHM_ERR_FORKED.
#[no_mangle]
pub unsafe extern "C" fn shm_copier_alloc(
    copier: *const ShmCopier,
    size: usize,
    memory: *mut *mut c_void,
) -> i32 {
    guard(|| {
        let place = output(memory, "memory")?;
        // SAFETY: C1.
        let copier = unsafe { required(copier, "copier")? };
        let allocated = copier.core.alloc(size)?;
        // SAFETY: C2.
        unsafe { place.write(allocated.into_raw().cast()) };
        Ok(SHM_OK)
    })
}

/// Frees `size` bytes that the copier allocated. `memory` may be NULL: then there is nothing to free.
///
/// Any threads, also at once. Errors: SHM_ERR_NULL; SHM_ERR_COPIER: whether it is freed isn't known then; SHM_ERR_FORKED.
#[no_mangle]
pub unsafe extern "C" fn shm_copier_dealloc(
    copier: *const ShmCopier,
    memory: *mut c_void,
    size: usize,
) -> i32 {
    guard(|| {
        // SAFETY: C1; the memory is the caller's.
        unsafe { required(copier, "copier")?.core.dealloc(memory.cast(), size)? };
        Ok(SHM_OK)
    })
}

/// Copies `size` bytes from `src`, which lie in a sample, a request or a reply, to the user's memory at `dst`.
///
/// `dst` and `src` may be NULL when `size` is 0. Any threads, also at once. Errors: SHM_ERR_NULL; SHM_ERR_COPIER: what `dst` contains isn't
/// specified then; SHM_ERR_TOO_LARGE, SHM_ERR_FORKED.
#[no_mangle]
pub unsafe extern "C" fn shm_copier_shm_to_user(
    copier: *const ShmCopier,
    dst: *mut c_void,
    src: *const c_void,
    size: usize,
) -> i32 {
    guard(|| {
        present(dst, size, "dst")?;
        present(src, size, "src")?;
        // SAFETY: C1, C2.
        let (copier, from) = unsafe { (required(copier, "copier")?, bytes(src, size)?) };
        // SAFETY: C2, of this copier's memory.
        unsafe { copier.core.shm_to_user(dst.cast(), from)? };
        Ok(SHM_OK)
    })
}

/// Copies `size` bytes of the user's memory at `src` to `dst`, which lies in a loan of a message, a request or a reply.
///
/// `dst` and `src` may be NULL when `size` is 0. Any threads, also at once. Errors: SHM_ERR_NULL; SHM_ERR_COPIER: what `dst` contains isn't
/// specified then; SHM_ERR_TOO_LARGE, SHM_ERR_FORKED.
#[no_mangle]
pub unsafe extern "C" fn shm_copier_user_to_shm(
    copier: *const ShmCopier,
    dst: *mut c_void,
    src: *const c_void,
    size: usize,
) -> i32 {
    guard(|| {
        present(dst, size, "dst")?;
        present(src, size, "src")?;
        // SAFETY: C1.
        let copier = unsafe { required(copier, "copier")? };
        // SAFETY: C2.
        let to = unsafe { bytes_mut(dst, size)? };
        // SAFETY: C2, of this copier's memory.
        unsafe { copier.core.user_to_shm(to, src.cast())? };
        Ok(SHM_OK)
    })
}

/// Copies `size` bytes from `src`, which lie in a sample, a request or a reply, to memory that the copier allocates for them.
///
/// On SHM_OK `*memory` is the caller's, to be freed with `shm_copier_dealloc` and the same size; NULL when `size` is 0. Any threads, also at once.
/// Errors: SHM_ERR_NULL, SHM_ERR_COPIER, SHM_ERR_TOO_LARGE, SHM_ERR_FORKED; nothing is left allocated then.
#[no_mangle]
pub unsafe extern "C" fn shm_copier_copy_out(
    copier: *const ShmCopier,
    src: *const c_void,
    size: usize,
    memory: *mut *mut c_void,
) -> i32 {
    guard(|| {
        let place = output(memory, "memory")?;
        present(src, size, "src")?;
        // SAFETY: C1, C2.
        let (copier, from) = unsafe { (required(copier, "copier")?, bytes(src, size)?) };
        let copied = copier.core.copy_out(from)?;
        // SAFETY: C2.
        unsafe { place.write(copied.into_raw().cast()) };
        Ok(SHM_OK)
    })
}

/// Publishes a copy of the `size` bytes of the copier's memory at `src`. Otherwise as `shm_publisher_publish`.
///
/// `src` may be NULL when `size` is 0. `position` may be NULL; otherwise it gets the message's place in the topic's order. One thread at a time uses
/// the publisher.
///
/// Errors: those of `shm_publisher_publish`; SHM_ERR_COPIER: nothing is published then.
#[no_mangle]
pub unsafe extern "C" fn shm_publisher_publish_from(
    publisher: *mut ShmPublisher,
    copier: *const ShmCopier,
    src: *const c_void,
    size: usize,
    position: *mut u64,
) -> i32 {
    guard(|| {
        // SAFETY: C1, C3.
        let (publisher, copier) = unsafe { (required(publisher, "publisher")?, required(copier, "copier")?) };
        present(src, size, "src")?;
        // SAFETY: C2, of this copier's memory.
        let published = unsafe { publisher.core.publish_from(&copier.core, src.cast(), size)? };
        // SAFETY: C2.
        unsafe { write_wanted(position, published) };
        Ok(SHM_OK)
    })
}

/// A sample that is being copied on a stream.
struct Given(*mut ShmSample, *const [u8]);

// SAFETY: any thread may read and release a sample.
unsafe impl Send for Given {}

impl Deref for Given {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: its bytes, until it is released.
        unsafe { &*self.1 }
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        // SAFETY: C1: the caller gave it away.
        unsafe { shm_sample_release(self.0) };
    }
}

/// Whom to tell that a copy has ended.
struct Told(ShmDone, *mut c_void);

// SAFETY: `done` is called by any thread, says its contract.
unsafe impl Send for Told {}

impl Told {
    fn tell(self, ended: Result<()>) {
        // With the words and the number for who asks in `done`.
        let status = ended.map_or_else(|error| report(error.into()), |()| SHM_OK);
        if let Some(done) = self.0 {
            // SAFETY: C2, until it is called, which is once.
            unsafe { done(self.1, status) };
        }
    }
}

/// Copies a sample to the user's memory at `dst` when `stream` comes to it, and releases it then. Doesn't wait for that.
///
/// `stream` is what the copier's kind of memory calls one, for CUDA a CUstream; NULL is its default one. Until the copy has ended `dst` is used by nothing but
/// this, and what is behind it on `stream`. `done`, which may be NULL, is called with `done_data` when it has: exactly once, by any thread, if SHM_OK
/// was returned; with SHM_ERR_COPIER when it failed, and then `shm_last_error_message` and `shm_last_error_code` say more in `done`. It must not wait for
/// other copies or stream publishers of this copier. For a sample of no bytes nothing is copied, and `done` called at once. The sample isn't
/// the caller's any more after SHM_OK, and otherwise what it was. Any thread may call this at any time.
///
/// Errors: SHM_ERR_NULL; SHM_ERR_CLOSED when the sample was released before; SHM_ERR_FORKED.
#[no_mangle]
pub unsafe extern "C" fn shm_sample_copy_on_stream(
    sample: *mut ShmSample,
    copier: *const ShmCopier,
    dst: *mut c_void,
    stream: *mut c_void,
    done: ShmDone,
    done_data: *mut c_void,
) -> i32 {
    guard(|| {
        // SAFETY: C1.
        let (content, copier) = unsafe {
            (required(sample, "sample")?.bytes().ok_or(Error::Closed)?, required(copier, "copier")?)
        };
        present(dst, content.len(), "dst")?;
        copier.core.check()?;
        let (given, told) = (Given(sample, content), Told(done, done_data));
        let done = Done::new(move |ended| told.tell(ended));
        // SAFETY: C2, until it has ended.
        unsafe { copier.core.shm_to_user_on_stream(dst.cast(), given, Stream(stream), done) };
        Ok(SHM_OK)
    })
}
