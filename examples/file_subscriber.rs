// SPDX-License-Identifier: MIT OR Apache-2.0
//! Receives a file: writes each piece from shared memory. Usage: file_subscriber number topic output

#[path = "support/file.rs"]
mod file;

use file::{Piece, Progress, HEAD};
use shm::{Publisher, Subscriber};
use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::time::Duration;

fn main() -> Result<(), Box<dyn Error>> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let [number, topic, output] = &given[..] else {
        return Err("usage: file_subscriber number topic output".into());
    };
    let number: u64 = number.parse()?;
    let mut output = File::create(output)?;
    let subscriber = Subscriber::new(topic)?;
    let acks = Publisher::new(&format!("{topic}.ack"))?;
    acks.publish_plain(&Progress { subscriber: number, next: 0 })?;

    let mut next = 0;
    loop {
        let sample = subscriber.receive_timeout(Duration::from_secs(10))?.ok_or("no piece in 10 s")?;
        let head = sample.get(..HEAD).ok_or("a message is too short for a piece")?;
        let Piece { index, count } = bytemuck::pod_read_unaligned(head);
        if index != next {
            return Err(format!("piece {index} came where {next} was due").into());
        }
        output.write_all(&sample[HEAD..])?;
        drop(sample);
        next += 1;
        acks.publish_plain(&Progress { subscriber: number, next })?;
        if next == count {
            return Ok(());
        }
    }
}
