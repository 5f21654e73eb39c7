// SPDX-License-Identifier: MIT OR Apache-2.0
//! How long two fresh processes take from their first call to their first message.
//!
//! Both are running already and wait at a shared word, because starting a process is not the library's work. The
//! publisher takes the time, releases the word, makes its publisher and publishes; the subscriber makes its
//! subscriber at the same moment and asks for history, since either may be first. Then a third fresh process
//! joins the topic that is there and receives what was published before. Every sample has new processes and a
//! new topic. What a system wants made once in a process (iceoryx2: its node) is part of the time.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{now, Bench, System};
use crate::floor::Cells;
use crate::peers::{Iceoryx2, Peer, Shape, Shm};
use crate::process::{Parent, Side};
use crate::report::{Goal, Row};
use crate::room::Room;
use crate::stats::{Better, Measured};
use crate::Result;

const NAME: &str = "startup";
const SHAPE: Shape = Shape { size: 64, depth: 8, subscribers: 2, history: 1 };
/// How long the publisher waits for its parent to be asleep again.
const QUIET: Duration = Duration::from_micros(300);

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Task {
    system: System,
    sample: usize,
    part: Part,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Part {
    Publish,
    /// Start when the publisher starts.
    Subscribe,
    /// Start at once.
    Join,
}

/// Nanoseconds on the clock that all processes share.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Times {
    start: u64,
    /// The publisher, or the subscriber, is made.
    made: u64,
    /// The message is published, or received.
    done: u64,
}

struct Figures {
    system: System,
    first: Measured,
    publisher: Measured,
    join: Measured,
}

impl Figures {
    fn new(system: System) -> Figures {
        let less = || Measured::new(Better::Less);
        Figures { system, first: less(), publisher: less(), join: less() }
    }

    fn sample(&mut self, bench: &Bench, sample: usize) -> Result<()> {
        let task = |part| super::Task::Startup(Task { system: self.system, sample, part });
        let mut publishing = Side::start(&bench.room, 0, &task(Part::Publish))?;
        let mut subscribing = Side::start(&bench.room, 1, &task(Part::Subscribe))?;
        subscribing.tell(&())?;
        publishing.tell(&())?;
        let received: Times = subscribing.hear()?;
        let mut joining = Side::start(&bench.room, 1, &task(Part::Join))?;
        let joined: Times = joining.ask(&())?;
        publishing.tell(&())?;
        let published: Times = publishing.hear()?;

        let micros = |from: u64, to: u64| [to.saturating_sub(from) as f64 / 1000.0];
        self.first.round(&micros(published.start, received.done));
        self.publisher.round(&micros(published.start, published.made));
        self.join.round(&micros(joined.start, joined.done));
        Ok(())
    }

    fn rows(&self) -> Vec<Row> {
        let row = |what, measured| Row::new(NAME, self.system.name(), json!({"what": what}), measured, "us");
        let first = row("first message", &self.first);
        let goal = Goal::at_most(self.first.median(), 1000.0, "us");
        vec![
            if self.system == System::Shm { first.goal(goal) } else { first },
            row("make a publisher", &self.publisher),
            row("join and receive", &self.join),
        ]
    }
}

pub fn run(bench: &Bench) -> Result<Vec<Row>> {
    let mut systems = [Figures::new(System::Shm), Figures::new(System::Iceoryx2)];
    for sample in 0..bench.either(60, 15) {
        for figures in &mut systems {
            figures.sample(bench, sample)?;
        }
    }
    Ok(systems.iter().flat_map(Figures::rows).collect())
}

pub fn side(task: &Task, room: &Room, parent: &Parent) -> Result<()> {
    match task.system {
        System::Floor => Err("the floor has nothing to start".into()),
        System::Shm => part::<Shm>(task, room, parent),
        System::Iceoryx2 => part::<Iceoryx2>(task, room, parent),
    }
}

fn part<P: Peer>(task: &Task, room: &Room, parent: &Parent) -> Result<()> {
    let name = format!("startup-{}-{}", task.system.name(), task.sample);
    let cells = Cells::open(room, &name)?;
    let go = cells.word(0);
    go.load(Ordering::Relaxed); // the page is there before it is needed
    parent.ready()?;
    parent.hear::<()>()?;
    if task.part == Part::Publish {
        let quiet = Instant::now();
        while quiet.elapsed() < QUIET {}
        let start = now();
        go.store(1, Ordering::Release);
        return publish::<P>(&name, room, parent, start);
    }
    while task.part == Part::Subscribe && go.load(Ordering::Acquire) == 0 {}
    let start = now();
    let peer = P::open(room)?;
    let subscriber = peer.subscriber(&name, SHAPE)?;
    let made = now();
    let sample = P::spin(&subscriber)?;
    let done = now();
    if sample[..] != [7; 64] {
        return Err("received something else than was published".into());
    }
    parent.tell(&Times { start, made, done })?;
    drop(sample);
    parent.hear::<()>()?; // stay until dismissed
    Ok(())
}

fn publish<P: Peer>(name: &str, room: &Room, parent: &Parent, start: u64) -> Result<()> {
    let peer = P::open(room)?;
    let publisher = peer.publisher(name, SHAPE)?;
    let made = now();
    P::publish_copy(&publisher, &[7; 64])?;
    let times = Times { start, made, done: now() };
    while !parent.has_spoken()? {
        P::attend(&publisher)?;
    }
    parent.tell(&times)?;
    parent.hear::<()>()?; // the order that was waiting
    Ok(())
}
