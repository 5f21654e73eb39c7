// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compiles the C++ side against the headers of this tree.

fn main() {
    let headers = ["../../include", "../../cpp/include"];
    cxx_build::bridge("src/lib.rs")
        .file("src/peer.cpp")
        .includes(headers)
        .std("c++17")
        .compile("shm-interop");
    for watched in headers.into_iter().chain(["src"]) {
        println!("cargo:rerun-if-changed={watched}");
    }
}
