// SPDX-License-Identifier: MIT OR Apache-2.0
//! A call: the words in its client's entry that say what has become of it.
//!
//! ```text
//!   state     {token: 32 | 0: 12 | kind: 4 | argument: 16}, or when it is answered {token: 32 | chunk: 32}: a chunk's first 12 bits
//!             are its segment, which is never 0
//!   request   the request's chunk; stands still while the call is QUEUED or CLAIMED
//!   waiting   not 0: the client sleeps until the state changes
//!   eager     {token: 32 | 0: 30 | given up: 1 | asleep: 1}: a server sleeps until the client has taken a reply of a stream; or has
//!             given the stream up, and the client that wants more of it learns that here
//! ```
//!
//! See `rpc/mod.rs` for the states. All changes of `state` are read-modify-writes with AcqRel at least, so that each sees all that came
//! before the one before: the request before QUEUED, a hold before CLAIMED, the reply before ANSWERED, the end of a hold before IDLE.

use crate::ring::{ChunkId, INDEX_BITS};
use crate::sync::{barrier_after_rmw, store_then_barrier, Ordering, Word};

/// Words of a call, of which the last are reserved: one cache line.
pub(crate) const WORDS: usize = 8;
/// Calls that a client can have in flight at most.
pub(crate) const MAX_CALLS: u32 = 256;

/// Why a call failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Failure {
    /// Its server died, or left.
    Died,
    /// Its server gave it up without a reply.
    Dropped,
    /// Not a reason: the word was damaged.
    Unknown,
}

/// What has become of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    Idle,
    Queued,
    /// By this participant.
    Claimed(u32),
    Answered(ChunkId),
    Failed(Failure),
    /// Not a state: the word was damaged.
    Unknown,
}

/// A state word, taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct State {
    pub(crate) token: u32,
    pub(crate) stage: Stage,
}

const KIND: u32 = 16;
const GIVEN_UP: u64 = 2;

impl State {
    #[inline]
    fn word(self) -> u64 {
        let low = match self.stage {
            Stage::Idle => 0,
            Stage::Queued => 1 << KIND,
            Stage::Claimed(server) => 2 << KIND | u64::from(server as u16),
            Stage::Failed(Failure::Died) => 3 << KIND | 1,
            Stage::Failed(Failure::Dropped) => 3 << KIND | 2,
            Stage::Failed(Failure::Unknown) => 3 << KIND,
            Stage::Answered(chunk) => chunk.hold_word(),
            Stage::Unknown => 15 << KIND,
        };
        u64::from(self.token) << 32 | low
    }

    #[inline]
    fn of(word: u64) -> State {
        let low = word as u32;
        let argument = low as u16;
        let stage = match (low >> INDEX_BITS, low >> KIND & 0xf) {
            (1.., _) => Stage::Answered(ChunkId::from_hold_word(low.into())),
            (0, 0) => Stage::Idle,
            (0, 1) => Stage::Queued,
            (0, 2) => Stage::Claimed(argument.into()),
            (0, 3) => Stage::Failed(match argument {
                1 => Failure::Died,
                2 => Failure::Dropped,
                _ => Failure::Unknown,
            }),
            _ => Stage::Unknown,
        };
        State { token: (word >> 32) as u32, stage }
    }
}

/// A view of a call's words.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    state: &'a Word,
    request: &'a Word,
    pub(crate) waiting: &'a Word,
    pub(crate) eager: &'a Word,
}

impl<'a> Call<'a> {
    /// `words` are [`WORDS`] at least.
    #[inline]
    pub(crate) fn new(words: &'a [Word]) -> Self {
        Call { state: &words[0], request: &words[1], waiting: &words[2], eager: &words[3] }
    }

    /// Starts to bring the call into the cache, to be changed.
    #[inline]
    pub(crate) fn fetch_to_write(&self) {
        self.state.fetch_to_write();
    }

    #[inline]
    pub(crate) fn state(&self) -> State {
        State::of(self.state.load(Ordering::Acquire))
    }

    /// Whether the state is still this one, for those that argue with SeqCst (P2 of `wait.rs`).
    #[inline]
    pub(crate) fn is(&self, state: State) -> bool {
        self.state.load(Ordering::SeqCst) == state.word()
    }

    #[inline]
    #[cfg_attr(feature = "crash-points", track_caller)]
    fn change(&self, from: State, to: Stage) -> bool {
        let to = State { token: from.token, stage: to };
        // SeqCst: with the sleepers' fences (P1, P2 of `wait.rs`).
        self.state.compare_exchange(from.word(), to.word(), Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    /// The client's: makes the call QUEUED, with the next token. It was IDLE, or damaged.
    #[inline]
    pub(crate) fn queue(&self, request: ChunkId) -> State {
        let token = self.state().token.wrapping_add(1);
        let state = State { token, stage: Stage::Queued };
        // Relaxed: who reads it has seen QUEUED before.
        self.request.store(request.hold_word(), Ordering::Relaxed);
        // Release: the request comes before. Nobody else changes the state of a call that is IDLE.
        self.state.store(state.word(), Ordering::Release);
        state
    }

    /// The chunk of the request. It is that of the token that a claim succeeds with.
    #[inline]
    pub(crate) fn request(&self) -> ChunkId {
        // Relaxed: after the Acquire load that saw QUEUED.
        ChunkId::from_hold_word(self.request.load(Ordering::Relaxed))
    }

    /// A server's: makes the call its own, if it is still QUEUED with the token that it saw. Its hold on the request comes before.
    #[inline]
    pub(crate) fn claim(&self, seen: State, server: u32) -> bool {
        seen.stage == Stage::Queued && self.change(seen, Stage::Claimed(server))
    }

    /// The server's that claimed it with `token`: answers with `reply`. False: the call is over.
    #[inline]
    pub(crate) fn answer(&self, token: u32, server: u32, reply: ChunkId) -> bool {
        self.change(State { token, stage: Stage::Claimed(server) }, Stage::Answered(reply))
    }

    /// The server's, or its recoverer's: ends the call without a reply. False: it is over already.
    #[inline]
    pub(crate) fn fail(&self, token: u32, server: u32, why: Failure) -> bool {
        self.change(State { token, stage: Stage::Claimed(server) }, Stage::Failed(why))
    }

    /// The client's: takes the reply `seen` out, on which it has a hold; `next`: and waits for the stream's next one from this server.
    #[inline]
    pub(crate) fn taken(&self, seen: State, next: Option<u32>) -> bool {
        self.change(seen, next.map_or(Stage::Idle, Stage::Claimed))
    }

    /// The server's: gives a stream up whose last reply the client may have yet to take. True: it had taken it, and the call is failed.
    pub(crate) fn give_up(&self, token: u32, server: u32) -> bool {
        // SeqCst, with `asks_in_vain`: if the client isn't seen to want more, it sees this when it does.
        store_then_barrier(self.eager, u64::from(token) << 32 | GIVEN_UP);
        self.fail(token, server, Failure::Dropped)
    }

    /// The client's, after it said that it wants more of a stream: whether that was given up.
    pub(crate) fn asks_in_vain(&self, token: u32) -> bool {
        barrier_after_rmw();
        let eager = self.eager.load(Ordering::SeqCst);
        eager >> 32 == u64::from(token) && eager & GIVEN_UP != 0
    }

    /// The client's: ends the call whatever has become of it; returns what that was.
    pub(crate) fn end(&self) -> State {
        let mut seen = self.state();
        // Bounded: a call goes forward a few times at most before it is over.
        for _ in 0..1 << 20 {
            if seen.stage == Stage::Idle || self.change(seen, Stage::Idle) {
                return seen;
            }
            seen = self.state();
        }
        seen
    }

    /// A recoverer's of the client: the call is nobody's any more, and whoever comes with its token comes too late.
    pub(crate) fn abandon(&self) {
        let token = self.state().token.wrapping_add(1);
        // AcqRel: a server's hold on the request, stored before its claim, is seen by whoever sees this.
        self.state.swap(State { token, stage: Stage::Idle }.word(), Ordering::AcqRel);
        // Relaxed, all three: read only after the state said that there is a call.
        self.request.store(0, Ordering::Relaxed);
        self.waiting.store(0, Ordering::Relaxed);
        self.eager.store(0, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_state_word_keeps_its_parts() {
        let stages = [
            Stage::Idle,
            Stage::Queued,
            Stage::Claimed(1023),
            Stage::Failed(Failure::Died),
            Stage::Failed(Failure::Dropped),
            Stage::Answered(ChunkId::new(1, 0)),
            Stage::Answered(ChunkId::new(4095, (1 << INDEX_BITS) - 1)),
        ];
        for stage in stages {
            let state = State { token: u32::MAX, stage };
            assert_eq!(State::of(state.word()), state);
        }
        assert_eq!(State::of(0), State { token: 0, stage: Stage::Idle });
        assert_eq!(State::of(9 << KIND).stage, Stage::Unknown);
    }
}
