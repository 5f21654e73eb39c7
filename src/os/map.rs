// SPDX-License-Identifier: MIT OR Apache-2.0
//! Shared mappings. What is read through them is never trusted; where they are and how large is kept privately.

use std::fs::File;
use std::mem::ManuallyDrop;

use memmap2::{Advice, MmapOptions, MmapRaw};

use crate::error::{Error, Result};
use crate::os::dir::Access;
use crate::os::fork::Token;
use crate::sync::Word;

/// A shared mapping of a whole file. The child of a fork doesn't have it.
#[derive(Debug)]
pub(crate) struct Mapping {
    raw: ManuallyDrop<MmapRaw>,
    token: Token,
    stays: bool,
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // In the child of a fork something else may be at this address.
        if self.token.is_ours() && !self.stays {
            // SAFETY: dropped once, here, and not used afterwards.
            unsafe { ManuallyDrop::drop(&mut self.raw) };
        }
    }
}

// Other processes write to the memory, which is why it is reached only as atomic words and through raw pointers
// under the protocol's rules (I3), never as a plain slice.
impl Mapping {
    /// Maps `len` bytes of `file`, which has at least as many. `name` is for messages.
    pub(crate) fn new(file: &File, len: u64, access: Access, name: &str) -> Result<Mapping> {
        let os = |source| Error::Os { call: "mmap", path: format!("{name} ({len} bytes)"), source };
        let found = file.metadata().map_err(os)?.len();
        if found < len {
            return Err(Error::corrupt(name, format!("it was cut off: {found} bytes of {len}")));
        }
        let len =
            usize::try_from(len).map_err(|_| Error::TooLarge { wanted: len, limit: usize::MAX as u64 })?;
        let mut options = MmapOptions::new();
        options.len(len);
        let raw = match access {
            Access::ReadOnly => options.map_raw_read_only(file),
            Access::ReadWrite => options.map_raw(file),
        }
        .map_err(os)?;
        raw.advise(Advice::DontFork).map_err(|source| Error::Os {
            call: "madvise(MADV_DONTFORK)",
            path: name.to_owned(),
            source,
        })?;
        Ok(Mapping { raw: ManuallyDrop::new(raw), token: Token::current()?, stays: false })
    }

    /// Has it never go: nothing else is to be at its address.
    pub(crate) fn stay(&mut self) {
        self.stays = true;
    }

    /// The process that has it.
    pub(crate) fn token(&self) -> Token {
        self.token
    }

    pub(crate) fn len(&self) -> usize {
        self.raw.len()
    }

    /// The address of the mapping; a writable one's may be written through.
    pub(crate) fn base(&self) -> *mut u8 {
        self.raw.as_mut_ptr()
    }

    /// `count` words from byte `offset` on. The caller stores only to words of a writable mapping.
    ///
    /// Offsets and counts are computed from a validated geometry; one beyond the mapping would be a bug in that, and
    /// gives no words, so that every use of them is a bounds error rather than a wild read.
    pub(crate) fn words(&self, offset: usize, count: usize) -> &[Word] {
        let fits = count
            .checked_mul(8)
            .and_then(|bytes| bytes.checked_add(offset))
            .is_some_and(|end| end <= self.len());
        if !fits || !offset.is_multiple_of(8) {
            debug_assert!(false, "{count} words at {offset} of {} bytes", self.len());
            return &[];
        }
        // SAFETY: in bounds and aligned (checked above; mappings are page-aligned); any bits are valid words; the
        // memory lives as long as `self`; others touch it only atomically.
        unsafe { std::slice::from_raw_parts(self.base().add(offset).cast::<Word>(), count) }
    }
}
