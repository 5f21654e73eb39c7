// SPDX-License-Identifier: MIT OR Apache-2.0
//! The model `life`: nothing is found as it is, and each missing guard is.

use shm_model::life::{Label, Life};
use shm_model::{assert_each_is_found, assert_guards_nothing, assert_nothing_is_found, Fault, Mutation};

const PUBLISHER: (bool, u8) = (true, 1);
const SUBSCRIBER: (bool, u8) = (false, 1);

/// Two that come and go twice, so that the name is used again.
const TWICE: Life =
    Life { processes: &[(true, 2), (false, 2)], late: false, kills: true, mutation: Mutation::None };
/// A third that comes when one of two is gone.
const THIRD: Life = Life { processes: &[PUBLISHER, SUBSCRIBER, PUBLISHER], late: true, ..TWICE };

#[test]
fn nothing_is_found() {
    // Where a process stands still; a user in a topic that is REMOVED, whom only a missing guard shows; and a recovery that failed as
    // the ring was gone, which takes more processes than these.
    let never = [Label::Done, Label::Killed, Label::LiveAgain, Label::TakeUnlock].map(|label| label as usize);
    assert_nothing_is_found(&[TWICE, THIRD], Label::COUNT, &never);
}

#[test]
fn every_missing_guard_is_found() {
    assert_each_is_found(&[
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
    ]);
}

/// That `peers` goes last is for directories that hold more than the library's files, or can't be listed: a directory without it is
/// cleared by the next to come as well.
#[test]
fn the_order_of_deletion_guards_nothing_here() {
    assert_guards_nothing(Mutation::PeersFirst, TWICE);
}
