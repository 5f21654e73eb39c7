// SPDX-License-Identifier: MIT OR Apache-2.0
//! Servers.

use super::arguments::{name, output, required};
use super::guard::{guard, guard_value};
use super::reply_loan::ShmReplyLoan;
use super::request::ShmRequest;
use super::service_options::ShmServerOptions;
use super::shelf::{lender, Shelf};
use super::status::{SHM_OK, SHM_TIMED_OUT, SHM_WOULD_BLOCK};
use crate::{Request, Server};
use std::ffi::c_char;
use std::ptr::NonNull;
use std::rc::Rc;
use std::time::Duration;

/// Serves the requests of a service, each of which goes to exactly one of its servers.
pub struct ShmServer(Rc<ServerInside>);

/// What a server's requests and reply loans share.
pub(super) struct ServerInside {
    pub(super) requests: Shelf<ShmRequest>,
    pub(super) loans: Shelf<ShmReplyLoan>,
    core: Server,
}

impl ServerInside {
    /// Hands out what a receive gave; `nothing` is the status when that is nothing.
    ///
    /// # Safety
    /// C2 holds for `place`.
    #[inline]
    unsafe fn hand_out(
        self: &Rc<Self>,
        received: Option<Request<'static>>,
        place: NonNull<*mut ShmRequest>,
        nothing: i32,
    ) -> i32 {
        let Some(request) = received else { return nothing };
        // SAFETY: the caller's.
        unsafe { place.write(self.requests.hand_out(request, self.clone(), |place| &mut place.lent)) };
        SHM_OK
    }
}

/// Joins `service` as a server, making the service when it doesn't exist.
///
/// `options` may be NULL for the defaults. On SHM_OK `*server` is the caller's, to be ended with
/// `shm_server_destroy`. Any thread may call this at any time.
///
/// Errors: SHM_ERR_NULL, SHM_ERR_INVALID_NAME, SHM_ERR_INVALID_OPTION; SHM_ERR_MISMATCH when the service
/// exists and is smaller than `options` ask for, or shared with others; SHM_ERR_NO_PARTICIPANT, SHM_ERR_NO_SPACE,
/// SHM_ERR_NOT_TRUSTED, SHM_ERR_VERSION, SHM_ERR_CORRUPT, SHM_ERR_OS.
#[no_mangle]
pub unsafe extern "C" fn shm_server_create(
    service: *const c_char,
    options: *const ShmServerOptions,
    server: *mut *mut ShmServer,
) -> i32 {
    guard(|| {
        let place = output(server, "server")?;
        // SAFETY: C2.
        let (service, options) = unsafe { (name(service, "service")?, ShmServerOptions::read(options)?) };
        let core = Server::with_options(service, &options)?;
        let inside = ServerInside { requests: Shelf::default(), loans: Shelf::default(), core };
        // SAFETY: C2.
        unsafe { place.write(Box::into_raw(Box::new(ShmServer(Rc::new(inside))))) };
        Ok(SHM_OK)
    })
}

/// Ends serving and leaves the service. Replies that were sent stay for their clients.
///
/// What is still out stays valid: requests may be read and replied to, also by loans. The server leaves the service when the last of
/// them has ended. Runs while no other call on `server` does, nor one on its requests and reply loans.
#[no_mangle]
pub unsafe extern "C" fn shm_server_destroy(server: *mut ShmServer) {
    guard_value((), || {
        if !server.is_null() {
            // SAFETY: C1, C4; `shm_server_create` made the box.
            drop(unsafe { Box::from_raw(server) });
        }
    })
}

/// Receives the next request if there is one. Never waits.
///
/// On SHM_OK `*request` is the caller's, to be ended with a reply (`shm_request_reply`, `shm_request_fail`, `shm_request_finish`,
/// `shm_reply_loan_send`) or with `shm_request_destroy`. Several may be in hand, and end in any order. One thread at a time.
///
/// Outcomes: SHM_WOULD_BLOCK when no request has come. Errors: SHM_ERR_NULL; SHM_ERR_NO_HOLD when a request is there, but as many
/// are held as the service allows; SHM_ERR_CORRUPT or SHM_ERR_OS when the request can't be read: it is given up; SHM_ERR_FORKED.
#[no_mangle]
pub unsafe extern "C" fn shm_server_try_receive(
    server: *mut ShmServer,
    request: *mut *mut ShmRequest,
) -> i32 {
    guard(|| {
        let place = output(request, "request")?;
        // SAFETY: C1, C3.
        let ShmServer(inside) = unsafe { required(server, "server")? };
        // SAFETY: `hand_out` gives it a share.
        let received = unsafe { lender(inside) }.core.try_receive()?;
        // SAFETY: C2.
        Ok(unsafe { inside.hand_out(received, place, SHM_WOULD_BLOCK) })
    })
}

/// Receives the next request, waiting for it as long as it takes.
///
/// On SHM_OK `*request` is the caller's, as with `shm_server_try_receive`. One thread at a time.
///
/// Errors: those of `shm_server_try_receive`.
#[no_mangle]
pub unsafe extern "C" fn shm_server_receive(server: *mut ShmServer, request: *mut *mut ShmRequest) -> i32 {
    guard(|| {
        let place = output(request, "request")?;
        // SAFETY: C1, C3.
        let ShmServer(inside) = unsafe { required(server, "server")? };
        // SAFETY: `hand_out` gives it a share.
        let received = unsafe { lender(inside) }.core.receive()?;
        // SAFETY: C2.
        Ok(unsafe { inside.hand_out(Some(received), place, SHM_OK) })
    })
}

/// Receives the next request, waiting for it up to `timeout_ns` nanoseconds.
///
/// On SHM_OK `*request` is the caller's, as with `shm_server_try_receive`. One thread at a time.
///
/// Outcomes: SHM_TIMED_OUT when no request came in that time. Errors: those of `shm_server_try_receive`.
#[no_mangle]
pub unsafe extern "C" fn shm_server_receive_timeout(
    server: *mut ShmServer,
    timeout_ns: u64,
    request: *mut *mut ShmRequest,
) -> i32 {
    guard(|| {
        let place = output(request, "request")?;
        // SAFETY: C1, C3.
        let ShmServer(inside) = unsafe { required(server, "server")? };
        // SAFETY: `hand_out` gives it a share.
        let received = unsafe { lender(inside) }.core.receive_timeout(Duration::from_nanos(timeout_ns))?;
        // SAFETY: C2.
        Ok(unsafe { inside.hand_out(received, place, SHM_TIMED_OUT) })
    })
}
