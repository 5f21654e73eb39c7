// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every system call of the library: files and mappings, the liveness lock, fork detection, the futex, threads, sockets that pass descriptors.

pub(crate) mod dir;
pub(crate) mod fork;
pub(crate) mod futex;
pub(crate) mod lock;
pub(crate) mod map;
pub(crate) mod sharing;
pub(crate) mod socket;
#[cfg(not(loom))]
pub(crate) mod thread;

/// A number that no other call returns, for instance ids and temporary names. Never 0.
pub(crate) fn random_u64() -> crate::Result<u64> {
    let mut bytes = [0u8; 8];
    let mut filled = 0;
    while filled < bytes.len() {
        match rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty()) {
            Ok(n) => filled += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(crate::Error::os("getrandom", "an instance id", errno)),
        }
    }
    Ok(u64::from_ne_bytes(bytes) | 1)
}

/// Nanoseconds since the epoch (CLOCK_REALTIME), for the timestamps of messages.
pub(crate) fn realtime_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    (now.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec as u64)
}

/// The time since some moment: for a few ns, and no more exact than the kernel's tick (CLOCK_MONOTONIC_COARSE, clock_gettime(2)).
#[inline]
pub(crate) fn coarse_now() -> std::time::Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    std::time::Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Bytes of a core's L2 and of the L3, as far as the C library knows them.
pub(crate) fn cache_sizes() -> Option<(usize, usize)> {
    #[cfg(all(target_env = "gnu", not(miri)))]
    let [l2, l3] = [libc::_SC_LEVEL2_CACHE_SIZE, libc::_SC_LEVEL3_CACHE_SIZE].map(|name| {
        // SAFETY: always; it only answers, with 0 or less where it doesn't know.
        unsafe { libc::sysconf(name) }
    });
    #[cfg(any(miri, not(target_env = "gnu")))]
    let [l2, l3] = [0, 0];
    usize::try_from(l2).ok().zip(usize::try_from(l3).ok()).filter(|&(l2, l3)| l2 > 0 && l3 > 0)
}
