// SPDX-License-Identifier: MIT OR Apache-2.0
//! This library, through its Rust door.

use std::path::PathBuf;

use shm::{Loan, Publisher, PublisherOptions, Sample, Subscriber, SubscriberOptions};

use super::{Peer, Shape};
use crate::room::Room;
use crate::Result;

pub struct Shm {
    root: PathBuf,
}

impl Shm {
    fn capacity(shape: Shape) -> u32 {
        shape.depth.next_power_of_two().max(8) as u32
    }

    /// Only what is more than the default asks for room: the default is what most topics have.
    fn participants(shape: Shape) -> u32 {
        (shape.subscribers as u32 * 2).next_power_of_two().max(128)
    }

    pub fn publisher_options(root: PathBuf, shape: Shape) -> PublisherOptions {
        let capacity = Shm::capacity(shape);
        PublisherOptions {
            root: Some(root),
            capacity,
            participants: Shm::participants(shape),
            memory: (u64::from(capacity) + 64) * (shape.size as u64 + 4096) * 2,
            ..Default::default()
        }
    }

    pub fn subscriber_options(root: PathBuf, shape: Shape) -> SubscriberOptions {
        SubscriberOptions {
            root: Some(root),
            capacity: Shm::capacity(shape),
            participants: Shm::participants(shape),
            history: shape.history as u32,
            ..Default::default()
        }
    }
}

impl Peer for Shm {
    type Publisher = Publisher;
    type Subscriber = Subscriber;
    type Loan<'a> = Loan<'a>;
    type Sample<'a> = Sample<'a>;

    fn open(room: &Room) -> Result<Shm> {
        Ok(Shm { root: room.shm_root() })
    }

    fn publisher(&self, topic: &str, shape: Shape) -> Result<Publisher> {
        Ok(Publisher::with_options(topic, &Shm::publisher_options(self.root.clone(), shape))?)
    }

    fn subscriber(&self, topic: &str, shape: Shape) -> Result<Subscriber> {
        Ok(Subscriber::with_options(topic, &Shm::subscriber_options(self.root.clone(), shape))?)
    }

    #[inline]
    fn loan(publisher: &Publisher, size: usize) -> Result<Loan<'_>> {
        Ok(publisher.loan(size)?)
    }

    #[inline]
    fn publish(loan: Loan<'_>) -> Result<()> {
        loan.publish()?;
        Ok(())
    }

    #[inline]
    fn publish_copy(publisher: &Publisher, payload: &[u8]) -> Result<()> {
        publisher.publish(payload)?;
        Ok(())
    }

    #[inline]
    fn try_receive(subscriber: &Subscriber) -> Result<Option<Sample<'_>>> {
        Ok(subscriber.try_receive()?)
    }
}
