// SPDX-License-Identifier: MIT OR Apache-2.0
//! Model `gate`: reliable subscribers, for whom publishers wait (I7), as in `src/ring/gate.rs`, `src/wait.rs` and `src/topic/join.rs`.
//!
//! The topic is there and stays, and there are chunks enough unless a publisher is given few: a slot says only whose message it has,
//! and holds aren't modelled, as nothing here asks for them. Only subscribers have entries. One that finds nothing to read waits for
//! a message, and leaves when nobody publishes any more.
//!
//! A publisher's sleep at the gate ends by a wake. It has a time-out only where somebody was killed or is stopped: the living owe
//! each other their wakes, the dead owe none.

mod publisher;
mod step;
mod subscriber;

use crate::{Fault, Mutation, Protocol};

const ENTRIES: usize = 2;
const SLOTS: u8 = 2;
const PROCESSES: usize = 4;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Slot {
    tag: u8,
    /// Whose message it is, by number plus one; 0: it was evicted.
    chunk: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Status {
    #[default]
    Free,
    Joining,
    Live,
    Recovering,
}

/// An entry of `peers`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Entry {
    status: Status,
    reliable: bool,
    cursor: u8,
    /// Who has the byte locked, by number plus one; 0: nobody.
    lock: u8,
}

impl Entry {
    fn gates(&self) -> bool {
        self.reliable && matches!(self.status, Status::Joining | Status::Live)
    }
}

/// The next shared access or system call of a process, by the function it is in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Label {
    #[default]
    Done,
    Killed,
    // take_entry, whose steps are in the other models
    Take,
    // recover
    RecoverStatus,
    RecoverSay,
    /// Only where a guard is missing.
    RecoverCursor,
    RecoverFree,
    // claim
    ClaimJoined,
    ClaimCursor,
    ClaimJoining,
    ClaimStart,
    ClaimLive,
    // Ring::end
    EndTail,
    EndSlot,
    EndTailAgain,
    // Reader::join
    HistorySlot,
    // Reader::poll
    PollSlot,
    PollTail,
    Pin,
    // pass_gate
    PassCursor,
    PassWaiting,
    PassTake,
    PassCount,
    PassWake,
    LeaveUnlock,
    // loan
    ReclaimSlot,
    Evict,
    // publish
    PublishTail,
    PublishSlot,
    PublishHelp,
    PublishCas,
    PublishAdvance,
    // each_gate
    GateJoined,
    GateStatus,
    GateCursor,
    // wait_at_gate
    DeadStatus,
    DeadLock,
    DeadUnlock,
    WaitWakes,
    WaitSay,
    Sleep,
    Asleep,
}

impl Label {
    /// How many there are.
    pub const COUNT: usize = Label::Asleep as usize + 1;
}

/// Where a function returns to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum After {
    #[default]
    Nothing,
    Taken,
    First,
    Start,
    Joined,
    Received,
    Left,
    Evict,
    Publish,
    Dead,
    Open,
}

/// A process: where it is, and what it knows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Process {
    at: Label,
    after: After,
    publisher: bool,
    /// Messages that it still publishes, or receives.
    todo: u8,
    scan: u8,
    /// The entry that it recovers.
    target: u8,
    /// What `Ring::end` has found so far.
    end: u8,
    // A publisher's.
    /// It waits when it is refused.
    waits: bool,
    /// Chunks that it still has.
    chunks: u8,
    /// Positions of its own messages in the ring, as far as it knows; 0: none.
    published: [u8; 3],
    limit: u8,
    tail: u8,
    slot: Slot,
    /// The position that it looks at the gate for.
    position: u8,
    joined: u8,
    live: bool,
    oldest: u8,
    /// Those that keep the gate shut, one bit each.
    gating: u8,
    wakes: u8,
    // A subscriber's.
    q: u8,
    /// It is given all from here on, once it has a start.
    start: u8,
    next: u8,
    /// It saw `gate_waiting` before it said how far it is.
    saw_waiting: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct State {
    slots: [Slot; SLOTS as usize],
    tail: u8,
    joined: u8,
    entries: [Entry; ENTRIES],
    waiting: bool,
    wakes: u8,
    processes: [Process; PROCESSES],
    kills: u8,
    fault: Option<Fault>,
}

/// What a process does.
#[derive(Clone, Copy, Debug)]
pub enum Script {
    /// Publishes so many messages, and waits with each until it may.
    Publish(u8),
    /// Tries that so often.
    Try(u8),
    /// Is there from the start, receives so many messages, leaves.
    Receive(u8),
    /// The same, but joins first.
    Join(u8),
}

#[derive(Clone, Copy, Debug)]
pub struct Gate {
    pub scripts: &'static [Script],
    /// Entries of `peers`, at most two.
    pub entries: u8,
    /// Messages from before the join that a joiner wants.
    pub history: u8,
    /// Chunks of each publisher.
    pub chunks: u8,
    /// How many may be killed.
    pub kills: u8,
    pub mutation: Mutation,
}

fn is_over(process: &Process) -> bool {
    matches!(process.at, Label::Done | Label::Killed)
}

impl State {
    fn slot(&self, position: u8) -> Slot {
        self.slots[(position % SLOTS) as usize]
    }

    fn is_filled(&self, position: u8) -> bool {
        position / SLOTS <= self.slot(position).tag
    }

    fn nobody_publishes(&self) -> bool {
        self.processes.iter().all(|process| is_over(process) || !process.publisher)
    }

    /// I7: what a reliable subscriber has yet to read is in its slot.
    fn look(&mut self) {
        for process in self.processes.iter().filter(|process| process.start != 0) {
            let unread = process.next.max(process.start);
            for (index, slot) in (0..).zip(&self.slots) {
                let position = slot.tag * SLOTS + index;
                if position >= unread + SLOTS || slot.tag != 0 && position >= unread && slot.chunk == 0 {
                    self.fault = self.fault.or(Some(Fault::Unread));
                }
            }
        }
    }

    /// Whether publishers wait for an entry whose lock `p` has.
    fn is_waited_for(&self, p: usize) -> bool {
        self.entries.iter().any(|entry| entry.lock == p as u8 + 1 && entry.gates())
    }
}

impl Gate {
    /// Whether a publisher sleeps at an open gate when the subscribers have done what they were at, and nobody reads on.
    fn is_overslept(&self, state: &State) -> bool {
        let mut state = *state;
        for p in 0..PROCESSES {
            while !state.processes[p].publisher
                && state.processes[p].at != Label::PollSlot
                && self.may_step(&state, p)
            {
                self.step(&mut state, p);
            }
        }
        let end = (0..SLOTS).fold(state.tail.max(SLOTS), |end, _| end + u8::from(state.is_filled(end)));
        let shut = state.entries.iter().any(|entry| entry.gates() && entry.cursor + SLOTS <= end);
        !shut && state.processes.iter().any(|process| process.at == Label::Asleep)
    }

    /// Whether the publishers get to their ends when all but `stopped` run on, in turn.
    fn is_stuck(&self, state: &State, stopped: Option<usize>) -> bool {
        let mut state = *state;
        // With somebody stopped or dead there are time-outs.
        state.kills = state.kills.max(1);
        let over = |state: &State| {
            let publishes = |&(p, process): &(usize, &Process)| process.publisher && Some(p) != stopped;
            (0..).zip(&state.processes).filter(publishes).all(|(_, process)| is_over(process))
        };
        for _ in 0..500 {
            if over(&state) || state.fault.is_some() {
                return false;
            }
            for p in (0..PROCESSES).filter(|&p| Some(p) != stopped) {
                if self.may_step(&state, p) {
                    self.step(&mut state, p);
                }
            }
        }
        true
    }
}

impl Protocol for Gate {
    type State = State;
    type Label = Label;
    const PROCESSES: usize = PROCESSES;

    fn without(self, mutation: Mutation) -> Gate {
        Gate { mutation, ..self }
    }

    fn start(&self) -> State {
        let mut state = State {
            slots: Default::default(),
            tail: 0,
            joined: 0,
            entries: Default::default(),
            waiting: false,
            wakes: 0,
            processes: Default::default(),
            kills: 0,
            fault: None,
        };
        for ((p, process), &script) in (1..).zip(&mut state.processes).zip(self.scripts) {
            let publisher = Process { at: Label::PublishTail, publisher: true, ..Process::default() };
            let publisher = Process { chunks: self.chunks - 1, ..publisher };
            *process = match script {
                Script::Publish(todo) => Process { todo, waits: true, ..publisher },
                Script::Try(todo) => Process { todo, ..publisher },
                Script::Join(todo) => Process { at: Label::Take, todo, ..Process::default() },
                Script::Receive(todo) => {
                    state.joined = 1;
                    state.entries[0] = Entry { status: Status::Live, reliable: true, cursor: SLOTS, lock: p };
                    Process { at: Label::PollSlot, todo, start: SLOTS, next: SLOTS, ..Process::default() }
                }
            };
        }
        state
    }

    fn fault(state: &State) -> Option<Fault> {
        state.fault
    }

    fn label(state: &State, p: usize) -> Label {
        state.processes[p].at
    }

    fn may_step(&self, state: &State, p: usize) -> bool {
        let process = &state.processes[p];
        match process.at {
            Label::Done | Label::Killed => false,
            Label::Take => state.entries[..self.entries as usize].iter().any(|entry| entry.lock == 0),
            Label::PollSlot => state.is_filled(process.next) || state.nobody_publishes(),
            Label::Asleep => state.kills > 0,
            _ => true,
        }
    }

    fn may_kill(&self, state: &State, p: usize) -> bool {
        state.kills < self.kills && !is_over(&state.processes[p])
    }

    fn step(&self, state: &mut State, p: usize) {
        crate::reach(state.processes[p].at as usize);
        step::Run { state, p, model: self }.step();
        state.look();
    }

    fn kill(&self, state: &mut State, p: usize) {
        state.entries.iter_mut().filter(|entry| entry.lock == p as u8 + 1).for_each(|entry| entry.lock = 0);
        state.processes[p] = Process { at: Label::Killed, ..Process::default() };
        state.kills += 1;
    }

    /// When the living can't go on; or when a publisher sleeps, and doesn't get on though all are given the time for it: after a death,
    /// or while somebody is stopped who has the lock of an entry that publishers don't wait for. One that is stopped after it got the
    /// lock of the dead, before it says RECOVERING, does hold publishers up: nobody else can know that the entry's owner is dead.
    fn look_ahead(&self, state: &mut State) {
        let ends = state.processes.iter().all(is_over) || (0..PROCESSES).any(|p| self.may_step(state, p));
        let sleeps = state.processes.iter().any(|process| process.at == Label::Asleep);
        let has_lock = |p: usize| state.entries.iter().any(|entry| entry.lock == p as u8 + 1);
        let mut stopped = (0..PROCESSES).filter(|&p| has_lock(p) && !state.is_waited_for(p));
        state.fault = match () {
            () if !ends => Some(Fault::Stuck),
            () if !sleeps => None,
            () if state.kills > 0 && self.is_stuck(state, None) => Some(Fault::Stuck),
            () if stopped.any(|p| self.is_stuck(state, Some(p))) => Some(Fault::Stuck),
            () if state.kills == 0 && self.is_overslept(state) => Some(Fault::Overslept),
            () => None,
        };
    }
}
