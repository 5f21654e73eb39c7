// SPDX-License-Identifier: MIT OR Apache-2.0
//! Publishers.

use super::arguments::{bytes, name, output, required, write_wanted};
use super::guard::{guard, guard_value};
use super::loan::{Loans, ShmLoan};
use super::options::{ShmPublisherOptions, ShmTopicInfo};
use super::status::{SHM_OK, SHM_WOULD_BLOCK};
use crate::Publisher;
use std::ffi::{c_char, c_void};

/// Publishes messages on a topic.
pub struct ShmPublisher {
    // Before `core`, which the loans borrow from, so that it is dropped first.
    pub(super) loans: Loans,
    pub(super) core: Publisher,
}

/// Joins `topic` as a publisher, making the topic when it doesn't exist.
///
/// `options` may be NULL for the defaults. On SHM_OK `*publisher` is the caller's, to be ended with
/// `shm_publisher_destroy`. Any thread may call this at any time.
///
/// Errors: SHM_ERR_NULL, SHM_ERR_INVALID_NAME, SHM_ERR_INVALID_OPTION; SHM_ERR_MISMATCH when the topic
/// exists and is smaller than `options` ask for, or shared with others; SHM_ERR_NO_PARTICIPANT, SHM_ERR_NO_SPACE,
/// SHM_ERR_NOT_TRUSTED, SHM_ERR_VERSION, SHM_ERR_CORRUPT, SHM_ERR_OS.
#[no_mangle]
pub unsafe extern "C" fn shm_publisher_create(
    topic: *const c_char,
    options: *const ShmPublisherOptions,
    publisher: *mut *mut ShmPublisher,
) -> i32 {
    guard(|| {
        let place = output(publisher, "publisher")?;
        // SAFETY: C2.
        let (topic, options) = unsafe { (name(topic, "topic")?, ShmPublisherOptions::read(options)?) };
        let core = Publisher::with_options(topic, &options)?;
        let handle = Box::new(ShmPublisher { loans: Loans::default(), core });
        // SAFETY: C2.
        unsafe { place.write(Box::into_raw(handle)) };
        Ok(SHM_OK)
    })
}

/// Leaves the topic. What was published stays for the subscribers that are there.
///
/// Loans that are still out stay valid, but can't be published any more (SHM_ERR_CLOSED); the publisher leaves
/// the topic when the last of them is destroyed. Runs while no other call on `publisher` or its loans does.
#[no_mangle]
pub unsafe extern "C" fn shm_publisher_destroy(publisher: *mut ShmPublisher) {
    guard_value((), || {
        // SAFETY: C1, C4.
        if unsafe { publisher.as_ref() }.is_some_and(|publisher| publisher.loans.close()) {
            // SAFETY: C4; no loan is out, so this is the last pointer to the box that `create` made.
            drop(unsafe { Box::from_raw(publisher) });
        }
    })
}

/// Publishes a copy of the `size` bytes at `data`.
///
/// `data` is only read during the call; it may be NULL when `size` is 0. `position` may be NULL; otherwise it
/// gets the message's place in the topic's order. Waits while a reliable subscriber has yet to read what would be
/// overwritten, for ever if that one lives and doesn't read. One thread at a time.
///
/// Errors: SHM_ERR_NULL; SHM_ERR_OUT_OF_MEMORY when the publisher's memory is used up by loans, by held samples and by what
/// reliable subscribers have yet to read; SHM_ERR_TOO_LARGE, SHM_ERR_NO_SPACE, SHM_ERR_NO_SEGMENT, SHM_ERR_FORKED,
/// SHM_ERR_CORRUPT, SHM_ERR_OS.
#[no_mangle]
pub unsafe extern "C" fn shm_publisher_publish(
    publisher: *mut ShmPublisher,
    data: *const c_void,
    size: usize,
    position: *mut u64,
) -> i32 {
    guard(|| {
        // SAFETY: C1, C3; C2.
        let (publisher, payload) = unsafe { (required(publisher, "publisher")?, bytes(data, size)?) };
        let published = publisher.core.publish(payload)?;
        // SAFETY: C2.
        unsafe { write_wanted(position, published) };
        Ok(SHM_OK)
    })
}

/// Publishes a copy of the `size` bytes at `data`, if that can be done without waiting.
///
/// `data` is only read during the call; it may be NULL when `size` is 0. `position` may be NULL; otherwise it
/// gets the message's place in the topic's order. One thread at a time.
///
/// Outcomes: SHM_WOULD_BLOCK when a reliable subscriber has yet to read what would be overwritten. Errors: those of
/// `shm_publisher_publish`.
#[no_mangle]
pub unsafe extern "C" fn shm_publisher_try_publish(
    publisher: *mut ShmPublisher,
    data: *const c_void,
    size: usize,
    position: *mut u64,
) -> i32 {
    guard(|| {
        // SAFETY: C1, C3; C2.
        let (publisher, payload) = unsafe { (required(publisher, "publisher")?, bytes(data, size)?) };
        let Some(published) = publisher.core.try_publish(payload)? else { return Ok(SHM_WOULD_BLOCK) };
        // SAFETY: C2.
        unsafe { write_wanted(position, published) };
        Ok(SHM_OK)
    })
}

/// Lends `size` bytes of shared memory to write a message into: no copy is made when it is published.
///
/// The bytes are aligned to 64 and their content is unspecified. On SHM_OK `*loan` is the caller's, to be ended
/// with `shm_loan_publish` or `shm_loan_destroy`. One thread at a time.
///
/// Errors: SHM_ERR_NULL; SHM_ERR_OUT_OF_MEMORY when the publisher's memory is used up by loans, by held samples and by what
/// reliable subscribers have yet to read; SHM_ERR_TOO_LARGE, SHM_ERR_NO_SPACE, SHM_ERR_NO_SEGMENT, SHM_ERR_FORKED,
/// SHM_ERR_CORRUPT, SHM_ERR_OS.
#[no_mangle]
pub unsafe extern "C" fn shm_publisher_loan(
    publisher: *mut ShmPublisher,
    size: usize,
    loan: *mut *mut ShmLoan,
) -> i32 {
    guard(|| {
        let place = output(loan, "loan")?;
        // SAFETY: C1, C3.
        let handle = unsafe { required(publisher, "publisher")? };
        let lent = handle.core.loan(size)?;
        // SAFETY: `lent` borrows from the publisher in this box, which lives until its last loan is back; C2.
        unsafe { place.write(handle.loans.hand_out(publisher, lent)) };
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
pub unsafe extern "C" fn shm_publisher_info(publisher: *const ShmPublisher, info: *mut ShmTopicInfo) -> i32 {
    guard(|| {
        // SAFETY: C1, C3.
        let publisher = unsafe { required(publisher, "publisher")? };
        // SAFETY: C2.
        unsafe { ShmTopicInfo::write(info, &publisher.core.info())? };
        Ok(SHM_OK)
    })
}
