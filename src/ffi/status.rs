// SPDX-License-Identifier: MIT OR Apache-2.0
//! Status codes. A number is never given another meaning and never used again.

use crate::Error;
use std::ffi::{c_char, CStr};

/// Done.
pub const SHM_OK: i32 = 0;
/// No message, request or reply has come yet, or no room for a message. An outcome, not an error.
pub const SHM_WOULD_BLOCK: i32 = 1;
/// No message, request or reply came in the time given, or no room for a message. An outcome, not an error.
pub const SHM_TIMED_OUT: i32 = 2;
/// No further reply comes: the call is over. An outcome, not an error.
pub const SHM_END: i32 = 3;
/// Nobody waits for the reply any more: the client cancelled the call, or died. An outcome, not an error.
pub const SHM_CANCELLED: i32 = 4;

/// An argument is NULL that must not be.
pub const SHM_ERR_NULL: i32 = -1;
/// The name of the topic or service can't be used.
pub const SHM_ERR_INVALID_NAME: i32 = -2;
/// An option is outside what it may be.
pub const SHM_ERR_INVALID_OPTION: i32 = -3;
/// The memory budget of the publisher, client or server can't take the message, request or reply.
pub const SHM_ERR_OUT_OF_MEMORY: i32 = -4;
/// The file system that holds the topics is full.
pub const SHM_ERR_NO_SPACE: i32 = -5;
/// Every participant entry of the topic or service is taken by a living participant.
pub const SHM_ERR_NO_PARTICIPANT: i32 = -6;
/// The subscriber holds as many samples as it may; a client replies; a server requests.
pub const SHM_ERR_NO_HOLD: i32 = -7;
/// The topic's segment table is full.
pub const SHM_ERR_NO_SEGMENT: i32 = -8;
/// The topic exists already and is smaller than what was asked for, or shared with others.
pub const SHM_ERR_MISMATCH: i32 = -9;
/// A file of the topic doesn't say what it should.
pub const SHM_ERR_CORRUPT: i32 = -10;
/// The topic was made by a version of the library with another layout.
pub const SHM_ERR_VERSION: i32 = -11;
/// A directory or file isn't safe to use: it belongs to others, or others may write to it.
pub const SHM_ERR_NOT_TRUSTED: i32 = -12;
/// This process is a fork of the one that made the handle.
pub const SHM_ERR_FORKED: i32 = -13;
/// The operating system refused.
pub const SHM_ERR_OS: i32 = -14;
/// The message can't be written as msgpack.
pub const SHM_ERR_ENCODE: i32 = -15;
/// The payload isn't the message that was asked for.
pub const SHM_ERR_DECODE: i32 = -16;
/// The payload's size isn't that of the plain type.
pub const SHM_ERR_WRONG_SIZE: i32 = -17;
/// The loan can't be published or sent any more: its publisher or client was destroyed, or its request has ended.
pub const SHM_ERR_CLOSED: i32 = -18;
/// A bug in the library. The handle is good for `_destroy` only.
pub const SHM_ERR_INTERNAL: i32 = -19;
/// No message can be this large.
pub const SHM_ERR_TOO_LARGE: i32 = -20;
/// As many calls of the client are in flight as may be.
pub const SHM_ERR_TOO_MANY_CALLS: i32 = -21;
/// The service's queue has no room for another request.
pub const SHM_ERR_QUEUE_FULL: i32 = -22;
/// Nobody serves the service.
pub const SHM_ERR_NO_SERVER: i32 = -23;
/// The server that had begun with the request died, or left; whether it did what was asked for isn't known.
pub const SHM_ERR_PEER_DIED: i32 = -24;
/// The server gave the request up without a reply.
pub const SHM_ERR_NO_REPLY: i32 = -25;
/// The function that was called failed: `shm_last_error_code` and `shm_last_error_message` are what it says.
pub const SHM_ERR_REMOTE: i32 = -26;
/// A copier, or the device behind it, failed: `shm_last_error_code` is what it gave.
pub const SHM_ERR_COPIER: i32 = -27;
/// There is no device of that kind here, or nothing that drives it.
pub const SHM_ERR_NO_DEVICE: i32 = -28;

/// The status that stands for `error`.
pub(super) fn of(error: &Error) -> i32 {
    match error {
        Error::InvalidName { .. } => SHM_ERR_INVALID_NAME,
        Error::InvalidOption { .. } | Error::InvalidTensor { .. } => SHM_ERR_INVALID_OPTION,
        Error::OutOfMemory { .. } | Error::NoBlock { .. } => SHM_ERR_OUT_OF_MEMORY,
        Error::NoSpace { .. } => SHM_ERR_NO_SPACE,
        Error::NoParticipant { .. } => SHM_ERR_NO_PARTICIPANT,
        Error::NoHold { .. } => SHM_ERR_NO_HOLD,
        Error::NoSegment { .. } => SHM_ERR_NO_SEGMENT,
        Error::Mismatch { .. } => SHM_ERR_MISMATCH,
        Error::Corrupt { .. } => SHM_ERR_CORRUPT,
        Error::Version { .. } => SHM_ERR_VERSION,
        Error::NotTrusted { .. } => SHM_ERR_NOT_TRUSTED,
        Error::Forked => SHM_ERR_FORKED,
        Error::Os { .. } => SHM_ERR_OS,
        Error::Encode(_) => SHM_ERR_ENCODE,
        Error::Decode(_) => SHM_ERR_DECODE,
        Error::WrongSize { .. } => SHM_ERR_WRONG_SIZE,
        Error::Closed => SHM_ERR_CLOSED,
        Error::TooLarge { .. } => SHM_ERR_TOO_LARGE,
        Error::TooManyCalls { .. } => SHM_ERR_TOO_MANY_CALLS,
        Error::QueueFull { .. } => SHM_ERR_QUEUE_FULL,
        Error::NoServer { .. } => SHM_ERR_NO_SERVER,
        Error::PeerDied => SHM_ERR_PEER_DIED,
        Error::NoReply => SHM_ERR_NO_REPLY,
        Error::Remote { .. } => SHM_ERR_REMOTE,
        Error::Copier { .. } => SHM_ERR_COPIER,
        Error::NoDevice { .. } => SHM_ERR_NO_DEVICE,
    }
}

/// Says in a few words what a status means, the same for every occurrence: see `shm_last_error_message` for
/// what went wrong this time.
///
/// Takes any number; one that is no status gives "unknown status". Never NULL. The string is constant
/// and never freed. Any thread may call this at any time.
#[no_mangle]
pub extern "C" fn shm_status_string(status: i32) -> *const c_char {
    words(status).as_ptr()
}

fn words(status: i32) -> &'static CStr {
    match status {
        SHM_OK => c"ok",
        SHM_WOULD_BLOCK => c"nothing has come yet, or no room",
        SHM_TIMED_OUT => c"timed out",
        SHM_END => c"no further reply comes",
        SHM_CANCELLED => c"nobody waits for the reply any more",
        SHM_ERR_NULL => c"an argument is NULL",
        SHM_ERR_INVALID_NAME => c"invalid name of a topic or service",
        SHM_ERR_INVALID_OPTION => c"invalid option",
        SHM_ERR_OUT_OF_MEMORY => c"the memory budget is used up",
        SHM_ERR_NO_SPACE => c"no space left on the file system",
        SHM_ERR_NO_PARTICIPANT => c"all participants of the topic or service are taken",
        SHM_ERR_NO_HOLD => c"as many samples, replies or requests are held as may be",
        SHM_ERR_NO_SEGMENT => c"all segments of the topic or service are taken",
        SHM_ERR_MISMATCH => c"the topic or service exists and is not what was asked for",
        SHM_ERR_CORRUPT => c"a file of the topic or service is damaged",
        SHM_ERR_VERSION => c"the topic or service has another layout version",
        SHM_ERR_NOT_TRUSTED => c"a directory or file is not safe to use",
        SHM_ERR_FORKED => c"the handle belongs to the parent of a fork",
        SHM_ERR_OS => c"the operating system refused",
        SHM_ERR_ENCODE => c"the message can't be written as msgpack",
        SHM_ERR_DECODE => c"the payload isn't the message that was asked for",
        SHM_ERR_WRONG_SIZE => c"the payload's size isn't that of the type",
        SHM_ERR_CLOSED => c"the loan can't be published or sent any more",
        SHM_ERR_INTERNAL => c"internal error",
        SHM_ERR_TOO_LARGE => c"the message is too large",
        SHM_ERR_TOO_MANY_CALLS => c"too many calls are in flight",
        SHM_ERR_QUEUE_FULL => c"the service's queue is full",
        SHM_ERR_NO_SERVER => c"nobody serves the service",
        SHM_ERR_PEER_DIED => c"the server died before it replied",
        SHM_ERR_NO_REPLY => c"the server gave no reply",
        SHM_ERR_REMOTE => c"the function that was called failed",
        SHM_ERR_COPIER => c"a copier failed",
        SHM_ERR_NO_DEVICE => c"no device of that kind can be used",
        _ => c"unknown status",
    }
}
