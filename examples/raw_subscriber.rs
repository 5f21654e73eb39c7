// SPDX-License-Identifier: MIT OR Apache-2.0
//! Receives `count` texts as raw bytes, without a copy. Usage: raw_subscriber [topic] [count]

#[path = "support/arguments.rs"]
mod arguments;

use arguments::arguments;
use shm::{Publisher, Subscriber};
use std::error::Error;
use std::time::Duration;

fn main() -> Result<(), Box<dyn Error>> {
    let given = arguments("/raw")?;
    let subscriber = Subscriber::new(&given.topic)?;
    let acks = Publisher::new(&format!("{}.ack", given.topic))?;
    acks.publish(b"ready")?;

    for n in 0..given.count {
        let sample = subscriber.receive_timeout(Duration::from_secs(10))?.ok_or("no message in 10 s")?;
        println!("received {n} {}", std::str::from_utf8(&sample)?);
    }

    acks.publish(b"done")?;
    Ok(())
}
