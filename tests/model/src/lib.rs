// SPDX-License-Identifier: MIT OR Apache-2.0
//! The life and death of a topic as a model of explicit states, all of which are looked at.
//!
//! A process is a label, which is the next shared access or system call of the code, and what the process knows. One action lets
//! one process take one step, or kills it: its lock goes at once and all else stays as it is. Labels bear the names of the functions in
//! `src/topic` and `src/pool` that they stand for, so that a change there can be made here too. What follows privately from an access
//! belongs to the same step.
//!
//! - [`life`]: make, join, leave, remove and sweep topics of one name.
//! - [`chunks`]: recover, adopt, destroy, hold, publish and reclaim within a topic.
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
//! | one topic of a name | `Split`: who has joined is in the directory that the name refers to |
//! | no file is deleted that somebody needs | `FileGone` |
//! | nobody is told of damage that isn't there | `FalseError` |
//! | when all are gone, however they went, one last publisher comes and goes, and nothing is left | `NotRecovered`, `LeftBehind`, `Stuck` |
//!
//! I7 is about subscribers that a publisher waits for. The code has none yet, so it isn't here.
//!
//! Steps happen one after the other, as if every access were SeqCst: which orderings that takes is for the loom models of
//! `src/ring/models.rs`. The two halves also leave out what the other has: `life` knows of an entry only whether it has
//! something, `chunks` has a topic that is there. Nobody damages anything.
//!
//! A [`Mutation`] leaves one guard of the protocol out. Each must be found, which shows that the models can fail.

pub mod chunks;
mod explore;
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
}
