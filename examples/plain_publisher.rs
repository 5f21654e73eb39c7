// SPDX-License-Identifier: MIT OR Apache-2.0
//! Publishes `count` plain structs, each written in place. Usage: plain_publisher [topic] [count]

#[path = "support/acks.rs"]
mod acks;
#[path = "support/arguments.rs"]
mod arguments;
#[path = "support/pose.rs"]
mod pose;

use acks::Acks;
use arguments::arguments;
use pose::Pose;
use shm::Publisher;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let given = arguments("/plain")?;
    let publisher = Publisher::new(&given.topic)?;
    let acks = Acks::new(&given.topic)?;
    acks.wait("ready")?;

    for n in 0..given.count {
        let mut pose = publisher.loan_plain()?;
        *pose = Pose { id: n, x: n as f64 * 0.5, y: n as f64 * 1.5, z: n as f64 * 2.5 };
        pose.publish()?;
    }
    println!("published {}", given.count);

    acks.wait("done")
}
