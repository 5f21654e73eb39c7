// SPDX-License-Identifier: MIT OR Apache-2.0
//! Samples and loans as DLPack's tensors, and tensors as messages.

use super::arguments::{output, required, write_wanted};
use super::error::Failure;
use super::guard::{guard, guard_value};
use super::loan::ShmLoan;
use super::options::read_sized;
use super::publisher::ShmPublisher;
use super::sample::{shm_sample_release, ShmSample};
use super::status::SHM_OK;
use crate::dlpack::{DLDataType, DLManagedTensor, DLManagedTensorVersioned, DLTensor, View};
use std::ffi::c_void;
use std::mem::{offset_of, size_of};
use std::ptr;

/// What the bytes of a message are, as a tensor: its elements lie in row-major order, without gaps.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ShmTensorType {
    /// sizeof(shm_tensor_type), set by the caller.
    pub struct_size: usize,
    /// `ndim` lengths of dimensions, in elements. May be NULL when there are none.
    pub shape: *const i64,
    /// How many dimensions.
    pub ndim: u32,
    /// DLPack's code of the elements' type: 0 signed integer, 1 unsigned, 2 floating point, 4 bfloat, 5 complex, 6 boolean.
    pub code: u8,
    /// Bits of one lane of an element.
    pub bits: u8,
    /// Lanes of an element: 1, but for vector types.
    pub lanes: u16,
}

impl ShmTensorType {
    const ENDS: [usize; 5] = [
        offset_of!(Self, ndim),
        offset_of!(Self, code),
        offset_of!(Self, bits),
        offset_of!(Self, lanes),
        size_of::<Self>(),
    ];

    /// # Safety
    /// NULL, or C2 holds for `given`, its `struct_size` and its `shape`, as long as the slice lives.
    pub(super) unsafe fn read<'a>(given: *const Self) -> Result<(&'a [i64], DLDataType), Failure> {
        let given = output(given.cast_mut(), "type")?.as_ptr();
        let empty = Self { struct_size: 0, shape: ptr::null(), ndim: 0, code: 0, bits: 0, lanes: 1 };
        // SAFETY: the caller's; the struct is plain old data.
        let Self { shape, ndim, code, bits, lanes, .. } = unsafe { read_sized(given, empty, &Self::ENDS)? };
        let dtype = DLDataType { code, bits, lanes };
        if ndim == 0 {
            return Ok((&[], dtype));
        }
        let shape = output(shape.cast_mut(), "type->shape")?;
        // SAFETY: the caller's.
        Ok((unsafe { std::slice::from_raw_parts(shape.as_ptr(), ndim as usize) }, dtype))
    }
}

/// A sample that a tensor has taken over: released when that is.
struct Taken(*mut ShmSample);

// SAFETY: samples are released by any thread.
unsafe impl Send for Taken {}

impl Drop for Taken {
    fn drop(&mut self) {
        // SAFETY: C1: this is the sample's end.
        unsafe { shm_sample_release(self.0) }
    }
}

/// Hands the sample over as a tensor of DLPack's older form, in place, without a copy.
///
/// On SHM_OK the sample has become the tensor's, and `*tensor` is the caller's, to be used or passed on. One call of its
/// deleter ends it, from any thread, also while the subscriber is destroyed and after that: that releases the sample, which
/// takes one of the subscriber's holds until then, unless it is empty. Otherwise the sample is as it was, and the caller's. The tensor mustn't be
/// written to, which this form can't say: a write ends the process. Its data is aligned to 64 bytes. `type` is only read during
/// the call. No other thread uses the sample meanwhile.
///
/// Errors: SHM_ERR_NULL; SHM_ERR_WRONG_SIZE when the message hasn't exactly as many bytes; SHM_ERR_INVALID_OPTION,
/// SHM_ERR_TOO_LARGE for a type that no tensor can have.
#[no_mangle]
pub unsafe extern "C" fn shm_sample_to_dlpack(
    sample: *mut ShmSample,
    r#type: *const ShmTensorType,
    tensor: *mut *mut DLManagedTensor,
) -> i32 {
    guard(|| {
        let place = output(tensor, "tensor")?;
        // SAFETY: C1, C2.
        let view = unsafe { view_of_sample(sample, r#type)? };
        // SAFETY: C2.
        unsafe { place.write(view.managed(Taken(sample)).as_ptr()) };
        Ok(SHM_OK)
    })
}

/// The same in the form since DLPack 1.0, marked as read-only.
///
/// All else, errors too, is as with `shm_sample_to_dlpack`.
#[no_mangle]
pub unsafe extern "C" fn shm_sample_to_dlpack_versioned(
    sample: *mut ShmSample,
    r#type: *const ShmTensorType,
    tensor: *mut *mut DLManagedTensorVersioned,
) -> i32 {
    guard(|| {
        let place = output(tensor, "tensor")?;
        // SAFETY: C1, C2.
        let view = unsafe { view_of_sample(sample, r#type)? };
        let managed = view.versioned(DLManagedTensorVersioned::READ_ONLY, Taken(sample));
        // SAFETY: C2.
        unsafe { place.write(managed.as_ptr()) };
        Ok(SHM_OK)
    })
}

/// # Safety
/// NULL or C1 holds for `sample`, C2 for `type`.
unsafe fn view_of_sample(sample: *mut ShmSample, r#type: *const ShmTensorType) -> Result<View, Failure> {
    // SAFETY: the caller's.
    let held = unsafe { ShmSample::get(sample) }.ok_or_else(|| Failure::null("sample"))?;
    // SAFETY: the caller's.
    let (shape, dtype) = unsafe { ShmTensorType::read(r#type)? };
    Ok(View::new(held, shape, dtype)?)
}

/// Gives the loan's memory as a tensor of DLPack's older form, to be filled in place.
///
/// The loan stays the caller's. `*tensor` is a view of it, which one call of its deleter ends, from any thread and at any time;
/// that does nothing to the loan. The view mustn't be used after the loan was published, resized or destroyed. `type` is only read
/// during the call. One thread at a time.
///
/// Errors: SHM_ERR_NULL; SHM_ERR_WRONG_SIZE when the loan hasn't exactly as many bytes; SHM_ERR_INVALID_OPTION,
/// SHM_ERR_TOO_LARGE for a type that no tensor can have.
#[no_mangle]
pub unsafe extern "C" fn shm_loan_to_dlpack(
    loan: *mut ShmLoan,
    r#type: *const ShmTensorType,
    tensor: *mut *mut DLManagedTensor,
) -> i32 {
    guard(|| {
        let place = output(tensor, "tensor")?;
        // SAFETY: C1, C3; C2.
        let (lent, (shape, dtype)) = unsafe { (ShmLoan::get(loan)?, ShmTensorType::read(r#type)?) };
        let managed = lent.to_dlpack(shape, dtype)?;
        // SAFETY: C2.
        unsafe { place.write(managed.as_ptr()) };
        Ok(SHM_OK)
    })
}

/// The same in the form since DLPack 1.0.
///
/// All else, errors too, is as with `shm_loan_to_dlpack`.
#[no_mangle]
pub unsafe extern "C" fn shm_loan_to_dlpack_versioned(
    loan: *mut ShmLoan,
    r#type: *const ShmTensorType,
    tensor: *mut *mut DLManagedTensorVersioned,
) -> i32 {
    guard(|| {
        let place = output(tensor, "tensor")?;
        // SAFETY: C1, C3; C2.
        let (lent, (shape, dtype)) = unsafe { (ShmLoan::get(loan)?, ShmTensorType::read(r#type)?) };
        let managed = lent.to_dlpack_versioned(shape, dtype)?;
        // SAFETY: C2.
        unsafe { place.write(managed.as_ptr()) };
        Ok(SHM_OK)
    })
}

/// Publishes a copy of a tensor, its elements in row-major order without gaps, however they lie there.
///
/// `tensor` points to a `DLTensor` of <dlpack/dlpack.h>, in memory that the processor reads; it is only read during the call.
/// `position` may be NULL; otherwise it gets the message's place in the topic's order. Waits while a reliable subscriber has yet
/// to read what would be overwritten, for ever if that one lives and doesn't read. One thread at a time.
///
/// Errors: those of `shm_publisher_publish`; SHM_ERR_INVALID_OPTION for a tensor that can't be; SHM_ERR_NO_DEVICE for one in
/// a device's memory.
#[no_mangle]
pub unsafe extern "C" fn shm_publisher_publish_dlpack(
    publisher: *mut ShmPublisher,
    tensor: *const c_void,
    position: *mut u64,
) -> i32 {
    guard(|| {
        // SAFETY: C1, C3; C2.
        let (publisher, tensor) =
            unsafe { (required(publisher, "publisher")?, required(tensor.cast::<DLTensor>(), "tensor")?) };
        // SAFETY: C2.
        let published = unsafe { publisher.core.publish_dlpack(tensor)? };
        // SAFETY: C2.
        unsafe { write_wanted(position, published) };
        Ok(SHM_OK)
    })
}

/// Ends a tensor by calling its deleter, if it has one: for who doesn't include DLPack's header. NULL does nothing.
///
/// Any thread may call this. The tensor isn't used afterwards.
#[no_mangle]
pub unsafe extern "C" fn shm_dlpack_destroy(tensor: *mut DLManagedTensor) {
    guard_value((), || {
        // SAFETY: C1.
        if let Some(deleter) = unsafe { tensor.as_ref() }.and_then(|tensor| tensor.deleter) {
            // SAFETY: C1: this is its end.
            unsafe { deleter(tensor) };
        }
    })
}

/// The same for a tensor of the form since DLPack 1.0. NULL does nothing.
#[no_mangle]
pub unsafe extern "C" fn shm_dlpack_destroy_versioned(tensor: *mut DLManagedTensorVersioned) {
    guard_value((), || {
        // SAFETY: C1.
        if let Some(deleter) = unsafe { tensor.as_ref() }.and_then(|tensor| tensor.deleter) {
            // SAFETY: C1: this is its end.
            unsafe { deleter(tensor) };
        }
    })
}
