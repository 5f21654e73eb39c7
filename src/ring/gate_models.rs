// SPDX-License-Identifier: MIT OR Apache-2.0
//! Loom models of the gate: what a reliable subscriber has yet to read is neither overwritten nor evicted (I7), also while it joins, and
//! a publisher that sleeps at the gate is woken.
//!
//! The order of a joiner's steps is that of `topic/join.rs`, whose other half, the files, loom can't have.

use std::sync::Arc;
use std::time::Duration;

use loom::thread;

use super::gate::{self, Gated, Gates, Limit};
use super::models::{explore, receive, Shared, Writer};
use super::*;
use crate::sleep::{sleep_together, wake_gate};
use crate::sync::store_then_barrier;

const FREE: u64 = 0;
const JOINING: u64 = 1;
const LIVE: u64 = 2;

/// One reliable subscriber's entry.
struct Entry {
    status: Word,
    cursor: Word,
}

impl Entry {
    fn new(status: u64, cursor: u64) -> Arc<Entry> {
        Arc::new(Entry { status: Word::new(status), cursor: Word::new(cursor) })
    }
}

impl Gates for Entry {
    fn each_gate(&self, mut found: impl FnMut(Gated)) {
        let status = self.status.load(Ordering::Acquire);
        if status != FREE {
            let cursor = self.cursor.load(Ordering::Acquire);
            found(Gated { participant: 0, cursor, is_live: status == LIVE });
        }
    }
}

/// Publishes up to `messages`, or fewer when the gate stays shut.
fn publish(shared: &Shared, entry: &Entry, writer: &mut Writer, limit: &Limit, messages: u32) {
    for _ in 0..messages {
        let published = writer.publish_if(shared, |position| limit.admits(shared.ring(), entry, position));
        published.into_iter().for_each(|position| limit.look_ahead(shared.ring(), entry, position));
    }
}

/// Reads one message, if there is one, and lets the publishers go on.
fn read(shared: &Shared, entry: &Entry, reader: &mut Reader, last: &mut u64) {
    if receive(shared, reader, last, 0) {
        store_then_barrier(&entry.cursor, reader.next());
    }
}

/// `writers` publish `messages` each while a subscriber joins and reads. Whatever the moment of its join: it loses nothing.
fn join_among(writers: u32, messages: u32, reads: u32) {
    let shared = Shared::new(2, 1, (writers * messages) as usize);
    let entry = Entry::new(FREE, 0);
    let publishing: Vec<_> = (0..writers)
        .map(|w| {
            let (shared, entry) = (Arc::clone(&shared), Arc::clone(&entry));
            thread::spawn(move || {
                let mut writer = Writer::new(w * messages..(w + 1) * messages, false);
                publish(&shared, &entry, &mut writer, &Limit::default(), messages);
            })
        })
        .collect();
    gate::announce(shared.ring(), &entry.cursor);
    entry.status.store(JOINING, Ordering::Release);
    store_then_barrier(&entry.cursor, gate::start(shared.ring()));
    entry.status.store(LIVE, Ordering::Release);
    let (mut reader, mut last) = (Reader::at(entry.cursor.load(Ordering::Relaxed)), 0);
    (0..reads).for_each(|_| read(&shared, &entry, &mut reader, &mut last));
    publishing.into_iter().for_each(|thread| thread.join().unwrap());
    while receive(&shared, &mut reader, &mut last, 0) {}
    assert_eq!(reader.lost(), 0, "I7");
}

#[test]
fn models_a_reliable_joiner_loses_nothing() {
    explore(3, || join_among(1, 5, 1));
}

#[test]
fn models_a_reliable_joiner_among_two_publishers_loses_nothing() {
    explore(2, || join_among(2, 2, 1));
}

/// One that is there from the start, with publishers that are short of chunks and evict what they may.
#[test]
fn models_what_is_unread_is_not_evicted() {
    explore(3, || {
        let shared = Shared::new(2, 1, 1);
        let entry = Entry::new(LIVE, 2);
        let (theirs, status) = (Arc::clone(&shared), Arc::clone(&entry));
        let publisher = thread::spawn(move || {
            let (mut writer, limit) = (Writer::new(0..1, false), Limit::default());
            for _ in 0..3 {
                publish(&theirs, &status, &mut writer, &limit, 1);
                let ring = theirs.ring();
                let end = gate::unread_from(ring, &*status, ring.end());
                writer.retiring.evict_oldest(ring, end);
                writer.reclaim(&theirs);
            }
        });
        let (mut reader, mut last) = (Reader::at(2), 0);
        (0..2).for_each(|_| read(&shared, &entry, &mut reader, &mut last));
        publisher.join().unwrap();
        while receive(&shared, &mut reader, &mut last, 0) {}
        assert_eq!(reader.lost(), 0, "I7");
    });
}

/// G2 and G3 (`wait.rs`, `sleep.rs`): a publisher that finds the gate shut after it said that it waits is woken by the reader that opens it.
#[test]
fn models_no_wake_at_the_gate_is_missed() {
    explore(3, || {
        let shared = Shared::new(2, 1, 2);
        let entry = Entry::new(LIVE, 2);
        let mut writer = Writer::new(0..2, false);
        publish(&shared, &entry, &mut writer, &Limit::default(), 2);
        let (waiting, wakes) = (Arc::new(Word::new(0)), Arc::new(Word::new(0)));
        let (theirs, status) = (Arc::clone(&shared), Arc::clone(&entry));
        let (flag, count) = (Arc::clone(&waiting), Arc::clone(&wakes));
        let publisher = thread::spawn(move || {
            let is_open = || Limit::default().admits(theirs.ring(), &*status, 4);
            while !is_open() {
                sleep_together(&flag, &count, Duration::MAX, is_open);
            }
        });
        let (mut reader, mut last) = (Reader::at(2), 0);
        assert!(receive(&shared, &mut reader, &mut last, 0));
        // As `pass_gate`.
        store_then_barrier(&entry.cursor, reader.next());
        wake_gate(&waiting, &wakes);
        publisher.join().unwrap();
    });
}
