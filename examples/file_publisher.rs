// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sends a file: reads it straight into shared memory, piece by piece, never further ahead of the slowest of its
//! subscribers than the topic keeps. Usage: file_publisher file topic subscribers

#[path = "support/file.rs"]
mod file;

use file::{Piece, Progress, HEAD};
use shm::{Publisher, PublisherOptions, Subscriber, SubscriberOptions};
use std::collections::HashMap;
use std::error::Error;
use std::fs::File;
use std::io::Read;
use std::time::{Duration, Instant};

const PIECE: usize = 1 << 20;
/// Pieces under way at most: half of what the topic keeps.
const WINDOW: u64 = 16;
/// What the topic of acknowledgements keeps.
const ACKS: u64 = 64;

fn main() -> Result<(), Box<dyn Error>> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let [path, topic, subscribers] = &given[..] else {
        return Err("usage: file_publisher file topic subscribers".into());
    };
    let options = PublisherOptions { capacity: 2 * WINDOW as u32, ..Default::default() };
    let publisher = Publisher::with_options(topic, &options)?;
    let subscribers: u64 = subscribers.parse()?;
    // All words that can be under way, and each subscriber's first, must fit: after a last one that was lost nobody says more.
    let window = WINDOW.min((ACKS / subscribers.max(1)).saturating_sub(1));
    if window == 0 {
        return Err("too many subscribers".into());
    }
    let mut progress = AllProgress::new(topic, subscribers)?;
    progress.wait_for(0)?;

    let mut source = File::open(path)?;
    let len = source.metadata()?.len();
    let body = (PIECE - HEAD) as u64;
    let count = len.div_ceil(body).max(1);
    let start = Instant::now();
    for index in 0..count {
        progress.wait_for((index + 1).saturating_sub(window))?;
        let bytes = (len - index * body).min(body) as usize;
        let mut loan = publisher.loan(HEAD + bytes)?;
        loan[..HEAD].copy_from_slice(bytemuck::bytes_of(&Piece { index, count }));
        source.read_exact(&mut loan[HEAD..])?;
        loan.publish()?;
    }
    progress.wait_for(count)?;
    let seconds = start.elapsed().as_secs_f64();
    let rate = len as f64 / seconds / 1e6;
    println!(
        "{len} bytes in {count} pieces to {subscribers} subscribers: {seconds:.3} s, {rate:.0} MB/s to each"
    );
    Ok(())
}

/// How far each subscriber is.
struct AllProgress {
    acks: Subscriber,
    subscribers: u64,
    next: HashMap<u64, u64>,
}

impl AllProgress {
    fn new(topic: &str, subscribers: u64) -> shm::Result<Self> {
        let options = SubscriberOptions { history: u32::MAX, ..Default::default() };
        let acks = Subscriber::with_options(&format!("{topic}.ack"), &options)?;
        Ok(AllProgress { acks, subscribers, next: HashMap::new() })
    }

    /// Waits until every subscriber has the pieces before `next`.
    fn wait_for(&mut self, next: u64) -> Result<(), Box<dyn Error>> {
        while (self.next.len() as u64) < self.subscribers || self.next.values().any(|&has| has < next) {
            let sample = self.acks.receive_timeout(Duration::from_secs(10))?;
            let sample = sample.ok_or("a subscriber is silent for 10 s")?;
            let Progress { subscriber, next } = *sample.plain()?;
            self.next.insert(subscriber, next);
        }
        Ok(())
    }
}
