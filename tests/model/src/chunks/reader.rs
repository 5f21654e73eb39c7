// SPDX-License-Identifier: MIT OR Apache-2.0
//! A subscriber's steps: `poll`, `pin`, `Views::message`, release, sleep.

use super::step::Run;
use super::*;

/// How often one call looks again after it was lapped.
const TRIES: u8 = 3;

impl Run<'_> {
    fn slot(&self, position: u8) -> Slot {
        self.state.slots[(position % SLOTS) as usize]
    }

    /// One receive is over.
    fn received(&mut self) {
        self.me().tries = 0;
        self.me().slot = Slot::default();
        self.me().word = Word::default();
        self.me().todo -= 1;
        self.next_receive();
    }

    fn next_receive(&mut self) {
        if self.me().todo == 0 {
            self.me().mapped = Default::default();
            return self.leave();
        }
        self.go(Label::PollSlot);
    }

    pub(super) fn poll(&mut self) {
        let next = self.me().position;
        match self.at() {
            Label::JoinTail => {
                // With history: from the oldest that may be there.
                self.me().position = self.state.tail.saturating_sub(SLOTS).max(SLOTS);
                self.next_receive();
            }
            Label::PollSlot => {
                let slot = self.slot(next);
                self.me().slot = slot;
                self.me().tries += 1;
                if self.me().tries > TRIES {
                    return self.received();
                }
                match (next / SLOTS).cmp(&slot.tag) {
                    std::cmp::Ordering::Greater => self.go(Label::SleepBit),
                    std::cmp::Ordering::Less => self.go(Label::PollTail),
                    _ if slot.chunk == 0 => self.me().position += 1,
                    _ => self.go(Label::PinHold),
                }
            }
            _ => {
                let (tail, slot) = (self.state.tail, self.me().slot);
                if tail < slot.tag * SLOTS + next % SLOTS {
                    return self.fault(Fault::FalseError);
                }
                self.me().position = (next + 1).max(tail - SLOTS + 1);
                self.go(Label::PollSlot);
            }
        }
    }

    pub(super) fn pin(&mut self) {
        let (q, Process { slot, position, .. }) = (self.q(), *self.me());
        match self.at() {
            Label::PinHold => {
                self.entry(q).hold = slot.chunk;
                self.go(if self.without(Mutation::Unvalidated) { Label::ViewWord } else { Label::PinSlot });
            }
            Label::PinSlot if self.slot(position) == slot => self.go(Label::ViewWord),
            Label::PinSlot => self.go(Label::PinClear),
            _ => {
                self.entry(q).hold = 0;
                self.go(Label::PollSlot);
            }
        }
    }

    pub(super) fn read(&mut self) {
        let (q, Process { slot, position, mapped, word, .. }) = (self.q(), *self.me());
        let segment = segment_of(slot.chunk.max(1));
        match self.at() {
            Label::ViewWord => {
                let word = self.state.segments[segment];
                self.me().word = word;
                let same = mapped[segment] != 0
                    && self.state.files[mapped[segment] as usize - 1].generation == word.generation;
                self.go(if same { Label::Read } else { Label::ViewOpen });
            }
            Label::ViewOpen => match self.state.file(segment, word.generation) {
                Some(file) => {
                    self.me().mapped[segment] = file + 1;
                    self.go(Label::Read);
                }
                None => self.fault(Fault::FileGone),
            },
            Label::Read => {
                let file = self.state.files[mapped[segment] as usize - 1];
                if file.punched || file.content[index_of(slot.chunk)] != position {
                    return self.fault(Fault::Torn);
                }
                self.me().pinned = mapped[segment];
                self.go(Label::Release);
            }
            _ => {
                self.entry(q).hold = 0;
                self.me().pinned = 0;
                self.me().position += 1;
                self.received();
            }
        }
    }

    pub(super) fn sleep(&mut self) {
        let (q, position) = (self.q(), self.me().position);
        match self.at() {
            Label::SleepBit => {
                self.entry(q).waits = true;
                self.go(Label::SleepSlot);
            }
            Label::SleepSlot => {
                let _ = self.slot(position);
                self.go(Label::SleepClear);
            }
            _ => {
                self.entry(q).waits = false;
                self.received();
            }
        }
    }
}
