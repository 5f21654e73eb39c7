// SPDX-License-Identifier: MIT OR Apache-2.0
//! Replies.

use super::client::ClientInside;
use super::guard::guard_value;
use super::shelf::Lent;
use crate::Reply;
use std::ffi::c_void;
use std::ptr;

/// A reply that a client holds: it stays as it is, where it is, until it is released.
#[derive(Default)]
pub struct ShmReply {
    pub(super) lent: Lent<Reply<'static>, ClientInside>,
}

/// The reply's bytes, aligned to 64, `shm_reply_size` of them, for reading.
///
/// NULL for NULL. Valid until the reply is released; any thread may read them until then. One thread at a time.
#[no_mangle]
pub unsafe extern "C" fn shm_reply_data(reply: *const ShmReply) -> *const c_void {
    guard_value(ptr::null(), || {
        // SAFETY: C1, C3.
        let held = unsafe { reply.as_ref() }.and_then(|reply| reply.lent.thing());
        held.map_or(ptr::null(), |held| held.as_ptr().cast())
    })
}

/// The reply's length in bytes. 0 for NULL. One thread at a time.
#[no_mangle]
pub unsafe extern "C" fn shm_reply_size(reply: *const ShmReply) -> usize {
    guard_value(0, || {
        // SAFETY: C1, C3.
        let held = unsafe { reply.as_ref() }.and_then(|reply| reply.lent.thing());
        held.map_or(0, |held| held.len())
    })
}

/// Gives the reply's memory back to its server. NULL does nothing. One thread at a time.
#[no_mangle]
pub unsafe extern "C" fn shm_reply_release(reply: *mut ShmReply) {
    guard_value((), || {
        // SAFETY: C1, C3.
        let ended = unsafe { reply.as_mut() }.and_then(|reply| reply.lent.take());
        if let Some((held, client)) = ended {
            drop(held);
            // SAFETY: C1: it has ended.
            unsafe { client.replies.put_back(reply) };
        }
    })
}
