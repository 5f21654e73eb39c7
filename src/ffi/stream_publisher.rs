// SPDX-License-Identifier: MIT OR Apache-2.0
//! Stream publishers.

use super::arguments::{name, output, required};
use super::copier::{present, ShmCopier};
use super::guard::{guard, guard_value};
use super::options::{ShmPublisherOptions, ShmTopicInfo};
use super::status::{SHM_OK, SHM_TIMED_OUT};
use crate::copier::{Stream, StreamPublisher};
use crate::Publisher;
use std::ffi::{c_char, c_void};
use std::time::Duration;

/// Publishes messages that a copier copies on streams: each becomes visible when its stream has come to it.
///
/// Any threads may use it, also at once.
pub struct ShmStreamPublisher {
    core: StreamPublisher,
}

/// Joins `topic` as a publisher that copies with `copier`, making the topic when it doesn't exist.
///
/// `options` may be NULL for the defaults. On SHM_OK `*publisher` is the caller's, to be ended with `shm_stream_publisher_destroy`; it has a share
/// in the copier, whose handle may be destroyed before. Any thread may call this at any time. Errors: those of `shm_publisher_create`.
#[no_mangle]
pub unsafe extern "C" fn shm_stream_publisher_create(
    topic: *const c_char,
    options: *const ShmPublisherOptions,
    copier: *const ShmCopier,
    publisher: *mut *mut ShmStreamPublisher,
) -> i32 {
    guard(|| {
        let place = output(publisher, "publisher")?;
        // SAFETY: C2.
        let (topic, options) = unsafe { (name(topic, "topic")?, ShmPublisherOptions::read(options)?) };
        // SAFETY: C1.
        let copier = unsafe { required(copier, "copier")? };
        let core = StreamPublisher::new(Publisher::with_options(topic, &options)?, copier.core.clone());
        // SAFETY: C2.
        unsafe { place.write(Box::into_raw(Box::new(ShmStreamPublisher { core }))) };
        Ok(SHM_OK)
    })
}

/// Waits until all that was begun has ended, then leaves the topic. NULL does nothing.
///
/// A stream that never comes to a copy makes this wait for ever. Runs while no other call on `publisher` does.
#[no_mangle]
pub unsafe extern "C" fn shm_stream_publisher_destroy(publisher: *mut ShmStreamPublisher) {
    guard_value((), || {
        if !publisher.is_null() {
            // SAFETY: C1, C4.
            drop(unsafe { Box::from_raw(publisher) });
        }
    })
}

/// Has the `size` bytes of the copier's memory at `src` copied and published when `stream` comes to it. Doesn't wait for that.
///
/// `stream` is what the copier's kind of memory calls one, for CUDA a CUstream; NULL is its default one. Until it has ended nothing writes to `src` but what is before
/// or behind this on `stream`. How it ended says `shm_stream_publisher_wait`. While a reliable subscriber has yet to read what would be overwritten, this
/// publisher's messages wait, and streams go on. A copier that has no copies on streams of its own copies at once. A message of no bytes isn't copied,
/// wherever the stream is. `src` may be NULL for one. Any threads, also at once.
///
/// Errors: those of `shm_publisher_loan`; SHM_ERR_NULL.
#[no_mangle]
pub unsafe extern "C" fn shm_stream_publisher_publish(
    publisher: *mut ShmStreamPublisher,
    src: *const c_void,
    size: usize,
    stream: *mut c_void,
) -> i32 {
    guard(|| {
        // SAFETY: C1.
        let publisher = unsafe { required(publisher, "publisher")? };
        present(src, size, "src")?;
        // SAFETY: C2, of the copier's memory, until it has ended.
        unsafe { publisher.core.publish(src.cast(), size, Stream(stream))? };
        Ok(SHM_OK)
    })
}

/// Waits until everything that was begun before has ended, but not longer than `timeout_ns` nanoseconds.
///
/// Any threads, also at once. Outcomes: SHM_TIMED_OUT. Errors: what the first one failed with that wasn't reported before, which isn't published:
/// SHM_ERR_COPIER, or one of those of `shm_loan_publish`; SHM_ERR_NULL, SHM_ERR_FORKED.
#[no_mangle]
pub unsafe extern "C" fn shm_stream_publisher_wait(
    publisher: *mut ShmStreamPublisher,
    timeout_ns: u64,
) -> i32 {
    guard(|| {
        // SAFETY: C1.
        let publisher = unsafe { required(publisher, "publisher")? };
        let have_ended = publisher.core.wait(Duration::from_nanos(timeout_ns))?;
        Ok(if have_ended { SHM_OK } else { SHM_TIMED_OUT })
    })
}

/// Says what the topic is.
///
/// The caller sets `info->struct_size` to sizeof(shm_topic_info) before; the struct stays the caller's. Any threads, also at once.
///
/// Errors: SHM_ERR_NULL; SHM_ERR_INVALID_OPTION when `info->struct_size` isn't the size of such a struct.
#[no_mangle]
pub unsafe extern "C" fn shm_stream_publisher_info(
    publisher: *const ShmStreamPublisher,
    info: *mut ShmTopicInfo,
) -> i32 {
    guard(|| {
        // SAFETY: C1.
        let publisher = unsafe { required(publisher, "publisher")? };
        // SAFETY: C2.
        unsafe { ShmTopicInfo::write(info, &publisher.core.info())? };
        Ok(SHM_OK)
    })
}
