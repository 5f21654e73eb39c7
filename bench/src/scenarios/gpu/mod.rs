// SPDX-License-Identifier: MIT OR Apache-2.0
//! From a GPU's memory to a GPU's memory: by copies through shared memory, or with the payload where it is. Skipped, visibly, where there is no GPU.

mod copies;
mod device_topic;
mod driver;

use serde::{Deserialize, Serialize};
use shm::copier::cuda::CudaCopier;

use super::Bench;
use crate::process::Parent;
use crate::report::Row;
use crate::room::Room;
use crate::Result;
use driver::Driver;

const NAME: &str = "gpu";
/// As CUDA counts them.
const DEVICE: u32 = 0;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Task {
    Copies(copies::Task),
    DeviceTopic(device_topic::Task),
}

pub fn run(bench: &Bench) -> Result<Vec<Row>> {
    match CudaCopier::new(DEVICE) {
        Err(shm::Error::NoDevice { reason, .. }) => return Ok(vec![Row::skipped(NAME, reason)]),
        made => drop(made?),
    }
    let name = Driver::open()?.device_name(DEVICE)?;
    let mut rows = copies::run(bench, &name)?;
    rows.extend(device_topic::run(bench, &name)?);
    Ok(rows)
}

pub fn side(task: &Task, room: &Room, parent: &Parent) -> Result<()> {
    match task {
        Task::Copies(task) => copies::side(task, room, parent),
        Task::DeviceTopic(task) => device_topic::side(task, room, parent),
    }
}
