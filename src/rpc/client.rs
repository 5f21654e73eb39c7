// SPDX-License-Identifier: MIT OR Apache-2.0
//! The calling side of a service: write a request in place, send it, wait for the reply and read that in place.

use std::cell::{Cell, OnceCell, RefCell};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::task::Waker;
use std::time::{Duration, Instant};

use super::call::{named_by, Call, CallId, Stage, State};
use super::member::{bytes, bytes_mut, Info, Member};
use super::pending::{Pending, Reply, BETWEEN_LOOKS};
use super::watcher::Watcher;
use crate::error::{Error, Result};
use crate::options::{ClientOptions, MemoryInfo};
use crate::pool::Chunk;
use crate::ring::{ChunkId, Refused};
use crate::topic::{Role, Topic};
use crate::wait::{wake, Spin};

/// Calls the functions of a service.
///
/// It may move between threads but not be used by two at once (`Send`, not `Sync`): give each thread its own. Several calls can be in
/// flight at a time, as many as the option `calls` says. A call ends in exactly one of these: a reply, the error that the server's function
/// gave, [`Error::PeerDied`] when its server died, [`Error::NoServer`], or its deadline; whatever dies, and whenever.
///
/// ```
/// # let root = tempfile::tempdir()?; std::env::set_var("SHM_ROOT", root.path());
/// let server = shm::Server::new("upper")?;
/// let client = shm::Client::new("upper")?;
/// let pending = client.send(b"hello")?;
/// let request = server.receive()?;                 // in another thread or process, of course
/// let answer = request.to_ascii_uppercase();
/// request.reply(&answer)?;
/// assert_eq!(&*pending.wait()?, b"HELLO");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Client {
    // Before the member: its thread sleeps on a word of the topic's.
    watcher: OnceCell<Watcher>,
    pub(super) member: Member,
    /// Calls that aren't in flight, the one that ended last on top.
    pub(super) idle: RefCell<Vec<u32>>,
    pub(super) spin: Cell<Spin>,
    /// When it last looked whether the dead fill the queue.
    looked: Cell<Option<Instant>>,
    /// The queue's head, when it was last looked at.
    head: Cell<u64>,
    /// A server that was there, with its status then.
    server: Cell<Option<(u32, u64)>>,
    service: String,
    pub(super) wait_for_server: bool,
    pub(super) idempotent: bool,
    single_threaded: PhantomData<Cell<()>>,
}

impl Client {
    /// Joins `service`, making it when it isn't there.
    ///
    /// # Errors
    /// See [`with_options`](Self::with_options).
    pub fn new(service: &str) -> Result<Client> {
        Self::with_options(service, &ClientOptions::default())
    }

    /// Joins `service`, making it when it isn't there, with at least the sizes that `options` ask for.
    ///
    /// # Errors
    /// Those of [`Publisher::with_options`](crate::Publisher::with_options).
    pub fn with_options(service: &str, options: &ClientOptions) -> Result<Client> {
        let root = options.root.as_deref();
        let member = Member::open(service, root, options.wanted(), Role::Client, options.memory)?;
        let idle = RefCell::new((0..member.topic.geometry().calls).rev().collect());
        Ok(Client {
            watcher: OnceCell::new(),
            member,
            idle,
            spin: Cell::new(Spin::new()),
            looked: Cell::new(None),
            head: Cell::new(0),
            server: Cell::new(None),
            service: service.to_owned(),
            wait_for_server: options.wait_for_server,
            idempotent: options.idempotent,
            single_threaded: PhantomData,
        })
    }

    /// Lends `len` bytes of shared memory, aligned to 64, to write a request into. The content is unspecified.
    ///
    /// # Errors
    /// Those of [`Publisher::loan`](crate::Publisher::loan).
    #[inline]
    pub fn loan(&self, len: usize) -> Result<RequestLoan<'_>> {
        self.member.topic.token().check()?;
        let chunk = self.member.loan(len)?;
        chunk.fetch_to_write();
        Ok(RequestLoan { client: self, chunk, len, function: 0 })
    }

    /// Sends a copy of `request`; the reply is for later.
    ///
    /// # Errors
    /// Those of [`loan`](Self::loan) and [`RequestLoan::send`].
    pub fn send(&self, request: &[u8]) -> Result<Pending<'_>> {
        self.copy(request)?.send()
    }

    /// Sends a copy of `request` and waits for the reply as long as it takes; in a full queue for room, too.
    ///
    /// # Errors
    /// Those of [`loan`](Self::loan) and [`RequestLoan::call`].
    pub fn call(&self, request: &[u8]) -> Result<Reply<'_>> {
        self.copy(request)?.call()
    }

    /// Sends a copy of `request` and waits for the reply, but not longer than `timeout`. `None`: there was none in that time, or no room
    /// in the queue, and the call is cancelled.
    ///
    /// # Errors
    /// Those of [`call`](Self::call).
    pub fn call_timeout(&self, request: &[u8], timeout: Duration) -> Result<Option<Reply<'_>>> {
        let deadline = Instant::now().checked_add(timeout);
        self.begin_call(request)?.wait_for_one(deadline)
    }

    /// Sends a copy of `request`, as soon as there is room for it and the call is looked at.
    pub(crate) fn begin_call(&self, request: &[u8]) -> Result<Pending<'_>> {
        self.copy(request)?.begin_call()
    }

    fn copy(&self, request: &[u8]) -> Result<RequestLoan<'_>> {
        let mut loan = self.loan(request.len())?;
        loan.copy_from_slice(request);
        Ok(loan)
    }

    /// How this client's memory is used.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn memory(&self) -> Result<MemoryInfo> {
        self.member.memory()
    }

    fn own_call(&self, index: u32) -> Result<Call<'_>> {
        let topic = &self.member.topic;
        // A client's own calls are there.
        topic.call(topic.index(), index).ok_or(Error::TooManyCalls { limit: 0 })
    }

    /// Whether somebody serves, as far as the statuses say. Costs one load when it is the one that it was.
    #[inline]
    fn is_served(&self) -> bool {
        let topic = &self.member.topic;
        if self.server.get().is_some_and(|(server, status)| topic.status(server) == status) {
            return true;
        }
        self.server.set(topic.some_server());
        self.server.get().is_some()
    }

    /// The same, with the dead recovered before.
    pub(super) fn is_served_by_the_living(&self) -> Result<bool> {
        self.member.topic.recover_dead()?;
        self.server.set(None);
        Ok(self.is_served())
    }

    /// Has `waker` called when something may have come.
    pub(super) fn watch(&self, waker: &Waker) -> Result<()> {
        let topic = &self.member.topic;
        if self.watcher.get().is_none() {
            // SAFETY: the watcher is dropped before the topic with its mappings.
            let watcher = unsafe { Watcher::start(topic.own_wakes(topic.index()), topic.token())? };
            let _ = self.watcher.set(watcher);
        }
        self.watcher.get().into_iter().for_each(|watcher| watcher.add(waker));
        Ok(())
    }

    #[cold]
    fn queue_full(&self) -> Error {
        Error::QueueFull { capacity: self.member.topic.geometry().capacity }
    }

    pub(super) fn no_server(&self) -> Error {
        Error::NoServer { service: self.service.clone() }
    }

    /// Puts `call`, number `index`, whose request is `chunk`, into the queue; returns its state: IDLE when there is no room.
    #[inline]
    pub(super) fn enqueue(
        &self,
        call: Call<'_>,
        index: u32,
        chunk: &Chunk,
        len: usize,
        function: u64,
    ) -> Result<State> {
        let topic = &self.member.topic;
        let client = topic.index();
        // While the call's line comes.
        topic.queue().fetch_end();
        let token = call.state().token.wrapping_add(1);
        let id = CallId { token, client, index };
        self.member.describe(chunk, len, id, Info::for_function(function));
        let state = call.queue(chunk.id);
        let entry = id.entry();
        let put = match topic.queue().put(entry, &self.head) {
            Err(Refused::Full) if self.make_room() => topic.queue().put(entry, &self.head),
            other => other,
        };
        match put {
            // By way of an older entry a server may have found it all the same.
            Err(refused) if call.taken(state, None) => match refused {
                Refused::Full => Ok(State { stage: Stage::Idle, ..state }),
                Refused::Damaged => {
                    let what = "its tail is not where its requests end";
                    Err(Error::corrupt(topic.dir().join("ring"), what))
                }
            },
            _ => {
                wake(topic);
                self.member.prepare(chunk);
                Ok(state)
            }
        }
    }

    /// Passes over what was cancelled, or sent by the dead: that is in the way as long as no server comes by. Whether there was any.
    #[cold]
    fn make_room(&self) -> bool {
        let topic = &self.member.topic;
        let pass_over = || topic.queue().pass_over(|entry| is_queued(topic, entry));
        if pass_over() {
            return true;
        }
        let now = Instant::now();
        if self.looked.get().is_some_and(|last| now.duration_since(last) < BETWEEN_LOOKS) {
            return false;
        }
        self.looked.set(Some(now));
        // A failure here is the next looker's to report.
        topic.recover_dead().is_ok_and(|recovered| recovered > 0) && pass_over()
    }
}

/// Whether the call that the queue's `entry` names waits for a server.
fn is_queued(topic: &Topic, entry: ChunkId) -> bool {
    let Some((client, index, is_of)) = named_by(entry) else { return false };
    let state = topic.call(client, index).map(|call| call.state());
    state.is_some_and(|state| state.stage == Stage::Queued && is_of(state.token))
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("service", &self.service).finish_non_exhaustive()
    }
}

/// A request being written: `len` bytes of shared memory that nobody else sees until [`send`](Self::send). Dropping it discards it. In
/// the child of a fork its memory isn't there.
pub struct RequestLoan<'a> {
    client: &'a Client,
    chunk: Chunk,
    len: usize,
    function: u64,
}

impl<'a> RequestLoan<'a> {
    /// Says which of the service's functions is meant, by a number; 0, as it is without this, when there is only one.
    pub fn set_function(&mut self, function: u64) {
        self.function = function;
    }

    /// Makes the request `len` bytes long. What it contains stays, up to the shorter of the lengths; when `len` is beyond
    /// [`capacity`](Self::capacity), it moves to a larger chunk.
    ///
    /// # Errors
    /// Those of [`Client::loan`]; the loan is unchanged then.
    pub fn resize(&mut self, len: usize) -> Result<()> {
        self.client.member.topic.token().check()?;
        if len > self.chunk.size {
            let mut larger = self.client.loan(len)?;
            larger[..self.len].copy_from_slice(self);
            // `larger` discards the smaller chunk when it is dropped.
            std::mem::swap(&mut self.chunk, &mut larger.chunk);
        }
        self.len = len;
        Ok(())
    }

    /// How long the request can become without moving, in bytes.
    pub fn capacity(&self) -> usize {
        self.chunk.size
    }

    /// Sends the request; the reply is for later. Never waits.
    ///
    /// # Errors
    /// [`Error::NoServer`] when nobody serves, unless the option `wait_for_server` is set; [`Error::TooManyCalls`] when as many are in
    /// flight as may be; [`Error::QueueFull`]; [`Error::Forked`]; [`Error::Corrupt`]. The request is discarded then.
    #[inline]
    pub fn send(self) -> Result<Pending<'a>> {
        let pending = self.send_once(false)?;
        // The chunk is the call's now.
        std::mem::forget(self);
        Ok(pending)
    }

    /// Sends the request and waits for the reply as long as it takes; in a full queue for room, too, without end if the living take
    /// none of what is there. One thread that both calls and serves may wait for itself.
    ///
    /// # Errors
    /// Those of [`send`](Self::send), but for [`Error::QueueFull`], and of [`Pending::wait`]. [`Error::NoHold`] comes before anything is
    /// sent, so that no function is called in vain.
    pub fn call(self) -> Result<Reply<'a>> {
        self.begin_call()?.wait()
    }

    /// Sends the request and waits for the reply, but not longer than `timeout`. `None`: there was none in that time, or no room in the
    /// queue, and the call is cancelled.
    ///
    /// # Errors
    /// Those of [`call`](Self::call).
    pub fn call_timeout(self, timeout: Duration) -> Result<Option<Reply<'a>>> {
        let deadline = Instant::now().checked_add(timeout);
        self.begin_call()?.wait_for_one(deadline)
    }

    /// Sends the request, as soon as there is room for it and the call is looked at.
    pub(crate) fn begin_call(self) -> Result<Pending<'a>> {
        self.client.member.topic.token().check()?;
        // The caller waits, and can't release one meanwhile.
        self.client.member.free_hold()?;
        let pending = self.send_once(true)?;
        // As above.
        std::mem::forget(self);
        Ok(pending)
    }

    /// Sends the request, which isn't the loan's any more then: it has to be forgotten. On an error it is as it was. A full queue is one,
    /// unless the caller `waits` for room.
    #[inline]
    pub(crate) fn send_once(&self, waits: bool) -> Result<Pending<'a>> {
        let client = self.client;
        client.member.topic.token().check()?;
        if !client.wait_for_server && !client.is_served() {
            return Err(client.no_server());
        }
        let limit = client.member.topic.geometry().calls;
        let Some(index) = client.idle.borrow_mut().pop() else { return Err(Error::TooManyCalls { limit }) };
        let (chunk, len, function) = (self.chunk, self.len, self.function);
        let queued = client.own_call(index).and_then(|call| {
            match client.enqueue(call, index, &chunk, len, function)? {
                State { stage: Stage::Idle, .. } if !waits => Err(client.queue_full()),
                state => Ok((call, state)),
            }
        });
        match queued {
            Ok((call, state)) => Ok(Pending {
                client,
                call,
                index,
                token: state.token,
                chunk,
                len,
                function,
                looked: None,
                is_unsent: state.stage == Stage::Idle,
                has_begun: false,
                is_over: false,
            }),
            Err(error) => {
                client.idle.borrow_mut().push(index);
                Err(error)
            }
        }
    }
}

impl Deref for RequestLoan<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: the chunk is this loan's alone until it is sent.
        unsafe { bytes(&self.chunk, self.len) }
    }
}

impl DerefMut for RequestLoan<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above.
        unsafe { bytes_mut(&self.chunk, self.len) }
    }
}

impl Drop for RequestLoan<'_> {
    fn drop(&mut self) {
        self.client.member.discard(self.chunk);
    }
}

impl std::fmt::Debug for RequestLoan<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RequestLoan").field("len", &self.len).finish_non_exhaustive()
    }
}
