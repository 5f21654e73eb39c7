// SPDX-License-Identifier: MIT OR Apache-2.0
//! The handful of NVIDIA's driver's functions that the library is measured against, opened at run time as the library does.

use std::ffi::{c_char, c_int, c_uint, c_void, CStr};
use std::mem::ManuallyDrop;

use libloading::Library;
use memmap2::MmapMut;

use crate::Result;

type Status = c_uint;
type Handle = *mut c_void;

/// Declared as cuda.h has them, under the symbols that it defines their names to.
pub struct Driver {
    device_get: unsafe extern "C" fn(*mut c_int, c_int) -> Status,
    device_get_name: unsafe extern "C" fn(*mut c_char, c_int, c_int) -> Status,
    primary_context_retain: unsafe extern "C" fn(*mut Handle, c_int) -> Status,
    context_push: unsafe extern "C" fn(Handle) -> Status,
    host_register: unsafe extern "C" fn(*mut c_void, usize, c_uint) -> Status,
    copy_to_device: unsafe extern "C" fn(u64, *const c_void, usize) -> Status,
    copy_to_host: unsafe extern "C" fn(*mut c_void, u64, usize) -> Status,
    stream_synchronize: unsafe extern "C" fn(Handle) -> Status,
    /// Never closed: threads of its own may run in it.
    _library: ManuallyDrop<Library>,
}

fn check(call: &str, status: Status) -> Result<()> {
    match status {
        0 => Ok(()),
        _ => Err(format!("{call} failed with CUresult {status}").into()),
    }
}

impl Driver {
    pub fn open() -> Result<Driver> {
        // SAFETY: the driver's initialisers ask nothing of who loads it; each function is used as the type that cuda.h gives it.
        unsafe {
            let library = ManuallyDrop::new(Library::new("libcuda.so.1")?);
            let init = library.get::<unsafe extern "C" fn(c_uint) -> Status>(b"cuInit")?;
            check("cuInit", init(0))?;
            Ok(Driver {
                device_get: *library.get(b"cuDeviceGet")?,
                device_get_name: *library.get(b"cuDeviceGetName")?,
                primary_context_retain: *library.get(b"cuDevicePrimaryCtxRetain")?,
                context_push: *library.get(b"cuCtxPushCurrent_v2")?,
                host_register: *library.get(b"cuMemHostRegister_v2")?,
                copy_to_device: *library.get(b"cuMemcpyHtoD_v2")?,
                copy_to_host: *library.get(b"cuMemcpyDtoH_v2")?,
                stream_synchronize: *library.get(b"cuStreamSynchronize")?,
                _library: library,
            })
        }
    }

    fn device(&self, ordinal: u32) -> Result<c_int> {
        let mut device = 0;
        // SAFETY: a place for the device.
        check("cuDeviceGet", unsafe { (self.device_get)(&mut device, ordinal as c_int) })?;
        Ok(device)
    }

    pub fn device_name(&self, ordinal: u32) -> Result<String> {
        let device = self.device(ordinal)?;
        let mut name = [0u8; 256];
        // SAFETY: a place for as many bytes as are named, one of which is left to end them.
        let status =
            unsafe { (self.device_get_name)(name.as_mut_ptr().cast(), name.len() as c_int - 1, device) };
        check("cuDeviceGetName", status)?;
        Ok(CStr::from_bytes_until_nul(&name)?.to_string_lossy().into_owned())
    }

    /// Makes the device's primary context this thread's, for as long as the process lives.
    pub fn enter(&self, ordinal: u32) -> Result<()> {
        let (device, mut context) = (self.device(ordinal)?, std::ptr::null_mut());
        // SAFETY: a place for the context, which is retained and never released.
        unsafe {
            check("cuDevicePrimaryCtxRetain", (self.primary_context_retain)(&mut context, device))?;
            check("cuCtxPushCurrent", (self.context_push)(context))
        }
    }

    /// Pins `memory` as the library does with its own. Who has it keeps it until the process ends, and so does the driver.
    pub fn register(&self, memory: &mut MmapMut) -> Result<()> {
        const PORTABLE: c_uint = 1;
        let (start, len) = (memory.as_mut_ptr().cast(), memory.len());
        // SAFETY: a mapping of that length.
        check("cuMemHostRegister", unsafe { (self.host_register)(start, len, PORTABLE) })
    }

    /// # Safety
    /// `to` is memory of the device for as many bytes.
    pub unsafe fn copy_to_device(&self, to: *mut u8, from: &[u8]) -> Result<()> {
        // SAFETY: the caller's.
        check("cuMemcpyHtoD", unsafe { (self.copy_to_device)(to as u64, from.as_ptr().cast(), from.len()) })
    }

    /// # Safety
    /// `from` is memory of the device of as many bytes.
    pub unsafe fn copy_to_host(&self, to: &mut [u8], from: *const u8) -> Result<()> {
        // SAFETY: the caller's.
        check("cuMemcpyDtoH", unsafe { (self.copy_to_host)(to.as_mut_ptr().cast(), from as u64, to.len()) })
    }

    /// Waits for the default stream. Small copies to the device may return before they have been made.
    pub fn synchronize(&self) -> Result<()> {
        // SAFETY: null names the default stream.
        check("cuStreamSynchronize", unsafe { (self.stream_synchronize)(std::ptr::null_mut()) })
    }
}
