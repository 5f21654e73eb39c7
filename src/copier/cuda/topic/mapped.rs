// SPDX-License-Identifier: MIT OR Apache-2.0
//! A subscriber's mappings of publishers' blocks: the private table that a message is looked up in.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::device::Device;
use super::super::virtual_memory::{check_reach, unreachable, Block};
use super::descriptor::Place;
use super::door::{Asked, Visit};
use crate::error::Result;
use crate::os::socket::network_namespace;

/// The blocks of all publishers that a subscriber has mapped.
pub(super) struct Mapped {
    device: Arc<Device>,
    /// Members of it may be publishers.
    group: Option<u32>,
    network: u64,
    blocks: HashMap<[u64; 2], (u64, Arc<Block>)>,
    /// Of the message that was received last.
    position: u64,
    /// By their doors.
    publishers: HashMap<u64, Publisher>,
}

struct Publisher {
    visit: Visit,
    /// Where the subscriber was when it was seen to be gone.
    gone_at: Option<u64>,
}

/// Where a payload is that is in device memory.
pub(super) enum Found {
    At(Arc<Block>),
    /// Its publisher is gone, and it was never mapped here.
    Lost,
}

impl Mapped {
    pub(super) fn new(device: Arc<Device>, group: Option<u32>) -> Mapped {
        let (blocks, publishers) = (HashMap::new(), HashMap::new());
        Mapped { device, group, network: network_namespace(), blocks, position: 0, publishers }
    }

    /// The message at `position` is received now.
    pub(super) fn come_to(&mut self, position: u64) {
        self.position = position;
    }

    /// The block at `place`, which the message that is received now is in.
    pub(super) fn find(&mut self, place: &Place, capacity: u32) -> Result<Found> {
        match self.blocks.get(&place.id) {
            // Of a block that it mapped as smaller a message can't be larger.
            Some((_, block)) if place.size <= block.size() as u64 => Ok(Found::At(block.clone())),
            Some(_) => Err(unreachable("the message says that its block is larger than it is")),
            None => self.map(place, capacity),
        }
    }

    #[cold]
    fn map(&mut self, place: &Place, capacity: u32) -> Result<Found> {
        // What it published was in the ring then, so at most a ring's length ahead.
        let position = self.position;
        self.sweep(|gone_at| position.saturating_sub(gone_at) >= capacity.into());
        check_reach(&self.device, place.device).inspect_err(|_| self.complain(place))?;
        if place.network != self.network && place.network != 0 && self.network != 0 {
            let what = "the publisher is in another network namespace, where it can't be asked for the block; have both share one";
            return Err(unreachable(what));
        }
        let Some(publisher) = self.visit(place.door)? else { return Ok(Found::Lost) };
        let descriptor = match publisher.visit.ask(place)? {
            Asked::Given(descriptor) => descriptor,
            Asked::Gone => return Ok(Found::Lost),
        };
        let block = Block::import(&self.device, &descriptor, place.size as usize)
            .inspect_err(|_| self.complain(place))?;
        let block = Arc::new(block);
        self.blocks.insert(place.id, (place.door, block.clone()));
        Ok(Found::At(block))
    }

    fn visit(&mut self, door: u64) -> Result<Option<&mut Publisher>> {
        if !self.publishers.contains_key(&door) {
            let Some(visit) = Visit::begin(door, self.group)? else { return Ok(None) };
            self.publishers.insert(door, Publisher { visit, gone_at: None });
        }
        Ok(self.publishers.get_mut(&door))
    }

    /// Has the publisher know, if it can be reached, that its block can't be mapped here.
    fn complain(&mut self, place: &Place) {
        if let Ok(Some(publisher)) = self.visit(place.door) {
            publisher.visit.complain(place);
        }
    }

    /// Lets go of publishers that are gone, when all was read that there was: nothing is to come any more of those who were gone before that was looked for.
    pub(super) fn sweep_idle(&mut self) {
        self.sweep(|_| true);
    }

    /// Looks who is gone, and lets go of those who were gone before at a position of which `is_past` says that nothing of theirs is in the ring any more.
    /// What samples are in stays mapped until they are released.
    fn sweep(&mut self, is_past: impl Fn(u64) -> bool) {
        let (blocks, position) = (&mut self.blocks, self.position);
        self.publishers.retain(|&door, publisher| {
            if publisher.gone_at.is_some_and(&is_past) {
                blocks.retain(|_, &mut (its, _)| its != door);
                return false;
            }
            if publisher.visit.is_over() {
                publisher.gone_at.get_or_insert(position);
            }
            true
        });
    }
}
