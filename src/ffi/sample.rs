// SPDX-License-Identifier: MIT OR Apache-2.0
//! Samples, and the places that they lie in.
//!
//! A subscriber's handle has one place for each of its holds, so that the hot path doesn't allocate: the sample with
//! hold `h` lies in place `h`. The subscriber's thread fills a place and any thread empties it, and then gives the
//! hold back. So the core, which orders the use of a hold after its release, orders that of a place as well.
//!
//! `shm_subscriber_destroy` with samples held leaves the handle to them: the one that is released last frees it.

use super::guard::guard_value;
use super::subscriber::ShmSubscriber;
use crate::Sample;
use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A message that a subscriber holds: it stays as it is, where it is, until it is released.
// A line of its own: samples are released by other threads than the one that receives.
#[repr(align(64))]
pub struct ShmSample {
    held: UnsafeCell<Option<Sample<'static>>>,
    owner: *const ShmSubscriber,
}

impl ShmSample {
    /// # Safety
    /// NULL, or C1 holds for `sample` as long as the reference lives.
    #[inline]
    unsafe fn get<'a>(sample: *const ShmSample) -> Option<&'a Sample<'static>> {
        // SAFETY: the caller's; only `place` and `release` write `held`, before and after C1's span.
        unsafe { sample.as_ref().and_then(|sample| (*sample.held.get()).as_ref()) }
    }
}

/// The places of a subscriber's samples.
pub(super) struct Samples {
    places: Box<[ShmSample]>,
    /// Samples that were held when the subscriber was destroyed and aren't released yet. 0 before.
    left: AtomicUsize,
}

impl Samples {
    pub(super) fn new(count: usize, owner: *const ShmSubscriber) -> Self {
        let place = || ShmSample { held: UnsafeCell::new(None), owner };
        Samples { places: std::iter::repeat_with(place).take(count).collect(), left: AtomicUsize::new(0) }
    }

    /// Places a sample that was just received.
    ///
    /// # Safety
    /// The subscriber that `sample` borrows from is that of the handle that has these places; it is freed only when
    /// `close` or `release` says so. C3 holds for it.
    #[inline]
    pub(super) unsafe fn place(&self, sample: Sample<'_>) -> *mut ShmSample {
        // SAFETY: what it borrows from outlives it, says the caller.
        let sample = unsafe { std::mem::transmute::<Sample<'_>, Sample<'static>>(sample) };
        let place = &self.places[sample.hold() as usize];
        // SAFETY: the hold is this sample's alone, so nobody else uses its place, which is empty.
        unsafe { place.held.get().write(Some(sample)) };
        ptr::from_ref(place).cast_mut()
    }

    /// Empties a place and gives its hold back. True: it was the last one that a destroyed subscriber left.
    ///
    /// # Safety
    /// C1 holds for `place`, which is one of these and isn't used after this.
    #[inline]
    unsafe fn release(&self, place: &ShmSample) -> bool {
        // SAFETY: the caller's: nobody else uses it.
        let held = unsafe { (*place.held.get()).take() };
        // Relaxed: `close` came before this call or comes after it (C4).
        let destroyed = self.left.load(Ordering::Relaxed) != 0;
        drop(held);
        // AcqRel: whoever frees the handle does so after every other release is done with it.
        destroyed && self.left.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Leaves the samples still held to their releases. True: there are none, so that the subscriber is to be freed now.
    ///
    /// # Safety
    /// C4 holds for the handle that has these places.
    pub(super) unsafe fn close(&self) -> bool {
        // SAFETY: the caller's: nothing else uses the places.
        let is_held = |place: &&ShmSample| unsafe { (*place.held.get()).is_some() };
        let left = self.places.iter().filter(is_held).count();
        // Relaxed: nothing else runs.
        self.left.store(left, Ordering::Relaxed);
        left == 0
    }
}

/// The message's bytes, aligned to 64, `shm_sample_size` of them, for reading.
///
/// NULL for NULL. Valid until the sample is released. Any thread may call this at any time.
#[no_mangle]
pub unsafe extern "C" fn shm_sample_data(sample: *const ShmSample) -> *const c_void {
    guard_value(ptr::null(), || {
        // SAFETY: C1.
        let held = unsafe { ShmSample::get(sample) };
        held.map_or(ptr::null(), |held| held.as_ptr().cast())
    })
}

/// The message's length in bytes. 0 for NULL. Any thread may call this at any time.
#[no_mangle]
pub unsafe extern "C" fn shm_sample_size(sample: *const ShmSample) -> usize {
    guard_value(0, || {
        // SAFETY: C1.
        let held = unsafe { ShmSample::get(sample) };
        held.map_or(0, |held| held.len())
    })
}

/// The message's place in the topic's order, which all subscribers share: consecutive messages have consecutive
/// positions. 0 for NULL. Any thread may call this at any time.
#[no_mangle]
pub unsafe extern "C" fn shm_sample_position(sample: *const ShmSample) -> u64 {
    guard_value(0, || {
        // SAFETY: C1.
        let held = unsafe { ShmSample::get(sample) };
        held.map_or(0, |held| held.position())
    })
}

/// When the message was published, in nanoseconds since 1970 (CLOCK_REALTIME).
///
/// 0 when its publisher was made without the option `timestamps`, and for NULL. Any thread may call this at any time.
#[no_mangle]
pub unsafe extern "C" fn shm_sample_timestamp(sample: *const ShmSample) -> u64 {
    guard_value(0, || {
        // SAFETY: C1.
        let held = unsafe { ShmSample::get(sample) };
        held.and_then(|held| held.timestamp()).unwrap_or(0)
    })
}

/// Gives the message's memory back to its publisher. NULL does nothing.
///
/// Any thread may call this, while others use the subscriber and its other samples; it also is right after
/// `shm_subscriber_destroy`.
#[no_mangle]
pub unsafe extern "C" fn shm_sample_release(sample: *mut ShmSample) {
    guard_value((), || {
        // SAFETY: C1.
        let Some(place) = (unsafe { sample.as_ref() }) else { return };
        let owner = place.owner;
        // SAFETY: C1; the owner lives as long as a sample of it is held.
        if unsafe { (*owner).samples.release(place) } {
            // SAFETY: C4: the owner was destroyed before, and no sample of it is held. It frees this place as well.
            drop(unsafe { Box::from_raw(owner.cast_mut()) });
        }
    })
}
