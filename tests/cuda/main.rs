// SPDX-License-Identifier: MIT OR Apache-2.0
//! The CUDA copier against a driver made for tests (`fake_driver.c`), so that all of it runs where there is no GPU.
//!
//! Each test starts itself again in a role, with that driver's directory first in LD_LIBRARY_PATH: a process of its own, with counters of its own.

#[path = "../support/fake_cuda.rs"]
mod fake_cuda;
#[path = "../support/mod.rs"]
mod support;

mod c;
mod copies;
mod device;
mod device_c;
mod device_deaths;
mod device_strangers;
mod driver;
mod failures;
mod missing;
mod pins;
mod processes;

use std::process::Command;
use std::time::Duration;

use fake_cuda::{fake_driver, search_path};
use support::child::{Child, Role};
use support::Root;

const TOPIC: &str = "t";
const LONG: Duration = Duration::from_secs(60);

const ROLES: &[Role] = &[
    ("c::makes_copiers", c::makes_copiers),
    ("copies::there_and_back", copies::there_and_back),
    ("copies::on_streams", copies::on_streams),
    ("copies::of_calls", copies::of_calls),
    ("copies::the_callers_context", copies::the_callers_context),
    ("copies::by_many_threads", copies::by_many_threads),
    ("device::tensors", device::tensors),
    ("device::there_and_back", device::there_and_back),
    ("device::publishes", device::publishes),
    ("device::receives", device::receives),
    ("device::in_host_memory", device::in_host_memory),
    ("device::on_streams", device::on_streams),
    ("device::ends_with_work_begun", device::ends_with_work_begun),
    ("device::of_what_is_no_device_message", device::of_what_is_no_device_message),
    ("device::without_peers", device::without_peers),
    ("device::refuses", device::refuses),
    ("device::of_a_larger_block", device::of_a_larger_block),
    ("device::has_no_block", device::has_no_block),
    ("device::can_not_export", device::can_not_export),
    ("device_c::there_and_back", device_c::there_and_back),
    ("device_deaths::publishes_one", device_deaths::publishes_one),
    ("device_deaths::keeps_reading", device_deaths::keeps_reading),
    ("device_deaths::is_killed_midway", device_deaths::is_killed_midway),
    ("device_deaths::reads_what_is_left", device_deaths::reads_what_is_left),
    ("device_deaths::sees_whole_messages", device_deaths::sees_whole_messages),
    ("device_deaths::leaves_a_child", device_deaths::leaves_a_child),
    ("device_deaths::sees_the_end_of_a_parent", device_deaths::sees_the_end_of_a_parent),
    ("device_deaths::is_always_busy", device_deaths::is_always_busy),
    ("device_deaths::holds", device_deaths::holds),
    ("device_deaths::goes_on_though_held", device_deaths::goes_on_though_held),
    ("device_deaths::waits_for_no_one", device_deaths::waits_for_no_one),
    ("device::polls", device::polls),
    ("device_strangers::asks", device_strangers::asks),
    ("device_strangers::listens", device_strangers::listens),
    ("device_strangers::meets_strangers", device_strangers::meets_strangers),
    ("device_strangers::has_no_descriptors", device_strangers::has_no_descriptors),
    ("device_strangers::receives_one", device_strangers::receives_one),
    ("failures::of_each_call", failures::of_each_call),
    ("failures::of_the_device", failures::of_the_device),
    ("failures::memory_of_others", failures::memory_of_others),
    ("failures::while_capturing", failures::while_capturing),
    ("missing::says", missing::says),
    ("pins::once", pins::once),
    ("pins::two_copiers", pins::two_copiers),
    ("pins::none_of_read_only", pins::none_of_read_only),
    ("pins::registered_by_others", pins::registered_by_others),
    ("pins::end_of_the_copier", pins::end_of_the_copier),
    ("processes::is_killed_midway", processes::is_killed_midway),
    ("processes::forks", processes::forks),
    ("processes::ends_with_copies_begun", processes::ends_with_copies_begun),
];

#[test]
#[ignore = "a child's part: the other tests start it"]
fn child() {
    support::child::run(ROLES);
}

/// A command of this program that finds the fake driver, with `environment`.
fn with_driver(environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env("LD_LIBRARY_PATH", search_path(fake_driver()));
    command.envs(environment.iter().copied());
    command
}

/// Runs `role` with the fake driver, in a root that it must leave empty.
fn run(role: &str, environment: &[(&str, &str)]) {
    let root = Root::new();
    Child::start_with(with_driver(environment), role, &[&root.text()]).finish();
    root.assert_empty();
}
