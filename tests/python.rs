// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `examples-python/` has, as far as it needs nothing but Python, or a torch that is installed. What needs NumPy, `scripts/test.sh` tests.

#[path = "support/fake_cuda.rs"]
mod fake_cuda;
#[path = "support/mod.rs"]
mod support;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One on the PATH, which may be anybody's, and the system's, for which Debian has torch.
const PYTHONS: [&str; 2] = ["python3", "/usr/bin/python3"];

/// The first Python that can import all of `modules`; otherwise why none can.
fn python_with(modules: &str) -> Result<&'static str, String> {
    let mut reasons = Vec::new();
    for python in PYTHONS {
        match Command::new(python).args(["-c", &format!("import {modules}")]).output() {
            Ok(output) if output.status.success() => return Ok(python),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                reasons.push(format!("{python}: {}", said.lines().last().unwrap_or("it can't be run")));
            }
            Err(error) => reasons.push(format!("{python}: {error}")),
        }
    }
    Err(reasons.join("; "))
}

/// Of this build: cargo makes it beside the tests.
fn library() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().join("libshm.so")
}

/// Runs a file of `tests/python`, which fails when one of its tests does.
fn run(python: &str, file: &str, environment: &[(&str, OsString)]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(file);
    let mut command = Command::new(python);
    command.arg(path).env("SHM_LIBRARY", library()).envs(environment.iter().cloned());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{file}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn device_messages_are_tensors() {
    let python = match python_with("ctypes") {
        Ok(python) => python,
        Err(reason) => return support::skipped(&format!("no Python with ctypes: {reason}")),
    };
    let path = fake_cuda::search_path(fake_cuda::fake_driver());
    run(python, "device_test.py", &[("LD_LIBRARY_PATH", path)]);
}

#[test]
fn messages_are_tensors_of_torch() {
    match python_with("torch") {
        Ok(python) => run(python, "torch_test.py", &[]),
        Err(reason) => support::skipped(&format!("no torch (Debian: python3-torch): {reason}")),
    }
}
