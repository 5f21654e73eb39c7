// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a victim does as a client or a server of a service.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Duration;

use shm::{Client, ClientOptions, Pending, Reply, Request, Server, ServerOptions};

use crate::operations::{operation, Around, Operation, Victim, NOTHING, SMALL};
use crate::support::child::{this_thread, Parent};
use crate::support::payload::Id;

pub const SERVICE: &str = "s";
const CAPACITY: u32 = 4;
const PARTICIPANTS: u32 = 8;
const HOLDS: u32 = 4;
const CALLS: u32 = 4;

/// A client, and what it has in its hands.
pub struct Calling {
    // Dropped before the client, which they borrow.
    pub replies: Vec<Reply<'static>>,
    pub pending: Vec<(Id, Pending<'static>)>,
    pub client: Box<Client>,
}

/// A server, and what it has in its hands.
pub struct Serving {
    // As above.
    pub requests: Vec<(Id, Request<'static>)>,
    pub server: Box<Server>,
}

/// The reply to `id` is another message.
pub fn reply_to(id: Id) -> Id {
    Id { publisher: id.publisher + 1_000_000, sequence: id.sequence }
}

impl Calling {
    pub fn join(root: &Path) -> shm::Result<Calling> {
        let (root, capacity, participants, holds, calls) =
            (Some(root.into()), CAPACITY, PARTICIPANTS, HOLDS, CALLS);
        let options = ClientOptions { root, capacity, participants, holds, calls, ..Default::default() };
        let client = Box::new(Client::with_options(SERVICE, &options)?);
        Ok(Calling { replies: Vec::new(), pending: Vec::new(), client })
    }

    pub fn try_send(&mut self, id: Id) -> shm::Result<()> {
        // SAFETY: the client stays where it is until all that borrows it was dropped.
        let client: &'static Client = unsafe { &*std::ptr::from_ref(&*self.client) };
        let mut loan = client.loan(SMALL)?;
        id.fill(&mut loan);
        self.pending.push((id, loan.send()?));
        Ok(())
    }

    /// Takes the reply of the oldest call, or its next one, and keeps it. It must be there.
    fn take(&mut self) {
        let (id, pending) = &mut self.pending[0];
        let reply = pending.try_reply().unwrap().expect("a reply");
        assert_eq!(Id::of(&reply), reply_to(*id));
        self.replies.push(reply);
    }
}

impl Serving {
    pub fn join(root: &Path) -> shm::Result<Serving> {
        let (root, capacity, participants, holds, calls) =
            (Some(root.into()), CAPACITY, PARTICIPANTS, HOLDS, CALLS);
        let options = ServerOptions { root, capacity, participants, holds, calls, ..Default::default() };
        let server = Box::new(Server::with_options(SERVICE, &options)?);
        Ok(Serving { requests: Vec::new(), server })
    }

    /// Takes a request and keeps it. False: there is none.
    pub fn take(&mut self) -> bool {
        // SAFETY: the server stays where it is until all that borrows it was dropped.
        let server: &'static Server = unsafe { &*std::ptr::from_ref(&*self.server) };
        let Some(request) = server.try_receive().unwrap() else { return false };
        self.requests.push((Id::of(&request), request));
        true
    }

    /// Replies to the oldest request. False: nobody wants to know.
    pub fn reply(&mut self) -> bool {
        let (id, request) = self.requests.remove(0);
        id.check(&request);
        let mut loan = request.loan(SMALL).unwrap();
        reply_to(id).fill(&mut loan);
        loan.send().unwrap()
    }

    fn send_part(&mut self) {
        let (id, request) = &mut self.requests[0];
        let mut part = [0; SMALL];
        reply_to(*id).fill(&mut part);
        assert!(request.send_part(&part).unwrap());
    }
}

impl Victim {
    fn calling(&mut self) -> &mut Calling {
        self.calling.as_mut().unwrap()
    }

    fn serving(&mut self) -> &mut Serving {
        self.serving.as_mut().unwrap()
    }

    fn call(&mut self) {
        self.calling = Some(Calling::join(&self.root).unwrap());
    }

    fn serve(&mut self) {
        self.serving = Some(Serving::join(&self.root).unwrap());
    }

    fn send(&mut self) {
        let id = self.next;
        self.next.sequence += 1;
        self.calling().try_send(id).unwrap();
    }

    /// Takes what others had sent, and then one of its own.
    fn take_own(&mut self) {
        let serving = self.serving();
        while serving.take() {}
        serving.requests.drain(..serving.requests.len() - 1);
    }
}

/// A client and a server, and the server has the client's request.
fn taken(victim: &mut Victim) {
    victim.call();
    victim.serve();
    victim.send();
    victim.take_own();
}

fn answered(victim: &mut Victim) {
    taken(victim);
    assert!(victim.serving().reply());
}

fn has_part(victim: &mut Victim) {
    taken(victim);
    victim.serving().send_part();
}

fn holding(victim: &mut Victim) {
    answered(victim);
    victim.calling().take();
}

fn called_once(victim: &mut Victim) {
    holding(victim);
    victim.calling().replies.clear();
    victim.calling().pending.clear();
}

fn sent(victim: &mut Victim) {
    victim.call();
    victim.send();
}

/// As a task: the first that waits starts the client's thread.
fn polled(victim: &mut Victim) {
    sent(victim);
    let (_, pending) = &mut victim.calling().pending[0];
    assert!(Pin::new(pending).poll(&mut Context::from_waker(Waker::noop())).is_pending());
}

/// There are others' requests, which it takes.
fn took(victim: &mut Victim) {
    victim.serve();
    assert!(victim.serving().take());
}

fn took_all(victim: &mut Victim) {
    victim.serve();
    while victim.serving().take() {}
}

/// The queue has room for two more than the others have sent: both are taken by what was cancelled, behind what others sent.
fn cancelled(victim: &mut Victim) {
    victim.call();
    while let Ok(()) = victim.calling().try_send(Id { publisher: 999, sequence: 0 }) {}
    victim.calling().pending.clear();
}

/// The same, and others' requests, which were before it, were taken: there is room for two more, and for others in the place of what was
/// cancelled.
fn cancelled_first(victim: &mut Victim) {
    cancelled(victim);
    victim.serve();
    (0..2).for_each(|_| assert!(victim.serving().take()));
}

fn full(victim: &mut Victim) {
    victim.call();
    while let Ok(()) = victim.calling().try_send(Id { publisher: 999, sequence: 0 }) {}
}

/// A client has said that it waits for room.
fn waited_for_room(victim: &mut Victim) {
    full(victim);
    let waited = victim.calling().client.call_timeout(&[0; SMALL], Duration::from_millis(2));
    assert!(waited.unwrap().is_none());
    victim.serve();
}

/// With a call of its own in each state, and others' calls claimed and answered.
fn in_the_middle(victim: &mut Victim) {
    victim.serve();
    (0..2).for_each(|_| assert!(victim.serving().take()));
    assert!(victim.serving().reply());
    victim.call();
    (0..4).for_each(|_| victim.send());
    (0..3).for_each(|_| assert!(victim.serving().take()));
    // Answered, held and not; given up; claimed; queued.
    let other = victim.serving().requests.remove(0);
    assert!(victim.serving().reply());
    drop(victim.serving().requests.remove(0));
    victim.serving().requests.push(other);
    victim.calling().take();
}

pub const ALL: &[Operation] = &[
    // Coming.
    operation("make a service, to call", Around::NoService, NOTHING, Victim::call),
    operation("make a service, to serve", Around::NoService, NOTHING, Victim::serve),
    operation("join to call", Around::Service, NOTHING, Victim::call),
    operation("join to serve", Around::Service, NOTHING, Victim::serve),
    operation("join to call and recover the dead", Around::TheDeadOfAService, NOTHING, Victim::call),
    operation("join to serve and recover the dead", Around::TheDeadOfAService, NOTHING, Victim::serve),
    // Calling.
    operation("send, and grow", Around::Service, Victim::call, Victim::send),
    operation("send", Around::Service, called_once, Victim::send),
    operation("send to one who sleeps", Around::SleepingServer, called_once, Victim::send),
    operation("send where the queue is full of what was cancelled", Around::Service, cancelled_first, |v| {
        (0..3).for_each(|_| v.send());
    }),
    operation("send where the queue is full", Around::Service, full, |v| {
        let id = v.next;
        v.calling().try_send(id).unwrap_err();
    }),
    operation("take a reply", Around::Service, answered, |v| v.calling().take()),
    operation("take a reply of a stream", Around::Service, has_part, |v| v.calling().take()),
    operation("release a reply", Around::Service, holding, |v| v.calling().replies.clear()),
    operation("cancel what no server has", Around::Service, sent, |v| v.calling().pending.clear()),
    operation("cancel what a server has", Around::Service, taken, |v| v.calling().pending.clear()),
    operation("cancel what is answered", Around::Service, answered, |v| v.calling().pending.clear()),
    operation("wait for a reply, and sleep", Around::Service, sent, |v| {
        let (_, pending) = &mut v.calling().pending[0];
        assert!(pending.wait_timeout(Duration::from_millis(1)).unwrap().is_none());
    }),
    operation("wait for a reply, as a task", Around::Service, polled, |v| {
        let (_, pending) = &mut v.calling().pending[0];
        assert!(Pin::new(pending).poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }),
    // Serving.
    operation("take a request", Around::Service, Victim::serve, |v| assert!(v.serving().take())),
    operation("take a request where others wait for room", Around::Service, waited_for_room, |v| {
        assert!(v.serving().take())
    }),
    operation("pass over what was cancelled", Around::Service, cancelled_first, |v| {
        assert!(!v.serving().take())
    }),
    operation("take nothing and sleep", Around::Service, took_all, |v| {
        let wait = Duration::from_millis(1);
        assert!(v.serving().server.receive_timeout(wait).unwrap().is_none());
    }),
    operation("reply", Around::Service, took, |v| assert!(v.serving().reply())),
    operation("reply to one who sleeps", Around::SleepingClient, took_all, |v| {
        (0..v.serving().requests.len()).for_each(|_| assert!(v.serving().reply()));
    }),
    operation("reply too late", Around::Service, taken, |v| {
        v.calling().pending.clear();
        assert!(!v.serving().reply());
    }),
    operation("reply that it failed", Around::Service, took, |v| {
        let (_, request) = v.serving().requests.remove(0);
        assert!(request.fail(1, "no").unwrap());
    }),
    operation("give a request up", Around::Service, took, |v| v.serving().requests.clear()),
    operation("give a request up to one who sleeps", Around::SleepingClient, took_all, |v| {
        v.serving().requests.clear();
    }),
    operation("reply with a stream", Around::Service, taken, |v| {
        (0..2).for_each(|_| {
            v.serving().send_part();
            v.calling().take();
        });
        let (_, request) = v.serving().requests.remove(0);
        assert!(request.finish().unwrap());
        assert!(v.calling().pending[0].1.try_reply().unwrap().is_none());
    }),
    operation("give a stream up", Around::Service, has_part, |v| {
        v.serving().requests.clear();
        v.calling().take();
        v.calling().pending[0].1.try_reply().unwrap_err();
    }),
    // Leaving.
    operation("leave as a client, with calls", Around::Service, taken, |v| {
        // Forgotten, they aren't cancelled.
        v.calling().pending.drain(..).for_each(std::mem::forget);
        v.calling = None;
    }),
    operation("leave as a server, with a request and a reply", Around::Service, answered, |v| {
        v.serving().requests.drain(..).for_each(std::mem::forget);
        v.serving = None;
    }),
    operation("leave as a server that has a request", Around::SleepingClient, took_all, |v| {
        v.serving().requests.drain(..).for_each(std::mem::forget);
        v.serving = None;
    }),
    operation("leave as a client whose tasks waited", Around::Service, polled, |v| v.calling = None),
    operation("leave last, as a client", Around::NoService, Victim::call, |v| v.calling = None),
    operation("leave last, as a server", Around::NoService, Victim::serve, |v| v.serving = None),
    // Clearing up.
    operation("gc of a service among the living", Around::TheDeadOfAService, NOTHING, |v| v.gc()),
];

/// Ways of coming by a dead client or server.
pub const RECOVERIES: &[Operation] = &[
    operation("recovered by one who joins to call", Around::NoService, NOTHING, Victim::call),
    operation("recovered by one who joins to serve", Around::NoService, NOTHING, |v| {
        v.serve();
        while v.serving().take() {}
    }),
    operation("recovered by gc of a service", Around::NoService, NOTHING, |v| v.gc()),
];

/// What those die of who are there already.
pub const DEATHS: &[Operation] =
    &[operation("die in the middle of calls", Around::NoService, in_the_middle, NOTHING)];

/// Calls without end, and tells how each call ended.
pub fn sleeping_client(mut parent: Parent) {
    let mut calling = Calling::join(Path::new(&parent.text())).unwrap();
    parent.say(this_thread());
    for sequence in 0.. {
        let id = Id { publisher: 500, sequence };
        calling.try_send(id).unwrap();
        let (_, mut pending) = calling.pending.remove(0);
        let ended = match pending.next() {
            Ok(reply) => {
                assert_eq!(Id::of(&reply.unwrap()), reply_to(id));
                "answered"
            }
            Err(shm::Error::PeerDied) => "died",
            Err(shm::Error::NoReply) => "given up",
            Err(error) => panic!("{error}"),
        };
        parent.say_and_wait(ended);
    }
}

/// Serves without end.
pub fn sleeping_server(mut parent: Parent) {
    let serving = Serving::join(Path::new(&parent.text())).unwrap();
    parent.say(this_thread());
    loop {
        let request = serving.server.receive().unwrap();
        let id = Id::of(&request);
        let mut loan = request.loan(SMALL).unwrap();
        reply_to(id).fill(&mut loan);
        loan.send().unwrap();
    }
}
