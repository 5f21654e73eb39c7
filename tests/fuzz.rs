// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the fuzz targets found worth keeping (`fuzz/corpus`), and random changes of it, without their toolchain: each case is a
//! topic's files with words that say what they shouldn't, and what is done with the topic. `make fuzz` searches for more.

#[path = "../fuzz/src/lib.rs"]
mod fuzz;
#[path = "support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};

use arbitrary::{Arbitrary, Unstructured};
use support::random::Random;
use support::{rounds, Root};

/// Random cases of each target in an ordinary run.
const ROUNDS: u64 = 150;
/// Bytes that say what a case is; more make it no better.
const MOST: u64 = 600;

/// Runs the kept cases, then random ones.
fn search<C: for<'a> Arbitrary<'a>>(target: &str, body: fn(&Path, &C)) {
    let root = Root::new();
    let last = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{target}"));
    // A crash leaves no other trace of the case.
    eprintln!("the case that ran last: {}", last.display());
    let run = |bytes: &[u8]| {
        std::fs::write(&last, bytes).unwrap();
        let case = C::arbitrary_take_rest(Unstructured::new(bytes));
        body(root.path(), &case.unwrap());
    };
    let kept = kept(target);
    kept.iter().for_each(|bytes| run(bytes));
    let mut random = Random::printed();
    for _ in 0..rounds(ROUNDS) {
        run(&mutant(&kept, &mut random));
    }
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    assert!(!maps.contains(root.text()), "mappings were left: {maps}");
    root.assert_empty();
    std::fs::remove_file(last).unwrap();
}

fn kept(target: &str) -> Vec<Vec<u8>> {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let kept: Vec<_> = support::files_below(&place).iter().map(|path| std::fs::read(path).unwrap()).collect();
    assert!(!kept.is_empty(), "nothing in {}", place.display());
    kept
}

/// The start of one kept case and the end of another, with some bytes changed.
fn mutant(kept: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let part = |random: &mut Random| -> Vec<u8> {
        let from = &kept[random.below(kept.len() as u64) as usize];
        let at = random.below(from.len() as u64 + 1) as usize;
        if random.below(2) == 0 {
            from[..at].to_vec()
        } else {
            from[at..].to_vec()
        }
    };
    let mut bytes = part(random);
    bytes.append(&mut part(random));
    for _ in 0..random.below(8) {
        let at = random.below(bytes.len() as u64 + 1) as usize;
        match random.below(3) {
            0 => bytes.insert(at, random.next() as u8),
            1 => bytes.extend(random.next().to_ne_bytes()),
            _ => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = random.next() as u8),
        }
    }
    bytes.truncate(MOST as usize);
    bytes
}

#[test]
fn files_changed_before_they_are_used() {
    search("attach", fuzz::attach);
}

#[test]
fn files_changed_between_calls() {
    search("in_use", fuzz::in_use);
}

#[test]
fn files_changed_during_calls() {
    search("live", fuzz::live);
}

#[test]
fn changed_files_looked_at_from_beside() {
    search("audit", fuzz::audit);
}

#[test]
fn files_of_a_service_changed_before_and_between_and_during_calls() {
    search("rpc", fuzz::rpc);
}
