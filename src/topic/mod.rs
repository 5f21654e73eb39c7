// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a topic is on disk, and how a process comes to be a participant of one and stops being it.
//!
//! A topic is a directory with the files `ring`, `peers` and `seg.*` (see `layout.rs`). [`Topic`] is one
//! participant's view of it: the mappings, the private copy of the sizes, and the entry `q` that is its own.
//!
//! **Liveness** is the write lock on byte `q` of `peers` (`os/lock.rs`). I5: lock free => no code of `q` runs.
//! Status FREE => no holds and no owned segments (I6), so the status is written first on joining and last on leaving.
//!
//! **Life and removal.** The word `life` of `peers` counts the joins and has one bit, REMOVED, that is set once and
//! makes the directory dead for good:
//!
//! ```text
//!   join:    lock byte q -> status JOINING -> life CAS v -> v + 1   (fails with REMOVED: back out, start again)
//!   remove:  life is v -> nobody else holds a lock -> life CAS v -> v | REMOVED -> delete the files
//! ```
//!
//! A joiner whose lock the remover didn't see took it after the look, so its CAS on `life` comes after the remover's read
//! of it: either the remover's CAS fails, or the joiner finds REMOVED. Whoever finds REMOVED finishes the deletion,
//! which is idempotent and works on the directory's descriptor, never by name: a new topic of the same name is another
//! directory and is out of reach. Deleting ends with `rmdir`, which refuses a directory that isn't empty; a new
//! topic is put in place by `rename`, which replaces an empty one. So nobody ever waits for anybody here.

mod audit;
mod audit_calls;
mod create;
mod gc;
mod join;
pub(crate) mod layout;
mod name;
mod recover;
mod remove;
mod root;
#[cfg(all(test, not(miri)))]
mod tests;

use std::fs::File;
use std::path::Path;
use std::sync::atomic::AtomicU64;

use crate::error::{Error, Result};
use crate::os::dir::{Access, Dir};
use crate::os::fork::Token;
use crate::os::lock::LockFile;
use crate::os::map::Mapping;
use crate::os::sharing::Sharing;
use crate::ring::{ChunkId, Gated, Gates, Holder, Ring, SEGMENTS};
use crate::rpc::call::{Call, WORDS};
use crate::rpc::queue::Queue;
use crate::sync::{fence, Ordering, Word};
use crate::wait::wake_gate;
use layout::{
    status, Geometry, GATE_OFFSET, HEAD_OFFSET, JOINED_OFFSET, LIFE_OFFSET, SLOTS_OFFSET, STATUS_OFFSET,
    TAIL_OFFSET, WAITERS_OFFSET, WAKES_OFFSET,
};
pub(crate) use root::RootPath;

pub use audit::{audit, Audit, Finding, TopicAudit};
pub use gc::{gc, Collected};
pub use name::{Kind, Named};

/// Sizes when neither the topic exists nor the caller asks.
const DEFAULTS: Geometry = Geometry { capacity: 64, participants: 128, holds: 8, calls: 0 };
/// The same for a service.
const SERVICE_DEFAULTS: Geometry = Geometry { capacity: 256, participants: 64, holds: 64, calls: 64 };

/// What a participant does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    Publisher,
    Subscriber,
    /// One that publishers wait for.
    Reliable,
    /// Of a service.
    Client,
    Server,
}

impl Role {
    /// Subscribers can't write to the ring or to payloads, not even by accident.
    fn ring_access(self) -> Access {
        match self {
            Role::Publisher | Role::Client | Role::Server => Access::ReadWrite,
            Role::Subscriber | Role::Reliable => Access::ReadOnly,
        }
    }

    /// What its status word says of it.
    fn flags(self) -> u64 {
        match self {
            Role::Publisher => status::PUBLISHER,
            Role::Subscriber => 0,
            Role::Reliable => status::RELIABLE,
            Role::Client => status::CLIENT,
            Role::Server => status::SERVER,
        }
    }
}

/// The least that a caller asks of a topic; 0 leaves it to the topic, or to the default.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Wanted {
    pub(crate) capacity: u32,
    pub(crate) participants: u32,
    pub(crate) holds: u32,
    /// What `None` is: a topic. In a service: calls that a client can have in flight.
    pub(crate) calls: Option<u32>,
    /// The permission bits of the topic's files.
    pub(crate) mode: u32,
    /// The group to share it with. `None` doesn't leave this to the topic: what others may write to isn't trusted then.
    pub(crate) group: Option<u32>,
}

impl Wanted {
    /// The sizes of a topic made for this.
    fn geometry(&self) -> Result<Geometry> {
        let or = |wanted, default| if wanted == 0 { default } else { wanted };
        let defaults = if self.calls.is_some() { SERVICE_DEFAULTS } else { DEFAULTS };
        Geometry::new(
            or(self.capacity, defaults.capacity),
            or(self.participants, defaults.participants),
            or(self.holds, defaults.holds),
        )?
        .with_calls(self.calls.map_or(0, |calls| or(calls, defaults.calls)))
    }

    /// How an existing topic is shared, of whose files `peers` is one, if that is what is asked for.
    fn check_sharing(&self, peers: &File) -> Result<Sharing> {
        let stat = rustix::fs::fstat(peers).map_err(|errno| Error::os("fstat", "peers", errno))?;
        let found = Sharing::of(&stat);
        if let Some(group) = self.group.filter(|&group| group != stat.st_gid) {
            let (found, wanted) = (stat.st_gid.into(), group.into());
            return Err(Error::Mismatch { option: "group", found, wanted });
        }
        if self.mode != 0 || self.group.is_some() {
            let wanted = Sharing::new(self.mode, self.group)?.mode();
            if wanted != found.mode() {
                let (found, wanted) = (found.mode().into(), wanted.into());
                return Err(Error::Mismatch { option: "mode", found, wanted });
            }
        }
        Ok(found)
    }

    /// Whether an existing topic is large enough.
    fn check(&self, found: &Geometry) -> Result<()> {
        self.geometry()?;
        for (option, found, wanted) in [
            ("capacity", found.capacity, self.capacity),
            ("participants", found.participants, self.participants),
            ("holds", found.holds, self.holds),
            ("calls", found.calls, self.calls.unwrap_or(0)),
        ] {
            if found < wanted {
                return Err(Error::Mismatch { option, found: found.into(), wanted: wanted.into() });
            }
        }
        Ok(())
    }
}

/// Where a topic is: the root, and the directory's name in it.
#[derive(Clone, Debug)]
struct Place {
    root: RootPath,
    name: String,
}

/// The open files of a topic.
#[derive(Debug)]
struct Files {
    place: Place,
    dir: Dir,
    peers: Peers,
    ring: Mapping,
    role: Role,
}

/// One participant of one topic: the files, and the entry `q`, whose lock is held as long as this lives.
#[derive(Debug)]
pub(crate) struct Topic {
    hot: Hot,
    files: Files,
    q: u32,
    token: Token,
    start: Option<u64>,
}

/// Where the words are that every message touches, found once: looking them up from the geometry each time took most of the
/// instructions of a publish.
///
/// The references point into the mappings of the `Files` beside it, which move with it but stay where they are in
/// memory. `Topic` hands them out for as long as itself is borrowed, never as 'static.
#[derive(Debug)]
struct Hot {
    slots: &'static [Word],
    tail: &'static Word,
    segments: &'static [Word],
    waiters: &'static [Word],
    wakes: &'static Word,
    gate: &'static [Word],
    holds: &'static [Word],
    cursor: &'static Word,
    head: &'static Word,
}

impl Hot {
    fn new(files: &Files, q: u32) -> Hot {
        let Files { peers, ring, .. } = files;
        let geometry = &peers.geometry;
        // SAFETY: `Topic` owns the mappings for as long as it has this value, and doesn't let it out.
        let forever = |words: &[Word]| unsafe { &*std::ptr::from_ref(words) };
        Hot {
            slots: forever(ring.words(SLOTS_OFFSET, geometry.capacity as usize)),
            tail: &forever(ring.words(TAIL_OFFSET, 1))[0],
            segments: forever(segments_of(ring, geometry)),
            waiters: forever(peers.waiters()),
            wakes: &forever(peers.map.words(WAKES_OFFSET, 1))[0],
            gate: forever(peers.map.words(GATE_OFFSET, 2)),
            holds: forever(peers.holds(q)),
            cursor: &forever(peers.map.words(geometry.cursor_offset(q), 1))[0],
            head: &forever(ring.words(HEAD_OFFSET, 1))[0],
        }
    }
}

/// The `peers` file: what everybody may write.
#[derive(Debug)]
struct Peers {
    lock: LockFile,
    map: Mapping,
    geometry: Geometry,
    instance: u64,
    /// The most that `joined` ever said here. It only grows, so a smaller value later is damage, which must not hide a hold.
    joined: AtomicU64,
}

impl Topic {
    /// Joins the topic `name`, making it when it isn't there.
    pub(crate) fn open(name: &str, root: Option<&Path>, wanted: Wanted, role: Role) -> Result<Topic> {
        let sharing = Sharing::new(wanted.mode, wanted.group)?;
        let name = if wanted.calls.is_some() { name::escape_service(name)? } else { name::escape(name)? };
        let place = Place { root: RootPath::new(root).shared(sharing)?, name };
        // Each round but the last found the topic disappearing or appearing; others made progress then.
        const ROUNDS: u32 = 1000;
        for _ in 0..ROUNDS {
            let root = place.root.open()?;
            if let Some(topic) = join::join(&place, &root, wanted, role)? {
                return Ok(topic);
            }
            if let Some(topic) = create::create(&place, &root, wanted, role)? {
                return Ok(topic);
            }
        }
        let what = "it is neither whole nor empty, and nobody is at work on it";
        Err(Error::corrupt(place.root.open()?.join(&place.name), what))
    }

    #[inline]
    pub(crate) fn token(&self) -> Token {
        self.token
    }

    /// The first position that publishers keep for this participant. `None`: it isn't a reliable subscriber.
    #[inline]
    pub(crate) fn start(&self) -> Option<u64> {
        self.start
    }

    #[inline]
    pub(crate) fn index(&self) -> u32 {
        self.q
    }

    #[inline]
    pub(crate) fn geometry(&self) -> &Geometry {
        &self.files.peers.geometry
    }

    pub(crate) fn instance(&self) -> u64 {
        self.files.peers.instance
    }

    pub(crate) fn dir(&self) -> &Dir {
        &self.files.dir
    }

    #[inline]
    pub(crate) fn ring(&self) -> Ring<'_> {
        Ring::new(self.hot.slots, self.hot.tail)
    }

    /// The queue of a service.
    #[inline]
    pub(crate) fn queue(&self) -> Queue<'_> {
        Queue::new(self.ring(), self.hot.head)
    }

    /// Call `index` of participant `q`; `None` beyond those that there are.
    #[inline]
    pub(crate) fn call(&self, q: u32, index: u32) -> Option<Call<'_>> {
        self.files.peers.call(q, index)
    }

    /// What participant `q` sleeps on when it waits for a call of its own.
    #[inline]
    pub(crate) fn own_wakes(&self, q: u32) -> &Word {
        let peers = &self.files.peers;
        &peers.map.words(peers.geometry.own_wakes_offset(q), 1)[0]
    }

    /// The status word of participant `q`; that of a free one when there is none such.
    #[inline]
    pub(crate) fn status(&self, q: u32) -> u64 {
        self.files.peers.status().get(q as usize).map_or(status::FREE, |word| word.load(Ordering::Acquire))
    }

    /// A server that is LIVE as far as its status says, and that status.
    pub(crate) fn some_server(&self) -> Option<(u32, u64)> {
        let peers = &self.files.peers;
        (0..)
            .zip(peers.status())
            .take(peers.joined())
            .map(|(q, word)| (q, word.load(Ordering::Acquire)))
            .find(|&(_, word)| is_live_server(word))
    }

    /// Every chunk that a message of the topic, or a call of the service, names.
    pub(crate) fn named_chunks(&self) -> Vec<ChunkId> {
        match self.geometry().calls {
            0 => self.ring().chunks().map(|(_, chunk)| chunk).collect(),
            _ => self.files.peers.chunks_of_calls().collect(),
        }
    }

    /// The segment table.
    #[inline]
    pub(crate) fn segments(&self) -> &[Word] {
        self.hot.segments
    }

    /// The participant's own hold words.
    #[inline]
    pub(crate) fn holds(&self) -> &[Word] {
        self.hot.holds
    }

    /// The position that this subscriber reads next, for those who want to know how far it is.
    #[inline]
    pub(crate) fn cursor(&self) -> &Word {
        self.hot.cursor
    }

    /// One bit a sleeping participant.
    #[inline]
    pub(crate) fn waiters(&self) -> &[Word] {
        self.hot.waiters
    }

    /// Counts the wakes; what sleepers sleep on.
    pub(crate) fn wakes(&self) -> &Word {
        self.hot.wakes
    }

    /// Not 0: a publisher waits for reliable subscribers, or a client for room in the queue.
    #[inline]
    pub(crate) fn gate_waiting(&self) -> &Word {
        &self.hot.gate[0]
    }

    /// Counts the wakes of those; what they sleep on.
    pub(crate) fn gate_wakes(&self) -> &Word {
        &self.hot.gate[1]
    }

    /// The living and the dead that may hold something.
    pub(crate) fn subscribers(&self) -> impl Iterator<Item = u32> + '_ {
        self.files.peers.subscribers()
    }
}

/// Whether `word` is the status of a server that takes requests.
pub(crate) fn is_live_server(word: u64) -> bool {
    status::is_server(word) && status::state(word) == status::LIVE
}

/// Whether `word` is the status of a client that takes replies.
pub(crate) fn is_live_client(word: u64) -> bool {
    status::is_client(word) && status::state(word) == status::LIVE
}

fn segments_of<'a>(ring: &'a Mapping, geometry: &Geometry) -> &'a [Word] {
    ring.words(geometry.segments_offset(), SEGMENTS as usize)
}

impl Peers {
    fn life(&self) -> &Word {
        &self.map.words(LIFE_OFFSET, 1)[0]
    }

    #[inline]
    fn waiters(&self) -> &[Word] {
        self.map.words(WAITERS_OFFSET, (self.geometry.participants as usize).div_ceil(64))
    }

    fn status(&self) -> &[Word] {
        self.map.words(STATUS_OFFSET, self.geometry.participants as usize)
    }

    /// One more than the highest entry that was ever joined: the others needn't be looked at.
    fn joined(&self) -> usize {
        let now = self.joined_word().load(Ordering::Acquire);
        // Relaxed: private to this handle.
        let joined = now.max(self.joined.load(Ordering::Relaxed));
        self.joined.store(joined, Ordering::Relaxed);
        joined as usize
    }

    /// Wakes the publishers that wait for a reliable subscriber which is gone.
    fn open_gate(&self) {
        // With G3: either the publisher sees that the gate is open, or it is seen here.
        fence(Ordering::SeqCst);
        if let [waiting, wakes] = self.map.words(GATE_OFFSET, 2) {
            wake_gate(waiting, wakes);
        }
    }

    fn joined_word(&self) -> &Word {
        &self.map.words(JOINED_OFFSET, 1)[0]
    }

    #[inline]
    fn cursor(&self, q: u32) -> &Word {
        &self.map.words(self.geometry.cursor_offset(q), 1)[0]
    }

    #[inline]
    fn holds(&self, q: u32) -> &[Word] {
        self.map.words(self.geometry.holds_offset(q), self.geometry.holds as usize)
    }

    #[inline]
    fn call(&self, q: u32, index: u32) -> Option<Call<'_>> {
        let geometry = &self.geometry;
        if q >= geometry.participants || index >= geometry.calls {
            return None;
        }
        let offset = geometry.calls_offset(q) + index as usize * WORDS * 8;
        self.map.words(offset, WORDS).first_chunk().map(Call)
    }

    /// Every call of every client, alive or dead.
    fn calls(&self) -> impl Iterator<Item = (u32, Call<'_>)> {
        let clients = (0..).zip(self.status()).take(self.joined());
        clients.filter(|(_, word)| status::is_client(word.load(Ordering::Acquire))).flat_map(move |(q, _)| {
            (0..self.geometry.calls).filter_map(move |index| Some((q, self.call(q, index)?)))
        })
    }

    fn chunks_of_calls(&self) -> impl Iterator<Item = ChunkId> + '_ {
        self.calls().filter_map(|(_, call)| call.chunk())
    }

    fn subscribers(&self) -> impl Iterator<Item = u32> + '_ {
        // Acquire, both. A count or a status that this misses was written after the reclaimer's fence, and with it the holds
        // behind it: the argument of I3 holds for them as for a missed hold.
        (0..).zip(self.status()).take(self.joined()).filter_map(|(q, word)| {
            let word = word.load(Ordering::Acquire);
            (status::state(word) != status::FREE && !status::is_publisher(word)).then_some(q)
        })
    }
}

impl Gates for Topic {
    fn each_gate(&self, mut found: impl FnMut(Gated)) {
        let peers = &self.files.peers;
        // Acquire, both: pair with a joiner's J1 and J3, so that the cursor is at least what the status promises.
        for (q, word) in (0..).zip(peers.status()).take(peers.joined()) {
            let word = word.load(Ordering::Acquire);
            // Nobody waits for itself, whatever its entry was damaged to say.
            if status::gates(word) && q != self.q {
                let cursor = peers.cursor(q).load(Ordering::Acquire);
                found(Gated { participant: q, cursor, is_live: status::state(word) == status::LIVE });
            }
        }
    }
}

impl Holder for Topic {
    fn each_hold(&self, mut found: impl FnMut(u64)) {
        for q in self.subscribers() {
            for hold in self.files.peers.holds(q) {
                // S2. Acquire: pairs with H2, the reader's last read of the chunk comes before our next write to it.
                let word = hold.load(Ordering::Acquire);
                if word != 0 {
                    found(word);
                }
            }
        }
    }
}
