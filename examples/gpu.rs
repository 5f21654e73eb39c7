// SPDX-License-Identifier: MIT OR Apache-2.0
//! Publishes `count` texts from a GPU's memory and receives them into it. Without a GPU it says why. Usage: gpu [topic] [count]

#[path = "support/arguments.rs"]
mod arguments;

use arguments::arguments;
use shm::copier::{cuda::CudaCopier, SharedCopier};
use shm::{Publisher, Subscriber};
use std::error::Error;
use std::time::Duration;

fn main() -> Result<(), Box<dyn Error>> {
    let given = arguments("/gpu")?;
    let copier = match CudaCopier::new(0) {
        Err(missing @ shm::Error::NoDevice { .. }) => {
            println!("{missing}");
            return Ok(());
        }
        made => SharedCopier::new(made?)?,
    };
    let subscriber = Subscriber::new(&given.topic)?;
    let publisher = Publisher::new(&given.topic)?;

    for n in 0..given.count {
        // Stands in for a kernel's work. A program with CUDA code has device memory of its own, which does as well.
        let text = format!("hello {n}");
        let from = copier.alloc(text.len())?;
        let mut loan = publisher.loan(text.len())?;
        loan.copy_from_slice(text.as_bytes());
        // SAFETY: here and below the device's memory has as many bytes, and nobody else uses it.
        unsafe { copier.shm_to_user(from.as_ptr(), &loan)? };
        drop(loan);

        // SAFETY: as above.
        unsafe { publisher.publish_from(&copier, from.as_ptr(), from.len())? };

        let sample = subscriber.receive_timeout(Duration::from_secs(10))?.ok_or("no message in 10 s")?;
        let received = copier.copy_out(&sample)?;
        drop(sample);

        // What is in the device's memory now: back through a loan, which isn't published.
        let mut loan = publisher.loan(received.len())?;
        // SAFETY: as above.
        unsafe { copier.user_to_shm(&mut loan, received.as_ptr())? };
        println!("received {n} {}", std::str::from_utf8(&loan)?);
    }
    Ok(())
}
