// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a process does with a topic: any calls in any order, each of which may fail but must come back.

use std::path::Path;
use std::time::Duration;

use arbitrary::Arbitrary;
use shm::{Loan, Publisher, RootOptions, Sample, Subscriber};

use super::edits::{Edit, Shape};
use super::place::TOPIC;
use super::template::{publisher, subscriber};

/// One call, or a few that belong together.
#[derive(Clone, Debug, Arbitrary)]
pub enum Act {
    Edit(Edit),
    Shape(Shape),
    JoinAsPublisher(Memory),
    JoinAsSubscriber {
        history: u8,
        reliable: bool,
    },
    LeaveAsPublisher(u8),
    /// The samples that it holds stay.
    LeaveAsSubscriber(u8),
    Publish(u8, Size),
    /// Several loans at once, and a change before they are published.
    Loan {
        by: u8,
        sizes: [Size; 3],
        resized: Size,
        meanwhile: Edit,
        discard: bool,
    },
    Receive(u8),
    ReceiveAll(u8),
    Wait {
        by: u8,
        milliseconds: bool,
    },
    Hold(u8),
    Release(u8),
    /// Looks at the whole root.
    Audit,
    Collect,
}

/// What a publisher may take.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub enum Memory {
    Least,
    Little,
    Enough,
}

/// How large a message is.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub enum Size {
    Tiny(u8),
    Small(u16),
    Large,
    TooLarge,
    Endless,
}

impl Size {
    fn bytes(self) -> usize {
        match self {
            Size::Tiny(len) => len.into(),
            Size::Small(len) => len.into(),
            Size::Large => 150_000,
            Size::TooLarge => 1 << 40,
            Size::Endless => usize::MAX,
        }
    }
}

/// Handles at a time, of each kind.
const MOST: usize = 3;
/// Not for ever: what was edited may say of a living subscriber that it is reliable.
const BRIEFLY: Duration = Duration::from_millis(1);

/// A process that uses the topic.
pub struct User<'a> {
    root: &'a Path,
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
    held: Vec<Sample<'static>>,
    /// The topic can be neither joined nor made: it takes long to find that out, so once is enough.
    hopeless: bool,
}

fn pick<T>(from: &[T], which: u8) -> Option<&T> {
    from.get(usize::from(which) % from.len().max(1))
}

impl<'a> User<'a> {
    pub fn new(root: &'a Path) -> Self {
        User { root, publishers: Vec::new(), subscribers: Vec::new(), held: Vec::new(), hopeless: false }
    }

    /// Calls that came to nothing are as good as others: what they returned is dropped.
    pub fn act(&mut self, act: &Act) -> Option<()> {
        match *act {
            Act::Edit(edit) => edit.apply(&self.root.join(TOPIC)),
            Act::Shape(shape) if shape.is_for_unused() => None,
            Act::Shape(shape) => shape.apply(&self.root.join(TOPIC)),
            Act::JoinAsPublisher(memory) => self.join_as_publisher(memory),
            Act::JoinAsSubscriber { history, reliable } => self.join_as_subscriber(history, reliable),
            Act::LeaveAsPublisher(which) => leave(&mut self.publishers, which),
            Act::LeaveAsSubscriber(which) => leave(&mut self.subscribers, which),
            Act::Publish(by, size) => publish(pick(&self.publishers, by)?, size),
            Act::Loan { by, sizes, resized, meanwhile, discard } => {
                self.loan(by, sizes, resized, meanwhile, discard)
            }
            Act::Receive(by) => pick(&self.subscribers, by)?.try_receive().ok()?.as_ref().map(read),
            Act::ReceiveAll(by) => self.receive_all(by),
            Act::Wait { by, milliseconds } => {
                let longest = Duration::from_millis(milliseconds.into());
                pick(&self.subscribers, by)?.receive_timeout(longest).ok()?.as_ref().map(read)
            }
            Act::Hold(by) => {
                let sample = pick(&self.subscribers, by)?.try_receive().ok()??;
                read(&sample);
                self.held.push(sample.keep());
                Some(())
            }
            Act::Release(which) => leave(&mut self.held, which),
            Act::Audit => shm::audit(&within(self.root)).ok().map(|audit| drop(format!("{audit:?}"))),
            Act::Collect => shm::gc(&within(self.root)).ok().map(drop),
        }
    }

    pub fn join_as_publisher(&mut self, memory: Memory) -> Option<()> {
        let memory = match memory {
            Memory::Least => 20 << 10,
            Memory::Little => 100 << 10,
            Memory::Enough => 1 << 20,
        };
        if self.publishers.len() < MOST && !self.hopeless {
            let joined = publisher(self.root, memory);
            let joined = self.noted(joined);
            self.publishers.extend(joined);
        }
        Some(())
    }

    pub fn join_as_subscriber(&mut self, history: u8, reliable: bool) -> Option<()> {
        if self.subscribers.len() < MOST && !self.hopeless {
            let joined = subscriber(self.root, history.into(), reliable);
            let joined = self.noted(joined);
            self.subscribers.extend(joined);
        }
        Some(())
    }

    fn noted<T>(&mut self, joined: shm::Result<T>) -> Option<T> {
        self.hopeless =
            joined.as_ref().is_err_and(|error| error.to_string().contains("neither whole nor empty"));
        joined.ok()
    }

    fn receive_all(&self, by: u8) -> Option<()> {
        let subscriber = pick(&self.subscribers, by)?;
        // Errors are skipped too: each is about one message.
        for _ in 0..20 {
            match subscriber.try_receive() {
                Ok(Some(sample)) => read(&sample),
                Ok(None) => break,
                Err(_) => {}
            }
        }
        let _ = (subscriber.lost(), subscriber.info());
        Some(())
    }

    fn loan(&self, by: u8, sizes: [Size; 3], resized: Size, meanwhile: Edit, discard: bool) -> Option<()> {
        let publisher = pick(&self.publishers, by)?;
        let mut loans: Vec<Loan> =
            sizes.iter().filter_map(|size| publisher.loan(size.bytes()).ok()).collect();
        (1u8..).zip(&mut loans).for_each(|(mark, loan)| loan.fill(mark));
        meanwhile.apply(&self.root.join(TOPIC));
        if let Some(first) = loans.first_mut() {
            if first.resize(resized.bytes()).is_ok() {
                first.fill(1);
            }
        }
        // Whatever the files say: no byte is lent twice.
        apart(&loans);
        if discard {
            loans.pop();
        }
        for loan in loans {
            let _ = loan.publish_timeout(BRIEFLY);
        }
        Some(())
    }
}

fn apart(loans: &[Loan]) {
    let mut places: Vec<_> = loans.iter().map(|loan| loan.as_ptr_range()).collect();
    places.retain(|place| !place.is_empty());
    places.sort_by_key(|place| place.start);
    assert!(places.windows(2).all(|two| two[0].end <= two[1].start), "lent twice: {places:?}");
}

fn leave<T>(handles: &mut Vec<T>, which: u8) -> Option<()> {
    if !handles.is_empty() {
        handles.swap_remove(usize::from(which) % handles.len());
    }
    Some(())
}

fn within(root: &Path) -> RootOptions {
    RootOptions { root: Some(root.into()), ..Default::default() }
}

fn publish(publisher: &Publisher, size: Size) -> Option<()> {
    let _ = publisher.memory();
    let mut loan = publisher.loan(size.bytes()).ok()?;
    loan.fill(0xab);
    loan.publish_timeout(BRIEFLY).ok()?.ok().map(|_| ())
}

/// Reads a byte of each line that the sample claims to have, and its last one.
fn read(sample: &Sample) {
    assert_eq!(sample.as_ptr() as usize % 64, 0);
    sample.iter().step_by(64).chain(sample.last()).for_each(|byte| _ = std::hint::black_box(*byte));
    std::hint::black_box((sample.position(), sample.timestamp()));
}
