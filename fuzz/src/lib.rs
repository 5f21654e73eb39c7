// SPDX-License-Identifier: MIT OR Apache-2.0
//! What hostile files do to a process that uses them. A [`Case`] is a topic's files, changed here and there, and what is then
//! done with the topic; the bodies carry it out. A panic, a crash, a hang or a descriptor that stays open is a finding.
//!
//! The fuzz targets run the bodies under libFuzzer with AddressSanitizer; `tests/fuzz.rs` includes this very file, and runs
//! what was kept of their corpora, and random cases, with the stable toolchain.

mod acts;
mod bodies;
mod edits;
mod place;
mod rpc;
mod template;

pub use bodies::{attach, audit, in_use, live};
pub use rpc::rpc;
#[allow(unused_imports)] // Tests infer it.
pub use rpc::Case as RpcCase;

use arbitrary::Arbitrary;

/// What is done to a topic.
#[derive(Debug, Arbitrary)]
pub struct Case {
    /// Which files there are at first.
    template: u8,
    /// Which of the participants that the files speak of are alive: a bit each.
    alive: u8,
    /// What happens to whole files.
    shapes: Vec<edits::Shape>,
    edits: Vec<edits::Edit>,
    acts: Vec<acts::Act>,
}

/// A root for all cases of this process.
#[allow(dead_code)] // Tests have roots of their own.
pub fn root() -> &'static std::path::Path {
    static ROOT: std::sync::OnceLock<tempfile::TempDir> = std::sync::OnceLock::new();
    let make = || {
        // `scripts/fuzz.sh` says where, and takes it away: a process that crashes can't.
        let place = std::env::var("SHM_FUZZ_ROOT").unwrap_or("/dev/shm".into());
        tempfile::Builder::new().prefix("shm-fuzz-").tempdir_in(place).unwrap()
    };
    ROOT.get_or_init(make).path()
}
