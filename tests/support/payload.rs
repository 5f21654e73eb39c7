// SPDX-License-Identifier: MIT OR Apache-2.0
//! Payloads of which every byte is checked: a mixture of two messages, or a byte of another, shows.

use super::random::mix;

/// Who published a message, and which of theirs it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Id {
    pub publisher: u64,
    pub sequence: u64,
}

/// Publisher, sequence, length.
pub const HEAD: usize = 24;

impl Id {
    /// How long this message is: mostly small, now and then up to `largest`.
    pub fn len(self, largest: usize) -> usize {
        let hash = mix(self.publisher << 40 ^ self.sequence);
        let most = match hash % 20 {
            0 => largest,
            1..=4 => largest.min(8 << 10),
            _ => 256,
        };
        HEAD + (hash >> 8) as usize % (most.saturating_sub(HEAD) + 1)
    }

    fn word(self, index: usize, len: usize) -> u64 {
        match index {
            0 => self.publisher,
            1 => self.sequence,
            2 => len as u64,
            _ => mix(self.publisher << 48 ^ self.sequence << 20 ^ index as u64),
        }
    }

    /// Writes the message into `payload`, all of it.
    pub fn fill(self, payload: &mut [u8]) {
        let len = payload.len();
        for (index, bytes) in payload.chunks_mut(8).enumerate() {
            bytes.copy_from_slice(&self.word(index, len).to_le_bytes()[..bytes.len()]);
        }
    }

    /// Whose message `payload` is; panics when any byte of it isn't what that one wrote.
    #[track_caller]
    pub fn of(payload: &[u8]) -> Id {
        let word = |index: usize| u64::from_le_bytes(payload[index * 8..][..8].try_into().unwrap());
        let id = Id { publisher: word(0), sequence: word(1) };
        id.check(payload);
        id
    }

    #[track_caller]
    pub fn check(self, payload: &[u8]) {
        for (index, bytes) in payload.chunks(8).enumerate() {
            let expected = self.word(index, payload.len()).to_le_bytes();
            assert!(bytes == &expected[..bytes.len()], "{self:?} is torn at byte {}", index * 8);
        }
    }
}
