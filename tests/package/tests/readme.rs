// SPDX-License-Identifier: MIT OR Apache-2.0
//! The README's programs in C and C++ are built as it says, with the lines for CMake that it shows, and run. (Those in
//! Rust are documentation tests of the library.)

use std::process::Command;

use shm_package_tests::*;
use tempfile::TempDir;

/// The README's code blocks in one language.
fn blocks(language: &str) -> Vec<String> {
    let readme = std::fs::read_to_string(source().join("README.md")).expect("the README");
    let fence = format!("\n```{language}\n");
    readme.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap_or_default().to_owned()).collect()
}

/// Builds each of the README's programs in `language` as a CMake project of its own, and gives back what they print.
fn run(language: &str, cmake_language: &str, target: &str) -> Vec<String> {
    blocks(language).iter().map(|program| run_one(program, language, cmake_language, target)).collect()
}

fn run_one(program: &str, language: &str, cmake_language: &str, target: &str) -> String {
    let (prefix, project, out, root) =
        (install(), TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let [lines] = &blocks("cmake")[..] else { panic!("one block of CMake") };
    let lists = format!(
        "cmake_minimum_required(VERSION 3.16)\nproject(app {cmake_language})\nadd_executable(app app.{language})\n{}",
        lines.replace("shm::shm", target)
    );
    std::fs::write(project.path().join(format!("app.{language}")), program).unwrap();
    std::fs::write(project.path().join("CMakeLists.txt"), lists).unwrap();
    cmake_project(project.path(), out.path())
        .define("CMAKE_PREFIX_PATH", prefix.path())
        .no_build_target(true)
        .build();
    must(Command::new(out.path().join("build/app")).env("SHM_ROOT", root.path()))
}

#[test]
fn the_program_in_c() {
    assert_eq!(run("c", "C", "shm::c"), ["hello\n"]);
}

#[test]
fn the_program_in_cpp() {
    let printed = run("cpp", "CXX", "shm::shm");
    assert_eq!(
        printed,
        [
            "1: Delphi, 570 m\n1048576 bytes at position 64\n",
            "9\ndivide threw: division by zero\n",
            "emarf on the device\nframe for all others\nemarf again\n"
        ]
    );
}
