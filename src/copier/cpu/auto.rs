// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which copy is the fastest at which size: the C library's, but for sizes at which stores past the caches pay.
//!
//! Measured on an Emerald Rapids Xeon (2 MiB of L2 a core; an L3 of 260 MiB that the virtual machine shares with the socket's others)
//! with glibc 2.36, out of private memory into shared memory. `copiers` of the benchmark repeats it. Times memcpy's bandwidth, for stores past
//! the caches:
//!
//! | | 4 KiB | 64 KiB | 1 MiB | 2 MiB | 4 MiB | 16 MiB | 64 MiB | 128 MiB |
//! |---|---|---|---|---|---|---|---|---|
//! | the same buffers again and again | 0.12 | 0.50 | 0.95 | 1.3 | 1.3 | 1.5 | 1.6 | 1.0 |
//! | buffers in no cache | 1.15 | 1.3 | 1.3 | 1.4 | 1.5 | 1.5 | 1.4 | 1.0 |
//! | the same, and the target is read afterwards | 0.4 | 0.9 | 0.9 | 1.05 | 1.2 | 1.2 | 1.3 | 1.0 |
//!
//! So they pay from where the target doesn't fit the L2 to where glibc itself begins with them: at three quarters of the L3, which it takes
//! for this process's own. Which of them it is makes no difference: AVX-512's, unrolled ones, prefetching ones are within the noise of each
//! other. Below, nothing beats memcpy by more than noise in more than one of the three, and ordinary stores by AVX and AVX-512 lose up to a third.
//!
//! Where the L3 is a socket's, as here, a core gets little more out of it than out of memory. A smaller machine's is faster and its own, and there glibc's
//! three quarters are taken, as nothing else was measured.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::CpuCopy;
use crate::os::cache_sizes;

/// Smaller is `Libc`'s, whatever the caches.
const LEAST: usize = 1 << 20;
/// An L3 of more of a core's L2s than this is a socket's: desktops, and the parts of large sockets that have L3s of their own, have up to 64.
const SOCKET: usize = 64;

#[inline]
pub(super) fn choose(len: usize) -> CpuCopy {
    if len < LEAST || len < threshold() {
        CpuCopy::Libc
    } else {
        CpuCopy::AvxAsyncUnroll.implementation(len)
    }
}

/// Bytes from which on a copy goes past the caches.
fn threshold() -> usize {
    static THRESHOLD: AtomicUsize = AtomicUsize::new(0);
    // Relaxed: a number by itself, which all threads find the same. No `OnceLock`: a fork could come within its making.
    let known = THRESHOLD.load(Ordering::Relaxed);
    if known != 0 {
        return known;
    }
    let threshold = threshold_of(cache_sizes());
    THRESHOLD.store(threshold, Ordering::Relaxed);
    threshold
}

/// Without sizes memcpy knows best.
fn threshold_of(caches: Option<(usize, usize)>) -> usize {
    let by_sizes = |(l2, l3): (usize, usize)| if l3 / l2 > SOCKET { l2 } else { l3 / 4 * 3 };
    caches.map_or(usize::MAX, by_sizes).max(LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_where_the_caches_end() {
        const MIB: usize = 1 << 20;
        assert_eq!(threshold_of(Some((2 * MIB, 260 * MIB))), 2 * MIB);
        assert_eq!(threshold_of(Some((MIB, 32 * MIB))), 24 * MIB);
        assert_eq!(threshold_of(Some((MIB / 4, 512 * MIB))), LEAST);
        assert_eq!(threshold_of(None), usize::MAX);
    }

    #[test]
    fn small_copies_are_the_c_librarys() {
        for len in [0, 1, 63, 64, 4096, LEAST - 1] {
            assert_eq!(choose(len), CpuCopy::Libc);
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri knows no caches")]
    fn the_threshold_is_where_the_copy_changes() {
        let threshold = threshold();
        assert_eq!(choose(threshold - 1), CpuCopy::Libc);
        assert_eq!(choose(threshold), CpuCopy::AvxAsyncUnroll.implementation(threshold));
    }
}
