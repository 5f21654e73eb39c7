// SPDX-License-Identifier: MIT OR Apache-2.0
//! Without a driver that works, or a device: an error that says what to do.

use std::path::Path;

use shm::copier::cuda::CudaCopier;
use shm::Error;

use crate::support::child::{Child, Parent};
use crate::with_driver;

/// Asks for device `ordinal`; the answer must contain the words.
pub fn says(mut parent: Parent) {
    let (ordinal, words) = (parent.number(), parent.text());
    for _ in 0..2 {
        match CudaCopier::new(ordinal as u32) {
            Err(Error::NoDevice { kind: "CUDA", reason }) => assert!(reason.contains(&words), "{reason}"),
            other => panic!("{other:?}"),
        }
    }
}

#[track_caller]
fn assert_says(environment: &[(&str, &str)], ordinal: u32, words: &str) {
    Child::start_with(with_driver(environment), "missing::says", &[&ordinal, &words]).finish();
}

/// With `library` as the driver.
fn assert_says_of(library: &Path, words: &str) {
    let dir = tempfile::tempdir().unwrap();
    for name in ["libcuda.so.1", "libcuda.so"] {
        std::os::unix::fs::symlink(library, dir.path().join(name)).unwrap();
    }
    assert_says(&[("LD_LIBRARY_PATH", dir.path().to_str().unwrap())], 0, words);
}

#[test]
fn no_driver() {
    // Not a library at all: so it is the same on machines that have a driver.
    assert_says_of(&Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"), "can't be loaded (");
    assert_says_of(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"),
        "install it, or in a container",
    );
}

#[test]
fn a_driver_that_lacks_something() {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let other = maps.lines().filter_map(|line| line.split_whitespace().last());
    let other = other.into_iter().find(|path| path.contains("libc.so")).unwrap();
    assert_says_of(Path::new(other), "the driver has no cuInit; install one");
}

#[test]
fn a_driver_that_cannot_be_used() {
    let cases = [
        ("100", "FAKE_ERROR_100 (words of the fake driver); no GPU is to be seen"),
        ("34", "stub"),
        ("3", "child of a fork"),
        ("803", "nvidia-smi says more"),
    ];
    for (status, words) in cases {
        assert_says(&[("FAKE_CUDA_INIT", status)], 0, words);
    }
}

#[test]
fn no_such_device() {
    assert_says(&[("FAKE_CUDA_DEVICES", "0")], 0, "device 0 was asked for, and there are 0");
    assert_says(&[], 2, "device 2 was asked for, and there are 2");
    assert_says(&[], u32::MAX, "CUDA_VISIBLE_DEVICES");
}
