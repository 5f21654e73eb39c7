// SPDX-License-Identifier: MIT OR Apache-2.0
//! The model `life`: nothing is found as it is, and each missing guard is.

use shm_model::life::{Label, Life};
use shm_model::{explore, unreached, Fault, Mutation};

const PUBLISHER: (bool, u8) = (true, 1);
const SUBSCRIBER: (bool, u8) = (false, 1);

/// Two that come and go twice, so that the name is used again.
const TWICE: Life =
    Life { processes: &[(true, 2), (false, 2)], late: false, kills: true, mutation: Mutation::None };
/// A third that comes when one of two is gone.
const THIRD: Life = Life { processes: &[PUBLISHER, SUBSCRIBER, PUBLISHER], late: true, ..TWICE };

#[test]
fn nothing_is_found() {
    let mut all = 0;
    for model in [TWICE, THIRD] {
        let from = std::time::Instant::now();
        let outcome = explore(model, None);
        println!("{:?}: {} states in {:?}", model.processes, outcome.states, from.elapsed());
        assert!(outcome.faults.is_empty(), "{model:?}: {:?}", outcome.faults);
        all += outcome.states;
    }
    println!("{all} states");
    // Where a process stands still; a user in a topic that is REMOVED, whom only a missing guard shows; and a recovery that failed as
    // the ring was gone, which takes more processes than these.
    let never = [Label::Done, Label::Killed, Label::LiveAgain, Label::TakeUnlock];
    let never = never.map(|label| label as usize);
    let missed: Vec<usize> =
        unreached(Label::COUNT).into_iter().filter(|label| !never.contains(label)).collect();
    assert!(missed.is_empty(), "nobody was ever at the labels {missed:?}");
}

#[test]
fn every_missing_guard_is_found() {
    for (mutation, fault, model) in [
        (Mutation::FreeFirst, Fault::FreeHasSomething, TWICE),
        (Mutation::RecoverUnlocked, Fault::RecoveredUnlocked, TWICE),
        (Mutation::TakenUnlocked, Fault::RecoveredUnlocked, TWICE),
        (Mutation::LiveBeforeLock, Fault::FalseError, THIRD),
        (Mutation::LiveNotAsked, Fault::FalseError, THIRD),
        (Mutation::LocksNotAsked, Fault::Split, TWICE),
        (Mutation::LifeReadAfterLocks, Fault::Split, TWICE),
        (Mutation::RemovedUnchecked, Fault::Split, TWICE),
        (Mutation::RemovedIgnored, Fault::Split, TWICE),
        (Mutation::JoinUncounted, Fault::Split, TWICE),
        (Mutation::LeaveUnlocksFirst, Fault::RecoveredUnlocked, TWICE),
        (Mutation::DeletedByName, Fault::FileGone, TWICE),
        (Mutation::SweptUnrenamed, Fault::FileGone, TWICE),
        (Mutation::RenamedUnfinished, Fault::Stuck, TWICE),
    ] {
        let from = std::time::Instant::now();
        let outcome = explore(Life { mutation, ..model }, Some(fault));
        println!("{mutation:?}: {} states in {:?}", outcome.states, from.elapsed());
        let found = outcome.faults.iter().find(|(name, _)| *name == format!("{fault:?}"));
        assert!(found.is_some(), "{mutation:?}: {fault:?} isn't found, but {:?}", outcome.faults);
    }
}

/// That `peers` goes last is for directories that hold more than the library's files, or can't be listed: a directory without it is
/// cleared by the next to come as well.
#[test]
fn the_order_of_deletion_guards_nothing_here() {
    let outcome = explore(Life { mutation: Mutation::PeersFirst, ..TWICE }, None);
    assert!(outcome.faults.is_empty(), "{:?}", outcome.faults);
}
