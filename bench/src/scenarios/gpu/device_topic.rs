// SPDX-License-Identifier: MIT OR Apache-2.0
//! One way between two processes whose payload stays in the GPU's memory, against one that is copied out of it and into it again.
//!
//! Half of what a message and its answer take, over two topics, as in `pingpong`; nobody writes or reads the payload but, for the
//! copy, the copies. Both sides have room for the largest size, and all sizes take turns: about eight times that of the device's memory.

use serde::{Deserialize, Serialize};
use serde_json::json;
use shm::copier::cuda::{
    CudaCopier, DeviceOptions, DevicePublisher, DeviceSample, DeviceSubscriber, Placement,
};
use shm::copier::{SharedCopier, UserMemory};
use shm::{Publisher, PublisherOptions, Sample, Subscriber};

use super::{DEVICE, NAME};
use crate::peers::{Shape, Shm};
use crate::process::{Parent, Side};
use crate::report::{Goal, Row};
use crate::room::Room;
use crate::scenarios::{batches, human, Bench};
use crate::stats::{Better, Measured};
use crate::Result;

/// Messages' worth of shared memory that the copies take, both ways.
const CHUNKS: usize = 8;
const WAYS: [Way; 2] = [Way::Topic, Way::Copy];

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Task {
    largest: usize,
    serves: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Way {
    Topic,
    Copy,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Order {
    way: Way,
    size: usize,
    batches: usize,
    count: u64,
}

impl Order {
    fn new(bench: &Bench, way: Way, size: usize) -> Order {
        match way {
            Way::Topic => Order { way, size, batches: bench.either(100, 20), count: 50 },
            Way::Copy => {
                let count = ((16 << 20) / size).clamp(1, 50) as u64;
                Order { way, size, batches: bench.either(10, 3), count }
            }
        }
    }
}

pub fn run(bench: &Bench, device: &str) -> Result<Vec<Row>> {
    if let Err(error) = probe(&bench.room) {
        return Ok(vec![Row::skipped(NAME, format!("device topics on {device}: {error}"))]);
    }
    let sizes: &[usize] =
        bench.either(&[1 << 10, 64 << 10, 1 << 20, 64 << 20, 1 << 30], &[1 << 10, 1 << 20, 64 << 20]);
    let sizes: Vec<usize> = sizes.iter().copied().filter(|&size| bench.affords(NAME, size, CHUNKS)).collect();
    let Some(&largest) = sizes.last() else { return Ok(Vec::new()) };
    let start = |cpu, serves| {
        let task = super::Task::DeviceTopic(Task { largest, serves });
        Side::start(&bench.room, cpu, &crate::scenarios::Task::Gpu(task))
    };
    let (mut answering, mut serving) = (start(1, false)?, start(0, true)?);
    let mut measured: Vec<_> =
        sizes.iter().map(|&size| (size, WAYS.map(|_| Measured::new(Better::Less)))).collect();
    for round in 0..bench.either(10, 4) {
        for (size, ways) in &mut measured {
            for (&way, measured) in WAYS.iter().zip(ways) {
                let order = Order::new(bench, way, *size);
                answering.tell(&order)?;
                let samples: Vec<f64> = serving.ask(&order)?;
                if round > 0 {
                    measured.round(&samples);
                }
            }
        }
    }
    Ok(rows(device, &measured))
}

fn rows(device: &str, measured: &[(usize, [Measured; 2])]) -> Vec<Row> {
    let mut rows = Vec::new();
    for (size, [topic, copy]) in measured {
        let row = |system: &str, measured: &Measured| {
            let params = json!({"device": device, "side": "one way", "size": human(*size)});
            Row::new(NAME, system, params, measured, "us")
        };
        let (smallest, first) = &measured[0];
        let ours = row("shm, device topic", topic);
        let flat = Goal::at_most(topic.ratio_to(&first[0]), 1.2, "x its 1 KiB");
        rows.push(if size > smallest { ours.goal(flat) } else { ours });
        rows.push(row("shm", copy));
    }
    rows
}

fn device_options(largest: usize) -> DeviceOptions {
    DeviceOptions { device: DEVICE, largest, blocks: 2, placement: Placement::Device }
}

/// Whether other processes can map this device's memory.
fn probe(room: &Room) -> shm::Result<()> {
    let options = PublisherOptions { root: Some(room.shm_root()), ..Default::default() };
    DevicePublisher::new("gpu-probe", &options, &device_options(1)).map(drop)
}

pub fn side(task: &Task, room: &Room, parent: &Parent) -> Result<()> {
    let mut ends = Ends::new(task, room)?;
    parent.ready()?;
    while let Some(order) = parent.hear::<Order>()? {
        let Order { way, size, count, .. } = order;
        let samples = batches(order.batches, 2 * count * 1000, || {
            for _ in 0..count {
                match task.serves {
                    true => ends.put(way, size).and_then(|()| ends.get(way, size))?,
                    false => ends.get(way, size).and_then(|()| ends.put(way, size))?,
                }
            }
            Ok(())
        })?;
        if task.serves {
            parent.tell(&samples)?;
        }
    }
    Ok(())
}

/// Of both ways, a side's publisher and subscriber.
struct Ends {
    topic: (DevicePublisher, DeviceSubscriber),
    copied: (Publisher, Subscriber),
    copier: SharedCopier,
    source: UserMemory,
    target: UserMemory,
}

impl Ends {
    fn new(task: &Task, room: &Room) -> Result<Ends> {
        let directions = if task.serves { ["there", "back"] } else { ["back", "there"] };
        let [to, from] = directions.map(|direction| format!("gpu-{direction}"));
        let [to_copy, from_copy] = directions.map(|direction| format!("gpu-copy-{direction}"));
        let shape = Shape::one_to_one(task.largest, 1);
        let subscribing = Shm::subscriber_options(room.shm_root(), shape);
        let mut publishing = Shm::publisher_options(room.shm_root(), shape);
        publishing.memory = (4 * task.largest as u64).max(64 << 20);
        let of_device = PublisherOptions { memory: 0, ..publishing.clone() };
        let copier = SharedCopier::new(CudaCopier::new(DEVICE)?)?;
        Ok(Ends {
            topic: (
                DevicePublisher::new(&to, &of_device, &device_options(task.largest))?,
                DeviceSubscriber::new(&from, &subscribing, DEVICE)?,
            ),
            copied: (
                Publisher::with_options(&to_copy, &publishing)?,
                Subscriber::with_options(&from_copy, &subscribing)?,
            ),
            source: copier.alloc(task.largest)?,
            target: copier.alloc(task.largest)?,
            copier,
        })
    }

    fn put(&mut self, way: Way, size: usize) -> Result<()> {
        match way {
            Way::Topic => self.topic.0.loan(size)?.publish()?,
            // SAFETY: the source has at least as many bytes.
            Way::Copy => unsafe { self.copied.0.publish_from(&self.copier, self.source.as_ptr(), size)? },
        };
        Ok(())
    }

    fn get(&mut self, way: Way, size: usize) -> Result<()> {
        let wrong = || Err("received something else than was published".into());
        match way {
            Way::Topic => {
                let sample: DeviceSample<'_> = spin(|| self.topic.1.try_receive())?;
                if sample.len() != size {
                    return wrong();
                }
            }
            Way::Copy => {
                let sample: Sample<'_> = spin(|| self.copied.1.try_receive())?;
                if sample.len() != size {
                    return wrong();
                }
                // SAFETY: the target has at least as many bytes.
                unsafe { self.copier.shm_to_user(self.target.as_ptr(), &sample)? };
            }
        }
        Ok(())
    }
}

fn spin<T>(mut look: impl FnMut() -> shm::Result<Option<T>>) -> Result<T> {
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        std::hint::spin_loop();
    }
}
