// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ways to copy with the CPU.

mod auto;
#[cfg(target_arch = "x86_64")]
mod avx;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod copier;
#[cfg(target_arch = "aarch64")]
mod neon;
mod parallel;
#[cfg(target_arch = "x86_64")]
mod rep_movsb;
mod scalar;
#[cfg(target_arch = "x86_64")]
mod vector;

pub use parallel::{ParallelCopy, ParallelOptions};

/// Bytes of a cache line.
const LINE: usize = 64;

/// A way to copy with the CPU. Each can be chosen on every machine: what the CPU lacks is done by the next best that it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CpuCopy {
    /// Whatever was measured to be the fastest at each size.
    #[default]
    Auto,
    /// The C library's `memcpy`.
    Libc,
    /// A word at a time.
    Scalar,
    /// x86-64's `rep movsb`.
    RepMovsb,
    /// AVX.
    Avx,
    /// AVX, four vectors an iteration.
    AvxUnroll,
    /// AVX, stores past the caches.
    AvxAsync,
    /// AVX, stores past the caches, loads fetched ahead.
    AvxAsyncPf,
    /// AVX, stores past the caches, four vectors an iteration.
    AvxAsyncUnroll,
    /// AVX, stores past the caches, loads fetched ahead, four vectors an iteration.
    AvxAsyncPfUnroll,
    /// AVX-512, four vectors an iteration.
    Avx512,
    /// AVX-512, stores past the caches, four vectors an iteration.
    Avx512Async,
    /// ARM's NEON, four vectors an iteration.
    Neon,
}

impl CpuCopy {
    /// All of them.
    pub const ALL: [CpuCopy; 13] = [
        CpuCopy::Auto,
        CpuCopy::Libc,
        CpuCopy::Scalar,
        CpuCopy::RepMovsb,
        CpuCopy::Avx,
        CpuCopy::AvxUnroll,
        CpuCopy::AvxAsync,
        CpuCopy::AvxAsyncPf,
        CpuCopy::AvxAsyncUnroll,
        CpuCopy::AvxAsyncPfUnroll,
        CpuCopy::Avx512,
        CpuCopy::Avx512Async,
        CpuCopy::Neon,
    ];

    /// Its name, as programs choose by it.
    pub fn name(self) -> &'static str {
        match self {
            CpuCopy::Auto => "auto",
            CpuCopy::Libc => "libc",
            CpuCopy::Scalar => "scalar",
            CpuCopy::RepMovsb => "rep_movsb",
            CpuCopy::Avx => "avx",
            CpuCopy::AvxUnroll => "avx_unroll",
            CpuCopy::AvxAsync => "avx_async",
            CpuCopy::AvxAsyncPf => "avx_async_pf",
            CpuCopy::AvxAsyncUnroll => "avx_async_unroll",
            CpuCopy::AvxAsyncPfUnroll => "avx_async_pf_unroll",
            CpuCopy::Avx512 => "avx512",
            CpuCopy::Avx512Async => "avx512_async",
            CpuCopy::Neon => "neon",
        }
    }

    /// The one of that name.
    pub fn from_name(name: &str) -> Option<CpuCopy> {
        CpuCopy::ALL.into_iter().find(|copy| copy.name() == name)
    }

    /// What copies `len` bytes on this machine when `self` is asked to. Never `Auto`, and itself done by itself.
    #[inline]
    pub fn implementation(self, len: usize) -> CpuCopy {
        use CpuCopy::*;
        match self {
            Auto => auto::choose(len),
            Libc | Scalar => self,
            RepMovsb if has::erms() => self,
            // Less than a line isn't worth the vectors.
            _ if len < LINE => Libc,
            Avx | AvxUnroll | AvxAsync | AvxAsyncPf | AvxAsyncUnroll | AvxAsyncPfUnroll if has::avx() => self,
            Avx512 | Avx512Async if has::avx512() => self,
            Avx512 => AvxUnroll.implementation(len),
            Avx512Async => AvxAsyncUnroll.implementation(len),
            Neon if has::neon() => self,
            _ => Libc,
        }
    }

    /// Copies `len` bytes, whatever the alignments. When it returns, all of it is ordered before what this thread stores next, as with
    /// any copy: stores past the caches end with a fence.
    ///
    /// # Safety
    /// `src` can be read and `dst` written for `len` bytes, and they don't overlap.
    #[inline]
    pub unsafe fn copy(self, dst: *mut u8, src: *const u8, len: usize) {
        // SAFETY: the caller vouches for the buffers; `implementation` names only what this CPU has, and vectors only for a line or more.
        unsafe {
            match self.implementation(len) {
                CpuCopy::Scalar => scalar::copy(dst, src, len),
                #[cfg(target_arch = "x86_64")]
                CpuCopy::RepMovsb => rep_movsb::copy(dst, src, len),
                #[cfg(target_arch = "x86_64")]
                CpuCopy::Avx => avx::copy::<1, false, false>(dst, src, len),
                #[cfg(target_arch = "x86_64")]
                CpuCopy::AvxUnroll => avx::copy::<4, false, false>(dst, src, len),
                #[cfg(target_arch = "x86_64")]
                CpuCopy::AvxAsync => avx::copy::<1, true, false>(dst, src, len),
                // Two: what is fetched ahead are lines.
                #[cfg(target_arch = "x86_64")]
                CpuCopy::AvxAsyncPf => avx::copy::<2, true, true>(dst, src, len),
                #[cfg(target_arch = "x86_64")]
                CpuCopy::AvxAsyncUnroll => avx::copy::<4, true, false>(dst, src, len),
                #[cfg(target_arch = "x86_64")]
                CpuCopy::AvxAsyncPfUnroll => avx::copy::<4, true, true>(dst, src, len),
                #[cfg(target_arch = "x86_64")]
                CpuCopy::Avx512 => avx512::copy::<4, false, false>(dst, src, len),
                #[cfg(target_arch = "x86_64")]
                CpuCopy::Avx512Async => avx512::copy::<4, true, false>(dst, src, len),
                #[cfg(target_arch = "aarch64")]
                CpuCopy::Neon => neon::copy(dst, src, len),
                _ => std::ptr::copy_nonoverlapping(src, dst, len),
            }
        }
    }
}

/// What this CPU can do; the standard library asks it once.
#[cfg(target_arch = "x86_64")]
mod has {
    #[inline]
    pub(super) fn erms() -> bool {
        std::arch::is_x86_feature_detected!("ermsb")
    }

    #[inline]
    pub(super) fn avx() -> bool {
        std::arch::is_x86_feature_detected!("avx")
    }

    #[inline]
    pub(super) fn avx512() -> bool {
        std::arch::is_x86_feature_detected!("avx512f")
    }

    pub(super) fn neon() -> bool {
        false
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod has {
    pub(super) fn erms() -> bool {
        false
    }

    pub(super) fn avx() -> bool {
        false
    }

    pub(super) fn avx512() -> bool {
        false
    }

    /// All 64-bit ARMs that Linux runs on have it.
    pub(super) fn neon() -> bool {
        cfg!(target_feature = "neon")
    }
}
