// SPDX-License-Identifier: MIT OR Apache-2.0
//! The model `gate`: nothing is found as it is, and each missing guard is.

use shm_model::gate::Script::{Join, Publish, Receive, Try};
use shm_model::gate::{Gate, Label};
use shm_model::{assert_each_is_found, assert_nothing_is_found, Fault, Mutation};

const NONE: Gate =
    Gate { scripts: &[], entries: 2, history: 0, chunks: 9, kills: 1, mutation: Mutation::None };
/// Two publish, and one comes meanwhile.
const JOINER: Gate = Gate { scripts: &[Publish(3), Publish(1), Join(1)], ..NONE };
/// It wants what was published before as well.
const HISTORY: Gate = Gate { scripts: &[Publish(5), Join(2)], history: 2, ..NONE };
/// Two wait for the same.
const WAITING: Gate = Gate { scripts: &[Publish(2), Publish(2), Receive(2)], kills: 2, ..NONE };
/// Who is waited for leaves.
const LEAVER: Gate = Gate { scripts: &[Publish(4), Receive(1)], ..WAITING };
/// One waits for two, of whom one comes.
const FOR_TWO: Gate = Gate { scripts: &[Publish(3), Receive(1), Join(1)], kills: 2, ..NONE };
/// The second has the first one's entry.
const HEIR: Gate = Gate { entries: 1, ..FOR_TWO };
/// A chunk that is used again.
const REUSE: Gate = Gate { scripts: &[Publish(2), Try(2), Receive(2)], chunks: 1, ..NONE };
/// The same, with one that comes.
const REUSE_FOR_JOINER: Gate = Gate { scripts: &[Publish(3), Join(1), Try(1)], ..REUSE };
/// All at once.
const ALL: Gate = Gate { scripts: &[Publish(2), Try(1), Receive(1), Join(1)], kills: 0, ..NONE };

#[test]
fn nothing_is_found() {
    let never = [Label::Done, Label::Killed, Label::RecoverCursor].map(|label| label as usize);
    let models = [HISTORY, LEAVER, HEIR, FOR_TWO, WAITING, REUSE, REUSE_FOR_JOINER, JOINER, ALL];
    assert_nothing_is_found(&models, Label::COUNT, &never);
}

#[test]
fn every_missing_guard_is_found() {
    assert_each_is_found(&[
        (Mutation::FlagAfterStart, Fault::Unread, JOINER),
        (Mutation::StartSeenOnce, Fault::Unread, JOINER),
        (Mutation::FlagBeforeCursor, Fault::FalseFull, JOINER),
        (Mutation::LiveFirst, Fault::Unread, JOINER),
        (Mutation::JoinedLast, Fault::Unread, JOINER),
        (Mutation::StartUnwoken, Fault::Overslept, JOINER),
        (Mutation::JoiningIgnored, Fault::Unread, JOINER),
        (Mutation::RecoveringCounts, Fault::Stuck, HEIR),
        (Mutation::LookBeforeTail, Fault::Unread, JOINER),
        (Mutation::LimitTooFar, Fault::Unread, WAITING),
        (Mutation::LimitTooFarAlone, Fault::Unread, JOINER),
        (Mutation::EvictedUnread, Fault::Unread, REUSE),
        (Mutation::CursorBeforePin, Fault::Unread, WAITING),
        (Mutation::CursorGoesBack, Fault::Unread, HISTORY),
        (Mutation::LappedBeyondStart, Fault::Unread, HISTORY),
        (Mutation::WaitingReadFirst, Fault::Overslept, WAITING),
        (Mutation::WakesUncounted, Fault::Overslept, WAITING),
        (Mutation::LeftUnwoken, Fault::Overslept, LEAVER),
        (Mutation::WaitingSaidLast, Fault::Overslept, WAITING),
        (Mutation::WakesReadLast, Fault::Overslept, WAITING),
        (Mutation::DeadNotLookedFor, Fault::Stuck, WAITING),
        (Mutation::CursorReset, Fault::FalseFull, HEIR),
    ]);
}
