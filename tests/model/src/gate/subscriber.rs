// SPDX-License-Identifier: MIT OR Apache-2.0
//! A subscriber's steps: `Reader::join`, `poll`, `pass_gate`.

use super::step::Run;
use super::*;

impl Run<'_> {
    /// The oldest position that `Reader::join` looks at.
    fn oldest(&mut self) -> u8 {
        self.me().start.saturating_sub(self.model.history.min(SLOTS)).max(SLOTS)
    }

    /// `Reader::join`: back from the start as far as there are messages.
    pub(super) fn read_history(&mut self) {
        self.me().scan = self.me().start;
        self.history_next();
    }

    fn history_next(&mut self) {
        let oldest = self.oldest();
        if self.me().scan <= oldest {
            self.me().scan = 0;
            return self.next_receive();
        }
        self.me().scan -= 1;
        self.go(Label::HistorySlot);
    }

    fn next_receive(&mut self) {
        if self.me().todo == 0 {
            return self.leave();
        }
        self.go(Label::PollSlot);
    }

    pub(super) fn read(&mut self) {
        let Process { start, next, scan, slot, .. } = *self.me();
        match self.at() {
            Label::HistorySlot => {
                let there = self.state.slot(scan);
                if there.tag == scan / SLOTS && there.chunk != 0 {
                    self.me().next = scan;
                }
                self.history_next();
            }
            Label::PollSlot => self.poll(),
            Label::PollTail => {
                self.me().slot = Slot::default();
                // Safely ahead of the publishers, as far as they don't wait for this one anyway.
                let ahead = (next + 1).max(self.state.tail - SLOTS + 1);
                let bound = self.without(Mutation::LappedBeyondStart) || next >= start;
                self.me().next = if bound { ahead } else { ahead.min(start) };
                if self.me().next > start {
                    self.state.fault = Some(Fault::Unread);
                }
                self.go(Label::PollSlot);
            }
            _ => {
                self.me().slot = Slot::default();
                if self.state.slot(next) != slot {
                    return self.go(Label::PollSlot);
                }
                self.pinned();
            }
        }
    }

    fn poll(&mut self) {
        let next = self.me().next;
        let slot = self.state.slot(next);
        match (next / SLOTS).cmp(&slot.tag) {
            // Nobody publishes any more.
            std::cmp::Ordering::Greater => self.leave(),
            std::cmp::Ordering::Less => self.go(Label::PollTail),
            _ if slot.chunk == 0 => self.me().next += 1,
            _ => {
                self.me().slot = slot;
                if self.without(Mutation::CursorBeforePin) {
                    return self.call(Label::PassCursor, After::Received);
                }
                self.go(Label::Pin);
            }
        }
    }

    fn pinned(&mut self) {
        let me = self.me();
        me.next += 1;
        me.todo -= 1;
        let of_the_history = me.next <= me.start;
        if of_the_history && !self.without(Mutation::CursorGoesBack)
            || self.without(Mutation::CursorBeforePin)
        {
            return self.next_receive();
        }
        let first =
            if self.without(Mutation::WaitingReadFirst) { Label::PassWaiting } else { Label::PassCursor };
        self.call(first, After::Received);
    }

    /// `pass_gate` returns.
    pub(super) fn received(&mut self) {
        if self.without(Mutation::CursorBeforePin) {
            return self.go(Label::Pin);
        }
        self.next_receive();
    }

    pub(super) fn pass(&mut self) {
        let Process { next, after, saw_waiting, .. } = *self.me();
        let waiting = self.state.waiting;
        let asked = self.without(Mutation::WaitingReadFirst) && after == After::Received;
        let early = self.without(Mutation::CursorBeforePin);
        match self.at() {
            Label::PassCursor => {
                self.mine().cursor = next + u8::from(early);
                self.me().saw_waiting = false;
                match (asked, saw_waiting) {
                    (false, _) => self.go(Label::PassWaiting),
                    (true, true) => self.go(Label::PassTake),
                    (true, false) => self.give_back(),
                }
            }
            Label::PassWaiting if asked => {
                self.me().saw_waiting = waiting;
                self.go(Label::PassCursor);
            }
            Label::PassTake if waiting => {
                self.state.waiting = false;
                self.go(Label::PassCount);
            }
            Label::PassWaiting if waiting => self.go(Label::PassTake),
            _ => self.give_back(),
        }
    }

    pub(super) fn wake(&mut self) {
        if self.at() == Label::PassCount {
            let counted = !self.without(Mutation::WakesUncounted);
            self.state.wakes += u8::from(counted);
            return self.go(Label::PassWake);
        }
        for p in 0..PROCESSES {
            if self.state.processes[p].at == Label::Asleep {
                Run { state: &mut *self.state, p, model: self.model }.look_for_dead();
            }
        }
        self.give_back();
    }
}
