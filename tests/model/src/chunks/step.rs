// SPDX-License-Identifier: MIT OR Apache-2.0
//! One step of one process: the shared access or system call that it stands at, and what follows from it privately.

use super::*;

pub(super) struct Run<'a> {
    pub(super) state: &'a mut State,
    pub(super) p: usize,
    pub(super) model: &'a Chunks,
}

impl Run<'_> {
    pub(super) fn me(&mut self) -> &mut Process {
        &mut self.state.processes[self.p]
    }

    pub(super) fn at(&self) -> Label {
        self.state.processes[self.p].at
    }

    fn id(&self) -> u8 {
        self.p as u8 + 1
    }

    pub(super) fn q(&self) -> u8 {
        self.state.processes[self.p].q.expect("it has an entry")
    }

    pub(super) fn entry(&mut self, q: u8) -> &mut Entry {
        &mut self.state.entries[q as usize]
    }

    pub(super) fn without(&self, mutation: Mutation) -> bool {
        self.model.mutation == mutation
    }

    pub(super) fn go(&mut self, at: Label) {
        self.me().at = at;
    }

    /// Goes to the first place of a scan.
    pub(super) fn scan(&mut self, at: Label) {
        self.me().scan = 0;
        self.go(at);
    }

    pub(super) fn fault(&mut self, fault: Fault) {
        self.state.fault = Some(fault);
    }

    pub(super) fn call(&mut self, after: After) {
        let calls = &mut self.me().calls;
        let free = calls.iter().position(|&call| call == After::Nothing).expect("calls nest four deep");
        calls[free] = after;
    }

    /// The function that runs returns.
    pub(super) fn give_back(&mut self) {
        let calls = &mut self.me().calls;
        let last = calls.iter().rposition(|&call| call != After::Nothing).expect("somebody called");
        match std::mem::take(&mut calls[last]) {
            After::Nothing => {}
            After::Take => {
                let me = self.me();
                me.q = Some(std::mem::take(&mut me.target));
                me.look = 0;
                self.go(Label::ClaimJoined);
            }
            After::Dead => {
                self.me().found_dead = true;
                self.go(Label::DeadUnlock);
            }
            After::Claimed => self.claimed(),
            After::LeaveRecovered => self.go(Label::LeaveUnlock),
            after => self.pool_returns(after),
        }
    }

    fn claimed(&mut self) {
        self.me().inside = true;
        if self.me().publisher {
            self.call(After::PoolMade);
            self.scan(Label::OrphansWord);
        } else {
            self.go(Label::JoinTail);
        }
    }

    /// `Topic::leave`.
    pub(super) fn leave(&mut self) {
        let q = self.q();
        self.me().inside = false;
        self.me().target = q;
        self.call(After::LeaveRecovered);
        self.go(if self.without(Mutation::LeaveUnlocksFirst) {
            Label::LeaveUnlock
        } else {
            Label::RecoverStatus
        });
    }

    pub(super) fn recover_dead(&mut self) {
        self.me().scan = 0;
        self.me().found_dead = false;
        self.dead_look();
    }

    fn dead_look(&mut self) {
        if self.me().scan == self.q() {
            self.me().scan += 1;
        }
        if self.me().scan == ENTRIES as u8 {
            self.give_back();
        } else {
            self.go(Label::DeadStatus);
        }
    }

    pub(super) fn step(&mut self) {
        match self.at() {
            Label::Done | Label::Killed => {}
            Label::TakeStatus | Label::TakeLock | Label::TakeLooks => self.take_entry(),
            Label::RecoverStatus | Label::RecoverSay | Label::RecoverHold | Label::RecoverBit => {
                self.recover()
            }
            Label::RecoverWord | Label::RecoverUnlink | Label::RecoverStore => self.orphan_in(),
            Label::RecoverFree | Label::LeaveUnlock => self.recover_end(),
            Label::ClaimJoined | Label::ClaimJoining | Label::ClaimLive => self.claim(),
            Label::DeadStatus | Label::DeadLock | Label::DeadUnlock => self.dead(),
            Label::JoinTail | Label::PollSlot | Label::PollTail => self.poll(),
            Label::PinHold | Label::PinSlot | Label::PinClear => self.pin(),
            Label::ViewWord | Label::ViewOpen | Label::Read | Label::Release => self.read(),
            Label::SleepBit | Label::SleepSlot | Label::SleepClear => self.sleep(),
            _ => self.pool(),
        }
    }

    fn take_entry(&mut self) {
        let (scan, id) = (self.me().scan, self.id());
        if self.at() == Label::TakeLooks {
            self.me().scan += 1;
            return match self.entry(scan).status {
                Status::Free | Status::Recovering => self.scan(Label::TakeStatus),
                _ if scan + 1 < ENTRIES as u8 => {}
                // All are taken by the living.
                _ => *self.me() = Process::default(),
            };
        }
        let (q, free_wanted) = (scan % ENTRIES as u8, scan < ENTRIES as u8);
        let entry = *self.entry(q);
        let next = match self.at() {
            Label::TakeStatus => (entry.status == Status::Free) == free_wanted,
            _ => entry.lock == 0,
        };
        if next && self.at() == Label::TakeStatus {
            return self.go(Label::TakeLock);
        }
        if next {
            self.entry(q).lock = id;
            self.me().target = q;
            self.call(After::Take);
            return self.go(Label::RecoverStatus);
        }
        self.me().scan += 1;
        self.go(Label::TakeStatus);
        if self.me().scan == 2 * ENTRIES as u8 {
            let look = std::mem::replace(&mut self.me().look, 1);
            self.scan(if look == 0 { Label::TakeStatus } else { Label::TakeLooks });
        }
    }

    fn claim(&mut self) {
        let (q, publisher) = (self.q(), self.me().publisher);
        match self.at() {
            Label::ClaimJoined => {
                self.state.joined = self.state.joined.max(q + 1);
                self.go(Label::ClaimJoining);
            }
            Label::ClaimJoining => {
                let entry = self.entry(q);
                entry.status = Status::Joining;
                entry.publisher = publisher;
                self.go(Label::ClaimLive);
            }
            _ => {
                self.entry(q).status = Status::Live;
                self.call(After::Claimed);
                self.recover_dead();
            }
        }
    }

    fn dead(&mut self) {
        let (scan, id) = (self.me().scan, self.id());
        let unlocked = self.without(Mutation::RecoverUnlocked);
        let entry = *self.entry(scan);
        let busy = entry.lock != 0 && !unlocked;
        match self.at() {
            Label::DeadStatus if entry.status != Status::Free => self.go(Label::DeadLock),
            Label::DeadLock if !busy => {
                self.entry(scan).lock = if entry.lock == 0 { id } else { entry.lock };
                self.me().target = scan;
                self.call(After::Dead);
                self.go(Label::RecoverStatus);
            }
            at => {
                if at == Label::DeadUnlock && entry.lock == id {
                    self.entry(scan).lock = 0;
                }
                self.me().scan += 1;
                self.dead_look();
            }
        }
    }

    /// The entry that is recovered; its lock must be ours.
    fn target(&mut self) -> &mut Entry {
        let (target, id) = (self.me().target, self.id());
        let early = self.without(Mutation::RecoverUnlocked) || self.without(Mutation::LeaveUnlocksFirst);
        if self.entry(target).lock != id && !early {
            self.fault(Fault::RecoveredUnlocked);
        }
        self.entry(target)
    }

    fn recover(&mut self) {
        let free_first = self.without(Mutation::FreeFirst);
        match self.at() {
            Label::RecoverStatus if self.target().status == Status::Free => self.give_back(),
            Label::RecoverStatus => {
                let publishes = self.target().publisher;
                self.me().target_publishes = publishes;
                self.go(Label::RecoverSay);
            }
            Label::RecoverSay => {
                self.target().status = Status::Recovering;
                self.go(if free_first { Label::RecoverFree } else { Label::RecoverHold });
            }
            Label::RecoverHold => {
                if !self.without(Mutation::HoldsKept) {
                    self.target().hold = 0;
                }
                self.go(Label::RecoverBit);
            }
            _ => {
                if !self.without(Mutation::BitKept) {
                    self.target().waits = false;
                }
                self.me().part = 0;
                let orphans = self.me().target_publishes && !self.without(Mutation::NotOrphaned);
                let segments = if free_first { None } else { Some(Label::RecoverFree) };
                match (orphans, segments) {
                    (true, _) => self.go(Label::RecoverWord),
                    (false, Some(next)) => self.go(next),
                    (false, None) => self.give_back(),
                }
            }
        }
    }

    fn orphan_in(&mut self) {
        let (part, target) = (self.me().part as usize, self.me().target);
        let word = self.me().word;
        match self.at() {
            Label::RecoverWord => {
                let word = self.state.segments[part];
                self.me().word = word;
                let owned = word.owner == target;
                match word.state {
                    Owned::Creating if owned && !self.without(Mutation::CreatingNotUnlinked) => {
                        self.go(Label::RecoverUnlink);
                    }
                    Owned::Creating | Owned::Ready | Owned::Dying if owned => self.go(Label::RecoverStore),
                    _ => self.orphan_next(),
                }
            }
            Label::RecoverUnlink => {
                if let Some(file) = self.state.file(part, word.generation) {
                    self.state.files[file as usize].linked = false;
                }
                self.go(Label::RecoverStore);
            }
            _ => {
                let next = if word.state == Owned::Creating { Owned::Empty } else { Owned::Orphan };
                let generation = word.generation + u8::from(next == Owned::Empty);
                self.target();
                self.state.segments[part] = Word { state: next, owner: 0, generation };
                self.orphan_next();
            }
        }
    }

    fn orphan_next(&mut self) {
        self.me().part += 1;
        let over = self.me().part as usize == SEGMENTS;
        match (over, self.without(Mutation::FreeFirst)) {
            (false, _) => self.go(Label::RecoverWord),
            (true, false) => self.go(Label::RecoverFree),
            (true, true) => self.give_back(),
        }
    }

    fn recover_end(&mut self) {
        let (q, id) = (self.me().target, self.id());
        if self.at() == Label::LeaveUnlock {
            let entry = self.entry(q);
            entry.lock = if entry.lock == id { 0 } else { entry.lock };
            if self.without(Mutation::LeaveUnlocksFirst) && self.me().calls[0] != After::Nothing {
                return self.go(Label::RecoverStatus);
            }
            let todo = self.me().todo;
            *self.me() = Process { todo, ..Process::default() };
            return;
        }
        let entry = self.target();
        entry.status = Status::Free;
        entry.publisher = false;
        if self.without(Mutation::FreeFirst) {
            self.go(Label::RecoverHold);
        } else {
            self.give_back();
        }
    }
}
