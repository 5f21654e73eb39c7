// SPDX-License-Identifier: MIT OR Apache-2.0
//! A received message, pinned in place until it is dropped.

use std::ops::Deref;
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
    owner: Owner<'a>,
    hold: u32,
    message: Message,
    position: u64,
}

/// What keeps the memory mapped and the participant alive.
enum Owner<'a> {
    Borrowed(&'a Shared),
    Kept(Arc<Shared>),
}

impl Owner<'_> {
    #[inline]
    fn shared(&self) -> &Shared {
        match self {
            Owner::Borrowed(shared) => shared,
            Owner::Kept(shared) => shared,
        }
    }
}

// SAFETY: the message's memory is read-only here and stays mapped as long as `owner`; `Shared` is Sync, and releasing is
// an atomic store.
unsafe impl Send for Sample<'_> {}
// SAFETY: as above; a shared reference gives nothing but reads.
unsafe impl Sync for Sample<'_> {}

impl<'a> Sample<'a> {
    #[inline]
    pub(crate) fn new(shared: &'a Shared, hold: u32, message: Message, position: u64) -> Self {
        Sample { owner: Owner::Borrowed(shared), hold, message, position }
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
        let owner = match &self.owner {
            Owner::Borrowed(shared) => shared.arc(),
            Owner::Kept(shared) => Arc::clone(shared),
        };
        let kept = Sample {
            owner: Owner::Kept(owner),
            hold: self.hold,
            message: self.message,
            position: self.position,
        };
        // The hold is the new sample's now. The old one's Arc, if it has one, must still be dropped.
        let mut old = std::mem::ManuallyDrop::new(self);
        // SAFETY: `old` isn't dropped and its owner isn't used again.
        unsafe { std::ptr::drop_in_place(&mut old.owner) };
        kept
    }
}

impl Deref for Sample<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: the chunk is pinned, so nobody writes to it (I3), and stays mapped as long as `owner`; the length was
        // checked against the chunk's size.
        unsafe { std::slice::from_raw_parts(self.message.payload.as_ptr(), self.message.len) }
    }
}

impl Drop for Sample<'_> {
    #[inline]
    fn drop(&mut self) {
        self.owner.shared().release(self.hold);
    }
}

impl std::fmt::Debug for Sample<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sample").field("position", &self.position).field("len", &self.message.len).finish()
    }
}
