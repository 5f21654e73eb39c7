// SPDX-License-Identifier: MIT OR Apache-2.0
//! How bytes get between a topic's shared memory and the user's.

pub mod cpu;
