// SPDX-License-Identifier: MIT OR Apache-2.0
//! Calls between processes, of which some are killed, stopped, or come and go: each call ends in one of the ways that it can, in time,
//! and no request is served twice.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use memmap2::MmapRaw;
use shm::{Client, ClientOptions, Error, Pending, Request, RootOptions, Server, ServerOptions, TopicAudit};

use crate::support::child::{Child, Parent};
use crate::support::delay::Delay;
use crate::support::payload::Id;
use crate::support::{rounds, Root};

pub const SERVICE: &str = "s";
const PARTICIPANTS: u32 = 24;
const HOLDS: u32 = 8;
pub const CALLS: u32 = 8;
pub const LARGEST: usize = 20_000;
pub const LONG: Duration = Duration::from_secs(60);
/// How soon a client learns that its server died, and how far behind its deadline a call may end.
pub const SOON: Duration = Duration::from_millis(50);

pub fn client_options(root: &Path) -> ClientOptions {
    let (root, participants, holds, calls) = (Some(root.into()), PARTICIPANTS, HOLDS, CALLS);
    ClientOptions { root, participants, holds, calls, ..Default::default() }
}

pub fn client(root: &Path) -> Client {
    Client::with_options(SERVICE, &client_options(root)).unwrap()
}

pub fn idempotent_client(root: &Path) -> Client {
    let options = ClientOptions { idempotent: true, wait_for_server: true, ..client_options(root) };
    Client::with_options(SERVICE, &options).unwrap()
}

pub fn server(root: &Path) -> Server {
    server_of(root, 0)
}

/// Of a service whose queue has at least so many places.
pub fn server_of(root: &Path, capacity: u32) -> Server {
    let (root, participants, holds, calls) = (Some(root.into()), PARTICIPANTS, HOLDS, CALLS);
    let options = ServerOptions { root, capacity, participants, holds, calls, ..Default::default() };
    Server::with_options(SERVICE, &options).unwrap()
}

/// How often each request was begun with: a byte for each number of each client, in a file that outlives all of them.
struct Claims(MmapRaw);

const CLIENTS: u64 = 4;
const NUMBERS: u64 = 5 << 19;

impl Claims {
    fn open(path: &Path) -> Claims {
        let file =
            std::fs::File::options().create(true).truncate(false).read(true).write(true).open(path).unwrap();
        file.set_len(CLIENTS * NUMBERS).unwrap();
        Claims(MmapRaw::map_raw(&file).unwrap())
    }

    fn byte(&self, id: Id) -> &AtomicU8 {
        assert!(id.publisher < CLIENTS && id.sequence < NUMBERS, "{id:?}");
        let index = id.publisher * NUMBERS + id.sequence;
        // SAFETY: inside the mapping, which lives as long as `self`; all use it as atomics.
        unsafe { &*self.0.as_mut_ptr().cast::<AtomicU8>().add(index as usize) }
    }

    /// Notes that somebody begins with a request; how often that was before.
    fn begin(&self, id: Id) -> u8 {
        self.byte(id).fetch_add(1, Ordering::SeqCst)
    }

    fn of(&self, client: u64) -> impl Iterator<Item = u8> + '_ {
        (0..NUMBERS).map(move |sequence| self.byte(Id { publisher: client, sequence }).load(Ordering::SeqCst))
    }
}

/// Sends the request that is told by `id`.
pub fn send<'a>(client: &'a Client, id: Id) -> shm::Result<Pending<'a>> {
    let mut loan = client.loan(id.len(LARGEST))?;
    id.fill(&mut loan);
    loan.send()
}

/// The reply to `id` is another message.
fn reply_to(id: Id) -> Id {
    Id { publisher: id.publisher + 1_000_000, sequence: id.sequence }
}

pub fn answer(request: Request<'_>, id: Id) -> shm::Result<bool> {
    let reply = reply_to(id);
    let mut loan = request.loan(reply.len(LARGEST))?;
    reply.fill(&mut loan);
    loan.send()
}

#[track_caller]
pub fn check(id: Id, reply: &[u8]) {
    assert_eq!(Id::of(reply), reply_to(id));
}

/// Serves with some threads until it is told to leave, or killed. Every eighth reply takes a while.
pub fn serves(mut parent: Parent) {
    let (root, claims) = (PathBuf::from(parent.text()), Claims::open(Path::new(&parent.text())));
    let threads = parent.number();
    let over = AtomicBool::new(false);
    let servers: Vec<Server> = (0..threads).map(|_| server(&root)).collect();
    std::thread::scope(|scope| {
        for server in servers {
            let (claims, over) = (&claims, &over);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let Some(request) = server.receive_timeout(Duration::from_millis(5)).unwrap() else {
                        continue;
                    };
                    let id = Id::of(&request);
                    claims.begin(id);
                    if id.sequence.is_multiple_of(8) {
                        std::thread::sleep(Duration::from_millis(4));
                    }
                    answer(request, id).unwrap();
                }
            });
        }
        parent.say_and_wait("serving");
        over.store(true, Ordering::Relaxed);
    });
}

/// Calls with some calls in flight, until it has called often enough; each must be answered.
pub fn calls(mut parent: Parent) {
    let (root, number, count) = (PathBuf::from(parent.text()), parent.number(), parent.number());
    let in_flight = parent.number() as usize;
    let client = if parent.number() == 1 { idempotent_client(&root) } else { client(&root) };
    parent.say_and_wait("in");
    let mut pending = std::collections::VecDeque::new();
    for sequence in 0..count {
        if pending.len() == in_flight {
            let (id, oldest): (Id, Pending<'_>) = pending.pop_front().unwrap();
            check(id, &oldest.wait().unwrap());
        }
        let id = Id { publisher: number, sequence };
        pending.push_back((id, send(&client, id).unwrap()));
    }
    pending.into_iter().for_each(|(id, pending)| check(id, &pending.wait().unwrap()));
    // A server lets the request go after it has replied.
    let is_back = || client.memory().unwrap().held == 0;
    let from = Instant::now();
    while !is_back() && from.elapsed() < LONG {
        std::thread::yield_now();
    }
    let memory = client.memory().unwrap();
    assert_eq!((memory.free, memory.held), (memory.chunks, 0));
    parent.say_and_wait("done");
}

/// Takes one request, tells of it, and waits to be told to reply; says whether that was wanted. Again and again.
pub fn holds_requests(mut parent: Parent) {
    let root = PathBuf::from(parent.text());
    let server = server(&root);
    parent.say("serving");
    loop {
        let request = server.receive().unwrap();
        let id = Id::of(&request);
        parent.say_and_wait("holding");
        parent.say(answer(request, id).unwrap());
    }
}

pub fn start_holder(root: &Root) -> Child {
    let mut holder = Child::start("rpc::holds_requests", &[&root.text()]);
    holder.expect("serving");
    holder
}

fn start_servers(root: &Root, claims: &Path, threads: u64) -> Child {
    let mut servers = Child::start("rpc::serves", &[&root.text(), &claims.to_str().unwrap(), &threads]);
    servers.expect("serving");
    servers
}

pub fn leave(mut child: Child) {
    child.say("leave");
    child.finish();
}

fn options(root: &Root) -> RootOptions {
    RootOptions { root: Some(root.path().into()), ..Default::default() }
}

/// After the dead were recovered: nothing is amiss, and only the `living` are there.
#[track_caller]
pub fn assert_clean(root: &Root, living: u32) -> TopicAudit {
    let refused = shm::gc(&options(root)).unwrap().refused;
    assert!(refused.is_empty(), "{refused:?}");
    let mut audit = shm::audit(&options(root)).unwrap();
    assert!(audit.abandoned.is_empty() && audit.foreign.is_empty(), "{audit:?}");
    let service = audit.topics.pop().unwrap();
    assert!(service.findings.is_empty(), "{:?}", service.findings);
    assert_eq!((service.living, service.dead), (living, 0), "{service:?}");
    service
}

#[test]
fn each_call_is_answered_once_and_rightly() {
    let (root, beside) = (Root::new(), tempfile::NamedTempFile::new().unwrap());
    let claims = Claims::open(beside.path());
    let count = rounds(2000).min(NUMBERS);
    let servers: Vec<Child> = (0..2).map(|_| start_servers(&root, beside.path(), 2)).collect();
    let mut clients: Vec<Child> = (0..4)
        .map(|number| Child::start("rpc::calls", &[&root.text(), &number, &count, &(1 + 2 * number), &0]))
        .collect();
    clients.iter_mut().for_each(|client| client.expect("in"));
    clients.iter_mut().for_each(|client| client.say("call"));
    clients.iter_mut().for_each(|client| client.expect("done"));
    assert_clean(&root, 2 * 2 + 4);
    clients.into_iter().for_each(leave);
    for client in 0..4 {
        assert!(claims.of(client).take(count as usize).all(|claims| claims == 1));
        assert!(claims.of(client).skip(count as usize).all(|claims| claims == 0));
    }
    servers.into_iter().for_each(leave);
    root.assert_empty();
}

/// How long it took a client to learn what became of `pending`, whose server is killed meanwhile.
pub fn learns<T>(holder: Child, learn: impl FnOnce() -> T) -> (T, Duration) {
    holder.signal(libc::SIGKILL);
    let delay = Delay::start();
    let learnt = learn();
    let took = delay.elapsed();
    holder.kill();
    (learnt, took)
}

#[test]
fn a_client_learns_soon_that_its_server_was_killed() {
    let (root, beside) = (Root::new(), tempfile::NamedTempFile::new().unwrap());
    let client = client(root.path());
    for sequence in 0..rounds(10) {
        let mut holder = start_holder(&root);
        let pending = send(&client, Id { publisher: 1, sequence }).unwrap();
        holder.expect("holding");
        // Another server makes no difference: nobody knows what the dead one did.
        let other = (sequence % 2 == 0).then(|| start_servers(&root, beside.path(), 1));
        let (learnt, took) = learns(holder, || pending.wait());
        assert!(matches!(learnt, Err(Error::PeerDied)), "{learnt:?}");
        assert!(took < SOON, "{took:?}");
        other.into_iter().for_each(leave);
    }
    assert_clean(&root, 1);
    drop(client);
    root.assert_empty();
}

#[test]
fn a_client_that_only_asks_learns_soon_that_its_server_was_killed() {
    let root = Root::new();
    let client = client(root.path());
    let mut living = start_holder(&root);
    let mut asked_first = send(&client, Id { publisher: 1, sequence: 0 }).unwrap();
    living.expect("holding");
    for sequence in 1..rounds(6) {
        let mut holder = start_holder(&root);
        let mut pending = send(&client, Id { publisher: 1, sequence }).unwrap();
        holder.expect("holding");
        let from = Instant::now();
        let (learnt, took) = learns(holder, || loop {
            assert!(from.elapsed() < LONG, "it would ask for ever");
            assert!(asked_first.try_reply().unwrap().is_none());
            match pending.try_reply() {
                Ok(None) => std::thread::yield_now(),
                ended => break ended,
            }
        });
        assert!(matches!(learnt, Err(Error::PeerDied)), "{learnt:?}");
        assert!(took < SOON, "{took:?}");
    }
    drop(asked_first);
    living.kill();
    assert_clean(&root, 1);
    drop(client);
    root.assert_empty();
}

#[test]
fn an_idempotent_call_is_answered_by_another_server() {
    let (root, beside) = (Root::new(), tempfile::NamedTempFile::new().unwrap());
    let client = idempotent_client(root.path());
    let mut quickest = LONG;
    for sequence in 0..rounds(6) {
        let mut holder = start_holder(&root);
        let id = Id { publisher: 1, sequence };
        let pending = send(&client, id).unwrap();
        holder.expect("holding");
        let other = start_servers(&root, beside.path(), 1);
        let (reply, took) = learns(holder, || pending.wait());
        check(id, &reply.unwrap());
        // The other server may have to wait for the processor.
        quickest = quickest.min(took);
        leave(other);
    }
    assert!(quickest < SOON, "{quickest:?}");
    drop(client);
    root.assert_empty();
}

#[test]
fn when_the_last_server_is_killed_nobody_waits_for_it() {
    let root = Root::new();
    let client = client(root.path());
    for sequence in 0..rounds(6) {
        let mut holder = start_holder(&root);
        let begun = send(&client, Id { publisher: 1, sequence }).unwrap();
        holder.expect("holding");
        let queued = send(&client, Id { publisher: 2, sequence }).unwrap();
        let (learnt, took) = learns(holder, || queued.wait());
        assert!(matches!(learnt, Err(Error::NoServer { .. })), "{learnt:?}");
        assert!(took < SOON, "{took:?}");
        assert!(matches!(begun.wait(), Err(Error::PeerDied)));
        assert!(matches!(client.call(b"more"), Err(Error::NoServer { .. })));
    }
    drop(client);
    root.assert_empty();
}

#[test]
fn a_stopped_server_keeps_nobody_longer_than_the_deadline() {
    let (root, beside) = (Root::new(), tempfile::NamedTempFile::new().unwrap());
    let client = client(root.path());
    let mut holder = start_holder(&root);
    for sequence in 0..rounds(6) {
        let mut begun = send(&client, Id { publisher: 1, sequence }).unwrap();
        holder.expect("holding");
        holder.signal(libc::SIGSTOP);
        let mut queued = send(&client, Id { publisher: 2, sequence }).unwrap();
        for pending in [&mut begun, &mut queued] {
            for milliseconds in [0, 1, 30] {
                let (timeout, delay) = (Duration::from_millis(milliseconds), Delay::start());
                assert!(pending.wait_timeout(timeout).unwrap().is_none());
                assert!(delay.elapsed() < timeout + SOON, "{:?}", delay.elapsed());
            }
        }
        // Others go on, with what was sent before, too.
        let other = start_servers(&root, beside.path(), 1);
        check(Id { publisher: 2, sequence }, &queued.wait().unwrap());
        let id = Id { publisher: 3, sequence };
        check(id, &send(&client, id).unwrap().wait_timeout(LONG).unwrap().unwrap());
        leave(other);
        drop(begun);
        holder.signal(libc::SIGCONT);
        holder.say("reply");
        holder.expect("false");
    }
    holder.kill();
    assert_clean(&root, 1);
    drop(client);
    root.assert_empty();
}

/// Has calls in each of their states, and a reply that it holds, until it is killed.
pub fn calls_and_holds(mut parent: Parent) {
    let root = PathBuf::from(parent.text());
    let client = client(&root);
    let all: Vec<Pending<'_>> =
        (0..5).map(|sequence| send(&client, Id { publisher: 1, sequence }).unwrap()).collect();
    parent.say_and_wait("sent");
    let mut all = all.into_iter();
    let held = all.next().unwrap().wait().unwrap();
    check(Id { publisher: 1, sequence: 0 }, &held);
    parent.say_and_wait("holding");
    drop((held, all));
}

#[test]
fn what_a_killed_client_had_comes_back() {
    let root = Root::new();
    let server = server(root.path());
    for _ in 0..rounds(6) {
        let mut dead = Child::start("rpc::calls_and_holds", &[&root.text()]);
        dead.expect("sent");
        let take = || {
            let request = server.receive_timeout(LONG).unwrap().expect("a request");
            let id = Id::of(&request);
            (request, id)
        };
        for _ in 0..2 {
            let (request, id) = take();
            assert!(answer(request, id).unwrap());
        }
        let (begun, id) = take();
        let (dropped, _) = take();
        dead.say("take one");
        dead.expect("holding");
        let memory = server.memory().unwrap();
        assert_eq!(memory.held, 1, "the one that it holds: {memory:?}");
        dead.kill();
        assert!(!begun.is_cancelled(), "nobody knows yet");
        shm::gc(&options(&root)).unwrap();
        assert!(begun.is_cancelled());
        // The request lies in the dead one's memory, and stays readable.
        id.check(&begun);
        assert!(!answer(begun, id).unwrap());
        drop(dropped);
        assert_eq!(server.waiting(), 1);
        assert!(server.try_receive().unwrap().is_none(), "what it had queued is nobody's");
        let memory = server.memory().unwrap();
        assert_eq!((memory.free, memory.held), (memory.chunks, 0), "{memory:?}");
        // Who comes next takes the dead one's segments away.
        drop(client(root.path()));
        assert_eq!(assert_clean(&root, 1).orphans, 0);
    }
    drop(server);
    root.assert_empty();
}

/// Also when its thread panics, so that nobody waits for it.
struct SetWhenDropped<'a>(&'a AtomicBool);

impl Drop for SetWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn servers_that_come_and_go_leave_no_call_unanswered() {
    let (root, beside) = (Root::new(), tempfile::NamedTempFile::new().unwrap());
    let claims = Claims::open(beside.path());
    let count = rounds(4000).min(NUMBERS);
    let mut clients: Vec<Child> =
        (0..2).map(|number| Child::start("rpc::calls", &[&root.text(), &number, &count, &4, &1])).collect();
    clients.iter_mut().for_each(|client| client.expect("in"));
    clients.iter_mut().for_each(|client| client.say("call"));
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _over = SetWhenDropped(&over);
        // Now none is there, now two.
        scope.spawn(|| {
            let mut servers = std::collections::VecDeque::new();
            while !over.load(Ordering::Relaxed) {
                servers.push_back(start_servers(&root, beside.path(), 2));
                if servers.len() == 2 {
                    servers.drain(..).for_each(leave);
                }
            }
            servers.into_iter().for_each(leave);
        });
        clients.iter_mut().for_each(|client| client.expect("done"));
    });
    assert_clean(&root, 2);
    clients.into_iter().for_each(leave);
    for client in 0..2 {
        // None died, so none was asked twice.
        assert!(claims.of(client).take(count as usize).all(|claims| claims == 1));
    }
    root.assert_empty();
}
