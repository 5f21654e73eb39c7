// SPDX-License-Identifier: MIT OR Apache-2.0
//! Offers a function to programs in any language, and serves `count` calls. Usage: add_server [service] [count]

#[path = "support/arguments.rs"]
mod arguments;

use arguments::arguments;
use shm::Function;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let given = arguments("/add")?;
    let function = Function::new(&given.topic, |a: i64, b: i64| a.wrapping_add(b))?;
    for _ in 0..given.count {
        function.serve_once()?;
    }
    println!("served {}", given.count);
    Ok(())
}
