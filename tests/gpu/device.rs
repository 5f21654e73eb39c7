// SPDX-License-Identifier: MIT OR Apache-2.0
//! The GPU, as a program with CUDA code of its own uses it beside this library: kernels, streams, how much memory is free.

use std::ffi::{c_char, c_int, c_uint, c_void};

use libloading::Library;
use shm::copier::Stream;

type Handle = *mut c_void;

/// Device 0, whose primary context is this thread's from now on.
pub struct Device {
    library: Library,
    fill: Handle,
    check: Handle,
    /// On the device: how many words were found wrong.
    wrong: u64,
}

/// What word number `i` of a message is.
fn word(i: usize, seed: u32) -> u32 {
    seed ^ (i as u32).wrapping_mul(0x9e37_79b1)
}

/// Its seed, if `bytes` are a whole message.
pub fn seed_of(bytes: &[u8]) -> Option<u32> {
    let words = || bytes.chunks_exact(4).map(|word| u32::from_ne_bytes(word.try_into().unwrap()));
    let seed = words().next()?;
    words().enumerate().all(|(i, found)| found == word(i, seed)).then_some(seed)
}

/// Calls a function of the driver, with arguments of the types that cuda.h has.
macro_rules! call {
    ($library:expr, $symbol:literal, $($argument:expr => $type:ty),*) => {{
        // SAFETY: the types are those of cuda.h, and the arguments live as long as it asks for.
        unsafe {
            let function = $library.get::<unsafe extern "C" fn($($type),*) -> u32>($symbol.as_bytes());
            match function.map(|function| function($($argument),*)) {
                Ok(0) => Ok(()),
                Ok(status) => Err(format!("{} failed with {status}", $symbol)),
                Err(error) => Err(error.to_string()),
            }
        }
    }};
}

impl Device {
    /// Why there is none, in words, when there is none that these tests can use.
    pub fn open() -> Result<Device, String> {
        // SAFETY: the driver's initialisers ask nothing of who loads it.
        let library = unsafe { Library::new("libcuda.so.1") }.map_err(|error| error.to_string())?;
        let mut context: Handle = std::ptr::null_mut();
        let (mut module, mut fill, mut check, mut wrong) = (context, context, context, 0);
        call!(library, "cuInit", 0 => c_uint)?;
        call!(library, "cuDevicePrimaryCtxRetain", &mut context => *mut Handle, 0 => c_int)?;
        call!(library, "cuCtxPushCurrent_v2", context => Handle)?;
        let kernels = concat!(include_str!("kernels.ptx"), "\0").as_ptr();
        call!(library, "cuModuleLoadData", &mut module => *mut Handle, kernels => *const u8)
            .map_err(|error| format!("{error}: the kernels are for Turing and newer"))?;
        for (kernel, name) in [(&mut fill, c"fill"), (&mut check, c"check")] {
            call!(library, "cuModuleGetFunction",
                kernel => *mut Handle, module => Handle, name.as_ptr() => *const c_char)?;
        }
        call!(library, "cuMemAlloc_v2", &mut wrong => *mut u64, 4 => usize)?;
        let device = Device { library, fill, check, wrong };
        call!(device.library, "cuMemsetD8_v2", wrong => u64, 0 => u8, 4 => usize)?;
        // That has ended when this has, on whatever stream the kernels are.
        assert_eq!(device.wrong(Stream(std::ptr::null_mut())), 0);
        Ok(device)
    }

    pub fn stream(&self) -> Stream {
        let mut stream = std::ptr::null_mut();
        call!(self.library, "cuStreamCreate", &mut stream => *mut Handle, 1 => c_uint).unwrap();
        Stream(stream)
    }

    pub fn end(&self, stream: Stream) {
        call!(self.library, "cuStreamDestroy_v2", stream.0 => Handle).unwrap();
    }

    pub fn synchronize(&self, stream: Stream) {
        call!(self.library, "cuStreamSynchronize", stream.0 => Handle).unwrap();
    }

    /// Has a message of `len` bytes written when `stream` comes to it.
    pub fn fill(&self, memory: *mut u8, len: usize, seed: u32, stream: Stream) {
        self.launch(self.fill, memory, len, seed, stream);
    }

    /// Has it looked at; what is wrong with it is counted.
    pub fn check(&self, memory: *mut u8, len: usize, seed: u32, stream: Stream) {
        self.launch(self.check, memory, len, seed, stream);
    }

    fn launch(&self, kernel: Handle, memory: *mut u8, len: usize, seed: u32, Stream(stream): Stream) {
        let (mut memory, mut count, mut seed, mut wrong) =
            (memory as u64, (len / 4) as u32, seed, self.wrong);
        let mut arguments: [Handle; 4] = [
            (&raw mut memory).cast(),
            (&raw mut count).cast(),
            (&raw mut seed).cast(),
            (&raw mut wrong).cast(),
        ];
        let (blocks, none) = (count.div_ceil(256), std::ptr::null_mut());
        call!(self.library, "cuLaunchKernel",
            kernel => Handle, blocks => c_uint, 1 => c_uint, 1 => c_uint, 256 => c_uint, 1 => c_uint, 1 => c_uint,
            0 => c_uint, stream => Handle, arguments.as_mut_ptr() => *mut Handle, none => *mut Handle)
        .unwrap();
    }

    /// How many words were found wrong, by the work on `stream` and all that has ended.
    pub fn wrong(&self, stream: Stream) -> u32 {
        self.synchronize(stream);
        let mut wrong = 0;
        call!(self.library, "cuMemcpyDtoH_v2", &mut wrong => *mut u32, self.wrong => u64, 4 => usize)
            .unwrap();
        wrong
    }

    /// Bytes of the device's memory that nobody has.
    pub fn free(&self) -> usize {
        let (mut free, mut total) = (0, 0);
        call!(self.library, "cuMemGetInfo_v2", &mut free => *mut usize, &mut total => *mut usize).unwrap();
        free
    }

    /// Whether the device reaches this memory of the process by itself.
    pub fn is_registered(&self, memory: *const u8) -> bool {
        let mut kind: c_uint = 0;
        let value = (&raw mut kind).cast();
        // It fails for memory that it doesn't know. 2: CU_POINTER_ATTRIBUTE_MEMORY_TYPE; 1: CU_MEMORYTYPE_HOST.
        call!(self.library, "cuPointerGetAttribute", value => *mut c_void, 2 => c_int, memory as u64 => u64)
            .is_ok()
            && kind == 1
    }
}
