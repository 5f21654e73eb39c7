// SPDX-License-Identifier: MIT OR Apache-2.0
//! Blocks of a device's memory that other processes map.
//!
//! The driver counts who has a block: the handles and the mappings of all processes, and descriptors on their way. So a block that is mapped
//! here stays as it is when the process dies that made it, and goes with the last one that has it.

use std::ffi::{c_int, c_void};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use super::device::Device;
use super::driver::{self, AccessDescription, AllocationProperties, Location, MemoryHandle, VirtualMemory};
use crate::error::{Error, Result};

/// A device's name, the same in all processes whichever devices they see.
pub(super) type Uuid = [u8; 16];

/// Memory of a device, mapped for a device.
pub(super) struct Block {
    /// For whom it is mapped.
    device: Arc<Device>,
    functions: &'static VirtualMemory,
    memory: Option<MemoryHandle>,
    /// 0: no addresses yet.
    start: u64,
    size: usize,
    is_mapped: bool,
}

fn location(device: &Device) -> Location {
    Location { kind: driver::LOCATION_DEVICE, id: device.handle() }
}

fn properties(device: &Device) -> AllocationProperties {
    AllocationProperties {
        kind: driver::ALLOCATION_PINNED,
        handle_types: driver::HANDLE_POSIX_FILE_DESCRIPTOR,
        location: location(device),
        windows: std::ptr::null_mut(),
        compression: 0,
        rdma: 0,
        usage: 0,
        reserved: [0; 4],
    }
}

pub(super) fn uuid(device: &Device) -> Result<Uuid> {
    let mut uuid = [0; 16];
    // SAFETY: a place for a CUuuid, which has as many bytes.
    unsafe { driver::virtual_memory()?.device_get_uuid(&mut uuid, device.handle())? };
    Ok(uuid)
}

/// Whether memory of the device named `owner` can be mapped for `device`; an error says why not.
pub(super) fn check_reach(device: &Device, owner: Uuid) -> Result<()> {
    if uuid(device)? == owner {
        return Ok(());
    }
    let (functions, mut count) = (driver::virtual_memory()?, 0);
    // SAFETY: a place for a number.
    unsafe { device.driver.device_get_count(&mut count)? };
    for ordinal in 0..count {
        let (mut other, mut name, mut can) = (0, [0; 16], 0);
        // SAFETY: places for what they return.
        unsafe {
            device.driver.device_get(&mut other, ordinal)?;
            functions.device_get_uuid(&mut name, other)?;
            if name != owner {
                continue;
            }
            functions.device_can_access_peer(&mut can, device.handle(), other)?;
        }
        let refused = "the GPU that the message is on has no peer access to this subscriber's";
        return if can != 0 { Ok(()) } else { Err(unreachable(refused)) };
    }
    Err(unreachable("the message is on a GPU that this process doesn't see (look at CUDA_VISIBLE_DEVICES)"))
}

/// A message that can't be mapped, and what to do.
pub(super) fn unreachable(why: &str) -> Error {
    Error::copier("mapping", 0, format!("{why}; have its publisher use Placement::Host"))
}

impl Block {
    fn empty(device: &Arc<Device>, size: usize) -> Result<Block> {
        let functions = driver::virtual_memory()?;
        Ok(Block { device: device.clone(), functions, memory: None, start: 0, size, is_mapped: false })
    }

    /// At least `size` new bytes of `device`, for it to read and to write.
    pub(super) fn new(device: &Arc<Device>, size: usize) -> Result<Block> {
        let mut block = Block::empty(device, size)?;
        let _current = device.enter()?;
        let (properties, mut step, mut memory) = (properties(device), 0, 0);
        // SAFETY: the properties are whole, and there are places for what they return.
        unsafe {
            block.functions.granularity(&mut step, &properties, driver::GRANULARITY_MINIMUM)?;
            let Some(size) = size.max(1).checked_next_multiple_of(step.max(1)) else {
                return Err(Error::TooLarge { wanted: size as u64, limit: usize::MAX as u64 });
            };
            block.size = size;
            block.functions.create(&mut memory, block.size, &properties, 0)?;
        }
        block.memory = Some(memory);
        block.map()?;
        block.allow(driver::ACCESS_READ_WRITE)?;
        Ok(block)
    }

    /// What another process exported as `descriptor`, for `device` to read. The driver refuses a size that it doesn't have.
    pub(super) fn import(device: &Arc<Device>, descriptor: &OwnedFd, size: usize) -> Result<Block> {
        let mut block = Block::empty(device, size)?;
        let _current = device.enter()?;
        let mut memory = 0;
        let number = descriptor.as_raw_fd() as usize as *mut c_void;
        // SAFETY: a place for the handle. As cuda.h has it, the pointer is the descriptor's number.
        unsafe { block.functions.import(&mut memory, number, driver::HANDLE_POSIX_FILE_DESCRIPTOR)? };
        block.memory = Some(memory);
        block.map()?;
        // Not every driver can have memory of a device read only.
        block.allow(driver::ACCESS_READ).or_else(|_| block.allow(driver::ACCESS_READ_WRITE))?;
        Ok(block)
    }

    fn map(&mut self) -> Result<()> {
        let Some(memory) = self.memory else { return Ok(()) };
        // SAFETY: a place for an address; then addresses that are this block's alone, and memory that is.
        unsafe {
            self.functions.reserve(&mut self.start, self.size, 0, 0, 0)?;
            self.functions.map(self.start, self.size, 0, memory, 0)?;
        }
        self.is_mapped = true;
        Ok(())
    }

    fn allow(&self, flags: c_int) -> Result<()> {
        let access = AccessDescription { location: location(&self.device), flags };
        // SAFETY: one description, of what is mapped.
        unsafe { self.functions.set_access(self.start, self.size, &access, 1) }
    }

    /// A descriptor that gives another process the memory.
    pub(super) fn export(&self) -> Result<OwnedFd> {
        let Some(memory) = self.memory else { return Err(unreachable("it has no memory")) };
        let _current = self.device.enter()?;
        let mut number: RawFd = -1;
        let place = (&raw mut number).cast::<c_void>();
        // SAFETY: a place for a descriptor's number.
        unsafe { self.functions.export(place, memory, driver::HANDLE_POSIX_FILE_DESCRIPTOR, 0)? };
        if number < 0 {
            return Err(unreachable("the driver exported it as no descriptor"));
        }
        // SAFETY: the driver opened it for this call.
        Ok(unsafe { OwnedFd::from_raw_fd(number) })
    }

    /// Where the device sees it.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // Nothing is left to be done about a failure, nor in the child of a fork. A driver that has ended with the process has let go of it.
        let Ok(_current) = self.device.enter() else { return };
        // SAFETY: each is undone once, and nobody uses the memory any more.
        unsafe {
            if self.is_mapped {
                let _ = self.functions.unmap(self.start, self.size);
            }
            if self.start != 0 {
                let _ = self.functions.free(self.start, self.size);
            }
            if let Some(memory) = self.memory {
                let _ = self.functions.release(memory);
            }
        }
    }
}

/// Whether `device` can have memory that other processes map, tried out.
pub(super) fn is_supported(device: &Arc<Device>) -> Result<bool> {
    if driver::virtual_memory().is_err() {
        return Ok(false);
    }
    let current = device.enter()?;
    if current.attribute(driver::DEVICE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED)? == 0
        || current.attribute(driver::DEVICE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED)? == 0
    {
        return Ok(false);
    }
    // Where the kernel keeps processes apart, in some sandboxes, the driver says so only then.
    Ok(Block::new(device, 1).and_then(|block| block.export()).is_ok())
}
