// SPDX-License-Identifier: MIT OR Apache-2.0
//! A call: the words in its client's entry that say what has become of it.
//!
//! ```text
//!   state     {token: 32 | 0: 12 | kind: 4 | argument: 16}, or when it is answered {token: 32 | chunk: 32}: a chunk's first 12 bits
//!             are its segment, which is never 0
//!   request   the request's chunk; stands still while the call is QUEUED or CLAIMED
//!   waiting   not 0: the client sleeps until the state changes
//!   eager     not 0: a server sleeps until the client has taken a reply of a stream
//!   given_up  {0: 31 | 1: 1 | token: 32}: the server has given the stream up; the client that wants more of it learns that here. Not in
//!             the word before, which the client clears when it wakes the server
//! ```
//!
//! See `rpc/mod.rs` for the states. All changes of `state` are read-modify-writes with AcqRel at least, so that each sees all that came
//! before the one before: the request before QUEUED, a hold before CLAIMED, the reply before ANSWERED, the end of a hold before IDLE.

use crate::ring::{ChunkId, INDEX_BITS};
use crate::sync::{barrier_after_rmw, fence, Ordering, Word};

/// Words of a call, of which the last are reserved: one cache line.
pub(crate) const WORDS: usize = 8;
/// Calls that a client can have in flight at most.
pub(crate) const MAX_CALLS: u32 = 256;

/// Which call a chunk belongs to: in place of the position in a message's header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct CallId {
    pub(crate) token: u32,
    pub(crate) client: u32,
    pub(crate) index: u32,
}

impl CallId {
    pub(crate) fn word(self) -> u64 {
        u64::from(self.token) << 32 | u64::from(self.client as u16) << 16 | u64::from(self.index as u16)
    }

    /// How the queue names it: `{client + 1: 12 | token: 12 | call: 8}`, of the token what there is room for.
    pub(crate) fn entry(self) -> ChunkId {
        ChunkId::new(self.client + 1, (self.token & TOKEN) << CALL_BITS | self.index)
    }
}

const CALL_BITS: u32 = MAX_CALLS.trailing_zeros();
const TOKEN: u32 = (1 << (INDEX_BITS - CALL_BITS)) - 1;

/// What the queue's `entry` names: client, index, and whether a token may be that of the entry. `None`: nobody's.
#[inline]
pub(crate) fn named_by(entry: ChunkId) -> Option<(u32, u32, impl Fn(u32) -> bool)> {
    // Segment 0 is nobody's.
    let client = entry.segment().checked_sub(1)?;
    let (index, token) = (entry.index() & (MAX_CALLS - 1), entry.index() >> CALL_BITS);
    Some((client, index, move |found: u32| found & TOKEN == token))
}

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
const GIVEN_UP: u64 = 1 << 32;

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
pub(crate) struct Call<'a>(pub(crate) &'a [Word; WORDS]);

impl<'a> Call<'a> {
    #[inline]
    fn state_word(&self) -> &'a Word {
        &self.0[0]
    }

    #[inline]
    fn request_word(&self) -> &'a Word {
        &self.0[1]
    }

    #[inline]
    pub(crate) fn waiting(&self) -> &'a Word {
        &self.0[2]
    }

    #[inline]
    pub(crate) fn eager(&self) -> &'a Word {
        &self.0[3]
    }

    #[inline]
    fn given_up(&self) -> &'a Word {
        &self.0[4]
    }

    /// Starts to bring the call into the cache, to be changed.
    #[inline]
    pub(crate) fn fetch_to_write(&self) {
        self.state_word().fetch_to_write();
    }

    #[inline]
    pub(crate) fn state(&self) -> State {
        State::of(self.state_word().load(Ordering::Acquire))
    }

    /// Whether the state is still this one, for those that argue with SeqCst (P2 of `wait.rs`).
    #[inline]
    pub(crate) fn is(&self, state: State) -> bool {
        self.state_word().load(Ordering::SeqCst) == state.word()
    }

    #[inline]
    #[cfg_attr(feature = "crash-points", track_caller)]
    fn change(&self, from: State, to: Stage) -> bool {
        let to = State { token: from.token, stage: to };
        // SeqCst: with the sleepers' fences (P1, P2 of `wait.rs`). On failure, too: `give_up` argues with what it didn't find.
        self.state_word().compare_exchange(from.word(), to.word(), Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// The client's: makes the call QUEUED, with the next token. It was IDLE, or damaged.
    #[inline]
    pub(crate) fn queue(&self, request: ChunkId) -> State {
        let token = self.state().token.wrapping_add(1);
        let state = State { token, stage: Stage::Queued };
        // Relaxed: who reads it has seen QUEUED before.
        self.request_word().store(request.hold_word(), Ordering::Relaxed);
        // Release: the request comes before. Nobody else changes the state of a call that is IDLE.
        self.state_word().store(state.word(), Ordering::Release);
        state
    }

    /// The chunk of the request. It is that of the token that a claim succeeds with.
    #[inline]
    pub(crate) fn request(&self) -> ChunkId {
        // Relaxed: after the Acquire load that saw QUEUED.
        ChunkId::from_hold_word(self.request_word().load(Ordering::Relaxed))
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
        // Bounded: the word changes once a server at most that comes too late, and a call.
        for _ in 0..1 << 20 {
            let seen = self.given_up().load(Ordering::SeqCst);
            // Who comes too late must not write over what the server of a later call says: that changes the word, after the token.
            if self.state().token != token {
                return false;
            }
            // SeqCst, with `asks_in_vain`: if the client isn't seen to want more, it sees this when it does.
            let word = GIVEN_UP | u64::from(token);
            if self.given_up().compare_exchange(seen, word, Ordering::SeqCst, Ordering::Relaxed).is_ok() {
                break;
            }
        }
        barrier_after_rmw();
        self.fail(token, server, Failure::Dropped)
    }

    /// The client's: takes a part of a stream out, as `taken` does, and waits for the next one from `server`, unless nothing more will come:
    /// that is false, and the call failed. `serves` says whether the server is still there.
    pub(crate) fn expect_more(&self, seen: State, server: u32, serves: impl FnOnce() -> bool) -> bool {
        self.taken(seen, Some(server));
        // With `give_up` and `fail_calls`: either they find the call CLAIMED after this, or what they said before is found here.
        fence(Ordering::SeqCst);
        let why = if self.asks_in_vain(seen.token) {
            Failure::Dropped
        } else if !serves() {
            Failure::Died
        } else {
            return true;
        };
        self.fail(seen.token, server, why);
        false
    }

    /// The client's, after it said that it wants more of a stream: whether that was given up.
    pub(crate) fn asks_in_vain(&self, token: u32) -> bool {
        self.given_up().load(Ordering::SeqCst) == GIVEN_UP | u64::from(token)
    }

    /// The chunk that the call names: its request, or the reply that its client has yet to take.
    pub(crate) fn chunk(&self) -> Option<ChunkId> {
        match self.state().stage {
            Stage::Queued | Stage::Claimed(_) => Some(self.request()),
            Stage::Answered(reply) => Some(reply),
            Stage::Idle | Stage::Failed(_) | Stage::Unknown => None,
        }
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
        let seen = self.state();
        // Then nobody comes in time already, and the next call has another token.
        if seen.stage == Stage::Idle {
            return;
        }
        let token = seen.token.wrapping_add(1);
        // AcqRel: a server's hold on the request, stored before its claim, is seen by whoever sees this.
        self.state_word().swap(State { token, stage: Stage::Idle }.word(), Ordering::AcqRel);
        // Relaxed, all of them: read only after the state said that there is a call.
        self.request_word().store(0, Ordering::Relaxed);
        self.waiting().store(0, Ordering::Relaxed);
        self.eager().store(0, Ordering::Relaxed);
        self.given_up().store(0, Ordering::Relaxed);
    }
}

/// The recoverer's of a server, after it changed that one's status: fails those of the `calls` that it had, and tells `failed` each.
pub(crate) fn fail_calls<'a, C: Iterator<Item = (u32, Call<'a>)>>(
    server: u32,
    calls: impl FnOnce() -> C,
    failed: impl Fn(u32, Call<'a>),
) {
    // With `expect_more`.
    fence(Ordering::SeqCst);
    for (client, call) in calls() {
        let State { token, stage } = call.state();
        if stage == Stage::Claimed(server) && call.fail(token, server, Failure::Died) {
            failed(client, call);
        }
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

    const SERVER: u32 = 7;

    fn words() -> [Word; WORDS] {
        std::array::from_fn(|_| Word::new(0))
    }

    /// Queues and claims the call; its token.
    fn claimed(call: &Call<'_>) -> u32 {
        let state = call.queue(ChunkId::new(1, 0));
        assert!(call.claim(state, SERVER));
        state.token
    }

    #[test]
    fn a_stream_that_is_given_up_stays_so_until_its_client_asks() {
        let words = words();
        let call = Call(&words);
        let token = claimed(&call);
        assert!(call.answer(token, SERVER, ChunkId::new(2, 3)));
        assert!(!call.give_up(token, SERVER), "the client has yet to take the reply");
        // The wake for the reply before comes late.
        crate::wait::wake_one((call.eager(), 1), &Word::new(0));
        assert!(call.taken(call.state(), Some(SERVER)));
        assert!(call.asks_in_vain(token));
    }

    #[test]
    fn who_comes_too_late_to_give_up_leaves_the_next_call_alone() {
        let words = words();
        let call = Call(&words);
        let old = claimed(&call);
        call.end();
        let token = claimed(&call);
        assert!(call.answer(token, SERVER, ChunkId::new(2, 3)));
        assert!(!call.give_up(token, SERVER));
        assert!(!call.give_up(old, SERVER + 1), "the call before was another server's");
        assert!(call.taken(call.state(), Some(SERVER)));
        assert!(call.asks_in_vain(token));
        assert!(call.fail(token, SERVER, Failure::Dropped));
    }

    #[test]
    fn a_stream_that_was_given_up_is_no_later_call_s_end() {
        let words = words();
        let call = Call(&words);
        let old = claimed(&call);
        assert!(call.answer(old, SERVER, ChunkId::new(1, 0)));
        assert!(!call.give_up(old, SERVER));
        call.end();
        let token = claimed(&call);
        assert!(call.answer(token, SERVER, ChunkId::new(1, 0)));
        assert!(call.expect_more(call.state(), SERVER, || true));
        assert_eq!(call.state().stage, Stage::Claimed(SERVER));
    }
}
