// SPDX-License-Identifier: MIT OR Apache-2.0
//! Gives `count` messages back on the topic `<topic>.back`. Usage: message_echo [topic] [count]

#[path = "support/arguments.rs"]
mod arguments;
#[path = "support/message.rs"]
mod message;

use arguments::arguments;
use message::CustomMessage;
use shm::{Publisher, Subscriber, SubscriberOptions};
use std::error::Error;
use std::time::Duration;

fn main() -> Result<(), Box<dyn Error>> {
    let given = arguments("/echo")?;
    let options = SubscriberOptions { history: u32::MAX, ..Default::default() };
    let subscriber = Subscriber::with_options(&given.topic, &options)?;
    let back = Publisher::new(&format!("{}.back", given.topic))?;
    for _ in 0..given.count {
        let sample = subscriber.receive_timeout(Duration::from_secs(10))?.ok_or("no message in 10 s")?;
        back.publish_message(&sample.message::<CustomMessage>()?)?;
    }
    Ok(())
}
