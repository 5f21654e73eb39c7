// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which version this is.

use std::ffi::{c_char, CStr};

/// Major version of the library that this header belongs to.
pub const SHM_VERSION_MAJOR: u32 = 0;
/// Minor version of the library that this header belongs to.
pub const SHM_VERSION_MINOR: u32 = 1;
/// Patch version of the library that this header belongs to.
pub const SHM_VERSION_PATCH: u32 = 0;

const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(version) => version,
    Err(_) => panic!("a version has no NUL inside"),
};

/// Says which version of the library runs, as "major.minor.patch".
///
/// The string is constant and never freed. Any thread may call this at any time.
#[no_mangle]
pub extern "C" fn shm_version() -> *const c_char {
    VERSION.as_ptr()
}
