// SPDX-License-Identifier: MIT OR Apache-2.0
//! The shared memory that a topic takes: idle, and for each byte of payload that it keeps.
//!
//! Counted is what the files occupy (their blocks, not their lengths), with one publisher and one subscriber.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{human, Bench, System};
use crate::peers::{Iceoryx2, Peer, Shape, Shm};
use crate::process::{Parent, Side};
use crate::report::{Goal, Row};
use crate::room::{occupied, Room};
use crate::stats::{Better, Measured};
use crate::Result;

const NAME: &str = "memory";
const SYSTEMS: [System; 2] = [System::Shm, System::Iceoryx2];
/// Message size and how many of them a topic keeps: a few megabytes of payload, but for the smallest.
const TRAFFIC: [(usize, usize); 6] =
    [(64, 8192), (1000, 8192), (4 << 10, 4096), (100_000, 128), (1 << 20, 16), (3_000_000, 8)];

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Task {
    system: System,
    size: usize,
    depth: usize,
}

pub fn run(bench: &Bench) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for system in SYSTEMS {
        let (idle, _) = bytes(bench, Task { system, size: 64, depth: 64 })?;
        let kib = idle as f64 / 1024.0;
        let row = row(system, json!({"what": "idle topic"}), kib, "KiB");
        rows.push(if system == System::Shm { row.goal(Goal::at_most(kib, 128.0, "KiB")) } else { row });
    }
    for (size, depth) in TRAFFIC {
        for system in SYSTEMS {
            let (_, used) = bytes(bench, Task { system, size, depth })?;
            let overhead = used as f64 / (size * depth) as f64;
            let row = row(system, json!({"size": human(size), "kept": depth}), overhead, "x payload");
            rows.push(if system == System::Shm {
                row.goal(Goal::at_most(overhead, 2.0, "x payload"))
            } else {
                row
            });
        }
    }
    Ok(rows)
}

fn row(system: System, params: serde_json::Value, value: f64, unit: &'static str) -> Row {
    let mut measured = Measured::new(Better::Less);
    measured.round(&[value]);
    Row::new(NAME, system.name(), params, &measured, unit)
}

/// The bytes that a topic occupies before its first message and after many.
fn bytes(bench: &Bench, task: Task) -> Result<(u64, u64)> {
    let now = || match task.system {
        System::Iceoryx2 => bench.room.iceoryx2_bytes(),
        _ => occupied(&bench.room.shm_root()),
    };
    let before = now();
    let mut side = Side::start(&bench.room, 0, &super::Task::Memory(task.clone()))?;
    let idle = now() - before;
    side.ask::<()>(&())?;
    Ok((idle, now() - before))
}

pub fn side(task: &Task, room: &Room, parent: &Parent) -> Result<()> {
    match task.system {
        System::Floor => Err("the floor takes no memory".into()),
        System::Shm => part::<Shm>(task, room, parent),
        System::Iceoryx2 => part::<Iceoryx2>(task, room, parent),
    }
}

fn part<P: Peer>(task: &Task, room: &Room, parent: &Parent) -> Result<()> {
    let peer = P::open(room)?;
    let topic = format!("memory-{}-{}", task.size, task.depth);
    let shape = Shape::one_to_one(task.size, task.depth);
    let publisher = peer.publisher(&topic, shape)?;
    let subscriber = peer.subscriber(&topic, shape)?;
    parent.ready()?;
    while parent.hear::<()>()?.is_some() {
        let payload = vec![1; task.size];
        for _ in 0..4 * task.depth {
            P::publish_copy(&publisher, &payload)?;
            drop(P::spin(&subscriber)?);
        }
        // The ring is full of messages that nobody has received, which is when it takes the most.
        for _ in 0..task.depth {
            P::publish_copy(&publisher, &payload)?;
        }
        parent.tell(&())?;
    }
    Ok(())
}
