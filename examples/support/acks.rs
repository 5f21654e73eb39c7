// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a publisher learns that its subscriber is there, and later that it has everything.

use shm::{Subscriber, SubscriberOptions};
use std::error::Error;
use std::time::Duration;

pub struct Acks(Subscriber);

impl Acks {
    /// Those for `topic`, also what was sent before this came.
    pub fn new(topic: &str) -> shm::Result<Acks> {
        let options = SubscriberOptions { history: u32::MAX, ..Default::default() };
        Subscriber::with_options(&format!("{topic}.ack"), &options).map(Acks)
    }

    /// Waits until `word` comes.
    pub fn wait(&self, word: &str) -> Result<(), Box<dyn Error>> {
        loop {
            let sample = self.0.receive_timeout(Duration::from_secs(10))?;
            if *sample.ok_or(format!("no {word:?} in 10 s"))? == *word.as_bytes() {
                return Ok(());
            }
        }
    }
}
