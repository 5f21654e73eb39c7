// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ways to copy with the CPU: every length and alignment, nothing outside of the buffers, and threads that a fork, a signal and a
//! second caller don't upset.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use shm::copier::cpu::{CpuCopy, ParallelCopy, ParallelOptions};

const PAGE: usize = 4096;
const LINE: usize = 64;
const UNTOUCHED: u8 = 0xEE;
const PATIENCE: Duration = Duration::from_secs(20);

/// Memory between two pages that may not be touched.
struct Guarded {
    start: *mut u8,
    len: usize,
}

impl Guarded {
    /// `len` bytes, in whole pages, that `byte` gives by their offset.
    fn new(len: usize, byte: impl Fn(usize) -> u8) -> Guarded {
        let len = len.next_multiple_of(PAGE);
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping, and a part of it.
        let start = unsafe {
            let all = libc::mmap(std::ptr::null_mut(), len + 2 * PAGE, libc::PROT_NONE, flags, -1, 0);
            assert_ne!(all, libc::MAP_FAILED);
            let start = all.cast::<u8>().add(PAGE);
            assert_eq!(libc::mprotect(start.cast(), len, libc::PROT_READ | libc::PROT_WRITE), 0);
            start
        };
        let mut guarded = Guarded { start, len };
        guarded.bytes_mut().iter_mut().enumerate().for_each(|(at, to)| *to = byte(at));
        guarded
    }

    /// Read-only, with bytes that tell where they are from.
    fn source(len: usize) -> Guarded {
        let guarded = Guarded::new(len, |at| (at ^ (at >> 8) ^ (at >> 16)) as u8);
        // SAFETY: a part of the mapping.
        assert_eq!(unsafe { libc::mprotect(guarded.start.cast(), guarded.len, libc::PROT_READ) }, 0);
        guarded
    }

    fn target(len: usize) -> Guarded {
        Guarded::new(len, |_| UNTOUCHED)
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: readable, and nobody writes while the borrow lasts.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: called for what is writable only.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.len) }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: the whole mapping, which nothing refers to any more.
        unsafe { libc::munmap(self.start.sub(PAGE).cast(), self.len + 2 * PAGE) };
    }
}

/// Lets `copy` copy `len` bytes from `from` in the source to `to` in the target, which is untouched before, looks at
/// `around` bytes on both sides as well, and leaves the target untouched again.
#[track_caller]
fn check(
    what: &str,
    copy: &dyn Fn(*mut u8, *const u8, usize),
    target: &mut Guarded,
    to: usize,
    source: &Guarded,
    from: usize,
    len: usize,
) {
    const AROUND: usize = 256;
    let expected = &source.bytes()[from..from + len];
    assert!(to + len <= target.len);
    copy(target.start.wrapping_add(to), expected.as_ptr(), len);
    let untouched = [UNTOUCHED; AROUND];
    let (before, after) = (to.min(AROUND), (target.len - to - len).min(AROUND));
    let found = target.bytes();
    let context = || format!("{what}, {len} bytes from {from} to {to}");
    assert!(found[to..to + len] == *expected, "{}: wrong bytes", context());
    assert!(found[to - before..to] == untouched[..before], "{}: wrote before", context());
    assert!(found[to + len..][..after] == untouched[..after], "{}: wrote after", context());
    target.bytes_mut()[to..to + len].fill(UNTOUCHED);
}

fn each(body: impl Fn(&str, &dyn Fn(*mut u8, *const u8, usize))) {
    for copy in CpuCopy::ALL {
        // SAFETY: `check` hands over parts of two mappings.
        body(copy.name(), &|dst, src, len| unsafe { copy.copy(dst, src, len) });
    }
}

#[test]
fn every_length_and_alignment() {
    let source = Guarded::source(2 * PAGE);
    each(|name, copy| {
        let mut target = Guarded::target(2 * PAGE);
        for len in 0..=1024 {
            for align in 0..LINE {
                // Over the lengths each alignment of the one meets each of the other.
                check(name, copy, &mut target, PAGE + align, &source, (align * 7 + len) % LINE, len);
            }
        }
    });
}

#[test]
fn nothing_beyond_either_end_is_touched() {
    let source = Guarded::source(PAGE);
    each(|name, copy| {
        let mut target = Guarded::target(PAGE);
        for len in 0..=PAGE {
            let end = PAGE - len;
            for (to, from) in [(0, 0), (0, end), (end, 0), (end, end)] {
                check(name, copy, &mut target, to, &source, from, len);
            }
        }
    });
}

/// Around what decides which way a copy takes, and some that are nothing special.
fn large_sizes(around: usize) -> [usize; 6] {
    [around - 1, around, around + 1, 5000, (64 << 10) + 33, (3 << 20) + 17]
}

#[test]
fn large_copies() {
    let sizes = large_sizes(1 << 20);
    let largest = sizes.iter().max().unwrap() + 2 * LINE;
    let source = Guarded::source(largest);
    each(|name, copy| {
        let mut target = Guarded::target(largest);
        for &len in &sizes {
            let (last_to, last_from) = (target.len - len, source.len - len);
            for (to, from) in [(0, 0), (33, 31), (last_to, last_from)] {
                check(name, copy, &mut target, to, &source, from, len);
            }
        }
    });
}

#[test]
fn names_choose_and_every_choice_ends_at_something_that_runs() {
    for copy in CpuCopy::ALL {
        assert_eq!(CpuCopy::from_name(copy.name()), Some(copy));
        for len in [0, 1, LINE - 1, LINE, 4096, 1 << 20, 1 << 30, usize::MAX] {
            let implementation = copy.implementation(len);
            assert_ne!(implementation, CpuCopy::Auto, "{copy:?}");
            assert_eq!(implementation.implementation(len), implementation, "{copy:?}");
        }
    }
    assert_eq!(CpuCopy::from_name("AVX"), None);
    assert_eq!(CpuCopy::default(), CpuCopy::Auto);
    // What every machine has is done by itself.
    for copy in [CpuCopy::Libc, CpuCopy::Scalar] {
        assert_eq!(copy.implementation(1 << 20), copy);
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn what_the_cpu_has_is_used() {
    let has_avx = std::arch::is_x86_feature_detected!("avx");
    let has_avx512 = std::arch::is_x86_feature_detected!("avx512f");
    for (copy, has) in [
        (CpuCopy::Avx, has_avx),
        (CpuCopy::AvxAsyncPfUnroll, has_avx),
        (CpuCopy::Avx512, has_avx512),
        (CpuCopy::Avx512Async, has_avx512),
        (CpuCopy::Neon, false),
    ] {
        assert_eq!(copy.implementation(4096) == copy, has, "{copy:?}");
    }
}

/// The tests with threads look at all threads of the process, so they don't run at once.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn parallel(threads: usize) -> ParallelCopy {
    ParallelCopy::new(ParallelOptions { threads, threshold: 1 << 20, ..Default::default() }).unwrap()
}

/// The files `status` of the copiers' threads.
fn workers() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let status = |task: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(task.unwrap().path().join("status")).unwrap_or_default()
    };
    tasks.map(status).filter(|status| status.starts_with("Name:\tshm-copier\n")).collect()
}

fn wait_for_workers(count: usize) -> Vec<String> {
    let start = Instant::now();
    loop {
        let workers = workers();
        if workers.len() == count {
            return workers;
        }
        assert!(start.elapsed() < PATIENCE, "{} threads instead of {count}", workers.len());
        std::thread::yield_now();
    }
}

#[test]
fn threads_copy_the_same() {
    let _turn = alone();
    let sizes = large_sizes(1 << 20);
    let largest = sizes.iter().max().unwrap() + 2 * LINE;
    let source = Guarded::source(largest);
    for threads in [1, 2, 3, 8] {
        for copy in [CpuCopy::Auto, CpuCopy::AvxAsyncPfUnroll] {
            let options = ParallelOptions { copy, threads, threshold: 1 << 20 };
            let copier = ParallelCopy::new(options).unwrap();
            assert_eq!(copier.threads(), threads);
            let mut target = Guarded::target(largest);
            for &len in &sizes {
                let (last_to, last_from) = (target.len - len, source.len - len);
                for (to, from) in [(0, 0), (33, 31), (last_to, last_from)] {
                    // SAFETY: `check` hands over parts of two mappings.
                    let copy = |dst, src, len| unsafe { copier.copy(dst, src, len) };
                    check(&format!("{threads} threads"), &copy, &mut target, to, &source, from, len);
                }
            }
        }
    }
    wait_for_workers(0);
}

#[test]
fn several_threads_share_a_copier() {
    let _turn = alone();
    let copier = parallel(3);
    let source = Guarded::source(4 << 20);
    let source = source.bytes();
    std::thread::scope(|scope| {
        for caller in 0..4 {
            let copier = &copier;
            scope.spawn(move || {
                for round in 0..50 {
                    let len = (1 << 20) + caller * 100_001 + round * 1000;
                    let mut target = vec![0; len];
                    // SAFETY: the target is its own, the source long enough.
                    unsafe { copier.copy(target.as_mut_ptr(), source[caller..].as_ptr(), len) };
                    assert!(target == source[caller..caller + len], "caller {caller}, round {round}");
                }
            });
        }
    });
}

#[test]
fn threads_end_with_their_copier_and_take_no_signals() {
    let _turn = alone();
    let copier = parallel(4);
    for status in wait_for_workers(3) {
        let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap().trim();
        let blocked = u64::from_str_radix(blocked, 16).unwrap();
        let blocks = |signal: i32| blocked & (1 << (signal - 1)) != 0;
        assert!(blocks(libc::SIGINT) && blocks(libc::SIGUSR1) && blocks(libc::SIGALRM), "{blocked:x}");
        // What a copy may raise itself goes to the handler, as in the caller's thread.
        assert!(!blocks(libc::SIGSEGV) && !blocks(libc::SIGBUS), "{blocked:x}");
    }
    let own = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    assert!(own.lines().any(|line| line == "SigBlk:\t0000000000000000"), "{own}");
    drop(copier);
    wait_for_workers(0);
}

#[test]
fn too_many_threads_are_refused() {
    let options = ParallelOptions { threads: 257, ..Default::default() };
    let Err(error) = ParallelCopy::new(options) else { panic!("257 threads") };
    assert_eq!(error.to_string(), "option threads is 257, but must be at most 256");
}

/// Whether the child copies right, drops the copier, and ends in time.
fn copies_in_a_child(copier: ParallelCopy, source: &[u8], target: &mut [u8]) -> bool {
    // SAFETY: the child copies, frees memory, which the C library provides for, and ends.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: two buffers of one length; it ends here, by a signal if it hangs.
        unsafe {
            libc::alarm(20);
            copier.copy(target.as_mut_ptr(), source.as_ptr(), source.len());
            drop(copier);
            libc::_exit(i32::from(target != source))
        }
    }
    assert!(child > 0);
    let mut status = 0;
    // SAFETY: waits for that child, into a local.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    // The parent's goes on.
    // SAFETY: as above.
    unsafe { copier.copy(target.as_mut_ptr(), source.as_ptr(), source.len()) };
    status == 0 && target == source
}

#[test]
fn the_child_of_a_fork_copies_alone() {
    let _turn = alone();
    let source = Guarded::source(2 << 20);
    let mut target = vec![0; source.len];
    assert!(copies_in_a_child(parallel(3), source.bytes(), &mut target));
}

#[test]
fn a_fork_in_the_middle_of_a_copy_harms_nobody() {
    let _turn = alone();
    let source = Guarded::source(2 << 20);
    let source = source.bytes();
    let copier = parallel(3);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut target = vec![0; source.len()];
            while !is_over.load(Ordering::Relaxed) {
                target.fill(0);
                // SAFETY: two buffers of one length.
                unsafe { copier.copy(target.as_mut_ptr(), source.as_ptr(), source.len()) };
                assert!(target == source);
            }
        });
        let mut target = vec![0; source.len()];
        for _ in 0..20 {
            // SAFETY: the child copies into memory of its own and ends.
            let child = unsafe { libc::fork() };
            if child == 0 {
                // SAFETY: two buffers of one length; it ends here, by a signal if it hangs, so that nobody drops the copier twice.
                unsafe {
                    libc::alarm(20);
                    copier.copy(target.as_mut_ptr(), source.as_ptr(), source.len());
                    drop(std::ptr::read(&copier));
                    libc::_exit(i32::from(target != source))
                }
            }
            let mut status = 0;
            // SAFETY: waits for that child, into a local.
            let ended = unsafe { libc::waitpid(child, &mut status, 0) };
            if ended != child || status != 0 {
                is_over.store(true, Ordering::Relaxed);
                panic!("the child ended with {status:x}");
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
}
