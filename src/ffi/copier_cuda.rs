// SPDX-License-Identifier: MIT OR Apache-2.0
//! The copier for the memory of NVIDIA's GPUs.

use super::arguments::output;
use super::copier::ShmCopier;
use super::error::Failure;
use super::guard::guard;
use super::options::read_sized;
use super::status::SHM_OK;
use crate::copier::cuda::CudaCopier;
use crate::copier::SharedCopier;
use std::mem::{offset_of, size_of};

/// Which GPU a copier is for. `shm_cuda_options_init` sets it to the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ShmCudaOptions {
    /// sizeof(shm_cuda_options), set by `shm_cuda_options_init`.
    pub struct_size: usize,
    /// The device, as CUDA counts them, from 0: what `cudaSetDevice` takes.
    pub device: u32,
    /// 0.
    pub reserved: u32,
}

impl ShmCudaOptions {
    const DEFAULT: Self = Self { struct_size: size_of::<Self>(), device: 0, reserved: 0 };

    const ENDS: [usize; 2] = [offset_of!(Self, reserved), size_of::<Self>()];

    /// # Safety
    /// NULL, or C2 holds for `options` and its `struct_size`.
    unsafe fn read(options: *const Self) -> Result<Self, Failure> {
        // SAFETY: the caller's; the struct is plain old data.
        let options = unsafe { read_sized(options, Self::DEFAULT, &Self::ENDS)? };
        match options.reserved {
            0 => Ok(options),
            other => Err(Failure::option(format!("member reserved is {other}, but must be 0"))),
        }
    }
}

/// Sets `options` to the defaults, device 0, and its `struct_size`.
///
/// The struct stays the caller's. Errors: SHM_ERR_NULL. Any thread may call this at any time.
#[no_mangle]
pub unsafe extern "C" fn shm_cuda_options_init(options: *mut ShmCudaOptions) -> i32 {
    guard(|| {
        let options = output(options, "options")?;
        // SAFETY: C2.
        unsafe { options.write(ShmCudaOptions::DEFAULT) };
        Ok(SHM_OK)
    })
}

/// Makes a copier between shared memory and the memory of one NVIDIA GPU; also memory of the process that it reaches, managed or registered.
///
/// It works in the device's primary context, which the CUDA runtime works in, and leaves the calling thread's context as it is. Copies without a
/// stream are made on a stream of its own, which doesn't wait for others: the work on the memory must have ended. NVIDIA's driver is opened at
/// the first call; nothing else of the library needs it. What copies go to or from is kept in main memory by the driver: a segment whole.
///
/// `options` may be NULL for the defaults. On SHM_OK `*copier` is the caller's, to be ended with `shm_copier_destroy`. Any thread may call this at
/// any time.
///
/// Errors: SHM_ERR_NULL; SHM_ERR_INVALID_OPTION; SHM_ERR_NO_DEVICE when there is no driver, or no such device; SHM_ERR_COPIER when the driver
/// fails; SHM_ERR_OS.
#[no_mangle]
pub unsafe extern "C" fn shm_copier_cuda_create(
    options: *const ShmCudaOptions,
    copier: *mut *mut ShmCopier,
) -> i32 {
    guard(|| {
        let place = output(copier, "copier")?;
        // SAFETY: C2.
        let options = unsafe { ShmCudaOptions::read(options)? };
        let core = SharedCopier::new(CudaCopier::new(options.device)?)?;
        // SAFETY: C2.
        unsafe { place.write(ShmCopier::boxed(core)) };
        Ok(SHM_OK)
    })
}
