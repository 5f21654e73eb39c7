// SPDX-License-Identifier: MIT OR Apache-2.0
//! The examples: whatever a publisher in Rust, C or C++ publishes, a subscriber in each of them receives; and a function in each of
//! them can be called from each.
//!
//! Programs in C and C++ are taken from the CMake build tree that SHM_EXAMPLES_DIR names; without it they are built
//! first.

#[path = "support/fake_cuda.rs"]
mod fake_cuda;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

const LANGUAGES: [&str; 3] = ["Rust", "C", "C++"];
const COUNT: u64 = 10;
/// Built where the tests are, the library would be gone for a moment while others of them load it.
const OWN_TARGET: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/examples");

/// The folders that the programs of each of LANGUAGES are in.
fn programs() -> &'static [PathBuf; 3] {
    static PROGRAMS: OnceLock<[PathBuf; 3]> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let cmake = std::env::var_os("SHM_EXAMPLES_DIR").map_or_else(build_cmake, PathBuf::from);
        [build_rust(), cmake.join("examples-c"), cmake.join("examples-cpp")]
    })
}

/// The profile's folder, which has `deps` with this test and `examples`.
fn profile_dir() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    test.parent().and_then(Path::parent).expect("target/<profile>/deps").to_owned()
}

/// Cargo builds examples along with all tests, but not along with this one alone.
fn build_rust() -> PathBuf {
    let dir = profile_dir();
    let profile = match dir.file_name().and_then(|name| name.to_str()).expect("a profile") {
        "debug" => "dev",
        other => other,
    };
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--examples", "--profile", profile, "--target-dir"]);
    cargo.arg(OWN_TARGET).current_dir(env!("CARGO_MANIFEST_DIR"));
    assert!(cargo.status().expect("cargo runs").success(), "the Rust examples can't be built");
    Path::new(OWN_TARGET).join(dir.file_name().expect("a profile")).join("examples")
}

/// Builds the C and C++ examples under target/. The tests of this file may run as processes of their own: one builds.
fn build_cmake() -> PathBuf {
    let target = profile_dir().parent().expect("target").to_owned();
    let out = target.join("examples");
    fs::create_dir_all(&out).expect("target can be written");
    let lock = File::create(out.join("lock")).expect("target can be written");
    lock.lock().expect("a lock");
    let host = host();
    cmake::Config::new(env!("CARGO_MANIFEST_DIR"))
        .out_dir(&out)
        .target(&host)
        .host(&host)
        .profile(if cfg!(debug_assertions) { "Debug" } else { "Release" })
        .define("SHM_CARGO_TARGET_DIR", OWN_TARGET)
        .define("SHM_WITH_CXX", "ON")
        .define("SHM_BUILD_TESTS", "OFF")
        .define("SHM_INSTALL", "OFF")
        .build_target("all")
        .build();
    out.join("build")
}

/// This machine as the cmake crate wants to be told, since no build script runs it.
fn host() -> String {
    let rustc = Command::new("rustc").arg("-vV").output().expect("rustc runs");
    let version = String::from_utf8(rustc.stdout).expect("UTF-8");
    version.lines().find_map(|line| line.strip_prefix("host: ")).expect("a host").to_owned()
}

/// A running example, killed when it is dropped before its end: a root is removed only when nobody uses it.
struct Program(Option<Child>);

impl Program {
    fn start(path: &Path, topic: &str, root: &Path) -> Program {
        Program::start_with(Command::new(path), path, topic, root)
    }

    fn start_with(mut command: Command, path: &Path, topic: &str, root: &Path) -> Program {
        command.arg(topic).arg(COUNT.to_string()).env("SHM_ROOT", root);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Program(Some(command.spawn().unwrap_or_else(|error| panic!("{}: {error}", path.display()))))
    }

    /// What it printed; it must have succeeded. It ends by itself, since it waits 10 s at most.
    fn output(mut self, who: &str) -> String {
        let output = self.0.take().map(Child::wait_with_output).expect("a child").expect("its output");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{who}: {}: {errors}", output.status);
        assert_eq!(errors, "", "{who}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill().and_then(|()| child.wait());
        }
    }
}

/// Runs every pair of languages, in turns the publisher first and the subscriber first.
fn every_pair(kind: &str, line: impl Fn(u64) -> String) {
    let expected: String = (0..COUNT).map(|n| format!("received {n} {}\n", line(n))).collect();
    for pair in 0..LANGUAGES.len().pow(2) {
        let (from, to) = (pair / LANGUAGES.len(), pair % LANGUAGES.len());
        let who = format!("{kind} from {} to {}", LANGUAGES[from], LANGUAGES[to]);
        let path = |language: usize, role: &str| programs()[language].join(format!("{kind}_{role}"));
        let publisher = (path(from, "publisher"), format!("published {COUNT}\n"));
        run_pair(&who, &publisher, &(path(to, "subscriber"), expected.clone()), pair % 2 == 0);
    }
}

/// Runs two programs together, each of which has to print what stands with it and to leave nothing.
fn run_pair(who: &str, one: &(PathBuf, String), other: &(PathBuf, String), is_one_first: bool) {
    let root = tempfile::Builder::new().prefix("shm-examples-").tempdir_in("/dev/shm").expect("a root");
    let start = |(path, _): &(PathBuf, String)| Program::start(path, "/example", root.path());
    let (first, second) = if is_one_first { (one, other) } else { (other, one) };
    let running = [(start(first), first), (start(second), second)];
    for (program, (path, expected)) in running {
        let whose = format!("{who}, {}", path.display());
        assert_eq!(program.output(&whose), *expected, "{whose}");
    }
    let left: Vec<_> = fs::read_dir(root.path()).expect("the root").collect();
    assert!(left.is_empty(), "{who} left {left:?}");
}

#[test]
fn raw() {
    every_pair("raw", |n| format!("hello {n}"));
}

#[test]
fn message() {
    every_pair("message", |n| {
        let (second, third, inner) = (n + 1, n + 2, n * 2);
        format!("seq={n} val={n} values={n},{second},{third} name=message {n} inner={inner},inner {n}")
    });
}

#[test]
fn plain() {
    every_pair("plain", |n| {
        let (x, y, z) = (n as f64 * 0.5, n as f64 * 1.5, n as f64 * 2.5);
        format!("id={n} x={x} y={y} z={z}")
    });
}

/// Functions with arguments: each language calls each, the client first as well as the server first.
#[test]
fn add() {
    let sums: String = (0..COUNT - 1).map(|n| format!("add({n}, {}) = {}\n", n + 1, 2 * n + 1)).collect();
    let mistake = "failed: -32602 /example takes 2 arguments, but 1 were given";
    let expected = format!("{sums}add({}) {mistake}\n", COUNT - 1);
    for pair in 0..2 * LANGUAGES.len().pow(2) {
        let (calling, serving) = (pair / 2 / LANGUAGES.len(), pair / 2 % LANGUAGES.len());
        let who = format!("{} calls {}", LANGUAGES[calling], LANGUAGES[serving]);
        let client = (programs()[calling].join("add_client"), expected.clone());
        let server = (programs()[serving].join("add_server"), format!("served {COUNT}\n"));
        run_pair(&who, &client, &server, pair % 2 == 0);
    }
}

/// A service of plain data in C, in turns its client first and its server first.
#[test]
fn plain_call() {
    let sums: String = (0..COUNT - 1).map(|n| format!("{n} + {} = {}\n", n + 1, 2 * n + 1)).collect();
    let expected = format!("{sums}{} + {} failed: the sum is too large\n", COUNT - 1, i32::MAX);
    let client = (programs()[1].join("plain_client"), expected);
    let server = (programs()[1].join("plain_server"), format!("served {COUNT}, cancelled 0\n"));
    for is_client_first in [true, false] {
        run_pair("plain data", &client, &server, is_client_first);
    }
}

/// A copier of one's own, in C and in C++.
#[test]
fn copier() {
    let lines: String = (0..COUNT).map(|n| format!("received {n} hello {n}\n")).collect();
    let expected = format!("{lines}mappings: 1 to write, 1 to read; blocks left: 0\n");
    for language in [1, 2] {
        let who = format!("a copier in {}", LANGUAGES[language]);
        let root = tempfile::Builder::new().prefix("shm-examples-").tempdir_in("/dev/shm").expect("a root");
        let program = Program::start(&programs()[language].join("copier"), "/example", root.path());
        assert_eq!(program.output(&who), expected, "{who}");
        assert!(fs::read_dir(root.path()).expect("the root").next().is_none(), "{who} left something");
    }
}

/// From a GPU's memory into it, with the driver made for tests; and where there is none that works, why.
#[test]
fn gpu() {
    let driver = fake_cuda::fake_driver();
    // Not a library at all: so it is the same on machines that have a driver.
    let broken = tempfile::tempdir().expect("a directory");
    for name in ["libcuda.so.1", "libcuda.so"] {
        fs::write(broken.path().join(name), "no driver").expect("a file");
    }
    let lines: String = (0..COUNT).map(|n| format!("received {n} hello {n}\n")).collect();
    for (language, programs) in LANGUAGES.iter().zip(programs()) {
        assert_eq!(run_gpu(language, programs, driver), lines, "{language}");
        let why = run_gpu(language, programs, broken.path());
        assert!(
            why.starts_with("no CUDA device can be used: NVIDIA's driver can't be loaded"),
            "{language}: {why}"
        );
    }
}

/// What the program prints that finds the driver in `driver`.
fn run_gpu(language: &str, programs: &Path, driver: &Path) -> String {
    let who = format!("from a GPU to a GPU in {language}");
    let root = tempfile::Builder::new().prefix("shm-examples-").tempdir_in("/dev/shm").expect("a root");
    let path = programs.join("gpu");
    let mut command = Command::new(&path);
    command.env("LD_LIBRARY_PATH", fake_cuda::search_path(driver));
    let printed = Program::start_with(command, &path, "/example", root.path()).output(&who);
    assert!(fs::read_dir(root.path()).expect("the root").next().is_none(), "{who} left something");
    printed
}
