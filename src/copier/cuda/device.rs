// SPDX-License-Identifier: MIT OR Apache-2.0
//! A GPU in use: its primary context, which is the one that the CUDA runtime and what stands on it work in, and which is
//! made the calling thread's for each call only.

use std::ffi::{c_int, c_uint, c_void};

use super::driver::{self, driver, pointer, Driver, Handle};
use crate::copier::Stream;
use crate::error::{Error, Result};
use crate::os::fork::Token;

pub(crate) struct Device {
    pub(crate) driver: &'static Driver,
    ordinal: c_int,
    handle: driver::DeviceHandle,
    context: Handle,
    token: Token,
}

// SAFETY: handles of the driver's, which any thread may use.
unsafe impl Send for Device {}
// SAFETY: as above.
unsafe impl Sync for Device {}

/// The device's context is the calling thread's; the one before is again when this is dropped. What this thread does meanwhile, such as registering
/// memory, breaks no capture of a graph that is under way in another one.
pub(crate) struct Current<'a>(&'a Device, Option<c_int>);

impl Device {
    /// The GPU that the driver counts as `ordinal`.
    pub(crate) fn open(ordinal: u32) -> Result<Device> {
        let token = Token::current()?;
        let driver = driver()?;
        let mut count = 0;
        // SAFETY: a place for a number.
        unsafe { driver.device_get_count(&mut count)? };
        let Some(ordinal) = c_int::try_from(ordinal).ok().filter(|&ordinal| ordinal < count) else {
            let reason = format!("device {ordinal} was asked for, and there are {count}, counted from 0; CUDA_VISIBLE_DEVICES hides others");
            return Err(driver::no_device(reason));
        };
        let (mut handle, mut context) = (0, std::ptr::null_mut());
        // SAFETY: places for what they return. The context is released when the device is dropped.
        unsafe {
            driver.device_get(&mut handle, ordinal)?;
            driver.primary_context_retain(&mut context, handle)?;
        }
        Ok(Device { driver, ordinal, handle, context, token })
    }

    /// Which one it is, as the driver counts them.
    pub(crate) fn ordinal(&self) -> c_int {
        self.ordinal
    }

    /// What the driver calls it.
    pub(crate) fn handle(&self) -> driver::DeviceHandle {
        self.handle
    }

    /// The process that opened it.
    pub(crate) fn token(&self) -> Token {
        self.token
    }

    /// Whether it is this process's. In the child of a fork the driver must not be called.
    pub(crate) fn is_ours(&self) -> bool {
        self.token.is_ours()
    }

    /// Makes the context that of this thread.
    pub(crate) fn enter(&self) -> Result<Current<'_>> {
        self.token.check()?;
        // SAFETY: the context is retained.
        unsafe { self.driver.context_push(self.context)? };
        let mut mode = driver::CAPTURE_RELAXED;
        // SAFETY: a place for the mode, and for the one before.
        let changed = unsafe { self.driver.exchange_capture_mode(&mut mode) };
        // Of a device that has failed the call that is to come tells.
        Ok(Current(self, changed.is_ok().then_some(mode)))
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if self.is_ours() {
            // SAFETY: retained once. A driver that has ended already, with the process, says so, and that's all right.
            let _ = unsafe { self.driver.primary_context_release(self.handle) };
        }
    }
}

impl Drop for Current<'_> {
    fn drop(&mut self) {
        let mut popped = std::ptr::null_mut();
        // SAFETY: what this thread pushed last, and the mode that it had: all between comes back to what it found.
        unsafe {
            let _ = self.1.map(|mut mode| self.0.driver.exchange_capture_mode(&mut mode));
            let _ = self.0.driver.context_pop(&mut popped);
        }
    }
}

impl Current<'_> {
    /// What the driver says about the device, as a number.
    pub(crate) fn attribute(&self, attribute: c_int) -> Result<c_int> {
        let mut value = 0;
        // SAFETY: a place for a number.
        unsafe { self.0.driver.device_get_attribute(&mut value, attribute, self.0.handle)? };
        Ok(value)
    }

    /// Refuses a stream that is being captured into a graph: what is put on it would be done later, as often as the graph is launched, when the
    /// message is long gone.
    ///
    /// # Safety
    /// `stream` is one of this context.
    pub(crate) unsafe fn refuse_captured(&self, stream: Stream) -> Result<()> {
        let mut capturing = driver::NOT_CAPTURING;
        // SAFETY: a place for a number; the caller's stream.
        unsafe { self.0.driver.stream_is_capturing(stream.0, &mut capturing)? };
        if capturing == driver::NOT_CAPTURING {
            return Ok(());
        }
        let status = driver::status::STREAM_CAPTURE_UNSUPPORTED as i32;
        let what = "the stream is being captured into a graph, which a message can't be part of";
        Err(Error::copier("cuStreamIsCapturing", status, what))
    }

    /// Refuses memory that isn't this device's and that it doesn't reach either: a copy would fail, or be somebody else's.
    pub(crate) fn check_memory(&self, memory: *const u8) -> Result<()> {
        let found = self.look_at(memory)?;
        let refused = |what: String| {
            Err(Error::copier("cuPointerGetAttributes", driver::status::INVALID_VALUE as i32, what))
        };
        match found {
            Found { kind: 0, .. } => refused(format!(
                "{memory:p} isn't memory that CUDA knows; memory of the processor goes without a copier, or is registered with cudaHostRegister"
            )),
            Found { kind: driver::MEMORY_DEVICE, is_managed: false, ordinal, .. } if ordinal != self.0.ordinal => {
                refused(format!("{memory:p} is memory of device {ordinal}, but this copier is device {}'s", self.0.ordinal))
            }
            Found { reached_at: 0, .. } => {
                refused(format!("{memory:p} is memory that device {} doesn't reach", self.0.ordinal))
            }
            _ => Ok(()),
        }
    }

    fn look_at(&self, memory: *const u8) -> Result<Found> {
        let (mut kind, mut ordinal, mut is_managed, mut reached_at) = (0 as c_uint, -1 as c_int, 0u32, 0u64);
        let attributes =
            [pointer::MEMORY_TYPE, pointer::DEVICE_ORDINAL, pointer::IS_MANAGED, pointer::DEVICE_POINTER];
        let values: [*mut c_void; 4] = [
            (&raw mut kind).cast(),
            (&raw mut ordinal).cast(),
            (&raw mut is_managed).cast(),
            (&raw mut reached_at).cast(),
        ];
        let count = attributes.len() as c_uint;
        // SAFETY: a place for each value, of its type. Any address may be asked about: of one that it doesn't know it says 0.
        unsafe {
            self.0.driver.pointer_get_attributes(
                count,
                attributes.as_ptr(),
                values.as_ptr(),
                memory as u64,
            )?
        };
        Ok(Found { kind, ordinal, is_managed: is_managed != 0, reached_at })
    }
}

/// What the driver knows of an address.
struct Found {
    /// `CUmemorytype`; 0: nothing.
    kind: c_uint,
    ordinal: c_int,
    is_managed: bool,
    /// Where the current device sees it; 0: nowhere.
    reached_at: u64,
}
