// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each way into a user's build: the project is configured, built, and its programs are run.

use std::path::Path;
use std::process::{Command, Output};

use shm_package_tests::*;
use tempfile::TempDir;

fn temporary() -> TempDir {
    TempDir::new().expect("a temporary folder")
}

/// Runs what a consumer project built: C over the shared and the static library, and C++ in two units.
fn assert_programs(build: &Path, with_cxx: bool) {
    assert_greets(&mut Command::new(build.join("c_shared")));
    assert_eq!(linked_shm(&build.join("c_shared")), ["libshm.so.0"]);
    assert_greets(&mut Command::new(build.join("c_static")));
    assert_eq!(linked_shm(&build.join("c_static")), [""; 0]);
    if with_cxx {
        assert_greets(&mut Command::new(build.join("cxx")));
        assert_eq!(linked_shm(&build.join("cxx")), ["libshm.so.0"]);
    }
}

/// The shared libraries of shm that a program asks the loader for.
fn linked_shm(program: &Path) -> Vec<String> {
    dynamic_entries(program, "NEEDED").into_iter().filter(|name| name.contains("shm")).collect()
}

/// Configures a consumer that must be turned away, and gives back what it said.
fn refused(project: &str, prefix: &Path, define: &str) -> String {
    let build = temporary();
    let mut cmake = Command::new("cmake");
    cmake.arg("-S").arg(consumers(project)).arg("-B").arg(build.path()).arg(define);
    let Output { status, stderr, .. } =
        cmake.env("CMAKE_PREFIX_PATH", prefix).output().expect("cmake to start");
    assert!(!status.success(), "{project} with {define} was configured");
    // CMake breaks its messages into lines where it likes.
    String::from_utf8_lossy(&stderr).split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn find_package() {
    let (prefix, out) = (install(), temporary());
    assert_programs(&build_against("find-package", prefix.path(), out.path()), true);
}

#[test]
fn find_package_in_a_moved_prefix() {
    let (prefix, elsewhere, out) = (install(), temporary(), temporary());
    let moved = elsewhere.path().join("moved prefix");
    must(Command::new("mv").arg(prefix.path()).arg(&moved));
    assert_programs(&build_against("find-package", &moved, out.path()), true);
}

#[test]
fn find_package_for_c_without_msgpack() {
    let (prefix, out) = (install(), temporary());
    cmake_project(&consumers("find-package-c"), out.path())
        .define("CMAKE_PREFIX_PATH", prefix.path())
        .define("CMAKE_IGNORE_PATH", "/usr/include;/usr/local/include")
        .no_build_target(true)
        .build();
    assert_programs(&out.path().join("build"), false);
}

#[test]
fn find_package_for_cxx_without_msgpack_says_what_is_missing() {
    let prefix = install();
    let said = refused("find-package", prefix.path(), "-DCMAKE_IGNORE_PATH=/usr/include;/usr/local/include");
    assert!(said.contains("component cxx needs msgpack.hpp"), "{said}");
}

#[test]
fn find_package_refuses_a_version_that_is_not_there() {
    let prefix = install();
    let said = refused("find-package", prefix.path(), "-DWANTED_VERSION=99.0");
    assert!(said.contains(&format!("version: {}", version())), "{said}");
}

#[test]
fn add_subdirectory() {
    let out = temporary();
    cmake_project(&consumers("add-subdirectory"), out.path())
        .define("SHM_SOURCE", source())
        .define("SHM_CARGO_TARGET_DIR", cargo_target_dir())
        .no_build_target(true)
        .build();
    let build = out.path().join("build");
    assert_programs(&build, true);
    for part in ["examples-c", "examples-cpp", "tests"] {
        assert!(!build.join("shm").join(part).exists(), "{part} was built for a project that only uses shm");
    }
}

#[test]
fn fetch_content() {
    let out = temporary();
    cmake_project(&consumers("fetch-content"), out.path())
        .define("FETCHCONTENT_SOURCE_DIR_SHM", source())
        .define("SHM_CARGO_TARGET_DIR", cargo_target_dir())
        .no_build_target(true)
        .build();
    assert_programs(&out.path().join("build"), true);
}

/// `cc roundtrip.c $(pkg-config … shm)`, with the prefix moved after it was installed.
fn compile_with_pkg_config(pkg_config: &[&str], compiler: &[&str], prefix: &Path, program: &Path) {
    let flags = must(
        Command::new("pkg-config")
            .args(pkg_config)
            .arg("shm")
            .env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig")),
    );
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let cc = cc::Build::new().target(&host).host(&host).opt_level(0).cargo_metadata(false).get_compiler();
    must(
        cc.to_command()
            .args(compiler)
            .arg(consumers("programs").join("roundtrip.c"))
            .args(flags.split_whitespace())
            .arg("-o")
            .arg(program),
    );
}

/// An installed prefix that has been moved.
fn moved(place: &TempDir) -> std::path::PathBuf {
    let moved = place.path().join("moved");
    must(Command::new("mv").arg(install().path()).arg(&moved));
    moved
}

#[test]
fn pkg_config_shared() {
    let place = temporary();
    let (prefix, program) = (moved(&place), place.path().join("shared"));
    compile_with_pkg_config(&["--cflags", "--libs"], &[], &prefix, &program);
    assert_greets(Command::new(&program).env("LD_LIBRARY_PATH", prefix.join("lib")));
    assert_eq!(linked_shm(&program), ["libshm.so.0"]);
}

#[test]
fn pkg_config_static() {
    let place = temporary();
    let (prefix, program) = (moved(&place), place.path().join("static"));
    compile_with_pkg_config(&["--static", "--cflags", "--libs"], &["-static"], &prefix, &program);
    assert_greets(&mut Command::new(&program));
    assert_eq!(dynamic_entries(&program, "NEEDED"), [""; 0]);
}

#[test]
fn pkg_config_reports_the_version() {
    let prefix = install();
    let said = must(
        Command::new("pkg-config")
            .args(["--modversion", "shm"])
            .env("PKG_CONFIG_PATH", prefix.path().join("lib/pkgconfig")),
    );
    assert_eq!(said.trim(), version());
}
