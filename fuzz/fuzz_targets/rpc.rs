// SPDX-License-Identifier: MIT OR Apache-2.0
#![no_main]

libfuzzer_sys::fuzz_target!(|case: shm_fuzz::RpcCase| shm_fuzz::rpc(shm_fuzz::root(), &case));
