// SPDX-License-Identifier: MIT OR Apache-2.0
//! The way in, up to an entry: `join`, `someone_is_live`, `remove_if_deserted`, `take_entry`.

use super::step::Run;
use super::*;

impl Run<'_> {
    fn take_next(&mut self) {
        let me = self.me();
        me.scan += 1;
        // Free ones, then the others.
        let (over, look) = (me.scan == 2 * ENTRIES as u8, me.look);
        if !over {
            return self.go(Label::TakeStatus);
        }
        let failed = me.failed;
        me.scan = 0;
        me.look = 1;
        match (failed, look) {
            (true, _) => self.go(Label::TakeIsRemoved),
            (false, 0) => self.go(Label::TakeStatus),
            (false, _) => self.go(Label::TakeLooks),
        }
    }

    fn live_next(&mut self) {
        self.me().scan += 1;
        let over = self.me().scan == ENTRIES as u8;
        self.go(if over { Label::IsRemovedToo } else { Label::LiveStatus });
    }

    pub(super) fn is_removed(&mut self) -> bool {
        self.dir().removed
    }

    pub(super) fn join(&mut self) {
        match self.at() {
            Label::OpenDir => match self.state.named(Name::Topic) {
                None => self.create(),
                found => {
                    self.me().dir = found;
                    self.go(Label::OpenPeers);
                }
            },
            Label::OpenPeers => match self.dir().peers {
                File::Absent => {
                    self.me().remains = true;
                    self.call(Label::DeleteNames, After::JoinDeleted);
                }
                File::Blank => self.fault(Fault::FalseError),
                File::Whole => self.go(Label::IsRemoved),
            },
            Label::IsRemoved => {
                let removed = self.is_removed();
                self.go(if removed { Label::LiveStatus } else { Label::IsRemovedToo });
            }
            _ if self.is_removed() => self.call(Label::DeleteNames, After::JoinDeleted),
            _ => self.call(Label::DesertedLife, After::JoinDeserted),
        }
    }

    pub(super) fn someone_is_live(&mut self) {
        let (scan, id) = (self.me().scan, self.id());
        let any = self.without(Mutation::LiveNotAsked);
        let Entry { status, lock, .. } = *self.entry(scan);
        let live = status == Status::Live || any;
        match self.at() {
            Label::LiveStatus if live => self.go(Label::LiveLock),
            Label::LiveLock if lock != 0 && lock != id => self.go(Label::LiveAgain),
            Label::LiveAgain if live => self.fault(Fault::FalseError),
            _ => self.live_next(),
        }
    }

    pub(super) fn join_ring(&mut self) {
        if self.at() == Label::IsRemovedAfterRing {
            return if self.is_removed() { self.create() } else { self.fault(Fault::FalseError) };
        }
        self.me().scan = 0;
        let whole = self.dir().ring == File::Whole;
        self.go(if whole { Label::TakeStatus } else { Label::IsRemovedAfterRing });
    }

    pub(super) fn remove_if_deserted(&mut self) {
        let late = self.without(Mutation::LifeReadAfterLocks);
        let first = if late { Label::DesertedLocks } else { Label::DesertedLife };
        let at = match self.at() {
            // The same two looks in the other order.
            Label::DesertedLife if late => Label::DesertedLocks,
            Label::DesertedLocks if late => Label::DesertedLife,
            at => at,
        };
        let id = self.id();
        let Dir { removed, life, .. } = *self.dir();
        match at {
            Label::DesertedLife if removed => self.give_back(true),
            Label::DesertedLife => {
                self.me().seen = life;
                self.go(if first == at { Label::DesertedLocks } else { Label::DesertedMark });
            }
            Label::DesertedLocks if self.dir().others_alive(id) && !self.without(Mutation::LocksNotAsked) => {
                self.give_back(false);
            }
            Label::DesertedLocks => {
                self.go(if first == at { Label::DesertedLocks } else { Label::DesertedMark })
            }
            _ => {
                let same = self.me().seen == life && !removed || self.without(Mutation::RemovedUnchecked);
                self.dir().removed |= same;
                self.give_back(same);
            }
        }
    }

    pub(super) fn take_entry(&mut self) {
        let (scan, id) = (self.me().scan, self.id());
        let (q, free_wanted) = (scan % ENTRIES as u8, scan < ENTRIES as u8);
        let (at, publisher) = (self.at(), self.me().publisher);
        let unlocked = self.without(Mutation::TakenUnlocked);
        let early = self.without(Mutation::LiveBeforeLock);
        let entry = self.entry(q);
        match at {
            Label::TakeStatus => {
                let wanted = (entry.status == Status::Free) == free_wanted;
                if !wanted {
                    return self.take_next();
                }
                self.go(Label::TakeLock);
                if early && free_wanted {
                    *self.entry(q) = Entry { status: Status::Live, publisher, ..*self.entry(q) };
                }
            }
            Label::TakeLock => {
                if entry.lock != 0 && !unlocked {
                    return self.take_next();
                }
                entry.lock = id;
                self.me().target = q;
                if early && free_wanted {
                    self.me().q = Some(q);
                    return self.go(Label::CountLoad);
                }
                self.call(Label::RecoverStatus, After::Take);
            }
            _ => {
                entry.lock = 0;
                self.take_next();
            }
        }
    }

    pub(super) fn take_no_entry(&mut self) {
        if self.at() == Label::TakeLooks {
            let scan = self.me().scan;
            let status = self.entry(scan).status;
            self.me().scan += 1;
            if matches!(status, Status::Free | Status::Recovering) {
                self.me().scan = 0;
                self.go(Label::TakeStatus);
            } else if self.me().scan == ENTRIES as u8 {
                self.go(Label::TakeIsRemoved);
            }
            return;
        }
        match (self.is_removed(), self.me().failed) {
            (true, _) => self.claimed(false),
            (false, true) => self.fault(Fault::FalseError),
            // All entries are taken by the living: its caller is told so.
            (false, false) => self.end(),
        }
    }
}
