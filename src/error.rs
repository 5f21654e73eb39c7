// SPDX-License-Identifier: MIT OR Apache-2.0
//! The one error type: what was wrong, what was found, what to do about it.
//!
//! Empty, timed out and lost are outcomes, not errors: they are `Option`s and counters.

use std::io;

/// What every fallible call of this crate returns.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a call failed. A failed call changes nothing, but for two cases: a loan that finds no memory has evicted the publisher's own messages
/// in trying, and a message that turns out to be damaged is skipped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The name of a topic, a service or a function can't be used.
    #[error("the name {name:?} can't be used: {reason}")]
    InvalidName {
        /// The name, cut to its first 64 characters.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An option is outside what it may be.
    #[error("option {option} is {found}, but must be {allowed}", found = shown(option, *found))]
    InvalidOption {
        /// The option's name.
        option: &'static str,
        /// The value given.
        found: u64,
        /// What it may be.
        allowed: &'static str,
    },
    /// The topic exists already and is smaller than what was asked for, or shared with others.
    #[error("the topic exists with {option} {found}, but {wanted} was asked for; ask for {hint}, or end its users first", found = shown(option, *found), wanted = shown(option, *wanted), hint = hint(option))]
    Mismatch {
        /// The option's name.
        option: &'static str,
        /// What the existing topic has.
        found: u64,
        /// What was asked for.
        wanted: u64,
    },
    /// The memory budget of the publisher, client or server can't take the message, request or reply; a publisher's not even with its own
    /// older messages evicted.
    #[error("{wanted} bytes don't fit: {used} of the budget of {budget} bytes are taken by loans, by messages, requests or replies that others hold, and by those that clients, servers or reliable subscribers have yet to take; release some, or raise the option `memory`")]
    OutOfMemory {
        /// Bytes of shared memory that the loan needs.
        wanted: u64,
        /// Bytes that are taken.
        used: u64,
        /// The option `memory`.
        budget: u64,
    },
    /// All memory of a device publisher is taken, even with its own older messages evicted.
    #[error("all {blocks} blocks of the device publisher are taken by loans, by messages that others hold, and by those that reliable subscribers have yet to take; release some, or create it with a larger option `blocks`, up to 64")]
    NoBlock {
        /// The option `blocks`.
        blocks: u32,
    },
    /// No message can be this large.
    #[error("a message of {wanted} bytes is larger than the limit of {limit}")]
    TooLarge {
        /// Bytes asked for.
        wanted: u64,
        /// The most that is possible.
        limit: u64,
    },
    /// The file system that holds the topics is full, or a limit on what may be made there is reached.
    #[error("no room for {path} to have {wanted} bytes: {reason}")]
    NoSpace {
        /// What was being made.
        path: String,
        /// Bytes that it was to have.
        wanted: u64,
        /// Which limit it was, and what can be done about it.
        reason: &'static str,
    },
    /// Every participant entry of the topic, or service, is taken by a living participant.
    #[error("all {limit} participants that it takes are there and alive; end one, or create the topic or service with a larger option `participants`")]
    NoParticipant {
        /// How many the topic has.
        limit: u32,
    },
    /// The subscriber holds as many samples as it may; the server as many requests, the client as many replies.
    #[error("all {limit} that may be held at once are held; release one, or create the topic or service with a larger option `holds`")]
    NoHold {
        /// How many the topic allows.
        limit: u32,
    },
    /// As many calls of this client are in flight as may be.
    #[error("all {limit} calls that this client may have in flight are; finish one, or create the service with a larger option `calls`")]
    TooManyCalls {
        /// How many the service allows.
        limit: u32,
    },
    /// The service's queue has no room for another request.
    #[error("all {capacity} places of the service's queue are taken; call again later, start more servers, or create the service with a larger option `capacity`")]
    QueueFull {
        /// How many requests the queue takes.
        capacity: u32,
    },
    /// Nobody serves the service.
    #[error("nobody serves {service}; start a server, or wait for one with the option `wait_for_server`")]
    NoServer {
        /// The service's name.
        service: String,
    },
    /// The server that had begun with the request died or left; whether it did what was asked for isn't known.
    #[error("the server died before it replied; whether it did its work isn't known")]
    PeerDied,
    /// The server gave the request up without a reply.
    #[error("the server gave the request up without a reply")]
    NoReply,
    /// The function that was called failed, and says why.
    #[error("the call failed with code {code}: {message}")]
    Remote {
        /// The code that the server chose.
        code: i32,
        /// The server's words.
        message: String,
    },
    /// The topic's segment table is full.
    #[error("all {limit} segments of the topic are taken; use fewer publishers or fewer sizes of messages")]
    NoSegment {
        /// How many a topic can have.
        limit: u32,
    },
    /// A file of the topic doesn't say what it should.
    #[error("{file} is damaged: {what}; end the topic's users and remove its directory")]
    Corrupt {
        /// The file's name.
        file: String,
        /// What was expected and what was found.
        what: String,
    },
    /// The topic was made by a version of the library with another layout.
    #[error("{file} has layout version {found}, but this library speaks {supported}; use one version of shm in all programs")]
    Version {
        /// The file's name.
        file: String,
        /// The version found.
        found: u32,
        /// The version that this library speaks.
        supported: u32,
    },
    /// A directory or file isn't safe to use: it belongs to others, or others may write to it.
    #[error("{path} is not trusted: {reason}")]
    NotTrusted {
        /// The path.
        path: String,
        /// Why not.
        reason: String,
    },
    /// This process is a fork of the one that made the handle.
    #[error("this handle belongs to the parent of a fork; make a new one in the child")]
    Forked,
    /// The loan outlived its publisher or client, or its request, which the C interface allows.
    #[error("this loan can't be published or sent any more: its publisher or client was destroyed, or its request has ended")]
    Closed,
    /// The operating system refused.
    #[error("{call} on {path}: {source}{advice}", advice = advice(source))]
    Os {
        /// The call that failed.
        call: &'static str,
        /// What it was about.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// A copier, or the device behind it, failed.
    #[error("the copier's {call} failed with {status}: {message}")]
    Copier {
        /// What it was to do, or the driver's call that failed.
        call: &'static str,
        /// The number that it gave.
        status: i32,
        /// What it says.
        message: String,
    },
    /// There is no device of that kind here, or nothing that drives it.
    #[error("no {kind} device can be used: {reason}")]
    NoDevice {
        /// The kind of device.
        kind: &'static str,
        /// What is missing, and what to do.
        reason: String,
    },
    /// A tensor's shape or type is one that none can have here.
    #[error("no such tensor: {reason}")]
    InvalidTensor {
        /// What is wrong with it.
        reason: String,
    },
    /// The message can't be written as msgpack.
    #[error("cannot write the message as msgpack: {0}")]
    Encode(String),
    /// The payload isn't the message that was asked for.
    #[error("cannot read the payload as this message: {0}")]
    Decode(String),
    /// The payload's size isn't that of the plain type.
    #[error("a {type_name} has {wanted} bytes, but the payload has {found}")]
    WrongSize {
        /// The Rust name of the type.
        type_name: &'static str,
        /// Its size in bytes.
        wanted: usize,
        /// The payload's size in bytes.
        found: usize,
    },
}

impl Error {
    /// Damage found in `file`.
    pub(crate) fn corrupt(file: impl Into<String>, what: impl Into<String>) -> Self {
        Error::Corrupt { file: file.into(), what: what.into() }
    }

    /// A failed copier.
    pub(crate) fn copier(call: &'static str, status: i32, message: impl Into<String>) -> Self {
        Error::Copier { call, status, message: message.into() }
    }

    /// A failed system call.
    pub(crate) fn os(call: &'static str, path: impl Into<String>, errno: rustix::io::Errno) -> Self {
        Error::Os { call, path: path.into(), source: errno.into() }
    }

    /// A call that the system didn't permit, with words about why.
    pub(crate) fn denied(call: &'static str, path: impl Into<String>, why: &str) -> Self {
        let source = io::Error::new(io::ErrorKind::PermissionDenied, format!("permission denied: {why}"));
        Error::Os { call, path: path.into(), source }
    }

    /// A failed call of something that takes space on the file system.
    pub(crate) fn space(
        call: &'static str,
        path: impl Into<String>,
        wanted: u64,
        errno: rustix::io::Errno,
    ) -> Self {
        use rustix::io::Errno;
        let reason = match errno {
            Errno::NOSPC if call == "fallocate" => {
                "its file system is full; free some there, or set SHM_ROOT to a larger one (docker: --shm-size)"
            }
            Errno::NOSPC => {
                "its file system has no room for one more file; remove some there (df -i counts them), or set SHM_ROOT to a larger one"
            }
            Errno::DQUOT => "the user's quota there is used up; free some, or have it raised",
            Errno::FBIG => {
                "no file of this process may be that large; raise its limit (ulimit -f, RLIMIT_FSIZE), or use smaller options or messages"
            }
            other => return Error::os(call, path, other),
        };
        Error::NoSpace { path: path.into(), wanted, reason }
    }
}

/// What to do when the system refuses for want of something.
fn advice(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::EMFILE) => "; close some, or raise the limit (ulimit -n, RLIMIT_NOFILE)",
        Some(libc::ENFILE) => "; the whole system is at its limit (sysctl fs.file-max)",
        Some(libc::ENOMEM) => {
            "; free some, or raise the limit (ulimit -v, RLIMIT_AS; sysctl vm.max_map_count for many mappings)"
        }
        _ => "",
    }
}

/// An option's value as people write it.
fn shown(option: &str, value: u64) -> String {
    if option == "mode" {
        format!("{value:04o}")
    } else {
        value.to_string()
    }
}

/// What may be asked of a topic that exists.
fn hint(option: &str) -> &'static str {
    match option {
        "mode" | "group" => "what it has, or for none",
        _ => "no more than it has",
    }
}
