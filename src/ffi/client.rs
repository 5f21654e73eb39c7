// SPDX-License-Identifier: MIT OR Apache-2.0
//! Clients.

use super::arguments::{bytes, name, output, required};
use super::guard::{guard, guard_value};
use super::pending::{deadline, over, ShmPending};
use super::reply::ShmReply;
use super::request_loan::ShmRequestLoan;
use super::service_options::ShmClientOptions;
use super::shelf::{lender, Shelf};
use super::status::{SHM_OK, SHM_TIMED_OUT};
use crate::Client;
use std::cell::Cell;
use std::ffi::{c_char, c_void};
use std::rc::Rc;

/// For the timeouts of remote procedure calls: as long as it takes.
pub const SHM_WAIT_FOREVER: u64 = u64::MAX;

/// Calls the functions of a service.
pub struct ShmClient(Rc<ClientInside>);

/// What a client's loans, pendings and replies share.
pub(super) struct ClientInside {
    pub(super) loans: Shelf<ShmRequestLoan>,
    pub(super) pendings: Shelf<ShmPending>,
    pub(super) replies: Shelf<ShmReply>,
    /// Destroyed, with something still out.
    pub(super) is_closed: Cell<bool>,
    core: Client,
}

/// Joins `service` as a client, making the service when it doesn't exist.
///
/// `options` may be NULL for the defaults. On SHM_OK `*client` is the caller's, to be ended with
/// `shm_client_destroy`. Any thread may call this at any time.
///
/// Errors: SHM_ERR_NULL, SHM_ERR_INVALID_NAME, SHM_ERR_INVALID_OPTION; SHM_ERR_MISMATCH when the service
/// exists and is smaller than `options` ask for, or shared with others; SHM_ERR_NO_PARTICIPANT, SHM_ERR_NO_SPACE,
/// SHM_ERR_NOT_TRUSTED, SHM_ERR_VERSION, SHM_ERR_CORRUPT, SHM_ERR_OS.
#[no_mangle]
pub unsafe extern "C" fn shm_client_create(
    service: *const c_char,
    options: *const ShmClientOptions,
    client: *mut *mut ShmClient,
) -> i32 {
    guard(|| {
        let place = output(client, "client")?;
        // SAFETY: C2.
        let (service, options) = unsafe { (name(service, "service")?, ShmClientOptions::read(options)?) };
        let core = Client::with_options(service, &options)?;
        let (loans, pendings, replies) = (Shelf::default(), Shelf::default(), Shelf::default());
        let inside = ClientInside { loans, pendings, replies, is_closed: Cell::new(false), core };
        // SAFETY: C2.
        unsafe { place.write(Box::into_raw(Box::new(ShmClient(Rc::new(inside))))) };
        Ok(SHM_OK)
    })
}

/// Ends calling and leaves the service.
///
/// What is still out stays valid: pendings may be waited for and replies read, but request loans can't be sent any more
/// (SHM_ERR_CLOSED). The client leaves the service when the last of them has ended. Runs while no other call on `client` does, nor one
/// on its request loans, pendings and replies.
#[no_mangle]
pub unsafe extern "C" fn shm_client_destroy(client: *mut ShmClient) {
    guard_value((), || {
        if !client.is_null() {
            // SAFETY: C1, C4; `shm_client_create` made the box.
            let client = unsafe { Box::from_raw(client) };
            client.0.is_closed.set(true);
        }
    })
}

/// Lends `size` bytes of shared memory to write a request into: no copy is made when it is sent.
///
/// The bytes are aligned to 64 and their content is unspecified. On SHM_OK `*loan` is the caller's, to be ended
/// with `shm_request_loan_send` or `shm_request_loan_destroy`. One thread at a time.
///
/// Errors: SHM_ERR_NULL; SHM_ERR_OUT_OF_MEMORY when the client's memory is used up by loans and by requests that servers hold;
/// SHM_ERR_TOO_LARGE, SHM_ERR_NO_SPACE, SHM_ERR_NO_SEGMENT, SHM_ERR_FORKED, SHM_ERR_CORRUPT, SHM_ERR_OS.
#[no_mangle]
pub unsafe extern "C" fn shm_client_loan(
    client: *mut ShmClient,
    size: usize,
    loan: *mut *mut ShmRequestLoan,
) -> i32 {
    guard(|| {
        let place = output(loan, "loan")?;
        // SAFETY: C1, C3.
        let ShmClient(inside) = unsafe { required(client, "client")? };
        // SAFETY: `hand_out` gives it a share.
        let lent = unsafe { lender(inside) }.core.loan(size)?;
        // SAFETY: C2.
        unsafe { place.write(inside.loans.hand_out(lent, inside.clone(), |place| &mut place.lent)) };
        Ok(SHM_OK)
    })
}

/// Sends a copy of the `size` bytes at `data` as a request; the reply is for later. Never waits.
///
/// `data` is only read during the call; it may be NULL when `size` is 0. On SHM_OK `*pending` is the caller's, to be ended with
/// `shm_pending_destroy`. As many calls may be in flight as the option `calls` says. One thread at a time.
///
/// Errors: those of `shm_client_loan` and `shm_request_loan_send`.
#[no_mangle]
pub unsafe extern "C" fn shm_client_send(
    client: *mut ShmClient,
    data: *const c_void,
    size: usize,
    pending: *mut *mut ShmPending,
) -> i32 {
    guard(|| {
        let place = output(pending, "pending")?;
        // SAFETY: C1, C3; C2.
        let (ShmClient(inside), request) = unsafe { (required(client, "client")?, bytes(data, size)?) };
        // SAFETY: `hand_out` gives it a share.
        let call = unsafe { lender(inside) }.core.send(request)?;
        // SAFETY: C2.
        unsafe { place.write(inside.pendings.hand_out(call, inside.clone(), |place| &mut place.lent)) };
        Ok(SHM_OK)
    })
}

/// Sends a copy of the `size` bytes at `data` as a request and waits for the reply up to `timeout_ns` nanoseconds, or with
/// SHM_WAIT_FOREVER as long as it takes.
///
/// `data` is only read during the call; it may be NULL when `size` is 0. On SHM_OK `*reply` is the caller's, to be ended with
/// `shm_reply_release`. Otherwise the call is cancelled. Of several replies it is the first, and no other one comes: see
/// `shm_client_send`. In a full queue it waits for room, too: without end, if `timeout_ns` says so and the living take none of what is
/// there. One thread at a time.
///
/// Outcomes: SHM_TIMED_OUT when there was no reply in that time, or no room; SHM_END when the server sent the end of several replies
/// before any. Errors: those of `shm_client_send`, but for SHM_ERR_QUEUE_FULL, and of `shm_pending_wait`; SHM_ERR_NO_HOLD comes before
/// anything is sent.
#[no_mangle]
pub unsafe extern "C" fn shm_client_call(
    client: *mut ShmClient,
    data: *const c_void,
    size: usize,
    timeout_ns: u64,
    reply: *mut *mut ShmReply,
) -> i32 {
    guard(|| {
        let place = output(reply, "reply")?;
        // SAFETY: C1, C3; C2.
        let (ShmClient(inside), request) = unsafe { (required(client, "client")?, bytes(data, size)?) };
        let deadline = deadline(timeout_ns);
        // SAFETY: `hand_out` gives the reply a share, and the call ends here.
        let mut call = unsafe { lender(inside) }.core.begin_call(request)?;
        let Some(received) = call.wait_until(deadline)? else { return Ok(over(&call, SHM_TIMED_OUT)) };
        // SAFETY: C2.
        unsafe { place.write(inside.replies.hand_out(received, inside.clone(), |place| &mut place.lent)) };
        Ok(SHM_OK)
    })
}
