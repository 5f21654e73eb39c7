// SPDX-License-Identifier: MIT OR Apache-2.0
//! A process is killed before every store to shared memory and every system call that others can see, in every
//! operation of the library; then a second one, at every such point of recovering it. Whatever the two left, the
//! others go on, and an audit finds nothing amiss.
//!
//! Killed *before* each point is enough: between two points nothing changes that anybody else sees. The points are the
//! library's own (`src/crash.rs`), so this needs its feature `crash-points`.
//!
//! - `operations.rs` is the table of what is killed, and the victim's part;
//! - `calls.rs` is its part about services;
//! - `world.rs`, and for services `service.rs`, is who is there beside the victim, and what must hold afterwards;
//! - `coverage.rs` compares the points in the source with those that were killed at.

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/copier.rs"]
mod copier;

mod calls;
mod coverage;
mod operations;
mod service;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Mutex;

use operations::{all, recoveries, Around, Operation};
use support::child::Role;
use support::random::Random;
use world::{Ending, World};

const ROLES: &[Role] = &[
    ("calls::sleeping_client", calls::sleeping_client),
    ("calls::sleeping_server", calls::sleeping_server),
    ("operations::sleeper", operations::sleeper),
    ("operations::victim", operations::victim),
];

#[test]
#[ignore = "a child's part: the other tests start it"]
fn child() {
    support::child::run(ROLES);
}

/// Does `work` on each item, on as many threads as there are cores.
fn in_parallel<'a, T: Sync>(items: &'a [T], work: impl Fn(&'a T) + Sync) {
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(2, |cores| cores.get());
    std::thread::scope(|scope| {
        let worker = || {
            while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                work(item);
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        for worker in workers {
            if let Err(panic) = worker.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
}

/// The points that `operation` comes by, in order.
fn points(operation: &Operation) -> Vec<String> {
    let _context = Context(operation.name.to_owned());
    let world = World::new(operation.around);
    let points = world.record(operation);
    world.check();
    points
}

/// Each operation with the number of its points.
fn counted() -> Vec<(&'static Operation, usize)> {
    let found = Mutex::new(Vec::new());
    in_parallel(&all(), |operation| {
        let count = points(operation).len();
        found.lock().unwrap().push((*operation, count));
    });
    found.into_inner().unwrap()
}

#[test]
fn a_process_killed_at_any_point_of_any_operation_is_in_nobodys_way() {
    let cases: Vec<Victim> = counted()
        .into_iter()
        .flat_map(|(operation, count)| (0..count).map(move |at| (operation, at)))
        .collect();
    let slowest = AtomicUsize::new(0);
    in_parallel(&cases, |victim| {
        let _context = Context(format!("{victim:?}"));
        slowest.fetch_max(world_with(victim).check().as_micros() as usize, Ordering::Relaxed);
    });
    println!("{} operations killed at each of their points: {} cases", all().len(), cases.len());
    println!("the longest that a survivor was kept from an operation: {} us", slowest.into_inner());
}

/// A victim, and the point that it was killed at.
type Victim = (&'static Operation, usize);

/// One who comes by the dead, and the points that it comes by in doing so.
type Recovery = (&'static Operation, Vec<String>);

fn world_with(&(operation, at): &Victim) -> World {
    let world = World::new(operation.around);
    let ending = world.run(operation, at);
    // How often it sleeps, and so how many points it comes by, is for the machine to say.
    if !operations::TIMED.contains(&operation.name) {
        assert_eq!(ending, Ending::Killed, "it came by fewer points this time");
    }
    world
}

/// A recovery is taken apart once for each way in which it can go, that is for each sequence of points: the one who is recovered is any of
/// those who make it go that way, another one in each run. With `SHM_TEST_FACTOR` it is taken apart for each of them.
#[test]
fn a_recoverer_killed_at_any_point_is_recovered_in_turn() {
    let mut victims: Vec<Victim> = counted()
        .into_iter()
        // It takes a second each time, and recovers as the others do.
        .filter(|(operation, _)| operation.name != operations::SLOW)
        .flat_map(|(operation, count)| (0..count).map(move |at| (operation, at)))
        .collect();
    let mut random = Random::printed();
    for last in (1..victims.len()).rev() {
        victims.swap(last, random.below(last as u64 + 1) as usize);
    }
    let ways: Mutex<BTreeMap<Recovery, Vec<Victim>>> = Mutex::default();
    in_parallel(&victims, |victim| {
        for recovery in recoveries(victim.0.around) {
            let _context = Context(format!("{victim:?}, {}", recovery.name));
            let world = world_with(victim);
            let points = world.record(recovery);
            world.check();
            ways.lock().unwrap().entry((recovery, points)).or_default().push(*victim);
        }
    });
    let ways = ways.into_inner().unwrap();
    let each = if support::factor() > 1 { usize::MAX } else { 1 };
    let pairs: Vec<(Victim, &Operation, usize)> = ways
        .iter()
        .flat_map(|((recovery, points), victims)| {
            let victims = victims.iter().take(each);
            victims.flat_map(move |&victim| (0..points.len()).map(move |at| (victim, *recovery, at)))
        })
        .collect();
    in_parallel(&pairs, |(victim, recovery, at)| {
        let _context = Context(format!("{victim:?}; {}, killed at its point {at}", recovery.name));
        let world = world_with(victim);
        assert_eq!(world.run(recovery, *at), Ending::Killed, "it came by fewer points this time");
        world.check();
    });
    println!(
        "{} victims, {} ways of recovering them, killed at each point: {} pairs",
        victims.len(),
        ways.len(),
        pairs.len()
    );
}

/// What is taken apart by the instruction, and how many of them an ordinary run tries.
const STEPPED: &[(&str, u64)] = &[
    ("publish", 60),
    ("publish to one who sleeps", 30),
    ("publish where the hint is behind", 30),
    ("evict", 30),
    ("receive", 60),
    ("receive after a lap", 30),
    ("release", 30),
    ("join to publish and recover the dead", 40),
    ("gc among the living", 40),
    ("send", 40),
    ("take a request", 40),
    ("take a request where others wait for room", 20),
    ("reply", 40),
    ("take a reply", 40),
    ("reply with a stream", 20),
    ("join to serve and recover the dead", 20),
];

/// So many instructions behind a system call are tried at most; there may be millions between two in a build that isn't optimised, which take seconds.
const INSTRUCTIONS: u64 = 2000;

/// Beyond the points: the library should have none that matters between two of them, but the processor doesn't know of points. The
/// seed chooses the system call and the number of instructions behind it.
fn at_instructions() -> std::io::Result<()> {
    let mut random = Random::printed();
    let mut cases = Vec::new();
    for &(name, usual) in STEPPED {
        let operation = all().into_iter().find(|operation| operation.name == name).unwrap();
        let world = World::new(operation.around);
        let calls = world.step(operation, u64::MAX, 0)?;
        world.check();
        let mut behind = || (operation, random.below(calls + 1), random.below(INSTRUCTIONS));
        cases.extend((0..support::rounds(usual)).map(|_| behind()));
    }
    in_parallel(&cases, |&(operation, calls, instructions)| {
        let _context = Context(format!("{operation:?}, {instructions} instructions behind its call {calls}"));
        let world = World::new(operation.around);
        world.step(operation, calls, instructions).unwrap();
        world.check();
    });
    println!("{} kills", cases.len());
    Ok(())
}

#[test]
fn a_process_killed_at_any_instruction_is_in_nobodys_way() {
    if let Err(error) = at_instructions() {
        support::skipped(&format!("ptrace isn't permitted: {error}"));
    }
}

#[test]
fn every_point_in_the_source_is_killed_at() {
    let reached = Mutex::new(BTreeSet::new());
    in_parallel(&all(), |operation| {
        let points = points(operation);
        reached.lock().unwrap().extend(points);
    });
    coverage::check(&reached.into_inner().unwrap());
}

/// Says what was tried when it fails.
struct Context(String);

impl Drop for Context {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in this case: {}", self.0);
        }
    }
}

/// The names are what failures and exemptions speak of.
#[test]
fn operations_have_names_of_their_own() {
    let names: BTreeSet<_> = all().iter().map(|operation| operation.name).collect();
    assert_eq!(names.len(), all().len());
    assert!(all().iter().any(|operation| operation.around == Around::Nobody));
}
