// SPDX-License-Identifier: MIT OR Apache-2.0
//! 32 bytes at once. AVX is enough: what AVX2 adds, loads past the caches, does nothing for ordinary memory.

use core::arch::x86_64::*;

use super::vector::{vector_copy, AHEAD};
use super::LINE;

vector_copy!(
    "avx",
    __m256i,
    _mm256_loadu_si256,
    _mm256_storeu_si256,
    _mm256_stream_si256,
    _mm_sfence,
    |at: *const u8| _mm_prefetch::<_MM_HINT_T0>(at.cast())
);
