// SPDX-License-Identifier: MIT OR Apache-2.0
//! A plain struct is its own message: the same bytes in C, C++ and Rust.

use bytemuck::{Pod, Zeroable};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub struct Pose {
    pub id: u64,
    pub x: f64,
    pub y: f64,
    pub z: f64,
}
