// SPDX-License-Identifier: MIT OR Apache-2.0
//! A call in flight, as its client sees it: polled, waited for or awaited, until it has its one end.

use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::call::{Call, CallId, Failure, Stage, State};
use super::client::Client;
use super::longest_until;
use super::member::Info;
use crate::error::{Error, Result};
use crate::os::coarse_now;
use crate::pool::{Chunk, Message};
use crate::ring::ChunkId;
use crate::topic::is_live_server;
use crate::topic::layout::status;
use crate::wait::{say_that_one_waits, sleep_at_gate, sleep_until, wake_one};

/// Between two looks of those that don't sleep. Tasks are woken a sleep after the last time at the latest, maybe just before this.
pub(super) const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// A call in flight. Dropping it cancels the call: a server that hasn't begun with it never sees it, and one that has can ask.
pub struct Pending<'a> {
    pub(super) client: &'a Client,
    pub(super) call: Call<'a>,
    pub(super) index: u32,
    pub(super) token: u32,
    /// The request's.
    pub(super) chunk: Chunk,
    pub(super) len: usize,
    pub(super) function: u64,
    /// When one that doesn't sleep last looked for the dead.
    pub(super) looked: Option<Duration>,
    /// The queue was full, and the call is IDLE: each look tries to put it there.
    pub(super) is_unsent: bool,
    /// Of a stream, one reply was taken: the request isn't sent again, since its replies would come again.
    pub(super) has_begun: bool,
    pub(super) is_over: bool,
}

/// What became of a call since the last look.
enum Progress<'a> {
    Reply(Reply<'a>),
    /// Of a stream.
    End,
    None(State),
}

impl<'a> Pending<'a> {
    /// The reply if it is there; of a stream the next one, and `None` for ever after its last. Never blocks.
    ///
    /// # Errors
    /// [`Error::Remote`] when the server's function failed; [`Error::PeerDied`], [`Error::NoReply`]; [`Error::NoServer`] when the last
    /// server died before one had begun, unless the option `wait_for_server` is set; [`Error::NoHold`] when as many replies are held as
    /// may be: release one and ask again; [`Error::Corrupt`], [`Error::Os`], [`Error::Forked`].
    pub fn try_reply(&mut self) -> Result<Option<Reply<'a>>> {
        match self.look()? {
            Progress::Reply(reply) => Ok(Some(reply)),
            Progress::End => Ok(None),
            Progress::None(seen) => self.look_for_the_dead_at_times(seen).map(|()| None),
        }
    }

    /// The reply; waits for it as long as it takes. Of a stream: the next one. The call ends with this, also where another try could have
    /// had the reply ([`Error::NoHold`], [`Error::Os`]): [`next`](Self::next) keeps it then.
    ///
    /// # Errors
    /// Those of [`try_reply`](Self::try_reply); [`Error::NoReply`] after the last one of a stream.
    pub fn wait(mut self) -> Result<Reply<'a>> {
        self.next()?.ok_or(Error::NoReply)
    }

    /// The reply; waits for it, but not longer than `timeout`. `None`: there was none in that time, and the call goes on; or, of a
    /// stream, that was all: then it [`is_over`](Self::is_over).
    ///
    /// # Errors
    /// Those of [`wait`](Self::wait).
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<Option<Reply<'a>>> {
        self.wait_until(Instant::now().checked_add(timeout))
    }

    /// The next reply of a stream; waits for it as long as it takes. `None`: that was all.
    ///
    /// # Errors
    /// Those of [`wait`](Self::wait).
    #[allow(clippy::should_implement_trait)] // It may fail, and ends before an error.
    pub fn next(&mut self) -> Result<Option<Reply<'a>>> {
        self.wait_until(None)
    }

    /// Whether the call is over: nothing more will come.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Ends the call. What dropping it does, with a name.
    pub fn cancel(self) {}

    /// The one reply to a call that is cancelled when there is none until `deadline`.
    pub(super) fn wait_for_one(mut self, deadline: Option<Instant>) -> Result<Option<Reply<'a>>> {
        match self.wait_until(deadline)? {
            None if self.is_over => Err(Error::NoReply),
            other => Ok(other),
        }
    }

    pub(crate) fn wait_until(&mut self, deadline: Option<Instant>) -> Result<Option<Reply<'a>>> {
        loop {
            let seen = match self.look()? {
                Progress::Reply(reply) => return Ok(Some(reply)),
                Progress::End => return Ok(None),
                Progress::None(seen) => seen,
            };
            let topic = &self.client.member.topic;
            let call = self.call;
            let has_room = || topic.queue().has_room();
            let mut spin = self.client.spin.get();
            let changed = match seen.stage {
                Stage::Idle => spin.until(has_room),
                _ => spin.until(|| call.state() != seen),
            };
            self.client.spin.set(spin);
            // Also when it changes all the time, which takes damage.
            if changed && deadline.is_none_or(|deadline| Instant::now() < deadline) {
                continue;
            }
            let left = longest_until(deadline);
            if left.is_zero() {
                self.look_for_the_dead_at_times(seen)?;
                return match self.look()? {
                    Progress::Reply(reply) => Ok(Some(reply)),
                    Progress::End | Progress::None(_) => Ok(None),
                };
            }
            let changed = match seen.stage {
                Stage::Idle => {
                    sleep_at_gate(topic, left, has_room);
                    has_room()
                }
                _ => {
                    let wakes = topic.own_wakes(topic.index());
                    sleep_until((call.waiting(), 1), wakes, left, || !call.is(seen))
                }
            };
            match seen.stage {
                _ if changed => {}
                // One place wakes all who wait for one, and most of them in vain.
                Stage::Idle => self.look_for_the_dead_at_times(seen)?,
                _ => self.look_for_the_dead(seen)?,
            }
        }
    }

    /// The same for one that asks again and again, or a task, which is woken for many reasons: not each time. Each call for itself, as
    /// each may wait for another server.
    fn look_for_the_dead_at_times(&mut self, seen: State) -> Result<()> {
        let now = coarse_now();
        let last = *self.looked.get_or_insert(now);
        if now.saturating_sub(last) < BETWEEN_LOOKS {
            return Ok(());
        }
        self.looked = Some(now);
        self.look_for_the_dead(seen)
    }

    /// Sees whether the one that this call waits for lives. Recovering a dead server ends its calls, this one too.
    fn look_for_the_dead(&mut self, seen: State) -> Result<()> {
        let client = self.client;
        match seen.stage {
            Stage::Claimed(server) => self.look_for(server, seen),
            Stage::Queued | Stage::Idle => {
                let is_served = client.is_served_by_the_living()?;
                if client.member.topic.queue().is_damaged() {
                    return Err(self.damaged());
                }
                if !is_served && !client.wait_for_server && self.call.taken(seen, None) {
                    self.finish();
                    return Err(client.no_server());
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The same for the server that has the call. Nobody else ever ends it, so one that isn't a server would be waited for without end.
    fn look_for(&mut self, server: u32, seen: State) -> Result<()> {
        let topic = &self.client.member.topic;
        topic.recover_if_dead(server)?;
        // The status first: a recoverer changes it after the state.
        let status = topic.status(server);
        if is_live_server(status) {
            return Ok(());
        }
        let call = self.call;
        if status::is_server(status) {
            // It is dead or leaving, and who recovers it may be stopped: nobody else has to end the call.
            call.fail(self.token, server, Failure::Died);
        } else if call.is(seen) {
            return Err(self.damaged());
        }
        Ok(())
    }

    fn look(&mut self) -> Result<Progress<'a>> {
        let client = self.client;
        client.member.topic.token().check()?;
        if self.is_over {
            return Ok(Progress::End);
        }
        let seen = self.call.state();
        if seen.token != self.token {
            return Err(self.damaged());
        }
        match seen.stage {
            Stage::Queued | Stage::Claimed(_) => Ok(Progress::None(seen)),
            Stage::Answered(chunk) => self.take(seen, chunk),
            Stage::Failed(Failure::Died) if client.idempotent && !self.has_begun => self.again(seen),
            Stage::Failed(why) => {
                self.end();
                match why {
                    Failure::Died => Err(Error::PeerDied),
                    Failure::Dropped => Err(Error::NoReply),
                    Failure::Unknown => Err(self.damaged()),
                }
            }
            Stage::Idle if self.is_unsent => self.enqueue(),
            Stage::Idle | Stage::Unknown => Err(self.damaged()),
        }
    }

    /// Takes the reply `chunk` out of the call.
    fn take(&mut self, seen: State, chunk: ChunkId) -> Result<Progress<'a>> {
        let (client, call, member) = (self.client, self.call, &self.client.member);
        member.fetch(chunk);
        call.fetch_to_write();
        let hold = member.free_hold()?;
        member.hold(hold, chunk);
        let id = CallId { token: self.token, client: member.topic.index(), index: self.index };
        let message = match member.read(chunk, id) {
            Ok(message) => message,
            Err(error) => {
                member.release(hold);
                // What another try may read isn't over.
                if !matches!(error, Error::Os { .. }) {
                    self.end();
                }
                return Err(error);
            }
        };
        member.keep(hold, chunk);
        let reply = Reply { client, message, hold };
        let info = Info::of(&message);
        if info.has(Info::MORE) {
            self.expect_more(seen, info);
            return Ok(Progress::Reply(reply));
        }
        call.taken(seen, None);
        self.finish();
        if info.has(Info::END) {
            return Ok(Progress::End);
        }
        if info.has(Info::ERROR) {
            return Err(remote(&reply));
        }
        Ok(Progress::Reply(reply))
    }

    /// Takes one of a stream out of the call, and lets its server go on.
    fn expect_more(&mut self, seen: State, info: Info) {
        let call = self.call;
        let topic = &self.client.member.topic;
        let server = info.server();
        self.has_begun = true;
        let serves = || {
            let status = topic.status(server);
            is_live_server(status) && info.is_from(status)
        };
        if call.expect_more(seen, server, serves) {
            wake_one((call.eager(), 1), topic.own_wakes(server));
        }
    }

    /// Sends the request once more, to another server.
    fn again(&mut self, seen: State) -> Result<Progress<'a>> {
        self.call.taken(seen, None);
        if !self.client.wait_for_server && !self.client.is_served_by_the_living()? {
            self.finish();
            return Err(self.client.no_server());
        }
        self.enqueue()
    }

    /// Puts the request into the queue, if there is room.
    fn enqueue(&mut self) -> Result<Progress<'a>> {
        match self.client.enqueue(self.call, self.index, &self.chunk, self.len, self.function) {
            Ok(state) => {
                self.token = state.token;
                self.is_unsent = state.stage == Stage::Idle;
                Ok(Progress::None(state))
            }
            Err(error) => {
                self.finish();
                Err(error)
            }
        }
    }

    fn damaged(&mut self) -> Error {
        self.end();
        let topic = &self.client.member.topic;
        Error::corrupt(topic.dir().join("peers"), "a call's state isn't one that it can have")
    }

    /// Ends the call, whatever has become of it.
    fn end(&mut self) {
        if self.is_over {
            return;
        }
        self.call.end();
        self.finish();
    }

    /// The call is IDLE: gives back what it had.
    fn finish(&mut self) {
        if !std::mem::replace(&mut self.is_over, true) {
            self.client.member.retire(self.chunk.id);
            self.client.idle.borrow_mut().push(self.index);
        }
    }
}

/// The reply, as [`wait`](Pending::wait) gives it; of a stream the next one. Ready again after that: a stream's next ones are awaited by
/// `&mut pending`.
///
/// The first of a client's futures that has to wait starts a thread, which wakes the tasks, sleeps while there are none, takes no signals
/// and ends with the client.
///
/// ```
/// # fn block_on<F: std::future::Future>(future: F) -> F::Output { // any executor does
/// #     struct Unpark(std::thread::Thread);
/// #     impl std::task::Wake for Unpark { fn wake(self: std::sync::Arc<Self>) { self.0.unpark() } }
/// #     let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
/// #     let mut future = std::pin::pin!(future);
/// #     loop {
/// #         match future.as_mut().poll(&mut std::task::Context::from_waker(&waker)) {
/// #             std::task::Poll::Ready(output) => return output,
/// #             std::task::Poll::Pending => std::thread::park(),
/// #         }
/// #     }
/// # }
/// # let root = tempfile::tempdir()?; std::env::set_var("SHM_ROOT", root.path());
/// let double = shm::Function::new("double", |n: u64| 2 * n)?;
/// let stop = double.stopper();
/// std::thread::spawn(move || double.serve());
/// let client = shm::Client::new("double")?;
/// block_on(async {
///     let reply = client.send(&[0x91, 21])?.await?; // the array of one argument, in msgpack
///     assert_eq!(&*reply, [42]);
///     Ok::<(), shm::Error>(())
/// })?;
/// stop.stop();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
impl<'a> Future for Pending<'a> {
    type Output = Result<Reply<'a>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let client = self.client;
        for has_asked in [false, true] {
            let seen = match self.look() {
                Ok(Progress::Reply(reply)) => return Poll::Ready(Ok(reply)),
                Ok(Progress::End) => return Poll::Ready(Err(Error::NoReply)),
                Ok(Progress::None(seen)) => seen,
                Err(error) => return Poll::Ready(Err(error)),
            };
            if has_asked {
                break;
            }
            // Once more when that is said, as before a sleep: see `watcher.rs`.
            if let Err(error) = client.watch(context.waker()) {
                return Poll::Ready(Err(error));
            }
            say_that_one_waits(self.call.waiting(), 1);
            if let Err(error) = self.look_for_the_dead_at_times(seen) {
                return Poll::Ready(Err(error));
            }
        }
        Poll::Pending
    }
}

/// What a failed function said.
fn remote(reply: &Reply<'_>) -> Error {
    let (code, words) = reply
        .split_first_chunk::<4>()
        .map_or((0, &**reply), |(code, words)| (i32::from_le_bytes(*code), words));
    Error::Remote { code, message: String::from_utf8_lossy(words).into_owned() }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if self.client.member.topic.token().is_ours() {
            self.end();
        }
    }
}

impl std::fmt::Debug for Pending<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pending").field("is_over", &self.is_over).finish_non_exhaustive()
    }
}

/// A reply in shared memory. Nobody writes to it while this lives; dropping it releases it. In the child of a fork its memory isn't there.
pub struct Reply<'a> {
    client: &'a Client,
    message: Message,
    hold: u32,
}

impl Deref for Reply<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: the chunk is held, so nobody writes to it (C3), and stays mapped as long as the client; the length was checked against
        // the chunk's size.
        unsafe { std::slice::from_raw_parts(self.message.payload.as_ptr(), self.message.len) }
    }
}

impl Drop for Reply<'_> {
    #[inline]
    fn drop(&mut self) {
        self.client.member.release(self.hold);
    }
}

impl std::fmt::Debug for Reply<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reply").field("len", &self.message.len).finish_non_exhaustive()
    }
}
