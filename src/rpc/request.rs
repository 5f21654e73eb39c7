// SPDX-License-Identifier: MIT OR Apache-2.0
//! A request in hand, as its server sees it, and its replies being written.

use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use super::call::{Call, CallId, Stage, State};
use super::longest_until;
use super::member::{bytes, bytes_mut, Info};
use super::server::Server;
use crate::error::Result;
use crate::pool::{Chunk, Message};
use crate::ring::ChunkId;
use crate::topic::is_live_client;
use crate::wait::{sleep_until, wake_one};

/// A request in shared memory, to be replied to. Nobody writes to it while this lives. Dropping it without a reply gives it up: its
/// client gets [`Error::NoReply`](crate::Error::NoReply). In the child of a fork its memory isn't there.
pub struct Request<'a> {
    pub(super) server: &'a Server,
    /// `None` only until it was read.
    pub(super) message: Option<Message>,
    pub(super) hold: u32,
    pub(super) call: Call<'a>,
    pub(super) id: CallId,
    /// The last reply of a stream that was sent.
    pub(super) part: Option<ChunkId>,
    pub(super) is_over: bool,
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

    /// Replies that the function failed: its caller gets [`Error::Remote`](crate::Error::Remote) with `code` and `message`. False: the call is over.
    ///
    /// # Errors
    /// Those of [`loan`](Self::loan): the request is given up then.
    pub fn fail(mut self, code: i32, message: &str) -> Result<bool> {
        self.fail_until(code, message, None).map(ended)
    }

    /// The same, but after [`send_part`](Self::send_part) waits no longer than `timeout`, and gives the request back when the client
    /// hadn't taken the part in that time.
    ///
    /// # Errors
    /// Those of [`fail`](Self::fail).
    pub fn fail_timeout(
        mut self,
        code: i32,
        message: &str,
        timeout: Duration,
    ) -> Result<std::result::Result<bool, Self>> {
        let failed = self.fail_until(code, message, Instant::now().checked_add(timeout))?;
        Ok(failed.ok_or(self))
    }

    /// The same; on an error the request isn't given up. `None`: not until `deadline`.
    pub(crate) fn fail_until(
        &mut self,
        code: i32,
        message: &str,
        deadline: Option<Instant>,
    ) -> Result<Option<bool>> {
        self.write_until(4 + message.len(), Info::ERROR, deadline, |reply| {
            reply[..4].copy_from_slice(&code.to_le_bytes());
            reply[4..].copy_from_slice(message.as_bytes());
        })
    }

    /// Sends a copy of `part` as one of several replies; waits until the client has taken the one before. False: the call is over.
    /// The last of them is followed by [`finish`](Self::finish), or by an error with [`fail`](Self::fail).
    ///
    /// # Errors
    /// Those of [`loan`](Self::loan).
    pub fn send_part(&mut self, part: &[u8]) -> Result<bool> {
        self.send_part_until(part, None).map(ended)
    }

    /// The same, but waits no longer than `timeout`. `None`: the client hadn't taken the one before in that time, and `part` wasn't sent;
    /// the request goes on.
    ///
    /// ```
    /// # let root = tempfile::tempdir()?; std::env::set_var("SHM_ROOT", root.path());
    /// use std::time::Duration;
    /// let (server, client) = (shm::Server::new("list")?, shm::Client::new("list")?);
    /// let mut pending = client.send(b"all")?;
    /// let mut request = server.receive()?;
    /// assert_eq!(request.send_part_timeout(b"1", Duration::from_millis(1))?, Some(true));
    /// assert_eq!(request.send_part_timeout(b"2", Duration::from_millis(1))?, None); // nobody has taken the first one
    /// assert_eq!(pending.next()?.as_deref(), Some(&b"1"[..]));
    /// assert_eq!(request.send_part_timeout(b"2", Duration::from_millis(1))?, Some(true));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`loan`](Self::loan).
    pub fn send_part_timeout(&mut self, part: &[u8], timeout: Duration) -> Result<Option<bool>> {
        self.send_part_until(part, Instant::now().checked_add(timeout))
    }

    pub(crate) fn send_part_until(&mut self, part: &[u8], deadline: Option<Instant>) -> Result<Option<bool>> {
        self.write_until(part.len(), Info::MORE, deadline, |reply| reply.copy_from_slice(part))
    }

    /// Ends a stream of replies; waits until the client has taken the last one. False: the call is over.
    ///
    /// # Errors
    /// Those of [`loan`](Self::loan).
    pub fn finish(mut self) -> Result<bool> {
        self.finish_until(None).map(ended)
    }

    /// The same, but waits no longer than `timeout`, and gives the request back when the client hadn't taken the last one in that time.
    ///
    /// # Errors
    /// Those of [`finish`](Self::finish).
    pub fn finish_timeout(mut self, timeout: Duration) -> Result<std::result::Result<bool, Self>> {
        let finished = self.finish_until(Instant::now().checked_add(timeout))?;
        Ok(finished.ok_or(self))
    }

    /// The same; on an error the request isn't given up. `None`: not until `deadline`.
    pub(crate) fn finish_until(&mut self, deadline: Option<Instant>) -> Result<Option<bool>> {
        self.write_until(0, Info::END, deadline, |_| ())
    }

    /// Sends a reply of `len` bytes, which `write` fills, when one is wanted. `None`: not until `deadline`.
    fn write_until(
        &mut self,
        len: usize,
        flags: u64,
        deadline: Option<Instant>,
        write: impl FnOnce(&mut [u8]),
    ) -> Result<Option<bool>> {
        // Before the loan: the part before comes back by that.
        let wanted = self.wait_until_wanted(deadline)?;
        if wanted != Some(true) {
            return Ok(wanted);
        }
        let mut draft = self.draft(len)?;
        write(&mut draft);
        Ok(Some(self.answer(draft, flags)))
    }

    #[inline]
    fn send(&mut self, draft: Draft<'a>, flags: u64) -> Result<bool> {
        Ok(self.wait_until_wanted(None).map(ended)? && self.answer(draft, flags))
    }

    /// Which of the service's functions is meant, as the client said with [`RequestLoan::set_function`](crate::RequestLoan::set_function).
    pub fn function(&self) -> u64 {
        self.message.map_or(0, |message| Info::of(&message).function())
    }

    /// Whether nobody waits for a reply any more: the client cancelled the call or died.
    pub fn is_cancelled(&self) -> bool {
        // In the child of a fork nothing can be looked at, and nobody waits for it.
        if !self.server.member.topic.token().is_ours() {
            return true;
        }
        let State { token, stage } = self.call.state();
        token != self.id.token || !matches!(stage, Stage::Claimed(_) | Stage::Answered(_))
    }

    /// Waits until the client wants a reply: at once but within a stream. False: it wants none any more. `None`: not until `deadline`.
    pub(crate) fn wait_until_wanted(&self, deadline: Option<Instant>) -> Result<Option<bool>> {
        let topic = &self.server.member.topic;
        let claimed = State { token: self.id.token, stage: Stage::Claimed(topic.index()) };
        let call = self.call;
        loop {
            topic.token().check()?;
            let seen = call.state();
            if seen == claimed {
                return Ok(Some(true));
            }
            // What this server didn't send nobody takes: then the word was damaged.
            if seen.token != claimed.token || self.part.map(Stage::Answered) != Some(seen.stage) {
                return Ok(Some(false));
            }
            let mut spin = self.server.spin.get();
            let changed = spin.until(|| call.state() != seen);
            self.server.spin.set(spin);
            if changed {
                continue;
            }
            let (left, wakes) = (longest_until(deadline), topic.own_wakes(topic.index()));
            if !left.is_zero() && sleep_until((call.eager(), 1), wakes, left, || !call.is(seen)) {
                continue;
            }
            // Also when nothing is left: one that never sleeps learns of it, too. A dead client's calls are ended by recovering it.
            topic.recover_if_dead(self.id.client)?;
            // The status first: a recoverer changes it before and after the state, and may be stopped in between.
            if !is_live_client(topic.status(self.id.client)) && call.is(seen) {
                return Ok(Some(false));
            }
            if left.is_zero() && call.is(seen) {
                return Ok(None);
            }
        }
    }

    /// Sends `draft` as one of several replies when one is wanted. False: the call is over.
    pub(crate) fn answer_part(&mut self, draft: Draft<'a>) -> bool {
        self.answer(draft, Info::MORE)
    }

    /// Replies with `draft` when a reply is wanted. False: the call is over.
    #[inline]
    pub(crate) fn answer(&mut self, draft: Draft<'a>, flags: u64) -> bool {
        let Server { member, sent, .. } = self.server;
        let (topic, chunk) = (&member.topic, draft.chunk);
        let me = topic.index();
        self.is_over = flags & Info::MORE == 0;
        self.call.fetch_to_write();
        member.describe(&chunk, draft.len, self.id, Info::new(flags, me, topic.status(me)));
        if !self.call.answer(self.id.token, me, chunk.id) {
            return false;
        }
        // The chunk is the call's now.
        std::mem::forget(draft);
        wake_one((self.call.waiting(), 1), topic.own_wakes(self.id.client));
        sent.borrow_mut().push_back((self.id, chunk.id));
        self.part = Some(chunk.id);
        member.prepare(&chunk);
        true
    }
}

/// What a wait without a deadline gave, which isn't `None`.
#[inline]
fn ended(waited: Option<bool>) -> bool {
    waited == Some(true)
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
        if !self.is_over && topic.token().is_ours() && self.call.give_up(self.id.token, topic.index()) {
            wake_one((self.call.waiting(), 1), topic.own_wakes(self.id.client));
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
    /// [`Error::Forked`](crate::Error::Forked).
    #[inline]
    pub fn send(self) -> Result<bool> {
        let ReplyLoan { mut request, draft } = self;
        request.send(draft, 0)
    }

    /// Sends what was written as one of several replies, and gives the request back for the next one; waits as [`Request::send_part`]
    /// does. `None`: the call is over.
    ///
    /// ```
    /// # let root = tempfile::tempdir()?; std::env::set_var("SHM_ROOT", root.path());
    /// let (server, client) = (shm::Server::new("list")?, shm::Client::new("list")?);
    /// let mut pending = client.send(b"all")?;
    /// let mut part = server.receive()?.loan(1)?;
    /// part[0] = b'1';
    /// let request = part.send_part()?.expect("nobody has cancelled it");
    /// assert_eq!(pending.next()?.as_deref(), Some(&b"1"[..]));
    /// assert!(request.finish()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`send`](Self::send): the request is given up then.
    pub fn send_part(self) -> Result<Option<Request<'a>>> {
        // Without a deadline it doesn't come back with the loan.
        Ok(self.send_part_until(None)?.ok().flatten())
    }

    /// The same, but waits no longer than `timeout`, and gives the loan back when the client hadn't taken the part before in that time.
    ///
    /// # Errors
    /// Those of [`send_part`](Self::send_part).
    pub fn send_part_timeout(
        self,
        timeout: Duration,
    ) -> Result<std::result::Result<Option<Request<'a>>, Self>> {
        self.send_part_until(Instant::now().checked_add(timeout))
    }

    fn send_part_until(
        self,
        deadline: Option<Instant>,
    ) -> Result<std::result::Result<Option<Request<'a>>, Self>> {
        let Some(is_wanted) = self.request.wait_until_wanted(deadline)? else { return Ok(Err(self)) };
        let ReplyLoan { mut request, draft } = self;
        Ok(Ok((is_wanted && request.answer_part(draft)).then_some(request)))
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
    pub(super) server: &'a Server,
    pub(super) chunk: Chunk,
    pub(super) len: usize,
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
