// SPDX-License-Identifier: MIT OR Apache-2.0
//! Numbers that are random enough and come again with the same seed (splitmix64).

pub struct Random(u64);

/// One step of splitmix64: a good hash of a word.
pub fn mix(word: u64) -> u64 {
    let z = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// From `$SHM_TEST_SEED` or else the clock, and printed, so that a failure can be had again.
    pub fn printed() -> Random {
        let given = std::env::var("SHM_TEST_SEED").ok().and_then(|text| text.parse().ok());
        let clock = || std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
        let seed = given.unwrap_or_else(clock);
        eprintln!("SHM_TEST_SEED={seed}");
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
