// SPDX-License-Identifier: MIT OR Apache-2.0
//! Model `chunks`: what becomes of holds, chunks and segments when participants come, go and die, as in `src/topic/recover.rs`,
//! `src/pool` and `src/ring`.
//!
//! The topic is there and stays: the model `life` has its removal. The ring has two slots; a chunk's content is the position that
//! it was published at. A file is known by its place in the table of files, so that it lives on for those who have it
//! mapped after its name is gone, and a later file of the same name is another.

mod pool;
mod reader;
mod segments;
mod step;

use crate::{Fault, Mutation, Protocol};

pub const ENTRIES: usize = 3;
const SEGMENTS: usize = 2;
const FILES: usize = 6;
const SLOTS: u8 = 2;
/// What a chunk contains while it is written.
const TORN: u8 = 255;

/// A chunk's name: one more than its segment times two plus its index; 0 is the null chunk.
type Chunk = u8;

fn chunk(segment: u8, index: u8) -> Chunk {
    1 + segment * 2 + index
}

fn bit(chunk: Chunk) -> u8 {
    1 << chunk
}

fn segment_of(chunk: Chunk) -> usize {
    (chunk as usize - 1) / 2
}

fn index_of(chunk: Chunk) -> usize {
    (chunk as usize - 1) % 2
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Slot {
    tag: u8,
    chunk: Chunk,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Owned {
    #[default]
    Empty,
    Creating,
    Ready,
    Orphan,
    Dying,
}

/// An entry of the segment table.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Word {
    state: Owned,
    owner: u8,
    generation: u8,
}

/// A segment's file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct File {
    linked: bool,
    /// Its memory was given back.
    punched: bool,
    segment: u8,
    generation: u8,
    content: [u8; 2],
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Status {
    #[default]
    Free,
    Joining,
    Live,
    Recovering,
}

/// An entry of `peers`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Entry {
    status: Status,
    publisher: bool,
    /// Who has the byte locked, by number plus one; 0: nobody.
    lock: u8,
    hold: Chunk,
    /// The waiter bit.
    waits: bool,
}

/// The next shared access or system call of a process, by the function it is in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Label {
    #[default]
    Done,
    Killed,
    // take_entry
    TakeStatus,
    TakeLock,
    TakeLooks,
    // recover
    RecoverStatus,
    RecoverSay,
    RecoverHold,
    RecoverBit,
    RecoverWord,
    RecoverUnlink,
    RecoverStore,
    RecoverFree,
    // claim
    ClaimJoined,
    ClaimJoining,
    ClaimLive,
    // recover_dead
    DeadStatus,
    DeadLock,
    DeadUnlock,
    // reclaim
    ReclaimSlot,
    HoldsJoined,
    HoldsStatus,
    HoldsWord,
    // adopt_orphan
    AdoptWord,
    AdoptTake,
    AdoptOpen,
    AdoptRing,
    AdoptGiveBack,
    // make_segment
    MakeWord,
    MakeTake,
    MakeFile,
    MakeReady,
    // destroy
    DestroyDying,
    DestroyPunch,
    DestroyUnlink,
    DestroyEmpty,
    // destroy_orphans
    OrphansWord,
    OrphansTake,
    OrphansRing,
    OrphansGiveBack,
    // loan, write, publish
    Evict,
    Fill,
    PublishTail,
    PublishSlot,
    PublishHelp,
    PublishStamp,
    PublishCas,
    PublishAdvance,
    // Reader, Views
    JoinTail,
    PollSlot,
    PollTail,
    PinHold,
    PinSlot,
    PinClear,
    ViewWord,
    ViewOpen,
    Read,
    Release,
    // sleep
    SleepBit,
    SleepSlot,
    SleepClear,
    LeaveUnlock,
}

impl Label {
    /// How many there are.
    pub const COUNT: usize = Label::LeaveUnlock as usize + 1;
}

/// Where a function returns to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum After {
    #[default]
    Nothing,
    Take,
    Dead,
    Claimed,
    PoolMade,
    Reclaimed,
    Referred,
    OrphanDone,
    LoanReclaimed,
    AdoptGone,
    Adopted,
    ScarceDead,
    ScarceReclaimed,
    ScarceOrphans,
    Evicted,
    LeaveReclaimed,
    LeaveDestroyed,
    LeaveRecovered,
}

/// A process: where it is, and what it knows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Process {
    at: Label,
    calls: [After; 4],
    publisher: bool,
    /// Messages that it still publishes, or receives.
    todo: u8,
    /// Takes its messages out of the ring before it leaves.
    withdraws: bool,
    /// The last of all: nobody else holds anything.
    last: bool,
    q: Option<u8>,
    inside: bool,
    scan: u8,
    look: u8,
    found_dead: bool,
    target: u8,
    target_publishes: bool,
    part: u8,
    word: Word,
    // A publisher's pool.
    /// By segment, one more than the file that is mapped; 0: none.
    mapped: [u8; SEGMENTS],
    free: u8,
    limbo: u8,
    held: u8,
    published: [(u8, Chunk); 4],
    loan: Chunk,
    scarce: bool,
    dying: u8,
    generations: [u8; SEGMENTS],
    // Both ways of the ring.
    tail: u8,
    position: u8,
    slot: Slot,
    // A subscriber's.
    tries: u8,
    /// The file of the message that it may read now, plus one.
    pinned: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct State {
    slots: [Slot; SLOTS as usize],
    tail: u8,
    joined: u8,
    segments: [Word; SEGMENTS],
    files: [File; FILES],
    entries: [Entry; ENTRIES],
    processes: [Process; 3],
    kills: u8,
    fault: Option<Fault>,
}

/// What a process does.
#[derive(Clone, Copy, Debug)]
pub enum Script {
    /// Joins, publishes so many messages, leaves.
    Publish(u8),
    /// The same, and takes them out of the ring again before it leaves.
    Withdraw(u8),
    /// Joins, receives so many messages and releases each before the next, leaves.
    Receive(u8),
}

#[derive(Clone, Copy, Debug)]
pub struct Chunks {
    pub scripts: &'static [Script],
    /// So many of the last processes come when one of the others is gone.
    pub late: usize,
    /// How many may be killed.
    pub kills: u8,
    /// Chunks of a segment.
    pub chunks: u8,
    /// Segments that a publisher may have.
    pub budget: u8,
    pub mutation: Mutation,
}

impl State {
    fn file(&self, segment: usize, generation: u8) -> Option<u8> {
        (0..).zip(&self.files).find_map(|(index, file)| {
            (file.linked && file.segment as usize == segment && file.generation == generation)
                .then_some(index)
        })
    }

    /// Forgets files that have no name and that nobody has mapped.
    fn forget(&mut self) {
        for index in 0..FILES {
            let place = index as u8 + 1;
            let known = |process: &Process| process.mapped.contains(&place) || process.pinned == place;
            if !self.files[index].linked && !self.processes.iter().any(known) {
                self.files[index] = File::default();
            }
        }
    }

    fn kill(&mut self, p: usize) {
        self.entries.iter_mut().filter(|entry| entry.lock == p as u8 + 1).for_each(|entry| entry.lock = 0);
        self.processes[p] = Process { at: Label::Killed, ..Process::default() };
        self.kills += 1;
    }

    fn is_over(&self) -> bool {
        self.processes.iter().all(is_over)
    }

    /// What must hold in every state.
    fn look(&mut self) {
        let found = self.bad_ring().or_else(|| self.bad_entry()).or_else(|| self.bad_chunk());
        self.fault = self.fault.or(found);
    }

    fn bad_ring(&self) -> Option<Fault> {
        let [first, second] = self.slots;
        let prefix = first.tag == second.tag || first.tag == second.tag + 1;
        let end = SLOTS
            + first.tag.saturating_sub(1) * SLOTS
            + u8::from(first.tag > 0)
            + u8::from(second.tag > 0 && first.tag == second.tag);
        let tail = self.tail.max(SLOTS);
        if !prefix || end < tail || end > tail + 1 {
            return Some(Fault::TailOff);
        }
        if first.chunk == second.chunk && first.chunk != 0 {
            return Some(Fault::TwoSlots);
        }
        let missing = |slot: &Slot| {
            let segment = segment_of(slot.chunk);
            self.file(segment, self.segments[segment].generation)
                .is_none_or(|file| self.files[file as usize].punched)
        };
        self.slots.iter().any(|slot| slot.chunk != 0 && missing(slot)).then_some(Fault::FileGone)
    }

    fn bad_entry(&self) -> Option<Fault> {
        for (p, process) in (1..).zip(&self.processes) {
            let (Some(q), true) = (process.q, process.inside) else { continue };
            let entry = &self.entries[q as usize];
            if entry.lock != p {
                return Some(Fault::LockGone);
            }
            if entry.status != Status::Live {
                return Some(Fault::EntryGone);
            }
        }
        for (q, entry) in (0..).zip(&self.entries) {
            let owns = |word: &Word| {
                word.owner == q && matches!(word.state, Owned::Creating | Owned::Ready | Owned::Dying)
            };
            let has = entry.hold != 0 || entry.waits || self.segments.iter().any(owns);
            if entry.status == Status::Free && has {
                return Some(Fault::FreeHasSomething);
            }
        }
        let unnamed = |file: &File| {
            let word = self.segments[file.segment as usize];
            file.linked && (word.state == Owned::Empty || word.generation != file.generation)
        };
        self.files.iter().any(unnamed).then_some(Fault::FileUnnamed)
    }

    fn bad_chunk(&self) -> Option<Fault> {
        let mut seen = 0;
        let in_ring = self.slots.iter().fold(0, |mask, slot| mask | bit(slot.chunk));
        for process in &self.processes {
            let published = process.published.iter().fold(0, |mask, &(_, chunk)| mask | bit(chunk));
            for mask in [process.free, process.limbo, published, bit(process.loan)].map(|mask| mask & !bit(0))
            {
                if mask & seen != 0 {
                    return Some(Fault::LentTwice);
                }
                seen |= mask;
            }
            let mine = (process.free | bit(process.loan)) & !bit(0);
            let pinned = |reader: &Process| reader.pinned != 0 && mine & bit(reader.slot.chunk) != 0;
            if mine & in_ring != 0 || self.processes.iter().any(pinned) {
                return Some(Fault::ReusedEarly);
            }
        }
        let changed = |reader: &Process| {
            reader.pinned != 0 && {
                let file = &self.files[reader.pinned as usize - 1];
                file.punched || file.content[index_of(reader.slot.chunk)] != reader.position
            }
        };
        self.processes.iter().any(changed).then_some(Fault::Torn)
    }
}

fn is_over(process: &Process) -> bool {
    matches!(process.at, Label::Done | Label::Killed)
}

impl Chunks {
    /// When nobody runs any more: one last publisher fills the ring, takes its messages out again and goes, and another comes and
    /// goes.
    fn finale(&self, state: &State) -> Option<Fault> {
        let mut state = *state;
        for todo in [SLOTS, 0] {
            let (at, last) =
                (Label::TakeStatus, Process { last: true, withdraws: true, ..Process::default() });
            state.processes[0] = Process { at, publisher: true, todo, ..last };
            for _ in 0..1000 {
                if is_over(&state.processes[0]) {
                    break;
                }
                self.step(&mut state, 0);
                if state.fault.is_some() {
                    return state.fault;
                }
            }
            if !is_over(&state.processes[0]) || state.processes[0].todo != 0 {
                return Some(Fault::Stuck);
            }
        }
        let free = state.entries.iter().all(|entry| *entry == Entry::default());
        let empty = state.segments.iter().all(|word| word.state == Owned::Empty);
        let gone = state.files.iter().all(|file| !file.linked);
        (!free || !empty || !gone).then_some(Fault::LeftBehind)
    }
}

impl Protocol for Chunks {
    type State = State;
    type Label = Label;
    const PROCESSES: usize = 3;

    fn without(self, mutation: Mutation) -> Chunks {
        Chunks { mutation, ..self }
    }

    fn start(&self) -> State {
        let mut processes = [Process::default(); 3];
        for (process, &script) in processes.iter_mut().zip(self.scripts) {
            let (publisher, withdraws, todo) = match script {
                Script::Publish(count) => (true, false, count),
                Script::Withdraw(count) => (true, true, count),
                Script::Receive(count) => (false, false, count),
            };
            *process = Process { at: Label::TakeStatus, publisher, withdraws, todo, ..Process::default() };
        }
        State {
            slots: Default::default(),
            tail: 0,
            joined: 0,
            segments: Default::default(),
            files: Default::default(),
            entries: Default::default(),
            processes,
            kills: 0,
            fault: None,
        }
    }

    fn fault(state: &State) -> Option<Fault> {
        state.fault
    }

    fn label(state: &State, p: usize) -> Label {
        state.processes[p].at
    }

    fn may_step(&self, state: &State, p: usize) -> bool {
        let early = self.scripts.len() - self.late;
        let waits = p >= early && !state.processes[..early].iter().any(is_over);
        !is_over(&state.processes[p]) && !waits
    }

    fn may_kill(&self, state: &State, p: usize) -> bool {
        state.kills < self.kills && self.may_step(state, p)
    }

    fn step(&self, state: &mut State, p: usize) {
        crate::reach(state.processes[p].at as usize);
        step::Run { state, p, model: self }.step();
        state.forget();
        state.look();
    }

    fn kill(&self, state: &mut State, p: usize) {
        state.kill(p);
        state.forget();
    }

    fn look_ahead(&self, state: &mut State) {
        if state.is_over() {
            state.fault = self.finale(state);
        }
    }
}
