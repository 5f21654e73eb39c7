// SPDX-License-Identifier: MIT OR Apache-2.0
//! What must hold between processes, tested with real ones, through the public door.
//!
//! Each test starts children in roles (`support/child.rs`), has a root of its own, which must be empty when all have
//! left, and ends within bounds. What the children find wrong they say by failing.

#[path = "../support/copier.rs"]
mod copier;
#[path = "../support/mod.rs"]
mod support;

mod churn;
mod death;
mod ending;
mod exhaustion;
mod flow;
mod forked;
mod full;
mod many;
mod members;
mod pairs;
mod pinned;
mod planted;
mod races;
mod readonly;
mod reliable;
mod rpc;
mod rpc_full_queue;
mod rpc_storm;
mod rpc_streams;
mod shared_group;
mod shared_root;
mod sharing;
mod signals;
mod stepping;
mod steps;
mod trust;
mod waking;

/// What a child can be.
const ROLES: &[support::child::Role] = &[
    ("churn::churner", churn::churner),
    ("death::holds_samples", death::holds_samples),
    ("death::publishes_and_holds", death::publishes_and_holds),
    ("death::publishes_on", death::publishes_on),
    ("death::receives_on", death::receives_on),
    ("ending::execs", ending::execs),
    ("ending::exits", ending::exits),
    ("exhaustion::too_few_descriptors", exhaustion::too_few_descriptors),
    ("exhaustion::too_large_files", exhaustion::too_large_files),
    ("exhaustion::too_little_address_space", exhaustion::too_little_address_space),
    ("exhaustion::too_many_files", exhaustion::too_many_files),
    ("flow::publisher", flow::publisher),
    ("flow::subscriber", flow::subscriber),
    ("forked::calls_and_forks", forked::calls_and_forks),
    ("forked::forks", forked::forks),
    ("forked::forks_and_both_talk", forked::forks_and_both_talk),
    ("forked::forks_and_is_killed", forked::forks_and_is_killed),
    ("forked::forks_and_touches", forked::forks_and_touches),
    ("full::more_than_there_is", full::more_than_there_is),
    ("full::room_of_its_own", full::room_of_its_own),
    ("full::too_few_descriptors", full::too_few_descriptors),
    ("full::too_little_room", full::too_little_room),
    ("many::crowd", many::crowd),
    ("members::member", members::member),
    ("pinned::publishes", pinned::publishes),
    ("planted::leaves_a_segment", planted::leaves_a_segment),
    ("races::comer", races::comer),
    ("races::dying", races::dying),
    ("races::meeting", races::meeting),
    ("races::succession", races::succession),
    ("readonly::scribbler", readonly::scribbler),
    ("reliable::comes_and_goes", reliable::comes_and_goes),
    ("reliable::publishes", reliable::publishes),
    ("reliable::publishes_on", reliable::publishes_on),
    ("reliable::reads", reliable::reads),
    ("reliable::reads_as_told", reliable::reads_as_told),
    ("reliable::waits", reliable::waits),
    ("rpc::calls", rpc::calls),
    ("rpc::calls_and_holds", rpc::calls_and_holds),
    ("rpc::holds_requests", rpc::holds_requests),
    ("rpc::serves", rpc::serves),
    ("rpc_full_queue::fills_the_queue", rpc_full_queue::fills_the_queue),
    ("rpc_storm::calls", rpc_storm::calls),
    ("rpc_storm::serves", rpc_storm::serves),
    ("rpc_streams::sends_a_stream", rpc_streams::sends_a_stream),
    ("rpc_streams::takes_of_a_stream", rpc_streams::takes_of_a_stream),
    ("shared_group::both_directions", shared_group::both_directions),
    ("shared_group::roots", shared_group::roots),
    ("shared_group::strangers", shared_group::strangers),
    ("shared_group::the_dead", shared_group::the_dead),
    ("shared_root::beside_the_root", shared_root::beside_the_root),
    ("shared_root::killed_anywhere", shared_root::killed_anywhere),
    ("shared_root::looking_after", shared_root::looking_after),
    ("sharing::default_root", sharing::default_root),
    ("skips", skips),
    ("signals::comes_and_goes", signals::comes_and_goes),
    ("signals::echo", signals::echo),
    ("signals::waits", signals::waits),
    ("stepping::listener", stepping::listener),
    ("stepping::worker", stepping::worker),
    ("steps::victim", steps::victim),
    ("trust::default_root_users", trust::default_root_users),
    ("trust::wanderer", trust::wanderer),
    ("waking::pinger", waking::pinger),
    ("waking::ponger", waking::ponger),
    ("waking::sleeper", waking::sleeper),
];

#[test]
#[ignore = "a child's part: the other tests start it"]
fn child() {
    support::child::run(ROLES);
}

fn skips(_: support::child::Parent) {
    support::skipped("it is tried");
}

#[test]
fn what_is_skipped_is_noted_for_the_summary() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("skips");
    for times in 1..=2 {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.env(support::SKIPS, &path);
        support::child::Child::start_with(command, "skips", &[]).finish();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "SKIPPED skips: it is tried\n".repeat(times));
    }
}
