// SPDX-License-Identifier: MIT OR Apache-2.0
//! Size classes: four to a doubling, so that a chunk is at most a quarter larger than its payload asks,
//! and a payload whose size is a power of two fits exactly.

use crate::error::{Error, Result};
use crate::topic::layout::CHUNK_HEADER;

/// The largest payload: 2^40 bytes, beyond any machine's memory but far from overflowing a sum.
pub(super) const MAX_PAYLOAD: u64 = 1 << 40;

/// Payloads are multiples of this, so that every chunk starts on a cache line.
const STEP: u64 = 64;

/// Bytes of payload that a chunk for `len` bytes has.
#[inline]
pub(super) fn payload_size(len: usize) -> Result<u64> {
    let wanted = len as u64;
    if wanted > MAX_PAYLOAD {
        return Err(Error::TooLarge { wanted, limit: MAX_PAYLOAD });
    }
    let wanted = wanted.max(STEP);
    // A power of two, so that rounding up needs no division.
    let step = ((1 << (wanted - 1).ilog2()) / 4).max(STEP);
    Ok((wanted + step - 1) & !(step - 1))
}

/// Bytes from one chunk of the class to the next.
#[inline]
pub(super) fn stride(payload: u64) -> u64 {
    payload + CHUNK_HEADER as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Miri takes a thousand times as long.
    const MANY: usize = if cfg!(miri) { 3_000 } else { 100_000 };

    #[test]
    fn a_class_is_at_most_a_quarter_too_large() {
        for len in (0..MANY).chain([1 << 20, (1 << 20) + 1, 3 << 29, 1 << 40]) {
            let size = payload_size(len).unwrap();
            assert!(size >= len as u64 && size.is_multiple_of(64));
            assert!(size <= (len as u64 + len as u64 / 4).max(len as u64 + 64), "{len} -> {size}");
        }
    }

    #[test]
    fn powers_of_two_fit_exactly() {
        for power in 6..40 {
            assert_eq!(payload_size(1 << power).unwrap(), 1 << power);
        }
    }

    #[test]
    fn classes_are_closed() {
        for len in 0..MANY {
            let size = payload_size(len).unwrap();
            assert_eq!(payload_size(size as usize).unwrap(), size);
        }
    }

    #[test]
    fn a_payload_beyond_all_memory_is_refused() {
        assert!(matches!(payload_size(usize::MAX), Err(Error::TooLarge { .. })));
        assert!(payload_size((1 << 40) + 1).is_err());
    }
}
