// SPDX-License-Identifier: MIT OR Apache-2.0
//! Samples of device subscribers.

use super::arguments::{output, required};
use super::device_publisher::placement_number;
use super::dlpack::ShmTensorType;
use super::error::Failure;
use super::guard::{guard, guard_value};
use super::status::SHM_OK;
use crate::copier::cuda::DeviceSample;
use crate::copier::Stream;
use crate::dlpack::{DLManagedTensor, DLManagedTensorVersioned, View};
use std::ffi::c_void;
use std::ptr;

/// A message in memory that a GPU reads: it stays as it is, where it is, until it is released.
pub struct ShmDeviceSample {
    held: DeviceSample<'static>,
}

impl ShmDeviceSample {
    pub(super) fn boxed(held: DeviceSample<'static>) -> *mut ShmDeviceSample {
        Box::into_raw(Box::new(ShmDeviceSample { held }))
    }
}

/// Where the GPU reads it: a CUdeviceptr, aligned to 64, of `shm_device_sample_size` bytes, for reading.
///
/// NULL for NULL. Valid until the sample is released. Any thread may call this at any time.
#[no_mangle]
pub unsafe extern "C" fn shm_device_sample_data(sample: *const ShmDeviceSample) -> *const c_void {
    guard_value(ptr::null(), || {
        // SAFETY: C1.
        unsafe { sample.as_ref() }.map_or(ptr::null(), |sample| sample.held.as_ptr().cast())
    })
}

/// The message's length in bytes. 0 for NULL. Any thread may call this at any time.
#[no_mangle]
pub unsafe extern "C" fn shm_device_sample_size(sample: *const ShmDeviceSample) -> usize {
    guard_value(0, || {
        // SAFETY: C1.
        unsafe { sample.as_ref() }.map_or(0, |sample| sample.held.len())
    })
}

/// The message's place in the topic's order. 0 for NULL. Any thread may call this at any time.
#[no_mangle]
pub unsafe extern "C" fn shm_device_sample_position(sample: *const ShmDeviceSample) -> u64 {
    guard_value(0, || {
        // SAFETY: C1.
        unsafe { sample.as_ref() }.map_or(0, |sample| sample.held.position())
    })
}

/// When the message was published, in nanoseconds since 1970 (CLOCK_REALTIME).
///
/// 0 when its publisher was made without the option `timestamps`, and for NULL. Any thread may call this at any time.
#[no_mangle]
pub unsafe extern "C" fn shm_device_sample_timestamp(sample: *const ShmDeviceSample) -> u64 {
    guard_value(0, || {
        // SAFETY: C1.
        unsafe { sample.as_ref() }.and_then(|sample| sample.held.timestamp()).unwrap_or(0)
    })
}

/// Where it is: SHM_PLACEMENT_DEVICE or SHM_PLACEMENT_HOST. 0 for NULL. Any thread may call this at any time.
#[no_mangle]
pub unsafe extern "C" fn shm_device_sample_placement(sample: *const ShmDeviceSample) -> u32 {
    guard_value(0, || {
        // SAFETY: C1.
        unsafe { sample.as_ref() }.map_or(0, |sample| placement_number(sample.held.placement()))
    })
}

/// Gives the message's memory back to its publisher. The GPU's work on it must have ended. NULL does nothing.
///
/// Any thread may call this, while others use the subscriber and its other samples, and after `shm_device_subscriber_destroy`.
#[no_mangle]
pub unsafe extern "C" fn shm_device_sample_release(sample: *mut ShmDeviceSample) {
    guard_value((), || {
        if !sample.is_null() {
            // SAFETY: C1: the sample's end, whose box `boxed` made.
            drop(unsafe { Box::from_raw(sample) });
        }
    })
}

/// Gives the message's memory back when `stream`, a CUstream of the GPU's primary context, comes to that: when all that is on it by now has been done.
///
/// Doesn't wait. The sample has ended, whatever is returned, unless that is SHM_ERR_NULL; `stream` lives until it is released. Any thread, as for `shm_device_sample_release`.
///
/// Errors: SHM_ERR_NULL; SHM_ERR_COPIER, for instance when the stream is being captured into a graph, and SHM_ERR_FORKED: it was released at once.
#[no_mangle]
pub unsafe extern "C" fn shm_device_sample_release_on_stream(
    sample: *mut ShmDeviceSample,
    stream: *mut c_void,
) -> i32 {
    guard(|| {
        if sample.is_null() {
            return Err(Failure::null("sample"));
        }
        // SAFETY: C1: the sample's end, whose box `boxed` made; the stream is the caller's.
        unsafe { Box::from_raw(sample).held.release_on_stream(Stream(stream))? };
        Ok(SHM_OK)
    })
}

/// Hands the sample over as a tensor of the GPU in DLPack's older form, in place, without a copy.
///
/// On SHM_OK the sample has become the tensor's, and `*tensor` is the caller's, to be used or passed on. One call of its deleter, from any thread, releases the sample;
/// the GPU's work on it must have ended by then. Otherwise the sample is as it was, and the caller's. The tensor is only to be read, on any stream. `type` is only read during the
/// call. No other thread uses the sample meanwhile.
///
/// Errors: those of `shm_sample_to_dlpack`.
#[no_mangle]
pub unsafe extern "C" fn shm_device_sample_to_dlpack(
    sample: *mut ShmDeviceSample,
    r#type: *const ShmTensorType,
    tensor: *mut *mut DLManagedTensor,
) -> i32 {
    guard(|| {
        let place = output(tensor, "tensor")?;
        // SAFETY: C1, C2.
        let view = unsafe { view_of(sample, r#type)? };
        // SAFETY: C1: the sample's end, whose box `boxed` made.
        let held = unsafe { Box::from_raw(sample) }.held;
        // SAFETY: C2.
        unsafe { place.write(view.managed(held).as_ptr()) };
        Ok(SHM_OK)
    })
}

/// The same in the form since DLPack 1.0, marked as read-only.
///
/// All else, errors too, is as with `shm_device_sample_to_dlpack`.
#[no_mangle]
pub unsafe extern "C" fn shm_device_sample_to_dlpack_versioned(
    sample: *mut ShmDeviceSample,
    r#type: *const ShmTensorType,
    tensor: *mut *mut DLManagedTensorVersioned,
) -> i32 {
    guard(|| {
        let place = output(tensor, "tensor")?;
        // SAFETY: C1, C2.
        let view = unsafe { view_of(sample, r#type)? };
        // SAFETY: C1: the sample's end, whose box `boxed` made.
        let held = unsafe { Box::from_raw(sample) }.held;
        // SAFETY: C2.
        unsafe { place.write(view.versioned(DLManagedTensorVersioned::READ_ONLY, held).as_ptr()) };
        Ok(SHM_OK)
    })
}

/// # Safety
/// C1 and C2 hold.
unsafe fn view_of(sample: *mut ShmDeviceSample, r#type: *const ShmTensorType) -> Result<View, Failure> {
    // SAFETY: the caller's.
    let (sample, (shape, dtype)) = unsafe { (required(sample, "sample")?, ShmTensorType::read(r#type)?) };
    Ok(sample.held.view(shape, dtype)?)
}
