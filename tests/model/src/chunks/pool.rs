// SPDX-License-Identifier: MIT OR Apache-2.0
//! A publisher's steps: `loan`, `reclaim`, `publish`, and the life of its segments.

use super::step::Run;
use super::*;

impl Run<'_> {
    fn chunks_of(&self, segment: usize) -> u8 {
        (0..self.model.chunks).fold(0, |mask, index| mask | bit(chunk(segment as u8, index)))
    }

    fn remove_published(&mut self) -> (u8, Chunk) {
        let published = &mut self.me().published;
        let first = published[0];
        published.rotate_left(1);
        published[3] = (0, 0);
        first
    }

    fn add_published(&mut self, position: u8, chunk: Chunk) {
        let published = &mut self.me().published;
        let end = published.iter().position(|&(_, chunk)| chunk == 0).expect("four are enough");
        published[end] = (position, chunk);
        published[..=end].sort_unstable();
    }

    fn reclaim(&mut self, after: After) {
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

    fn loan_scarce(&mut self) {
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

    fn destroy(&mut self, segment: usize, generation: u8, after: After) {
        self.call(after);
        self.me().part = segment as u8;
        self.me().word.generation = generation;
        self.go(if self.without(Mutation::DyingUnsaid) { Label::DestroyPunch } else { Label::DestroyDying });
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

    /// What the ring or a hold names isn't destroyed.
    fn need(&mut self, chunks: u8) {
        for segment in 0..SEGMENTS {
            if chunks & self.chunks_of(segment) != 0 {
                self.me().look |= 1 << segment;
            }
        }
    }

    /// Goes on with the next of the orphans that were taken, of which `look` says whether they are needed.
    fn orphans_next(&mut self) {
        let Process { dying, look, generations, .. } = *self.me();
        if dying == 0 {
            self.me().look = 0;
            self.me().generations = Default::default();
            return self.give_back();
        }
        let segment = dying.trailing_zeros() as usize;
        self.me().dying &= !(1 << segment);
        if look & (1 << segment) != 0 {
            self.me().part = segment as u8;
            return self.go(Label::OrphansGiveBack);
        }
        self.destroy(segment, generations[segment], After::OrphanDone);
    }

    fn adopt_next(&mut self) {
        self.me().scan += 1;
        let over = self.me().scan as usize == SEGMENTS;
        if over {
            self.scan(Label::MakeWord);
        } else {
            self.go(Label::AdoptWord);
        }
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

    fn take(&mut self, segment: usize, state: Owned) -> bool {
        let (word, owner) = (self.me().word, self.q());
        let unguarded = state == Owned::Ready && self.without(Mutation::AdoptedWithoutCas);
        if self.state.segments[segment] != word && !unguarded {
            return false;
        }
        self.state.segments[segment] = Word { state, owner, ..word };
        true
    }

    fn adopt(&mut self) {
        let Process { scan, part, word, .. } = *self.me();
        let segment = scan as usize;
        match self.at() {
            Label::AdoptWord => {
                let word = self.state.segments[segment];
                self.me().word = word;
                if word.state == Owned::Orphan && self.me().mapped[segment] == 0 {
                    return self.go(Label::AdoptTake);
                }
                self.adopt_next();
            }
            Label::AdoptTake if self.take(segment, Owned::Ready) => self.go(Label::AdoptOpen),
            Label::AdoptTake => self.adopt_next(),
            Label::AdoptOpen => match self.state.file(segment, word.generation) {
                // Its header went with its memory: of no use, but for `destroy_orphans`.
                Some(file) if self.state.files[file as usize].punched => self.go(Label::AdoptGiveBack),
                Some(file) => {
                    self.me().mapped[segment] = file + 1;
                    self.me().part = 0;
                    self.me().held = self.chunks_of(segment);
                    if self.without(Mutation::AdoptedRingUnseen) {
                        return self.adopted();
                    }
                    self.go(Label::AdoptRing);
                }
                None => self.destroy(segment, word.generation, After::AdoptGone),
            },
            _ => {
                let Slot { tag, chunk } = self.state.slots[part as usize];
                // In `held` are those that weren't found yet.
                if chunk != 0 && self.me().held & bit(chunk) != 0 {
                    self.me().held &= !bit(chunk);
                    self.add_published(tag * SLOTS + part, chunk);
                }
                self.me().part += 1;
                if self.me().part == SLOTS {
                    self.adopted();
                }
            }
        }
    }

    fn adopted(&mut self) {
        let at_once = self.without(Mutation::AdoptedFree);
        let me = self.me();
        let others = std::mem::take(&mut me.held);
        me.part = 0;
        if at_once {
            me.free |= others;
        } else {
            me.limbo |= others;
        }
        self.reclaim(After::Adopted);
    }

    fn make_segment(&mut self) {
        let Process { scan, word, .. } = *self.me();
        let (segment, owner) = (scan as usize, self.q());
        match self.at() {
            Label::MakeWord | Label::MakeTake => {
                let looked = self.at() == Label::MakeTake;
                if looked && self.take(segment, Owned::Creating) {
                    return self.go(Label::MakeFile);
                }
                let word = self.state.segments[segment];
                self.me().word = word;
                if !looked && word.state == Owned::Empty && self.me().mapped[segment] == 0 {
                    return self.go(Label::MakeTake);
                }
                self.me().scan += 1;
                self.go(Label::MakeWord);
                if self.me().scan as usize == SEGMENTS {
                    self.loan_scarce();
                }
            }
            Label::MakeFile => {
                if self.state.file(segment, word.generation).is_some() {
                    return self.fault(Fault::FalseError);
                }
                let known = |place: u8| {
                    self.state.processes.iter().any(|p| p.mapped.contains(&place) || p.pinned == place)
                };
                let unused =
                    (0..FILES).find(|&file| !self.state.files[file].linked && !known(file as u8 + 1));
                let file = unused.expect("files enough");
                let (segment, generation) = (segment as u8, word.generation);
                self.state.files[file] = File { linked: true, segment, generation, ..File::default() };
                self.me().mapped[segment as usize] = file as u8 + 1;
                self.go(Label::MakeReady);
            }
            _ => {
                self.state.segments[segment] = Word { state: Owned::Ready, owner, ..word };
                self.me().free |= self.chunks_of(segment);
                self.loan_scarce();
            }
        }
    }

    fn destroying(&mut self) {
        let Process { part, word, .. } = *self.me();
        let (segment, owner) = (part as usize, self.q());
        let empty_first = self.without(Mutation::EmptyFirst);
        let file = self.state.file(segment, word.generation);
        match self.at() {
            Label::DestroyDying => {
                self.state.segments[segment] = Word { state: Owned::Dying, owner, ..word };
                self.go(if empty_first { Label::DestroyEmpty } else { Label::DestroyPunch });
            }
            Label::DestroyPunch => {
                if let Some(file) = file {
                    let file = &mut self.state.files[file as usize];
                    (file.punched, file.content) = (true, [0; 2]);
                }
                self.go(Label::DestroyUnlink);
            }
            Label::DestroyUnlink => {
                if let Some(file) = file {
                    self.state.files[file as usize].linked = false;
                }
                if empty_first {
                    return self.give_back();
                }
                self.go(Label::DestroyEmpty);
            }
            _ => {
                let kept = self.without(Mutation::GenerationKept);
                let generation = word.generation + u8::from(!kept);
                self.state.segments[segment] = Word { state: Owned::Empty, owner: 0, generation };
                if empty_first {
                    return self.go(Label::DestroyPunch);
                }
                self.give_back();
            }
        }
    }

    fn orphans(&mut self) {
        let Process { scan, word, part, .. } = *self.me();
        let segment = scan as usize;
        match self.at() {
            Label::OrphansWord => {
                let word = self.state.segments[segment];
                self.me().word = word;
                if word.state == Owned::Orphan && self.me().mapped[segment] == 0 {
                    return self.go(Label::OrphansTake);
                }
                self.orphans_look();
            }
            Label::OrphansTake => {
                if self.take(segment, Owned::Dying) {
                    self.me().dying |= 1 << segment;
                    self.me().generations[segment] = word.generation;
                }
                self.orphans_look();
            }
            Label::OrphansRing => {
                let chunk = self.state.slots[segment].chunk;
                self.need(bit(chunk) & !bit(0));
                self.me().scan += 1;
                if self.me().scan == SLOTS {
                    self.orphans_holds();
                }
            }
            _ => {
                let (segment, generations) = (part as usize, self.me().generations);
                self.state.segments[segment] =
                    Word { state: Owned::Orphan, owner: 0, generation: generations[segment] };
                self.orphans_next();
            }
        }
    }

    fn orphans_look(&mut self) {
        self.me().scan += 1;
        let (over, dying) = (self.me().scan as usize == SEGMENTS, self.me().dying);
        match (over, dying) {
            (false, _) => self.go(Label::OrphansWord),
            (true, 0) => self.give_back(),
            _ => {
                self.me().look = 0;
                if self.without(Mutation::DestroyedRingUnseen) {
                    return self.orphans_holds();
                }
                self.scan(Label::OrphansRing);
            }
        }
    }

    fn orphans_holds(&mut self) {
        if self.without(Mutation::DestroyedHoldsUnseen) {
            return self.orphans_next();
        }
        self.me().held = 0;
        self.call(After::Referred);
        self.go(Label::HoldsJoined);
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
