// SPDX-License-Identifier: MIT OR Apache-2.0
//! Clients and servers over changed files: before they are used, between the calls, or during them. Nothing here waits without an end: each
//! wait has a time-out, and of a stream one part is sent at most before its client has a chance to take it.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::OnceLock;
use std::time::Duration;

use arbitrary::Arbitrary;
use shm::{Client, ClientOptions, Pending, Reply, Request, RootOptions, Server, ServerOptions};

use super::bodies::{open_below, Set};
use super::place::{open, File};
use super::template::{keep_alive, snapshot, Image};

const SERVICE: &str = "s";
const DIRECTORY: &str = "+s";
const CAPACITY: u32 = 4;
const PARTICIPANTS: u32 = 4;
const HOLDS: u32 = 2;
const CALLS: u32 = 3;
const MOST_EDITS: usize = 32;
const MOST_ACTS: usize = 32;
/// Handles at a time, of each kind.
const MOST: usize = 2;
const BRIEFLY: Duration = Duration::from_millis(1);

/// What is done to a service.
#[derive(Debug, Arbitrary)]
pub struct Case {
    template: u8,
    alive: u8,
    when: When,
    edits: Vec<Edit>,
    acts: Vec<Act>,
}

#[derive(Clone, Copy, Debug, Arbitrary)]
enum When {
    Before,
    Between,
    During,
}

/// A word of a service, as in `src/topic/layout.rs`.
#[derive(Clone, Copy, Debug, Arbitrary)]
enum Place {
    Header(File, u8),
    Tail,
    Head,
    Slot(u8),
    Entry(u8),
    Life,
    Joined,
    Waiters,
    Status(u8),
    Wakes(u8),
    Hold(u8, u8),
    /// Its state, request, and so on.
    Call(u8, u8, u8),
    State(u8, u8),
    /// A word of the header of a segment's chunk, the first ones of a file.
    Chunk(u8, u8, u8),
    Anywhere(File, u16),
}

impl Place {
    fn find(self, service: &Path) -> Option<(PathBuf, u64)> {
        let below = |value: u8, count: u32| u64::from(value) % u64::from(count);
        let entry = |q: u8| 768 + below(q, PARTICIPANTS) * 384;
        let call = |q: u8, index: u8| entry(q) + 128 + below(index, CALLS) * 64;
        let (file, offset) = match self {
            Place::Header(file, half) => (file, below(half, 14) * 4),
            Place::Tail => (File::Ring, 256),
            Place::Head => (File::Ring, 320),
            Place::Slot(slot) => (File::Ring, 384 + below(slot, CAPACITY) * 8),
            Place::Entry(segment) => (File::Ring, 512 + below(segment, 12) * 8),
            Place::Life => (File::Peers, 256),
            Place::Joined => (File::Peers, 264),
            Place::Waiters => (File::Peers, 384),
            Place::Status(q) => (File::Peers, 640 + below(q, PARTICIPANTS) * 8),
            Place::Wakes(q) => (File::Peers, entry(q) + 8),
            Place::Hold(q, hold) => (File::Peers, entry(q) + 16 + below(hold, HOLDS) * 8),
            Place::Call(q, index, word) => (File::Peers, call(q, index) + below(word, 8) * 8),
            Place::State(q, index) => (File::Peers, call(q, index)),
            // Chunks of the smallest class lie 128 apart.
            Place::Chunk(segment, chunk, word) => {
                (File::Segment(segment), 128 + u64::from(chunk) * 128 + below(word, 9) * 8)
            }
            Place::Anywhere(file, word) => (file, u64::from(word) * 8),
        };
        Some((file.find(service)?, offset))
    }
}

/// What is written.
#[derive(Clone, Copy, Debug, Arbitrary)]
enum Value {
    Zero,
    Max,
    Small(u8),
    Word(u64),
    Near(i8),
    Flipped(u8),
    Laps(i8),
    Copied(Place),
    /// A call's state, of the call that is there or another.
    Stage {
        calls: i8,
        kind: u8,
        argument: u8,
    },
    /// An answer, a request, a hold, or an entry of the queue.
    Chunk {
        calls: i8,
        segment: u8,
        index: u8,
    },
    Status {
        state: u8,
        flags: u8,
    },
    Entry {
        state: u8,
        owner: u8,
        generations: i8,
    },
}

impl Value {
    fn of(self, old: u64, service: &Path) -> u64 {
        let high = |delta: i8| (old >> 32).wrapping_add_signed(delta.into()) << 32;
        match self {
            Value::Zero => 0,
            Value::Max => u64::MAX,
            Value::Small(value) => value.into(),
            Value::Word(value) => value,
            Value::Near(delta) => old.wrapping_add_signed(delta.into()),
            Value::Flipped(bit) => old ^ 1 << (bit % 64),
            Value::Laps(laps) => high(laps) | old & 0xffff_ffff,
            Value::Copied(place) => read_word(place, service).map_or(old, |(_, _, word)| word),
            Value::Stage { calls, kind, argument } => {
                high(calls) | u64::from(kind % 5) << 16 | u64::from(argument)
            }
            Value::Chunk { calls, segment, index } => {
                high(calls) | u64::from(segment % 12) << 20 | u64::from(index)
            }
            Value::Status { state, flags } => {
                old >> 32 << 32 | u64::from(flags & 15) << 8 | u64::from(state % 5)
            }
            Value::Entry { state, owner, generations } => {
                high(generations) | u64::from(owner % 8) << 16 | u64::from(state % 6)
            }
        }
    }
}

fn read_word(place: Place, service: &Path) -> Option<(std::fs::File, u64, u64)> {
    let (path, offset) = place.find(service)?;
    let (file, mut word) = (open(&path)?, [0; 8]);
    file.read_exact_at(&mut word, offset).ok()?;
    Some((file, offset, u64::from_ne_bytes(word)))
}

#[derive(Clone, Copy, Debug, Arbitrary)]
struct Edit {
    place: Place,
    value: Value,
    half: bool,
}

impl Edit {
    fn apply(&self, service: &Path) -> Option<()> {
        let (file, offset, old) = read_word(self.place, service)?;
        let value = self.value.of(old, service).to_ne_bytes();
        file.write_all_at(if self.half { &value[..4] } else { &value }, offset).ok()
    }
}

/// One call of the library.
#[derive(Clone, Debug, Arbitrary)]
enum Act {
    Edit(Edit),
    JoinToCall {
        idempotent: bool,
        wait_for_server: bool,
    },
    JoinToServe,
    StopCalling(u8),
    StopServing(u8),
    Send(u8, u16),
    TryReply(u8),
    Wait(u8),
    Cancel(u8),
    Release(u8),
    Take(u8),
    WaitForRequest(u8),
    Reply(u8, u16),
    Fail(u8),
    GiveUp(u8),
    /// And gives it up then.
    SendPart(u8),
    Look(u8),
    Audit,
    Collect,
}

/// A client and what it has in flight. The calls borrow it, and go first.
struct Calling {
    replies: Vec<Reply<'static>>,
    pending: Vec<Pending<'static>>,
    client: Box<Client>,
}

struct Serving {
    requests: Vec<Request<'static>>,
    server: Box<Server>,
}

struct User<'a> {
    root: &'a Path,
    calling: Vec<Calling>,
    serving: Vec<Serving>,
    /// As for topics.
    hopeless: bool,
}

fn pick<T>(from: &mut [T], which: u8) -> Option<&mut T> {
    let count = from.len().max(1);
    from.get_mut(usize::from(which) % count)
}

fn take<T>(from: &mut Vec<T>, which: u8) -> Option<T> {
    (!from.is_empty()).then(|| from.swap_remove(usize::from(which) % from.len()))
}

fn client(root: &Path, idempotent: bool, wait_for_server: bool) -> shm::Result<Client> {
    let (root, capacity, participants, holds, calls) =
        (Some(root.into()), CAPACITY, PARTICIPANTS, HOLDS, CALLS);
    let sizes = ClientOptions { root, capacity, participants, holds, calls, ..Default::default() };
    let options = ClientOptions { memory: 200 << 10, idempotent, wait_for_server, ..sizes };
    Client::with_options(SERVICE, &options)
}

fn server(root: &Path) -> shm::Result<Server> {
    let (root, capacity, participants, holds, calls) =
        (Some(root.into()), CAPACITY, PARTICIPANTS, HOLDS, CALLS);
    let options = ServerOptions { root, capacity, participants, holds, calls, ..Default::default() };
    Server::with_options(SERVICE, &ServerOptions { memory: 200 << 10, ..options })
}

impl Calling {
    fn new(client: Client) -> Calling {
        Calling { replies: Vec::new(), pending: Vec::new(), client: Box::new(client) }
    }

    fn send(&mut self, len: u16) -> Option<()> {
        // SAFETY: the client stays where it is until all that borrows it was dropped.
        let client: &'static Client = unsafe { &*std::ptr::from_ref(&*self.client) };
        let mut loan = client.loan(len.into()).ok()?;
        loan.fill(1);
        self.pending.push(loan.send().ok()?);
        Some(())
    }

    fn reply(&mut self, which: u8, longest: Option<Duration>) -> Option<()> {
        let pending = pick(&mut self.pending, which)?;
        let reply = match longest {
            None => pending.try_reply().ok()??,
            Some(longest) => pending.wait_timeout(longest).ok()??,
        };
        read(&reply);
        self.replies.push(reply);
        Some(())
    }
}

impl Serving {
    fn new(server: Server) -> Serving {
        Serving { requests: Vec::new(), server: Box::new(server) }
    }

    fn take(&mut self, longest: Option<Duration>) -> Option<()> {
        // SAFETY: as above.
        let server: &'static Server = unsafe { &*std::ptr::from_ref(&*self.server) };
        let request = match longest {
            None => server.try_receive().ok()??,
            Some(longest) => server.receive_timeout(longest).ok()??,
        };
        read(&request);
        self.requests.push(request);
        Some(())
    }

    fn reply(&mut self, len: u16) -> Option<()> {
        let mut loan = take(&mut self.requests, 0)?.loan(len.into()).ok()?;
        loan.fill(2);
        read(loan.request());
        let _ = loan.resize(usize::from(len) * 2);
        loan.send().ok().map(drop)
    }
}

impl User<'_> {
    /// Calls that came to nothing are as good as others.
    fn act(&mut self, act: &Act) -> Option<()> {
        match *act {
            Act::Edit(edit) => edit.apply(&self.root.join(DIRECTORY)),
            Act::JoinToCall { idempotent, wait_for_server } => self.join_to_call(idempotent, wait_for_server),
            Act::JoinToServe => self.join_to_serve(),
            Act::StopCalling(which) => take(&mut self.calling, which).map(drop),
            Act::StopServing(which) => take(&mut self.serving, which).map(drop),
            Act::Send(by, len) => pick(&mut self.calling, by)?.send(len),
            Act::TryReply(by) => pick(&mut self.calling, by)?.reply(by >> 2, None),
            Act::Wait(by) => pick(&mut self.calling, by)?.reply(by >> 2, Some(BRIEFLY)),
            Act::Cancel(by) => take(&mut pick(&mut self.calling, by)?.pending, by >> 2).map(drop),
            Act::Release(by) => take(&mut pick(&mut self.calling, by)?.replies, by >> 2).map(drop),
            Act::Take(by) => pick(&mut self.serving, by)?.take(None),
            Act::WaitForRequest(by) => pick(&mut self.serving, by)?.take(Some(BRIEFLY)),
            Act::Reply(by, len) => pick(&mut self.serving, by)?.reply(len),
            Act::Fail(by) => {
                take(&mut pick(&mut self.serving, by)?.requests, by >> 2)?.fail(1, "no").ok().map(drop)
            }
            Act::GiveUp(by) => take(&mut pick(&mut self.serving, by)?.requests, by >> 2).map(drop),
            Act::SendPart(by) => {
                let mut request = take(&mut pick(&mut self.serving, by)?.requests, by >> 2)?;
                request.send_part(&[by; 100]).ok().map(drop)
            }
            Act::Look(by) => {
                let serving = pick(&mut self.serving, by)?;
                let _ = (serving.server.memory(), serving.server.waiting());
                serving.requests.iter().for_each(|request| _ = request.is_cancelled());
                pick(&mut self.calling, by)?.client.memory().ok().map(drop)
            }
            Act::Audit => shm::audit(&within(self.root)).ok().map(|audit| drop(format!("{audit:?}"))),
            Act::Collect => shm::gc(&within(self.root)).ok().map(drop),
        }
    }

    fn join_to_call(&mut self, idempotent: bool, wait_for_server: bool) -> Option<()> {
        if self.calling.len() < MOST && !self.hopeless {
            let joined = client(self.root, idempotent, wait_for_server);
            self.note(&joined);
            self.calling.extend(joined.ok().map(Calling::new));
        }
        Some(())
    }

    fn join_to_serve(&mut self) -> Option<()> {
        if self.serving.len() < MOST && !self.hopeless {
            let joined = server(self.root);
            self.note(&joined);
            self.serving.extend(joined.ok().map(Serving::new));
        }
        Some(())
    }

    fn note<T>(&mut self, joined: &shm::Result<T>) {
        self.hopeless =
            joined.as_ref().is_err_and(|error| error.to_string().contains("neither whole nor empty"));
    }

    /// What any service sees.
    fn usual(&mut self) {
        self.join_to_serve();
        self.join_to_call(true, false);
        let acts = [
            Act::Send(0, 10),
            Act::Send(0, 5000),
            Act::Take(0),
            Act::Reply(0, 100),
            Act::Wait(0),
            Act::Take(0),
        ];
        acts.iter().for_each(|act| _ = self.act(act));
    }
}

fn within(root: &Path) -> RootOptions {
    RootOptions { root: Some(root.into()), ..Default::default() }
}

/// Reads a byte of each line that a message claims to have, and its last one.
fn read(message: &[u8]) {
    message.iter().step_by(64).chain(message.last()).for_each(|byte| _ = std::hint::black_box(*byte));
}

/// The files that cases start from: fresh, and in the middle of calls.
fn templates() -> &'static [Vec<Image>] {
    static TEMPLATES: OnceLock<Vec<Vec<Image>>> = OnceLock::new();
    TEMPLATES.get_or_init(|| {
        let root = tempfile::Builder::new().prefix("shm-fuzz-").tempdir_in("/dev/shm").unwrap();
        let (mut serving, mut calling) = (
            Serving::new(server(root.path()).unwrap()),
            Calling::new(client(root.path(), false, false).unwrap()),
        );
        let service = root.path().join(DIRECTORY);
        let fresh = snapshot(&service);
        // Answered, claimed, queued; and what the client holds.
        (0..CALLS).for_each(|_| calling.send(100).unwrap());
        serving.take(None).unwrap();
        serving.reply(50).unwrap();
        calling.reply(0, None).unwrap();
        calling.pending.remove(0);
        calling.send(3000).unwrap();
        (0..2).for_each(|_| serving.take(None).unwrap());
        serving.reply(50).unwrap();
        vec![fresh, snapshot(&service)]
    })
}

pub fn rpc(root: &Path, case: &Case) {
    let service = root.join(DIRECTORY);
    let templates = templates();
    if let Some(files) = templates.get(usize::from(case.template) % (templates.len() + 1)) {
        super::template::write(files, &service);
    }
    let alive = keep_alive(case.alive & 3, &service);
    let edit = || case.edits.iter().take(MOST_EDITS).for_each(|edit| _ = edit.apply(&service));
    let mut user = User { root, calling: Vec::new(), serving: Vec::new(), hopeless: false };
    let act = |user: &mut User<'_>| case.acts.iter().take(MOST_ACTS).for_each(|act| _ = user.act(act));
    match case.when {
        When::Before => {
            edit();
            user.usual();
            act(&mut user);
        }
        When::Between => {
            user.usual();
            edit();
            act(&mut user);
        }
        When::During => {
            user.usual();
            let done = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let changes = scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        edit();
                        std::thread::yield_now();
                    }
                });
                {
                    let _done = Set(&done);
                    act(&mut user);
                }
                changes.join().unwrap();
            });
        }
    }
    drop((user, alive));
    for left in std::fs::read_dir(root).into_iter().flatten().flatten() {
        std::fs::remove_dir_all(left.path()).unwrap();
    }
    assert_eq!(open_below(root), 0, "descriptors were left open");
}
