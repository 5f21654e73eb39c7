// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages that a GPU copies into shared memory and out of it again, against other ways for the same bytes.
//!
//! The floor is a bare cuMemcpy with memory that was pinned beforehand, as many buffers of it as the topic rotates its
//! messages through; then there is one with memory that wasn't. The way in two copies is that of who has no copier:
//! cuMemcpy into memory of one's own (pinned, so that it is as fast as it can be), publish a copy of that, and the same back. One process
//! does everything, a batch of publishes and then a batch of receives, each timed as a whole, all ways in turn.

use std::collections::HashSet;
use std::time::Instant;

use memmap2::MmapMut;
use serde::{Deserialize, Serialize};
use serde_json::json;
use shm::copier::cuda::CudaCopier;
use shm::copier::{SharedCopier, UserMemory};
use shm::{Publisher, PublisherOptions, Subscriber};

use super::driver::Driver;
use super::{DEVICE, NAME};
use crate::floor::map;
use crate::peers::{Shape, Shm};
use crate::process::{Parent, Side};
use crate::report::{Goal, Row};
use crate::room::Room;
use crate::scenarios::{human, Bench};
use crate::stats::{Better, Measured};
use crate::Result;

/// Messages' worth of memory that all ways together take, at most.
const CHUNKS: usize = 24;
const CHUNKS_OF_LARGE: usize = 12;
/// From here on a topic has memory for a few messages only.
const LARGE: usize = 64 << 20;
/// Bytes from which on the copying, and not what is around it, is what takes the time: two copies are held against one.
const WORTH_IT: usize = 1 << 20;
const WAYS: [Way; 4] = [Way::Pinned, Way::Shm, Way::TwoCopies, Way::Pageable];

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Task {
    size: usize,
    depth: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Way {
    Pinned,
    Shm,
    TwoCopies,
    Pageable,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Way::Pinned => "cuMemcpy, pinned",
            Way::Shm => "shm",
            Way::TwoCopies => "two copies",
            Way::Pageable => "cuMemcpy, pageable",
        }
    }
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Order {
    way: Way,
    batches: usize,
}

/// Gigabytes per second, batch by batch.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Rates {
    publish: Vec<f64>,
    receive: Vec<f64>,
}

pub fn run(bench: &Bench, device: &str) -> Result<Vec<Row>> {
    let exponents: &[usize] = bench.either(&[10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30], &[10, 16, 20, 26]);
    let mut rows = Vec::new();
    for size in exponents.iter().map(|exponent| 1 << exponent) {
        if bench.affords(NAME, size, if size >= LARGE { CHUNKS_OF_LARGE } else { CHUNKS }) {
            rows.extend(measure(bench, device, size)?);
        }
    }
    Ok(rows)
}

fn measure(bench: &Bench, device: &str, size: usize) -> Result<Vec<Row>> {
    let depth = ((4 << 20) / size).clamp(1, 64);
    let batches = ((32 << 20) / (size * depth)).clamp(1, 20);
    let task = super::Task::Copies(Task { size, depth });
    let mut side = Side::start(&bench.room, 0, &crate::scenarios::Task::Gpu(task))?;
    let mut publish = WAYS.map(|_| Measured::new(Better::More));
    let mut receive = WAYS.map(|_| Measured::new(Better::More));
    for round in 0..bench.either(10, 4) {
        for (index, &way) in WAYS.iter().enumerate() {
            let rates: Rates = side.ask(&Order { way, batches })?;
            if round > 0 {
                publish[index].round(&rates.publish);
                receive[index].round(&rates.receive);
            }
        }
    }
    let mut rows = rows(device, "publish", size, &publish);
    rows.extend(self::rows(device, "receive", size, &receive));
    Ok(rows)
}

fn rows(device: &str, side: &str, size: usize, measured: &[Measured; WAYS.len()]) -> Vec<Row> {
    let [pinned, shm, two_copies, _] = measured;
    let row = |(way, rates): (&Way, &Measured)| {
        let params = json!({"device": device, "side": side, "size": human(size)});
        let row = Row::new(NAME, way.name(), params, rates, "GB/s").over_floor(rates.ratio_to(pinned));
        if *way != Way::Shm {
            return row;
        }
        let row = row.goal(Goal::at_least(shm.ratio_to(pinned), 0.95, "x cuMemcpy, pinned"));
        match size {
            WORTH_IT.. => row.goal(Goal::at_least(shm.ratio_to(two_copies), 1.8, "x two copies")),
            _ => row,
        }
    };
    WAYS.iter().zip(measured).map(row).collect()
}

pub fn side(task: &Task, room: &Room, parent: &Parent) -> Result<()> {
    let mut bed = Bed::new(task, room)?;
    for way in WAYS {
        bed.check(way)?;
    }
    parent.ready()?;
    while let Some(order) = parent.hear::<Order>()? {
        let mut rates = Rates::default();
        for _ in 0..order.batches {
            bed.batch(order.way, task.depth, &mut rates)?;
        }
        parent.tell(&rates)?;
    }
    Ok(())
}

/// What all ways lie in, with one source and one target in the device's memory.
struct Bed {
    driver: Driver,
    copier: SharedCopier,
    publisher: Publisher,
    subscriber: Subscriber,
    source: UserMemory,
    target: UserMemory,
    pinned: Buffers,
    pageable: Buffers,
    /// Of who makes two copies.
    private: Buffers,
    /// Messages so far.
    count: usize,
}

impl Bed {
    fn new(task: &Task, room: &Room) -> Result<Bed> {
        let (size, topic) = (task.size, format!("gpu-{}", task.size));
        let driver = Driver::open()?;
        driver.enter(DEVICE)?;
        let copier = SharedCopier::new(CudaCopier::new(DEVICE)?)?;
        let shape = Shape::one_to_one(size, task.depth);
        let mut options = Shm::publisher_options(room.shm_root(), shape);
        if size >= LARGE {
            options = PublisherOptions { memory: 4 * size as u64, ..options };
        }
        let publisher = Publisher::with_options(&topic, &options)?;
        let subscriber = Subscriber::with_options(&topic, &Shm::subscriber_options(room.shm_root(), shape))?;
        let (source, target) = (copier.alloc(size)?, copier.alloc(size)?);
        let chunks = chunks(task, &copier, (&publisher, &subscriber), (&source, &target))?;
        let mut pinned = Buffers::new(map(room, &topic, Buffers::bytes(size, chunks))?, size);
        let pageable = Buffers::new(MmapMut::map_anon(Buffers::bytes(size, chunks))?, size);
        let mut private = Buffers::new(MmapMut::map_anon(Buffers::bytes(size, 1))?, size);
        driver.register(&mut pinned.memory)?;
        driver.register(&mut private.memory)?;
        Ok(Bed { driver, copier, publisher, subscriber, source, target, pinned, pageable, private, count: 0 })
    }

    fn batch(&mut self, way: Way, depth: usize, rates: &mut Rates) -> Result<()> {
        let first = self.count;
        self.count += depth;
        let stamp = (first / depth) as u8; // not that of the batch before
        self.stamp(1, stamp)?;
        let start = Instant::now();
        (first..self.count).try_for_each(|index| self.put(way, index))?;
        let middle = Instant::now();
        (first..self.count).try_for_each(|index| self.get(way, index))?;
        self.driver.synchronize()?;
        let end = Instant::now();
        let bytes = (depth * self.source.len()) as f64;
        rates.publish.push(bytes / (middle - start).as_nanos() as f64);
        rates.receive.push(bytes / (end - middle).as_nanos() as f64);
        self.compare(1, stamp)
    }

    /// That one message arrives, all of it, but for what would take long to look at.
    fn check(&mut self, way: Way) -> Result<()> {
        let (size, stamp) = (self.source.len().min(LARGE), 1 + way as u8);
        self.stamp(size, stamp)?;
        self.put(way, 0)?;
        self.get(way, 0)?;
        self.driver.synchronize()?;
        self.compare(size, stamp)
    }

    /// Copies a message out of the device's memory, to where `get` with the same number finds it.
    fn put(&mut self, way: Way, index: usize) -> Result<()> {
        let (from, len) = (self.source.as_ptr(), self.source.len());
        // SAFETY: the source has as many bytes, and so have the buffers.
        unsafe {
            match way {
                Way::Pinned => self.driver.copy_to_host(self.pinned.slot(index), from),
                Way::Pageable => self.driver.copy_to_host(self.pageable.slot(index), from),
                Way::Shm => {
                    self.publisher.publish_from(&self.copier, from, len)?;
                    Ok(())
                }
                Way::TwoCopies => {
                    let private = self.private.slot(index);
                    self.driver.copy_to_host(private, from)?;
                    self.publisher.publish(private)?;
                    Ok(())
                }
            }
        }
    }

    fn get(&mut self, way: Way, index: usize) -> Result<()> {
        let to = self.target.as_ptr();
        // SAFETY: the target has as many bytes as the source, and as the buffers.
        unsafe {
            match way {
                Way::Pinned => self.driver.copy_to_device(to, self.pinned.slot(index)),
                Way::Pageable => self.driver.copy_to_device(to, self.pageable.slot(index)),
                Way::Shm => {
                    let sample = self.subscriber.try_receive()?.ok_or("nothing there")?;
                    Ok(self.copier.shm_to_user(to, &sample)?)
                }
                Way::TwoCopies => {
                    let private = self.private.slot(index);
                    private.copy_from_slice(&self.subscriber.try_receive()?.ok_or("nothing there")?);
                    self.driver.copy_to_device(to, private)
                }
            }
        }
    }

    /// Puts a pattern into the first `len` bytes of the source.
    fn stamp(&mut self, len: usize, stamp: u8) -> Result<()> {
        let bytes = &mut self.private.slot(0)[..len];
        bytes.iter_mut().enumerate().for_each(|(index, byte)| *byte = pattern(index, stamp));
        // SAFETY: as many bytes are there.
        unsafe { self.driver.copy_to_device(self.source.as_ptr(), bytes) }
    }

    fn compare(&mut self, len: usize, stamp: u8) -> Result<()> {
        let bytes = &mut self.private.slot(0)[..len];
        // SAFETY: as many bytes are there.
        unsafe { self.driver.copy_to_host(bytes, self.target.as_ptr())? };
        match bytes.iter().enumerate().all(|(index, &byte)| byte == pattern(index, stamp)) {
            true => Ok(()),
            false => Err("received something else than was published".into()),
        }
    }
}

fn pattern(index: usize, stamp: u8) -> u8 {
    (index as u8 ^ (index >> 8) as u8).wrapping_add(stamp)
}

/// How many chunks the messages rotate through, once they do. After this all of them are pinned on both sides.
fn chunks(
    task: &Task,
    copier: &SharedCopier,
    (publisher, subscriber): (&Publisher, &Subscriber),
    (source, target): (&UserMemory, &UserMemory),
) -> Result<usize> {
    let mut seen = HashSet::new();
    for _ in 0..if task.size >= LARGE { 12 } else { task.depth.max(8) * 8 } {
        // SAFETY: the source and the target have that many bytes.
        unsafe {
            publisher.publish_from(copier, source.as_ptr(), task.size)?;
            let sample = subscriber.try_receive()?.ok_or("nothing there")?;
            seen.insert(sample.as_ptr());
            copier.shm_to_user(target.as_ptr(), &sample)?;
        }
    }
    Ok(seen.len())
}

/// Memory of the process, used in turn as a topic uses its chunks.
struct Buffers {
    memory: MmapMut,
    size: usize,
    stride: usize,
}

impl Buffers {
    const APART: usize = 128;

    fn bytes(size: usize, count: usize) -> usize {
        count * (size.next_multiple_of(Self::APART) + Self::APART)
    }

    fn new(mut memory: MmapMut, size: usize) -> Buffers {
        memory.fill(1); // no page fault is left for the measurement
        Buffers { memory, size, stride: Self::bytes(size, 1) }
    }

    fn slot(&mut self, index: usize) -> &mut [u8] {
        let count = self.memory.len() / self.stride;
        &mut self.memory[index % count * self.stride..][..self.size]
    }
}
