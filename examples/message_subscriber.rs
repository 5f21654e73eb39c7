// SPDX-License-Identifier: MIT OR Apache-2.0
//! Receives `count` messages as msgpack. Usage: message_subscriber [topic] [count]

#[path = "support/arguments.rs"]
mod arguments;
#[path = "support/message.rs"]
mod message;

use arguments::arguments;
use message::CustomMessage;
use shm::{Publisher, Subscriber};
use std::error::Error;
use std::time::Duration;

fn main() -> Result<(), Box<dyn Error>> {
    let given = arguments("/message")?;
    let subscriber = Subscriber::new(&given.topic)?;
    let acks = Publisher::new(&format!("{}.ack", given.topic))?;
    acks.publish(b"ready")?;

    for n in 0..given.count {
        let sample = subscriber.receive_timeout(Duration::from_secs(10))?.ok_or("no message in 10 s")?;
        print!("received {n} ");
        print_message(&sample.message()?);
    }

    acks.publish(b"done")?;
    Ok(())
}

fn print_message(message: &CustomMessage) {
    let CustomMessage { seq, val, values, name, inner, .. } = message;
    let values = values.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
    let (inner_val, inner_str) = (inner.inner_val, &inner.inner_str);
    println!("seq={seq} val={val} values={values} name={name} inner={inner_val},{inner_str}");
}
