// SPDX-License-Identifier: MIT OR Apache-2.0
//! One way between two processes: half of what a message and its answer take, over two topics.
//!
//! Both sides loan, write the payload's first cache line, publish, and read the line that they receive. The loan
//! for the next message is taken, and the sample released, while the other side is at it: both would otherwise lie
//! on the way for no reason. All systems and sizes take turns in each round, each beside its own turn of the floor.

use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{batches, human, Bench, System};
use crate::floor::Cells;
use crate::peers::{Iceoryx2, Peer, Shape, Shm};
use crate::process::{Parent, Side};
use crate::report::{Goal, Row};
use crate::room::Room;
use crate::stats::{Better, Measured};
use crate::Result;

const NAME: &str = "pingpong";
const LINE: usize = 64;
/// Messages' worth of shared memory that all systems together take for the large sizes, both ways.
const CHUNKS: usize = 56;
const SYSTEMS: [System; 3] = [System::Floor, System::Shm, System::Iceoryx2];

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Task {
    system: System,
    size: usize,
    serves: bool,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) batches: usize,
    /// Messages in a batch: so few that the scheduler, when others want the CPUs too, disturbs only some batches.
    pub(super) count: u64,
    /// Time each message by itself: for the tail, since reading the clock takes a third of a message's time.
    pub(super) singly: bool,
}

pub(super) struct Pair {
    answering: Side,
    serving: Side,
    pub(super) measured: Measured,
}

impl Pair {
    pub(super) fn start(bench: &Bench, system: System, size: usize) -> Result<Pair> {
        Pair::of(bench, |serves| super::Task::Pingpong(Task { system, size, serves }))
    }

    /// The two sides of `task`, which is told whether it serves the ball. The one that answers is there first.
    pub(super) fn of(bench: &Bench, task: impl Fn(bool) -> super::Task) -> Result<Pair> {
        Ok(Pair {
            answering: Side::start(&bench.room, 1, &task(false))?,
            serving: Side::start(&bench.room, 0, &task(true))?,
            measured: Measured::new(Better::Less),
        })
    }

    pub(super) fn play(&mut self, order: Order) -> Result<Vec<f64>> {
        self.answering.tell(&order)?;
        self.serving.ask(&order)
    }

    pub(super) fn round(&mut self, order: Order) -> Result<()> {
        let samples = self.play(order)?;
        self.measured.round(&samples);
        Ok(())
    }

    pub(super) fn singles(&mut self, order: Order) -> Result<()> {
        let samples = self.play(Order { singly: true, ..order })?;
        self.measured.singles(&samples);
        Ok(())
    }
}

pub fn run(bench: &Bench) -> Result<Vec<Row>> {
    let sizes: &[usize] =
        bench.either(&[64, 1 << 10, 64 << 10, 1 << 20, 16 << 20, 64 << 20], &[64, 64 << 10, 64 << 20]);
    let order = Order { batches: bench.either(200, 100), count: 100, singly: false };
    let mut groups = Vec::new();
    for &size in sizes.iter().filter(|&&size| bench.affords(NAME, size, CHUNKS)) {
        let pairs: Result<Vec<Pair>> =
            SYSTEMS.iter().map(|&system| Pair::start(bench, system, size)).collect();
        groups.push((size, pairs?));
    }
    for pair in groups.iter_mut().flat_map(|(_, pairs)| pairs) {
        pair.play(order)?; // warm
    }
    for _ in 0..bench.either(25, 9) {
        for pair in groups.iter_mut().flat_map(|(_, pairs)| pairs) {
            pair.round(order)?;
        }
    }
    for pair in groups.iter_mut().flat_map(|(_, pairs)| pairs) {
        pair.singles(order)?;
    }
    Ok(rows(&groups))
}

fn rows(groups: &[(usize, Vec<Pair>)]) -> Vec<Row> {
    let mut rows = Vec::new();
    for (size, pairs) in groups {
        let [floor, shm, iceoryx2] = [0, 1, 2].map(|system: usize| &pairs[system].measured);
        let row = |system: System, measured: &Measured| {
            Row::new(NAME, system.name(), json!({"size": human(*size)}), measured, "ns")
                .over_floor(measured.ratio_to(floor))
        };
        let mut ours = row(System::Shm, shm)
            .goal(Goal::at_most(shm.ratio_to(floor), 1.8, "x floor"))
            .goal(Goal::at_least(iceoryx2.ratio_to(shm), 2.5, "x faster than iceoryx2"));
        let (smallest, first) = &groups[0];
        if size > smallest {
            ours = ours.goal(Goal::at_most(shm.ratio_to(&first[1].measured), 1.2, "x its 64 B"));
        }
        rows.extend([row(System::Floor, floor), ours, row(System::Iceoryx2, iceoryx2)]);
    }
    rows
}

/// A side's means of playing, whatever the system. Numbers go on from `from`.
pub(super) trait Player {
    fn serve(&mut self, from: u64, count: u64, each: impl FnMut()) -> Result<()>;
    fn answer(&mut self, from: u64, count: u64) -> Result<()>;
}

pub fn side(task: &Task, room: &Room, parent: &Parent) -> Result<()> {
    match task.system {
        System::Floor => {
            play(task.serves, WAYS, parent, Cells::open(room, &format!("pingpong-{}", task.size))?)
        }
        System::Shm => play(task.serves, WAYS, parent, Ends::<Shm>::open(task, room)?),
        System::Iceoryx2 => play(task.serves, WAYS, parent, Ends::<Iceoryx2>::open(task, room)?),
    }
}

/// What is timed is there and back again.
const WAYS: u64 = 2;

/// Plays as the orders say. What goes there and back is timed, and counts for `ways` of what is measured.
pub(super) fn play(serves: bool, ways: u64, parent: &Parent, mut player: impl Player) -> Result<()> {
    parent.ready()?;
    let mut number = 0;
    while let Some(order) = parent.hear::<Order>()? {
        let total = order.batches as u64 * order.count;
        if !serves {
            player.answer(number, total)?;
        } else if order.singly {
            parent.tell(&singles(&mut player, ways, number, total)?)?;
        } else {
            let mut from = number;
            let samples = batches(order.batches, order.count * ways, || {
                from += order.count;
                player.serve(from - order.count, order.count, || {})
            })?;
            parent.tell(&samples)?;
        }
        number += total;
    }
    Ok(())
}

fn singles(player: &mut impl Player, ways: u64, number: u64, total: u64) -> Result<Vec<f64>> {
    let mut samples = Vec::with_capacity(total as usize);
    let mut last = Instant::now();
    player.serve(number, total, || {
        let now = Instant::now();
        samples.push((now - last).as_nanos() as f64 / ways as f64);
        last = now;
    })?;
    Ok(samples)
}

impl Player for Cells {
    fn serve(&mut self, from: u64, count: u64, each: impl FnMut()) -> Result<()> {
        Cells::serve(self, from, count, each);
        Ok(())
    }

    fn answer(&mut self, from: u64, count: u64) -> Result<()> {
        self.give_back(from, count);
        Ok(())
    }
}

struct Ends<P: Peer> {
    to: P::Publisher,
    from: P::Subscriber,
    size: usize,
    _peer: P,
}

/// How many messages a topic keeps. One is under way at any time, and that is what iceoryx2's own benchmark allows for;
/// ours gets its default, or for large messages less, since it keeps what it has published.
fn depth(task: &Task) -> usize {
    match (task.system, task.size) {
        (System::Iceoryx2, _) => 1,
        (_, size) if size <= 1 << 20 => 64,
        _ => 8,
    }
}

impl<P: Peer> Ends<P> {
    fn open(task: &Task, room: &Room) -> Result<Ends<P>> {
        let peer = P::open(room)?;
        let topics = [format!("ping-{}", task.size), format!("pong-{}", task.size)];
        let [to, from] = if task.serves { [&topics[0], &topics[1]] } else { [&topics[1], &topics[0]] };
        let shape = Shape::one_to_one(task.size, depth(task));
        Ok(Ends {
            to: peer.publisher(to, shape)?,
            from: peer.subscriber(from, shape)?,
            size: task.size,
            _peer: peer,
        })
    }
}

impl<P: Peer> Player for Ends<P> {
    fn serve(&mut self, from: u64, count: u64, mut each: impl FnMut()) -> Result<()> {
        let mut loan = P::loan(&self.to, self.size)?;
        for number in from + 1..=from + count {
            write_line(&mut loan, number);
            P::publish(loan)?;
            loan = P::loan(&self.to, self.size)?;
            check(read_line(&P::spin(&self.from)?), number)?;
            each();
        }
        Ok(())
    }

    fn answer(&mut self, from: u64, count: u64) -> Result<()> {
        let mut loan = P::loan(&self.to, self.size)?;
        for number in from + 1..=from + count {
            let sample = P::spin(&self.from)?;
            check(read_line(&sample), number)?;
            write_line(&mut loan, number);
            P::publish(loan)?;
            drop(sample);
            loan = P::loan(&self.to, self.size)?;
        }
        Ok(())
    }
}

#[inline]
pub(super) fn write_line(payload: &mut [u8], number: u64) {
    for word in payload[..LINE].chunks_exact_mut(8) {
        word.copy_from_slice(&number.to_ne_bytes());
    }
}

/// The number that the line holds, or another one if its words differ.
#[inline]
pub(super) fn read_line(payload: &[u8]) -> u64 {
    let words =
        payload[..LINE].chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().unwrap_or_default()));
    let (and, or) = words.fold((u64::MAX, 0), |(and, or), word| (and & word, or | word));
    if and == or {
        and
    } else {
        u64::MAX
    }
}

#[inline]
pub(super) fn check(got: u64, number: u64) -> Result<()> {
    if got == number {
        Ok(())
    } else {
        Err(format!("message {number} came as {got}").into())
    }
}
