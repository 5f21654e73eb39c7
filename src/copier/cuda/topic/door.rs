// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where a publisher gives its blocks to those who see its messages: a socket of an abstract name, and a thread behind it.
//!
//! A subscriber keeps one connection to each publisher, over which it asks for one block after another; that the connection is closed says that the publisher is gone.
//! Nobody waits for anybody here: neither the thread for a subscriber that is stopped or doesn't read, nor, beyond [`LIMIT`], a subscriber for a
//! publisher that is stopped.

use std::collections::BTreeMap;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytemuck::{Pod, Zeroable};
use rustix::io::Errno;

use super::super::virtual_memory::Block;
use super::descriptor::{door_name, Place};
use crate::error::{Error, Result};
use crate::os::fork::Token;
use crate::os::socket::{poll, Bell, Connection, Listener};
use crate::os::thread;
use crate::ring::ChunkId;

/// How long a subscriber waits for a publisher that doesn't answer.
pub(super) const LIMIT: Duration = Duration::from_secs(1);
/// How long the thread leaves connections alone that it can't take.
const PAUSE: Duration = Duration::from_millis(10);
/// More subscribers than a topic takes aren't served.
const MOST_CONNECTIONS: usize = 1024;

/// What both sides say. Of an answer: what it answers, and whether a descriptor comes with it.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
struct Word {
    what: u64,
    id: [u64; 2],
}

/// Asks for the block with that id.
const GIVE: u64 = 1;
/// Says that it can't be mapped.
const IN_VAIN: u64 = 2;
/// Answers.
const GIVEN: u64 = 3;
const NOT_THERE: u64 = 4;

/// What a publisher's threads share.
pub(super) struct Blocks {
    blocks: Mutex<BTreeMap<ChunkId, (Place, Arc<Block>)>>,
    /// A subscriber said that it can't map one.
    pub(super) in_vain: AtomicBool,
}

impl Blocks {
    pub(super) fn new() -> Blocks {
        Blocks { blocks: Mutex::default(), in_vain: AtomicBool::new(false) }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ChunkId, (Place, Arc<Block>)>> {
        // Nothing panics halfway.
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The block of a chunk, made at the first time.
    pub(super) fn of(
        &self,
        chunk: ChunkId,
        make: impl FnOnce() -> Result<(Place, Block)>,
    ) -> Result<(Place, u64)> {
        let mut blocks = self.lock();
        if let Some((place, block)) = blocks.get(&chunk) {
            return Ok((*place, block.start()));
        }
        let (place, block) = make()?;
        let start = block.start();
        blocks.insert(chunk, (place, Arc::new(block)));
        Ok((place, start))
    }

    fn export(&self, id: [u64; 2]) -> Option<OwnedFd> {
        let found = self.lock().values().find(|(place, _)| place.id == id).map(|(_, block)| block.clone());
        // Not under the lock: loans needn't wait for the driver.
        found?.export().ok()
    }
}

/// A publisher's door, open until it is dropped.
pub(super) struct Door {
    bell: Arc<Bell>,
    thread: ManuallyDrop<JoinHandle<()>>,
    token: Token,
}

impl Door {
    /// Opens the door `number`, for this user and for the members of `group`.
    pub(super) fn open(number: u64, group: Option<u32>, blocks: Arc<Blocks>) -> Result<Door> {
        let token = Token::current()?;
        let (listener, bell) = (Listener::bind(&door_name(number))?, Arc::new(Bell::new()?));
        let rung = bell.clone();
        let thread = thread::spawn("shm-device", move || serve(&listener, &rung, group, &blocks))?;
        Ok(Door { bell, thread: ManuallyDrop::new(thread), token })
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        // In the child of a fork there is no thread.
        if self.token.is_ours() {
            self.bell.ring();
            // It has nothing to say. SAFETY: taken once, here.
            let _ = unsafe { ManuallyDrop::take(&mut self.thread) }.join();
        }
    }
}

fn serve(listener: &Listener, bell: &Bell, group: Option<u32>, blocks: &Blocks) {
    let mut connections: Vec<Connection> = Vec::new();
    loop {
        let mut polled = vec![bell.as_fd(), listener.as_fd()];
        polled.extend(connections.iter().map(AsFd::as_fd));
        let Ok(ready) = poll(&polled, None) else { return };
        if ready[0] {
            return;
        }
        let mut is_ready = ready[2..].iter();
        connections
            .retain(|connection| !is_ready.next().is_some_and(|&ready| ready) || answer(connection, blocks));
        if !ready[1] {
            continue;
        }
        match listener.accept() {
            Ok(come) => connections.extend(
                come.filter(|come| come.is_trusted(group)).filter(|_| connections.len() < MOST_CONNECTIONS),
            ),
            // It stays there to be taken, when there are descriptors again.
            Err(_) => drop(poll(&[bell.as_fd()], Some(Instant::now() + PAUSE))),
        }
    }
}

/// Answers one request. False: the connection is over.
fn answer(connection: &Connection, blocks: &Blocks) -> bool {
    let mut asked = Word::zeroed();
    match connection.receive(bytemuck::bytes_of_mut(&mut asked)) {
        Err(Errno::AGAIN) => return true,
        Ok(received) if received.len == size_of::<Word>() => {}
        _ => return false,
    }
    match asked.what {
        GIVE => {
            let block = blocks.export(asked.id);
            let what = if block.is_some() { GIVEN } else { NOT_THERE };
            let answer = Word { what, ..asked };
            // Who doesn't read its answers gets no more.
            connection.send(bytemuck::bytes_of(&answer), block.as_ref().map(AsFd::as_fd)).is_ok()
        }
        IN_VAIN => {
            // Relaxed: a hint for the next loan.
            blocks.in_vain.store(true, Ordering::Relaxed);
            true
        }
        _ => false,
    }
}

/// A subscriber's connection to a publisher.
pub(super) struct Visit {
    connection: Connection,
    /// It didn't answer in time, and hasn't answered since: it isn't waited for again.
    is_late: bool,
}

/// What became of asking for a block.
pub(super) enum Asked {
    Given(OwnedFd),
    /// Its publisher is gone.
    Gone,
}

impl Visit {
    /// Goes to where the block is to be had; `None`: nobody is there any more.
    pub(super) fn begin(door: u64, group: Option<u32>) -> Result<Option<Visit>> {
        let name = door_name(door);
        let connection = match Connection::open(&name, LIMIT) {
            Err(Error::Os { source, .. }) if source.kind() == std::io::ErrorKind::ConnectionRefused => {
                return Ok(None);
            }
            other => other?,
        };
        if !connection.is_trusted(group) {
            let reason = "a process of another user listens there".to_owned();
            return Err(Error::NotTrusted { path: name, reason });
        }
        Ok(Some(Visit { connection, is_late: false }))
    }

    /// Asks for a block; waits for the answer up to [`LIMIT`], but only once for a publisher that is late.
    pub(super) fn ask(&mut self, place: &Place) -> Result<Asked> {
        let failed = |call, errno| Error::os(call, door_name(place.door), errno);
        match self.say(GIVE, place) {
            // Not one of its answers was read, nor one of the requests: it is stopped, and its end isn't known.
            Err(Errno::AGAIN) => return Err(failed("sendmsg", Errno::TIMEDOUT)),
            Err(Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN) => return Ok(Asked::Gone),
            other => other.map_err(|errno| failed("sendmsg", errno))?,
        }
        let mut deadline = Instant::now() + if self.is_late { Duration::ZERO } else { LIMIT };
        loop {
            if !self.connection.wait(deadline).map_err(|errno| failed("poll", errno))? {
                self.is_late = true;
                return Err(failed("recvmsg", Errno::TIMEDOUT));
            }
            let mut answer = Word::zeroed();
            let received = match self.connection.receive(bytemuck::bytes_of_mut(&mut answer)) {
                Err(Errno::AGAIN) => continue,
                Err(Errno::CONNRESET) => return Ok(Asked::Gone),
                other => other.map_err(|errno| failed("recvmsg", errno))?,
            };
            if received.len == 0 {
                return Ok(Asked::Gone);
            }
            if std::mem::take(&mut self.is_late) {
                // It works again.
                deadline = Instant::now() + LIMIT;
            }
            // What was asked for when it was late is asked for again when it is needed.
            if received.len != size_of::<Word>() || answer.id != place.id {
                continue;
            }
            return match received.descriptor {
                Some(descriptor) if answer.what == GIVEN => Ok(Asked::Given(descriptor)),
                _ => Err(Error::copier(
                    "mapping",
                    0,
                    "the publisher doesn't give the block that its message names",
                )),
            };
        }
    }

    /// Tells the publisher that its block is of no use here.
    pub(super) fn complain(&self, place: &Place) {
        // Where it doesn't come through, the user was told.
        let _ = self.say(IN_VAIN, place);
    }

    fn say(&self, what: u64, place: &Place) -> rustix::io::Result<()> {
        self.connection.send(bytemuck::bytes_of(&Word { what, id: place.id }), None)
    }

    pub(super) fn is_over(&self) -> bool {
        self.connection.is_closed()
    }
}
