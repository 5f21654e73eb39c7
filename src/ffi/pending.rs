// SPDX-License-Identifier: MIT OR Apache-2.0
//! Calls in flight.

use super::arguments::{output, required_mut};
use super::client::{ClientInside, SHM_WAIT_FOREVER};
use super::guard::{guard, guard_value};
use super::reply::ShmReply;
use super::shelf::Lent;
use super::status::{SHM_END, SHM_OK, SHM_TIMED_OUT, SHM_WOULD_BLOCK};
use crate::Pending;
use std::time::{Duration, Instant};

/// A call in flight: a request that was sent, whose reply is for later.
#[derive(Default)]
pub struct ShmPending {
    pub(super) lent: Lent<Pending<'static>, ClientInside>,
}

pub(super) fn deadline(timeout_ns: u64) -> Option<Instant> {
    match timeout_ns {
        SHM_WAIT_FOREVER => None,
        _ => Instant::now().checked_add(Duration::from_nanos(timeout_ns)),
    }
}

/// The status when a call gave no reply; `yet` is that of a call that goes on.
pub(super) fn over(call: &Pending<'_>, yet: i32) -> i32 {
    if call.is_over() {
        SHM_END
    } else {
        yet
    }
}

/// Takes the reply if it is there; of several replies the next one. Never waits.
///
/// On SHM_OK `*reply` is the caller's, to be ended with `shm_reply_release`. Only SHM_WOULD_BLOCK, SHM_ERR_NO_HOLD and SHM_ERR_OS
/// leave the call as it was; after another error it is over, and gives SHM_END. One thread at a time.
///
/// Outcomes: SHM_WOULD_BLOCK when no reply has come yet; SHM_END when no further one comes. Errors: SHM_ERR_NULL; SHM_ERR_REMOTE
/// when the function that was called failed: `shm_last_error_code` and `shm_last_error_message` are what it says; SHM_ERR_PEER_DIED
/// when the server that had begun with the request died, or left; SHM_ERR_NO_REPLY when it gave the request up; SHM_ERR_NO_SERVER when
/// it died and there is no other one to send the request to, with the option `idempotent`; SHM_ERR_NO_HOLD when as many replies are held
/// as the service allows: release one and ask again; SHM_ERR_FORKED, SHM_ERR_CORRUPT, SHM_ERR_OS.
#[no_mangle]
pub unsafe extern "C" fn shm_pending_try_reply(pending: *mut ShmPending, reply: *mut *mut ShmReply) -> i32 {
    guard(|| {
        let place = output(reply, "reply")?;
        // SAFETY: C1, C3.
        let (call, client) = unsafe { required_mut(pending, "pending")? }.lent.get()?;
        let Some(received) = call.try_reply()? else { return Ok(over(call, SHM_WOULD_BLOCK)) };
        // SAFETY: C2.
        unsafe { place.write(client.replies.hand_out(received, client.clone(), |place| &mut place.lent)) };
        Ok(SHM_OK)
    })
}

/// Waits for the reply up to `timeout_ns` nanoseconds, or with SHM_WAIT_FOREVER as long as it takes; of several replies for the
/// next one.
///
/// On SHM_OK `*reply` is the caller's, to be ended with `shm_reply_release`. Only SHM_TIMED_OUT, SHM_ERR_NO_HOLD and SHM_ERR_OS
/// leave the call as it was; after another error it is over, and gives SHM_END. One thread at a time.
///
/// Outcomes: SHM_TIMED_OUT when no reply came in that time; SHM_END when no further one comes. Errors: those of
/// `shm_pending_try_reply`; SHM_ERR_NO_SERVER when the last server went before one had begun with the request, unless the option
/// `wait_for_server` is set.
#[no_mangle]
pub unsafe extern "C" fn shm_pending_wait(
    pending: *mut ShmPending,
    timeout_ns: u64,
    reply: *mut *mut ShmReply,
) -> i32 {
    guard(|| {
        let place = output(reply, "reply")?;
        // SAFETY: C1, C3.
        let (call, client) = unsafe { required_mut(pending, "pending")? }.lent.get()?;
        let received = call.wait_until(deadline(timeout_ns))?;
        let Some(received) = received else { return Ok(over(call, SHM_TIMED_OUT)) };
        // SAFETY: C2.
        unsafe { place.write(client.replies.hand_out(received, client.clone(), |place| &mut place.lent)) };
        Ok(SHM_OK)
    })
}

/// Ends the call, whatever has become of it: one that isn't over is cancelled. A server that hasn't begun with it never sees it, and
/// one that has can ask with `shm_request_is_cancelled`. Replies stay valid. NULL does nothing. One thread at a time.
#[no_mangle]
pub unsafe extern "C" fn shm_pending_destroy(pending: *mut ShmPending) {
    guard_value((), || {
        // SAFETY: C1, C3.
        let ended = unsafe { pending.as_mut() }.and_then(|pending| pending.lent.take());
        if let Some((call, client)) = ended {
            drop(call);
            // SAFETY: C1: it has ended.
            unsafe { client.pendings.put_back(pending) };
        }
    })
}
