// SPDX-License-Identifier: MIT OR Apache-2.0
//! Device topics: the payloads stay in a GPU's memory, and what goes through the topic says where they are.
//!
//! **Blocks.** A publisher has some blocks of device memory (`virtual_memory.rs`), each bound to one chunk of its pool, in which the block's descriptor
//! travels (`descriptor.rs`). The pool's budget is as many chunks. So the life of a chunk, from the loan through the ring, the holds and the recovery of the
//! dead to the next loan, is that of its block: who has a chunk loaned has a block that nobody reads. A block is made when its chunk is first loaned.
//!
//! **Mapping.** A subscriber that sees a descriptor for the first time asks its publisher for the block (`door.rs`): a thread of the publisher's sends
//! a descriptor over a Unix socket, which the subscriber's driver imports and maps. From then on a message of that block costs a look into
//! a private table. A mapped block stays as it is when its publisher dies, as the driver counts its users; who is killed leaves nothing.
//!
//! **Order.** A message is published when its publisher's stream has come to it, and a hold released when the subscriber's stream has passed it, both by the
//! callbacks of `completion.rs`. So what crosses the processes is the topic's own protocol. Events that processes share aren't needed: what waiting for one does whose
//! process died isn't defined. Nor are the older handles of `cuIpcGetMemHandle`, for the same reason: their memory goes with the process that made it.
//!
//! **Death and stopping.** A publisher that dies while its device writes leaves a chunk that was never published. What is in the ring of its messages
//! can be read by those who have mapped the blocks; for others it is lost. A publisher that is stopped is waited for once, up to a second; what can't be mapped
//! by then is lost, with an error each. The blocks of a publisher that is gone are unmapped when nothing of it can come any more and no sample is held.
//!
//! **Where peers can't map.** With [`Placement::Host`] the payload follows its descriptor in the topic's own memory, which both sides pin, and the
//! device reads and writes it there. With [`Placement::Auto`] that happens where the device's memory can't be exported, and from when on a
//! subscriber that reaches the publisher's socket said that it couldn't map a block.

mod descriptor;
mod door;
mod mapped;
mod publisher;
mod subscriber;

use std::sync::Arc;

use super::CudaCopier;
use crate::copier::{pins, SharedCopier};
use crate::error::Result;

pub use publisher::{DeviceLoan, DevicePublisher};
pub use subscriber::{DeviceSample, DeviceSubscriber};

/// Blocks that a publisher has when nothing else is said.
const DEFAULT_BLOCKS: u32 = 8;
/// As many chunks as fit into one segment, whatever else its size depends on.
const MOST_BLOCKS: u32 = 64;

/// Where payloads are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Placement {
    /// As `Device` where other processes can map this device's memory and no subscriber said that it couldn't, else as `Host`.
    #[default]
    Auto,
    /// In the device's memory.
    Device,
    /// In the topic's shared memory, which the device reads and writes over the bus.
    Host,
}

/// What a [`DevicePublisher`] publishes from.
#[derive(Clone, Debug, Default)]
pub struct DeviceOptions {
    /// The GPU, as CUDA counts them, from 0.
    pub device: u32,
    /// Bytes of the largest message, at least 1. A block of device memory takes as many, rounded up to what the device maps at a time: 2 MiB.
    pub largest: usize,
    /// How many messages there is memory for, loaned, in the topic, and held: up to 64. Default 8. When all are taken the oldest message in the topic makes room.
    pub blocks: u32,
    /// Where payloads are.
    pub placement: Placement,
}

/// A GPU as both sides use it.
struct Gpu {
    cuda: Arc<CudaCopier>,
    /// The same, which is told of mappings.
    shared: SharedCopier,
}

impl Gpu {
    fn open(ordinal: u32) -> Result<Gpu> {
        let cuda = Arc::new(CudaCopier::new(ordinal)?);
        let shared = SharedCopier::of_arc(cuda.device.token(), cuda.clone());
        Ok(Gpu { cuda, shared })
    }

    /// Where the device sees `host`, which is in shared memory; `None`: it doesn't. Calls the driver for a new mapping only, where host and device
    /// agree on addresses.
    fn reach(&self, host: *const u8) -> Result<Option<*mut u8>> {
        if !pins::pin(&self.shared.0, host) {
            return Ok(None);
        }
        if self.cuda.shares_addresses {
            return Ok(Some(host.cast_mut()));
        }
        let _current = self.cuda.device.enter()?;
        let mut start = 0;
        // SAFETY: a place for an address, and memory that is registered.
        unsafe {
            super::driver::virtual_memory()?.host_get_device_pointer(&mut start, host.cast_mut().cast(), 0)?
        };
        Ok(Some(start as *mut u8))
    }
}
