// SPDX-License-Identifier: MIT OR Apache-2.0
//! A publisher's steps: `loan`, `reclaim`, `publish`.

use super::step::Run;
use super::*;

impl Run<'_> {
    fn remove_published(&mut self) -> (u8, Chunk) {
        let published = &mut self.me().published;
        let first = published[0];
        published.rotate_left(1);
        published[3] = (0, 0);
        first
    }

    pub(super) fn add_published(&mut self, position: u8, chunk: Chunk) {
        let published = &mut self.me().published;
        let end = published.iter().position(|&(_, chunk)| chunk == 0).expect("four are enough");
        published[end] = (position, chunk);
        published[..=end].sort_unstable();
    }

    pub(super) fn reclaim(&mut self, after: After) {
        self.call(after);
        if self.without(Mutation::HoldsFirst) {
            self.me().held = 0;
            self.call(After::Reclaimed);
            self.go(Label::HoldsJoined);
        } else {
            self.see_slots();
        }
    }

    fn see_slots(&mut self) {
        let Process { published, limbo, .. } = *self.me();
        if published[0].1 != 0 {
            self.go(Label::ReclaimSlot);
        } else {
            self.seen_slots(limbo);
        }
    }

    fn seen_slots(&mut self, limbo: u8) {
        if self.without(Mutation::HoldsFirst) || self.without(Mutation::HoldsUnscanned) {
            return self.free_limbo();
        }
        if limbo == 0 {
            return self.give_back();
        }
        self.me().held = 0;
        self.call(After::Reclaimed);
        self.go(Label::HoldsJoined);
    }

    fn free_limbo(&mut self) {
        let me = self.me();
        me.free |= me.limbo & !me.held;
        me.limbo &= me.held;
        me.held = 0;
        self.give_back();
    }

    fn loan(&mut self) {
        let Process { todo, free, withdraws, .. } = *self.me();
        match (todo, free) {
            (0, _) if withdraws && self.me().published[0].1 != 0 => self.go(Label::Evict),
            (0, _) => self.reclaim(After::LeaveReclaimed),
            (_, 0) => self.reclaim(After::LoanReclaimed),
            _ => self.loaned(),
        }
    }

    fn loaned(&mut self) {
        let me = self.me();
        me.loan = me.free.trailing_zeros() as u8;
        me.free &= !bit(me.loan);
        me.scarce = false;
        self.go(Label::Fill);
    }

    fn grow(&mut self) {
        let owned = self.me().mapped.iter().filter(|&&file| file != 0).count();
        if owned < self.model.budget as usize {
            self.scan(Label::AdoptWord);
        } else {
            self.loan_scarce();
        }
    }

    pub(super) fn loan_scarce(&mut self) {
        let Process { free, published, scarce, limbo, .. } = *self.me();
        if free != 0 {
            self.loaned();
        } else if !scarce && (limbo != 0 || published[0].1 == 0) {
            self.me().scarce = true;
            self.call(After::ScarceDead);
            self.recover_dead();
        } else if published[0].1 != 0 {
            self.go(Label::Evict);
        } else {
            // Out of memory: the caller gives up this message.
            self.me().scarce = false;
            let last = self.me().last;
            if last {
                return self.fault(Fault::Stuck);
            }
            self.me().todo -= 1;
            self.loan();
        }
    }

    pub(super) fn pool_returns(&mut self, after: After) {
        match after {
            After::PoolMade
            | After::ScarceReclaimed
            | After::ScarceOrphans
            | After::Adopted
            | After::Evicted => match after {
                After::PoolMade => self.loan(),
                After::ScarceReclaimed => {
                    self.call(After::ScarceOrphans);
                    self.scan(Label::OrphansWord);
                }
                After::Evicted if self.me().todo == 0 => self.loan(),
                _ => self.loan_scarce(),
            },
            After::Reclaimed if self.without(Mutation::HoldsFirst) => self.see_slots(),
            After::Reclaimed => self.free_limbo(),
            After::Referred => {
                let held = std::mem::take(&mut self.me().held);
                self.need(held);
                self.orphans_next();
            }
            After::OrphanDone => self.orphans_next(),
            After::LoanReclaimed if self.me().free != 0 => self.loaned(),
            After::LoanReclaimed => self.grow(),
            After::AdoptGone => self.adopt_next(),
            After::ScarceDead if self.me().found_dead => self.reclaim(After::ScarceReclaimed),
            After::ScarceDead => self.loan_scarce(),
            After::LeaveReclaimed | After::LeaveDestroyed => self.leave_pool(),
            _ => unreachable!("{after:?} is not the pool's"),
        }
    }

    /// `destroy_free_segments`, then the topic is left.
    fn leave_pool(&mut self) {
        let Process { free, mapped, last, limbo, .. } = *self.me();
        if last && limbo != 0 {
            return self.fault(Fault::LeftBehind);
        }
        for (segment, file) in mapped.into_iter().enumerate() {
            let all = self.chunks_of(segment);
            if file != 0 && free & all == all {
                self.me().free &= !all;
                self.me().mapped[segment] = 0;
                let generation = self.state.files[file as usize - 1].generation;
                return self.destroy(segment, generation, After::LeaveDestroyed);
            }
        }
        let me = self.me();
        (me.free, me.limbo, me.published, me.mapped) = Default::default();
        self.leave();
    }

    pub(super) fn pool(&mut self) {
        match self.at() {
            Label::ReclaimSlot => self.reclaim_slot(),
            Label::HoldsJoined | Label::HoldsStatus | Label::HoldsWord => self.each_hold(),
            Label::AdoptWord | Label::AdoptTake | Label::AdoptOpen | Label::AdoptRing => self.adopt(),
            Label::AdoptGiveBack => {
                let Process { scan, word, .. } = *self.me();
                self.state.segments[scan as usize] = word;
                self.adopt_next();
            }
            Label::MakeWord | Label::MakeTake | Label::MakeFile | Label::MakeReady => self.make_segment(),
            Label::OrphansWord | Label::OrphansTake | Label::OrphansRing | Label::OrphansGiveBack => {
                self.orphans()
            }
            Label::Evict => self.evict(),
            Label::Fill | Label::PublishTail | Label::PublishSlot | Label::PublishHelp => self.publish(),
            Label::PublishStamp | Label::PublishCas | Label::PublishAdvance => self.publish_end(),
            _ => self.destroying(),
        }
    }

    fn reclaim_slot(&mut self) {
        let (position, chunk) = self.me().published[0];
        let there = Slot { tag: position / SLOTS, chunk };
        if self.state.slots[(position % SLOTS) as usize] == there {
            let limbo = self.me().limbo;
            return self.seen_slots(limbo);
        }
        self.remove_published();
        self.me().limbo |= bit(chunk);
        self.see_slots();
    }

    fn each_hold(&mut self) {
        let scan = self.me().part;
        match self.at() {
            Label::HoldsJoined => {
                self.me().part = 0;
                self.me().tail = self.state.joined;
                self.go(Label::HoldsStatus);
            }
            Label::HoldsStatus => {
                let Entry { status, publisher, .. } = *self.entry(scan);
                if status != Status::Free && !publisher {
                    return self.go(Label::HoldsWord);
                }
                self.holds_next();
            }
            _ => {
                let hold = self.entry(scan).hold;
                self.me().held |= bit(hold) & !bit(0);
                self.holds_next();
            }
        }
    }

    fn holds_next(&mut self) {
        self.me().part += 1;
        let Process { part, tail, .. } = *self.me();
        if part < tail {
            return self.go(Label::HoldsStatus);
        }
        (self.me().part, self.me().tail) = (0, 0);
        self.give_back();
    }

    fn evict(&mut self) {
        let (position, chunk) = self.remove_published();
        let slot = &mut self.state.slots[(position % SLOTS) as usize];
        if *slot == (Slot { tag: position / SLOTS, chunk }) {
            slot.chunk = 0;
        }
        self.me().limbo |= bit(chunk);
        self.reclaim(After::Evicted);
    }

    fn content(&mut self) -> &mut u8 {
        let Process { loan, mapped, .. } = *self.me();
        &mut self.state.files[mapped[segment_of(loan)] as usize - 1].content[index_of(loan)]
    }

    fn publish(&mut self) {
        let Process { position, tail, .. } = *self.me();
        match self.at() {
            Label::Fill => {
                *self.content() = TORN;
                self.go(Label::PublishTail);
            }
            Label::PublishTail => {
                let tail = self.state.tail;
                self.me().tail = tail;
                self.me().position = tail.max(SLOTS);
                self.go(Label::PublishSlot);
            }
            Label::PublishSlot => {
                let slot = self.state.slots[(position % SLOTS) as usize];
                self.me().slot = slot;
                match (position / SLOTS).cmp(&slot.tag) {
                    std::cmp::Ordering::Greater => self.go(Label::PublishStamp),
                    std::cmp::Ordering::Equal if self.without(Mutation::NotHelped) => {
                        // Goes on where the ring has room, whatever the hint says.
                        self.me().position += 1;
                    }
                    std::cmp::Ordering::Equal => self.go(Label::PublishHelp),
                    std::cmp::Ordering::Less if self.state.tail == tail => self.fault(Fault::FalseError),
                    std::cmp::Ordering::Less => self.go(Label::PublishTail),
                }
            }
            _ => {
                if self.state.tail == tail {
                    self.state.tail = position + 1;
                }
                self.go(Label::PublishTail);
            }
        }
    }

    fn publish_end(&mut self) {
        let Process { position, tail, slot, loan, .. } = *self.me();
        match self.at() {
            Label::PublishStamp => {
                *self.content() = position;
                self.go(Label::PublishCas);
            }
            Label::PublishCas => {
                let place = (position % SLOTS) as usize;
                if self.state.slots[place] != slot {
                    return self.go(Label::PublishTail);
                }
                let Word { state, owner, .. } = self.state.segments[segment_of(loan)];
                if (state, owner) != (Owned::Ready, self.q()) {
                    return self.fault(Fault::NotTheOwner);
                }
                self.state.slots[place] = Slot { tag: position / SLOTS, chunk: loan };
                self.add_published(position, loan);
                self.me().loan = 0;
                self.go(Label::PublishAdvance);
            }
            _ => {
                if self.state.tail == tail {
                    self.state.tail = position + 1;
                }
                let me = self.me();
                (me.tail, me.position, me.slot) = Default::default();
                me.todo -= 1;
                self.loan();
            }
        }
    }
}
