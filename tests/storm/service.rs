// SPDX-License-Identifier: MIT OR Apache-2.0
//! Those who call and those who serve: each call ends rightly and in time, whoever is killed or stopped.

use std::path::Path;
use std::time::{Duration, Instant};

use shm::{Client, ClientOptions, Error, Pending, Request, Server, ServerOptions};

use crate::calls::Calls;
use crate::children::{check, Me};
use crate::support::child::Parent;
use crate::support::payload::Id;
use crate::{words, CAPACITY, LARGEST, PARTICIPANTS, SERVICE};

const HOLDS: u32 = 4;
/// What a server's replies, and a client's requests, may take.
const MEMORY: u64 = 4 << 20;

fn join_to_call(root: &Path, idempotent: bool) -> Client {
    let (root, capacity, participants, holds) = (Some(root.into()), CAPACITY, PARTICIPANTS, HOLDS);
    let options = ClientOptions {
        root,
        capacity,
        participants,
        holds,
        memory: MEMORY,
        idempotent,
        ..Default::default()
    };
    Client::with_options(SERVICE, &options).unwrap()
}

fn join_to_serve(root: &Path) -> Server {
    let (root, capacity, participants, holds) = (Some(root.into()), CAPACITY, PARTICIPANTS, HOLDS);
    let options = ServerOptions { root, capacity, participants, holds, memory: MEMORY, ..Default::default() };
    Server::with_options(SERVICE, &options).unwrap()
}

/// The reply to `id` is another message; those of a stream are this one and the next.
fn reply_to(id: Id) -> Id {
    Id { publisher: !id.publisher, sequence: id.sequence }
}

/// How many replies are asked for, when it is a stream.
fn parts(id: Id) -> Option<u64> {
    (id.sequence % 8 == 1).then_some(id.sequence % 5)
}

pub fn client(parent: Parent) {
    let mut me = Me::new(parent);
    while !me.calls.is_to_leave() {
        let client = join_to_call(&me.root, me.random.below(2) == 0);
        me.calls.count(words::JOINS, 1);
        let number = me.random.next() >> 24;
        for sequence in 0..me.random.below(3000) {
            if me.calls.is_to_leave() {
                break;
            }
            let timeout = Duration::from_millis(me.random.below(30));
            call(&me.calls, &client, Id { publisher: number, sequence }, timeout);
            me.pause();
        }
    }
}

fn call(calls: &Calls, client: &Client, id: Id, timeout: Duration) {
    let ended = calls.timed("a call", timeout, || {
        let deadline = Instant::now() + timeout;
        let mut loan = client.loan(id.len(LARGEST))?;
        id.fill(&mut loan);
        take_all(calls, &mut loan.send()?, id, deadline)
    });
    match ended {
        Ok(true) => calls.count(words::ANSWERED, 1),
        // At the deadline, or its server died, was stopped for so long that the queue is full, or is only half there.
        Ok(false)
        | Err(Error::PeerDied | Error::NoServer { .. } | Error::NoReply | Error::QueueFull { .. })
        | Err(Error::Remote { code: 7, .. }) => calls.count(words::UNANSWERED, 1),
        Err(Error::OutOfMemory { .. }) => calls.count(words::REFUSED, 1),
        Err(error) => panic!("{error}"),
    }
}

/// Takes the reply, or each of a stream's. False: not in time.
fn take_all(calls: &Calls, pending: &mut Pending<'_>, id: Id, deadline: Instant) -> shm::Result<bool> {
    for part in 0..parts(id).unwrap_or(1) {
        let left = deadline.saturating_duration_since(Instant::now());
        let Some(reply) = pending.wait_timeout(left)? else { return Ok(false) };
        let expected = reply_to(Id { sequence: id.sequence + part, ..id });
        check(calls, &reply, |payload| {
            expected.check(payload);
            assert_eq!(Id::of(payload), expected);
        });
    }
    if parts(id).is_some() {
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(pending.wait_timeout(left)?.is_none(), "more than were asked for");
        return Ok(pending.is_over());
    }
    Ok(true)
}

pub fn server(parent: Parent) {
    let mut me = Me::new(parent);
    while !me.calls.is_to_leave() {
        let server = join_to_serve(&me.root);
        me.calls.count(words::JOINS, 1);
        for _ in 0..me.random.below(3000) {
            if me.calls.is_to_leave() {
                break;
            }
            let longest = Duration::from_millis(me.random.below(20));
            let received =
                me.calls.timed("a wait for a request", longest, || server.receive_timeout(longest));
            if let Some(request) = received.unwrap() {
                let id = check(&me.calls, &request, Id::of);
                me.pause();
                check(&me.calls, &request, |payload| id.check(payload));
                me.calls.count(words::SERVED, 1);
                let how = me.random.below(50);
                if let Err(error) = reply(request, id, how) {
                    assert!(matches!(error, Error::OutOfMemory { .. }), "{error}");
                    me.calls.count(words::REFUSED, 1);
                }
            }
        }
    }
}

fn reply(mut request: Request<'_>, id: Id, how: u64) -> shm::Result<bool> {
    match (how, parts(id)) {
        (0, _) => request.fail(7, "not today"),
        (1, _) => Ok(false),
        (_, None) => {
            let mut loan = request.loan(reply_to(id).len(LARGEST))?;
            reply_to(id).fill(&mut loan);
            loan.send()
        }
        (_, Some(parts)) => {
            for part in 0..parts {
                let part = reply_to(Id { sequence: id.sequence + part, ..id });
                let mut payload = vec![0; part.len(2000)];
                part.fill(&mut payload);
                if !request.send_part(&payload)? {
                    return Ok(false);
                }
            }
            request.finish()
        }
    }
}

/// One who calls and one who serves, to see what the others leave.
pub struct Witness {
    client: Client,
    server: Server,
}

impl Witness {
    pub fn join(root: &Path) -> Witness {
        Witness { client: join_to_call(root, false), server: join_to_serve(root) }
    }

    /// Whether what they lent is all back.
    pub fn is_whole(&self) -> bool {
        (0..3 * u64::from(CAPACITY)).for_each(|sequence| {
            let pending = self.client.send(&sequence.to_le_bytes()).unwrap();
            while let Some(request) = self.server.try_receive().unwrap() {
                let copy = request.to_vec();
                request.reply(&copy).unwrap();
            }
            assert_eq!(*pending.wait().unwrap(), sequence.to_le_bytes());
        });
        [self.client.memory().unwrap(), self.server.memory().unwrap()]
            .iter()
            .all(|memory| memory.free == memory.chunks)
    }
}
