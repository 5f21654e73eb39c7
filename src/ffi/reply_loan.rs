// SPDX-License-Identifier: MIT OR Apache-2.0
//! Replies being written.

use super::arguments::{output, required_mut};
use super::error::Failure;
use super::guard::{guard, guard_value};
use super::pending::deadline;
use super::request::{self, ShmRequest};
use super::server::ServerInside;
use super::shelf::Lent;
use super::status::{SHM_OK, SHM_TIMED_OUT};
use crate::rpc::Draft;
use crate::{Error, Request};
use std::ffi::c_void;
use std::ptr;
use std::time::Instant;

/// Shared memory lent to write a reply into.
pub struct ShmReplyLoan {
    pub(super) lent: Lent<Draft<'static>, ServerInside>,
    /// What it replies to. The box is there as long as the server, and holds this request until it has ended so many.
    request: *mut ShmRequest,
    ended: u64,
}

impl Default for ShmReplyLoan {
    fn default() -> Self {
        ShmReplyLoan { lent: Lent::default(), request: ptr::null_mut(), ended: 0 }
    }
}

/// Lends `size` bytes of shared memory to write the reply to `request` into: no copy is made when it is sent.
///
/// The bytes are aligned to 64 and their content is unspecified. The request stays the caller's, and readable. On SHM_OK `*loan` is
/// the caller's, to be ended with `shm_reply_loan_send`, which ends the request as well, or with `shm_reply_loan_destroy`. One thread
/// at a time.
///
/// Errors: SHM_ERR_NULL; SHM_ERR_OUT_OF_MEMORY when the server's memory is used up by loans and by replies that clients hold or have
/// yet to take; SHM_ERR_TOO_LARGE, SHM_ERR_NO_SPACE, SHM_ERR_NO_SEGMENT, SHM_ERR_FORKED, SHM_ERR_CORRUPT, SHM_ERR_OS.
#[no_mangle]
pub unsafe extern "C" fn shm_reply_loan_create(
    request: *mut ShmRequest,
    size: usize,
    loan: *mut *mut ShmReplyLoan,
) -> i32 {
    guard(|| {
        let place = output(loan, "loan")?;
        // SAFETY: C1, C3.
        let entry = unsafe { required_mut(request, "request")? };
        let ended = entry.ended;
        let (held, server) = entry.lent.get()?;
        let draft = held.draft(size)?;
        let lent = server.loans.hand_out(draft, server.clone(), |place: &mut ShmReplyLoan| {
            (place.request, place.ended) = (request, ended);
            &mut place.lent
        });
        // SAFETY: C2.
        unsafe { place.write(lent) };
        Ok(SHM_OK)
    })
}

/// The memory behind a reply loan: aligned to 64, `shm_reply_loan_size` bytes, for reading and writing.
///
/// NULL for NULL. Valid until the loan ends or is resized. One thread at a time.
#[no_mangle]
pub unsafe extern "C" fn shm_reply_loan_data(loan: *mut ShmReplyLoan) -> *mut c_void {
    guard_value(ptr::null_mut(), || {
        // SAFETY: C1, C3.
        let lent = unsafe { loan.as_mut() }.and_then(|loan| loan.lent.get().ok());
        lent.map_or(ptr::null_mut(), |(draft, _)| draft.as_mut_ptr().cast())
    })
}

/// The length in bytes that the reply would have if it were sent now. 0 for NULL. One thread at a time.
#[no_mangle]
pub unsafe extern "C" fn shm_reply_loan_size(loan: *const ShmReplyLoan) -> usize {
    guard_value(0, || {
        // SAFETY: C1, C3.
        let lent = unsafe { loan.as_ref() }.and_then(|loan| loan.lent.thing());
        lent.map_or(0, |draft| draft.len())
    })
}

/// The length in bytes up to which `shm_reply_loan_resize` moves nothing. 0 for NULL. One thread at a time.
#[no_mangle]
pub unsafe extern "C" fn shm_reply_loan_capacity(loan: *const ShmReplyLoan) -> usize {
    guard_value(0, || {
        // SAFETY: C1, C3.
        let lent = unsafe { loan.as_ref() }.and_then(|loan| loan.lent.thing());
        lent.map_or(0, |draft| draft.capacity())
    })
}

/// Gives the reply loan another length, moving it to other memory when it must.
///
/// The content stays, up to the smaller of both lengths; what is added is unspecified. `shm_reply_loan_data` must be asked
/// again. On an error the loan is as it was. One thread at a time.
///
/// Errors: those of `shm_reply_loan_create`.
#[no_mangle]
pub unsafe extern "C" fn shm_reply_loan_resize(loan: *mut ShmReplyLoan, size: usize) -> i32 {
    guard(|| {
        // SAFETY: C1, C3.
        let loan = unsafe { required_mut(loan, "loan")? };
        loan.lent.get()?.0.resize(size)?;
        Ok(SHM_OK)
    })
}

/// Replies with what was written into the loan, without a copy.
///
/// On SHM_OK and SHM_CANCELLED the loan and its request have ended. On an error both are as they were, and still the caller's.
/// After `shm_request_send_part` it waits as that does. One thread at a time.
///
/// Outcomes: SHM_CANCELLED when nobody waits for the reply any more. Errors: SHM_ERR_NULL; SHM_ERR_CLOSED when the request has ended;
/// SHM_ERR_FORKED, SHM_ERR_CORRUPT, SHM_ERR_OS.
#[no_mangle]
pub unsafe extern "C" fn shm_reply_loan_send(loan: *mut ShmReplyLoan) -> i32 {
    guard(|| {
        // SAFETY: C1, C3.
        let replied_to = unsafe { required_mut(loan, "loan")? }.request;
        // SAFETY: C1, C3.
        let status = unsafe { send_with(loan, None, |held, draft| held.answer(draft, 0))? };
        // SAFETY: C1, C3: the request has ended.
        unsafe { request::end(replied_to) };
        Ok(status)
    })
}

/// Sends what was written into the loan as one of several replies, without a copy; the last is followed by `shm_request_finish` or
/// `shm_request_fail`. Waits as `shm_request_send_part` does.
///
/// On SHM_OK and SHM_CANCELLED the loan has ended; on an error it is as it was, and still the caller's. The request goes on, whatever
/// is returned. One thread at a time.
///
/// Outcomes and errors: those of `shm_reply_loan_send`.
#[no_mangle]
pub unsafe extern "C" fn shm_reply_loan_send_part(loan: *mut ShmReplyLoan) -> i32 {
    // SAFETY: C1, C3.
    guard(|| unsafe { send_with(loan, None, Request::answer_part) })
}

/// Sends what was written into the loan as one of several replies, as `shm_reply_loan_send_part`, but waits for the client no longer
/// than `timeout_ns` nanoseconds.
///
/// On SHM_OK and SHM_CANCELLED the loan has ended; otherwise it is as it was, and still the caller's. The request goes on, whatever is
/// returned. One thread at a time.
///
/// Outcomes: SHM_TIMED_OUT when the client hadn't taken the reply before in that time; SHM_CANCELLED. Errors: those of
/// `shm_reply_loan_send`.
#[no_mangle]
pub unsafe extern "C" fn shm_reply_loan_send_part_timeout(loan: *mut ShmReplyLoan, timeout_ns: u64) -> i32 {
    // SAFETY: C1, C3.
    guard(|| unsafe { send_with(loan, deadline(timeout_ns), Request::answer_part) })
}

/// Ends a loan by `answer`, once the client wants a reply.
///
/// # Safety
/// C1 and C3 hold for `loan`.
#[inline]
unsafe fn send_with(
    loan: *mut ShmReplyLoan,
    deadline: Option<Instant>,
    answer: impl FnOnce(&mut Request<'static>, Draft<'static>) -> bool,
) -> Result<i32, Failure> {
    // SAFETY: the caller's.
    let entry = unsafe { required_mut(loan, "loan")? };
    entry.lent.get()?;
    // SAFETY: the loan is out, so that the server with the request's box is there; C3.
    let replied_to = unsafe { required_mut(entry.request, "request")? };
    if replied_to.ended != entry.ended {
        return Err(Error::Closed.into());
    }
    let (held, _) = replied_to.lent.get()?;
    let Some(is_wanted) = held.wait_until_wanted(deadline)? else { return Ok(SHM_TIMED_OUT) };
    let Some((draft, server)) = entry.lent.take() else { return Err(Error::Closed.into()) };
    let is_sent = is_wanted && answer(held, draft);
    // SAFETY: C1: it has ended.
    unsafe { server.loans.put_back(loan) };
    Ok(request::sent(is_sent))
}

/// Ends a reply loan without sending it; its request goes on. NULL does nothing. One thread at a time.
#[no_mangle]
pub unsafe extern "C" fn shm_reply_loan_destroy(loan: *mut ShmReplyLoan) {
    guard_value((), || {
        // SAFETY: C1, C3.
        let ended = unsafe { loan.as_mut() }.and_then(|loan| loan.lent.take());
        if let Some((draft, server)) = ended {
            drop(draft);
            // SAFETY: C1: it has ended.
            unsafe { server.loans.put_back(loan) };
        }
    })
}
