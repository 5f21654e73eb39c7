// SPDX-License-Identifier: MIT OR Apache-2.0
//! The serving side: take a request, read it in place, write the reply in place and send it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use super::call::{named_by, Call, CallId, Stage, State};
use super::member::{bytes, bytes_mut, Info, Member};
use super::queue::Taken;
use crate::error::{Error, Result};
use crate::options::{MemoryInfo, ServerOptions};
use crate::pool::{Chunk, Message};
use crate::ring::ChunkId;
use crate::topic::{is_live_client, Role};
use crate::wait::{own_bit, sleep_until, wake_one, Spin};

/// Bounds every sleep, so that a wake that was never sent costs no more than this.
const LONGEST_SLEEP: Duration = Duration::from_millis(20);
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
    sent: RefCell<VecDeque<(CallId, ChunkId)>>,
    /// How many of them are worth such a look: twice as many as the last one left, so that it costs each reply no more than a few.
    many: Cell<usize>,
    spin: Cell<Spin>,
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
        match (taken, found) {
            (Taken::Claimed, Some((id, chunk))) => self.begin(id, chunk, hold).map(Some),
            (Taken::Damaged, _) => Err(self.damaged()),
            _ => Ok(None),
        }
    }

    /// Claims the call that the queue's `entry` names, with `hold` on its request.
    #[inline]
    fn claim(&self, hold: u32, entry: ChunkId) -> Option<(CallId, ChunkId)> {
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
        Some((CallId { token: seen.token, client, index }, chunk))
    }

    #[inline]
    fn begin(&self, id: CallId, chunk: ChunkId, hold: u32) -> Result<Request<'_>> {
        let mut request = Request { server: self, message: None, hold, id, part: None, is_over: false };
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
            let left = match deadline {
                None => LONGEST_SLEEP,
                Some(deadline) => deadline.saturating_duration_since(Instant::now()),
            };
            if left.is_zero() {
                return self.try_receive();
            }
            let ready = || topic.queue().has_some();
            if !sleep_until(own_bit(topic), topic.wakes(), left.min(LONGEST_SLEEP), ready) {
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
    fn draft(&self, len: usize) -> Result<Draft<'_>> {
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

/// A request in shared memory, to be replied to. Nobody writes to it while this lives. Dropping it without a reply gives it up: its
/// client gets [`Error::NoReply`]. In the child of a fork its memory isn't there.
pub struct Request<'a> {
    server: &'a Server,
    /// `None` only until it was read.
    message: Option<Message>,
    hold: u32,
    id: CallId,
    /// The last reply of a stream that was sent.
    part: Option<ChunkId>,
    is_over: bool,
}

impl<'a> Request<'a> {
    /// Lends `len` bytes of shared memory, aligned to 64, to write the reply into. The content is unspecified.
    ///
    /// # Errors
    /// Those of [`Publisher::loan`](crate::Publisher::loan).
    #[inline]
    pub fn loan(self, len: usize) -> Result<ReplyLoan<'a>> {
        Ok(ReplyLoan { draft: self.draft(len)?, request: self })
    }

    /// The same, without the request.
    #[inline]
    pub(crate) fn draft(&self, len: usize) -> Result<Draft<'a>> {
        self.server.draft(len)
    }

    /// Replies with a copy of `reply`. False: the call is over, since its client cancelled it or died.
    ///
    /// # Errors
    /// Those of [`loan`](Self::loan): the request is given up then.
    #[inline]
    pub fn reply(mut self, reply: &[u8]) -> Result<bool> {
        self.try_reply(reply)
    }

    /// The same; on an error the request isn't given up.
    #[inline]
    pub(crate) fn try_reply(&mut self, reply: &[u8]) -> Result<bool> {
        let mut draft = self.draft(reply.len())?;
        draft.copy_from_slice(reply);
        self.send(draft, 0)
    }

    /// Replies that the function failed: its caller gets [`Error::Remote`] with `code` and `message`. False: the call is over.
    ///
    /// # Errors
    /// Those of [`loan`](Self::loan): the request is given up then.
    pub fn fail(mut self, code: i32, message: &str) -> Result<bool> {
        self.try_fail(code, message)
    }

    /// The same; on an error the request isn't given up.
    pub(crate) fn try_fail(&mut self, code: i32, message: &str) -> Result<bool> {
        let mut draft = self.draft(4 + message.len())?;
        draft[..4].copy_from_slice(&code.to_le_bytes());
        draft[4..].copy_from_slice(message.as_bytes());
        self.send(draft, Info::ERROR)
    }

    /// Sends a copy of `part` as one of several replies; waits until the client has taken the one before. False: the call is over.
    /// The last of them is followed by [`finish`](Self::finish), or by an error with [`fail`](Self::fail).
    ///
    /// # Errors
    /// Those of [`loan`](Self::loan).
    pub fn send_part(&mut self, part: &[u8]) -> Result<bool> {
        // Before the loan: the part before comes back by that.
        if !self.wait_until_wanted()? {
            return Ok(false);
        }
        let mut draft = self.draft(part.len())?;
        draft.copy_from_slice(part);
        Ok(self.answer(draft, Info::MORE))
    }

    /// Ends a stream of replies; waits until the client has taken the last one. False: the call is over.
    ///
    /// # Errors
    /// Those of [`loan`](Self::loan).
    pub fn finish(mut self) -> Result<bool> {
        self.try_finish()
    }

    /// The same; on an error the request isn't given up.
    pub(crate) fn try_finish(&mut self) -> Result<bool> {
        let draft = self.draft(0)?;
        self.send(draft, Info::END)
    }

    #[inline]
    fn send(&mut self, draft: Draft<'a>, flags: u64) -> Result<bool> {
        Ok(self.wait_until_wanted()? && self.answer(draft, flags))
    }

    /// Which of the service's functions is meant, as the client said with [`RequestLoan::set_function`](crate::RequestLoan::set_function).
    pub fn function(&self) -> u64 {
        self.message.map_or(0, |message| Info::of(&message).function())
    }

    /// Whether nobody waits for a reply any more: the client cancelled the call or died.
    pub fn is_cancelled(&self) -> bool {
        // In the child of a fork nothing can be looked at, and nobody waits for it.
        let call = self.call().filter(|_| self.server.member.topic.token().is_ours());
        !call.is_some_and(|call| {
            let State { token, stage } = call.state();
            token == self.id.token && matches!(stage, Stage::Claimed(_) | Stage::Answered(_))
        })
    }

    fn call(&self) -> Option<Call<'a>> {
        self.server.member.topic.call(self.id.client, self.id.index)
    }

    /// Waits until the client wants a reply: at once but within a stream. False: it wants none any more.
    pub(crate) fn wait_until_wanted(&self) -> Result<bool> {
        let topic = &self.server.member.topic;
        let claimed = State { token: self.id.token, stage: Stage::Claimed(topic.index()) };
        let Some(call) = self.call() else { return Ok(false) };
        loop {
            topic.token().check()?;
            let seen = call.state();
            if seen == claimed {
                return Ok(true);
            }
            // What this server didn't send nobody takes: then the word was damaged.
            if seen.token != claimed.token || self.part.map(Stage::Answered) != Some(seen.stage) {
                return Ok(false);
            }
            let mut spin = self.server.spin.get();
            let changed = spin.until(|| call.state() != seen);
            self.server.spin.set(spin);
            let wakes = topic.own_wakes(topic.index());
            if !changed && !sleep_until((call.eager, 1), wakes, LONGEST_SLEEP, || !call.is(seen)) {
                // A dead client's calls are ended by recovering it.
                topic.recover_if_dead(self.id.client)?;
                // The status first: a recoverer changes it before and after the state, and may be stopped in between.
                if !is_live_client(topic.status(self.id.client)) && call.is(seen) {
                    return Ok(false);
                }
            }
        }
    }

    /// Replies with `draft` when a reply is wanted. False: the call is over.
    #[inline]
    pub(crate) fn answer(&mut self, draft: Draft<'a>, flags: u64) -> bool {
        let Server { member, sent, .. } = self.server;
        let (topic, chunk) = (&member.topic, draft.chunk);
        let me = topic.index();
        self.is_over = flags & Info::MORE == 0;
        let call = self.call().inspect(Call::fetch_to_write);
        member.describe(&chunk, draft.len, self.id, Info::new(flags, me, topic.status(me)));
        let Some(call) = call.filter(|call| call.answer(self.id.token, me, chunk.id)) else { return false };
        // The chunk is the call's now.
        std::mem::forget(draft);
        wake_one((call.waiting, 1), topic.own_wakes(self.id.client));
        sent.borrow_mut().push_back((self.id, chunk.id));
        self.part = Some(chunk.id);
        // Now, while nobody waits for it.
        member.fetch_next(chunk.size);
        true
    }
}

impl Deref for Request<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        let Some(message) = &self.message else { return &[] };
        // SAFETY: the chunk is held, so nobody writes to it, and stays mapped as long as the server; the length was checked against the
        // chunk's size.
        unsafe { std::slice::from_raw_parts(message.payload.as_ptr(), message.len) }
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        let Server { member, .. } = self.server;
        let topic = &member.topic;
        if topic.token().is_ours() && !self.is_over {
            if let Some(call) = self.call().filter(|call| call.give_up(self.id.token, topic.index())) {
                wake_one((call.waiting, 1), topic.own_wakes(self.id.client));
            }
        }
        member.release(self.hold);
    }
}

impl std::fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// A reply being written: `len` bytes of shared memory that nobody else sees until [`send`](Self::send). Dropping it gives the request up.
/// In the child of a fork its memory isn't there.
pub struct ReplyLoan<'a> {
    request: Request<'a>,
    draft: Draft<'a>,
}

impl<'a> ReplyLoan<'a> {
    /// The request, which stays readable while the reply is written.
    pub fn request(&self) -> &Request<'a> {
        &self.request
    }

    /// Makes the reply `len` bytes long. What it contains stays, up to the shorter of the lengths; when `len` is beyond
    /// [`capacity`](Self::capacity), it moves to a larger chunk.
    ///
    /// # Errors
    /// Those of [`Request::loan`]; the loan is unchanged then.
    pub fn resize(&mut self, len: usize) -> Result<()> {
        self.draft.resize(len)
    }

    /// How long the reply can become without moving, in bytes.
    pub fn capacity(&self) -> usize {
        self.draft.capacity()
    }

    /// Sends the reply. False: the call is over, since its client cancelled it or died.
    ///
    /// # Errors
    /// [`Error::Forked`].
    #[inline]
    pub fn send(self) -> Result<bool> {
        let ReplyLoan { mut request, draft } = self;
        request.send(draft, 0)
    }

    /// Replies that the function failed, in place of what was written: see [`Request::fail`].
    ///
    /// # Errors
    /// Those of [`resize`](Self::resize): the request is given up then.
    pub fn fail(self, code: i32, message: &str) -> Result<bool> {
        // What was written goes; the request isn't over.
        self.request.fail(code, message)
    }
}

impl Deref for ReplyLoan<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.draft
    }
}

impl DerefMut for ReplyLoan<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.draft
    }
}

impl std::fmt::Debug for ReplyLoan<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReplyLoan").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// Memory for a reply. Dropping it discards it.
pub(crate) struct Draft<'a> {
    server: &'a Server,
    chunk: Chunk,
    len: usize,
}

impl Draft<'_> {
    pub(crate) fn resize(&mut self, len: usize) -> Result<()> {
        self.server.member.topic.token().check()?;
        if len > self.chunk.size {
            let mut larger = self.server.draft(len)?;
            larger[..self.len].copy_from_slice(self);
            // `larger` discards the smaller chunk when it is dropped.
            std::mem::swap(&mut self.chunk, &mut larger.chunk);
        }
        self.len = len;
        Ok(())
    }

    pub(crate) fn capacity(&self) -> usize {
        self.chunk.size
    }
}

impl Deref for Draft<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: the chunk is the draft's alone until it is sent.
        unsafe { bytes(&self.chunk, self.len) }
    }
}

impl DerefMut for Draft<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above.
        unsafe { bytes_mut(&self.chunk, self.len) }
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        self.server.member.discard(self.chunk);
    }
}
