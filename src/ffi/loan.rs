// SPDX-License-Identifier: MIT OR Apache-2.0
//! Loans, and the boxes that they come in.
//!
//! A box goes back to its publisher's shelf when its loan ends and is used again by a later one, so that the
//! hot path doesn't allocate. `shm_publisher_destroy` with loans out leaves the handle to them: the one
//! that comes back last frees it.

use super::arguments::write_wanted;
use super::error::Failure;
use super::guard::{guard, guard_value};
use super::publisher::ShmPublisher;
use super::status::{SHM_OK, SHM_TIMED_OUT, SHM_WOULD_BLOCK};
use crate::{Error, Loan};
use std::cell::Cell;
use std::ffi::c_void;
use std::ptr;
use std::time::{Duration, Instant};

/// Shared memory lent to write a message into.
pub struct ShmLoan {
    /// None on the shelf.
    lent: Option<Loan<'static>>,
    owner: *mut ShmPublisher,
    next: *mut ShmLoan,
}

impl ShmLoan {
    /// # Safety
    /// NULL, or C1 and C3 hold for `loan` as long as the reference lives.
    pub(super) unsafe fn get<'a>(loan: *mut ShmLoan) -> Result<&'a mut Loan<'static>, Failure> {
        // SAFETY: the caller's.
        let loan = unsafe { loan.as_mut() }.ok_or_else(|| Failure::null("loan"))?;
        loan.lent.as_mut().ok_or_else(|| Error::Closed.into())
    }
}

/// A publisher's loans. One thread at a time uses them (C3).
pub(super) struct Loans {
    shelf: Cell<*mut ShmLoan>,
    out: Cell<usize>,
    closed: Cell<bool>,
}

impl Default for Loans {
    fn default() -> Self {
        Loans { shelf: Cell::new(ptr::null_mut()), out: Cell::new(0), closed: Cell::new(false) }
    }
}

impl Loans {
    /// Boxes `lent` for the caller.
    ///
    /// # Safety
    /// `owner` is the handle that has these loans and the publisher that `lent` borrows from; it is freed only when
    /// `close` or `take_back` says so.
    #[inline]
    pub(super) unsafe fn hand_out(&self, owner: *mut ShmPublisher, lent: Loan<'_>) -> *mut ShmLoan {
        // SAFETY: what it borrows from outlives it, says the caller.
        let lent = Some(unsafe { std::mem::transmute::<Loan<'_>, Loan<'static>>(lent) });
        self.out.set(self.out.get() + 1);
        // SAFETY: boxes on the shelf came from `Box::into_raw`, and nobody else refers to them.
        match unsafe { self.shelf.get().as_mut() } {
            Some(loan) => {
                loan.lent = lent;
                self.shelf.replace(loan.next)
            }
            None => Box::into_raw(Box::new(ShmLoan { lent, owner, next: ptr::null_mut() })),
        }
    }

    /// Takes back a box whose loan has ended. True: it was the last one of a closed publisher, to be freed now.
    #[inline]
    fn take_back(&self, loan: &mut ShmLoan) -> bool {
        loan.next = self.shelf.replace(loan);
        self.out.set(self.out.get() - 1);
        self.closed.get() && self.out.get() == 0
    }

    /// Ends publishing. True: no loan is out, so that the publisher is to be freed now.
    pub(super) fn close(&self) -> bool {
        self.closed.set(true);
        self.out.get() == 0
    }
}

impl Drop for Loans {
    fn drop(&mut self) {
        while !self.shelf.get().is_null() {
            // SAFETY: boxes on the shelf came from `Box::into_raw`, and nobody else refers to them.
            let loan = unsafe { Box::from_raw(self.shelf.get()) };
            self.shelf.set(loan.next);
        }
    }
}

/// Puts the box of an ended loan back on its publisher's shelf.
///
/// # Safety
/// C1 and C3 hold for `loan`, which isn't used after this.
#[inline]
unsafe fn put_back(loan: *mut ShmLoan) {
    // SAFETY: the caller's.
    let owner = unsafe { (*loan).owner };
    // SAFETY: the caller's; the owner lives as long as a loan of it is out.
    if unsafe { (*owner).loans.take_back(&mut *loan) } {
        // SAFETY: C4: the owner was destroyed before, and no loan of it is out. It frees the box of `loan` as well.
        drop(unsafe { Box::from_raw(owner) });
    }
}

/// The memory behind a loan: aligned to 64, `shm_loan_size` bytes, for reading and writing.
///
/// NULL for NULL. Valid until the loan ends or is resized. One thread at a time.
#[no_mangle]
pub unsafe extern "C" fn shm_loan_data(loan: *mut ShmLoan) -> *mut c_void {
    guard_value(ptr::null_mut(), || {
        // SAFETY: C1, C3.
        let lent = unsafe { loan.as_mut() }.and_then(|loan| loan.lent.as_mut());
        lent.map_or(ptr::null_mut(), |lent| lent.as_mut_ptr().cast())
    })
}

/// The length in bytes that the message would have if it were published now. 0 for NULL. One thread at a time.
#[no_mangle]
pub unsafe extern "C" fn shm_loan_size(loan: *const ShmLoan) -> usize {
    guard_value(0, || {
        // SAFETY: C1, C3.
        let lent = unsafe { loan.as_ref() }.and_then(|loan| loan.lent.as_ref());
        lent.map_or(0, |lent| lent.len())
    })
}

/// The length in bytes up to which `shm_loan_resize` moves nothing. 0 for NULL. One thread at a time.
#[no_mangle]
pub unsafe extern "C" fn shm_loan_capacity(loan: *const ShmLoan) -> usize {
    guard_value(0, || {
        // SAFETY: C1, C3.
        let lent = unsafe { loan.as_ref() }.and_then(|loan| loan.lent.as_ref());
        lent.map_or(0, |lent| lent.capacity())
    })
}

/// Gives the loan another length, moving it to other memory when it must.
///
/// The content stays, up to the smaller of both lengths; what is added is unspecified. `shm_loan_data` must be asked
/// again. On an error the loan is as it was. One thread at a time.
///
/// Errors: SHM_ERR_NULL; SHM_ERR_OUT_OF_MEMORY when the publisher's memory is used up by loans, by held samples and by what
/// reliable subscribers have yet to read; SHM_ERR_TOO_LARGE, SHM_ERR_NO_SPACE, SHM_ERR_NO_SEGMENT, SHM_ERR_FORKED,
/// SHM_ERR_CORRUPT, SHM_ERR_OS.
#[no_mangle]
pub unsafe extern "C" fn shm_loan_resize(loan: *mut ShmLoan, size: usize) -> i32 {
    guard(|| {
        // SAFETY: C1, C3.
        unsafe { ShmLoan::get(loan)? }.resize(size)?;
        Ok(SHM_OK)
    })
}

/// Publishes what was written into the loan, without a copy.
///
/// On SHM_OK the loan has ended. On an error it is as it was, and still the caller's, who has to destroy it. `position`
/// may be NULL; otherwise it gets the message's place in the topic's order. Waits while a reliable subscriber has yet to
/// read what would be overwritten, for ever if that one lives and doesn't read. One thread at a time.
///
/// Errors: SHM_ERR_NULL; SHM_ERR_CLOSED when the publisher was destroyed; SHM_ERR_FORKED, SHM_ERR_CORRUPT, SHM_ERR_OS.
#[no_mangle]
pub unsafe extern "C" fn shm_loan_publish(loan: *mut ShmLoan, position: *mut u64) -> i32 {
    // SAFETY: C1, C2, C3.
    guard(|| unsafe {
        publish_with(loan, position, SHM_OK, |lent| match lent.publish_once()? {
            None => lent.publish_at_gate().map(Some),
            published => Ok(published),
        })
    })
}

/// Publishes what was written into the loan, without a copy, if that can be done without waiting.
///
/// On SHM_OK the loan has ended. Otherwise it is as it was, and still the caller's. `position` may be NULL; otherwise it
/// gets the message's place in the topic's order. One thread at a time.
///
/// Outcomes: SHM_WOULD_BLOCK when a reliable subscriber has yet to read what would be overwritten. Errors:
/// SHM_ERR_NULL; SHM_ERR_CLOSED when the publisher was destroyed; SHM_ERR_FORKED, SHM_ERR_CORRUPT.
#[no_mangle]
pub unsafe extern "C" fn shm_loan_try_publish(loan: *mut ShmLoan, position: *mut u64) -> i32 {
    // SAFETY: C1, C2, C3.
    guard(|| unsafe { publish_with(loan, position, SHM_WOULD_BLOCK, |lent| lent.publish_once()) })
}

/// Publishes what was written into the loan, without a copy, waiting for reliable subscribers up to `timeout_ns` nanoseconds.
///
/// On SHM_OK the loan has ended. Otherwise it is as it was, and still the caller's. `position` may be NULL; otherwise it
/// gets the message's place in the topic's order. One thread at a time.
///
/// Outcomes: SHM_TIMED_OUT when a reliable subscriber hadn't read in that time what would be overwritten. Errors:
/// SHM_ERR_NULL; SHM_ERR_CLOSED when the publisher was destroyed; SHM_ERR_FORKED, SHM_ERR_CORRUPT, SHM_ERR_OS.
#[no_mangle]
pub unsafe extern "C" fn shm_loan_publish_timeout(
    loan: *mut ShmLoan,
    timeout_ns: u64,
    position: *mut u64,
) -> i32 {
    guard(|| {
        let deadline = Instant::now().checked_add(Duration::from_nanos(timeout_ns));
        // SAFETY: C1, C2, C3.
        unsafe { publish_with(loan, position, SHM_TIMED_OUT, |lent| lent.publish_until(deadline)) }
    })
}

/// Publishes a loan by `publish`, and ends it then; `full` is the status when that gave nothing.
///
/// # Safety
/// C1 and C3 hold for `loan`, C2 for `position`.
#[inline(always)]
unsafe fn publish_with(
    loan: *mut ShmLoan,
    position: *mut u64,
    full: i32,
    publish: impl FnOnce(&Loan<'static>) -> crate::Result<Option<u64>>,
) -> Result<i32, Failure> {
    // SAFETY: C1, C3.
    let entry = unsafe { loan.as_mut() }.ok_or_else(|| Failure::null("loan"))?;
    // SAFETY: the owner lives as long as a loan of it is out.
    let closed = unsafe { (*entry.owner).loans.closed.get() };
    let Some(lent) = entry.lent.as_ref().filter(|_| !closed) else { return Err(Error::Closed.into()) };
    let Some(published) = publish(lent)? else { return Ok(full) };
    // The chunk is the topic's now.
    std::mem::forget(entry.lent.take());
    // SAFETY: C1: the loan has ended; C2.
    unsafe {
        put_back(loan);
        write_wanted(position, published);
    }
    Ok(SHM_OK)
}

/// Ends a loan without publishing it. NULL does nothing. One thread at a time.
#[no_mangle]
pub unsafe extern "C" fn shm_loan_destroy(loan: *mut ShmLoan) {
    guard_value((), || {
        // SAFETY: C1, C3.
        if let Some(entry) = unsafe { loan.as_mut() } {
            entry.lent = None;
            // SAFETY: C1: the loan has ended.
            unsafe { put_back(loan) };
        }
    })
}
