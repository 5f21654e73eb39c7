// SPDX-License-Identifier: MIT OR Apache-2.0
//! Calls, while random ones of those who call and serve are killed: each call ends in one of the ways that it can, in time, and none
//! is served or ended twice. What is counted outlives whoever is killed.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use memmap2::MmapRaw;
use shm::{Error, Request, Server};

use crate::rpc::{answer, assert_clean, check, client, idempotent_client, leave, server_of, LARGEST, SOON};
use crate::support::child::{Child, Parent};
use crate::support::delay::Delay;
use crate::support::payload::Id;
use crate::support::random::Random;
use crate::support::{rounds, Root};

const CLIENTS: usize = 4;
const SERVERS: usize = 2;
/// Of each serving process.
const THREADS: usize = 2;
/// Of the queue: fewer than there are clients, so that they wait for room, too.
const CAPACITY: u32 = 2;
const BETWEEN_KILLS: Duration = Duration::from_millis(100);

/// How a call ended, as its client saw it.
#[derive(Clone, Copy, Debug)]
enum End {
    Answered = 1,
    AtDeadline,
    PeerDied,
}

/// What became of each call, in a file.
struct Tally {
    file: MmapRaw,
    calls: u64,
}

/// The number of the next call.
const HEAD: usize = 8;
/// For each call, how often it was begun with, and how it ended.
const BYTES: usize = 2;

impl Tally {
    fn open(path: &Path, calls: u64) -> Tally {
        let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
        file.set_len((HEAD + BYTES * calls as usize) as u64).unwrap();
        Tally { file: MmapRaw::map_raw(&file).unwrap(), calls }
    }

    fn from(parent: &mut Parent) -> Tally {
        let path = parent.text();
        Tally::open(Path::new(&path), parent.number())
    }

    fn next(&self) -> &AtomicU64 {
        // SAFETY: inside the mapping, at its start, which lives as long as `self`; all use it as an atomic.
        unsafe { &*self.file.as_ptr().cast::<AtomicU64>() }
    }

    /// A call that nobody has made, while there is one.
    fn take(&self) -> Option<u64> {
        let call = self.next().fetch_add(1, Ordering::SeqCst);
        (call < self.calls).then_some(call)
    }

    fn is_over(&self) -> bool {
        self.next().load(Ordering::SeqCst) >= self.calls
    }

    fn byte(&self, call: u64, which: usize) -> &AtomicU8 {
        assert!(call < self.calls && which < BYTES);
        // SAFETY: as in `next`.
        unsafe { &*self.file.as_ptr().add(HEAD + BYTES * call as usize + which).cast::<AtomicU8>() }
    }

    fn claims(&self, call: u64) -> &AtomicU8 {
        self.byte(call, 0)
    }

    fn end(&self, call: u64) -> &AtomicU8 {
        self.byte(call, 1)
    }
}

/// Serves until it is told to leave, or killed. A few replies take a while.
pub fn serves(mut parent: Parent) {
    let root = PathBuf::from(parent.text());
    let tally = Tally::from(&mut parent);
    let over = AtomicBool::new(false);
    let servers: Vec<Server> = (0..THREADS).map(|_| server_of(&root, CAPACITY)).collect();
    std::thread::scope(|scope| {
        for server in servers {
            let (tally, over) = (&tally, &over);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    if let Some(request) = server.receive_timeout(Duration::from_millis(50)).unwrap() {
                        serve(request, tally);
                    }
                }
            });
        }
        parent.say_and_wait("serving");
        over.store(true, Ordering::Relaxed);
    });
}

fn serve(request: Request<'_>, tally: &Tally) {
    let id = Id::of(&request);
    let before = tally.claims(id.sequence).fetch_add(1, Ordering::SeqCst);
    if before > 0 && !is_idempotent(id.publisher) {
        // At once, so that it is seen before somebody kills this process.
        eprintln!("{id:?} is served again");
        std::process::abort();
    }
    if id.sequence.is_multiple_of(64) {
        std::thread::sleep(Duration::from_millis(1));
    }
    answer(request, id).unwrap();
}

/// Calls, one call after the other, as long as there is one to make, or until it is killed.
pub fn calls(mut parent: Parent) {
    let (root, number) = (PathBuf::from(parent.text()), parent.number());
    let tally = Tally::from(&mut parent);
    let client = if is_idempotent(number) { idempotent_client(&root) } else { client(&root) };
    let mut random = Random::new(number);
    parent.say("in");
    while let Some(call) = tally.take() {
        let id = Id { publisher: number, sequence: call };
        let timeout = Duration::from_millis(random.below(40));
        let delay = Delay::start();
        let ended = client.loan(id.len(LARGEST)).and_then(|mut loan| {
            id.fill(&mut loan);
            loan.call_timeout(timeout)
        });
        let took = delay.elapsed();
        assert!(took < timeout + SOON, "{ended:?} of {id:?} after {took:?}, where {timeout:?} were meant");
        let end = match ended {
            Ok(Some(reply)) => {
                check(id, &reply);
                End::Answered
            }
            Ok(None) => End::AtDeadline,
            Err(Error::PeerDied) if !is_idempotent(number) => End::PeerDied,
            // One process serves at any time: nobody is to hear that none does.
            Err(error) => panic!("{id:?}: {error}"),
        };
        assert_eq!(tally.end(call).swap(end as u8, Ordering::SeqCst), 0, "{id:?} ended before");
    }
    parent.say_and_wait("done");
}

/// Whether the client of this number says that its requests may be served again.
fn is_idempotent(number: u64) -> bool {
    number % 2 == 1
}

/// Who is there while random ones of them are killed.
struct Storm {
    beside: tempfile::NamedTempFile,
    tally: Tally,
    servers: Vec<Child>,
    clients: Vec<Child>,
    /// The number of the next client: none has one of before.
    next: u64,
    // Last: not while anybody uses it.
    root: Root,
}

impl Storm {
    fn start(calls: u64) -> Storm {
        let beside = tempfile::NamedTempFile::new().unwrap();
        let tally = Tally::open(beside.path(), calls);
        let (servers, clients) = (Vec::new(), Vec::new());
        let mut storm = Storm { beside, tally, servers, clients, next: 0, root: Root::new() };
        (0..SERVERS).for_each(|_| storm.start_server());
        (0..CLIENTS).for_each(|_| storm.start_client());
        storm
    }

    fn tally_of(&self) -> (String, u64) {
        (self.beside.path().to_str().unwrap().to_owned(), self.tally.calls)
    }

    fn start_client(&mut self) {
        let (path, calls) = self.tally_of();
        let mut client = Child::start("rpc_storm::calls", &[&self.root.text(), &self.next, &path, &calls]);
        client.expect("in");
        self.next += 1;
        self.clients.push(client);
    }

    fn start_server(&mut self) {
        let (path, calls) = self.tally_of();
        let mut server = Child::start("rpc_storm::serves", &[&self.root.text(), &path, &calls]);
        server.expect("serving");
        self.servers.push(server);
    }

    /// Kills one, and starts another in its place.
    fn blow(&mut self, which: usize) {
        if which < SERVERS {
            self.servers.remove(which).kill();
            self.start_server();
        } else {
            self.clients.remove(which - SERVERS).kill();
            self.start_client();
        }
    }

    /// Every call but those whose client was killed meanwhile has an end, and who was answered was served.
    fn assert_rightly(&self, took: Duration) {
        let mut ends = [0; 4];
        for call in 0..self.tally.calls {
            let (claims, end) = (self.tally.claims(call), self.tally.end(call));
            let end = end.load(Ordering::SeqCst);
            ends[end as usize] += 1;
            assert!(end != End::Answered as u8 || claims.load(Ordering::SeqCst) > 0, "nobody served {call}");
        }
        let [unended, answered, at_deadline, died] = ends;
        eprintln!(
            "{answered} answered, {at_deadline} at their deadline, {died} whose server died, {unended} whose client was killed; \
             {} clients in {took:?}",
            self.next
        );
        assert!(answered > 0 && unended <= self.next - CLIENTS as u64);
    }
}

#[test]
fn whoever_is_killed_each_call_ends_rightly_and_in_time() {
    let mut random = Random::printed();
    let mut storm = Storm::start(rounds(40_000));
    let from = Instant::now();
    while !storm.tally.is_over() {
        std::thread::sleep(BETWEEN_KILLS);
        let all = storm.clients.iter_mut().chain(&mut storm.servers);
        all.for_each(|child| assert!(child.is_alive(), "a child ended by itself"));
        storm.blow(random.below((SERVERS + CLIENTS) as u64) as usize);
    }
    storm.clients.iter_mut().for_each(|client| client.expect("done"));
    let serving = (SERVERS * THREADS) as u32;
    assert_clean(&storm.root, serving + CLIENTS as u32);
    storm.clients.drain(..).for_each(leave);
    drop(client(storm.root.path()));
    assert_eq!(assert_clean(&storm.root, serving).orphans, 0);
    storm.servers.drain(..).for_each(leave);
    storm.root.assert_empty();
    storm.assert_rightly(from.elapsed());
}
