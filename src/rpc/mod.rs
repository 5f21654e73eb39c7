// SPDX-License-Identifier: MIT OR Apache-2.0
//! Remote procedure calls: requests to whoever serves a name, and one reply to each.
//!
//! A **service** is a directory like a topic's (`topic/`), with the same participants, segments, holds and liveness. Clients and servers
//! both own chunks, for requests and for replies, and both hold the other's while they read. What is its own:
//!
//! - The ring is a **queue** (`queue.rs`): its slots name calls, nothing in it is overwritten before it was taken, and `head` says what
//!   was taken. It only points at calls: what becomes of a call doesn't depend on it. A call that finds it full is IDLE again, and
//!   refused, or put there as soon as there is room.
//! - Each client has **calls** (`call.rs`), as many as may be in flight. A call is a few words in the client's entry, and one of them,
//!   its state, decides everything. It changes by compare-and-swap only, and each change is somebody's at once.
//!
//! ```text
//!            send                take                     reply
//!   IDLE(t) -----> QUEUED(t+1) -----> CLAIMED(t+1, server) -----> ANSWERED(t+1, chunk) --> IDLE(t+1)
//!     ^                |                  |           ^                  |         client took it
//!     |                | cancel           | cancel    +--- the next one -+ of a stream
//!     +----------------+------------------+
//!     |                                   | the server died, or gave the request up
//!     +------------ client took it -- FAILED(t+1, why)
//! ```
//!
//! `t`, the token, grows with each call of the entry's life and after it, so that whoever comes too late with anything fails: a server that
//! answers a call that was cancelled, whose client died, or that was answered for it. So a call has exactly one end, whatever dies:
//!
//! | state | a dead client | a dead server | a client that gives up |
//! |---|---|---|---|
//! | IDLE | | | |
//! | QUEUED | recovery: IDLE; the queue's entry is passed over | | IDLE; no server ever sees it |
//! | CLAIMED | recovery: IDLE; the reply finds another token | recovery: FAILED, the client is woken | IDLE; the server can ask, and its reply finds another token |
//! | ANSWERED | recovery: IDLE; the server takes its chunk back | nothing: the reply stays readable | IDLE |
//! | FAILED | recovery: IDLE | | IDLE |
//!
//! **Chunks.** A request's chunk is its client's as long as the call isn't over, then in limbo until no server holds it. A reply's
//! chunk is in the call's state word until the client has put a hold on it and moved on, then in limbo until no client holds it. The
//! holds need no barrier of their own: each is stored before a read-modify-write of the state that whoever frees the chunk has seen.
//!
//! - **C1** A call that is QUEUED is in the queue at or behind `head`, or its client is about to put it there.
//! - **C2** Only the server named in CLAIMED(t, server), its recoverer, or the client ends that state.
//! - **C3** A reply's chunk is written before ANSWERED names it and not after, until it is out of the state and no hold is on it.

pub(crate) mod call;
pub(crate) mod queue;

#[cfg(all(test, loom))]
mod models;
#[cfg(all(test, loom))]
mod queue_models;

/// Bounds every sleep of clients, servers and, while a task waits, the watcher: after each they look whether the one that they wait for
/// lives, and a wake that was never sent costs no more than this.
#[cfg(not(loom))]
const LONGEST_SLEEP: std::time::Duration = std::time::Duration::from_millis(20);

/// How long one that waits until `deadline` may sleep now. Zero: it has passed.
#[cfg(not(loom))]
fn longest_until(deadline: Option<std::time::Instant>) -> std::time::Duration {
    deadline.map_or(LONGEST_SLEEP, |deadline| {
        deadline.saturating_duration_since(std::time::Instant::now()).min(LONGEST_SLEEP)
    })
}

#[cfg(not(loom))]
mod client;
#[cfg(not(loom))]
mod function;
#[cfg(not(loom))]
mod member;
#[cfg(not(loom))]
mod pending;
#[cfg(not(loom))]
mod request;
#[cfg(not(loom))]
mod server;
#[cfg(not(loom))]
mod watcher;

#[cfg(all(test, not(loom), not(miri)))]
mod tests;

#[cfg(not(loom))]
pub use client::{Client, RequestLoan};
#[cfg(not(loom))]
pub(crate) use function::hash;
#[cfg(not(loom))]
pub use function::{code, Callable, Function, FunctionCaller, Service, Stop};
#[cfg(not(loom))]
pub use pending::{Pending, Reply};
#[cfg(not(loom))]
pub(crate) use request::Draft;
#[cfg(not(loom))]
pub use request::{ReplyLoan, Request};
#[cfg(not(loom))]
pub use server::Server;
