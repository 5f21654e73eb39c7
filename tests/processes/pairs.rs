// SPDX-License-Identifier: MIT OR Apache-2.0
//! Two processes join or leave at once, each stopped at a chosen place inside the other's way: the interleavings that
//! free-running processes meet once in a million times.

use std::path::PathBuf;

use crate::steps::{leave_a_dead, run_to, start_victim, subscriber, Phase, INSTANCE, JOINED, LEFT};
use crate::support::child::Child;
use crate::support::random::Random;
use crate::support::shared::Shared;
use crate::support::trace::Traced;
use crate::support::{rounds, skipped, Root};

/// How often the two take turns, and system calls that a turn has at most: joining takes some 50.
const TURNS: u64 = 10;
const CALLS: u64 = 30;
const INSTRUCTIONS: u64 = 300;

/// One of the two.
struct Half {
    child: Child,
    shared: Shared,
    phase: Phase,
    publishes: bool,
}

impl Half {
    fn new(root: &Root, file: PathBuf, phase: Phase, publishes: bool) -> Half {
        let shared = Shared::open(&file);
        shared.set(JOINED, 0);
        shared.set(LEFT, 0);
        let child = start_victim(root.path(), &file, publishes);
        Half { child, shared, phase, publishes }
    }

    fn random(root: &Root, file: PathBuf, random: &mut Random) -> Half {
        let phase = if random.below(3) == 0 { Phase::Leave } else { Phase::Join };
        Half::new(root, file, phase, random.below(2) == 0)
    }

    /// Goes as far as where its phase begins.
    fn prepare(&mut self) -> std::io::Result<Traced> {
        let thread = self.child.hear_number() as i32;
        if self.phase == Phase::Leave {
            self.child.say("join");
            self.child.expect("joined");
        }
        let traced = Traced::attach(self.child.pid(), thread)?;
        self.child.say("go on");
        Ok(traced)
    }

    /// Goes on a little, or far.
    fn take_turn(&self, traced: &mut Traced, random: &mut Random) {
        let most = if random.below(2) == 0 { 4 } else { CALLS };
        let (calls, instructions) = (random.below(most), random.below(2) * random.below(INSTRUCTIONS));
        eprintln!("{calls} calls and {instructions} instructions");
        run_to(traced, &self.shared, self.phase, calls, instructions);
    }

    /// Does the rest of the phase; the instance that it is in then.
    fn complete(&mut self, traced: Traced) -> Option<u64> {
        drop(traced);
        match self.phase {
            Phase::Join => {
                self.child.expect("joined");
                Some(self.shared.get(INSTANCE))
            }
            Phase::Leave => {
                self.child.expect("left");
                None
            }
        }
    }

    fn end(mut self) {
        if self.phase == Phase::Join {
            self.child.say("leave");
            self.child.expect("left");
        }
        self.child.finish();
    }
}

fn round(root: &Root, beside: &std::path::Path, random: &mut Random) -> std::io::Result<()> {
    if random.below(2) == 0 {
        leave_a_dead(root.path(), &beside.join("dead"));
    }
    let mut one = Half::random(root, beside.join("one"), random);
    let mut two = Half::random(root, beside.join("two"), random);
    for Half { phase, publishes, .. } in [&one, &two] {
        eprintln!("{phase:?}, publishes: {publishes}");
    }
    let mut one_traced = one.prepare()?;
    let mut two_traced = two.prepare()?;
    for _ in 0..random.below(TURNS) {
        one.take_turn(&mut one_traced, random);
        two.take_turn(&mut two_traced, random);
    }
    // A third gets in though both stand still.
    let third = subscriber(root.path()).unwrap();
    // Either ends its phase though the other stands still.
    let instances = if random.below(2) == 0 {
        [one.complete(one_traced), two.complete(two_traced)]
    } else {
        [two.complete(two_traced), one.complete(one_traced)]
    };
    for instance in instances.into_iter().flatten() {
        assert_eq!(instance, third.info().instance, "two topics of one name: {instances:x?}");
    }
    drop(third);
    one.end();
    two.end();
    root.assert_empty();
    Ok(())
}

#[test]
fn two_processes_may_meet_anywhere() {
    let (root, beside) = (Root::new(), tempfile::tempdir().unwrap());
    let mut random = Random::printed();
    for _ in 0..rounds(150) {
        if let Err(error) = round(&root, beside.path(), &mut random) {
            return skipped(&format!("ptrace isn't permitted: {error}"));
        }
    }
}

fn has(root: &Root, prefix: &str) -> bool {
    root.files().iter().any(|path| path.file_name().unwrap().to_string_lossy().starts_with(prefix))
}

/// A maker whose unfinished topic another takes for a dead one's, while it still puts files there.
fn rob(root: &Root, beside: &std::path::Path, of_one: u64, of_two: u64) -> std::io::Result<()> {
    let mut one = Half::new(root, beside.join("one"), Phase::Join, true);
    let mut two = Half::new(root, beside.join("two"), Phase::Join, true);
    let mut one_traced = one.prepare()?;
    let mut two_traced = two.prepare()?;
    while !has(root, ".new-") {
        assert!(one_traced.run_to_call());
    }
    // It has opened the new directory.
    one_traced.run_to_call();
    one_traced.run_to_call();
    while !has(root, ".dead-") {
        assert!(two_traced.run_to_call());
    }
    for _ in 0..of_two {
        two_traced.run_to_call();
    }
    for _ in 0..of_one {
        one_traced.run_to_call();
    }
    assert_eq!(two.complete(two_traced), one.complete(one_traced));
    one.end();
    two.end();
    root.assert_empty();
    Ok(())
}

#[test]
fn a_maker_that_is_robbed_starts_again_and_leaves_nothing() {
    let (root, beside) = (Root::new(), tempfile::tempdir().unwrap());
    for (of_one, of_two) in (0..12).flat_map(|one| (0..20).map(move |two| (one, two))) {
        eprintln!("{of_two} calls of one, then {of_one} of the other");
        if let Err(error) = rob(&root, beside.path(), of_one, of_two) {
            return skipped(&format!("ptrace isn't permitted: {error}"));
        }
    }
}

/// One joins up to a place where it has seen that the other is there; the other, the last one, leaves up to some place;
/// then the first goes on, and the second.
fn cross(root: &Root, beside: &std::path::Path, joins: u64, leaves: u64) -> std::io::Result<bool> {
    let mut leaver = Half::new(root, beside.join("one"), Phase::Leave, false);
    let mut leaver_traced = leaver.prepare()?;
    let mut joiner = Half::new(root, beside.join("two"), Phase::Join, false);
    let mut joiner_traced = joiner.prepare()?;
    run_to(&mut joiner_traced, &joiner.shared, Phase::Join, joins, 0);
    let midway = run_to(&mut leaver_traced, &leaver.shared, Phase::Leave, leaves, 0);
    let instance = joiner.complete(joiner_traced);
    leaver.complete(leaver_traced);
    let third = subscriber(root.path()).unwrap();
    assert_eq!(instance, Some(third.info().instance), "two topics of one name");
    drop(third);
    leaver.end();
    joiner.end();
    root.assert_empty();
    Ok(midway)
}

#[test]
fn one_who_joins_and_the_last_who_leaves_may_cross_anywhere() {
    let (root, beside) = (Root::new(), tempfile::tempdir().unwrap());
    for joins in (0..40).step_by(3) {
        for leaves in 0.. {
            eprintln!("{joins} calls of joining, {leaves} of leaving");
            match cross(&root, beside.path(), joins, leaves) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => return skipped(&format!("ptrace isn't permitted: {error}")),
            }
        }
    }
}
