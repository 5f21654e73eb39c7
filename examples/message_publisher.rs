// SPDX-License-Identifier: MIT OR Apache-2.0
//! Publishes `count` messages as msgpack, packed in place. Usage: message_publisher [topic] [count]

#[path = "support/acks.rs"]
mod acks;
#[path = "support/arguments.rs"]
mod arguments;
#[path = "support/message.rs"]
mod message;

use acks::Acks;
use arguments::arguments;
use message::{CustomMessage, InnerMessage};
use shm::Publisher;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let given = arguments("/message")?;
    let publisher = Publisher::new(&given.topic)?;
    let acks = Acks::new(&given.topic)?;
    acks.wait("ready")?;

    for n in 0..given.count {
        publisher.publish_message(&message(n))?;
    }
    println!("published {}", given.count);

    acks.wait("done")
}

fn message(n: u64) -> CustomMessage {
    let val = n as i64;
    CustomMessage {
        seq: n as u32,
        timestamp: 0,
        val,
        values: vec![val, val + 1, val + 2],
        name: format!("message {n}"),
        inner: InnerMessage { seq: 0, timestamp: 0, inner_val: val * 2, inner_str: format!("inner {n}") },
    }
}
