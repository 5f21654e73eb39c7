// SPDX-License-Identifier: MIT OR Apache-2.0
//! The model `chunks`: nothing is found as it is, and each missing guard is.

use shm_model::chunks::Script::{Publish, Receive, Withdraw};
use shm_model::chunks::{Chunks, Label};
use shm_model::{assert_each_is_found, assert_guards_nothing, assert_nothing_is_found, Fault, Mutation};

const NONE: Chunks =
    Chunks { scripts: &[], late: 0, kills: 2, chunks: 1, budget: 1, mutation: Mutation::None };
/// A publisher and a subscriber, and chunks that are used again.
const REUSE: Chunks = Chunks { scripts: &[Publish(4), Receive(2)], chunks: 2, ..NONE };
/// All three at once, without deaths: chunks leave the ring because of others.
const OVERTAKING: Chunks =
    Chunks { scripts: &[Publish(1), Publish(2), Receive(1)], kills: 0, chunks: 2, ..NONE };
/// A second publisher comes after the first, and finds what that one left while the subscriber holds.
const HEIR: Chunks = Chunks { scripts: &[Publish(2), Receive(1), Publish(1)], late: 1, ..NONE };
/// The same with more chunks and messages.
const RICH_HEIR: Chunks =
    Chunks { scripts: &[Publish(2), Receive(2), Publish(2)], kills: 1, chunks: 2, ..HEIR };
/// Two come after the first, and want the same.
const HEIRS: Chunks = Chunks { scripts: &[Publish(1), Publish(2), Publish(1)], late: 2, ..NONE };
/// The first leaves nothing, and the second makes the same segment again.
const AGAIN: Chunks = Chunks { scripts: &[Withdraw(1), Receive(2), Publish(1)], late: 1, kills: 1, ..NONE };

#[test]
fn nothing_is_found() {
    // There are as many entries as processes, so nobody has to wait for one; the model `life` has that.
    let never = [Label::Done, Label::Killed, Label::TakeLooks].map(|label| label as usize);
    assert_nothing_is_found(&[REUSE, OVERTAKING, HEIR, RICH_HEIR, HEIRS, AGAIN], Label::COUNT, &never);
}

#[test]
fn every_missing_guard_is_found() {
    assert_each_is_found(&[
        (Mutation::FreeFirst, Fault::FreeHasSomething, REUSE),
        (Mutation::RecoverUnlocked, Fault::EntryGone, REUSE),
        (Mutation::LeaveUnlocksFirst, Fault::EntryGone, REUSE),
        (Mutation::HoldsKept, Fault::FreeHasSomething, REUSE),
        (Mutation::BitKept, Fault::FreeHasSomething, REUSE),
        (Mutation::NotOrphaned, Fault::FreeHasSomething, REUSE),
        (Mutation::CreatingNotUnlinked, Fault::FileUnnamed, REUSE),
        (Mutation::HoldsFirst, Fault::Torn, OVERTAKING),
        (Mutation::HoldsUnscanned, Fault::ReusedEarly, REUSE),
        (Mutation::Unvalidated, Fault::Torn, REUSE),
        (Mutation::EmptyFirst, Fault::FileUnnamed, REUSE),
        (Mutation::GenerationKept, Fault::Torn, AGAIN),
        (Mutation::AdoptedWithoutCas, Fault::LentTwice, HEIRS),
        (Mutation::AdoptedRingUnseen, Fault::ReusedEarly, HEIR),
        (Mutation::AdoptedFree, Fault::ReusedEarly, HEIR),
        (Mutation::DestroyedRingUnseen, Fault::FileGone, HEIR),
        (Mutation::DestroyedHoldsUnseen, Fault::Torn, HEIR),
        (Mutation::NotHelped, Fault::TailOff, HEIRS),
    ]);
}

/// DYING tells who looks that a file is about to go; what follows from a death there is the same as in READY.
#[test]
fn dying_guards_nothing() {
    assert_guards_nothing(Mutation::DyingUnsaid, HEIR);
}
