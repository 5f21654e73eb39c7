// SPDX-License-Identifier: MIT OR Apache-2.0
//! A received message, pinned in place until it is dropped.

use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;

use bytemuck::AnyBitPattern;

use crate::error::{Error, Result};
use crate::pool::Message;
use crate::subscriber::Shared;

/// A message in shared memory. Nobody writes to it while this lives; dropping it releases it.
///
/// A subscriber may hold as many samples at a time as the topic's option `holds` says. A sample may be released by
/// another thread than the one that received it. In the child of a fork its memory isn't there.
pub struct Sample<'a> {
    /// A borrow, or when `kept` an `Arc` that is this sample's. One pointer and a flag, and nothing that has a destructor of its own: so
    /// the drop is small enough to be inlined, and a sample that is received and released needn't exist in memory.
    shared: NonNull<Shared>,
    message: Message,
    position: u64,
    hold: u32,
    kept: bool,
    borrow: PhantomData<&'a Shared>,
}

// SAFETY: the message's memory is read-only here and stays mapped as long as `shared`; `Shared` is Sync, and releasing is
// an atomic store.
unsafe impl Send for Sample<'_> {}
// SAFETY: as above; a shared reference gives nothing but reads.
unsafe impl Sync for Sample<'_> {}

impl<'a> Sample<'a> {
    #[inline]
    pub(crate) fn new(shared: &'a Shared, hold: u32, message: Message, position: u64) -> Self {
        let shared = NonNull::from(shared);
        Sample { shared, message, position, hold, kept: false, borrow: PhantomData }
    }

    /// Which of its subscriber's holds it has: below the topic's `holds`, and no other sample's until it is released.
    #[inline]
    pub(crate) fn hold(&self) -> u32 {
        self.hold
    }

    /// The message's place in the topic's order: each message of a topic has the next one, whoever published it.
    #[inline]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// When it was published, in nanoseconds since the epoch, if its publisher notes that.
    pub fn timestamp(&self) -> Option<u64> {
        (self.message.timestamp != 0).then_some(self.message.timestamp)
    }

    /// The payload as plain data, in place.
    ///
    /// # Errors
    /// [`Error::WrongSize`] when the payload doesn't have exactly the size of `T`.
    #[inline]
    pub fn plain<T: AnyBitPattern>(&self) -> Result<&T> {
        bytemuck::try_from_bytes(self).map_err(|_| Error::WrongSize {
            type_name: std::any::type_name::<T>(),
            wanted: size_of::<T>(),
            found: self.len(),
        })
    }

    /// Makes the sample independent of the `Subscriber` value, which may be dropped before it. The participant leaves the
    /// topic when the last kept sample is released.
    pub fn keep(self) -> Sample<'static> {
        let old = ManuallyDrop::new(self);
        let shared = if old.kept {
            old.shared
        } else {
            // The Arc's own pointer: it is what `drop_kept` gives back.
            let raw = Arc::into_raw(old.shared().arc());
            NonNull::new(raw.cast_mut()).unwrap_or(old.shared)
        };
        Sample {
            shared,
            message: old.message,
            position: old.position,
            hold: old.hold,
            kept: true,
            borrow: PhantomData,
        }
    }

    #[inline(always)]
    fn shared(&self) -> &Shared {
        // SAFETY: borrowed for 'a, or kept alive by this sample's Arc.
        unsafe { self.shared.as_ref() }
    }
}

impl Deref for Sample<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: the chunk is pinned, so nobody writes to it (I3), and stays mapped as long as `shared`; the length was
        // checked against the chunk's size.
        unsafe { std::slice::from_raw_parts(self.message.payload.as_ptr(), self.message.len) }
    }
}

impl Drop for Sample<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.shared().release(self.hold);
        if self.kept {
            // SAFETY: `keep` took this Arc, and this is the end of the sample that has it.
            unsafe { drop_kept(self.shared) };
        }
    }
}

/// Drops the `Arc` of a kept sample.
///
/// # Safety
/// `shared` came from `Arc::into_raw` and isn't used afterwards.
#[cold]
#[inline(never)]
unsafe fn drop_kept(shared: NonNull<Shared>) {
    // SAFETY: as the caller says.
    drop(unsafe { Arc::from_raw(shared.as_ptr()) });
}

impl std::fmt::Debug for Sample<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sample").field("position", &self.position).field("len", &self.message.len).finish()
    }
}
