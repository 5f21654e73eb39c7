// SPDX-License-Identifier: MIT OR Apache-2.0
//! The part of the audit that only services have: the queue, and the calls that it names.

use std::collections::{BTreeMap, BTreeSet};

use super::audit::Look;
use super::layout::{status, HEAD_OFFSET};
use crate::pool::Segment;
use crate::ring::{ChunkId, Ring};
use crate::rpc::call::{CallId, Failure, Stage};
use crate::sync::load_acquire;

impl Look<'_> {
    /// Whether `head` is where it can be; returns what the queue names that wasn't taken yet.
    fn at_queue(&mut self, ring: Ring<'_>) -> BTreeSet<ChunkId> {
        let [head] = self.files.ring.words(HEAD_OFFSET, 1) else { return BTreeSet::new() };
        let (head, end) = (load_acquire(head).max(ring.capacity()), ring.end());
        if head > end || end - head > ring.capacity() {
            self.found("C1", format!("what was taken ends at {head}, and the requests at {end}"));
        }
        ring.chunks().filter(|(position, _)| *position >= head).map(|(_, entry)| entry).collect()
    }

    pub(super) fn at_calls(&mut self, ring: Ring<'_>, segments: &BTreeMap<u32, Segment>) {
        let queued = self.at_queue(ring);
        let geometry = self.files.peers.geometry;
        for client in 0..geometry.participants {
            let word = self.status(client).unwrap_or(status::FREE);
            for index in 0..geometry.calls {
                self.at_call(client, index, word, &queued, segments);
            }
        }
    }

    fn at_call(
        &mut self,
        client: u32,
        index: u32,
        status_word: u64,
        queued: &BTreeSet<ChunkId>,
        segments: &BTreeMap<u32, Segment>,
    ) {
        let Some(call) = self.files.peers.call(client, index) else { return };
        let state = call.state();
        let id = CallId { token: state.token, client, index };
        let what = format!("call {index} of participant {client}");
        if state.stage != Stage::Idle && !status::is_client(status_word) {
            self.found("I6", format!("{what} is {:?}, but that isn't a client", state.stage));
            return;
        }
        match state.stage {
            Stage::Idle | Stage::Failed(Failure::Died | Failure::Dropped) => return,
            Stage::Unknown | Stage::Failed(Failure::Unknown) => {
                self.found("layout", format!("{what} is in no state that there is"));
                return;
            }
            Stage::Queued if !queued.contains(&id.entry()) => {
                // One who died, or is at this moment, between the two.
                if self.is_alive(client) {
                    self.found("C1", format!("{what} is queued, but isn't in the queue"));
                }
            }
            Stage::Claimed(server) if !self.status(server).is_some_and(status::is_server) => {
                self.found("C2", format!("{what} is claimed by {server}, which isn't a server"));
            }
            Stage::Queued | Stage::Claimed(_) | Stage::Answered(_) => {}
        }
        let (chunk, is_whose) = match state.stage {
            Stage::Answered(reply) => (reply, "reply"),
            _ => (call.request(), "request"),
        };
        let header = segments.get(&chunk.segment()).map(|view| (view.header(chunk.index()), view));
        match header {
            Some((Some((_, [of, len, _])), view)) if of == id.word() && len <= view.payload_size() => {}
            Some((Some((_, [of, len, _])), _)) => {
                self.found("C3", format!("the {is_whose} of {what} says that it is of {of:#x}, {len} bytes"));
            }
            Some((None, _)) | None => {
                self.found("C3", format!("the {is_whose} of {what}, {chunk:?}, isn't in any segment"));
            }
        }
    }
}
