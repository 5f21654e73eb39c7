// SPDX-License-Identifier: MIT OR Apache-2.0
//! The driver made for tests, built when it is needed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The directory of the fake driver, built when it isn't there or is older than its source.
pub fn fake_driver() -> &'static Path {
    // Once, for all the threads that need it.
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(build)
}

/// LD_LIBRARY_PATH for a process that is to find what is in `driver` first.
pub fn search_path(driver: &Path) -> std::ffi::OsString {
    let before = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    // An empty one would be the current directory.
    let others = std::env::split_paths(&before).filter(|path| !path.as_os_str().is_empty());
    std::env::join_paths(std::iter::once(driver.to_owned()).chain(others)).unwrap()
}

fn build() -> PathBuf {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cuda");
    let source = sources.join("fake_driver.c");
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fake-cuda");
    let library = dir.join("libcuda.so.1");
    let age = |path: &Path| path.metadata().and_then(|data| data.modified()).ok();
    if age(&library) <= age(&source).max(age(&sources.join("fake_vmm.c"))) {
        std::fs::create_dir_all(&dir).unwrap();
        // Other processes build it at the same time.
        let made = dir.join(format!("made-by-{}", std::process::id()));
        let mut command = Command::new(std::env::var_os("CC").unwrap_or("cc".into()));
        command.args(["-std=c11", "-g", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-pthread"]);
        let built = command.arg("-Wl,-soname,libcuda.so.1").arg("-o").args([&made, &source]).status();
        assert!(built.as_ref().is_ok_and(|status| status.success()), "{built:?}");
        std::fs::rename(made, library).unwrap();
    }
    dir
}
