// SPDX-License-Identifier: MIT OR Apache-2.0
//! One step of one process: the shared access or system call that it stands at, and what follows from it privately.

use super::*;

pub(super) struct Run<'a> {
    pub(super) state: &'a mut State,
    pub(super) p: usize,
    pub(super) mutation: Mutation,
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

    pub(super) fn dir(&mut self) -> &mut Dir {
        let index = self.state.processes[self.p].dir.expect("a directory is open");
        &mut self.state.dirs[index as usize]
    }

    pub(super) fn other(&mut self) -> &mut Dir {
        let index = self.state.processes[self.p].other.expect("another directory is known");
        &mut self.state.dirs[index as usize]
    }

    pub(super) fn entry(&mut self, q: u8) -> &mut Entry {
        &mut self.dir().entries[q as usize]
    }

    pub(super) fn without(&self, mutation: Mutation) -> bool {
        self.mutation == mutation
    }

    pub(super) fn go(&mut self, at: Label) {
        self.me().at = at;
    }

    pub(super) fn fault(&mut self, fault: Fault) {
        self.state.fault = Some(fault);
    }

    pub(super) fn call(&mut self, at: Label, after: After) {
        let calls = &mut self.me().calls;
        let free = calls.iter().position(|&call| call == After::Nothing).expect("calls nest four deep");
        calls[free] = after;
        self.go(at);
    }

    /// The function that runs returns `ok`.
    pub(super) fn give_back(&mut self, ok: bool) {
        let calls = &mut self.me().calls;
        let last = calls.iter().rposition(|&call| call != After::Nothing).expect("somebody called");
        let after = std::mem::take(&mut calls[last]);
        match after {
            After::Nothing => {}
            After::JoinDeserted if ok => self.call(Label::DeleteNames, After::JoinDeleted),
            After::JoinDeserted => self.go(Label::OpenRing),
            After::JoinDeleted => self.create(),
            After::Take if ok => {
                let target = self.me().target;
                self.me().q = Some(target);
                self.go(if self.without(Mutation::LiveBeforeLock) {
                    Label::CountLoad
                } else {
                    Label::ClaimJoining
                });
            }
            After::Take => {
                self.me().failed = true;
                self.go(Label::TakeUnlock);
            }
            After::Dead => {
                self.me().failed = !ok;
                self.go(Label::DeadUnlock);
            }
            After::LeaveRecovered if self.without(Mutation::LeaveUnlocksFirst) => {
                self.call(Label::DesertedLife, After::LeaveDeserted);
            }
            After::LeaveRecovered => {
                // When it failed, the lock goes with the descriptor.
                self.me().failed = !ok;
                self.go(Label::LeaveUnlock);
            }
            After::LeaveDeserted if ok => self.call(Label::DeleteNames, After::LeaveDeserted),
            After::LeaveDeserted => self.left(),
            After::Left => self.end(),
            After::ClaimFailed => self.claimed(false),
            After::GiveUpNew => self.discard_made(Name::New, After::GiveUpDead),
            After::GiveUpDead => self.discard_made(Name::Dead, After::GaveUp),
            After::GaveUp => {
                let failed = self.me().failed;
                if failed {
                    return self.fault(Fault::FalseError);
                }
                self.me().making = None;
                self.open();
            }
            After::SweepNext => self.sweep_next(),
        }
    }

    /// Another round of `Topic::open`.
    pub(super) fn open(&mut self) {
        let Process { publisher, opens, .. } = *self.me();
        *self.me() = Process { at: Label::OpenDir, publisher, opens, ..Process::default() };
    }

    /// This time of using the topic is over.
    pub(super) fn end(&mut self) {
        let (id, Process { publisher, opens, .. }) = (self.id(), *self.me());
        // The descriptor is closed.
        for entry in self.state.dirs.iter_mut().flat_map(|dir| &mut dir.entries) {
            if entry.lock == id {
                entry.lock = 0;
            }
        }
        *self.me() = match opens {
            0 => Process::default(),
            opens => Process { at: Label::OpenDir, publisher, opens: opens - 1, ..Process::default() },
        };
    }

    pub(super) fn create(&mut self) {
        self.me().dir = None;
        self.me().remains = false;
        self.go(Label::SweepNames);
    }

    pub(super) fn leave(&mut self, after: After) {
        self.me().inside = false;
        let q = self.me().q.expect("it has an entry");
        self.me().target = q;
        let calls = &mut self.me().calls;
        calls[0] = after;
        if self.without(Mutation::LeaveUnlocksFirst) {
            self.go(Label::LeaveUnlock);
        } else {
            self.call(Label::RecoverStatus, After::LeaveRecovered);
        }
    }

    /// `leave` returns.
    fn left(&mut self) {
        let id = self.id();
        self.dir().entries.iter_mut().filter(|entry| entry.lock == id).for_each(|entry| entry.lock = 0);
        self.me().q = None;
        self.give_back(true);
    }

    /// `claim` returns.
    pub(super) fn claimed(&mut self, ok: bool) {
        let making = self.me().making.is_some();
        match (making, ok) {
            (true, true) => self.go(Label::Rename),
            (true, false) => self.go(Label::Stolen),
            (false, true) => self.enter(),
            (false, false) => self.create(),
        }
    }

    pub(super) fn enter(&mut self) {
        self.me().making = None;
        self.me().inside = true;
        self.go(Label::Work);
    }

    pub(super) fn discard(&mut self, dir: u8, name: Name, after: After) {
        self.me().other = Some(dir);
        self.me().other_name = name;
        self.call(Label::DiscardOpen, after);
    }

    pub(super) fn discard_made(&mut self, name: Name, after: After) {
        self.me().dir = None;
        let made = self.me().making.expect("it makes one");
        self.discard(made, name, after);
    }

    fn dead_next(&mut self) {
        let q = self.me().q.expect("it has an entry");
        loop {
            self.me().scan += 1;
            let scan = self.me().scan;
            if scan > ENTRIES as u8 || self.me().failed {
                self.me().failed = false;
                return self.claimed(true);
            }
            if scan - 1 != q {
                return self.go(Label::DeadStatus);
            }
        }
    }

    pub(super) fn sweep_next(&mut self) {
        self.me().other = None;
        let listed = self.me().listed;
        let Some(index) = listed.iter().position(|&name| name != Name::None) else {
            return self.go(Label::MakeDir);
        };
        let name = std::mem::take(&mut self.me().listed[index]);
        if name == Name::Dead {
            return self.discard(index as u8, Name::Dead, After::SweepNext);
        }
        self.me().other = Some(index as u8);
        self.go(Label::SweepOpenDir);
    }

    pub(super) fn step(&mut self) {
        match self.at() {
            Label::Done | Label::Killed => {}
            Label::OpenDir | Label::OpenPeers | Label::IsRemoved | Label::IsRemovedToo => self.join(),
            Label::LiveStatus | Label::LiveLock | Label::LiveAgain => self.someone_is_live(),
            Label::OpenRing | Label::IsRemovedAfterRing => self.join_ring(),
            Label::DesertedLife | Label::DesertedLocks | Label::DesertedMark => self.remove_if_deserted(),
            Label::TakeStatus | Label::TakeLock | Label::TakeUnlock => self.take_entry(),
            Label::TakeLooks | Label::TakeIsRemoved => self.take_no_entry(),
            Label::RecoverStatus | Label::RecoverSay | Label::RecoverOpenRing => self.recover(),
            Label::RecoverClear | Label::RecoverFree => self.recover_end(),
            Label::ClaimJoining | Label::CountLoad | Label::CountCas | Label::ClaimLive => self.claim(),
            Label::DeadStatus | Label::DeadLock | Label::DeadUnlock => self.recover_dead(),
            Label::Work | Label::Stay | Label::LeaveUnlock => self.be_inside(),
            Label::DeleteNames | Label::DeleteFile | Label::DeleteNamesAgain => self.delete(),
            Label::DeletePeers | Label::DeleteDir => self.delete_end(),
            Label::SweepNames | Label::SweepOpenDir | Label::SweepOpenPeers => self.sweep(),
            Label::SweepHeader | Label::SweepLocks | Label::SweepRename => self.sweep_one(),
            Label::DiscardOpen | Label::DiscardNames | Label::DiscardFile | Label::DiscardDir => {
                self.discarding()
            }
            Label::MakeDir | Label::BuildOpenDir | Label::Rename | Label::Stolen => self.making(),
            _ => self.build(),
        }
    }

    /// The entry that is recovered; its lock must be ours.
    fn target(&mut self) -> &mut Entry {
        let (target, id) = (self.me().target, self.id());
        if self.entry(target).lock != id {
            self.fault(Fault::RecoveredUnlocked);
        }
        self.entry(target)
    }

    fn recover(&mut self) {
        let Entry { status, publisher, .. } = *self.target();
        match self.at() {
            Label::RecoverStatus if status == Status::Free => self.give_back(true),
            Label::RecoverStatus => {
                self.me().target_publishes = publisher;
                self.go(Label::RecoverSay);
            }
            Label::RecoverSay => {
                self.target().status = Status::Recovering;
                let opens = self.me().target_publishes && !self.me().publisher;
                self.go(match () {
                    () if self.without(Mutation::FreeFirst) => Label::RecoverFree,
                    () if opens => Label::RecoverOpenRing,
                    () => Label::RecoverClear,
                });
            }
            _ if self.dir().ring == File::Absent => self.give_back(false),
            _ => self.go(Label::RecoverClear),
        }
    }

    fn recover_end(&mut self) {
        let free_first = self.without(Mutation::FreeFirst);
        if self.at() == Label::RecoverClear {
            self.target().has = false;
            return if free_first { self.give_back(true) } else { self.go(Label::RecoverFree) };
        }
        let entry = self.target();
        entry.status = Status::Free;
        entry.publisher = false;
        if free_first {
            self.go(Label::RecoverClear)
        } else {
            self.give_back(true)
        }
    }

    fn claim(&mut self) {
        let Process { q, publisher, .. } = *self.me();
        let q = q.expect("it has an entry");
        match self.at() {
            Label::ClaimJoining => {
                let entry = self.entry(q);
                entry.status = Status::Joining;
                entry.publisher = publisher;
                self.go(if self.without(Mutation::JoinUncounted) {
                    Label::ClaimLive
                } else {
                    Label::CountLoad
                });
            }
            Label::CountLoad if self.is_removed() && !self.without(Mutation::RemovedIgnored) => {
                self.leave(After::ClaimFailed);
            }
            Label::CountLoad => {
                self.me().seen = self.dir().life;
                self.go(Label::CountCas);
            }
            Label::CountCas => {
                let (seen, ignored) = (self.me().seen, self.without(Mutation::RemovedIgnored));
                let early = self.without(Mutation::LiveBeforeLock);
                let dir = self.dir();
                if dir.life != seen || dir.removed && !ignored {
                    return self.go(Label::CountLoad);
                }
                dir.life += 1;
                if early {
                    self.me().scan = 0;
                    return self.dead_next();
                }
                self.go(Label::ClaimLive);
            }
            _ => {
                self.entry(q).status = Status::Live;
                self.me().scan = 0;
                self.dead_next();
            }
        }
    }

    fn recover_dead(&mut self) {
        let (at, q, id) = (self.at(), self.me().scan - 1, self.id());
        let unlocked = self.without(Mutation::RecoverUnlocked);
        let entry = self.entry(q);
        match at {
            Label::DeadStatus if entry.status == Status::Free => self.dead_next(),
            Label::DeadStatus => self.go(Label::DeadLock),
            Label::DeadLock if entry.lock != 0 && !unlocked => self.dead_next(),
            Label::DeadLock => {
                entry.lock = if entry.lock == 0 { id } else { entry.lock };
                self.me().target = q;
                self.call(Label::RecoverStatus, After::Dead);
            }
            _ => {
                entry.lock = if entry.lock == id { 0 } else { entry.lock };
                self.dead_next();
            }
        }
    }

    fn be_inside(&mut self) {
        let Process { q, publisher, .. } = *self.me();
        let q = q.expect("it has an entry");
        match self.at() {
            Label::Work => {
                self.entry(q).has = true;
                self.dir().segment |= publisher;
                self.go(Label::Stay);
            }
            Label::Stay => self.leave(After::Left),
            _ => {
                let id = self.id();
                let entry = self.entry(q);
                entry.lock = if entry.lock == id { 0 } else { entry.lock };
                if self.without(Mutation::LeaveUnlocksFirst) {
                    self.call(Label::RecoverStatus, After::LeaveRecovered);
                } else if std::mem::take(&mut self.me().failed) {
                    self.left();
                } else {
                    self.call(Label::DesertedLife, After::LeaveDeserted);
                }
            }
        }
    }
}
