// SPDX-License-Identifier: MIT OR Apache-2.0
//! Gives libshm.so its SONAME: programs that link it ask for the ABI (`libshm.so.0`), not for a file's name.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let abi = std::env::var("CARGO_PKG_VERSION_MAJOR").unwrap_or_default();
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libshm.so.{abi}");
}
