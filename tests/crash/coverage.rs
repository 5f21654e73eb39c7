// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every point that there is in the source must be one that the operations come by, and whatever others can see must
//! have a point: so nobody can add a store to shared memory, or a system call, at which no test kills.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Methods that are points where they are called.
const POINTS: &[&str] = &[
    ".store(",
    ".swap(",
    ".compare_exchange(",
    ".fetch_add(",
    ".fetch_and(",
    ".fetch_or(",
    ".fetch_max(",
    ".create_file(",
    ".remove_file(",
    ".remove_dir(",
    ".rename_dir(",
    ".make_dir(",
    ".open_made_dir(",
    ".apply(",
    ".apply_to_dir(",
    ".try_lock(",
    ".unlock(",
    ".describe(",
    ".stamp(",
    " store_then_barrier(",
    "gate::announce(",
    " pass_gate(",
    " punch(",
    "futex::wake_all(",
];

/// Where `point()` itself is called for its own place, not for its caller's.
const OWN_POINTS: &[&str] = &["src/os/fork.rs", "src/topic/root.rs"];

/// Not shared memory: words that no other process has.
const PRIVATE: &[(&str, &str)] = &[
    ("src/subscriber.rs", "taken["),
    ("src/topic/mod.rs", "self.joined.store("),
    ("src/rpc/function.rs", "self.0.store("),
    ("src/os/fork.rs", "LAST."),
    ("src/os/fork.rs", "PAGE."),
    ("src/os/fork.rs", "word.store(token"),
    ("src/os/fork.rs", "FORKING."),
    ("src/os/fork.rs", "REGISTERED."),
];

/// Points that no operation comes by, and why.
const UNREACHED: &[(&str, &str, &str)] = &[
    (
        "src/ring/reader.rs",
        "hold.store(0, Ordering::Release);",
        "another process has to publish between two instructions; tests/processes/stepping.rs kills there",
    ),
    ("src/topic/root.rs", "point();", "makes and removes the root itself, which a World already has"),
    (
        "src/topic/root.rs",
        ".apply_to_dir(",
        "makes the root itself for a group; tests/processes/shared_root.rs kills there, at each system call",
    ),
];

/// Calls that change what others see, each of which needs a `point()` before it in the same function.
const VISIBLE: &[&str] = &[
    "rustix::fs::mkdir",
    "rustix::fs::unlink",
    "rustix::fs::rename",
    "rustix::fs::rmdir",
    "rustix::fs::fallocate",
    "rustix::fs::ftruncate",
    "rustix::fs::fchmod",
    "rustix::fs::fchown",
    "OFlags::CREATE",
    ".write_all_at(",
    "F_OFD_SETLK,",
    "futex::wake(",
    "ManuallyDrop::drop(&mut self.file)",
    ".as_ptr();",
];

/// `src/` without tests, models, and what only `ffi` and `copier` have, which never write a word of shared memory.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<PathBuf> = crate::support::files_below(&root.join("src"));
    files.retain(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        path.is_file()
            && !["tests.rs", "models.rs", "gate_models.rs", "queue_models.rs", "stress.rs"].contains(&name)
            && !path.starts_with(root.join("src/ffi"))
            && !path.starts_with(root.join("src/copier"))
    });
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        // Tests at a file's end are not the library.
        let text = text.split("\nmod tests {").next().unwrap().to_owned();
        (path.strip_prefix(root).unwrap().to_str().unwrap().to_owned(), text)
    };
    files.into_iter().map(read).collect()
}

/// A point as the library names it, and its line.
type Point = (String, String);

/// Whether the point is in a function that passes its caller's place on.
fn passes_on(lines: &[&str], line: usize) -> bool {
    let Some(head) = lines[..=line].iter().rposition(|line| line.trim_start().contains("fn ")) else {
        return false;
    };
    lines[head.saturating_sub(3)..head].iter().any(|line| line.contains("track_caller"))
}

fn points_in_source() -> BTreeSet<Point> {
    let mut found = BTreeSet::new();
    for (file, text) in sources() {
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            let code = line.split("//").next().unwrap();
            let is_private = PRIVATE.iter().any(|(private, text)| file == *private && code.contains(text));
            if is_private || passes_on(&lines, number) || code.contains("fn ") {
                continue;
            }
            let own = OWN_POINTS.contains(&file.as_str()).then_some(" point(");
            for pattern in POINTS.iter().copied().chain(own) {
                let name = pattern.find(|c: char| c.is_alphabetic() || c == '_').unwrap();
                for (at, _) in code.match_indices(pattern) {
                    found
                        .insert((format!("{file}:{}:{}", number + 1, at + name + 1), line.trim().to_owned()));
                }
            }
        }
    }
    found
}

/// Compares the points in the source with those that were `reached`.
pub fn check(reached: &BTreeSet<String>) {
    let all = points_in_source();
    let exempt = |(place, line): &&Point| {
        UNREACHED.iter().any(|(file, text, _)| place.starts_with(&format!("{file}:")) && line.contains(text))
    };
    let missed: Vec<&Point> = all.iter().filter(|point| !reached.contains(&point.0)).collect();
    let (excused, missed): (Vec<&Point>, Vec<&Point>) = missed.into_iter().partition(exempt);
    println!("{} points in the source, {} killed at", all.len(), all.len() - excused.len());
    assert!(missed.is_empty(), "no operation comes by these points:\n{missed:#?}");
    for (file, text, reason) in UNREACHED {
        let is_it = |(place, line): &&Point| place.starts_with(&format!("{file}:")) && line.contains(text);
        assert!(excused.iter().any(is_it), "no need to excuse {text} any more: {reason}");
        println!("not reached: {file}: {text}: {reason}");
    }
}

#[test]
fn whatever_others_see_has_a_point() {
    let mut without = Vec::new();
    for (file, text) in sources() {
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            let code = line.split("//").next().unwrap();
            let is_visible = VISIBLE.iter().any(|call| code.contains(call));
            if !is_visible || file == "src/os/fork.rs" && code.contains("libc::") {
                continue;
            }
            let head = lines[..number].iter().rposition(|line| line.contains("fn ")).unwrap_or(0);
            if !lines[head..lines.len().min(number + 4)].iter().any(|line| line.contains("point();")) {
                without.push(format!("{file}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert!(without.is_empty(), "no point() in these functions:\n{without:#?}");
}

#[test]
fn shared_words_are_nothing_but_words() {
    for (file, text) in sources() {
        let is_own = ["src/sync.rs", "src/os/fork.rs", "src/os/futex.rs"].contains(&file.as_str());
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap();
            let is_atomic = code.contains("Atomic") && !code.contains("use ");
            let is_private = file == "src/topic/mod.rs" && code.contains("joined: AtomicU64")
                || code.contains("joined: AtomicU64::new(0)")
                || file == "src/rpc/function.rs" && code.contains("AtomicBool")
                || file == "src/subscriber.rs" && code.contains("AtomicU32");
            assert!(is_own || is_private || !is_atomic, "{file}:{}: what atomic is this? {line}", number + 1);
        }
    }
}
