// SPDX-License-Identifier: MIT OR Apache-2.0
use shm_model::life::Life;
use shm_model::{explore, Mutation};

fn run(processes: &'static [(bool, u8)], kills: bool, mutation: Mutation) {
    let from = std::time::Instant::now();
    let (states, found) = explore(Life { processes, kills, mutation, late: true });
    println!("{mutation:?} {processes:?} {kills}: {states} states, {:?}, {found:?}", from.elapsed());
}

#[test]
fn try_it() {
    run(&[(true, 1)], true, Mutation::None);
    run(&[(true, 1), (false, 1)], true, Mutation::None);
}
#[test]
fn try_more() {
    run(&[(true, 2), (false, 2)], false, Mutation::None);
    run(&[(true, 2), (false, 2)], true, Mutation::None);
}
#[test]
fn try_three() {
    run(&[(true, 1), (false, 1), (true, 1)], true, Mutation::None);
    run(&[(true, 1), (false, 1), (true, 1)], true, Mutation::LiveNotAsked);
    run(&[(true, 1), (false, 1), (true, 1)], true, Mutation::LiveBeforeLock);
}
#[test]
fn old() {
    run(&[(true, 1), (false, 1), (true, 1)], false, Mutation::None);
}
#[test]
fn try_mutations() {
    use Mutation::*;
    for m in [FreeFirst, RecoverUnlocked, TakenUnlocked, LiveBeforeLock, LiveNotAsked, LocksNotAsked, LifeReadAfterLocks, RemovedUnchecked, RemovedIgnored, JoinUncounted, LeaveUnlocksFirst, DeletedByName, PeersFirst, SweptUnrenamed, RenamedUnfinished] {
        run(&[(true, 2), (false, 2)], true, m);
    }
}
