// SPDX-License-Identifier: MIT OR Apache-2.0
//! How long something kept its thread, on a machine that does much else.

use std::time::{Duration, Instant};

/// Measures time, without that in which the thread could have run but others had the processor.
pub struct Delay {
    start: Instant,
    queued: Duration,
}

impl Delay {
    pub fn start() -> Delay {
        Delay { start: Instant::now(), queued: queued() }
    }

    pub fn elapsed(&self) -> Duration {
        self.start.elapsed().saturating_sub(queued() - self.queued)
    }
}

/// How long this thread has waited for a processor so far (proc_pid_schedstat(5), second field); nothing where the kernel doesn't say.
fn queued() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split(' ').nth(1).and_then(|number| number.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or(0))
}
