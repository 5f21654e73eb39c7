// SPDX-License-Identifier: MIT OR Apache-2.0
//! Samples, and the places that they lie in.
//!
//! A subscriber's handle has one place for each of its holds, so that the hot path doesn't allocate: the sample with
//! hold `h` lies in place `h`. The subscriber's thread fills a place and any thread empties it, and then gives the
//! hold back. So the core, which orders the use of a hold after its release, orders that of a place as well.
//!
//! `shm_subscriber_destroy` with samples held leaves the handle to them, and who ends its use last frees it.
//! `Samples::balance` says who that is. As long as the subscriber is there it is 0 less the samples released so far,
//! so never above 0; the subscriber's thread alone counts those received, without an atomic operation. `close` adds
//! that count at the end: from then on the balance is the number of samples still held. So exactly one of these
//! operations brings it to 0 after `close` began, either `close`'s own or that of the last sample released after it,
//! and no release before `close` finds a 1. Whoever gets the 0 frees; anybody else doesn't touch the handle after its
//! operation, not even through a reference that is still in scope, because another thread may be freeing it by then.
//!
//! A release uses the handle twice: it ends the core's hold, and then it counts itself. The first is all that the
//! owner needs to fill the place again, so what the place held is moved out before. Only the count keeps the handle
//! alive, so it comes last; and it is the handle's, not the place's, so that a place that was filled again meanwhile
//! has no part in it. All operations on the balance are AcqRel, so freeing comes after everything that was done
//! before each of them.

use super::guard::guard_value;
use super::subscriber::ShmSubscriber;
use crate::Sample;
use std::cell::{Cell, UnsafeCell};
use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicI64, Ordering};

/// A message that a subscriber holds: it stays as it is, where it is, until it is released.
// A line of its own: samples are released by other threads than the one that receives.
#[repr(align(64))]
pub struct ShmSample {
    held: UnsafeCell<Option<Sample<'static>>>,
    owner: *mut ShmSubscriber,
}

impl ShmSample {
    /// # Safety
    /// NULL, or C1 holds for `sample` as long as the reference lives.
    #[inline]
    pub(super) unsafe fn get<'a>(sample: *const ShmSample) -> Option<&'a Sample<'static>> {
        // SAFETY: the caller's; only `place` and `shm_sample_release` write `held`, before and after C1's span.
        unsafe { sample.as_ref().and_then(|sample| (*sample.held.get()).as_ref()) }
    }
}

impl ShmSample {
    /// Its bytes, which stay as long as it isn't released; none when it was.
    pub(super) fn bytes(&self) -> Option<*const [u8]> {
        // SAFETY: C1, as the reference says.
        unsafe { ShmSample::get(self) }.map(|held| ptr::from_ref(&**held))
    }
}

/// The places of a subscriber's samples.
pub(super) struct Samples {
    places: Box<[ShmSample]>,
    /// Samples placed so far. Only the subscriber's thread uses it (C3).
    received: Cell<i64>,
    balance: Balance,
}

/// 0 less the samples released so far; and those received, once the subscriber is destroyed.
// A line of its own: it is written by threads that release, next to what the one that receives reads.
#[repr(align(64))]
struct Balance(AtomicI64);

impl Samples {
    pub(super) fn new(count: usize, owner: *mut ShmSubscriber) -> Self {
        let place = || ShmSample { held: UnsafeCell::new(None), owner };
        Samples {
            places: std::iter::repeat_with(place).take(count).collect(),
            received: Cell::new(0),
            balance: Balance(AtomicI64::new(0)),
        }
    }

    /// Places a sample that was just received.
    ///
    /// # Safety
    /// The subscriber that `sample` borrows from is that of the handle that has these places; it is freed only when
    /// `close` or `count_release` says so. C3 holds for it.
    #[inline]
    pub(super) unsafe fn place(&self, sample: Sample<'_>) -> *mut ShmSample {
        // SAFETY: what it borrows from outlives it, says the caller.
        let sample = unsafe { std::mem::transmute::<Sample<'_>, Sample<'static>>(sample) };
        let place = &self.places[sample.hold() as usize];
        // SAFETY: the hold is this sample's alone, so nobody else uses its place, which is empty.
        unsafe { place.held.get().write(Some(sample)) };
        self.received.set(self.received.get() + 1);
        ptr::from_ref(place).cast_mut()
    }

    /// Counts a sample whose use of the handle `owner` has ended. True: the caller is to free it now; otherwise it may be
    /// gone.
    ///
    /// # Safety
    /// It is one of `owner`'s samples, and wasn't counted before.
    #[inline]
    unsafe fn count_release(owner: *mut ShmSubscriber) -> bool {
        // SAFETY: the handle is there until this sample is counted.
        unsafe { (*owner).samples.balance.0.fetch_sub(1, Ordering::AcqRel) == 1 }
    }

    /// Leaves the handle to the samples still held. True: there are none, and the caller is to free it now; otherwise it
    /// may be gone.
    ///
    /// # Safety
    /// C4 holds for `owner`, whose end this is.
    pub(super) unsafe fn close(owner: *mut ShmSubscriber) -> bool {
        // SAFETY: the caller's: nobody receives any more, and the handle is there until the samples received are added.
        unsafe {
            let received = (*owner).samples.received.get();
            (*owner).samples.balance.0.fetch_add(received, Ordering::AcqRel) == -received
        }
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
/// Any thread may call this, while others use the subscriber and its other samples; it also is right while
/// `shm_subscriber_destroy` runs, and after that.
#[no_mangle]
pub unsafe extern "C" fn shm_sample_release(sample: *mut ShmSample) {
    guard_value((), || {
        if sample.is_null() {
            return;
        }
        // SAFETY: C1: until its hold is ended below the place is this sample's, and nobody else uses it.
        let (held, owner) = unsafe { ((*(*sample).held.get()).take(), (*sample).owner) };
        // Nothing is there when it was released before, against C1: better not counted than counted twice.
        let Some(held) = held else { return };
        // From here on the place may be filled again.
        drop(held);
        // SAFETY: C1: this is the sample's end.
        if unsafe { Samples::count_release(owner) } {
            // SAFETY: C4: the owner was destroyed before, and no sample of it is held, so this is the last pointer to the
            // box that `boxed` made. It frees the place as well.
            drop(unsafe { Box::from_raw(owner) });
        }
    })
}
