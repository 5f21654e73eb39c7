// SPDX-License-Identifier: MIT OR Apache-2.0
//! The life and death of a topic as a model of explicit states, all of which are looked at.
//!
//! A process is a label, which is the next shared access or system call of the code, and what the process knows. One action lets
//! one process take one step, or kills it: its lock goes at once and all else stays as it is. Labels bear the names of the functions in
//! `src/topic`, `src/pool`, `src/ring` and `src/wait.rs` that they stand for, so that a change there can be made here too. What follows
//! privately from an access belongs to the same step.
//!
//! - [`life`]: make, join, leave, remove and sweep topics of one name.
//! - [`chunks`]: recover, adopt, destroy, hold, publish and reclaim within a topic.
//! - [`gate`]: publishers wait for reliable subscribers, who come, read, leave and die.
//!
//! **What is checked**, by the names of the properties, in every state:
//!
//! | | |
//! |---|---|
//! | I1 | `TailOff` |
//! | I2 | `TwoSlots`, `NotTheOwner` |
//! | I3 | `ReusedEarly`, `LentTwice`, `Torn` |
//! | I4 | `FileUnnamed` |
//! | I5 | `LockGone`, `RecoveredUnlocked` |
//! | I6 | `FreeHasSomething`; `EntryGone`: an entry is its participant's as long as that one is in |
//! | I7 | `Unread`: nothing is overwritten or evicted that a reliable subscriber has yet to read |
//! | publishers wait only for who has something to read | `FalseFull`; `Stuck`: not for the dead, nor for one stopped while it recovers another |
//! | nobody sleeps at an open gate | `Overslept` |
//! | one topic of a name | `Split`: who has joined is in the directory that the name refers to |
//! | no file is deleted that somebody needs | `FileGone` |
//! | nobody is told of damage that isn't there | `FalseError` |
//! | when all are gone, however they went, one last publisher comes and goes, and nothing is left | `NotRecovered`, `LeftBehind`, `Stuck` |
//!
//! Steps happen one after the other, as if every access were SeqCst: which orderings that takes is for the loom models of
//! `src/ring/models.rs`. Each of the three leaves out what the others have: `life` knows of an entry only whether it has
//! something, `chunks` has a topic that is there, `gate` asks for no holds. Nobody damages anything.
//!
//! A [`Mutation`] leaves one guard of the protocol out. Each must be found, which shows that the models can fail.

pub mod chunks;
mod explore;
pub mod gate;
pub mod life;

pub use explore::{assert_each_is_found, assert_guards_nothing, assert_nothing_is_found, Protocol};
use explore::{reach, Explored};

macro_rules! faults {
    ($($fault:ident,)*) => {
        /// What went wrong; each is a property.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Fault {
            $($fault,)*
        }

        fn properties<P: Protocol>() -> Vec<stateright::Property<Explored<P>>> {
            vec![$(stateright::Property::always(stringify!($fault), |_: &Explored<P>, state: &P::State| {
                P::fault(state) != Some(Fault::$fault)
            })),*]
        }
    };
}

faults! {
    Split,
    FileGone,
    LockGone,
    EntryGone,
    FreeHasSomething,
    RecoveredUnlocked,
    FalseError,
    NotRecovered,
    TailOff,
    TwoSlots,
    ReusedEarly,
    LentTwice,
    Torn,
    FileUnnamed,
    NotTheOwner,
    LeftBehind,
    Stuck,
    Unread,
    FalseFull,
    Overslept,
}

/// The guard that is left out.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Mutation {
    None,
    /// `recover` says FREE before it undoes anything.
    FreeFirst,
    /// `recover_dead` doesn't care whether it got the lock.
    RecoverUnlocked,
    /// Nor does `take_entry`.
    TakenUnlocked,
    /// `take_entry` says LIVE before it has the lock.
    LiveBeforeLock,
    /// `someone_is_live` takes everybody with a lock for a user.
    LiveNotAsked,
    /// `remove_if_deserted` doesn't look at the locks,
    LocksNotAsked,
    /// or looks at them before it reads `life`,
    LifeReadAfterLocks,
    /// or marks REMOVED though `life` has changed.
    RemovedUnchecked,
    /// `count_join` counts in a topic that is REMOVED,
    RemovedIgnored,
    /// or a joiner doesn't count at all.
    JoinUncounted,
    /// `leave` gives the lock back before it recovers itself.
    LeaveUnlocksFirst,
    /// `delete` reaches the files by the topic's name.
    DeletedByName,
    /// `delete` takes `peers` before the other files.
    PeersFirst,
    /// `sweep` deletes without taking by `rename` first.
    SweptUnrenamed,
    /// `create` puts the topic in place before it is whole.
    RenamedUnfinished,
    /// `recover` leaves the holds,
    HoldsKept,
    /// or the waiter bit,
    BitKept,
    /// or the segments,
    NotOrphaned,
    /// or the file of a segment that was being made.
    CreatingNotUnlinked,
    /// `reclaim` looks at the holds before the slots,
    HoldsFirst,
    /// or not at all.
    HoldsUnscanned,
    /// `pin` doesn't look at the slot again.
    Unvalidated,
    /// `destroy` doesn't say DYING,
    DyingUnsaid,
    /// or says EMPTY before the file is gone,
    EmptyFirst,
    /// or in the same generation.
    GenerationKept,
    /// `adopt_orphan` stores READY instead of exchanging it for what it saw,
    AdoptedWithoutCas,
    /// or doesn't look for the chunks in the ring,
    AdoptedRingUnseen,
    /// or takes the others without looking who holds them.
    AdoptedFree,
    /// `destroy_orphans` doesn't look at the ring,
    DestroyedRingUnseen,
    /// or not at the holds.
    DestroyedHoldsUnseen,
    /// `publish` goes on behind a tail that is behind.
    NotHelped,
    /// A reliable joiner says so only once it has looked where to start,
    FlagAfterStart,
    /// or doesn't look again once it has said so,
    StartSeenOnce,
    /// or says so before it has a cursor,
    FlagBeforeCursor,
    /// or counts itself in `joined` after all that,
    JoinedLast,
    /// or doesn't wake publishers that wait for the cursor that it had while joining,
    StartUnwoken,
    /// or is LIVE before it has said where it starts.
    LiveFirst,
    /// A look at the gate passes over those that are JOINING,
    JoiningIgnored,
    /// or waits for those that are RECOVERING, too,
    RecoveringCounts,
    /// or comes before `publish` reads the tail,
    LookBeforeTail,
    /// or serves for one message more,
    LimitTooFar,
    /// or does so when nobody gates.
    LimitTooFarAlone,
    /// `evict_oldest` doesn't look at the gate.
    EvictedUnread,
    /// A subscriber says that it has read a message before it pins it,
    CursorBeforePin,
    /// or goes back with its cursor to what it has read of the history,
    CursorGoesBack,
    /// or goes beyond its start when it is lapped in the history,
    LappedBeyondStart,
    /// or looks who waits before it says how far it is,
    WaitingReadFirst,
    /// or doesn't count its wakes,
    WakesUncounted,
    /// or wakes nobody when it leaves.
    LeftUnwoken,
    /// A publisher says that it waits after its last look at the gate,
    WaitingSaidLast,
    /// or reads the count of wakes after it,
    WakesReadLast,
    /// or doesn't see whether those it waits for are dead.
    DeadNotLookedFor,
    /// `recover` resets the cursor.
    CursorReset,
}
