// SPDX-License-Identifier: MIT OR Apache-2.0
//! Publishes `count` texts as raw bytes. Usage: raw_publisher [topic] [count]

#[path = "support/acks.rs"]
mod acks;
#[path = "support/arguments.rs"]
mod arguments;

use acks::Acks;
use arguments::arguments;
use shm::Publisher;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let given = arguments("/raw")?;
    let publisher = Publisher::new(&given.topic)?;
    let acks = Acks::new(&given.topic)?;
    acks.wait("ready")?;

    for n in 0..given.count {
        publisher.publish(format!("hello {n}").as_bytes())?;
    }
    println!("published {}", given.count);

    acks.wait("done")
}
