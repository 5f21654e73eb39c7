// SPDX-License-Identifier: MIT OR Apache-2.0
//! The C interface of shm: messages between the processes of one machine through shared memory.
//!
//! A topic is a name. Publishers and subscribers of one topic find each other through it, in whatever
//! order and process they are made. A publisher writes a message into shared memory (`shm_publisher_loan`,
//! `shm_loan_publish`), or has one copied there (`shm_publisher_publish`); every subscriber reads it in place,
//! as a sample that it holds until `shm_sample_release`. Who comes first makes the topic, who leaves last
//! removes it.
//!
//! A service is a name as well, apart from those of topics. A client writes a request into shared memory (`shm_client_loan`,
//! `shm_request_loan_send`), or has one copied there (`shm_client_send`, `shm_client_call`); one of the service's servers
//! receives it (`shm_server_receive`), reads it in place and replies in the same ways. A call ends in exactly one of these:
//! its replies, an error of the function that was called, an error of this interface, or its cancellation; whatever dies,
//! and whenever.
//!
//! A copier allocates memory of another kind, a GPU's for instance, and copies between it and any message, request or reply:
//! `shm_copier_user_to_shm` to what was lent, `shm_copier_shm_to_user` from what was received. It is made of a program's own functions
//! (`shm_copier_create`), or one of those that come with the library.
//!
//! A device topic's messages stay in a GPU's memory (`shm_device_publisher_create`, `shm_device_subscriber_create`): what goes through the topic says where they are, and
//! what is read and written are pointers for the GPU's work.
//!
//! What holds for every function, and isn't repeated there:
//!
//! Status. A function that can fail returns an `int32_t`: `SHM_OK`, which is 0; an error, below 0; or an
//! outcome that is no error, above 0 (`SHM_WOULD_BLOCK`, `SHM_TIMED_OUT`, `SHM_END`, `SHM_CANCELLED`). A number never
//! changes its meaning. After an error `shm_last_error_message` says in words what was wrong.
//!
//! Outputs. They are written last, and only when `SHM_OK` is returned; otherwise they are untouched.
//!
//! C1, handles. A handle is used from its creation until its `_destroy` or `_release`, or another function that ends it,
//! and not after that. `_destroy` and `_release` of NULL do nothing; any other function answers a NULL that it can't use with
//! `SHM_ERR_NULL`, or with NULL or 0 where it returns no status.
//!
//! C2, arguments. A pointer that isn't NULL points to what the function's comment says, for as long as the
//! call runs: nothing keeps it. Strings end with a NUL byte. Names are UTF-8, a root is a path.
//!
//! C3, threads. Any thread may use a handle, one at a time; a publisher's loans count as part of it, so do a client's
//! request loans, pendings and replies, and a server's requests and reply loans. Different handles are independent.
//! Samples are apart from their subscriber: each may be read by any threads at any time, also while the subscriber is
//! destroyed and after that, and then be released by one.
//!
//! C4, the end. `_destroy` runs while no other call on the handle does, nor one on what counts as part of it; a subscriber's
//! samples may be read and released meanwhile. What the handle gave out and is still out stays valid: each still has to be
//! ended, and the last one takes with it what the handle left behind.
//!
//! Forks. In the child of a fork the handles of the parent are dead: calls give `SHM_ERR_FORKED`, and
//! memory behind loans, samples, requests and replies must not be touched. Make new handles there.
//!
//! Signals. They harm no call: none fails, and no wait ends early, because of one. A signal handler calls no
//! function of this interface: none is async-signal-safe, as they may allocate memory.
//!
//! The end of the process. It may come in any way, by `exit` or by executing another program as well, with handles
//! in use: what the process had comes back to the others. Handlers of `atexit` may still use them.
//!
//! Failures inside. No Rust panic leaves a function: it gives `SHM_ERR_INTERNAL`, which is a bug in the
//! library, and the handle is good for `_destroy` only.
//!
//! Versions of a struct. Structs that callers allocate begin with `struct_size`, the size that the caller's
//! compiler gave them. A shorter one than the library's gets defaults for what it lacks; a longer one
//! is refused with `SHM_ERR_INVALID_OPTION` when it asks for something that the library doesn't know.

// The paragraphs above are also the head of include/shm/shm.h: tests/header.rs puts them there.

// What a caller owes a function is the contract above (C1 to C4), which SAFETY comments here cite.
#![allow(clippy::missing_safety_doc)]

mod arguments;
pub mod client;
pub mod copier;
pub mod copier_cpu;
pub mod copier_cuda;
pub mod device_loan;
pub mod device_publisher;
pub mod device_sample;
pub mod device_subscriber;
pub mod dlpack;
pub mod error;
mod guard;
pub mod loan;
pub mod options;
pub mod pending;
pub mod publisher;
pub mod reply;
pub mod reply_loan;
pub mod request;
pub mod request_loan;
pub mod sample;
pub mod server;
pub mod service_options;
mod shelf;
pub mod status;
pub mod stream_publisher;
pub mod subscriber;
pub mod upkeep;
pub mod version;
