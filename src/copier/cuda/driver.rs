// SPDX-License-Identifier: MIT OR Apache-2.0
//! NVIDIA's driver, opened at run time: nothing of CUDA is needed to build this library or to run it without a GPU.
//!
//! A [`table!`] holds the functions that are used, and nothing else. Each is declared as `cuda.h` has it (read in version 12.9) and loaded by
//! the symbol that `cuda.h` defines its name to, `_v2` and all; the method of that name makes an [`Error::Copier`] of what it returns.
//! A function that is needed more: one more line. One that old drivers lack: a table of its own, loaded by who needs it.

use std::ffi::{c_char, c_int, c_uint, c_void, CStr};
use std::sync::OnceLock;

use libloading::Library;

use crate::error::{Error, Result};
use crate::os::fork::Token;

/// `CUresult`. An enum there; any number may come from a newer driver.
pub(crate) type Status = c_uint;
/// `CUdevice`.
pub(crate) type DeviceHandle = c_int;
/// `CUdeviceptr`.
pub(crate) type DevicePointer = u64;
/// `CUcontext` and `CUstream`: pointers to what only the driver knows.
pub(crate) type Handle = *mut c_void;
/// `CUstreamCallback`.
pub(crate) type StreamCallback = unsafe extern "C" fn(stream: Handle, status: Status, data: *mut c_void);

/// `CUmemGenericAllocationHandle`.
pub(crate) type MemoryHandle = u64;

/// `CUresult`s that are told apart.
pub(crate) mod status {
    use super::Status;
    pub(crate) const SUCCESS: Status = 0;
    pub(crate) const INVALID_VALUE: Status = 1;
    pub(crate) const NOT_INITIALIZED: Status = 3;
    pub(crate) const STUB_LIBRARY: Status = 34;
    pub(crate) const NO_DEVICE: Status = 100;
    pub(crate) const STREAM_CAPTURE_UNSUPPORTED: Status = 900;
}

/// `CUdevice_attribute`.
pub(crate) const DEVICE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM: c_int = 91;
pub(crate) const DEVICE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED: c_int = 102;
pub(crate) const DEVICE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED: c_int = 103;
pub(crate) const DEVICE_READ_ONLY_HOST_REGISTER_SUPPORTED: c_int = 113;

/// `CUpointer_attribute`.
pub(crate) mod pointer {
    use std::ffi::c_int;
    pub(crate) const MEMORY_TYPE: c_int = 2;
    pub(crate) const DEVICE_POINTER: c_int = 3;
    pub(crate) const IS_MANAGED: c_int = 8;
    pub(crate) const DEVICE_ORDINAL: c_int = 9;
}

/// `CU_MEMORYTYPE_DEVICE`.
pub(crate) const MEMORY_DEVICE: c_uint = 2;
/// `CU_MEMHOSTREGISTER_PORTABLE`: pinned for every context.
pub(crate) const REGISTER_PORTABLE: c_uint = 1;
/// `CU_MEMHOSTREGISTER_DEVICEMAP`: work on the device reaches it.
pub(crate) const REGISTER_DEVICE_MAP: c_uint = 2;
/// `CU_MEMHOSTREGISTER_READ_ONLY`.
pub(crate) const REGISTER_READ_ONLY: c_uint = 8;
/// `CU_STREAM_NON_BLOCKING`: doesn't wait for the default stream.
pub(crate) const STREAM_NON_BLOCKING: c_uint = 1;
/// `CU_STREAM_CAPTURE_STATUS_NONE`.
pub(crate) const NOT_CAPTURING: c_int = 0;

/// `CU_MEM_ALLOCATION_TYPE_PINNED`.
pub(crate) const ALLOCATION_PINNED: c_int = 1;
/// `CU_MEM_LOCATION_TYPE_DEVICE`.
pub(crate) const LOCATION_DEVICE: c_int = 1;
/// `CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR`.
pub(crate) const HANDLE_POSIX_FILE_DESCRIPTOR: c_int = 1;
/// `CU_MEM_ACCESS_FLAGS_PROT_READ`.
pub(crate) const ACCESS_READ: c_int = 1;
/// `CU_MEM_ACCESS_FLAGS_PROT_READWRITE`.
pub(crate) const ACCESS_READ_WRITE: c_int = 3;
/// `CU_MEM_ALLOC_GRANULARITY_MINIMUM`.
pub(crate) const GRANULARITY_MINIMUM: c_int = 0;

/// `CUmemLocation`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Location {
    pub(crate) kind: c_int,
    pub(crate) id: c_int,
}

/// `CUmemAllocationProp`.
#[repr(C)]
pub(crate) struct AllocationProperties {
    pub(crate) kind: c_int,
    pub(crate) handle_types: c_int,
    pub(crate) location: Location,
    pub(crate) windows: *mut c_void,
    pub(crate) compression: u8,
    pub(crate) rdma: u8,
    pub(crate) usage: u16,
    pub(crate) reserved: [u8; 4],
}

/// `CUmemAccessDesc`.
#[repr(C)]
pub(crate) struct AccessDescription {
    pub(crate) location: Location,
    pub(crate) flags: c_int,
}

const _: () = assert!(size_of::<AllocationProperties>() == 32 && size_of::<AccessDescription>() == 12);

/// A struct of the driver's functions, and a method for each: `method: name in cuda.h = "symbol" (its arguments);`.
macro_rules! table {
    ($(#[$about:meta])* $table:ident {
        $($name:ident: $call:ident = $symbol:literal ($($argument:ident: $type:ty),*);)*
    }) => {
        $(#[$about])*
        pub(crate) struct $table {
            $($name: unsafe extern "C" fn($($type),*) -> Status,)*
        }

        impl $table {
            /// Finds all of them, or says which is missing.
            fn load(library: &Library) -> std::result::Result<$table, &'static str> {
                $(
                    // SAFETY: the symbol is a function of this signature, as cuda.h declares it.
                    let $name = unsafe { library.get(concat!($symbol, "\0").as_bytes()) };
                    let $name = *$name.map_err(|_| $symbol)?;
                )*
                Ok($table { $($name),* })
            }

            $(
                /// # Safety
                /// What cuda.h asks for.
                // Loading, and finding words for a failure, go without the words.
                #[allow(dead_code)]
                pub(crate) unsafe fn $name(&self, $($argument: $type),*) -> Result<()> {
                    // SAFETY: the caller's.
                    let status = unsafe { (self.$name)($($argument),*) };
                    check(stringify!($call), status)
                }
            )*
        }
    };
}
table! {
    /// What a copier needs. All of it is in drivers for CUDA 11.0 and newer.
    Driver {
        init: cuInit = "cuInit" (flags: c_uint);
        get_error_name: cuGetErrorName = "cuGetErrorName" (status: Status, name: *mut *const c_char);
        get_error_string: cuGetErrorString = "cuGetErrorString" (status: Status, words: *mut *const c_char);
        device_get_count: cuDeviceGetCount = "cuDeviceGetCount" (count: *mut c_int);
        device_get: cuDeviceGet = "cuDeviceGet" (device: *mut DeviceHandle, ordinal: c_int);
        device_get_attribute: cuDeviceGetAttribute = "cuDeviceGetAttribute"
            (value: *mut c_int, attribute: c_int, device: DeviceHandle);
        primary_context_retain: cuDevicePrimaryCtxRetain = "cuDevicePrimaryCtxRetain"
            (context: *mut Handle, device: DeviceHandle);
        primary_context_release: cuDevicePrimaryCtxRelease = "cuDevicePrimaryCtxRelease_v2" (device: DeviceHandle);
        context_push: cuCtxPushCurrent = "cuCtxPushCurrent_v2" (context: Handle);
        context_pop: cuCtxPopCurrent = "cuCtxPopCurrent_v2" (context: *mut Handle);
        stream_create: cuStreamCreate = "cuStreamCreate" (stream: *mut Handle, flags: c_uint);
        stream_destroy: cuStreamDestroy = "cuStreamDestroy_v2" (stream: Handle);
        stream_synchronize: cuStreamSynchronize = "cuStreamSynchronize" (stream: Handle);
        stream_is_capturing: cuStreamIsCapturing = "cuStreamIsCapturing" (stream: Handle, status: *mut c_int);
        stream_add_callback: cuStreamAddCallback = "cuStreamAddCallback"
            (stream: Handle, callback: StreamCallback, data: *mut c_void, flags: c_uint);
        memory_alloc: cuMemAlloc = "cuMemAlloc_v2" (memory: *mut DevicePointer, size: usize);
        memory_free: cuMemFree = "cuMemFree_v2" (memory: DevicePointer);
        memory_copy: cuMemcpyAsync = "cuMemcpyAsync"
            (to: DevicePointer, from: DevicePointer, len: usize, stream: Handle);
        host_register: cuMemHostRegister = "cuMemHostRegister_v2" (memory: *mut c_void, len: usize, flags: c_uint);
        host_unregister: cuMemHostUnregister = "cuMemHostUnregister" (memory: *mut c_void);
        pointer_get_attributes: cuPointerGetAttributes = "cuPointerGetAttributes"
            (count: c_uint, attributes: *const c_int, values: *const *mut c_void, pointer: DevicePointer);
    }
}

table! {
    /// Memory that other processes map. All of it is in drivers for CUDA 11.4 and newer.
    VirtualMemory {
        device_get_uuid: cuDeviceGetUuid = "cuDeviceGetUuid_v2" (uuid: *mut [u8; 16], device: DeviceHandle);
        device_can_access_peer: cuDeviceCanAccessPeer = "cuDeviceCanAccessPeer"
            (can: *mut c_int, device: DeviceHandle, peer: DeviceHandle);
        granularity: cuMemGetAllocationGranularity = "cuMemGetAllocationGranularity"
            (granularity: *mut usize, properties: *const AllocationProperties, which: c_int);
        create: cuMemCreate = "cuMemCreate"
            (memory: *mut MemoryHandle, size: usize, properties: *const AllocationProperties, flags: u64);
        release: cuMemRelease = "cuMemRelease" (memory: MemoryHandle);
        reserve: cuMemAddressReserve = "cuMemAddressReserve"
            (start: *mut DevicePointer, size: usize, alignment: usize, wanted: DevicePointer, flags: u64);
        free: cuMemAddressFree = "cuMemAddressFree" (start: DevicePointer, size: usize);
        map: cuMemMap = "cuMemMap"
            (start: DevicePointer, size: usize, offset: usize, memory: MemoryHandle, flags: u64);
        unmap: cuMemUnmap = "cuMemUnmap" (start: DevicePointer, size: usize);
        set_access: cuMemSetAccess = "cuMemSetAccess"
            (start: DevicePointer, size: usize, access: *const AccessDescription, count: usize);
        export: cuMemExportToShareableHandle = "cuMemExportToShareableHandle"
            (to: *mut c_void, memory: MemoryHandle, kind: c_int, flags: u64);
        import: cuMemImportFromShareableHandle = "cuMemImportFromShareableHandle"
            (memory: *mut MemoryHandle, from: *mut c_void, kind: c_int);
        host_get_device_pointer: cuMemHostGetDevicePointer = "cuMemHostGetDevicePointer_v2"
            (device: *mut DevicePointer, host: *mut c_void, flags: c_uint);
    }
}

static VIRTUAL_MEMORY: OnceLock<VirtualMemory> = OnceLock::new();

/// What the driver, which works, has for memory that other processes map.
pub(crate) fn virtual_memory() -> Result<&'static VirtualMemory> {
    if let Some(functions) = VIRTUAL_MEMORY.get() {
        return Ok(functions);
    }
    let library = open()?;
    let loaded = VirtualMemory::load(&library).map_err(|symbol| {
        no_device(format!("the driver has no {symbol}, which device topics need; install one of NVIDIA's for CUDA 11.4 or newer"))
    })?;
    Ok(VIRTUAL_MEMORY.get_or_init(|| loaded))
}

/// Where the driver is found, in this order.
const LIBRARIES: [&str; 2] = ["libcuda.so.1", "libcuda.so"];

/// With the process that opened it.
static DRIVER: OnceLock<(Driver, Token)> = OnceLock::new();

/// What to do in the child of a fork, whose parent used the driver.
const IN_A_CHILD: &str =
    "CUDA doesn't work in the child of a fork of a process that used it; use it in the parent only, or start (exec) a program for it";

/// The driver of this process, initialised. What failed once is tried again: a driver may be installed meanwhile.
pub(crate) fn driver() -> Result<&'static Driver> {
    let token = Token::current()?;
    let (driver, opener) = match DRIVER.get() {
        Some(loaded) => loaded,
        // Two threads may do this at once, and so a fork in the midst of it leaves no lock behind.
        None => load().map(|loaded| DRIVER.get_or_init(|| (loaded, token)))?,
    };
    if *opener == token {
        Ok(driver)
    } else {
        Err(no_device(IN_A_CHILD))
    }
}

/// There is nothing here to work with.
pub(super) fn no_device(reason: impl Into<String>) -> Error {
    Error::NoDevice { kind: "CUDA", reason: reason.into() }
}

fn load() -> Result<Driver> {
    let library = open()?;
    let driver = Driver::load(&library).map_err(|symbol| {
        no_device(format!("the driver has no {symbol}; install one of NVIDIA's for CUDA 11 or newer"))
    })?;
    // SAFETY: as cuda.h asks; the flags must be 0.
    let status = unsafe { (driver.init)(0) };
    if status == status::SUCCESS {
        return Ok(driver);
    }
    let advice = match status {
        status::NO_DEVICE => "no GPU is to be seen; look at nvidia-smi and CUDA_VISIBLE_DEVICES, and in a container, whether it was given one (docker: --gpus all)",
        status::STUB_LIBRARY => "this is the stub that programs are linked with; take its directory out of LD_LIBRARY_PATH",
        status::NOT_INITIALIZED => IN_A_CHILD,
        _ => "nvidia-smi says more about the state of the driver",
    };
    Err(no_device(format!("cuInit failed with {}; {advice}", driver.words(status))))
}

/// Opens the driver for good: threads of its own may run in it.
fn open() -> Result<std::mem::ManuallyDrop<Library>> {
    let mut reasons = Vec::new();
    for name in LIBRARIES {
        // SAFETY: the driver's initialisers ask nothing of who loads it, as every program that is linked with it shows.
        match unsafe { Library::new(name) } {
            Ok(library) => return Ok(std::mem::ManuallyDrop::new(library)),
            Err(error) => reasons.push(error.to_string()),
        }
    }
    let reasons = reasons.join("; ");
    Err(no_device(format!("NVIDIA's driver can't be loaded ({reasons}); install it, or in a container, have it given the GPUs (docker: --gpus all)")))
}

/// What `call` returned, as a result.
pub(crate) fn check(call: &'static str, status: Status) -> Result<()> {
    match status {
        status::SUCCESS => Ok(()),
        _ => Err(failed(call, status)),
    }
}

#[cold]
fn failed(call: &'static str, status: Status) -> Error {
    let words = DRIVER.get().map_or_else(|| format!("CUresult {status}"), |(driver, _)| driver.words(status));
    Error::copier(call, i32::try_from(status).unwrap_or(i32::MAX), words)
}

impl Driver {
    /// The name of a status, and what it means.
    fn words(&self, status: Status) -> String {
        let (mut name, mut words) = (std::ptr::null(), std::ptr::null());
        // SAFETY: places for two pointers, which stay null if it doesn't know the status.
        unsafe {
            (self.get_error_name)(status, &mut name);
            (self.get_error_string)(status, &mut words);
        }
        match (text(name), text(words)) {
            (Some(name), Some(words)) => format!("{name} ({words})"),
            _ => format!("CUresult {status}, which the driver has no words for"),
        }
    }
}

/// A string of the driver's.
fn text(start: *const c_char) -> Option<String> {
    // SAFETY: null, or one of the driver's constants.
    (!start.is_null()).then(|| unsafe { CStr::from_ptr(start) }.to_string_lossy().into_owned())
}
