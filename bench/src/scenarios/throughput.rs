// SPDX-License-Identifier: MIT OR Apache-2.0
//! Small messages per second from one process to another, and what a publisher that waits for nobody does.
//!
//! `paced`: the publisher stays within a window of what the subscriber has received (it looks at a counter that
//! the benchmark shares between them, the same for all systems), so that nothing is lost and the slower side sets
//! the pace. `free`: it publishes as fast as it can and the subscriber gets what it gets. Messages carry a number
//! and a checksum; the subscriber counts the missing by the numbers and the torn by the checksums.

use std::sync::atomic::Ordering;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Bench, System};
use crate::floor::Cells;
use crate::peers::{Iceoryx2, Peer, Shape, Shm};
use crate::process::{Parent, Side};
use crate::report::{Goal, Row};
use crate::room::Room;
use crate::stats::{Better, Measured};
use crate::Result;

const NAME: &str = "throughput";
const SIZE: usize = 64;
const WORDS: usize = SIZE / 8;
const DEPTH: usize = 1024;
const WINDOW: u64 = DEPTH as u64 / 2;
/// How often the subscriber says how far it is, and the publisher looks: their counter must not be what is measured.
const STRIDE: u64 = 64;
/// Messages that make one sample of the rate: several windows, so that the pipe is measured and not the emptying
/// of one.
const BATCH: u64 = 2048;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Task {
    system: System,
    publishes: bool,
}

/// Messages `first..=last` are to be sent, or expected.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Order {
    first: u64,
    last: u64,
    paced: bool,
}

/// What the subscriber saw. All counts but `samples` are numbers of messages.
#[derive(Debug, Serialize, Deserialize)]
struct Seen {
    received: u64,
    missing: u64,
    torn: u64,
    /// What the system itself says was lost, if it says so.
    lost: Option<u64>,
    /// Nanoseconds for each message of a batch.
    samples: Vec<f64>,
}

struct Pair {
    system: System,
    publishing: Side,
    subscribing: Side,
    next: u64,
    paced: Measured,
    published: Measured,
    missing: Measured,
    torn: u64,
    miscounted: u64,
}

impl Pair {
    fn start(bench: &Bench, system: System) -> Result<Pair> {
        let task = |publishes| super::Task::Throughput(Task { system, publishes });
        Ok(Pair {
            system,
            publishing: Side::start(&bench.room, 0, &task(true))?,
            subscribing: Side::start(&bench.room, 1, &task(false))?,
            next: 1,
            paced: Measured::new(Better::More),
            published: Measured::new(Better::More),
            missing: Measured::new(Better::Less),
            torn: 0,
            miscounted: 0,
        })
    }

    fn round(&mut self, count: u64, paced: bool) -> Result<()> {
        let order = Order { first: self.next, last: self.next + count - 1, paced };
        self.next += count;
        self.subscribing.tell(&order)?;
        let sent: f64 = self.publishing.ask(&order)?;
        let seen: Seen = self.subscribing.hear()?;
        self.torn += seen.torn;
        self.miscounted += seen.lost.map_or(0, |lost| lost.abs_diff(seen.missing));
        if paced {
            let rates: Vec<f64> = seen.samples.iter().map(|each| 1000.0 / each).collect();
            if seen.missing > 0 {
                return Err(format!("{} lost {} paced messages", self.system.name(), seen.missing).into());
            }
            self.paced.round(&rates[1..]);
        } else {
            self.published.round(&[1000.0 / sent]);
            self.missing.round(&[100.0 * seen.missing as f64 / count as f64]);
        }
        Ok(())
    }

    fn row(&self, mode: &str, what: &str, measured: &Measured, unit: &'static str) -> Row {
        Row::new(
            NAME,
            self.system.name(),
            json!({"mode": mode, "what": what, "size": "64 B"}),
            measured,
            unit,
        )
    }

    fn total(&self, what: &str, count: u64) -> Row {
        let mut measured = Measured::new(Better::Less);
        measured.round(&[count as f64]);
        self.row("all", what, &measured, "messages").goal(Goal::at_most(count as f64, 0.0, "messages"))
    }
}

pub fn run(bench: &Bench) -> Result<Vec<Row>> {
    let mut pairs = [Pair::start(bench, System::Shm)?, Pair::start(bench, System::Iceoryx2)?];
    let count = bench.either(128, 32) * BATCH;
    for _ in 0..bench.either(21, 7) {
        for paced in [true, false] {
            for pair in &mut pairs {
                // What isn't paced takes about as long for one as for the other: too short, and a subscriber that the
                // scheduler stops once has lost everything.
                let times = if !paced && pair.system == System::Shm { 8 } else { 1 };
                pair.round(times * count, paced)?;
            }
        }
    }
    let faster = pairs[0].paced.ratio_to(&pairs[1].paced);
    let mut rows = Vec::new();
    for pair in &pairs {
        let ours = pair.system == System::Shm;
        let paced = pair.row("paced", "received", &pair.paced, "M/s");
        rows.push(if ours { paced.goal(Goal::at_least(faster, 3.0, "x iceoryx2")) } else { paced });
        rows.push(pair.row("free", "published", &pair.published, "M/s"));
        rows.push(pair.row("free", "missing", &pair.missing, "%"));
        rows.push(pair.total("torn", pair.torn));
        if ours {
            rows.push(pair.total("miscounted by lost()", pair.miscounted));
        }
    }
    Ok(rows)
}

pub fn side(task: &Task, room: &Room, parent: &Parent) -> Result<()> {
    let cells = Cells::open(room, &format!("throughput-{}", task.system.name()))?;
    match task.system {
        System::Floor => Err("the floor carries no messages".into()),
        System::Shm => part::<Shm>(task, room, &cells, parent, |subscriber| Some(subscriber.lost())),
        System::Iceoryx2 => part::<Iceoryx2>(task, room, &cells, parent, |_| None),
    }
}

fn part<P: Peer>(
    task: &Task,
    room: &Room,
    cells: &Cells,
    parent: &Parent,
    lost: impl Fn(&P::Subscriber) -> Option<u64>,
) -> Result<()> {
    let peer = P::open(room)?;
    let shape = Shape::one_to_one(SIZE, DEPTH);
    if task.publishes {
        let publisher = peer.publisher(NAME, shape)?;
        parent.ready()?;
        while let Some(order) = parent.hear()? {
            parent.tell(&publish::<P>(&publisher, cells, order)?)?;
        }
    } else {
        let subscriber = peer.subscriber(NAME, shape)?;
        parent.ready()?;
        while let Some(order) = parent.hear()? {
            let before = lost(&subscriber);
            let seen = receive::<P>(&subscriber, cells, order)?;
            parent.tell(&Seen {
                lost: lost(&subscriber).zip(before).map(|(now, before)| now - before),
                ..seen
            })?;
        }
    }
    Ok(())
}

/// Returns the nanoseconds that each message took.
fn publish<P: Peer>(publisher: &P::Publisher, cells: &Cells, order: Order) -> Result<f64> {
    let received = cells.word(0);
    let mut allowed = order.first + WINDOW;
    let start = Instant::now();
    for number in order.first..=order.last {
        while order.paced && number >= allowed {
            allowed = received.load(Ordering::Acquire) + WINDOW;
        }
        let mut loan = P::loan(publisher, SIZE)?;
        write(&mut loan, number);
        P::publish(loan)?;
    }
    Ok(start.elapsed().as_nanos() as f64 / (order.last - order.first + 1) as f64)
}

fn receive<P: Peer>(subscriber: &P::Subscriber, cells: &Cells, order: Order) -> Result<Seen> {
    let mut seen = Seen { received: 0, missing: 0, torn: 0, lost: None, samples: Vec::new() };
    let mut expected = order.first;
    let mut since: Option<Instant> = None;
    while expected <= order.last {
        let number = {
            let sample = P::spin(subscriber)?;
            match read(&sample) {
                Some(number) => number,
                None => {
                    seen.torn += 1;
                    continue;
                }
            }
        };
        since.get_or_insert_with(Instant::now);
        if number < expected {
            return Err(format!("message {number} came when {expected} was due").into());
        }
        seen.missing += number - expected;
        seen.received += 1;
        expected = number + 1;
        if number.is_multiple_of(STRIDE) {
            cells.word(0).store(number, Ordering::Release);
        }
        if seen.received.is_multiple_of(BATCH) || expected > order.last {
            let batch = (seen.received - 1) % BATCH + 1;
            if let Some(start) = since.replace(Instant::now()) {
                seen.samples.push(start.elapsed().as_nanos() as f64 / batch as f64);
            }
        }
    }
    cells.word(0).store(order.last, Ordering::Release);
    Ok(seen)
}

#[inline]
fn write(payload: &mut [u8], number: u64) {
    let mut sum = 0;
    for (index, word) in payload[..SIZE].chunks_exact_mut(8).enumerate() {
        let value = if index + 1 < WORDS { number.rotate_left(index as u32 * 8) } else { !sum };
        sum ^= value;
        word.copy_from_slice(&value.to_ne_bytes());
    }
}

/// The message's number, if the message is whole.
#[inline]
fn read(payload: &[u8]) -> Option<u64> {
    let words =
        payload[..SIZE].chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().unwrap_or_default()));
    let sum = words.fold(0, |sum, word| sum ^ word);
    let number = u64::from_ne_bytes(payload[..8].try_into().ok()?);
    (sum == u64::MAX).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_message_is_noticed() {
        let (mut one, mut other) = ([0; SIZE], [0; SIZE]);
        write(&mut one, 4711);
        write(&mut other, 4712);
        assert_eq!(read(&one), Some(4711));
        for cut in (8..SIZE).step_by(8) {
            let torn: Vec<u8> = one[..cut].iter().chain(&other[cut..]).copied().collect();
            assert_eq!(read(&torn), None, "cut at {cut}");
        }
    }
}
