// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a device topic's messages have in shared memory: where the payload is.

use bytemuck::{Pod, Zeroable};

use super::super::virtual_memory::Uuid;
use crate::error::{Error, Result};

/// "shm devi", little-endian.
const MAGIC: u64 = u64::from_le_bytes(*b"shm devi");
const VERSION: u32 = 1;

/// Values of `placement`.
const DEVICE: u32 = 1;
const HOST: u32 = 2;

/// The first bytes of each message. In host memory the payload follows.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Descriptor {
    magic: u64,
    version: u32,
    placement: u32,
    /// Of the payload, in bytes.
    len: u64,
    /// The rest says where the block is that has the payload at its start, and is zero in host memory.
    id: [u64; 2],
    size: u64,
    device: Uuid,
    door: u64,
    network: u64,
    reserved: [u64; 6],
}

/// Bytes of it; what follows is aligned as the message is.
pub(super) const SIZE: usize = 128;

const _: () = assert!(size_of::<Descriptor>() == SIZE && align_of::<Descriptor>() == 8);

/// A block of a publisher's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    /// Its own for ever: a random number, so that nobody who doesn't see the topic can ask for it.
    pub(super) id: [u64; 2],
    pub(super) size: u64,
    /// Whose memory it is.
    pub(super) device: Uuid,
    /// Where its publisher is asked for it.
    pub(super) door: u64,
    /// The network namespace that the door is in.
    pub(super) network: u64,
}

/// What a message says of its payload, read once and checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Payload {
    /// At the start of a block, which is as large.
    Device { place: Place, len: usize },
    /// From `SIZE` to the message's end.
    Host { len: usize },
}

/// The name that a publisher listens at.
pub(super) fn door_name(door: u64) -> String {
    format!("shm-device-{door:016x}")
}

/// Writes to the start of a message.
pub(super) fn write(message: &mut [u8], payload: &Payload) {
    let blank = Descriptor { magic: MAGIC, version: VERSION, ..Descriptor::zeroed() };
    let descriptor = match *payload {
        Payload::Device { place: Place { id, size, device, door, network }, len } => {
            Descriptor { placement: DEVICE, len: len as u64, id, size, device, door, network, ..blank }
        }
        Payload::Host { len } => Descriptor { placement: HOST, len: len as u64, ..blank },
    };
    message[..SIZE].copy_from_slice(bytemuck::bytes_of(&descriptor));
}

/// What `message` says, which anybody may have written.
pub(super) fn read(message: &[u8]) -> Result<Payload> {
    let damaged = |what: &str| Err(Error::Decode(format!("it isn't a device message: {what}")));
    let Some(start) = message.get(..SIZE) else { return damaged("it is too short for one") };
    let found: Descriptor = bytemuck::pod_read_unaligned(start);
    if found.magic != MAGIC {
        return damaged("it doesn't begin like one; its publisher is an ordinary one");
    }
    if found.version != VERSION {
        let Descriptor { version, .. } = found;
        return damaged(&format!("it is of version {version}, and this library reads {VERSION}"));
    }
    let Ok(len) = usize::try_from(found.len) else { return damaged("it says an impossible length") };
    match found.placement {
        DEVICE if found.len > found.size || found.size > isize::MAX as u64 || message.len() != SIZE => {
            damaged("its payload isn't inside its block")
        }
        DEVICE => {
            let Descriptor { id, size, device, door, network, .. } = found;
            Ok(Payload::Device { place: Place { id, size, device, door, network }, len })
        }
        HOST if message.len() - SIZE != len => damaged("its length isn't its payload's"),
        HOST => Ok(Payload::Host { len }),
        _ => damaged("it says no place that there is"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { id: [1, 2], size: 4096, device: [3; 16], door: 4, network: 5 };

    fn written(payload: Payload, after: usize) -> Vec<u8> {
        let mut message = vec![0xee; SIZE + after];
        write(&mut message, &payload);
        message
    }

    #[test]
    fn what_is_written_is_read() {
        for len in [0, 1, 4096] {
            let device = Payload::Device { place: PLACE, len };
            assert_eq!(read(&written(device, 0)).unwrap(), device);
            let host = Payload::Host { len };
            assert_eq!(read(&written(host, len)).unwrap(), host);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let device = |len| written(Payload::Device { place: PLACE, len }, 0);
        assert!(read(&device(4097)).is_err(), "beyond the block");
        assert!(
            read(&written(Payload::Device { place: PLACE, len: 1 }, 1)).is_err(),
            "more than a descriptor"
        );
        let endless = Place { size: u64::MAX, ..PLACE };
        assert!(read(&written(Payload::Device { place: endless, len: 1 }, 0)).is_err());
        assert!(read(&written(Payload::Host { len: 10 }, 9)).is_err());
        assert!(read(&written(Payload::Host { len: 9 }, 10)).is_err());
        for len in 0..SIZE {
            assert!(read(&device(1)[..len]).is_err());
        }
        // Its magic, its version, its placement.
        for at in 0..16 {
            let mut damaged = device(1);
            damaged[at] ^= 0x40;
            assert!(matches!(read(&damaged), Err(Error::Decode(_))), "byte {at}");
        }
    }
}
