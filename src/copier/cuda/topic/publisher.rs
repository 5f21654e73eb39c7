// SPDX-License-Identifier: MIT OR Apache-2.0
//! The publishing side: loans of device memory.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::super::virtual_memory::{is_supported, unreachable, uuid, Block, Uuid};
use super::descriptor::{self, Payload, Place};
use super::door::{Blocks, Door};
use super::{DeviceOptions, Gpu, Placement, MOST_BLOCKS};
use crate::copier::stream::Pending;
use crate::copier::{pins, Done, Stream};
use crate::error::{Error, Result};
use crate::options::{PublisherOptions, TopicInfo};
use crate::os::{random_u64, socket};
use crate::pool::budget_for;
use crate::publisher::{Publisher, Resting};

/// Publishes messages whose payload is in the memory of a GPU, and stays there.
///
/// Any threads use it at once. Dropping it waits until all that was begun on streams has ended. What it published goes with it, but for what subscribers
/// have mapped.
pub struct DevicePublisher {
    topic: String,
    options: PublisherOptions,
    largest: usize,
    count: u32,
    placement: Placement,
    info: TopicInfo,
    /// Of `device`, or of all if that isn't there.
    pending: Arc<Pending>,
    /// `None`: all payloads are in host memory.
    device: Option<OnDevice>,
    /// Beside `device`: where payloads are when a subscriber couldn't map those.
    host: OnceLock<Arc<Pending>>,
    // Last: the publishers unmap what it pinned.
    gpu: Gpu,
}

struct OnDevice {
    blocks: Arc<Blocks>,
    /// What the places of all blocks have in common.
    uuid: Uuid,
    number: u64,
    network: u64,
    _door: Door,
}

impl DevicePublisher {
    /// Joins `topic`, making it when it isn't there, to publish from the memory of the device that `device` names. `options.memory` must be 0: what the
    /// payloads take is up to `device`.
    ///
    /// # Errors
    /// Those of [`Publisher::with_options`]; [`Error::NoDevice`]; [`Error::Copier`], for instance with [`Placement::Device`] where other
    /// processes can't map this device's memory.
    pub fn new(topic: &str, options: &PublisherOptions, device: &DeviceOptions) -> Result<DevicePublisher> {
        let count = if device.blocks == 0 { super::DEFAULT_BLOCKS } else { device.blocks };
        if count > MOST_BLOCKS {
            return Err(Error::InvalidOption {
                option: "blocks",
                found: count.into(),
                allowed: "at most 64",
            });
        }
        if options.memory != 0 {
            let allowed = "0 with a device: its blocks say how much memory there is";
            return Err(Error::InvalidOption { option: "memory", found: options.memory, allowed });
        }
        if device.largest == 0 {
            return Err(Error::InvalidOption { option: "largest", found: 0, allowed: "at least 1" });
        }
        let gpu = Gpu::open(device.device)?;
        let on_device = match is_for_device(&gpu, device.placement)? {
            true => Some(OnDevice::open(&gpu, options.group)?),
            false => None,
        };
        let len = if on_device.is_some() { descriptor::SIZE } else { host_size(device.largest) };
        let (info, pending) = join(topic, options, len, count)?;
        Ok(DevicePublisher {
            topic: topic.to_owned(),
            options: options.clone(),
            largest: device.largest,
            count,
            placement: device.placement,
            info,
            pending,
            device: on_device,
            host: OnceLock::new(),
            gpu,
        })
    }

    fn host(&self) -> Result<&Arc<Pending>> {
        if self.device.is_none() {
            return Ok(&self.pending);
        }
        if let Some(host) = self.host.get() {
            return Ok(host);
        }
        // Another participant, whose chunks are larger. Two threads may do this at once; one of them joins in vain.
        let (_, made) = join(&self.topic, &self.options, host_size(self.largest), self.count)?;
        Ok(self.host.get_or_init(|| made))
    }

    /// Where the next loan's payload is.
    pub fn placement(&self) -> Placement {
        match &self.device {
            // Relaxed: a hint, which comes true at some loan.
            Some(device)
                if self.placement == Placement::Device || !device.blocks.in_vain.load(Ordering::Relaxed) =>
            {
                Placement::Device
            }
            _ => Placement::Host,
        }
    }

    /// Lends memory for a message of `len` bytes that the device reads and writes: a block of the device's, or memory of the host that the
    /// device reaches. The content is unspecified. Nobody reads it: neither another process, nor, if they release their samples on their streams, another process's work
    /// on a device.
    ///
    /// # Errors
    /// [`Error::TooLarge`] beyond the option `largest`; [`Error::NoBlock`] when all blocks are loaned, held by subscribers, or have yet to be read by a
    /// reliable one; [`Error::Copier`] when the device has no memory for a block; those of [`Publisher::loan`].
    pub fn loan(&self, len: usize) -> Result<DeviceLoan<'_>> {
        self.gpu.cuda.device.token().check()?;
        if len > self.largest {
            return Err(Error::TooLarge { wanted: len as u64, limit: self.largest as u64 });
        }
        let lent = match &self.device {
            Some(device) if self.placement() == Placement::Device => self.loan_of_device(device, len),
            _ => self.loan_of_host(len),
        };
        // The budget is of our making, and `memory` no option here.
        lent.map_err(|error| match error {
            Error::OutOfMemory { .. } => Error::NoBlock { blocks: self.count },
            other => other,
        })
    }

    fn loan_of_device<'a>(&'a self, device: &'a OnDevice, len: usize) -> Result<DeviceLoan<'a>> {
        let resting = self.pending.loan(descriptor::SIZE)?;
        let (chunk, start) = (resting.chunk(), resting.as_ptr());
        let mut loan = DeviceLoan {
            publisher: self,
            pending: &self.pending,
            resting: Some(resting),
            start: std::ptr::null_mut(),
            len,
            placement: Placement::Device,
        };
        // An error discards the loan.
        let (place, start) = device.blocks.of(chunk, || {
            pins::mark(self.gpu.cuda.device.token(), start);
            device.make(&self.gpu, self.largest)
        })?;
        loan.start = start as *mut u8;
        loan.describe(&Payload::Device { place, len });
        Ok(loan)
    }

    fn loan_of_host(&self, len: usize) -> Result<DeviceLoan<'_>> {
        let pending = self.host()?;
        let resting = pending.loan(descriptor::SIZE + len)?;
        let whole = resting.as_ptr();
        let (start, placement) = (std::ptr::null_mut(), Placement::Host);
        let mut loan = DeviceLoan { publisher: self, pending, resting: Some(resting), start, len, placement };
        let Some(whole) = self.gpu.reach(whole)? else {
            let what = "the device can't be told of this process's shared memory (cuMemHostRegister failed)";
            return Err(Error::copier("pinning", 0, what));
        };
        loan.start = whole.wrapping_add(descriptor::SIZE);
        loan.describe(&Payload::Host { len });
        Ok(loan)
    }

    /// Waits until everything that was begun on streams before has ended, but not longer than `timeout`: false. Fails with what the
    /// first of those failed with that weren't reported yet; what failed isn't published.
    ///
    /// # Errors
    /// [`Error::Copier`]; those of [`Loan::publish`](crate::Loan::publish).
    pub fn wait(&self, timeout: Duration) -> Result<bool> {
        self.gpu.cuda.device.token().check()?;
        let deadline = Instant::now().checked_add(timeout);
        for pending in self.pending() {
            let left = deadline.map_or(timeout, |end| end.saturating_duration_since(Instant::now()));
            if !pending.wait(left)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn pending(&self) -> impl Iterator<Item = &Arc<Pending>> {
        std::iter::once(&self.pending).chain(self.host.get())
    }

    /// The topic's sizes.
    pub fn info(&self) -> TopicInfo {
        self.info
    }
}

fn is_for_device(gpu: &Gpu, placement: Placement) -> Result<bool> {
    match placement {
        Placement::Host => Ok(false),
        Placement::Auto => is_supported(&gpu.cuda.device),
        Placement::Device if is_supported(&gpu.cuda.device)? => Ok(true),
        Placement::Device => Err(unreachable("other processes can't map this device's memory")),
    }
}

/// Bytes of a message whose payload is in host memory.
fn host_size(len: usize) -> usize {
    descriptor::SIZE.saturating_add(len)
}

/// Joins to publish `count` messages of up to `len` bytes.
fn join(
    topic: &str,
    options: &PublisherOptions,
    len: usize,
    count: u32,
) -> Result<(TopicInfo, Arc<Pending>)> {
    let options = PublisherOptions { memory: budget_for(len, count)?, ..options.clone() };
    let publisher = Publisher::with_options(topic, &options)?;
    Ok((publisher.info(), Arc::new(Pending::new(publisher))))
}

impl OnDevice {
    fn open(gpu: &Gpu, group: Option<u32>) -> Result<OnDevice> {
        let uuid = uuid(&gpu.cuda.device)?;
        let (number, network) = (random_u64()?, socket::network_namespace());
        let blocks = Arc::new(Blocks::new());
        let door = Door::open(number, group, blocks.clone())?;
        Ok(OnDevice { blocks, uuid, number, network, _door: door })
    }

    fn make(&self, gpu: &Gpu, size: usize) -> Result<(Place, Block)> {
        let block = Block::new(&gpu.cuda.device, size)?;
        let place = Place {
            id: [random_u64()?, random_u64()?],
            size: block.size() as u64,
            device: self.uuid,
            door: self.number,
            network: self.network,
        };
        Ok((place, block))
    }
}

impl Drop for DevicePublisher {
    fn drop(&mut self) {
        if !self.gpu.cuda.device.is_ours() {
            return;
        }
        self.pending().for_each(|pending| pending.close());
    }
}

impl std::fmt::Debug for DevicePublisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DevicePublisher").field("topic", &self.topic).finish_non_exhaustive()
    }
}

/// A message being written in memory that a device reads and writes, and nobody else. Dropping it discards the message; work on it must have
/// ended then.
pub struct DeviceLoan<'a> {
    publisher: &'a DevicePublisher,
    pending: &'a Arc<Pending>,
    /// There until it is published.
    resting: Option<Resting>,
    start: *mut u8,
    len: usize,
    placement: Placement,
}

// SAFETY: an address for devices, and what a publisher that any thread uses has to do with it.
unsafe impl Send for DeviceLoan<'_> {}
// SAFETY: as above: a shared reference gives nothing but the address.
unsafe impl Sync for DeviceLoan<'_> {}

impl DeviceLoan<'_> {
    fn describe(&mut self, payload: &Payload) {
        let Some(resting) = &self.resting else { return };
        // SAFETY: the loan has at least as many bytes, which are its own.
        let start = unsafe { std::slice::from_raw_parts_mut(resting.as_ptr(), descriptor::SIZE) };
        descriptor::write(start, payload);
    }

    /// Where the device reads and writes it: as `CUdeviceptr`. Aligned to 64.
    pub fn as_ptr(&self) -> *mut u8 {
        self.start
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where it is: [`Placement::Device`] or [`Placement::Host`].
    pub fn placement(&self) -> Placement {
        self.placement
    }

    /// Publishes the message and returns its position. All work on it has ended; who hasn't waited for that uses
    /// [`publish_on_stream`](Self::publish_on_stream). Waits for reliable subscribers as [`Loan::publish`](crate::Loan::publish) does.
    ///
    /// # Errors
    /// Those of [`Loan::publish`](crate::Loan::publish). The message is discarded then.
    pub fn publish(mut self) -> Result<u64> {
        self.publisher.gpu.cuda.device.token().check()?;
        match self.resting.take() {
            Some(resting) => self.pending.publish(resting),
            None => Err(Error::Closed),
        }
    }

    /// Has the message published when `stream` comes to it, so when all that is on `stream` by now has been done. Doesn't wait; while a reliable subscriber
    /// has yet to read what would be overwritten, this publisher's messages wait, and streams go on. How it ended, says
    /// [`DevicePublisher::wait`].
    ///
    /// # Errors
    /// [`Error::Copier`], for instance when the stream is being captured into a graph; [`Error::Forked`]. The message is discarded then.
    ///
    /// # Safety
    /// `stream` is a stream of the device's primary context, and lives until the message is published. Work on the message that isn't on `stream` has ended.
    pub unsafe fn publish_on_stream(mut self, stream: Stream) -> Result<()> {
        let gpu = &self.publisher.gpu;
        // SAFETY: the caller's.
        unsafe { gpu.cuda.check_stream(stream)? };
        let Some(resting) = self.resting.take() else { return Err(Error::Closed) };
        let pending = self.pending.clone();
        let number = pending.begin();
        // The publisher, which has the copier, waits for it.
        let done = Done::new(move |ended| pending.end(number, resting, ended));
        // SAFETY: the caller's.
        unsafe { gpu.cuda.when_done(stream, done) };
        Ok(())
    }
}

impl Drop for DeviceLoan<'_> {
    fn drop(&mut self) {
        if let Some(resting) = self.resting.take().filter(|_| self.publisher.gpu.cuda.device.is_ours()) {
            self.pending.discard(resting);
        }
    }
}

impl std::fmt::Debug for DeviceLoan<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeviceLoan").field("len", &self.len).field("placement", &self.placement).finish()
    }
}
