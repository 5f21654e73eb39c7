// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the tests share: shm built by CMake once and installed as often as needed, consumer projects
//! configured and built against it, and their programs run.
//!
//! The core is built into the cargo target directory that the tests themselves were built into, so that it
//! is compiled once and not once a consumer.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// The repository's root.
pub fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository's root")
}

/// A consumer project, or the folder of `programs` that they all build.
pub fn consumers(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("consumers").join(name)
}

/// The version that everything installed must carry.
pub fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// The cargo target directory that these tests were built into: `target/debug/deps/test-…` lies three deep.
pub fn cargo_target_dir() -> PathBuf {
    let test = std::env::current_exe().expect("this program's path");
    test.ancestors().nth(3).expect("a test lies in target/<profile>/deps").to_path_buf()
}

/// A CMake project to be configured and built under `out`, in the way of the `cmake` crate: it takes from a build
/// script's environment what isn't told, and a test has none.
pub fn cmake_project(project: &Path, out: &Path) -> cmake::Config {
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut config = cmake::Config::new(project);
    config.out_dir(out).target(&host).host(&host).profile("Release").define("CMAKE_INSTALL_LIBDIR", "lib");
    config
}

/// Builds shm with CMake and installs it into a fresh prefix.
pub fn install() -> TempDir {
    let shared = cargo_target_dir().join("package-tests");
    std::fs::create_dir_all(&shared).expect("a folder in the target directory");
    // The tests are processes of their own, and would all build in this tree at once.
    let lock = File::create(shared.join("lock")).expect("the lock's file");
    lock.lock().expect("the lock");
    cmake_project(&source(), &shared)
        .define("SHM_CARGO_TARGET_DIR", cargo_target_dir())
        .define("SHM_BUILD_EXAMPLES", "OFF")
        .define("SHM_BUILD_TESTS", "OFF")
        .define("SHM_WITH_CXX", "ON")
        .no_build_target(true)
        .build();
    let prefix = TempDir::new().expect("a temporary folder");
    let build = shared.join("build");
    must(Command::new("cmake").arg("--install").arg(build).arg("--prefix").arg(prefix.path()));
    prefix
}

/// Builds a consumer project against a prefix and gives back its build tree.
pub fn build_against(project: &str, prefix: &Path, out: &Path) -> PathBuf {
    cmake_project(&consumers(project), out).define("CMAKE_PREFIX_PATH", prefix).no_build_target(true).build();
    out.join("build")
}

/// Runs one of the consumers' programs in a fresh root; it must report the version and the message.
pub fn assert_greets(program: &mut Command) {
    let root = TempDir::new().expect("a temporary folder");
    let printed = must(program.env("SHM_ROOT", root.path()));
    assert_eq!(printed, format!("{} hello\n", version()), "{program:?}");
}

/// Runs a command that must succeed, and gives back what it printed.
pub fn must(command: &mut Command) -> String {
    let Output { status, stdout, stderr } =
        command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stdout = String::from_utf8(stdout).expect("UTF-8");
    assert!(status.success(), "{command:?}: {status}\n{stdout}\n{}", String::from_utf8_lossy(&stderr));
    stdout
}

/// The value of each entry of one kind (`NEEDED`, `SONAME`, …) in a binary's dynamic section.
pub fn dynamic_entries(binary: &Path, kind: &str) -> Vec<String> {
    let printed = must(Command::new("readelf").arg("-dW").arg(binary));
    let kind = format!("({kind})");
    printed
        .lines()
        .filter(|line| line.contains(&kind))
        .filter_map(|line| Some(line.split_once('[')?.1.split_once(']')?.0.to_string()))
        .collect()
}
