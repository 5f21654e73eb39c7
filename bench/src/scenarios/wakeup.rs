// SPDX-License-Identifier: MIT OR Apache-2.0
//! From a publisher to a subscriber that sleeps, against a bare futex.
//!
//! The waker makes sure that the other one is asleep: it asks the kernel, and then waits a moment longer, so that
//! the other CPU is as idle for one system as it is for the next. Both write the time down in the same place.

use std::fs;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{now, Bench, System};
use crate::floor::Cells;
use crate::peers::{Peer, Shape, Shm};
use crate::process::{Parent, Side};
use crate::report::{Goal, Row};
use crate::room::Room;
use crate::stats::{Better, Measured};
use crate::Result;

const NAME: &str = "wakeup";
const QUIET: Duration = Duration::from_micros(200);

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Task {
    system: System,
    /// The process to wake; `None` makes this the one that sleeps.
    wakes: Option<u32>,
}

struct Pair {
    waking: Side,
    sleeping: Side,
    measured: Measured,
}

impl Pair {
    fn start(bench: &Bench, system: System) -> Result<Pair> {
        let sleeping = Side::start(&bench.room, 1, &super::Task::Wakeup(Task { system, wakes: None }))?;
        let task = super::Task::Wakeup(Task { system, wakes: Some(sleeping.id()) });
        Ok(Pair {
            waking: Side::start(&bench.room, 0, &task)?,
            sleeping,
            measured: Measured::new(Better::Less),
        })
    }

    fn round(&mut self, count: u64) -> Result<()> {
        self.sleeping.tell(&count)?;
        self.waking.tell(&count)?;
        let samples: Vec<f64> = self.sleeping.hear()?;
        self.measured.round(&samples);
        Ok(())
    }
}

pub fn run(bench: &Bench) -> Result<Vec<Row>> {
    let mut pairs = [Pair::start(bench, System::Floor)?, Pair::start(bench, System::Shm)?];
    for _ in 0..bench.either(25, 9) {
        for pair in &mut pairs {
            pair.round(bench.either(200, 100))?;
        }
    }
    let [floor, shm] = pairs.map(|pair| pair.measured);
    let row = |system: System, measured| Row::new(NAME, system.name(), json!({}), measured, "us");
    let ratio = shm.ratio_to(&floor);
    Ok(vec![
        row(System::Floor, &floor).over_floor(1.0),
        row(System::Shm, &shm).over_floor(ratio).goal(Goal::at_most(ratio, 1.1, "x futex")),
    ])
}

/// The words of the page that the two share.
const TURN: usize = 0;
const STAMP: usize = 1;

pub fn side(task: &Task, room: &Room, parent: &Parent) -> Result<()> {
    let cells = Cells::open(room, &format!("wakeup-{}", task.system.name()))?;
    let shape = Shape::one_to_one(64, 8);
    match (task.system, task.wakes) {
        (System::Floor, Some(other)) => wake(other, &cells, parent, || cells.wake()),
        (System::Floor, None) => sleep(&cells, parent, |before| {
            cells.sleep_beyond(before);
            Ok(())
        }),
        (System::Shm, Some(other)) => {
            let publisher = Shm::open(room)?.publisher(NAME, shape)?;
            wake(other, &cells, parent, || Shm::publish_copy(&publisher, &[0; 64]))
        }
        (System::Shm, None) => {
            let subscriber = Shm::open(room)?.subscriber(NAME, shape)?;
            sleep(&cells, parent, |_| {
                subscriber.receive()?;
                Ok(())
            })
        }
        (System::Iceoryx2, _) => Err("its publish-subscribe service has nobody who sleeps".into()),
    }
}

fn wake(other: u32, cells: &Cells, parent: &Parent, ring: impl Fn() -> Result<()>) -> Result<()> {
    parent.ready()?;
    let mut turn = 0;
    while let Some(count) = parent.hear::<u64>()? {
        for _ in 0..count {
            turn += 1;
            while cells.word(TURN).load(Ordering::Acquire) != turn || !sleeps(other)? {}
            let quiet = Instant::now();
            while quiet.elapsed() < QUIET {}
            cells.word(STAMP).store(now(), Ordering::Release);
            ring()?;
        }
    }
    Ok(())
}

/// `doze` gets the number of rings that were there when it was this side's turn.
fn sleep(cells: &Cells, parent: &Parent, doze: impl Fn(u32) -> Result<()>) -> Result<()> {
    parent.ready()?;
    let mut turn = 0;
    while let Some(count) = parent.hear::<u64>()? {
        let mut samples = Vec::with_capacity(count as usize);
        for _ in 0..count {
            turn += 1;
            let rings = cells.rings();
            cells.word(TURN).store(turn, Ordering::Release);
            doze(rings)?;
            let awake = now();
            samples.push((awake - cells.word(STAMP).load(Ordering::Acquire)) as f64 / 1000.0);
        }
        parent.tell(&samples)?;
    }
    Ok(())
}

fn sleeps(process: u32) -> Result<bool> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    Ok(state == Some('S'))
}
