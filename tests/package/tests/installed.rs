// SPDX-License-Identifier: MIT OR Apache-2.0
//! What lies in an installed prefix, and what the library shows to the linker.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use shm_package_tests::*;

/// The files below `root`, relative to it.
fn files_below(root: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("an entry").path();
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else {
                let relative = path.strip_prefix(root).expect("a path below the root");
                found.insert(relative.to_str().expect("UTF-8").to_string());
            }
        }
    }
    found
}

#[test]
fn the_prefix_holds_these_files_and_no_others() {
    let prefix = install();
    let so = format!("lib/libshm.so.{}", version());
    let mut expected: BTreeSet<String> = [
        "lib/libshm.a",
        "lib/libshm.so",
        "lib/libshm.so.0",
        &so,
        "lib/cmake/shm/shm-config.cmake",
        "lib/cmake/shm/shm-config-version.cmake",
        "lib/cmake/shm/shm-msgpack.cmake",
        "lib/cmake/shm/shm-targets.cmake",
        "lib/pkgconfig/shm.pc",
    ]
    .map(String::from)
    .into();
    let headers: BTreeSet<String> =
        ["include", "cpp/include"].iter().flat_map(|folder| files_below(&source().join(folder))).collect();
    for header in [
        "shm/shm.h",
        "shm/shm.hpp",
        "shm/client.hpp",
        "shm/server.hpp",
        "shadesmar/message.h",
        "shadesmar/rpc/server.h",
    ] {
        assert!(headers.contains(header), "the tree has no {header}");
    }
    expected.extend(headers.into_iter().map(|header| format!("include/{header}")));
    assert_eq!(files_below(prefix.path()), expected);
}

#[test]
fn the_names_of_the_library_lead_to_one_file() {
    let prefix = install();
    let lib = prefix.path().join("lib");
    let target = |name: &str| fs::read_link(lib.join(name)).expect("a link").display().to_string();
    assert_eq!(target("libshm.so"), "libshm.so.0");
    assert_eq!(target("libshm.so.0"), format!("libshm.so.{}", version()));
    assert_eq!(dynamic_entries(&lib.join("libshm.so"), "SONAME"), ["libshm.so.0"]);
}

#[test]
fn nothing_installed_names_the_place_it_was_built_or_installed_in() {
    let prefix = install();
    for file in
        files_below(prefix.path()).iter().filter(|file| file.contains("cmake/") || file.ends_with(".pc"))
    {
        let text = fs::read_to_string(prefix.path().join(file)).expect("a text file");
        for place in [prefix.path(), &source(), &cargo_target_dir()] {
            assert!(!text.contains(place.to_str().expect("UTF-8")), "{file} names {}", place.display());
        }
    }
}

#[test]
fn the_library_needs_nothing_but_the_system() {
    let prefix = install();
    let allowed = ["libc.so.6", "libgcc_s.so.1", "libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1"];
    for needed in dynamic_entries(&prefix.path().join("lib/libshm.so"), "NEEDED") {
        assert!(allowed.contains(&needed.as_str()) || needed.starts_with("ld-linux"), "needs {needed}");
    }
}

#[test]
fn the_library_exports_its_header_and_nothing_else() {
    let prefix = install();
    let printed = must(
        Command::new("nm")
            .args(["-D", "--defined-only", "--format=posix"])
            .arg(prefix.path().join("lib/libshm.so")),
    );
    let exported: BTreeSet<&str> =
        printed.lines().filter_map(|line| line.split_whitespace().next()).collect();
    for name in ["shm_open", "shm_unlink", "shmget", "shmat", "shmdt", "shmctl"] {
        assert!(!exported.contains(name), "{name} belongs to libc");
    }
    let header = fs::read_to_string(prefix.path().join("include/shm/shm.h")).expect("the header");
    let declared = declared_functions(&header);
    assert!(declared.contains("shm_version"), "{declared:?}");
    assert_eq!(exported, declared);
}

/// The names of the functions that a header declares: what stands before a `(` outside of comments.
fn declared_functions(header: &str) -> BTreeSet<&str> {
    let mut functions = BTreeSet::new();
    let mut rest = header;
    while let Some(open) = rest.find("/*") {
        functions.extend(names_before_parenthesis(&rest[..open]));
        rest = rest[open..].split_once("*/").expect("a comment that ends").1;
    }
    functions.extend(names_before_parenthesis(rest));
    functions
}

fn names_before_parenthesis(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split_once("//").map_or(line, |(code, _)| code))
        .flat_map(|line| line.match_indices('(').map(|(at, _)| &line[..at]))
        .filter_map(|before| {
            let start = before.rfind(|c: char| !c.is_ascii_alphanumeric() && c != '_').map_or(0, |at| at + 1);
            before[start..].starts_with("shm_").then_some(&before[start..])
        })
}

#[test]
fn the_static_library_brings_what_rust_asks_of_the_system() {
    let scratch = tempfile::TempDir::new().expect("a temporary folder");
    let empty = scratch.path().join("empty.rs");
    fs::write(&empty, "").expect("a file");
    let mut rustc = Command::new("rustc");
    rustc.args(["--crate-type", "staticlib", "--print", "native-static-libs"]).arg(&empty);
    let output = rustc.current_dir(scratch.path()).output().expect("rustc to start");
    let said = String::from_utf8_lossy(&output.stderr).to_string();
    let asked = said.split_once("native-static-libs:").unwrap_or_else(|| panic!("{said}")).1;
    let pc = fs::read_to_string(install().path().join("lib/pkgconfig/shm.pc")).expect("shm.pc");
    // Compiler drivers add these two themselves, shared or static as the link is.
    for library in asked.split_whitespace().filter(|library| !["-lgcc_s", "-lc"].contains(library)) {
        assert!(pc.contains(library), "rustc asks for {library}, shm.pc has it not:\n{pc}");
    }
}
