// SPDX-License-Identifier: MIT OR Apache-2.0
//! One step of one process: the shared access or system call that it stands at, and what follows from it privately. Here is what
//! publishers and subscribers do alike, and the life of an entry.

use super::*;

pub(super) struct Run<'a> {
    pub(super) state: &'a mut State,
    pub(super) p: usize,
    pub(super) model: &'a Gate,
}

impl Run<'_> {
    pub(super) fn me(&mut self) -> &mut Process {
        &mut self.state.processes[self.p]
    }

    pub(super) fn at(&self) -> Label {
        self.state.processes[self.p].at
    }

    pub(super) fn id(&self) -> u8 {
        self.p as u8 + 1
    }

    pub(super) fn entry(&mut self, q: u8) -> &mut Entry {
        &mut self.state.entries[q as usize]
    }

    pub(super) fn mine(&mut self) -> &mut Entry {
        let q = self.me().q;
        self.entry(q)
    }

    pub(super) fn without(&self, mutation: Mutation) -> bool {
        self.model.mutation == mutation
    }

    pub(super) fn go(&mut self, at: Label) {
        self.me().at = at;
    }

    pub(super) fn call(&mut self, at: Label, after: After) {
        self.me().after = after;
        self.go(at);
    }

    /// The function that runs returns.
    pub(super) fn give_back(&mut self) {
        match std::mem::take(&mut self.me().after) {
            After::Nothing => unreachable!("somebody called"),
            After::Taken => {
                let me = self.me();
                me.q = std::mem::take(&mut me.target);
                self.joins();
            }
            After::First => self.go(Label::ClaimCursor),
            After::Start => self.started(),
            After::Joined => self.joined(),
            After::Received => self.received(),
            After::Left if self.at() != Label::RecoverFree => self.go(Label::LeaveUnlock),
            After::Left if self.without(Mutation::LeftUnwoken) => self.go(Label::LeaveUnlock),
            After::Left => self.call(Label::PassWaiting, After::Left),
            After::Dead => self.recovered(),
            after @ (After::Evict | After::Publish | After::Open) => {
                unreachable!("{after:?} is the gate's")
            }
        }
    }

    pub(super) fn step(&mut self) {
        match self.at() {
            Label::Done | Label::Killed => {}
            Label::Take => self.take(),
            Label::RecoverStatus | Label::RecoverSay | Label::RecoverCursor | Label::RecoverFree => {
                self.recover();
            }
            Label::ClaimJoined | Label::ClaimCursor | Label::ClaimJoining => self.claim(),
            Label::ClaimStart | Label::ClaimLive => self.claim_end(),
            Label::EndTail | Label::EndSlot | Label::EndTailAgain => self.end(),
            Label::HistorySlot | Label::PollSlot | Label::PollTail | Label::Pin => self.read(),
            Label::PassCursor | Label::PassWaiting | Label::PassTake => self.pass(),
            Label::PassCount | Label::PassWake => self.wake(),
            Label::LeaveUnlock => {
                self.mine().lock = 0;
                *self.me() = Process::default();
            }
            _ => self.publisher(),
        }
    }

    /// `Ring::end`: what is filled, as seen now.
    fn end(&mut self) {
        let tail = self.state.tail.max(SLOTS);
        match self.at() {
            Label::EndTail => {
                (self.me().end, self.me().scan) = (tail, 0);
                self.go(Label::EndSlot);
            }
            Label::EndSlot => {
                let end = self.me().end;
                if self.state.is_filled(end) {
                    return self.go(Label::EndTailAgain);
                }
                self.give_end_back();
            }
            _ => {
                self.me().end = tail.max(self.me().end + 1);
                self.me().scan += 1;
                if self.me().scan == SLOTS {
                    return self.give_end_back();
                }
                self.go(Label::EndSlot);
            }
        }
    }

    fn give_end_back(&mut self) {
        self.me().scan = 0;
        match self.me().after {
            After::Evict | After::Dead | After::Open => self.ended(),
            _ => self.give_back(),
        }
    }

    fn take(&mut self) {
        let id = self.id();
        let entries = &mut self.state.entries[..self.model.entries as usize];
        let unlocked = |free: bool| {
            entries.iter().position(|entry| entry.lock == 0 && (entry.status == Status::Free) == free)
        };
        let q = unlocked(true).or(unlocked(false)).expect("it waits until one is");
        entries[q].lock = id;
        self.me().target = q as u8;
        self.call(Label::RecoverStatus, After::Taken);
    }

    fn recover(&mut self) {
        let (at, target) = (self.at(), self.me().target);
        let reset = self.without(Mutation::CursorReset);
        let entry = self.entry(target);
        match at {
            Label::RecoverStatus if entry.status == Status::Free => self.give_back(),
            Label::RecoverStatus => self.go(Label::RecoverSay),
            Label::RecoverSay => {
                entry.status = Status::Recovering;
                self.go(if reset { Label::RecoverCursor } else { Label::RecoverFree });
            }
            Label::RecoverCursor => {
                entry.cursor = 0;
                self.go(Label::RecoverFree);
            }
            _ => {
                (entry.status, entry.reliable) = (Status::Free, false);
                self.give_back();
            }
        }
    }

    fn joins(&mut self) {
        if self.without(Mutation::FlagBeforeCursor) {
            return self.go(Label::ClaimJoining);
        }
        if self.without(Mutation::JoinedLast) {
            return self.call(Label::EndTail, After::First);
        }
        self.go(Label::ClaimJoined);
    }

    fn claim(&mut self) {
        let Process { q, end, .. } = *self.me();
        let flag_first = self.without(Mutation::FlagBeforeCursor);
        let flag_last = self.without(Mutation::FlagAfterStart);
        let live_first = self.without(Mutation::LiveFirst);
        match self.at() {
            Label::ClaimJoined => {
                self.state.joined = self.state.joined.max(q + 1);
                if self.without(Mutation::JoinedLast) {
                    return self.read_history();
                }
                self.call(Label::EndTail, After::First);
            }
            Label::ClaimCursor => {
                self.mine().cursor = end;
                if flag_first {
                    return self.call(Label::EndTail, After::Start);
                }
                self.go(Label::ClaimJoining);
            }
            _ => {
                let entry = self.mine();
                (entry.status, entry.reliable) = (Status::Joining, !flag_last);
                match () {
                    () if flag_first => self.go(Label::ClaimJoined),
                    () if live_first => self.go(Label::ClaimLive),
                    () if self.without(Mutation::StartSeenOnce) => self.started(),
                    () => self.call(Label::EndTail, After::Start),
                }
            }
        }
    }

    /// It has seen where it starts.
    fn started(&mut self) {
        let me = self.me();
        (me.start, me.next, me.end) = (me.end, me.end, 0);
        self.go(Label::ClaimStart);
    }

    fn claim_end(&mut self) {
        let start = self.me().start;
        let live_first = self.without(Mutation::LiveFirst);
        match self.at() {
            Label::ClaimStart => {
                self.mine().cursor = start;
                if live_first {
                    return self.wake_after_start();
                }
                self.go(Label::ClaimLive);
            }
            _ => {
                let entry = self.mine();
                (entry.status, entry.reliable) = (Status::Live, true);
                if live_first {
                    return self.call(Label::EndTail, After::Start);
                }
                self.wake_after_start();
            }
        }
    }

    fn wake_after_start(&mut self) {
        if self.without(Mutation::StartUnwoken) {
            return self.joined();
        }
        self.call(Label::PassWaiting, After::Joined);
    }

    fn joined(&mut self) {
        if self.without(Mutation::JoinedLast) {
            return self.go(Label::ClaimJoined);
        }
        self.read_history();
    }

    pub(super) fn leave(&mut self) {
        let me = self.me();
        (me.start, me.next, me.target) = (0, 0, me.q);
        self.call(Label::RecoverStatus, After::Left);
    }
}
