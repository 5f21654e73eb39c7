// SPDX-License-Identifier: MIT OR Apache-2.0
//! Publishers of messages in a device's memory.

use super::arguments::{name, output, required};
use super::device_loan::ShmDeviceLoan;
use super::error::Failure;
use super::guard::{guard, guard_value};
use super::options::{read_sized, ShmPublisherOptions, ShmTopicInfo};
use super::status::{SHM_OK, SHM_TIMED_OUT};
use crate::copier::cuda::{DeviceOptions, DevicePublisher, Placement};
use std::ffi::c_char;
use std::mem::{offset_of, size_of};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

/// Where a payload is: up to the library. The device's memory where other processes can map that and no subscriber said that it couldn't, else the host's.
pub const SHM_PLACEMENT_AUTO: u32 = 0;
/// Where a payload is: in the device's memory.
pub const SHM_PLACEMENT_DEVICE: u32 = 1;
/// Where a payload is: in the topic's shared memory, which the device reads and writes over the bus.
pub const SHM_PLACEMENT_HOST: u32 = 2;

/// What a device publisher publishes from. `shm_device_options_init` sets it to the defaults; `largest` is needed.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ShmDeviceOptions {
    /// sizeof(shm_device_options), set by `shm_device_options_init`.
    pub struct_size: usize,
    /// Bytes of the largest message, at least 1. A block of device memory takes as many, rounded up to what the device maps at a time: 2 MiB.
    pub largest: usize,
    /// The GPU, as CUDA counts them, from 0.
    pub device: u32,
    /// How many messages there is memory for, loaned, in the topic, and held: up to 64. When all are taken the oldest message in the topic makes room. 0: 8.
    pub blocks: u32,
    /// Where payloads are: SHM_PLACEMENT_AUTO, SHM_PLACEMENT_DEVICE or SHM_PLACEMENT_HOST.
    pub placement: u32,
    /// 0.
    pub reserved: u32,
}

impl ShmDeviceOptions {
    const DEFAULT: Self = Self {
        struct_size: size_of::<Self>(),
        largest: 0,
        device: 0,
        blocks: 0,
        placement: SHM_PLACEMENT_AUTO,
        reserved: 0,
    };

    const ENDS: [usize; 5] = [
        offset_of!(Self, device),
        offset_of!(Self, blocks),
        offset_of!(Self, placement),
        offset_of!(Self, reserved),
        size_of::<Self>(),
    ];

    /// # Safety
    /// NULL, or C2 holds for `options` and its `struct_size`.
    unsafe fn read(options: *const Self) -> Result<DeviceOptions, Failure> {
        // SAFETY: the caller's; the struct is plain old data.
        let options = unsafe { read_sized(options, Self::DEFAULT, &Self::ENDS)? };
        let placement = match (options.placement, options.reserved) {
            (SHM_PLACEMENT_AUTO, 0) => Placement::Auto,
            (SHM_PLACEMENT_DEVICE, 0) => Placement::Device,
            (SHM_PLACEMENT_HOST, 0) => Placement::Host,
            (_, 1..) => return Err(Failure::option("member reserved must be 0".to_owned())),
            (other, _) => {
                return Err(Failure::option(format!("option placement is {other}, but must be 0, 1 or 2")))
            }
        };
        Ok(DeviceOptions {
            device: options.device,
            largest: options.largest,
            blocks: options.blocks,
            placement,
        })
    }
}

/// How the interface says where a payload is.
pub(super) fn placement_number(placement: Placement) -> u32 {
    match placement {
        Placement::Auto => SHM_PLACEMENT_AUTO,
        Placement::Device => SHM_PLACEMENT_DEVICE,
        Placement::Host => SHM_PLACEMENT_HOST,
    }
}

/// Sets `options` to the defaults and its `struct_size`.
///
/// The struct stays the caller's. Errors: SHM_ERR_NULL. Any thread may call this at any time.
#[no_mangle]
pub unsafe extern "C" fn shm_device_options_init(options: *mut ShmDeviceOptions) -> i32 {
    guard(|| {
        let options = output(options, "options")?;
        // SAFETY: C2.
        unsafe { options.write(ShmDeviceOptions::DEFAULT) };
        Ok(SHM_OK)
    })
}

/// Publishes messages whose payload is in the memory of a GPU, and stays there.
///
/// Any threads may use it, also at once.
pub struct ShmDevicePublisher {
    pub(super) core: DevicePublisher,
    /// Its loans can't be published any more.
    pub(super) is_closed: AtomicBool,
}

/// Joins `topic`, making it when it doesn't exist, to publish from the memory of a GPU.
///
/// `options` may be NULL for the defaults; its `memory` must be 0. `device` says which GPU, and how much of its memory. On SHM_OK `*publisher` is the caller's, to be
/// ended with `shm_device_publisher_destroy`. Any thread may call this at any time.
///
/// Errors: those of `shm_publisher_create`; SHM_ERR_NO_DEVICE when there is no driver or no such GPU; SHM_ERR_COPIER, for instance with SHM_PLACEMENT_DEVICE where
/// other processes can't map this GPU's memory.
#[no_mangle]
pub unsafe extern "C" fn shm_device_publisher_create(
    topic: *const c_char,
    options: *const ShmPublisherOptions,
    device: *const ShmDeviceOptions,
    publisher: *mut *mut ShmDevicePublisher,
) -> i32 {
    guard(|| {
        let place = output(publisher, "publisher")?;
        // SAFETY: C2.
        let (topic, options, device) = unsafe {
            (name(topic, "topic")?, ShmPublisherOptions::read(options)?, ShmDeviceOptions::read(device)?)
        };
        let core = DevicePublisher::new(topic, &options, &device)?;
        let handle = Arc::new(ShmDevicePublisher { core, is_closed: AtomicBool::new(false) });
        // SAFETY: C2.
        unsafe { place.write(Arc::into_raw(handle).cast_mut()) };
        Ok(SHM_OK)
    })
}

/// Waits until all that was begun on streams has ended, then leaves the topic. NULL does nothing.
///
/// What it published goes with it, but for what subscribers have mapped. With loans out it leaves when the last of them is destroyed. Runs while no other call on
/// `publisher` does.
#[no_mangle]
pub unsafe extern "C" fn shm_device_publisher_destroy(publisher: *mut ShmDevicePublisher) {
    guard_value((), || {
        if !publisher.is_null() {
            // SAFETY: C1, C4: what `shm_device_publisher_create` gave out, and its end.
            let handle = unsafe { Arc::from_raw(publisher.cast_const()) };
            // Relaxed: its loans are used by one thread at a time with it (C3).
            handle.is_closed.store(true, Ordering::Relaxed);
        }
    })
}

/// Lends memory for a message of `size` bytes that the GPU reads and writes, and nobody else.
///
/// The content is unspecified. On SHM_OK `*loan` is the caller's, to be ended with `shm_device_loan_publish`, `shm_device_loan_publish_on_stream` or
/// `shm_device_loan_destroy`. Any threads, also at once.
///
/// Errors: SHM_ERR_NULL; SHM_ERR_TOO_LARGE beyond the option `largest`; SHM_ERR_OUT_OF_MEMORY when all blocks are loaned, held by subscribers, or have yet to be read by
/// a reliable one; SHM_ERR_COPIER when the GPU has no memory for a block; SHM_ERR_NO_SPACE, SHM_ERR_NO_SEGMENT, SHM_ERR_FORKED, SHM_ERR_CORRUPT, SHM_ERR_OS.
#[no_mangle]
pub unsafe extern "C" fn shm_device_publisher_loan(
    publisher: *mut ShmDevicePublisher,
    size: usize,
    loan: *mut *mut ShmDeviceLoan,
) -> i32 {
    guard(|| {
        let place = output(loan, "loan")?;
        // SAFETY: C1; it is behind an `Arc`, and what is returned has a share in it.
        let owner = unsafe {
            required(publisher, "publisher")?;
            Arc::increment_strong_count(publisher.cast_const());
            Arc::from_raw(publisher.cast_const())
        };
        // SAFETY: C2.
        unsafe { place.write(ShmDeviceLoan::boxed(owner, size)?) };
        Ok(SHM_OK)
    })
}

/// Waits until everything that was begun on streams before has ended, but not longer than `timeout_ns` nanoseconds.
///
/// Any threads, also at once. Outcomes: SHM_TIMED_OUT. Errors: what the first one failed with that wasn't reported before, which isn't published:
/// SHM_ERR_COPIER, or one of those of `shm_loan_publish`; SHM_ERR_NULL.
#[no_mangle]
pub unsafe extern "C" fn shm_device_publisher_wait(
    publisher: *mut ShmDevicePublisher,
    timeout_ns: u64,
) -> i32 {
    guard(|| {
        // SAFETY: C1.
        let publisher = unsafe { required(publisher, "publisher")? };
        let have_ended = publisher.core.wait(Duration::from_nanos(timeout_ns))?;
        Ok(if have_ended { SHM_OK } else { SHM_TIMED_OUT })
    })
}

/// Where the next loan is: SHM_PLACEMENT_DEVICE or SHM_PLACEMENT_HOST. 0 for NULL. Any threads, also at once.
#[no_mangle]
pub unsafe extern "C" fn shm_device_publisher_placement(publisher: *const ShmDevicePublisher) -> u32 {
    guard_value(0, || {
        // SAFETY: C1.
        let publisher = unsafe { publisher.as_ref() };
        publisher.map_or(0, |publisher| placement_number(publisher.core.placement()))
    })
}

/// Says what the topic is.
///
/// The caller sets `info->struct_size` to sizeof(shm_topic_info) before; the struct stays the caller's. Any threads, also at once.
///
/// Errors: SHM_ERR_NULL; SHM_ERR_INVALID_OPTION when `info->struct_size` isn't the size of such a struct.
#[no_mangle]
pub unsafe extern "C" fn shm_device_publisher_info(
    publisher: *const ShmDevicePublisher,
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
