// SPDX-License-Identifier: MIT OR Apache-2.0
//! A copier for the memory of NVIDIA's GPUs.
//!
//! The driver is opened when the first copier is made (`driver.rs`); without one that is [`Error::NoDevice`](crate::Error::NoDevice), and nothing
//! else of this library needs it. Each copier belongs to one device (`device.rs`) and works in the context that the CUDA runtime works in, so memory of
//! `cudaMalloc`, of PyTorch and the like is as good as its own. A segment's mapping is registered with the driver once (`registered.rs`), which makes its
//! pages resident; from then on the GPU copies from and to it by itself. How a copy on a stream ends: `completion.rs`.
//!
//! Nothing here calls the driver when the process exits: what the process has the driver frees with it.

mod completion;
mod device;
pub(crate) mod driver;
mod registered;
mod topic;
mod virtual_memory;

use std::fmt;
use std::mem::ManuallyDrop;
use std::sync::Arc;

use super::{Copier, Done, PinAccess, Stream};
use crate::error::Result;
use completion::Completions;
use device::{Current, Device};
use driver::Handle;

pub use topic::{DeviceLoan, DeviceOptions, DevicePublisher, DeviceSample, DeviceSubscriber, Placement};

/// Copies between shared memory and the memory of one NVIDIA GPU, or memory of the process that the GPU reaches: managed, or registered with it.
///
/// Copies without a stream are made one after the other on a stream of the copier's own, which doesn't wait for others: the work on the memory must
/// have ended. What is to be done at the ends of copies on streams is done one after the other, too, in a thread of the copier's.
pub struct CudaCopier {
    device: Arc<Device>,
    stream: Handle,
    completions: ManuallyDrop<Completions>,
    /// Whether the device can be told of memory that it may only read.
    pins_read_only: bool,
    /// Whether it sees registered memory where the processor does.
    shares_addresses: bool,
}

// SAFETY: the stream is the driver's, which any thread may use.
unsafe impl Send for CudaCopier {}
// SAFETY: as above.
unsafe impl Sync for CudaCopier {}

impl CudaCopier {
    /// For the GPU that CUDA counts as `ordinal`, from 0, as `cudaSetDevice` does.
    ///
    /// # Errors
    /// [`Error::NoDevice`](crate::Error::NoDevice) when there is no driver or no such GPU, with what to do; [`Error::Copier`](crate::Error::Copier);
    /// [`Error::Os`](crate::Error::Os).
    pub fn new(ordinal: u32) -> Result<CudaCopier> {
        let device = Arc::new(Device::open(ordinal)?);
        let current = device.enter()?;
        let pins_read_only = current.attribute(driver::DEVICE_READ_ONLY_HOST_REGISTER_SUPPORTED)? != 0;
        let shares_addresses =
            current.attribute(driver::DEVICE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM)? != 0;
        let completions = Completions::start()?;
        let mut stream = std::ptr::null_mut();
        // SAFETY: a place for the stream, which is destroyed when the copier is dropped.
        let made = unsafe { device.driver.stream_create(&mut stream, driver::STREAM_NON_BLOCKING) };
        drop(current);
        if let Err(error) = made {
            completions.end();
            return Err(error);
        }
        Ok(CudaCopier {
            device,
            stream,
            completions: ManuallyDrop::new(completions),
            pins_read_only,
            shares_addresses,
        })
    }

    /// Copies `len` bytes, one end of which is `users`, and waits.
    ///
    /// # Safety
    /// Both are memory of as many bytes, if the driver knows it.
    unsafe fn copy(&self, to: *mut u8, from: *const u8, len: usize, users: *const u8) -> Result<()> {
        let current = self.device.enter()?;
        current.check_memory(users)?;
        // SAFETY: the caller's; it has ended when this returns. After an error of the device nothing of the context runs on.
        unsafe {
            self.device.driver.memory_copy(to as u64, from as u64, len, self.stream)?;
            self.device.driver.stream_synchronize(self.stream)
        }
    }

    /// Has `len` bytes copied when `stream` comes to it.
    ///
    /// # Safety
    /// As [`copy`](Self::copy), until `done` is called.
    unsafe fn copy_on_stream(
        &self,
        (to, from): (*mut u8, *const u8),
        len: usize,
        users: *const u8,
        stream: Stream,
        done: Done,
    ) {
        // SAFETY: the caller's.
        let begun = self.device.enter().and_then(|current| unsafe {
            self.begin(&current, (to, from), len, users, stream)?;
            Ok(current)
        });
        match begun {
            // SAFETY: the copy was begun there.
            Ok(current) => unsafe { self.tell(current, stream, done) },
            Err(error) => done.call(Err(error)),
        }
    }

    /// # Safety
    /// As [`copy_on_stream`](Self::copy_on_stream).
    unsafe fn begin(
        &self,
        current: &Current<'_>,
        (to, from): (*mut u8, *const u8),
        len: usize,
        users: *const u8,
        stream: Stream,
    ) -> Result<()> {
        current.check_memory(users)?;
        // SAFETY: the caller's.
        unsafe { current.refuse_captured(stream)? };
        // SAFETY: the caller's.
        unsafe { self.device.driver.memory_copy(to as u64, from as u64, len, stream.0) }
    }

    /// Whether something can be put on `stream`.
    ///
    /// # Safety
    /// `stream` is one of the device's context.
    unsafe fn check_stream(&self, stream: Stream) -> Result<()> {
        // SAFETY: the caller's.
        unsafe { self.device.enter()?.refuse_captured(stream) }
    }

    /// Has `done` called when `stream` comes to it: what is on it before has ended then, well or not.
    ///
    /// # Safety
    /// `stream` is one of the device's context.
    unsafe fn when_done(&self, stream: Stream, done: Done) {
        match self.device.enter() {
            // SAFETY: the caller's.
            Ok(current) => unsafe { self.tell(current, stream, done) },
            Err(error) => done.call(Err(error)),
        }
    }

    /// Has `done` called when what is on `stream` has ended. `cuLaunchHostFunc` is the newer way, but says nothing after an error.
    ///
    /// # Safety
    /// `stream` is the caller's.
    unsafe fn tell(&self, current: Current<'_>, stream: Stream, done: Done) {
        let packed = self.completions.pack(done);
        // SAFETY: the callback's data is for it; it comes exactly once, unless this fails.
        let told =
            unsafe { self.device.driver.stream_add_callback(stream.0, completion::callback, packed, 0) };
        let Err(error) = told else { return };
        // What is on the stream must have ended before `done`: whatever else this says, nothing of a failed context runs on.
        // SAFETY: the caller's stream; what the driver didn't take is only ours.
        let done = unsafe {
            let _ = self.device.driver.stream_synchronize(stream.0);
            Completions::take_back(packed)
        };
        drop(current);
        done.call(Err(error));
    }
}

// SAFETY: the driver copies exactly the bytes asked for, between what it knows to be there, and says when it has.
unsafe impl Copier for CudaCopier {
    fn alloc(&self, size: usize) -> Result<*mut u8> {
        let _current = self.device.enter()?;
        let mut memory = 0;
        // SAFETY: a place for an address.
        unsafe { self.device.driver.memory_alloc(&mut memory, size)? };
        Ok(memory as *mut u8)
    }

    unsafe fn dealloc(&self, memory: *mut u8, _: usize) -> Result<()> {
        let _current = self.device.enter()?;
        // SAFETY: the caller's.
        unsafe { self.device.driver.memory_free(memory as u64) }
    }

    unsafe fn shm_to_user(&self, to: *mut u8, from: &[u8]) -> Result<()> {
        // SAFETY: the caller's.
        unsafe { self.copy(to, from.as_ptr(), from.len(), to) }
    }

    unsafe fn user_to_shm(&self, to: &mut [u8], from: *const u8) -> Result<()> {
        // SAFETY: the caller's.
        unsafe { self.copy(to.as_mut_ptr(), from, to.len(), from) }
    }

    unsafe fn shm_to_user_on_stream(&self, to: *mut u8, from: &[u8], stream: Stream, done: Done) {
        // SAFETY: the caller's.
        unsafe { self.copy_on_stream((to, from.as_ptr()), from.len(), to, stream, done) }
    }

    unsafe fn user_to_shm_on_stream(
        &self,
        to: *mut u8,
        from: *const u8,
        len: usize,
        stream: Stream,
        done: Done,
    ) {
        // SAFETY: the caller's.
        unsafe { self.copy_on_stream((to, from), len, from, stream, done) }
    }

    fn wants_pins(&self) -> bool {
        true
    }

    /// Without it the driver copies through memory of its own, which is slower and as right.
    fn pin(&self, memory: *mut u8, len: usize, access: PinAccess) -> bool {
        (access == PinAccess::Write || self.pins_read_only)
            && registered::add(&self.device, memory, len, access).is_ok()
    }

    fn unpin(&self, memory: *mut u8, _: usize) {
        registered::remove(memory);
    }
}

impl Drop for CudaCopier {
    fn drop(&mut self) {
        // In the child of a fork there is neither a driver nor a thread.
        if !self.device.is_ours() {
            return;
        }
        // SAFETY: taken once, here.
        unsafe { ManuallyDrop::take(&mut self.completions) }.end();
        if let Ok(_current) = self.device.enter() {
            // SAFETY: made by `new`; no copy is on it, as whoever makes one waits.
            let _ = unsafe { self.device.driver.stream_destroy(self.stream) };
        };
    }
}

impl fmt::Debug for CudaCopier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CudaCopier").finish_non_exhaustive()
    }
}
