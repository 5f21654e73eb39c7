// SPDX-License-Identifier: MIT OR Apache-2.0
//! The copy that all instruction sets with vectors share, written once and compiled for each.

/// How far ahead of the loads the prefetches are. The next iteration, which is where Shadesmar's were, is there before it is fetched.
pub(super) const AHEAD: usize = 512;

/// Defines `copy::<UNROLL, STREAM, PREFETCH>`: `UNROLL` vectors an iteration, stores past the caches or not, loads fetched ahead or not.
///
/// The first and the last line go by unaligned vectors that overlap the aligned ones between them, so that nothing outside of either
/// buffer is touched, and no length or alignment is special.
macro_rules! vector_copy {
    ($feature:literal, $vector:ty, $load:expr, $store:expr, $stream:expr, $fence:expr, $prefetch:expr) => {
        const WIDTH: usize = size_of::<$vector>();

        /// # Safety
        /// The CPU has the feature; `len` is at least `LINE`, `src` can be read and `dst` written for `len` bytes, and they don't overlap.
        #[target_feature(enable = $feature)]
        pub(super) unsafe fn copy<const UNROLL: usize, const STREAM: bool, const PREFETCH: bool>(
            dst: *mut u8,
            src: *const u8,
            len: usize,
        ) {
            // SAFETY: the first and last lines lie inside, for `len >= LINE`; `at` plus what is copied never exceeds `len`; and
            // `dst + at` is a multiple of a line, then of `WIDTH`, which the streaming stores need.
            unsafe {
                line(dst, src);
                let mut at = LINE - dst as usize % LINE;
                while len - at >= UNROLL * WIDTH {
                    if PREFETCH && len - at >= AHEAD + UNROLL * WIDTH {
                        for ahead in (0..UNROLL * WIDTH).step_by(LINE) {
                            $prefetch(src.add(at + AHEAD + ahead));
                        }
                    }
                    // Loops, not iterators: closures in core wouldn't have the feature, and calls would remain.
                    let mut vectors: [$vector; UNROLL] = [$load(src.add(at).cast()); UNROLL];
                    for index in 1..UNROLL {
                        vectors[index] = $load(src.add(at + index * WIDTH).cast());
                    }
                    for index in 0..UNROLL {
                        let to = dst.add(at + index * WIDTH);
                        if STREAM {
                            $stream(to.cast(), vectors[index]);
                        } else {
                            $store(to.cast(), vectors[index]);
                        }
                    }
                    at += UNROLL * WIDTH;
                }
                while len - at >= WIDTH {
                    $store(dst.add(at).cast(), $load(src.add(at).cast()));
                    at += WIDTH;
                }
                line(dst.add(len - LINE), src.add(len - LINE));
                if STREAM {
                    // Stores past the caches are ordered with no later store, not even with a release: without this a message could
                    // be published before it is written.
                    $fence();
                }
            }
        }

        /// # Safety
        /// As for `copy`, for a line.
        #[target_feature(enable = $feature)]
        #[inline]
        unsafe fn line(dst: *mut u8, src: *const u8) {
            for at in (0..LINE).step_by(WIDTH) {
                // SAFETY: `WIDTH` divides the line, which the caller vouches for.
                unsafe { $store(dst.add(at).cast(), $load(src.add(at).cast())) };
            }
        }
    };
}

pub(super) use vector_copy;
