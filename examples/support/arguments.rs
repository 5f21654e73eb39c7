// SPDX-License-Identifier: MIT OR Apache-2.0
//! `[topic] [count]`, for all examples.

use std::error::Error;

pub struct Arguments {
    pub topic: String,
    pub count: u64,
}

pub fn arguments(default_topic: &str) -> Result<Arguments, Box<dyn Error>> {
    let mut given = std::env::args().skip(1);
    let topic = given.next().unwrap_or_else(|| default_topic.to_owned());
    let count = given.next().map_or(Ok(10), |count| count.parse())?;
    Ok(Arguments { topic, count })
}
