// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages that describe themselves: msgpack, written straight into the loan.
//!
//! A message is an array of its fields, `[seq, timestamp, ...]` by convention, as C++'s `SHM_PACK` writes it and as serde and
//! rmp-serde write a struct; nested messages are nested arrays. So one struct in C++ and one in Rust with the same fields
//! in the same order are one message, with no description beside them (<https://github.com/msgpack/msgpack/blob/master/spec.md>).

use std::io;
use std::ops::DerefMut;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::publisher::{Loan, Publisher};
use crate::rpc::{ReplyLoan, RequestLoan};
use crate::sample::Sample;

/// Bytes that a message's loan starts with.
pub(crate) const FIRST_GUESS: usize = 256;

impl Publisher {
    /// Writes `message` as msgpack into a loan that grows with it, publishes it and returns its position in the topic's order.
    ///
    /// ```
    /// # let root = tempfile::tempdir()?; std::env::set_var("SHM_ROOT", root.path());
    /// #[derive(serde::Serialize, serde::Deserialize, Debug, PartialEq)]
    /// struct Fix { seq: u32, timestamp: u64, place: String, height: f64 }
    ///
    /// let subscriber = shm::Subscriber::new("/fixes")?;
    /// let publisher = shm::Publisher::new("/fixes")?;
    /// let fix = Fix { seq: 1, timestamp: 0, place: "Delphi".into(), height: 570.0 };
    /// publisher.publish_message(&fix)?;
    /// assert_eq!(subscriber.receive()?.message::<Fix>()?, fix);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Encode`] when serde can't write it; those of [`publish`](Self::publish).
    pub fn publish_message<T: Serialize + ?Sized>(&self, message: &T) -> Result<u64> {
        let mut loan = self.loan(FIRST_GUESS)?;
        encode_into(&mut loan, message)?;
        loan.publish()
    }
}

/// Shared memory that is lent to be written: to publish, to send or to reply with.
pub(crate) trait Lent: DerefMut<Target = [u8]> {
    fn capacity(&self) -> usize;
    fn resize(&mut self, len: usize) -> Result<()>;
}

macro_rules! lent {
    ($($loan:ty),*) => {$(
        impl Lent for $loan {
            fn capacity(&self) -> usize {
                self.capacity()
            }

            fn resize(&mut self, len: usize) -> Result<()> {
                self.resize(len)
            }
        }
    )*};
}
lent!(Loan<'_>, RequestLoan<'_>, ReplyLoan<'_>);

/// Writes `message` as msgpack into `loan`, which is as long as that afterwards.
pub(crate) fn encode_into<T: Serialize + ?Sized>(loan: &mut impl Lent, message: &T) -> Result<()> {
    let mut sink = Sink { loan, len: 0, failure: None };
    let written = rmp_serde::encode::write(&mut sink, message);
    if let Some(failure) = sink.failure {
        return Err(failure);
    }
    written.map_err(|error| Error::Encode(error.to_string()))?;
    let len = sink.len;
    loan.resize(len)
}

/// Writes into a loan, which grows by doubling.
struct Sink<'a, L> {
    loan: &'a mut L,
    len: usize,
    /// Why the loan couldn't grow: io's error would lose it.
    failure: Option<Error>,
}

impl<L: Lent> Sink<'_, L> {
    /// Makes room for at least `least` bytes.
    fn grow(&mut self, least: usize) -> Result<()> {
        let capacity = self.loan.capacity();
        let wanted = if least <= capacity { capacity } else { least.max(2 * self.loan.len()) };
        match self.loan.resize(wanted) {
            // Twice as much may be more than there is where enough is not.
            Err(Error::OutOfMemory { .. } | Error::NoSpace { .. }) if wanted > least => {
                self.loan.resize(least)
            }
            done => done,
        }
    }
}

impl<L: Lent> io::Write for Sink<'_, L> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let end = self.len + bytes.len();
        if end > self.loan.len() {
            if let Err(error) = self.grow(end) {
                self.failure = Some(error);
                return Err(io::ErrorKind::OutOfMemory.into());
            }
        }
        self.loan[self.len..end].copy_from_slice(bytes);
        self.len = end;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sample<'_> {
    /// Reads the payload as a msgpack message. Text and bytes may be borrowed from the sample.
    ///
    /// # Errors
    /// [`Error::Decode`] when it isn't a `T`.
    pub fn message<'de, T: Deserialize<'de>>(&'de self) -> Result<T> {
        rmp_serde::from_slice(self).map_err(|error| Error::Decode(error.to_string()))
    }

    /// Reads the payload as msgpack of whatever kind, for those who don't know the type.
    ///
    /// # Errors
    /// [`Error::Decode`] when it isn't msgpack.
    pub fn value(&self) -> Result<rmpv::Value> {
        let mut rest = &**self;
        rmpv::decode::read_value(&mut rest).map_err(|error| Error::Decode(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{PublisherOptions, SubscriberOptions};

    #[test]
    #[cfg_attr(miri, ignore = "Miri opens no directories")]
    fn a_message_takes_what_it_needs_where_twice_as_much_is_too_much() {
        let root = tempfile::tempdir().unwrap();
        let options =
            PublisherOptions { root: Some(root.path().into()), memory: 900 << 10, ..Default::default() };
        let publisher = Publisher::with_options("t", &options).unwrap();
        let options = SubscriberOptions { root: Some(root.path().into()), ..Default::default() };
        let subscriber = crate::Subscriber::with_options("t", &options).unwrap();
        let texts = |count: usize| -> Vec<String> { (0..count).map(|n| format!("{n:10000}")).collect() };
        // It grows text by text: beside the 320 KiB before there is room for 384 KiB, but not for 640.
        publisher.publish_message(&texts(38)).unwrap();
        assert_eq!(subscriber.receive().unwrap().message::<Vec<String>>().unwrap(), texts(38));
        assert!(matches!(publisher.publish_message(&texts(120)), Err(Error::OutOfMemory { .. })));
    }
}
