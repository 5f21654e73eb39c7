// SPDX-License-Identifier: MIT OR Apache-2.0
//! The serving side: take a request, read it in place, write the reply in place and send it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use super::call::{named_by, Call, CallId, Stage, State};
use super::longest_until;
use super::member::Member;
use super::queue::Taken;
use super::request::{Draft, Request};
use crate::error::{Error, Result};
use crate::options::{MemoryInfo, ServerOptions};
use crate::ring::ChunkId;
use crate::sync::barrier_after_rmw;
use crate::topic::Role;
use crate::wait::{own_bit, sleep_until, wake_gate, Spin};

/// Sleeps in vain between two looks for dead participants: about a second.
const SLEEPS_PER_LOOK: u32 = 50;
/// Replies out, at least, before those that came back are looked for among all of them and not only the oldest.
const MANY: usize = 64;

/// Serves the requests of a service, each of which goes to exactly one of its servers.
///
/// It may move between threads but not be used by two at once (`Send`, not `Sync`): give each thread its own, and they share the load.
/// Several requests may be in hand at a time, and be replied to in any order.
pub struct Server {
    pub(super) member: Member,
    /// Replies that their clients may not have taken yet.
    pub(super) sent: RefCell<VecDeque<(CallId, ChunkId)>>,
    /// How many of them are worth such a look: twice as many as the last one left, so that it costs each reply no more than a few.
    many: Cell<usize>,
    pub(super) spin: Cell<Spin>,
    vain_sleeps: Cell<u32>,
    single_threaded: PhantomData<Cell<()>>,
}

impl Server {
    /// Joins `service`, making it when it isn't there.
    ///
    /// # Errors
    /// See [`with_options`](Self::with_options).
    pub fn new(service: &str) -> Result<Server> {
        Self::with_options(service, &ServerOptions::default())
    }

    /// Joins `service`, making it when it isn't there, with at least the sizes that `options` ask for.
    ///
    /// # Errors
    /// Those of [`Publisher::with_options`](crate::Publisher::with_options).
    pub fn with_options(service: &str, options: &ServerOptions) -> Result<Server> {
        let root = options.root.as_deref();
        let member = Member::open(service, root, options.wanted(), Role::Server, options.memory)?;
        Ok(Server {
            member,
            sent: RefCell::default(),
            many: Cell::new(MANY),
            spin: Cell::new(Spin::new()),
            vain_sleeps: Cell::new(0),
            single_threaded: PhantomData,
        })
    }

    /// The next request if there is one. Never blocks.
    ///
    /// # Errors
    /// [`Error::NoHold`] when as many requests are in hand as may be; [`Error::Corrupt`] when another process damaged the service: that
    /// request is given up; [`Error::Os`] when the request can't be mapped: it is given up, too; [`Error::Forked`].
    #[inline]
    pub fn try_receive(&self) -> Result<Option<Request<'_>>> {
        let member = &self.member;
        let topic = &member.topic;
        topic.token().check()?;
        let hold = match member.free_hold() {
            Ok(hold) => hold,
            Err(error) if topic.queue().has_some() => return Err(error),
            Err(_) => return Ok(None),
        };
        let mut found = None;
        let taken = topic.queue().take(|entry| {
            found = self.claim(hold, entry);
            found.is_some()
        });
        // Q2 came before, if there is room now that wasn't there.
        barrier_after_rmw();
        wake_gate(topic.gate_waiting(), topic.gate_wakes());
        match (taken, found) {
            (Taken::Claimed, Some((call, id, chunk))) => self.begin(call, id, chunk, hold).map(Some),
            (Taken::Damaged, _) => Err(self.damaged()),
            _ => Ok(None),
        }
    }

    /// Claims the call that the queue's `entry` names, with `hold` on its request.
    #[inline]
    fn claim(&self, hold: u32, entry: ChunkId) -> Option<(Call<'_>, CallId, ChunkId)> {
        let topic = &self.member.topic;
        let (client, index, is_of) = named_by(entry)?;
        // Bounded by what there is: the entry is read from shared memory.
        let call = topic.call(client, index)?;
        // One transfer for the look and the claim, though the client looks at it all the time.
        call.fetch_to_write();
        let seen = call.state();
        if seen.stage != Stage::Queued || !is_of(seen.token) {
            return None;
        }
        let chunk = call.request();
        self.member.fetch(chunk);
        self.member.hold(hold, chunk);
        if !call.claim(seen, topic.index()) {
            self.member.release(hold);
            return None;
        }
        Some((call, CallId { token: seen.token, client, index }, chunk))
    }

    #[inline]
    fn begin<'a>(&'a self, call: Call<'a>, id: CallId, chunk: ChunkId, hold: u32) -> Result<Request<'a>> {
        let mut request = Request { server: self, message: None, hold, call, id, part: None, is_over: false };
        // Dropping the request gives it up.
        request.message = Some(self.member.read(chunk, id)?);
        self.member.keep(hold, chunk);
        Ok(request)
    }

    /// The next request; waits for it.
    ///
    /// # Errors
    /// Those of [`try_receive`](Self::try_receive).
    pub fn receive(&self) -> Result<Request<'_>> {
        loop {
            if let Some(request) = self.receive_until(None)? {
                return Ok(request);
            }
        }
    }

    /// The next request; waits for it, but not longer than `timeout`. `None`: none came.
    ///
    /// # Errors
    /// Those of [`try_receive`](Self::try_receive).
    pub fn receive_timeout(&self, timeout: Duration) -> Result<Option<Request<'_>>> {
        self.receive_until(Instant::now().checked_add(timeout))
    }

    fn receive_until(&self, deadline: Option<Instant>) -> Result<Option<Request<'_>>> {
        let topic = &self.member.topic;
        loop {
            if let Some(request) = self.try_receive()? {
                return Ok(Some(request));
            }
            let mut spin = self.spin.get();
            let came = spin.until(|| topic.queue().has_some());
            self.spin.set(spin);
            // Also when others were faster each time: that could go on for ever.
            if came && deadline.is_none_or(|deadline| Instant::now() < deadline) {
                continue;
            }
            let left = longest_until(deadline);
            if left.is_zero() {
                return self.try_receive();
            }
            let ready = || topic.queue().has_some();
            if !sleep_until(own_bit(topic), topic.wakes(), left, ready) {
                if topic.queue().is_damaged() {
                    return Err(self.damaged());
                }
                self.vain_sleeps.set(self.vain_sleeps.get() + 1);
                if self.vain_sleeps.get().is_multiple_of(SLEEPS_PER_LOOK) {
                    // A failure here is the next looker's to report.
                    let _ = topic.recover_neighbour();
                }
            }
        }
    }

    fn damaged(&self) -> Error {
        let what = "what was taken isn't where its requests are";
        Error::corrupt(self.member.topic.dir().join("ring"), what)
    }

    /// How many requests wait for a server. 0 in the child of a fork, for which none does.
    pub fn waiting(&self) -> u64 {
        let topic = &self.member.topic;
        if topic.token().is_ours() {
            topic.queue().len()
        } else {
            0
        }
    }

    /// How this server's memory is used.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn memory(&self) -> Result<MemoryInfo> {
        self.member.topic.token().check()?;
        self.take_back_all(&mut self.sent.borrow_mut());
        self.member.memory()
    }

    /// Takes back the chunks of replies that their clients have taken.
    #[inline]
    fn take_back(&self) {
        let mut sent = self.sent.borrow_mut();
        while sent.front().is_some_and(|reply| !self.is_out(reply)) {
            if let Some((_, chunk)) = sent.pop_front() {
                self.member.retire(chunk);
            }
        }
        if sent.len() >= self.many.get() {
            self.take_back_all(&mut sent);
        }
    }

    /// The same, also of those behind one that waits for its client. Whether there were any.
    #[cold]
    fn take_back_all(&self, sent: &mut VecDeque<(CallId, ChunkId)>) -> bool {
        let before = sent.len();
        sent.retain(|reply| {
            let keep = self.is_out(reply);
            if !keep {
                self.member.retire(reply.1);
            }
            keep
        });
        self.many.set(MANY.max(2 * sent.len()));
        sent.len() < before
    }

    /// Whether the client has yet to take the reply.
    #[inline]
    fn is_out(&self, &(id, chunk): &(CallId, ChunkId)) -> bool {
        let call = self.member.topic.call(id.client, id.index);
        call.is_some_and(|call| call.state() == State { token: id.token, stage: Stage::Answered(chunk) })
    }

    #[inline]
    pub(super) fn draft(&self, len: usize) -> Result<Draft<'_>> {
        self.member.topic.token().check()?;
        self.take_back();
        let chunk = match self.member.loan(len) {
            Err(Error::OutOfMemory { .. }) if self.take_back_all(&mut self.sent.borrow_mut()) => {
                self.member.loan(len)?
            }
            other => other?,
        };
        Ok(Draft { server: self, chunk, len })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.member.topic.token().is_ours() {
            self.take_back_all(&mut self.sent.borrow_mut());
        }
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("waiting", &self.waiting()).finish_non_exhaustive()
    }
}
