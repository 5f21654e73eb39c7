// SPDX-License-Identifier: MIT OR Apache-2.0
//! Subscribers to messages in a device's memory.

use super::arguments::{name, output, required};
use super::device_sample::ShmDeviceSample;
use super::error::Failure;
use super::guard::{guard, guard_value};
use super::options::{ShmSubscriberOptions, ShmTopicInfo};
use super::status::{SHM_OK, SHM_TIMED_OUT, SHM_WOULD_BLOCK};
use crate::copier::cuda::{DeviceSample, DeviceSubscriber};
use std::ffi::c_char;
use std::ptr::NonNull;
use std::time::Duration;

/// Receives the messages of a device publisher's topic, as pointers for a GPU's work.
pub struct ShmDeviceSubscriber {
    core: DeviceSubscriber,
}

/// Hands out what a receive gave; `nothing` is the status when that is nothing.
///
/// # Safety
/// C2 holds for `place`.
unsafe fn hand_out(
    received: crate::Result<Option<DeviceSample<'_>>>,
    place: NonNull<*mut ShmDeviceSample>,
    nothing: i32,
) -> Result<i32, Failure> {
    let Some(sample) = received? else { return Ok(nothing) };
    // SAFETY: the caller's.
    unsafe { place.write(ShmDeviceSample::boxed(sample.keep())) };
    Ok(SHM_OK)
}

/// Joins `topic` as a subscriber for the GPU that CUDA counts as `device`, from 0, making the topic when it doesn't exist.
///
/// `options` may be NULL for the defaults. On SHM_OK `*subscriber` is the caller's, to be ended with `shm_device_subscriber_destroy`. Any thread may call this at any time.
///
/// Errors: those of `shm_subscriber_create`; SHM_ERR_NO_DEVICE when there is no driver or no such GPU; SHM_ERR_COPIER.
#[no_mangle]
pub unsafe extern "C" fn shm_device_subscriber_create(
    topic: *const c_char,
    options: *const ShmSubscriberOptions,
    device: u32,
    subscriber: *mut *mut ShmDeviceSubscriber,
) -> i32 {
    guard(|| {
        let place = output(subscriber, "subscriber")?;
        // SAFETY: C2.
        let (topic, options) = unsafe { (name(topic, "topic")?, ShmSubscriberOptions::read(options)?) };
        let core = DeviceSubscriber::new(topic, &options, device)?;
        // SAFETY: C2.
        unsafe { place.write(Box::into_raw(Box::new(ShmDeviceSubscriber { core }))) };
        Ok(SHM_OK)
    })
}

/// Ends receiving and leaves the topic. NULL does nothing.
///
/// Samples that are still held stay valid; the subscriber leaves the topic when the last of them is released. Runs while no other call on `subscriber` does.
#[no_mangle]
pub unsafe extern "C" fn shm_device_subscriber_destroy(subscriber: *mut ShmDeviceSubscriber) {
    guard_value((), || {
        if !subscriber.is_null() {
            // SAFETY: C1, C4.
            drop(unsafe { Box::from_raw(subscriber) });
        }
    })
}

/// Receives the next message if there is one.
///
/// Doesn't wait, but for the first message of each block of a publisher, which is asked for it: that takes as long as its process needs to be scheduled, and a second if it is
/// stopped. A message of a publisher that is gone, and whose block wasn't mapped before, is passed over and counted as lost. On SHM_OK `*sample` is the caller's, to be ended with
/// `shm_device_sample_release` or `shm_device_sample_release_on_stream`. One thread at a time.
///
/// Outcomes: SHM_WOULD_BLOCK when no message has come. Errors: those of `shm_subscriber_try_receive`. And these, after which the message is lost: SHM_ERR_COPIER when its memory
/// can't be mapped here, with what to do; SHM_ERR_OS when its publisher doesn't answer; SHM_ERR_DECODE when it isn't a device message.
#[no_mangle]
pub unsafe extern "C" fn shm_device_subscriber_try_receive(
    subscriber: *mut ShmDeviceSubscriber,
    sample: *mut *mut ShmDeviceSample,
) -> i32 {
    guard(|| {
        let place = output(sample, "sample")?;
        // SAFETY: C1, C3; C2.
        unsafe { hand_out(required(subscriber, "subscriber")?.core.try_receive(), place, SHM_WOULD_BLOCK) }
    })
}

/// Receives the next message, waiting for it as long as it takes. Otherwise as `shm_device_subscriber_try_receive`.
///
/// Errors: those of `shm_device_subscriber_try_receive`.
#[no_mangle]
pub unsafe extern "C" fn shm_device_subscriber_receive(
    subscriber: *mut ShmDeviceSubscriber,
    sample: *mut *mut ShmDeviceSample,
) -> i32 {
    guard(|| {
        let place = output(sample, "sample")?;
        // SAFETY: C1, C3; C2.
        unsafe { hand_out(required(subscriber, "subscriber")?.core.receive().map(Some), place, SHM_OK) }
    })
}

/// Receives the next message, waiting for it up to `timeout_ns` nanoseconds. Otherwise as `shm_device_subscriber_try_receive`.
///
/// Outcomes: SHM_TIMED_OUT when no message came in that time. Errors: those of `shm_device_subscriber_try_receive`.
#[no_mangle]
pub unsafe extern "C" fn shm_device_subscriber_receive_timeout(
    subscriber: *mut ShmDeviceSubscriber,
    timeout_ns: u64,
    sample: *mut *mut ShmDeviceSample,
) -> i32 {
    guard(|| {
        let place = output(sample, "sample")?;
        // SAFETY: C1, C3.
        let subscriber = unsafe { required(subscriber, "subscriber")? };
        let received = subscriber.core.receive_timeout(Duration::from_nanos(timeout_ns));
        // SAFETY: C2.
        unsafe { hand_out(received, place, SHM_TIMED_OUT) }
    })
}

/// Counts the messages that this subscriber was too slow for, or whose payload couldn't be reached, since it joined.
///
/// On SHM_OK `*lost` is the count. One thread at a time. Errors: SHM_ERR_NULL.
#[no_mangle]
pub unsafe extern "C" fn shm_device_subscriber_lost(
    subscriber: *const ShmDeviceSubscriber,
    lost: *mut u64,
) -> i32 {
    guard(|| {
        let place = output(lost, "lost")?;
        // SAFETY: C1, C3; C2.
        unsafe { place.write(required(subscriber, "subscriber")?.core.lost()) };
        Ok(SHM_OK)
    })
}

/// Says what the topic is.
///
/// The caller sets `info->struct_size` to sizeof(shm_topic_info) before; the struct stays the caller's. One thread at a time.
///
/// Errors: SHM_ERR_NULL; SHM_ERR_INVALID_OPTION when `info->struct_size` isn't the size of such a struct.
#[no_mangle]
pub unsafe extern "C" fn shm_device_subscriber_info(
    subscriber: *const ShmDeviceSubscriber,
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
