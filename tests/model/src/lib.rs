// SPDX-License-Identifier: MIT OR Apache-2.0
//! The life and death of topics as explicit states, explored exhaustively.


pub mod life;

use stateright::{Checker, HasDiscoveries, Model};

/// What went wrong, each the name of a property.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Fault {
    Split,
    FileGone,
    LockGone,
    EntryGone,
    FreeHasSomething,
    RecoveredUnlocked,
    FalseError,
    NotRecovered,
    LeftBehind,
    Stuck,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Mutation {
    None,
    FreeFirst,
    RecoverUnlocked,
    TakenUnlocked,
    LiveBeforeLock,
    LiveNotAsked,
    LocksNotAsked,
    LifeReadAfterLocks,
    RemovedUnchecked,
    RemovedIgnored,
    JoinUncounted,
    LeaveUnlocksFirst,
    DeletedByName,
    PeersFirst,
    SweptUnrenamed,
    RenamedUnfinished,
}

/// One property a fault.
#[macro_export]
macro_rules! properties {
    ($($fault:expr),* $(,)?) => {
        vec![$(stateright::Property::always(stringify!($fault), |_: &Self, state: &State| state.fault != Some($fault))),*]
    };
}

/// Explores the model until everything was seen or one property fails; the number of states, and the failure.
pub fn explore<M>(model: M) -> (usize, Vec<String>)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + PartialEq + std::fmt::Debug + std::hash::Hash + Send + Sync,
    M::Action: Clone + PartialEq + std::fmt::Debug + Send + Sync,
{
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(2);
    let checker = model.checker().threads(threads).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let found = checker.discoveries().into_iter().map(|(name, path)| {
        let actions: Vec<String> = path.into_actions().iter().map(|a| format!("{a:?}")).collect();
        format!("{name}: {}", actions.join(", "))
    });
    (checker.unique_state_count(), found.collect())
}
