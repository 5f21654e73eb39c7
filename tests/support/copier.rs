// SPDX-License-Identifier: MIT OR Apache-2.0
//! A copier that counts what it is told, with memory of its own kind: each byte of it is there complemented, so that a copy made
//! past the copier shows.

// Each test binary uses its own part of this.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use shm::copier::{Copier, Done, PinAccess, Stream};
use shm::{Error, Result};

/// What a [`Counting`] was told so far.
#[derive(Default)]
pub struct Told {
    pub copies_in: AtomicU64,
    pub copies_out: AtomicU64,
    pub bytes: AtomicU64,
    pub pins: AtomicU64,
    pub unpins: AtomicU64,
    pub ends: AtomicU64,
    /// What is allocated now, by its address.
    pub allocated: Mutex<BTreeMap<usize, usize>>,
    /// What is pinned now.
    pub pinned: Mutex<BTreeMap<usize, (usize, bool)>>,
    /// Each call fails as long as it is set.
    pub fails: AtomicBool,
    /// Copies on streams wait for [`Told::go_on`].
    waiting: Mutex<Vec<Box<dyn FnOnce() + Send>>>,
}

impl Told {
    pub fn count(&self, of: fn(&Told) -> &AtomicU64) -> u64 {
        of(self).load(Ordering::SeqCst)
    }

    fn note(&self, of: &AtomicU64) -> Result<()> {
        of.fetch_add(1, Ordering::SeqCst);
        if self.fails.load(Ordering::SeqCst) {
            return Err(Error::Copier { call: "a call", status: 7, message: "it was told to fail".into() });
        }
        Ok(())
    }

    /// Makes the oldest copy on a stream that waits; false: none does.
    pub fn go_on(&self) -> bool {
        let next = {
            let mut waiting = self.waiting.lock().unwrap();
            if waiting.is_empty() {
                return false;
            }
            waiting.remove(0)
        };
        next();
        true
    }

    /// Nothing is allocated, pinned or under way, and the copier is gone.
    #[track_caller]
    pub fn assert_ended(&self) {
        assert!(self.allocated.lock().unwrap().is_empty());
        assert!(self.pinned.lock().unwrap().is_empty());
        assert!(self.waiting.lock().unwrap().is_empty());
        assert_eq!(self.count(|told| &told.pins), self.count(|told| &told.unpins));
        assert_eq!(self.count(|told| &told.ends), 1);
    }
}

/// See above.
pub struct Counting(Copying);

/// The copying part, which copies on streams have a share in.
#[derive(Clone)]
struct Copying {
    told: Arc<Told>,
    pins: bool,
}

impl Counting {
    pub fn new(pins: bool) -> (Counting, Arc<Told>) {
        let told = Arc::new(Told::default());
        (Counting(Copying { told: told.clone(), pins }), told)
    }
}

impl Copying {
    /// A copy may go between a pinned mapping and this copier's memory.
    fn check_pinned(&self, memory: *const u8, len: usize, is_written: bool) {
        if self.pins {
            let pinned = self.told.pinned.lock().unwrap();
            let (&start, &(size, is_writable)) = pinned.range(..=memory as usize).next_back().unwrap();
            assert!(memory as usize + len <= start + size, "{memory:?} isn't pinned");
            assert!(is_writable || !is_written, "written to what is only to be read");
        }
    }

    /// # Safety
    /// Those of [`Copier`]'s.
    unsafe fn shm_to_user(&self, to: *mut u8, from: &[u8]) -> Result<()> {
        assert!(!from.is_empty());
        self.told.note(&self.told.copies_out)?;
        self.told.bytes.fetch_add(from.len() as u64, Ordering::SeqCst);
        self.check_pinned(from.as_ptr(), from.len(), false);
        // SAFETY: the caller's.
        unsafe { complement(to, from.as_ptr(), from.len()) };
        Ok(())
    }

    /// # Safety
    /// Those of [`Copier`]'s.
    unsafe fn user_to_shm(&self, to: &mut [u8], from: *const u8) -> Result<()> {
        assert!(!to.is_empty());
        self.told.note(&self.told.copies_in)?;
        self.told.bytes.fetch_add(to.len() as u64, Ordering::SeqCst);
        self.check_pinned(to.as_ptr(), to.len(), true);
        // SAFETY: the caller's.
        unsafe { complement(to.as_mut_ptr(), from, to.len()) };
        Ok(())
    }
}

/// # Safety
/// Both are `len` bytes.
unsafe fn complement(to: *mut u8, from: *const u8, len: usize) {
    for at in 0..len {
        // SAFETY: the caller's.
        unsafe { to.add(at).write(!from.add(at).read()) };
    }
}

// SAFETY: it copies all, and nothing more.
unsafe impl Copier for Counting {
    fn alloc(&self, size: usize) -> Result<*mut u8> {
        self.0.told.note(&AtomicU64::new(0))?;
        assert_ne!(size, 0);
        let memory = Box::leak(vec![0u8; size].into_boxed_slice()).as_mut_ptr();
        assert!(self.0.told.allocated.lock().unwrap().insert(memory as usize, size).is_none());
        Ok(memory)
    }

    unsafe fn dealloc(&self, memory: *mut u8, size: usize) -> Result<()> {
        assert_eq!(self.0.told.allocated.lock().unwrap().remove(&(memory as usize)), Some(size));
        // SAFETY: `alloc` leaked it.
        drop(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(memory, size)) });
        Ok(())
    }

    unsafe fn shm_to_user(&self, to: *mut u8, from: &[u8]) -> Result<()> {
        // SAFETY: the caller's.
        unsafe { self.0.shm_to_user(to, from) }
    }

    unsafe fn user_to_shm(&self, to: &mut [u8], from: *const u8) -> Result<()> {
        // SAFETY: the caller's.
        unsafe { self.0.user_to_shm(to, from) }
    }

    unsafe fn shm_to_user_on_stream(&self, to: *mut u8, from: &[u8], stream: Stream, done: Done) {
        assert_eq!(stream, STREAM);
        // As a device would: by addresses.
        let (to, from) = (to as usize, (from.as_ptr() as usize, from.len()));
        let copy = self.0.clone();
        self.0.told.waiting.lock().unwrap().push(Box::new(move || {
            // SAFETY: the caller's, until `done` is called.
            let from = unsafe { std::slice::from_raw_parts(from.0 as *const u8, from.1) };
            // SAFETY: as above.
            let ended = unsafe { copy.shm_to_user(to as *mut u8, from) };
            done.call(ended);
        }));
    }

    unsafe fn user_to_shm_on_stream(
        &self,
        to: *mut u8,
        from: *const u8,
        len: usize,
        stream: Stream,
        done: Done,
    ) {
        assert_eq!(stream, STREAM);
        let (to, from) = (to as usize, from as usize);
        let copy = self.0.clone();
        self.0.told.waiting.lock().unwrap().push(Box::new(move || {
            // SAFETY: the caller's, until `done` is called.
            let to = unsafe { std::slice::from_raw_parts_mut(to as *mut u8, len) };
            // SAFETY: as above.
            let ended = unsafe { copy.user_to_shm(to, from as *const u8) };
            done.call(ended);
        }));
    }

    fn wants_pins(&self) -> bool {
        self.0.pins
    }

    unsafe fn pin(&self, memory: *mut u8, len: usize, access: PinAccess) -> bool {
        self.0.told.pins.fetch_add(1, Ordering::SeqCst);
        let is_writable = access == PinAccess::Write;
        assert!(self.0.told.pinned.lock().unwrap().insert(memory as usize, (len, is_writable)).is_none());
        true
    }

    unsafe fn unpin(&self, memory: *mut u8, len: usize) -> bool {
        self.0.told.unpins.fetch_add(1, Ordering::SeqCst);
        // It is there still: otherwise this would end the process.
        // SAFETY: a mapping of `len` bytes.
        unsafe { std::hint::black_box(memory.add(len - 1).read_volatile()) };
        assert_eq!(
            self.0.told.pinned.lock().unwrap().remove(&(memory as usize)).map(|(size, _)| size),
            Some(len)
        );
        !self.0.told.fails.load(Ordering::SeqCst)
    }
}

/// What the stream is called on which it copies.
pub const STREAM: Stream = Stream(64 as *mut std::ffi::c_void);

impl Drop for Counting {
    fn drop(&mut self) {
        self.0.told.ends.fetch_add(1, Ordering::SeqCst);
    }
}
