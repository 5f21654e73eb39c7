// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages between the processes of one machine at the speed of a cache line.
//!
//! A **topic** has any number of [`Publisher`]s and [`Subscriber`]s, in any processes and in any of Rust, C and C++.
//! A message is written in place in shared memory ([`Publisher::loan`]) and read in place ([`Subscriber::receive`]).
//!
//! A **service** has any number of [`Client`]s and [`Server`]s: each request goes to one server and has one end, a reply or an error
//! ([`Client::call`]). [`Function`] and [`FunctionCaller`] put arguments and results of one's own types on top.
//!
//! What is promised:
//!
//! - Publishing is lock-free and receiving wait-free; a process that is killed or stopped at any instruction holds up
//!   nobody, and what it had taken comes back. Only for a subscriber that asks to be
//!   [`reliable`](SubscriberOptions::reliable) publishers wait, as long as it lives: it loses nothing.
//! - What a publish costs doesn't depend on how many subscribers there are. No system call while nobody sleeps.
//! - All subscribers see one order over all publishers; one that falls behind knows exactly how many messages it lost.
//! - A sample doesn't change while it is held. Memory is bounded; running out is an error.
//! - No daemon: who comes first makes the topic, who leaves last takes it away.
//!
//! The map of the modules: `topic` is what lies on disk and who takes part, `ring` the lock-free code, `pool` the memory of
//! payloads, `rpc` calls, `wait` and `sleep` sleeping and waking, `os` every system call, `ffi` the C ABI. ARCHITECTURE.md leads through them.

#![cfg_attr(loom, allow(dead_code, unused_imports))]

#[cfg(all(not(loom), not(target_os = "linux")))]
compile_error!("shm runs on Linux only: it stands on OFD locks, futexes and MADV_WIPEONFORK");
#[cfg(all(not(loom), not(target_pointer_width = "64")))]
compile_error!("shm needs a 64-bit machine");

#[cfg(not(feature = "crash-points"))]
mod crash;
#[cfg(feature = "crash-points")]
#[doc(hidden)]
pub mod crash;
mod ring;
mod rpc;
mod sleep;
mod sync;

#[cfg(not(loom))]
pub mod copier;
#[cfg(not(loom))]
pub mod dlpack;
#[cfg(not(loom))]
mod error;
#[cfg(not(loom))]
pub mod ffi;
#[cfg(not(loom))]
mod message;
#[cfg(not(loom))]
mod options;
#[cfg(not(loom))]
mod os;
#[cfg(not(loom))]
mod pool;
#[cfg(not(loom))]
mod publisher;
#[cfg(not(loom))]
mod sample;
#[cfg(not(loom))]
mod subscriber;
#[cfg(not(loom))]
mod topic;
#[cfg(not(loom))]
mod wait;

/// The README's programs in Rust, run as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(not(loom))]
pub use {
    error::{Error, Result},
    options::{
        ClientOptions, MemoryInfo, PublisherOptions, RootOptions, ServerOptions, SubscriberOptions, TopicInfo,
    },
    publisher::{Loan, PlainLoan, Publisher},
    rmpv::Value,
    rpc::{
        code, Callable, Client, Function, FunctionCaller, Pending, Reply, ReplyLoan, Request, RequestLoan,
        Server, Service, Stop,
    },
    sample::Sample,
    subscriber::Subscriber,
    topic::{audit, gc, Audit, Collected, Finding, Kind, Named, TopicAudit},
};
