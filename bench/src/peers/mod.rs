// SPDX-License-Identifier: MIT OR Apache-2.0
//! The messaging systems that are compared, each driven the way its own documentation says is fast.

pub mod iceoryx2;
mod shm;

use std::ops::{Deref, DerefMut};

pub use iceoryx2::Iceoryx2;
pub use shm::Shm;

use crate::room::Room;
use crate::Result;

/// What a topic is for, so that each system can be set up for just that.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// The largest message, in bytes.
    pub size: usize,
    /// The messages that a subscriber may fall behind.
    pub depth: usize,
    pub subscribers: usize,
    /// The messages from before its join that a subscriber gets.
    pub history: usize,
}

impl Shape {
    pub fn one_to_one(size: usize, depth: usize) -> Shape {
        Shape { size, depth, subscribers: 1, history: 0 }
    }
}

/// A system that hands messages from publishers to subscribers without copying them.
pub trait Peer: Sized {
    type Publisher;
    type Subscriber;
    type Loan<'a>: DerefMut<Target = [u8]>;
    type Sample<'a>: Deref<Target = [u8]>;

    /// What a process does once, before its first publisher or subscriber.
    fn open(room: &Room) -> Result<Self>;
    fn publisher(&self, topic: &str, shape: Shape) -> Result<Self::Publisher>;
    fn subscriber(&self, topic: &str, shape: Shape) -> Result<Self::Subscriber>;

    fn loan(publisher: &Self::Publisher, size: usize) -> Result<Self::Loan<'_>>;
    fn publish(loan: Self::Loan<'_>) -> Result<()>;
    /// Publishes a copy of `payload`.
    fn publish_copy(publisher: &Self::Publisher, payload: &[u8]) -> Result<()>;
    /// Never blocks.
    fn try_receive(subscriber: &Self::Subscriber) -> Result<Option<Self::Sample<'_>>>;

    /// What a publisher has to do now and then so that subscribers which come later get their history.
    fn attend(_: &Self::Publisher) -> Result<()> {
        Ok(())
    }

    /// Receives in a busy loop.
    fn spin(subscriber: &Self::Subscriber) -> Result<Self::Sample<'_>> {
        loop {
            if let Some(sample) = Self::try_receive(subscriber)? {
                return Ok(sample);
            }
        }
    }
}
