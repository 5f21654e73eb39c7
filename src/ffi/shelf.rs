// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a client or a server lends, and the boxes that it comes in.
//!
//! A box goes back to its handle's shelf when its use ends and is used again by a later one, so that the hot path doesn't allocate. What
//! is lent has a share in what is behind the handle: `_destroy` gives up the caller's, and whatever comes back last frees it. One thread at
//! a time uses a handle and all that it lends (C3), so the count of shares isn't atomic.

use super::error::Failure;
use crate::Error;
use std::cell::RefCell;
use std::ptr::NonNull;
use std::rc::Rc;

/// Something that borrows from what is behind a handle, with a share in that. None on the shelf.
// The thing is dropped before the share.
pub(super) struct Lent<T, H>(Option<(T, Rc<H>)>);

impl<T, H> Default for Lent<T, H> {
    fn default() -> Self {
        Lent(None)
    }
}

impl<T, H> Lent<T, H> {
    #[inline]
    pub(super) fn get(&mut self) -> Result<(&mut T, &Rc<H>), Failure> {
        match &mut self.0 {
            Some((thing, handle)) => Ok((thing, handle)),
            // It has ended before, against C1.
            None => Err(Error::Closed.into()),
        }
    }

    #[inline]
    pub(super) fn thing(&self) -> Option<&T> {
        self.0.as_ref().map(|(thing, _)| thing)
    }

    #[inline]
    pub(super) fn take(&mut self) -> Option<(T, Rc<H>)> {
        self.0.take()
    }
}

/// The boxes of one kind that a handle has in store.
pub(super) struct Shelf<B>(RefCell<Vec<NonNull<B>>>);

impl<B> Default for Shelf<B> {
    fn default() -> Self {
        Shelf(RefCell::default())
    }
}

impl<B: Default> Shelf<B> {
    /// Boxes `thing`, which borrows from `handle`, for the caller; `lent` is the place for it.
    #[inline]
    pub(super) fn hand_out<T, H>(
        &self,
        thing: T,
        handle: Rc<H>,
        lent: impl FnOnce(&mut B) -> &mut Lent<T, H>,
    ) -> *mut B {
        let on_shelf = self.0.borrow_mut().pop();
        let mut place = on_shelf.unwrap_or_else(|| NonNull::from(Box::leak(Box::<B>::default())));
        // SAFETY: a box on the shelf is nobody else's.
        *lent(unsafe { place.as_mut() }) = Lent(Some((thing, handle)));
        place.as_ptr()
    }

    /// Takes a box back whose thing has ended.
    ///
    /// # Safety
    /// This shelf handed `place` out, and it isn't used after this.
    #[inline]
    pub(super) unsafe fn put_back(&self, place: *mut B) {
        self.0.borrow_mut().extend(NonNull::new(place));
    }
}

impl<B> Drop for Shelf<B> {
    fn drop(&mut self) {
        for place in self.0.get_mut().drain(..) {
            // SAFETY: `hand_out` leaked the box, and nobody uses it since `put_back`.
            drop(unsafe { Box::from_raw(place.as_ptr()) });
        }
    }
}

/// What is behind a handle, for as long as something that it lends keeps it alive.
///
/// # Safety
/// What borrows from it is dropped before the last share.
#[inline]
pub(super) unsafe fn lender<H>(handle: &Rc<H>) -> &'static H {
    // SAFETY: the caller's.
    unsafe { &*Rc::as_ptr(handle) }
}
