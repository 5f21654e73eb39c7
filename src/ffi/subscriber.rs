// SPDX-License-Identifier: MIT OR Apache-2.0
//! Subscribers.

use super::arguments::{name, output, required};
use super::error::Failure;
use super::guard::{guard, guard_value};
use super::options::{ShmSubscriberOptions, ShmTopicInfo};
use super::sample::{Samples, ShmSample};
use super::status::{SHM_OK, SHM_TIMED_OUT, SHM_WOULD_BLOCK};
use crate::{Sample, Subscriber};
use std::ffi::c_char;
use std::ptr::{self, NonNull};
use std::time::Duration;

/// Receives the messages of a topic.
pub struct ShmSubscriber {
    // Before `core`, which the samples borrow from, so that it is dropped first.
    pub(super) samples: Samples,
    core: Subscriber,
}

impl ShmSubscriber {
    fn boxed(core: Subscriber) -> *mut ShmSubscriber {
        let holds = core.info().holds as usize;
        let handle =
            Box::into_raw(Box::new(ShmSubscriber { samples: Samples::new(0, ptr::null_mut()), core }));
        // SAFETY: the box was made above and nobody else knows it.
        unsafe { (*handle).samples = Samples::new(holds, handle) };
        handle
    }

    /// Hands out what a receive of this subscriber gave; `nothing` is the status when that is nothing.
    ///
    /// # Safety
    /// C1 and C3 hold for this handle, C2 for `place`.
    #[inline]
    unsafe fn hand_out(
        &self,
        received: crate::Result<Option<Sample<'_>>>,
        place: NonNull<*mut ShmSample>,
        nothing: i32,
    ) -> Result<i32, Failure> {
        match received {
            Ok(Some(sample)) => {
                // SAFETY: `sample` borrows from `core` in this box, which lives until its last sample is released; the
                // caller's.
                unsafe { place.write(self.samples.place(sample)) };
                Ok(SHM_OK)
            }
            Ok(None) => Ok(nothing),
            Err(error) => Err(error.into()),
        }
    }
}

/// Joins `topic` as a subscriber, making the topic when it doesn't exist.
///
/// It receives what is published from now on, and before that as much as the option `history` asks for. `options` may
/// be NULL for the defaults. On SHM_OK `*subscriber` is the caller's, to be ended with
/// `shm_subscriber_destroy`. Any thread may call this at any time.
///
/// Errors: SHM_ERR_NULL, SHM_ERR_INVALID_NAME, SHM_ERR_INVALID_OPTION; SHM_ERR_MISMATCH when the topic
/// exists and is smaller than `options` ask for, or shared with others; SHM_ERR_NO_PARTICIPANT, SHM_ERR_NO_SPACE,
/// SHM_ERR_NOT_TRUSTED, SHM_ERR_VERSION, SHM_ERR_CORRUPT, SHM_ERR_OS.
#[no_mangle]
pub unsafe extern "C" fn shm_subscriber_create(
    topic: *const c_char,
    options: *const ShmSubscriberOptions,
    subscriber: *mut *mut ShmSubscriber,
) -> i32 {
    guard(|| {
        let place = output(subscriber, "subscriber")?;
        // SAFETY: C2.
        let (topic, options) = unsafe { (name(topic)?, ShmSubscriberOptions::read(options)?) };
        let core = Subscriber::with_options(topic, &options)?;
        // SAFETY: C2.
        unsafe { place.write(ShmSubscriber::boxed(core)) };
        Ok(SHM_OK)
    })
}

/// Ends receiving and leaves the topic.
///
/// Samples that are still held stay valid; the subscriber leaves the topic when the last of them is released. Runs
/// while no other call on `subscriber` does; its samples may be read and released meanwhile, by any thread.
#[no_mangle]
pub unsafe extern "C" fn shm_subscriber_destroy(subscriber: *mut ShmSubscriber) {
    guard_value((), || {
        // SAFETY: C1, C4.
        let Some(open) = (unsafe { subscriber.as_ref() }) else { return };
        // Before others may free it.
        open.core.stop_gating();
        // SAFETY: C1, C4.
        if unsafe { Samples::close(subscriber) } {
            // SAFETY: C4; no sample is held, so this is the last pointer to the box that `boxed` made.
            drop(unsafe { Box::from_raw(subscriber) });
        }
    })
}

/// Receives the next message if there is one. Never waits.
///
/// On SHM_OK `*sample` is the caller's, to be ended with `shm_sample_release`. A subscriber that was too slow goes on
/// with a later message: see `shm_subscriber_lost`. One thread at a time.
///
/// Outcomes: SHM_WOULD_BLOCK when no message has come. Errors: SHM_ERR_NULL; SHM_ERR_NO_HOLD when a
/// message is there, but as many samples are held as the topic allows; SHM_ERR_FORKED, SHM_ERR_CORRUPT, SHM_ERR_OS.
#[no_mangle]
pub unsafe extern "C" fn shm_subscriber_try_receive(
    subscriber: *mut ShmSubscriber,
    sample: *mut *mut ShmSample,
) -> i32 {
    guard(|| {
        let place = output(sample, "sample")?;
        // SAFETY: C1, C3.
        let subscriber = unsafe { required(subscriber, "subscriber")? };
        let received = subscriber.core.try_receive();
        // SAFETY: C1, C2, C3.
        unsafe { subscriber.hand_out(received, place, SHM_WOULD_BLOCK) }
    })
}

/// Receives the next message, waiting for it as long as it takes.
///
/// On SHM_OK `*sample` is the caller's, to be ended with `shm_sample_release`. A subscriber that was too slow goes on
/// with a later message: see `shm_subscriber_lost`. One thread at a time.
///
/// Errors: SHM_ERR_NULL; SHM_ERR_NO_HOLD when a message is there, but as many samples are held as the topic allows;
/// SHM_ERR_FORKED, SHM_ERR_CORRUPT, SHM_ERR_OS.
#[no_mangle]
pub unsafe extern "C" fn shm_subscriber_receive(
    subscriber: *mut ShmSubscriber,
    sample: *mut *mut ShmSample,
) -> i32 {
    guard(|| {
        let place = output(sample, "sample")?;
        // SAFETY: C1, C3.
        let subscriber = unsafe { required(subscriber, "subscriber")? };
        let received = subscriber.core.receive().map(Some);
        // SAFETY: C1, C2, C3.
        unsafe { subscriber.hand_out(received, place, SHM_OK) }
    })
}

/// Receives the next message, waiting for it up to `timeout_ns` nanoseconds.
///
/// On SHM_OK `*sample` is the caller's, to be ended with `shm_sample_release`. A subscriber that was too slow goes on
/// with a later message: see `shm_subscriber_lost`. One thread at a time.
///
/// Outcomes: SHM_TIMED_OUT when no message came in that time. Errors: SHM_ERR_NULL; SHM_ERR_NO_HOLD when a
/// message is there, but as many samples are held as the topic allows; SHM_ERR_FORKED, SHM_ERR_CORRUPT, SHM_ERR_OS.
#[no_mangle]
pub unsafe extern "C" fn shm_subscriber_receive_timeout(
    subscriber: *mut ShmSubscriber,
    timeout_ns: u64,
    sample: *mut *mut ShmSample,
) -> i32 {
    guard(|| {
        let place = output(sample, "sample")?;
        // SAFETY: C1, C3.
        let subscriber = unsafe { required(subscriber, "subscriber")? };
        let received = subscriber.core.receive_timeout(Duration::from_nanos(timeout_ns));
        // SAFETY: C1, C2, C3.
        unsafe { subscriber.hand_out(received, place, SHM_TIMED_OUT) }
    })
}

/// Counts the messages that this subscriber was too slow for, exactly, since it joined.
///
/// On SHM_OK `*lost` is the count. One thread at a time. Errors: SHM_ERR_NULL.
#[no_mangle]
pub unsafe extern "C" fn shm_subscriber_lost(subscriber: *const ShmSubscriber, lost: *mut u64) -> i32 {
    guard(|| {
        let place = output(lost, "lost")?;
        // SAFETY: C1, C3; C2.
        unsafe { place.write(required(subscriber, "subscriber")?.core.lost()) };
        Ok(SHM_OK)
    })
}

/// Says what the topic is.
///
/// The caller sets `info->struct_size` to sizeof(shm_topic_info) before; the struct stays the caller's. One
/// thread at a time.
///
/// Errors: SHM_ERR_NULL; SHM_ERR_INVALID_OPTION when `info->struct_size` isn't the size of such a struct.
#[no_mangle]
pub unsafe extern "C" fn shm_subscriber_info(
    subscriber: *const ShmSubscriber,
    info: *mut ShmTopicInfo,
) -> i32 {
    guard(|| {
        // SAFETY: C1, C3.
        let subscriber = unsafe { required(subscriber, "subscriber")? };
        // SAFETY: C2.
        unsafe { ShmTopicInfo::write(info, &subscriber.core.info())? };
        Ok(SHM_OK)
    })
}
