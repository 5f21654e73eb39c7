// SPDX-License-Identifier: MIT OR Apache-2.0
//! The life of a publisher's segments: `adopt_orphan`, `make_segment`, `destroy`, `destroy_orphans`.

use super::step::Run;
use super::*;

impl Run<'_> {
    pub(super) fn chunks_of(&self, segment: usize) -> u8 {
        (0..self.model.chunks).fold(0, |mask, index| mask | bit(chunk(segment as u8, index)))
    }

    pub(super) fn destroy(&mut self, segment: usize, generation: u8, after: After) {
        self.call(after);
        self.me().part = segment as u8;
        self.me().word.generation = generation;
        self.go(if self.without(Mutation::DyingUnsaid) { Label::DestroyPunch } else { Label::DestroyDying });
    }

    /// What the ring or a hold names isn't destroyed.
    pub(super) fn need(&mut self, chunks: u8) {
        for segment in 0..SEGMENTS {
            if chunks & self.chunks_of(segment) != 0 {
                self.me().look |= 1 << segment;
            }
        }
    }

    /// Goes on with the next of the orphans that were taken, of which `look` says whether they are needed.
    pub(super) fn orphans_next(&mut self) {
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

    pub(super) fn adopt_next(&mut self) {
        self.me().scan += 1;
        let over = self.me().scan as usize == SEGMENTS;
        if over {
            self.scan(Label::MakeWord);
        } else {
            self.go(Label::AdoptWord);
        }
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

    pub(super) fn adopt(&mut self) {
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

    pub(super) fn make_segment(&mut self) {
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

    pub(super) fn destroying(&mut self) {
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

    pub(super) fn orphans(&mut self) {
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
}
