// SPDX-License-Identifier: MIT OR Apache-2.0
//! What one publish costs when so and so many subscribers are attached.
//!
//! The subscribers live in another process and are idle, so that only the publisher's own work is timed: on a
//! machine with two cores a hundred busy ones would measure the scheduler. At the end each of them has to find
//! the last message, as a proof that it was there all the time.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{batches, Bench, System};
use crate::peers::{Iceoryx2, Peer, Shape, Shm};
use crate::process::{Parent, Side};
use crate::report::{Goal, Row};
use crate::room::Room;
use crate::stats::{Better, Measured};
use crate::Result;

const NAME: &str = "fanout";
const SIZE: usize = 64;
const DEPTH: usize = 64;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Task {
    system: System,
    counts: Vec<usize>,
    publishes: bool,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Order {
    Publish {
        topic: usize,
        batches: usize,
        count: u64,
    },
    /// How many subscribers find the topic's last message?
    Look {
        topic: usize,
    },
}

struct Group {
    publishing: Side,
    listening: Side,
    counts: Vec<usize>,
    measured: Vec<Measured>,
}

impl Group {
    fn start(bench: &Bench, system: System, counts: &[usize]) -> Result<Group> {
        let task = |publishes| super::Task::Fanout(Task { system, counts: counts.to_vec(), publishes });
        Ok(Group {
            publishing: Side::start(&bench.room, 0, &task(true))?,
            listening: Side::start(&bench.room, 1, &task(false))?,
            counts: counts.to_vec(),
            measured: vec![Measured::new(Better::Less); counts.len()],
        })
    }

    fn round(&mut self, batches: usize) -> Result<()> {
        for topic in 0..self.counts.len() {
            let samples: Vec<f64> = self.publishing.ask(&Order::Publish { topic, batches, count: 250 })?;
            self.measured[topic].round(&samples[1..]); // the first one is for the caches
        }
        Ok(())
    }

    fn check(&mut self) -> Result<()> {
        for (topic, &subscribers) in self.counts.iter().enumerate() {
            let found: usize = self.listening.ask(&Order::Look { topic })?;
            if found != subscribers {
                return Err(format!("{found} of {subscribers} subscribers found the last message").into());
            }
        }
        Ok(())
    }

    fn rows(&self, system: System) -> Vec<Row> {
        let row = |(&subscribers, measured)| {
            Row::new(NAME, system.name(), json!({"subscribers": subscribers}), measured, "ns")
        };
        self.counts.iter().zip(&self.measured).map(row).collect()
    }
}

pub fn run(bench: &Bench) -> Result<Vec<Row>> {
    let mut ours = Group::start(bench, System::Shm, &[1, 8, 32, 128])?;
    let mut theirs = Group::start(bench, System::Iceoryx2, &[1, 8, 16])?;
    for _ in 0..bench.either(25, 9) {
        ours.round(bench.either(80, 40))?;
        theirs.round(bench.either(80, 40))?;
    }
    ours.check()?;
    theirs.check()?;

    let mut rows = ours.rows(System::Shm);
    if let (Some(row), [one, .., many]) = (rows.pop(), &ours.measured[..]) {
        rows.push(row.goal(Goal::at_most(many.ratio_to(one), 1.3, "x one subscriber")));
    }
    rows.extend(theirs.rows(System::Iceoryx2));
    Ok(rows)
}

pub fn side(task: &Task, room: &Room, parent: &Parent) -> Result<()> {
    // Ours has room for everybody in each topic, theirs is said to be fast with no more room than is needed.
    match task.system {
        System::Floor => Err("the floor has no subscribers".into()),
        System::Shm => {
            let most = task.counts.iter().copied().max().unwrap_or_default();
            part::<Shm>(task, room, parent, |_| most)
        }
        System::Iceoryx2 => part::<Iceoryx2>(task, room, parent, |count| count),
    }
}

fn part<P: Peer>(task: &Task, room: &Room, parent: &Parent, places: impl Fn(usize) -> usize) -> Result<()> {
    let peer = P::open(room)?;
    let topics = task.counts.iter().map(|&count| {
        let shape = Shape { subscribers: places(count), ..Shape::one_to_one(SIZE, DEPTH) };
        (format!("fanout-{count}"), count, shape)
    });
    if task.publishes {
        let publishers: Result<Vec<_>> =
            topics.map(|(topic, _, shape)| peer.publisher(&topic, shape)).collect();
        publish::<P>(&publishers?, parent)
    } else {
        let attach = |(topic, count, shape): (String, usize, Shape)| -> Result<Vec<_>> {
            (0..count).map(|_| peer.subscriber(&topic, shape)).collect()
        };
        let subscribers: Result<Vec<_>> = topics.map(attach).collect();
        listen::<P>(&subscribers?, parent)
    }
}

fn publish<P: Peer>(publishers: &[P::Publisher], parent: &Parent) -> Result<()> {
    let mut number: u64 = 0;
    parent.ready()?;
    while let Some(order) = parent.hear()? {
        let Order::Publish { topic, batches: rounds, count } = order else {
            return Err("not my work".into());
        };
        let samples = batches(rounds, count, || {
            for _ in 0..count {
                number += 1;
                let mut loan = P::loan(&publishers[topic], SIZE)?;
                loan[..8].copy_from_slice(&number.to_ne_bytes());
                P::publish(loan)?;
            }
            Ok(())
        })?;
        parent.tell(&samples)?;
    }
    Ok(())
}

fn listen<P: Peer>(topics: &[Vec<P::Subscriber>], parent: &Parent) -> Result<()> {
    parent.ready()?;
    while let Some(order) = parent.hear()? {
        let Order::Look { topic } = order else { return Err("not my work".into()) };
        let mut last = Vec::new();
        for subscriber in &topics[topic] {
            let mut number = 0;
            while let Some(sample) = P::try_receive(subscriber)? {
                number = u64::from_ne_bytes(sample[..8].try_into()?);
            }
            last.push(number);
        }
        let newest = last.iter().copied().max().unwrap_or_default();
        parent.tell(&last.iter().filter(|&&number| number == newest && number > 0).count())?;
    }
    Ok(())
}
