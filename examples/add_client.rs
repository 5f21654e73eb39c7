// SPDX-License-Identifier: MIT OR Apache-2.0
//! Calls the function of add_server `count` times, the last time with an argument too few. Usage: add_client [service] [count]

#[path = "support/arguments.rs"]
mod arguments;

use arguments::arguments;
use shm::{ClientOptions, FunctionCaller};
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let given = arguments("/add")?;
    let options = ClientOptions { wait_for_server: true, ..Default::default() };
    let add = FunctionCaller::with_options(&given.topic, None, &options)?;

    let last = given.count.saturating_sub(1);
    for n in 0..last {
        let sum: u64 = add.call((n, n + 1))?;
        println!("add({n}, {}) = {sum}", n + 1);
    }
    match add.call::<u64>((last,)) {
        Err(shm::Error::Remote { code, message }) => println!("add({last}) failed: {code} {message}"),
        other => return Err(format!("{other:?}").into()),
    }
    Ok(())
}
