// SPDX-License-Identifier: MIT OR Apache-2.0
//! Receives `count` plain structs and reads them in place. Usage: plain_subscriber [topic] [count]

#[path = "support/arguments.rs"]
mod arguments;
#[path = "support/pose.rs"]
mod pose;

use arguments::arguments;
use pose::Pose;
use shm::{Publisher, Subscriber};
use std::error::Error;
use std::time::Duration;

fn main() -> Result<(), Box<dyn Error>> {
    let given = arguments("/plain")?;
    let subscriber = Subscriber::new(&given.topic)?;
    let acks = Publisher::new(&format!("{}.ack", given.topic))?;
    acks.publish(b"ready")?;

    for n in 0..given.count {
        let sample = subscriber.receive_timeout(Duration::from_secs(10))?.ok_or("no message in 10 s")?;
        let Pose { id, x, y, z } = sample.plain()?;
        println!("received {n} id={id} x={x} y={y} z={z}");
    }

    acks.publish(b"done")?;
    Ok(())
}
