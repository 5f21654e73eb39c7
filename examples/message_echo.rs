// SPDX-License-Identifier: MIT OR Apache-2.0
//! Gives `count` messages back on the topic `<topic>.back`. Usage: message_echo [topic] [count]

#[path = "support/message.rs"]
mod message;

use message::CustomMessage;
use shm::{Publisher, Subscriber, SubscriberOptions};
use std::error::Error;
use std::time::Duration;

fn main() -> Result<(), Box<dyn Error>> {
    let topic = std::env::args().nth(1).unwrap_or_else(|| "/echo".to_owned());
    let count: u64 = std::env::args().nth(2).map_or(Ok(10), |count| count.parse())?;
    let options = SubscriberOptions { history: u32::MAX, ..Default::default() };
    let subscriber = Subscriber::with_options(&topic, &options)?;
    let back = Publisher::new(&format!("{topic}.back"))?;
    for _ in 0..count {
        let sample = subscriber.receive_timeout(Duration::from_secs(10))?.ok_or("no message in 10 s")?;
        back.publish_message(&sample.message::<CustomMessage>()?)?;
    }
    Ok(())
}
