// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests being written.

use super::arguments::{name, output, required_mut};
use super::client::ClientInside;
use super::guard::{guard, guard_value};
use super::pending::{deadline, over, ShmPending};
use super::reply::ShmReply;
use super::shelf::Lent;
use super::status::{SHM_OK, SHM_TIMED_OUT};
use crate::rpc::hash;
use crate::{Error, RequestLoan};
use std::ffi::{c_char, c_void};
use std::ptr;

/// Shared memory lent to write a request into.
#[derive(Default)]
pub struct ShmRequestLoan {
    pub(super) lent: Lent<RequestLoan<'static>, ClientInside>,
}

/// The memory behind a request loan: aligned to 64, `shm_request_loan_size` bytes, for reading and writing.
///
/// NULL for NULL. Valid until the loan ends or is resized. One thread at a time.
#[no_mangle]
pub unsafe extern "C" fn shm_request_loan_data(loan: *mut ShmRequestLoan) -> *mut c_void {
    guard_value(ptr::null_mut(), || {
        // SAFETY: C1, C3.
        let lent = unsafe { loan.as_mut() }.and_then(|loan| loan.lent.get().ok());
        lent.map_or(ptr::null_mut(), |(lent, _)| lent.as_mut_ptr().cast())
    })
}

/// The length in bytes that the request would have if it were sent now. 0 for NULL. One thread at a time.
#[no_mangle]
pub unsafe extern "C" fn shm_request_loan_size(loan: *const ShmRequestLoan) -> usize {
    guard_value(0, || {
        // SAFETY: C1, C3.
        let lent = unsafe { loan.as_ref() }.and_then(|loan| loan.lent.thing());
        lent.map_or(0, |lent| lent.len())
    })
}

/// The length in bytes up to which `shm_request_loan_resize` moves nothing. 0 for NULL. One thread at a time.
#[no_mangle]
pub unsafe extern "C" fn shm_request_loan_capacity(loan: *const ShmRequestLoan) -> usize {
    guard_value(0, || {
        // SAFETY: C1, C3.
        let lent = unsafe { loan.as_ref() }.and_then(|loan| loan.lent.thing());
        lent.map_or(0, |lent| lent.capacity())
    })
}

/// Gives the request loan another length, moving it to other memory when it must.
///
/// The content stays, up to the smaller of both lengths; what is added is unspecified. `shm_request_loan_data` must be asked
/// again. On an error the loan is as it was. One thread at a time.
///
/// Errors: those of `shm_client_loan`.
#[no_mangle]
pub unsafe extern "C" fn shm_request_loan_resize(loan: *mut ShmRequestLoan, size: usize) -> i32 {
    guard(|| {
        // SAFETY: C1, C3.
        let loan = unsafe { required_mut(loan, "loan")? };
        loan.lent.get()?.0.resize(size)?;
        Ok(SHM_OK)
    })
}

/// Says which of a service's functions is meant, by its name. Not needed for a service with only one.
///
/// `function` is only read during the call; NULL: none, as it is without this. On an error the loan is as it was. One thread at a time.
///
/// Errors: SHM_ERR_NULL, SHM_ERR_INVALID_NAME.
#[no_mangle]
pub unsafe extern "C" fn shm_request_loan_set_function(
    loan: *mut ShmRequestLoan,
    function: *const c_char,
) -> i32 {
    guard(|| {
        // SAFETY: C1, C3.
        let loan = unsafe { required_mut(loan, "loan")? };
        let number = match function.is_null() {
            true => 0,
            // SAFETY: C2.
            false => hash(unsafe { name(function, "function")? }),
        };
        loan.lent.get()?.0.set_function(number);
        Ok(SHM_OK)
    })
}

/// Sends what was written into the loan as a request, without a copy; the reply is for later. Never waits.
///
/// On SHM_OK the loan has ended, and `*pending` is the caller's, to be ended with `shm_pending_destroy`. On an error the loan is
/// as it was, and still the caller's, who may try again or has to destroy it. One thread at a time.
///
/// Errors: SHM_ERR_NULL; SHM_ERR_NO_SERVER when nobody serves, unless the option `wait_for_server` is set; SHM_ERR_TOO_MANY_CALLS when
/// as many calls are in flight as may be; SHM_ERR_QUEUE_FULL; SHM_ERR_CLOSED when the client was destroyed; SHM_ERR_FORKED,
/// SHM_ERR_CORRUPT.
#[no_mangle]
pub unsafe extern "C" fn shm_request_loan_send(
    loan: *mut ShmRequestLoan,
    pending: *mut *mut ShmPending,
) -> i32 {
    guard(|| {
        let place = output(pending, "pending")?;
        // SAFETY: C1, C3.
        let entry = unsafe { required_mut(loan, "loan")? };
        let (lent, client) = entry.lent.get()?;
        if client.is_closed.get() {
            return Err(Error::Closed.into());
        }
        let call = lent.send_once(false)?;
        if let Some((lent, client)) = entry.lent.take() {
            // The chunk is the call's now.
            std::mem::forget(lent);
            // SAFETY: C1: it has ended.
            unsafe { client.loans.put_back(loan) };
            let share = client.clone();
            // SAFETY: C2.
            unsafe { place.write(client.pendings.hand_out(call, share, |place| &mut place.lent)) };
        }
        Ok(SHM_OK)
    })
}

/// Sends what was written into the loan as a request, without a copy, and waits for the reply up to `timeout_ns` nanoseconds, or with
/// SHM_WAIT_FOREVER as long as it takes.
///
/// Otherwise as `shm_client_call`. The loan has ended, whatever is returned but SHM_ERR_NULL. One thread at a time.
///
/// Outcomes: those of `shm_client_call`. Errors: those of `shm_client_call` and SHM_ERR_CLOSED when the client was destroyed.
#[no_mangle]
pub unsafe extern "C" fn shm_request_loan_call(
    loan: *mut ShmRequestLoan,
    timeout_ns: u64,
    reply: *mut *mut ShmReply,
) -> i32 {
    guard(|| {
        let place = output(reply, "reply")?;
        // SAFETY: C1, C3.
        let entry = unsafe { required_mut(loan, "loan")? };
        let Some((lent, client)) = entry.lent.take() else { return Err(Error::Closed.into()) };
        // SAFETY: C1: it has ended.
        unsafe { client.loans.put_back(loan) };
        if client.is_closed.get() {
            // Before the share in what it borrows from.
            drop(lent);
            return Err(Error::Closed.into());
        }
        let deadline = deadline(timeout_ns);
        let mut call = lent.begin_call()?;
        let Some(received) = call.wait_until(deadline)? else { return Ok(over(&call, SHM_TIMED_OUT)) };
        // SAFETY: C2.
        unsafe { place.write(client.replies.hand_out(received, client.clone(), |place| &mut place.lent)) };
        Ok(SHM_OK)
    })
}

/// Ends a request loan without sending it. NULL does nothing. One thread at a time.
#[no_mangle]
pub unsafe extern "C" fn shm_request_loan_destroy(loan: *mut ShmRequestLoan) {
    guard_value((), || {
        // SAFETY: C1, C3.
        let ended = unsafe { loan.as_mut() }.and_then(|loan| loan.lent.take());
        if let Some((lent, client)) = ended {
            drop(lent);
            // SAFETY: C1: it has ended.
            unsafe { client.loans.put_back(loan) };
        }
    })
}
