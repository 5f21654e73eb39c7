// SPDX-License-Identifier: MIT OR Apache-2.0
//! Publishing a copy and receiving into a buffer of one's own, against memcpy.
//!
//! memcpy gets the same work: out of the same source, into and out of as many buffers in shared memory as the
//! topic rotates its messages through, in the same order, so that both meet the same caches. One process does
//! everything, a batch of publishes and then a batch of receives, each timed as a whole.

use std::collections::HashSet;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{human, Bench, System};
use crate::floor::Buffers;
use crate::peers::{Iceoryx2, Peer, Shape, Shm};
use crate::process::{Parent, Side};
use crate::report::{Goal, Row};
use crate::room::Room;
use crate::stats::{Better, Measured};
use crate::Result;

const NAME: &str = "copy";
/// Messages' worth of shared memory that all systems together take for the large sizes.
const CHUNKS: usize = 40;
const SYSTEMS: [System; 3] = [System::Floor, System::Shm, System::Iceoryx2];

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Task {
    size: usize,
    depth: usize,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Order {
    system: System,
    batches: usize,
}

/// Gigabytes per second, batch by batch.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Rates {
    publish: Vec<f64>,
    receive: Vec<f64>,
}

pub fn run(bench: &Bench) -> Result<Vec<Row>> {
    let exponents: &[usize] = bench.either(&[10, 12, 14, 16, 18, 20, 22, 24, 26], &[10, 16, 20, 26]);
    let mut rows = Vec::new();
    for size in exponents.iter().map(|exponent| 1 << exponent) {
        if bench.affords(NAME, size, CHUNKS) {
            rows.extend(measure(bench, size)?);
        }
    }
    Ok(rows)
}

fn measure(bench: &Bench, size: usize) -> Result<Vec<Row>> {
    let depth = if size <= 64 << 10 { 64 } else { 8 };
    let batches = ((32 << 20) / (size * depth)).clamp(1, 50);
    let mut side = Side::start(&bench.room, 0, &super::Task::Copy(Task { size, depth }))?;
    let mut publish = SYSTEMS.map(|_| Measured::new(Better::More));
    let mut receive = SYSTEMS.map(|_| Measured::new(Better::More));
    for round in 0..bench.either(16, 6) {
        for (index, &system) in SYSTEMS.iter().enumerate() {
            let rates: Rates = side.ask(&Order { system, batches })?;
            if round > 0 {
                publish[index].round(&rates.publish);
                receive[index].round(&rates.receive);
            }
        }
    }
    let mut rows = Vec::new();
    for (what, measured) in [("publish", &publish), ("receive", &receive)] {
        for (index, &system) in SYSTEMS.iter().enumerate() {
            let ratio = measured[index].ratio_to(&measured[0]);
            let params = json!({"side": what, "size": human(size)});
            let row = Row::new(NAME, system.name(), params, &measured[index], "GB/s").over_floor(ratio);
            let goal = Goal::at_least(ratio, 0.9, "x memcpy");
            rows.push(if system == System::Shm { row.goal(goal) } else { row });
        }
    }
    Ok(rows)
}

pub fn side(task: &Task, room: &Room, parent: &Parent) -> Result<()> {
    let mut shm = Topic::<Shm>::open(task, room)?;
    let mut iceoryx2 = Topic::<Iceoryx2>::open(task, room)?;
    let rotates = shm.chunks(task)?;
    let mut plain = Plain(Buffers::new(room, NAME, rotates, task.size)?);
    let mut source = vec![1; task.size];
    let mut target = vec![0; task.size];
    parent.ready()?;
    while let Some(order) = parent.hear::<Order>()? {
        let mut rates = Rates::default();
        for batch in 0..=order.batches {
            source[0] = batch as u8;
            match order.system {
                System::Floor => plain.batch(task.depth, &source, &mut target, &mut rates),
                System::Shm => shm.batch(task.depth, &source, &mut target, &mut rates),
                System::Iceoryx2 => iceoryx2.batch(task.depth, &source, &mut target, &mut rates),
            }?;
            if batch == 0 {
                rates = Rates::default(); // what the turn before has left in the caches is not its business
            }
        }
        parent.tell(&rates)?;
    }
    Ok(())
}

/// Something to copy into and out of again.
trait Store {
    fn put(&mut self, source: &[u8]) -> Result<()>;
    /// Gets what was put `depth` calls of `get` ago.
    fn get(&mut self, depth: usize, target: &mut [u8]) -> Result<()>;

    fn batch(&mut self, depth: usize, source: &[u8], target: &mut [u8], rates: &mut Rates) -> Result<()> {
        let start = Instant::now();
        for _ in 0..depth {
            self.put(source)?;
        }
        let middle = Instant::now();
        for _ in 0..depth {
            self.get(depth, target)?;
        }
        let end = Instant::now();
        let bytes = (depth * source.len()) as f64;
        rates.publish.push(bytes / (middle - start).as_nanos() as f64);
        rates.receive.push(bytes / (end - middle).as_nanos() as f64);
        if target[0] == source[0] {
            Ok(())
        } else {
            Err("received something else than was published".into())
        }
    }
}

struct Plain(Buffers);

impl Store for Plain {
    fn put(&mut self, source: &[u8]) -> Result<()> {
        self.0.put(source);
        Ok(())
    }

    fn get(&mut self, depth: usize, target: &mut [u8]) -> Result<()> {
        self.0.get(depth, target);
        Ok(())
    }
}

struct Topic<P: Peer> {
    publisher: P::Publisher,
    subscriber: P::Subscriber,
    _peer: P,
}

impl<P: Peer> Topic<P> {
    fn open(task: &Task, room: &Room) -> Result<Topic<P>> {
        let peer = P::open(room)?;
        let shape = Shape::one_to_one(task.size, task.depth);
        let topic = format!("copy-{}", task.size);
        Ok(Topic {
            publisher: peer.publisher(&topic, shape)?,
            subscriber: peer.subscriber(&topic, shape)?,
            _peer: peer,
        })
    }

    /// How many chunks the messages rotate through, once they do.
    fn chunks(&self, task: &Task) -> Result<usize> {
        let mut seen = HashSet::new();
        for message in 0..task.depth * 8 {
            let loan = P::loan(&self.publisher, task.size)?;
            if message >= task.depth * 4 {
                seen.insert(loan.as_ptr());
            }
            P::publish(loan)?;
            drop(P::spin(&self.subscriber)?);
        }
        Ok(seen.len())
    }
}

impl<P: Peer> Store for Topic<P> {
    fn put(&mut self, source: &[u8]) -> Result<()> {
        P::publish_copy(&self.publisher, source)
    }

    fn get(&mut self, _: usize, target: &mut [u8]) -> Result<()> {
        target.copy_from_slice(&P::spin(&self.subscriber)?);
        Ok(())
    }
}
