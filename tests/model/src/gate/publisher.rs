// SPDX-License-Identifier: MIT OR Apache-2.0
//! A publisher's steps: `loan`, `publish`, the look at the gate, `wait_at_gate`.

use super::step::Run;
use super::*;

impl Run<'_> {
    pub(super) fn publisher(&mut self) {
        match self.at() {
            Label::ReclaimSlot | Label::Evict => self.reclaim(),
            Label::PublishTail | Label::PublishSlot | Label::PublishHelp => self.publish(),
            Label::PublishCas | Label::PublishAdvance => self.publish_end(),
            Label::GateJoined | Label::GateStatus | Label::GateCursor => self.each_gate(),
            Label::DeadStatus | Label::DeadLock | Label::DeadUnlock => self.dead(),
            _ => self.wait(),
        }
    }

    /// One message is published, or given up.
    fn next_message(&mut self) {
        self.me().todo -= 1;
        self.forget();
        match self.me() {
            Process { todo: 0, .. } => *self.me() = Process::default(),
            Process { chunks: 0, .. } => self.go(Label::ReclaimSlot),
            me => {
                me.chunks -= 1;
                self.start();
            }
        }
    }

    /// What a try knew is of no use to the next.
    fn forget(&mut self) {
        let me = self.me();
        (me.tail, me.slot, me.position, me.joined, me.live) = Default::default();
        (me.oldest, me.gating, me.wakes, me.scan) = Default::default();
    }

    fn reclaim(&mut self) {
        let (at, id, position) = (self.at(), self.id(), self.me().published[0]);
        let slot = &mut self.state.slots[(position % SLOTS) as usize];
        let there = *slot == Slot { tag: position / SLOTS, chunk: id };
        if at == Label::ReclaimSlot && there {
            return if self.without(Mutation::EvictedUnread) {
                self.go(Label::Evict)
            } else {
                self.call(Label::EndTail, After::Evict)
            };
        }
        if there {
            slot.chunk = 0;
        }
        let me = self.me();
        me.published.rotate_left(1);
        me.published[2] = 0;
        self.start();
    }

    /// A try to publish.
    fn start(&mut self) {
        self.forget();
        if self.without(Mutation::LookBeforeTail) {
            return self.look(u8::MAX, After::Publish);
        }
        self.go(Label::PublishTail);
    }

    fn publish(&mut self) {
        let position = self.me().tail.max(SLOTS);
        match self.at() {
            Label::PublishTail => {
                self.me().tail = self.state.tail;
                self.go(Label::PublishSlot);
            }
            Label::PublishSlot => {
                let slot = self.state.slot(position);
                self.me().slot = slot;
                match (position / SLOTS).cmp(&slot.tag) {
                    std::cmp::Ordering::Greater if position < self.me().limit => self.go(Label::PublishCas),
                    std::cmp::Ordering::Greater if self.without(Mutation::LookBeforeTail) => {
                        let me = self.me();
                        me.oldest = me.oldest.min(position);
                        me.position = position;
                        self.looked(After::Publish);
                    }
                    std::cmp::Ordering::Greater => self.look(position, After::Publish),
                    std::cmp::Ordering::Equal => self.go(Label::PublishHelp),
                    std::cmp::Ordering::Less => self.start(),
                }
            }
            _ => {
                self.advance(position);
                self.start();
            }
        }
    }

    fn advance(&mut self, position: u8) {
        if self.state.tail == self.me().tail {
            self.state.tail = position + 1;
        }
    }

    fn publish_end(&mut self) {
        let (id, Process { tail, slot, chunks, todo, .. }) = (self.id(), *self.me());
        let position = tail.max(SLOTS);
        if self.at() == Label::PublishAdvance {
            self.advance(position);
            return self.next_message();
        }
        if self.state.slot(position) != slot {
            return self.start();
        }
        self.state.slots[(position % SLOTS) as usize] = Slot { tag: position / SLOTS, chunk: id };
        // Who has chunks for all that it has to say needs none back.
        if chunks + 1 < todo {
            let published = &mut self.me().published;
            let end = published.iter().position(|&position| position == 0).expect("three are enough");
            published[end] = position;
        }
        self.go(Label::PublishAdvance);
    }

    /// Looks at the gate, having seen that all is filled before `position`.
    fn look(&mut self, position: u8, after: After) {
        let me = self.me();
        (me.position, me.oldest, me.gating) = (position, position, 0);
        self.call(Label::GateJoined, after);
    }

    fn each_gate(&mut self) {
        let Process { scan, position, .. } = *self.me();
        match self.at() {
            Label::GateJoined => {
                let me = &mut self.state.processes[self.p];
                (me.joined, me.scan) = (self.state.joined, 0);
                self.gate_next();
            }
            Label::GateStatus => {
                let Entry { status, reliable, .. } = *self.entry(scan);
                let gates = match status {
                    Status::Free => false,
                    Status::Joining => !self.without(Mutation::JoiningIgnored),
                    Status::Live => true,
                    Status::Recovering => self.without(Mutation::RecoveringCounts),
                };
                self.me().live = status == Status::Live;
                if reliable && gates {
                    return self.go(Label::GateCursor);
                }
                self.me().scan += 1;
                self.gate_next();
            }
            _ => {
                let cursor = self.entry(scan).cursor;
                let all = self.without(Mutation::LookBeforeTail);
                // One that is LIVE and further back is damaged.
                if all || !self.me().live || cursor + SLOTS >= position {
                    if cursor < SLOTS {
                        self.state.fault = Some(Fault::FalseFull);
                    }
                    let me = self.me();
                    me.oldest = me.oldest.min(cursor);
                    me.gating |= u8::from(cursor + SLOTS <= position) << scan;
                }
                self.me().scan += 1;
                self.gate_next();
            }
        }
    }

    fn gate_next(&mut self) {
        let me = self.me();
        me.live = false;
        if me.scan < me.joined {
            return self.go(Label::GateStatus);
        }
        (me.scan, me.joined) = (0, 0);
        let after = std::mem::take(&mut me.after);
        if after == After::Publish && self.without(Mutation::LookBeforeTail) {
            return self.go(Label::PublishTail);
        }
        self.looked(after);
    }

    /// The look at the gate is over.
    fn looked(&mut self, after: After) {
        let Process { oldest, position, published, gating, .. } = *self.me();
        if !matches!(after, After::Dead) {
            self.me().gating = 0;
        }
        match after {
            After::Evict if published[0] < oldest => self.go(Label::Evict),
            // The loan fails.
            After::Evict => self.next_message(),
            After::Dead if gating != 0 => self.go(Label::DeadStatus),
            After::Dead => self.prepare_to_wait(),
            _ => {
                let further = self.without(Mutation::LimitTooFar)
                    || self.without(Mutation::LimitTooFarAlone) && oldest == position;
                let limit = oldest + SLOTS + u8::from(further);
                self.me().limit = limit;
                match (after, position < limit) {
                    (After::Publish, true) => self.go(Label::PublishCas),
                    (After::Publish, false) => self.refused(),
                    (_, true) => self.start(),
                    (_, false) => self.shut(),
                }
            }
        }
    }

    /// `Ring::end` returns to one who is about to look at the gate.
    pub(super) fn ended(&mut self) {
        let me = self.me();
        let (end, after) = (std::mem::take(&mut me.end), me.after);
        if after == After::Open && end < me.limit {
            return self.start();
        }
        self.look(end, after);
    }

    /// The gate is shut.
    fn refused(&mut self) {
        if self.me().waits {
            return self.look_for_dead();
        }
        self.me().chunks += 1;
        self.next_message();
    }

    /// `wait_at_gate`, a round of it.
    pub(super) fn look_for_dead(&mut self) {
        self.forget();
        if self.without(Mutation::DeadNotLookedFor) {
            return self.prepare_to_wait();
        }
        self.call(Label::EndTail, After::Dead);
    }

    fn dead(&mut self) {
        let (at, id, gating) = (self.at(), self.id(), self.me().gating);
        let q = gating.trailing_zeros() as u8;
        let entry = self.entry(q);
        match at {
            Label::DeadStatus if entry.status != Status::Free => return self.go(Label::DeadLock),
            Label::DeadLock if entry.lock == 0 => {
                entry.lock = id;
                self.me().target = q;
                return self.call(Label::RecoverStatus, After::Dead);
            }
            Label::DeadUnlock => entry.lock = 0,
            _ => {}
        }
        self.me().gating &= gating - 1;
        if self.me().gating == 0 {
            return self.prepare_to_wait();
        }
        self.go(Label::DeadStatus);
    }

    /// `recover` returns.
    pub(super) fn recovered(&mut self) {
        self.me().target = 0;
        self.go(Label::DeadUnlock);
    }

    fn prepare_to_wait(&mut self) {
        self.forget();
        self.go(if self.without(Mutation::WakesReadLast) { Label::WaitSay } else { Label::WaitWakes });
    }

    fn shut(&mut self) {
        self.go(match () {
            () if self.without(Mutation::WaitingSaidLast) => Label::WaitSay,
            () if self.without(Mutation::WakesReadLast) => Label::WaitWakes,
            () => Label::Sleep,
        });
    }

    fn wait(&mut self) {
        match self.at() {
            Label::WaitWakes => {
                self.me().wakes = self.state.wakes;
                if self.without(Mutation::WakesReadLast) {
                    return self.go(Label::Sleep);
                }
                if self.without(Mutation::WaitingSaidLast) {
                    return self.call(Label::EndTail, After::Open);
                }
                self.go(Label::WaitSay);
            }
            Label::WaitSay => {
                self.state.waiting = true;
                if self.without(Mutation::WaitingSaidLast) {
                    return self.go(Label::Sleep);
                }
                self.call(Label::EndTail, After::Open);
            }
            Label::Sleep if self.state.wakes == self.me().wakes => {
                self.forget();
                self.go(Label::Asleep);
            }
            _ => self.look_for_dead(),
        }
    }
}
