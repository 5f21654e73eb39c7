// SPDX-License-Identifier: MIT OR Apache-2.0
//! What others notice of processes that are stopped: a subscriber that holds all it may, a publisher with messages in the ring, and
//! one that joins and leaves over and over, and so stands still in the middle of joining, of leaving or of recovering another.
//!
//! The figure is the 99.9th percentile of a publish and its receive, by a process that goes on: beside those who are stopped, over
//! the same beside nobody.

use rustix::process::{kill_process, Pid, Signal};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{now, Bench};
use crate::peers::{Peer, Shape, Shm};
use crate::process::{Parent, Side};
use crate::report::{Goal, Row};
use crate::room::Room;
use crate::stats::{quantile, Better, Measured};
use crate::Result;

const NAME: &str = "stopped";
const SIZE: usize = 64;
const ALONE: &str = "stopped-none";
const BESIDE: &str = "stopped-some";

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Role {
    Talker,
    Holder,
    Publisher,
    Joiner,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Task {
    topic: String,
    role: Role,
}

fn shape() -> Shape {
    Shape::one_to_one(SIZE, 64)
}

fn start(bench: &Bench, cpu: usize, topic: &str, role: Role) -> Result<Side> {
    Side::start(&bench.room, cpu, &super::Task::Stopped(Task { topic: topic.to_owned(), role }))
}

fn signal(side: &Side, signal: Signal) -> Result<()> {
    let pid = Pid::from_raw(side.id() as i32).ok_or("a side without a process")?;
    Ok(kill_process(pid, signal)?)
}

pub fn run(bench: &Bench) -> Result<Vec<Row>> {
    let mut talkers = [start(bench, 0, ALONE, Role::Talker)?, start(bench, 0, BESIDE, Role::Talker)?];
    let roles = [Role::Holder, Role::Publisher, Role::Joiner, Role::Joiner];
    let mut others =
        roles.iter().map(|&role| start(bench, 1, BESIDE, role)).collect::<Result<Vec<Side>>>()?;
    let mut measured = [Measured::new(Better::Less), Measured::new(Better::Less)];
    for _ in 0..bench.either(40, 15) {
        for other in &mut others {
            // Sets the joiners off; where they are when the signal comes is chance.
            other.tell(&())?;
        }
        let start = now();
        while now() < start + 2_000_000 {
            std::hint::spin_loop();
        }
        others.iter().try_for_each(|other| signal(other, Signal::STOP))?;
        for (talker, measured) in talkers.iter_mut().zip(&mut measured) {
            let tail: f64 = talker.ask(&bench.either(50_000u64, 20_000))?;
            measured.round(&[tail]);
        }
        others.iter().try_for_each(|other| signal(other, Signal::CONT))?;
        others.iter_mut().try_for_each(|other| other.hear::<()>())?;
    }
    let [alone, beside] = measured;
    let row =
        |stopped: usize, measured| Row::new(NAME, "shm", json!({"stopped": stopped}), measured, "ns p99.9");
    let goal = Goal::at_most(beside.ratio_to(&alone), 2.0, "x nobody stopped");
    Ok(vec![row(0, &alone), row(others.len(), &beside).goal(goal)])
}

pub fn side(task: &Task, room: &Room, parent: &Parent) -> Result<()> {
    let peer = Shm::open(room)?;
    match task.role {
        Role::Talker => talk(&peer, &task.topic, parent),
        Role::Holder => {
            let (publisher, subscriber) =
                (peer.publisher(&task.topic, shape())?, peer.subscriber(&task.topic, shape())?);
            let mut held = Vec::new();
            for _ in 0..subscriber.info().holds {
                publisher.publish(&[0; SIZE])?;
                held.extend(subscriber.try_receive()?);
            }
            stand(parent, || Ok(()))
        }
        Role::Publisher => {
            let publisher = peer.publisher(&task.topic, shape())?;
            stand(parent, || {
                publisher.publish(&[0; SIZE])?;
                Ok(())
            })
        }
        Role::Joiner => stand(parent, || {
            let start = now();
            while now() < start + 4_000_000 {
                drop(peer.subscriber(&task.topic, shape())?);
                peer.publisher(&task.topic, shape())?.publish(&[0; SIZE])?;
            }
            Ok(())
        }),
    }
}

/// Does `work` each time that it is told to.
fn stand(parent: &Parent, mut work: impl FnMut() -> Result<()>) -> Result<()> {
    parent.ready()?;
    while let Some(()) = parent.hear()? {
        work()?;
        parent.tell(&())?;
    }
    Ok(())
}

fn talk(peer: &Shm, topic: &str, parent: &Parent) -> Result<()> {
    let (publisher, subscriber) = (peer.publisher(topic, shape())?, peer.subscriber(topic, shape())?);
    parent.ready()?;
    while let Some(count) = parent.hear::<u64>()? {
        let mut took = Vec::with_capacity(count as usize);
        for number in 0..count {
            let start = now();
            publisher.publish(&[number as u8; SIZE])?;
            while Shm::try_receive(&subscriber)?.is_some_and(|sample| sample[0] != number as u8) {}
            took.push((now() - start) as f64);
        }
        parent.tell(&quantile(&took, 0.999))?;
    }
    Ok(())
}
