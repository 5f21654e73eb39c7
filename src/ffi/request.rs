// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests.

use super::arguments::{bytes, name, required_mut};
use super::error::Failure;
use super::guard::{guard, guard_value};
use super::pending::deadline;
use super::server::ServerInside;
use super::shelf::Lent;
use super::status::{SHM_CANCELLED, SHM_OK, SHM_TIMED_OUT};
use crate::rpc::hash;
use crate::Request;
use std::borrow::Cow;
use std::ffi::{c_char, c_void, CStr};
use std::ptr;

/// A request that a server holds, to be replied to: it stays as it is, where it is, until it ends.
#[derive(Default)]
pub struct ShmRequest {
    pub(super) lent: Lent<Request<'static>, ServerInside>,
    /// How many requests have ended in this box: reply loans see by it whether theirs has.
    pub(super) ended: u64,
}

/// The status of a reply.
pub(super) fn sent(is_sent: bool) -> i32 {
    if is_sent {
        SHM_OK
    } else {
        SHM_CANCELLED
    }
}

/// Ends a request. One that wasn't replied to is given up.
///
/// # Safety
/// NULL, or C1 and C3 hold for `request`, which isn't used after this.
pub(super) unsafe fn end(request: *mut ShmRequest) {
    // SAFETY: the caller's.
    let Some(entry) = (unsafe { request.as_mut() }) else { return };
    if let Some((held, server)) = entry.lent.take() {
        drop(held);
        entry.ended += 1;
        // SAFETY: C1: it has ended.
        unsafe { server.requests.put_back(request) };
    }
}

/// Ends a request with what `reply` sends, unless that fails, or gives nothing in the time that it had.
///
/// # Safety
/// C1 and C3 hold for `request`.
#[inline]
unsafe fn end_with(
    request: *mut ShmRequest,
    reply: impl FnOnce(&mut Request<'static>) -> crate::Result<Option<bool>>,
) -> Result<i32, Failure> {
    // SAFETY: the caller's.
    let (held, _) = unsafe { required_mut(request, "request")? }.lent.get()?;
    let Some(is_sent) = reply(held)? else { return Ok(SHM_TIMED_OUT) };
    // SAFETY: the caller's; the request has ended.
    unsafe { end(request) };
    Ok(sent(is_sent))
}

/// The request's bytes, aligned to 64, `shm_request_size` of them, for reading.
///
/// NULL for NULL. Valid until the request ends; any thread may read them until then. One thread at a time.
#[no_mangle]
pub unsafe extern "C" fn shm_request_data(request: *const ShmRequest) -> *const c_void {
    guard_value(ptr::null(), || {
        // SAFETY: C1, C3.
        let held = unsafe { request.as_ref() }.and_then(|request| request.lent.thing());
        held.map_or(ptr::null(), |held| held.as_ptr().cast())
    })
}

/// The request's length in bytes. 0 for NULL. One thread at a time.
#[no_mangle]
pub unsafe extern "C" fn shm_request_size(request: *const ShmRequest) -> usize {
    guard_value(0, || {
        // SAFETY: C1, C3.
        let held = unsafe { request.as_ref() }.and_then(|request| request.lent.thing());
        held.map_or(0, |held| held.len())
    })
}

/// Which of the service's functions is meant: what `shm_function_number` says of the name that the client gave with
/// `shm_request_loan_set_function`; 0 when it gave none.
///
/// 0 for NULL. One thread at a time.
#[no_mangle]
pub unsafe extern "C" fn shm_request_function(request: *const ShmRequest) -> u64 {
    guard_value(0, || {
        // SAFETY: C1, C3.
        let held = unsafe { request.as_ref() }.and_then(|request| request.lent.thing());
        held.map_or(0, |held| held.function())
    })
}

/// The number that stands for a function's name in requests, the same in all processes and versions: its 64-bit FNV-1a hash,
/// and 1 where that is 0.
///
/// 0 for NULL, and for a name that isn't UTF-8. Any thread may call this at any time.
#[no_mangle]
pub unsafe extern "C" fn shm_function_number(function: *const c_char) -> u64 {
    // SAFETY: C2.
    guard_value(0, || unsafe { name(function, "function") }.map_or(0, hash))
}

/// 1 when nobody waits for a reply any more, as the client cancelled the call or died, so that it isn't worth going on; else 0.
///
/// 0 for NULL. One thread at a time.
#[no_mangle]
pub unsafe extern "C" fn shm_request_is_cancelled(request: *const ShmRequest) -> i32 {
    guard_value(0, || {
        // SAFETY: C1, C3.
        let held = unsafe { request.as_ref() }.and_then(|request| request.lent.thing());
        held.is_some_and(|held| held.is_cancelled()).into()
    })
}

/// Replies with a copy of the `size` bytes at `data`.
///
/// `data` is only read during the call; it may be NULL when `size` is 0. On SHM_OK and SHM_CANCELLED the request has ended. On an
/// error it is as it was, and still the caller's. After `shm_request_send_part` it waits as that does. One thread at a time.
///
/// Outcomes: SHM_CANCELLED when nobody waits for the reply any more. Errors: SHM_ERR_NULL; SHM_ERR_OUT_OF_MEMORY when the server's
/// memory is used up by loans and by replies that clients hold or have yet to take; SHM_ERR_TOO_LARGE, SHM_ERR_NO_SPACE,
/// SHM_ERR_NO_SEGMENT, SHM_ERR_FORKED, SHM_ERR_CORRUPT, SHM_ERR_OS.
#[no_mangle]
pub unsafe extern "C" fn shm_request_reply(
    request: *mut ShmRequest,
    data: *const c_void,
    size: usize,
) -> i32 {
    guard(|| {
        // SAFETY: C2.
        let reply = unsafe { bytes(data, size)? };
        // SAFETY: C1, C3.
        unsafe { end_with(request, |held| held.try_reply(reply).map(Some)) }
    })
}

/// Replies that the function failed: its caller gets SHM_ERR_REMOTE, with `code` and `message`.
///
/// `message` is UTF-8, or NULL for none; it is only read during the call. On SHM_OK and SHM_CANCELLED the request has ended. On an
/// error it is as it was, and still the caller's. After `shm_request_send_part` it waits as that does. One thread at a time.
///
/// Outcomes and errors: those of `shm_request_reply`.
#[no_mangle]
pub unsafe extern "C" fn shm_request_fail(
    request: *mut ShmRequest,
    code: i32,
    message: *const c_char,
) -> i32 {
    guard(|| {
        // SAFETY: C2.
        let message = unsafe { words(message) };
        // SAFETY: C1, C3.
        unsafe { end_with(request, |held| held.fail_until(code, &message, None)) }
    })
}

/// Replies that the function failed, as `shm_request_fail`, but after `shm_request_send_part` waits for the client no longer than
/// `timeout_ns` nanoseconds.
///
/// On SHM_OK and SHM_CANCELLED the request has ended. Otherwise it is as it was, and still the caller's. One thread at a time.
///
/// Outcomes: SHM_TIMED_OUT when the client hadn't taken the reply before in that time; SHM_CANCELLED. Errors: those of
/// `shm_request_reply`.
#[no_mangle]
pub unsafe extern "C" fn shm_request_fail_timeout(
    request: *mut ShmRequest,
    code: i32,
    message: *const c_char,
    timeout_ns: u64,
) -> i32 {
    guard(|| {
        // SAFETY: C2.
        let message = unsafe { words(message) };
        // SAFETY: C1, C3.
        unsafe { end_with(request, |held| held.fail_until(code, &message, deadline(timeout_ns))) }
    })
}

/// What `message` says; NULL says nothing.
///
/// # Safety
/// `message` is NULL, or a string that stays for `'a`.
unsafe fn words<'a>(message: *const c_char) -> Cow<'a, str> {
    match message.is_null() {
        true => Cow::default(),
        // SAFETY: the caller's.
        false => unsafe { CStr::from_ptr(message) }.to_string_lossy(),
    }
}

/// Sends a copy of the `size` bytes at `data` as one of several replies; the last is followed by `shm_request_finish` or
/// `shm_request_fail`.
///
/// `data` is only read during the call; it may be NULL when `size` is 0. The request goes on, whatever is returned. Waits until the
/// client has taken the reply before, for ever if that one lives and doesn't. One thread at a time.
///
/// Outcomes and errors: those of `shm_request_reply`.
#[no_mangle]
pub unsafe extern "C" fn shm_request_send_part(
    request: *mut ShmRequest,
    data: *const c_void,
    size: usize,
) -> i32 {
    guard(|| {
        // SAFETY: C2.
        let part = unsafe { bytes(data, size)? };
        // SAFETY: C1, C3.
        let (held, _) = unsafe { required_mut(request, "request")? }.lent.get()?;
        Ok(sent(held.send_part(part)?))
    })
}

/// Sends a copy of the `size` bytes at `data` as one of several replies, as `shm_request_send_part`, but waits for the client no longer
/// than `timeout_ns` nanoseconds.
///
/// `data` is only read during the call; it may be NULL when `size` is 0. The request goes on, whatever is returned. One thread at a
/// time.
///
/// Outcomes: SHM_TIMED_OUT when the client hadn't taken the reply before in that time: this one wasn't sent; SHM_CANCELLED.
/// Errors: those of `shm_request_reply`.
#[no_mangle]
pub unsafe extern "C" fn shm_request_send_part_timeout(
    request: *mut ShmRequest,
    data: *const c_void,
    size: usize,
    timeout_ns: u64,
) -> i32 {
    guard(|| {
        // SAFETY: C2.
        let part = unsafe { bytes(data, size)? };
        // SAFETY: C1, C3.
        let (held, _) = unsafe { required_mut(request, "request")? }.lent.get()?;
        Ok(held.send_part_until(part, deadline(timeout_ns))?.map_or(SHM_TIMED_OUT, sent))
    })
}

/// Ends several replies: the caller of the function gets SHM_END. Waits as `shm_request_send_part` does.
///
/// On SHM_OK and SHM_CANCELLED the request has ended. On an error it is as it was, and still the caller's. One thread at a time.
///
/// Outcomes and errors: those of `shm_request_reply`.
#[no_mangle]
pub unsafe extern "C" fn shm_request_finish(request: *mut ShmRequest) -> i32 {
    // SAFETY: C1, C3.
    guard(|| unsafe { end_with(request, |held| held.finish_until(None)) })
}

/// Ends several replies, as `shm_request_finish`, but waits for the client no longer than `timeout_ns` nanoseconds.
///
/// On SHM_OK and SHM_CANCELLED the request has ended. Otherwise it is as it was, and still the caller's. One thread at a time.
///
/// Outcomes: SHM_TIMED_OUT when the client hadn't taken the reply before in that time; SHM_CANCELLED. Errors: those of
/// `shm_request_reply`.
#[no_mangle]
pub unsafe extern "C" fn shm_request_finish_timeout(request: *mut ShmRequest, timeout_ns: u64) -> i32 {
    // SAFETY: C1, C3.
    guard(|| unsafe { end_with(request, |held| held.finish_until(deadline(timeout_ns))) })
}

/// Gives the request up: the caller of the function gets SHM_ERR_NO_REPLY. NULL does nothing. One thread at a time.
#[no_mangle]
pub unsafe extern "C" fn shm_request_destroy(request: *mut ShmRequest) {
    // SAFETY: C1, C3.
    guard_value((), || unsafe { end(request) })
}
