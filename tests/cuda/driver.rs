// SPDX-License-Identifier: MIT OR Apache-2.0
//! The fake driver, as its tests use it: beside the copier, as a program with CUDA code of its own would, and through its back door.

use std::ffi::{c_char, c_int, c_uint, c_void, CString};
use std::path::Path;

use libloading::{Library, Symbol};
use shm::copier::cuda::CudaCopier;
use shm::copier::{SharedCopier, Stream, UserMemory};

pub struct Driver(Library);

impl Driver {
    pub fn open() -> Driver {
        // SAFETY: the fake driver has no initialisers.
        Driver(unsafe { Library::new("libcuda.so.1") }.unwrap())
    }

    fn get<T>(&self, name: &str) -> Symbol<'_, T> {
        // SAFETY: the callers name the signature that the fake driver has.
        unsafe { self.0.get(name.as_bytes()) }.unwrap()
    }

    pub fn count(&self, name: &str) -> u64 {
        let name = CString::new(name).unwrap();
        // SAFETY: reads a string.
        unsafe { self.get::<unsafe extern "C" fn(*const c_char) -> u64>("fake_counter")(name.as_ptr()) }
    }

    /// The `nth` call of this name from now on fails with `status`.
    pub fn fail(&self, call: &str, nth: i32, status: u32) {
        let call = CString::new(call).unwrap();
        let fail = self.get::<unsafe extern "C" fn(*const c_char, c_int, c_uint)>("fake_fail");
        // SAFETY: reads a string.
        unsafe { fail(call.as_ptr(), nth, status) }
    }

    /// Streams stand still until [`go_on`](Self::go_on).
    pub fn hold(&self) {
        self.set_hold(1);
    }

    /// The next copy is made halfway; then streams stand still.
    pub fn hold_midway(&self) {
        self.set_hold(2);
    }

    pub fn go_on(&self) {
        self.set_hold(0);
    }

    fn set_hold(&self, how: c_int) {
        // SAFETY: takes a number.
        unsafe { self.get::<unsafe extern "C" fn(c_int)>("fake_hold")(how) }
    }

    pub fn wait_midway(&self) {
        // SAFETY: waits.
        unsafe { self.get::<unsafe extern "C" fn()>("fake_wait_midway")() }
    }

    pub fn capture(&self, stream: Stream, is_capturing: bool) {
        // SAFETY: a stream of the fake driver's.
        unsafe {
            self.get::<unsafe extern "C" fn(*mut c_void, c_int)>("fake_capture")(
                stream.0,
                is_capturing.into(),
            )
        }
    }

    /// What a device's memory has in it, of which `len` bytes are allocated.
    #[allow(clippy::mut_from_ref)]
    pub fn behind(&self, memory: *const u8, len: usize) -> &mut [u8] {
        let behind = self.get::<unsafe extern "C" fn(u64) -> *mut u8>("fake_behind");
        // SAFETY: as many bytes are there, and the tests use them one at a time.
        unsafe {
            let start = behind(memory as u64);
            assert!(!start.is_null());
            std::slice::from_raw_parts_mut(start, len)
        }
    }

    /// Has memory of the test's said to be managed by `device`, and be reached or not by all.
    pub fn pretend_managed(&self, memory: *const u8, device: c_int, is_reached: bool) {
        let pretend = self.get::<unsafe extern "C" fn(u64, c_uint, c_int, c_uint, u64)>("fake_pretend");
        // SAFETY: takes numbers.
        unsafe { pretend(memory as u64, 2, device, 1, if is_reached { memory as u64 } else { 0 }) }
    }

    /// Which device the memory is on; below 0: none.
    pub fn device_of(&self, memory: *const u8) -> c_int {
        // SAFETY: looks at the address only.
        unsafe { self.get::<unsafe extern "C" fn(u64) -> c_int>("fake_device_of")(memory as u64) }
    }

    /// Makes the primary context of `device` the thread's, for good, as the CUDA runtime does.
    pub fn set_device(&self, device: c_int) -> *mut c_void {
        let mut context = std::ptr::null_mut();
        // SAFETY: as cuda.h has them.
        unsafe {
            let retain =
                self.get::<unsafe extern "C" fn(*mut *mut c_void, c_int) -> u32>("cuDevicePrimaryCtxRetain");
            assert_eq!(retain(&mut context, device), 0);
            assert_eq!(
                self.get::<unsafe extern "C" fn(*mut c_void) -> u32>("cuCtxPushCurrent_v2")(context),
                0
            );
        }
        context
    }

    pub fn context(&self) -> *mut c_void {
        let mut context = std::ptr::null_mut();
        // SAFETY: as cuda.h has it.
        let status = unsafe {
            self.get::<unsafe extern "C" fn(*mut *mut c_void) -> u32>("cuCtxGetCurrent")(&mut context)
        };
        assert_eq!(status, 0);
        context
    }

    /// A stream of the current context.
    pub fn stream(&self) -> Stream {
        let mut stream = std::ptr::null_mut();
        let create = self.get::<unsafe extern "C" fn(*mut *mut c_void, c_uint) -> u32>("cuStreamCreate");
        // SAFETY: as cuda.h has it.
        assert_eq!(unsafe { create(&mut stream, 1) }, 0);
        Stream(stream)
    }

    /// Has `len` bytes copied when `stream` comes to it.
    pub fn copy(&self, to: *mut u8, from: *const u8, len: usize, stream: Stream) {
        let copy =
            self.get::<unsafe extern "C" fn(*mut u8, *const u8, usize, *mut c_void) -> u32>("cuMemcpyAsync");
        // SAFETY: as cuda.h has it.
        assert_eq!(unsafe { copy(to, from, len, stream.0) }, 0);
    }

    /// Registers memory of the test's, which stays until it is unregistered.
    pub fn register(&self, memory: &mut [u8]) {
        let register =
            self.get::<unsafe extern "C" fn(*mut u8, usize, c_uint) -> u32>("cuMemHostRegister_v2");
        // SAFETY: as cuda.h has it.
        assert_eq!(unsafe { register(memory.as_mut_ptr(), memory.len(), 1) }, 0);
    }

    pub fn unregister(&self, memory: *mut u8) {
        let unregister = self.get::<unsafe extern "C" fn(*mut u8) -> u32>("cuMemHostUnregister");
        // SAFETY: as cuda.h has it.
        assert_eq!(unsafe { unregister(memory) }, 0);
    }

    /// That the copiers which ended left nothing, and that no rule was broken.
    #[track_caller]
    pub fn assert_clean(&self) {
        self.assert_rules();
        for name in [
            "contexts",
            "streams",
            "allocations",
            "registrations",
            "left_at_the_end",
            "vmm_memories",
            "vmm_reservations",
            "vmm_mappings",
        ] {
            assert_eq!(self.count(name), 0, "{name}");
        }
    }

    #[track_caller]
    pub fn assert_rules(&self) {
        for name in
            ["calls_in_callbacks", "calls_without_context", "unmapped_while_registered", "captured_copies"]
        {
            assert_eq!(self.count(name), 0, "{name}");
        }
    }
}

pub fn copier(ordinal: u32) -> SharedCopier {
    SharedCopier::new(CudaCopier::new(ordinal).unwrap()).unwrap()
}

/// Memory of the device with `bytes` in it.
pub fn filled(driver: &Driver, copier: &SharedCopier, bytes: &[u8]) -> UserMemory {
    let memory = copier.alloc(bytes.len()).unwrap();
    if !bytes.is_empty() {
        driver.behind(memory.as_ptr(), bytes.len()).copy_from_slice(bytes);
    }
    memory
}

/// The path as a child's argument names it.
pub fn root(parent: &mut crate::support::child::Parent) -> std::path::PathBuf {
    Path::new(&parent.text()).to_owned()
}
