// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages are serde structs; on the wire they are msgpack arrays, as SHM_PACK makes them of a C++ class.

use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
pub struct InnerMessage {
    pub seq: u32,
    pub timestamp: u64,
    pub inner_val: i64,
    pub inner_str: String,
}

#[derive(Serialize, Deserialize)]
pub struct CustomMessage {
    pub seq: u32,
    pub timestamp: u64,
    pub val: i64,
    pub values: Vec<i64>,
    pub name: String,
    pub inner: InnerMessage,
}
