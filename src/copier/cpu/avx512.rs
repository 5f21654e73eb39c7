// SPDX-License-Identifier: MIT OR Apache-2.0
//! 64 bytes at once: a line a store.

use core::arch::x86_64::*;

use super::vector::{vector_copy, AHEAD};
use super::LINE;

vector_copy!(
    "avx512f",
    __m512i,
    _mm512_loadu_si512,
    _mm512_storeu_si512,
    _mm512_stream_si512,
    _mm_sfence,
    |at: *const u8| _mm_prefetch::<_MM_HINT_T0>(at.cast())
);
