// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is measured. Each module holds one scenario: the parent's part, which gives orders and makes rows of the
//! answers, and the sides' part, which carries the orders out.

mod copiers;
mod copy;
mod doors;
mod fanout;
mod gpu;
mod memory;
mod pingpong;
mod rpc;
mod startup;
mod stopped;
mod throughput;
mod wakeup;

use std::time::Instant;

use rustix::time::{clock_gettime, ClockId};
use serde::{Deserialize, Serialize};

use crate::process::Parent;
use crate::report::Row;
use crate::room::Room;
use crate::Result;

pub struct Scenario {
    pub name: &'static str,
    pub what: &'static str,
    pub run: fn(&Bench) -> Result<Vec<Row>>,
}

pub const SCENARIOS: &[Scenario] = &[
    Scenario { name: "pingpong", what: "one way between two processes, by size", run: pingpong::run },
    Scenario { name: "fanout", what: "one publish, by number of subscribers", run: fanout::run },
    Scenario {
        name: "throughput",
        what: "small messages per second, and what gets lost",
        run: throughput::run,
    },
    Scenario { name: "copy", what: "publishing and receiving by copy, against memcpy", run: copy::run },
    Scenario { name: "copiers", what: "the ways to copy, against memcpy, by size", run: copiers::run },
    Scenario { name: "gpu", what: "from a GPU's memory to a GPU's memory, against cuMemcpy", run: gpu::run },
    Scenario { name: "rpc", what: "a call and its reply between two processes, by size", run: rpc::run },
    Scenario { name: "wakeup", what: "publisher to a sleeping subscriber", run: wakeup::run },
    Scenario { name: "doors", what: "the same through Rust, C and C++", run: doors::run },
    Scenario { name: "startup", what: "the first message between two fresh processes", run: startup::run },
    Scenario { name: "stopped", what: "what others notice of stopped processes", run: stopped::run },
    Scenario { name: "memory", what: "bytes per topic, and per payload byte", run: memory::run },
];

/// A run, as its scenarios see it.
pub struct Bench {
    pub room: Room,
    pub quick: bool,
}

impl Bench {
    /// `full` of something, or `quick` of it in a quick run.
    pub fn either<T>(&self, full: T, quick: T) -> T {
        if self.quick {
            quick
        } else {
            full
        }
    }

    /// Whether there is shared memory for `count` messages of `size`; says so if not.
    fn affords(&self, scenario: &str, size: usize, count: usize) -> bool {
        let room = self.room.free_bytes() > (size * count) as u64;
        if !room {
            eprintln!("{scenario}: not enough shared memory for messages of {}", human(size));
        }
        room
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum System {
    Floor,
    Shm,
    Iceoryx2,
}

impl System {
    pub fn name(self) -> &'static str {
        match self {
            System::Floor => "floor",
            System::Shm => "shm",
            System::Iceoryx2 => "iceoryx2",
        }
    }
}

/// What a side is started for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Task {
    Copiers(copiers::Task),
    Copy(copy::Task),
    Doors,
    Fanout(fanout::Task),
    Gpu(gpu::Task),
    Memory(memory::Task),
    Pingpong(pingpong::Task),
    Rpc(rpc::Task),
    Startup(startup::Task),
    Stopped(stopped::Task),
    Throughput(throughput::Task),
    Wakeup(wakeup::Task),
}

/// The life of a side.
pub fn side(task: Task, room: &Room) -> Result<()> {
    match task {
        Task::Copiers(task) => copiers::side(&task, room, &Parent),
        Task::Copy(task) => copy::side(&task, room, &Parent),
        Task::Doors => doors::side(room, &Parent),
        Task::Fanout(task) => fanout::side(&task, room, &Parent),
        Task::Gpu(task) => gpu::side(&task, room, &Parent),
        Task::Memory(task) => memory::side(&task, room, &Parent),
        Task::Pingpong(task) => pingpong::side(&task, room, &Parent),
        Task::Rpc(task) => rpc::side(&task, room, &Parent),
        Task::Startup(task) => startup::side(&task, room, &Parent),
        Task::Stopped(task) => stopped::side(&task, room, &Parent),
        Task::Throughput(task) => throughput::side(&task, room, &Parent),
        Task::Wakeup(task) => wakeup::side(&task, room, &Parent),
    }
}

/// Runs `work` `batches` times and says for each how many nanoseconds one of its `operations` took.
fn batches(batches: usize, operations: u64, mut work: impl FnMut() -> Result<()>) -> Result<Vec<f64>> {
    let mut samples = Vec::with_capacity(batches);
    for _ in 0..batches {
        let start = Instant::now();
        work()?;
        samples.push(start.elapsed().as_nanos() as f64 / operations as f64);
    }
    Ok(samples)
}

/// Nanoseconds on a clock that all processes share.
fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// A size as people write it.
fn human(bytes: usize) -> String {
    match bytes {
        _ if bytes >= 1 << 30 && bytes.is_multiple_of(1 << 30) => format!("{} GiB", bytes >> 30),
        _ if bytes >= 1 << 20 && bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        _ if bytes >= 1 << 10 && bytes.is_multiple_of(1 << 10) => format!("{} KiB", bytes >> 10),
        _ => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes_read_well() {
        assert_eq!(
            [64, 1024, 1500, 64 << 20, 1 << 30].map(super::human),
            ["64 B", "1 KiB", "1500 B", "64 MiB", "1 GiB"]
        );
    }
}
