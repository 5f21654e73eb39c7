// SPDX-License-Identifier: MIT OR Apache-2.0
//! The receiving side: device pointers to others' messages.

use std::cell::{Cell, RefCell};
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::virtual_memory::Block;
use super::descriptor::{self, Payload};
use super::mapped::{Found, Mapped};
use super::{Gpu, Placement};
use crate::copier::{Done, Stream, UserMemory};
use crate::dlpack::{DLDataType, DLManagedTensor, DLManagedTensorVersioned, View};
use crate::error::Result;
use crate::options::{SubscriberOptions, TopicInfo};
use crate::sample::Sample;
use crate::subscriber::Subscriber;

/// How long it sleeps between two looks for publishers that are gone, whose memory it has mapped.
const TURN: Duration = Duration::from_secs(1);

/// The same for who only ever asks: how often there is nothing between two looks, which are system calls.
const IDLE_ROUNDS: u32 = 1024;

/// Receives the messages of a [`DevicePublisher`](super::DevicePublisher)'s topic, as pointers for the device's work.
///
/// It may move between threads but not be used by two at once. Samples may go to any thread.
pub struct DeviceSubscriber {
    subscriber: Subscriber,
    mapped: RefCell<Mapped>,
    /// Messages that were there, and whose payload couldn't be reached.
    lost: Cell<u64>,
    /// How often there was nothing to receive.
    idle: Cell<u32>,
    gpu: Arc<Gpu>,
}

/// Where a sample's payload is, and what keeps it there.
enum Home {
    Block(#[allow(dead_code, reason = "it keeps the block mapped")] Arc<Block>),
    /// The sample's own memory, as the device sees it.
    Host,
    /// A copy, where the device isn't told of memory that it may only read.
    Copy(#[allow(dead_code, reason = "it keeps the copy")] UserMemory),
}

impl DeviceSubscriber {
    /// Joins `topic`, making it when it isn't there, for the GPU that CUDA counts as `device`, from 0.
    ///
    /// # Errors
    /// Those of [`Subscriber::with_options`]; [`Error::NoDevice`](crate::Error::NoDevice); [`Error::Copier`](crate::Error::Copier).
    pub fn new(topic: &str, options: &SubscriberOptions, device: u32) -> Result<DeviceSubscriber> {
        let gpu = Arc::new(Gpu::open(device)?);
        let mapped = RefCell::new(Mapped::new(gpu.cuda.device.clone(), options.group));
        let subscriber = Subscriber::with_options(topic, options)?;
        Ok(DeviceSubscriber { subscriber, mapped, lost: Cell::new(0), idle: Cell::new(0), gpu })
    }

    /// The next message if there is one. Doesn't block, but for the first message of each block of a publisher, which is asked for it:
    /// that takes as long as the publisher's process needs to be scheduled, and a second if it is stopped.
    ///
    /// A message of a publisher that is gone, and whose block wasn't mapped before, is passed over and counted as [`lost`](Self::lost).
    ///
    /// # Errors
    /// Those of [`Subscriber::try_receive`]. And these, after which the message is lost: [`Error::Copier`](crate::Error::Copier) when its memory can't be mapped
    /// here, with what to do; [`Error::Os`](crate::Error::Os) with `TimedOut` when its publisher doesn't answer; [`Error::Decode`](crate::Error::Decode) when it
    /// isn't a device message.
    pub fn try_receive(&self) -> Result<Option<DeviceSample<'_>>> {
        self.gpu.cuda.device.token().check()?;
        while let Some(sample) = self.subscriber.try_receive()? {
            if let Some(sample) = self.open(sample)? {
                return Ok(Some(sample));
            }
        }
        self.idle.set(self.idle.get().wrapping_add(1));
        if self.idle.get().is_multiple_of(IDLE_ROUNDS) {
            self.mapped.borrow_mut().sweep_idle();
        }
        Ok(None)
    }

    /// The next message; waits for it.
    ///
    /// # Errors
    /// Those of [`try_receive`](Self::try_receive).
    pub fn receive(&self) -> Result<DeviceSample<'_>> {
        loop {
            if let Some(sample) = self.receive_until(None)? {
                return Ok(sample);
            }
        }
    }

    /// The next message; waits for it, but not longer than `timeout`. `None`: nothing came.
    ///
    /// # Errors
    /// Those of [`try_receive`](Self::try_receive).
    pub fn receive_timeout(&self, timeout: Duration) -> Result<Option<DeviceSample<'_>>> {
        self.receive_until(Instant::now().checked_add(timeout))
    }

    fn receive_until(&self, deadline: Option<Instant>) -> Result<Option<DeviceSample<'_>>> {
        if let Some(sample) = self.try_receive()? {
            return Ok(Some(sample));
        }
        loop {
            self.mapped.borrow_mut().sweep_idle();
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let turn = left.map_or(TURN, |left| left.min(TURN));
            let opened = self.subscriber.receive_timeout(turn)?.map(|sample| self.open(sample));
            match opened.transpose()?.flatten() {
                None if left == Some(Duration::ZERO) => return Ok(None),
                None => {}
                found => return Ok(found),
            }
        }
    }

    /// Finds the payload; `None` when it is lost.
    fn open<'a>(&'a self, sample: Sample<'a>) -> Result<Option<DeviceSample<'a>>> {
        let found = self.find(&sample);
        if !matches!(found, Ok(Some(_))) {
            self.lost.set(self.lost.get() + 1);
        }
        Ok(found?.map(|(start, len, home)| DeviceSample { home, sample, start, len, gpu: self.gpu.clone() }))
    }

    fn find(&self, sample: &Sample<'_>) -> Result<Option<(*const u8, usize, Home)>> {
        let mut mapped = self.mapped.borrow_mut();
        mapped.come_to(sample.position());
        let (place, len) = match descriptor::read(sample)? {
            Payload::Device { place, len } => (place, len),
            Payload::Host { len } => return self.find_in_host(sample, len).map(Some),
        };
        let capacity = self.info().capacity;
        match mapped.find(&place, capacity)? {
            Found::Lost => Ok(None),
            Found::At(block) => Ok(Some((block.start() as *const u8, len, Home::Block(block)))),
        }
    }

    fn find_in_host(&self, message: &[u8], len: usize) -> Result<(*const u8, usize, Home)> {
        if let Some(whole) = self.gpu.reach(message.as_ptr())? {
            return Ok((whole.wrapping_add(descriptor::SIZE), len, Home::Host));
        }
        let copy = self.gpu.shared.copy_out(&message[descriptor::SIZE..])?;
        Ok((copy.as_ptr(), len, Home::Copy(copy)))
    }

    /// How many messages this subscriber missed, as [`Subscriber::lost`], and those whose payload couldn't be reached.
    pub fn lost(&self) -> u64 {
        self.subscriber.lost() + self.lost.get()
    }

    /// The topic's sizes.
    pub fn info(&self) -> TopicInfo {
        self.subscriber.info()
    }
}

impl std::fmt::Debug for DeviceSubscriber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeviceSubscriber").field("info", &self.info()).finish_non_exhaustive()
    }
}

/// A message in memory that the device reads. Nobody writes to it while this lives; dropping it releases it, and the device's work on it
/// must have ended then: otherwise [`release_on_stream`](Self::release_on_stream).
pub struct DeviceSample<'a> {
    // Before the sample: a hold is given back when its memory isn't needed any more.
    home: Home,
    sample: Sample<'a>,
    start: *const u8,
    len: usize,
    gpu: Arc<Gpu>,
}

// SAFETY: an address for devices, and a sample, which any thread may have.
unsafe impl Send for DeviceSample<'_> {}
// SAFETY: as above: a shared reference gives nothing but the address.
unsafe impl Sync for DeviceSample<'_> {}

impl DeviceSample<'_> {
    /// As [`Sample::keep`].
    pub fn keep(self) -> DeviceSample<'static> {
        let DeviceSample { home, sample, start, len, gpu } = self;
        DeviceSample { home, sample: sample.keep(), start, len, gpu }
    }

    /// Releases the sample when `stream` comes to it, so when all that is on `stream` by now has been done. Doesn't wait.
    ///
    /// # Errors
    /// [`Error::Copier`](crate::Error::Copier), for instance when the stream is being captured into a graph; [`Error::Forked`](crate::Error::Forked). It is
    /// released at once then.
    ///
    /// # Safety
    /// `stream` is a stream of the device's primary context, and lives until then.
    pub unsafe fn release_on_stream(self, stream: Stream) -> Result<()> {
        let gpu = self.gpu.clone();
        // SAFETY: the caller's.
        unsafe { gpu.cuda.check_stream(stream)? };
        let kept = self.keep();
        // SAFETY: the caller's.
        unsafe { gpu.cuda.when_done(stream, Done::new(move |_| drop(kept))) };
        Ok(())
    }

    /// Hands the message over as a tensor of the device, in place, without a copy, as [`Sample::into_dlpack`] does. All work that wrote it has
    /// ended, so it can be read on any stream. Its deleter releases it at once: the work that reads it must have ended by then.
    ///
    /// # Errors
    /// Those of [`Sample::into_dlpack`]. The sample is released then.
    pub fn into_dlpack(self, shape: &[i64], dtype: DLDataType) -> Result<NonNull<DLManagedTensor>> {
        Ok(self.view(shape, dtype)?.managed(self.keep()))
    }

    /// As [`into_dlpack`](Self::into_dlpack), in the form since DLPack 1.0, marked as read-only.
    ///
    /// # Errors
    /// Those of [`Sample::into_dlpack`]. The sample is released then.
    pub fn into_dlpack_versioned(
        self,
        shape: &[i64],
        dtype: DLDataType,
    ) -> Result<NonNull<DLManagedTensorVersioned>> {
        let view = self.view(shape, dtype)?;
        Ok(view.versioned(DLManagedTensorVersioned::READ_ONLY, self.keep()))
    }

    pub(crate) fn view(&self, shape: &[i64], dtype: DLDataType) -> Result<View> {
        View::of_cuda(self.gpu.cuda.device.ordinal(), (self.start, self.len), shape, dtype)
    }

    /// Where the device reads it: as `CUdeviceptr`. Aligned to 64.
    pub fn as_ptr(&self) -> *const u8 {
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
        match self.home {
            Home::Block(_) => Placement::Device,
            Home::Host | Home::Copy(_) => Placement::Host,
        }
    }

    /// As [`Sample::position`].
    pub fn position(&self) -> u64 {
        self.sample.position()
    }

    /// As [`Sample::timestamp`].
    pub fn timestamp(&self) -> Option<u64> {
        self.sample.timestamp()
    }
}

impl std::fmt::Debug for DeviceSample<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("DeviceSample");
        shown.field("position", &self.position()).field("len", &self.len);
        shown.field("placement", &self.placement()).finish()
    }
}
