// SPDX-License-Identifier: MIT OR Apache-2.0
//! Model `life`: making, joining, leaving, removing and sweeping topics of one name, as in `src/topic`.
//!
//! What participants have (holds, segments) is one bit an entry here; the model `chunks` looks into it. A directory is what its
//! files say, so that it lives on for those who have it open after its name is gone, as on disk. Its place in the table of
//! directories stands for the random instance number.

mod files;
mod join;
mod step;

use crate::{Fault, Mutation, Protocol};

pub const ENTRIES: usize = 2;
const DIRS: usize = 5;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Name {
    /// It has none (any more).
    #[default]
    None,
    Topic,
    New,
    Dead,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum File {
    #[default]
    Absent,
    /// Made, its header not yet written.
    Blank,
    Whole,
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
    /// It holds chunks or owns segments.
    has: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Dir {
    name: Name,
    peers: File,
    ring: File,
    segment: bool,
    life: u8,
    removed: bool,
    entries: [Entry; ENTRIES],
}

const PEERS: u8 = 1;
const RING: u8 = 2;
const SEGMENT: u8 = 4;

impl Dir {
    fn names(&self) -> u8 {
        let bit = |there, bit| if there { bit } else { 0 };
        bit(self.peers != File::Absent, PEERS)
            | bit(self.ring != File::Absent, RING)
            | bit(self.segment, SEGMENT)
    }

    fn unlink(&mut self, file: u8) {
        match file {
            PEERS => self.peers = File::Absent,
            RING => self.ring = File::Absent,
            _ => self.segment = false,
        }
    }

    fn others_alive(&self, me: u8) -> bool {
        self.entries.iter().any(|entry| entry.lock != 0 && entry.lock != me)
    }
}

/// The next shared access or system call of a process, by the function it is in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Label {
    #[default]
    Done,
    Killed,
    // join
    OpenDir,
    OpenPeers,
    IsRemoved,
    LiveStatus,
    LiveLock,
    LiveAgain,
    IsRemovedToo,
    OpenRing,
    IsRemovedAfterRing,
    // remove_if_deserted
    DesertedLife,
    DesertedLocks,
    DesertedMark,
    // take_entry
    TakeStatus,
    TakeLock,
    TakeUnlock,
    TakeLooks,
    TakeIsRemoved,
    // recover
    RecoverStatus,
    RecoverSay,
    RecoverOpenRing,
    RecoverClear,
    RecoverFree,
    // claim
    ClaimJoining,
    CountLoad,
    CountCas,
    ClaimLive,
    // recover_dead
    DeadStatus,
    DeadLock,
    DeadUnlock,
    /// In the topic: makes a segment, or holds a chunk.
    Work,
    /// In the topic: decides to leave.
    Stay,
    LeaveUnlock,
    // delete
    DeleteNames,
    DeleteFile,
    DeleteNamesAgain,
    DeletePeers,
    DeleteDir,
    // sweep, maker_lives
    SweepNames,
    SweepOpenDir,
    SweepOpenPeers,
    SweepHeader,
    SweepLocks,
    SweepRename,
    // discard
    DiscardOpen,
    DiscardNames,
    DiscardFile,
    DiscardDir,
    // create
    MakeDir,
    BuildOpenDir,
    BuildPeers,
    BuildPeersHeader,
    BuildRing,
    BuildRingHeader,
    BuildOpenPeers,
    BuildOpenRing,
    Rename,
    Stolen,
}

impl Label {
    /// How many there are.
    pub const COUNT: usize = Label::Stolen as usize + 1;
}

/// Where a function returns to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum After {
    #[default]
    Nothing,
    JoinDeserted,
    JoinDeleted,
    Take,
    Dead,
    LeaveRecovered,
    LeaveDeserted,
    /// `leave` is done: the script goes on, the claim failed, or the rename did.
    Left,
    ClaimFailed,
    GiveUpNew,
    GiveUpDead,
    GaveUp,
    SweepNext,
}

/// A process: where it is, and what it knows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Process {
    at: Label,
    calls: [After; 4],
    publisher: bool,
    /// How often it still opens the topic after this time.
    opens: u8,
    /// The directory that it has open as the topic's.
    dir: Option<u8>,
    /// The directory that it makes, known by its temporary name.
    making: Option<u8>,
    /// Its entry, once taken.
    q: Option<u8>,
    /// It is in the topic, as far as its caller knows.
    inside: bool,
    scan: u8,
    look: u8,
    failed: bool,
    target: u8,
    target_publishes: bool,
    seen: u8,
    names: u8,
    remains: bool,
    /// The directory that is swept or discarded, and by which name.
    other: Option<u8>,
    other_name: Name,
    listed: [Name; DIRS],
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct State {
    dirs: [Dir; DIRS],
    processes: [Process; 3],
    fault: Option<Fault>,
}

/// Which processes there are, by whether they publish and how often they open the topic; and the guard left out.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    pub processes: &'static [(bool, u8)],
    /// The third comes when one of the others is gone.
    pub late: bool,
    pub kills: bool,
    pub mutation: Mutation,
}

impl State {
    fn named(&self, name: Name) -> Option<u8> {
        (0..).zip(&self.dirs).find_map(|(index, dir)| (dir.name == name).then_some(index))
    }

    /// Forgets directories that have no name and that nobody has open, so that their place can be used again.
    fn forget(&mut self) {
        for index in 0..DIRS as u8 {
            let known = |process: &Process| {
                [process.dir, process.making, process.other].contains(&Some(index))
                    || process.listed[index as usize] != Name::None
            };
            if self.dirs[index as usize].name == Name::None && !self.processes.iter().any(known) {
                self.dirs[index as usize] = Dir::default();
            }
        }
    }

    fn kill(&mut self, p: usize) {
        for entry in self.dirs.iter_mut().flat_map(|dir| &mut dir.entries) {
            if entry.lock == p as u8 + 1 {
                entry.lock = 0;
            }
        }
        self.processes[p] = Process { at: Label::Killed, ..Process::default() };
    }

    /// What must hold in every state.
    fn look(&mut self) {
        let mut found = None;
        for (p, process) in (1..).zip(&self.processes) {
            let (Some(d), Some(q), true) = (process.dir, process.q, process.inside) else { continue };
            let dir = &self.dirs[d as usize];
            let entry = &dir.entries[q as usize];
            if dir.name != Name::Topic || dir.removed {
                found = Some(Fault::Split);
            } else if dir.peers != File::Whole
                || dir.ring != File::Whole
                || entry.has && process.publisher && !dir.segment
            {
                found = Some(Fault::FileGone);
            } else if entry.lock != p {
                found = Some(Fault::LockGone);
            } else if entry.status != Status::Live {
                found = Some(Fault::EntryGone);
            }
        }
        if self
            .dirs
            .iter()
            .flat_map(|dir| &dir.entries)
            .any(|entry| entry.status == Status::Free && entry.has)
        {
            found = Some(Fault::FreeHasSomething);
        }
        self.fault = self.fault.or(found);
    }

    fn is_over(&self) -> bool {
        self.processes.iter().all(is_over)
    }
}

fn is_over(process: &Process) -> bool {
    matches!(process.at, Label::Done | Label::Killed)
}

impl Life {
    /// When nobody runs any more, one last publisher comes and goes.
    fn finale(&self, state: &State) -> Option<Fault> {
        let mut state = *state;
        state.processes[0] = Process { at: Label::OpenDir, publisher: true, ..Process::default() };
        let mut was_in = false;
        for _ in 0..1000 {
            if state.processes[0].at == Label::Stay && !was_in {
                was_in = true;
                let dir = state.dirs[state.processes[0].dir? as usize];
                let taken = dir.entries.iter().filter(|entry| entry.status != Status::Free).count();
                if taken != 1 {
                    return Some(Fault::NotRecovered);
                }
            }
            self.step(&mut state, 0);
            if state.fault.is_some() {
                return state.fault;
            }
            if state.is_over() {
                let empty = state.dirs.iter().all(|dir| dir.name == Name::None);
                return (!was_in || !empty).then_some(Fault::LeftBehind);
            }
        }
        Some(Fault::Stuck)
    }
}

impl Protocol for Life {
    type State = State;
    type Label = Label;
    const PROCESSES: usize = 3;

    fn without(self, mutation: Mutation) -> Life {
        Life { mutation, ..self }
    }

    fn start(&self) -> State {
        let mut processes = [Process::default(); 3];
        for (process, &(publisher, opens)) in processes.iter_mut().zip(self.processes) {
            *process = Process { at: Label::OpenDir, publisher, opens: opens - 1, ..Process::default() };
        }
        State { dirs: [Dir::default(); DIRS], processes, fault: None }
    }

    fn fault(state: &State) -> Option<Fault> {
        state.fault
    }

    fn label(state: &State, p: usize) -> Label {
        state.processes[p].at
    }

    fn may_step(&self, state: &State, p: usize) -> bool {
        let waits = self.late && p == 2 && !state.processes[..2].iter().any(is_over);
        !is_over(&state.processes[p]) && !waits
    }

    fn may_kill(&self, state: &State, p: usize) -> bool {
        self.kills && self.may_step(state, p)
    }

    fn step(&self, state: &mut State, p: usize) {
        crate::reach(state.processes[p].at as usize);
        step::Run { state, p, mutation: self.mutation }.step();
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
