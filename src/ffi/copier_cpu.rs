// SPDX-License-Identifier: MIT OR Apache-2.0
//! Copiers of the process's own memory.

use super::arguments::output;
use super::copier::ShmCopier;
use super::error::Failure;
use super::guard::guard;
use super::options::read_sized;
use super::status::SHM_OK;
use crate::copier::cpu::{CpuCopy, ParallelCopy, ParallelOptions};
use crate::copier::SharedCopier;
use std::mem::{offset_of, size_of};

/// For `shm_cpu_copier_options.copy`: whatever was measured to be the fastest at each size.
pub const SHM_CPU_COPY_AUTO: u32 = 0;
/// The C library's `memcpy`.
pub const SHM_CPU_COPY_LIBC: u32 = 1;
/// A word at a time.
pub const SHM_CPU_COPY_SCALAR: u32 = 2;
/// x86-64's `rep movsb`.
pub const SHM_CPU_COPY_REP_MOVSB: u32 = 3;
/// AVX.
pub const SHM_CPU_COPY_AVX: u32 = 4;
/// AVX, four vectors an iteration.
pub const SHM_CPU_COPY_AVX_UNROLL: u32 = 5;
/// AVX, stores past the caches.
pub const SHM_CPU_COPY_AVX_ASYNC: u32 = 6;
/// AVX, stores past the caches, loads fetched ahead.
pub const SHM_CPU_COPY_AVX_ASYNC_PF: u32 = 7;
/// AVX, stores past the caches, four vectors an iteration.
pub const SHM_CPU_COPY_AVX_ASYNC_UNROLL: u32 = 8;
/// AVX, stores past the caches, loads fetched ahead, four vectors an iteration.
pub const SHM_CPU_COPY_AVX_ASYNC_PF_UNROLL: u32 = 9;
/// AVX-512, four vectors an iteration.
pub const SHM_CPU_COPY_AVX512: u32 = 10;
/// AVX-512, stores past the caches, four vectors an iteration.
pub const SHM_CPU_COPY_AVX512_ASYNC: u32 = 11;
/// ARM's NEON, four vectors an iteration.
pub const SHM_CPU_COPY_NEON: u32 = 12;

/// How a copier of the process's own memory copies. `shm_cpu_copier_options_init` sets it to the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ShmCpuCopierOptions {
    /// sizeof(shm_cpu_copier_options), set by `shm_cpu_copier_options_init`.
    pub struct_size: usize,
    /// A SHM_CPU_COPY_*. What this machine's processor lacks is done by the next best that it has. Default: SHM_CPU_COPY_AUTO.
    pub copy: u32,
    /// Threads that copy large buffers, with the caller's: up to 256. 0: the processors that the calling thread may use, at most 4. Default: 1,
    /// the caller's alone.
    pub threads: u32,
    /// Bytes from which on more than the caller's thread copies. 0: 8 MiB.
    pub threshold: u64,
}

impl ShmCpuCopierOptions {
    const DEFAULT: Self =
        Self { struct_size: size_of::<Self>(), copy: SHM_CPU_COPY_AUTO, threads: 1, threshold: 0 };

    const ENDS: [usize; 3] = [offset_of!(Self, threads), offset_of!(Self, threshold), size_of::<Self>()];
}

fn copy_of(number: u32) -> Result<CpuCopy, Failure> {
    // The numbers are theirs, in this order.
    CpuCopy::ALL.get(number as usize).copied().ok_or_else(|| {
        let last = CpuCopy::ALL.len() - 1;
        Failure::option(format!("option copy is {number}, but must be a SHM_CPU_COPY_*, up to {last}"))
    })
}

/// Sets `options` to the defaults and its `struct_size`.
///
/// The struct stays the caller's. Errors: SHM_ERR_NULL. Any thread may call this at any time.
#[no_mangle]
pub unsafe extern "C" fn shm_cpu_copier_options_init(options: *mut ShmCpuCopierOptions) -> i32 {
    guard(|| {
        let options = output(options, "options")?;
        // SAFETY: C2.
        unsafe { options.write(ShmCpuCopierOptions::DEFAULT) };
        Ok(SHM_OK)
    })
}

/// Makes a copier of the process's own memory. What it allocates is aligned to 64; it copies any memory of the process, of any length and alignment.
///
/// `options` may be NULL for the defaults. On SHM_OK `*copier` is the caller's, to be ended with `shm_copier_destroy`. Any thread may call this at any
/// time.
///
/// Errors: SHM_ERR_NULL; SHM_ERR_INVALID_OPTION; SHM_ERR_OS when a thread can't be started.
#[no_mangle]
pub unsafe extern "C" fn shm_copier_cpu_create(
    options: *const ShmCpuCopierOptions,
    copier: *mut *mut ShmCopier,
) -> i32 {
    guard(|| {
        let place = output(copier, "copier")?;
        // SAFETY: C2; any bytes are such a struct.
        let options =
            unsafe { read_sized(options, ShmCpuCopierOptions::DEFAULT, &ShmCpuCopierOptions::ENDS)? };
        let (copy, threads) = (copy_of(options.copy)?, options.threads as usize);
        let core = if threads == 1 {
            SharedCopier::new(copy)?
        } else {
            let threshold = usize::try_from(options.threshold).unwrap_or(usize::MAX);
            SharedCopier::new(ParallelCopy::new(ParallelOptions { copy, threads, threshold })?)?
        };
        // SAFETY: C2.
        unsafe { place.write(ShmCopier::boxed(core)) };
        Ok(SHM_OK)
    })
}

/// Says what a copier of the process's own memory copies `size` bytes with on this machine when it is asked for `copy`, both a SHM_CPU_COPY_*.
///
/// Never SHM_CPU_COPY_AUTO; SHM_CPU_COPY_LIBC for a number that is none of them. Any thread may call this at any time.
#[no_mangle]
pub extern "C" fn shm_cpu_copy_implementation(copy: u32, size: usize) -> u32 {
    let used = copy_of(copy).map_or(CpuCopy::Libc, |copy| copy.implementation(size));
    // Each is in `ALL` once.
    CpuCopy::ALL.iter().position(|&copy| copy == used).map_or(SHM_CPU_COPY_LIBC, |number| number as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_ways_to_copy() {
        for (number, copy) in [
            (SHM_CPU_COPY_AUTO, CpuCopy::Auto),
            (SHM_CPU_COPY_LIBC, CpuCopy::Libc),
            (SHM_CPU_COPY_SCALAR, CpuCopy::Scalar),
            (SHM_CPU_COPY_REP_MOVSB, CpuCopy::RepMovsb),
            (SHM_CPU_COPY_AVX, CpuCopy::Avx),
            (SHM_CPU_COPY_AVX_UNROLL, CpuCopy::AvxUnroll),
            (SHM_CPU_COPY_AVX_ASYNC, CpuCopy::AvxAsync),
            (SHM_CPU_COPY_AVX_ASYNC_PF, CpuCopy::AvxAsyncPf),
            (SHM_CPU_COPY_AVX_ASYNC_UNROLL, CpuCopy::AvxAsyncUnroll),
            (SHM_CPU_COPY_AVX_ASYNC_PF_UNROLL, CpuCopy::AvxAsyncPfUnroll),
            (SHM_CPU_COPY_AVX512, CpuCopy::Avx512),
            (SHM_CPU_COPY_AVX512_ASYNC, CpuCopy::Avx512Async),
            (SHM_CPU_COPY_NEON, CpuCopy::Neon),
        ] {
            assert_eq!(copy_of(number).unwrap(), copy);
        }
        assert!(copy_of(13).is_err());
    }

    #[test]
    fn what_copies_is_a_way_that_this_machine_has() {
        for copy in 0..20 {
            for size in [0, 100, 1 << 30] {
                let used = shm_cpu_copy_implementation(copy, size);
                assert_ne!(used, SHM_CPU_COPY_AUTO);
                assert_eq!(shm_cpu_copy_implementation(used, size), used, "it is done by itself");
            }
        }
        assert_eq!(shm_cpu_copy_implementation(SHM_CPU_COPY_AUTO, 100), SHM_CPU_COPY_LIBC);
    }
}
