// SPDX-License-Identifier: MIT OR Apache-2.0
//! Does one operation over and over in one thread, for `scripts/budgets.sh` to count its instructions:
//! `shm-budgets OPERATION COUNT`. What it costs to begin and to end doesn't depend on COUNT.

use std::hint::black_box;
use std::process::ExitCode;

use shm::{Client, Function, Publisher, Server, Subscriber};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Before the counted ones: by then each ring and queue has been around once, and all memory is there.
const WARM_UP: u64 = 1000;
const PAYLOAD: [u8; 64] = [7; 64];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shm-budgets: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [operation, count] = &arguments[..] else { return Err("wants OPERATION COUNT".into()) };
    let times = WARM_UP + count.parse::<u64>()?;
    match operation.as_str() {
        "publish" => publish(times),
        "receive" => receive(times),
        "call" => call(times),
        "typed" => typed(times),
        _ => Err(format!("no operation is called {operation}").into()),
    }
}

fn publish_one(publisher: &Publisher) -> Result {
    let mut loan = publisher.loan(PAYLOAD.len())?;
    loan.copy_from_slice(black_box(&PAYLOAD));
    black_box(loan.publish()?);
    Ok(())
}

/// The subscriber reads nothing: each message pushes out another, as it does for one that is slow.
fn publish(times: u64) -> Result {
    let _subscriber = Subscriber::new("publish")?;
    let publisher = Publisher::new("publish")?;
    for _ in 0..times {
        publish_one(&publisher)?;
    }
    Ok(())
}

/// With the publishing of what is received.
fn receive(times: u64) -> Result {
    let subscriber = Subscriber::new("receive")?;
    let publisher = Publisher::new("receive")?;
    for _ in 0..times {
        publish_one(&publisher)?;
        let sample = subscriber.try_receive()?.ok_or("nothing to receive")?;
        black_box(&sample[..]);
    }
    Ok(())
}

fn call(times: u64) -> Result {
    let server = Server::new("call")?;
    let client = Client::new("call")?;
    for _ in 0..times {
        let mut pending = client.send(black_box(&PAYLOAD))?;
        server.try_receive()?.ok_or("no request")?.reply(black_box(&PAYLOAD))?;
        let reply = pending.try_reply()?.ok_or("no reply")?;
        black_box(&reply[..]);
    }
    Ok(())
}

/// Only the function's side is typed: a `FunctionCaller` waits for the result, so it needs a second thread, and how long that takes
/// to come isn't the same twice.
fn typed(times: u64) -> Result {
    // In msgpack: an array of 4 and 5, and their sum.
    const ARGUMENTS: [u8; 3] = [0x92, 4, 5];
    const SUM: [u8; 1] = [9];
    let add = Function::new("typed", |a: i32, b: i32| a + b)?;
    let client = Client::new("typed")?;
    for _ in 0..times {
        let mut pending = client.send(black_box(&ARGUMENTS))?;
        add.serve_once()?;
        let reply = pending.try_reply()?.ok_or("no reply")?;
        if reply[..] != SUM {
            return Err(format!("the sum of 4 and 5 came as {:?}", &reply[..]).into());
        }
    }
    Ok(())
}
