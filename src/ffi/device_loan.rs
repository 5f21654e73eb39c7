// SPDX-License-Identifier: MIT OR Apache-2.0
//! Loans of device publishers.

use super::arguments::write_wanted;
use super::device_publisher::{placement_number, ShmDevicePublisher};
use super::error::Failure;
use super::guard::{guard, guard_value};
use super::status::SHM_OK;
use crate::copier::cuda::DeviceLoan;
use crate::copier::Stream;
use crate::Error;
use std::ffi::c_void;
use std::sync::atomic::Ordering;
use std::sync::Arc;

/// A message being written in memory that a GPU reads and writes, and nobody else.
// An allocation for each: what a GPU does for a message takes far longer.
pub struct ShmDeviceLoan {
    // Before the owner, which it borrows from. None: it has failed to be published.
    lent: Option<DeviceLoan<'static>>,
    owner: Arc<ShmDevicePublisher>,
}

impl ShmDeviceLoan {
    pub(super) fn boxed(owner: Arc<ShmDevicePublisher>, size: usize) -> Result<*mut ShmDeviceLoan, Failure> {
        let lent = owner.core.loan(size)?;
        // SAFETY: what it borrows from is behind `owner`, which is dropped after it.
        let lent = unsafe { std::mem::transmute::<DeviceLoan<'_>, DeviceLoan<'static>>(lent) };
        Ok(Box::into_raw(Box::new(ShmDeviceLoan { lent: Some(lent), owner })))
    }

    /// # Safety
    /// NULL, or C1 and C3 hold for `loan` as long as the reference lives.
    unsafe fn get<'a>(loan: *const ShmDeviceLoan) -> Option<&'a DeviceLoan<'static>> {
        // SAFETY: the caller's.
        unsafe { loan.as_ref() }.and_then(|loan| loan.lent.as_ref())
    }
}

/// Ends a loan by `publish`, which consumes it. On an error the handle stays, to be destroyed.
///
/// # Safety
/// C1 and C3 hold for `loan`.
unsafe fn publish_with<T>(
    loan: *mut ShmDeviceLoan,
    publish: impl FnOnce(DeviceLoan<'static>) -> crate::Result<T>,
) -> Result<T, Failure> {
    // SAFETY: the caller's.
    let entry = unsafe { loan.as_mut() }.ok_or_else(|| Failure::null("loan"))?;
    // Relaxed: see `shm_device_publisher_destroy`.
    if entry.owner.is_closed.load(Ordering::Relaxed) {
        return Err(Error::Closed.into());
    }
    let lent = entry.lent.take().ok_or(Error::Closed)?;
    let published = publish(lent)?;
    // SAFETY: C1: the loan has ended, whose box `boxed` made.
    drop(unsafe { Box::from_raw(loan) });
    Ok(published)
}

/// Where the GPU reads and writes it: a CUdeviceptr, aligned to 64, of `shm_device_loan_size` bytes.
///
/// NULL for NULL. Valid until the loan ends. One thread at a time.
#[no_mangle]
pub unsafe extern "C" fn shm_device_loan_data(loan: *mut ShmDeviceLoan) -> *mut c_void {
    guard_value(std::ptr::null_mut(), || {
        // SAFETY: C1, C3.
        unsafe { ShmDeviceLoan::get(loan) }.map_or(std::ptr::null_mut(), |lent| lent.as_ptr().cast())
    })
}

/// The message's length in bytes. 0 for NULL. One thread at a time.
#[no_mangle]
pub unsafe extern "C" fn shm_device_loan_size(loan: *const ShmDeviceLoan) -> usize {
    guard_value(0, || {
        // SAFETY: C1, C3.
        unsafe { ShmDeviceLoan::get(loan) }.map_or(0, |lent| lent.len())
    })
}

/// Where it is: SHM_PLACEMENT_DEVICE or SHM_PLACEMENT_HOST. 0 for NULL. One thread at a time.
#[no_mangle]
pub unsafe extern "C" fn shm_device_loan_placement(loan: *const ShmDeviceLoan) -> u32 {
    guard_value(0, || {
        // SAFETY: C1, C3.
        unsafe { ShmDeviceLoan::get(loan) }.map_or(0, |lent| placement_number(lent.placement()))
    })
}

/// Publishes the message. All work on it has ended; otherwise `shm_device_loan_publish_on_stream`.
///
/// On SHM_OK the loan has ended. On an error it isn't published, and the handle is still the caller's, who has to destroy it. `position` may be NULL; otherwise it gets the
/// message's place in the topic's order. Waits while a reliable subscriber has yet to read what would be overwritten. One thread at a time.
///
/// Errors: SHM_ERR_NULL; SHM_ERR_CLOSED when the publisher was destroyed, or publishing it has failed before; SHM_ERR_FORKED, SHM_ERR_CORRUPT, SHM_ERR_OS.
#[no_mangle]
pub unsafe extern "C" fn shm_device_loan_publish(loan: *mut ShmDeviceLoan, position: *mut u64) -> i32 {
    guard(|| {
        // SAFETY: C1, C2, C3.
        unsafe { write_wanted(position, publish_with(loan, |lent| lent.publish())?) };
        Ok(SHM_OK)
    })
}

/// Has the message published when `stream`, a CUstream of the GPU's primary context, comes to it: when all that is on it by now has been done.
///
/// Doesn't wait. How it ended says `shm_device_publisher_wait`. On SHM_OK the loan has ended; `stream` lives until the message is published. On an error it isn't published, and
/// the handle is still the caller's, who has to destroy it. Work on the message that isn't on `stream` has ended. One thread at a time.
///
/// Errors: SHM_ERR_NULL; SHM_ERR_COPIER, for instance when the stream is being captured into a graph; SHM_ERR_CLOSED, SHM_ERR_FORKED.
#[no_mangle]
pub unsafe extern "C" fn shm_device_loan_publish_on_stream(
    loan: *mut ShmDeviceLoan,
    stream: *mut c_void,
) -> i32 {
    guard(|| {
        // SAFETY: C1, C2, C3; the stream is the caller's.
        unsafe { publish_with(loan, |lent| lent.publish_on_stream(Stream(stream)))? };
        Ok(SHM_OK)
    })
}

/// Ends a loan without publishing it. Work on it must have ended. NULL does nothing. One thread at a time.
#[no_mangle]
pub unsafe extern "C" fn shm_device_loan_destroy(loan: *mut ShmDeviceLoan) {
    guard_value((), || {
        if !loan.is_null() {
            // SAFETY: C1, C3: the loan's end, whose box `boxed` made.
            drop(unsafe { Box::from_raw(loan) });
        }
    })
}
