// SPDX-License-Identifier: MIT OR Apache-2.0
//! How long a call took of its own account: without the time that its thread waited for a processor, and not at all when its
//! process was stopped meanwhile.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::support::delay::Delay;
use crate::support::shared::Shared;
use crate::words;

/// What no call may take: a second, since a busy machine, or a virtual one that stands still for a moment, isn't the library's fault;
/// `make storm` asks for 100 ms.
fn long() -> Duration {
    let given = std::env::var("SHM_STORM_LIMIT_MS").ok().and_then(|text| text.parse().ok());
    Duration::from_millis(given.unwrap_or(1000))
}

pub struct Calls {
    shared: Shared,
    place: usize,
    long: Duration,
}

impl Calls {
    pub fn new(shared: Shared, place: usize) -> Calls {
        Calls { shared, place, long: long() }
    }

    pub fn place(&self) -> usize {
        self.place
    }

    pub fn count(&self, word: usize, by: u64) {
        self.shared.add(word, by);
    }

    pub fn is_to_leave(&self) -> bool {
        self.shared.get(words::LEAVE + self.place) != 0
    }

    /// Calls, and counts the call as stuck when it took much longer than it was `meant` to.
    pub fn timed<T>(&self, name: &str, meant: Duration, call: impl FnOnce() -> T) -> T {
        let stops = self.shared.get(words::STOPS + self.place);
        let delay = Delay::start();
        let result = call();
        let took = delay.elapsed().saturating_sub(meant);
        // The parent counts before it stops and before it lets go on.
        if stops.is_multiple_of(2) && self.shared.get(words::STOPS + self.place) == stops {
            self.shared.word(words::LONGEST).fetch_max(took.as_micros() as u64, Ordering::Relaxed);
            if took > self.long {
                eprintln!("{name} of child {} took {took:?}", self.place);
                self.shared.add(words::STUCK, 1);
            }
        }
        result
    }
}
