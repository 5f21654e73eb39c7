// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a file goes over a topic: pieces, each acknowledged by every subscriber on the topic `<topic>.ack`.

use bytemuck::{Pod, Zeroable};

/// What stands before the bytes of each piece.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub struct Piece {
    pub index: u64,
    /// How many pieces the file has; at least one.
    pub count: u64,
}

/// A subscriber's word: it has all pieces before `next`.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub struct Progress {
    pub subscriber: u64,
    pub next: u64,
}

pub const HEAD: usize = size_of::<Piece>();
