// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ring by itself, on private memory: laps, evictions, histories, helping, and words that were damaged.

use super::*;

struct Words {
    slots: Vec<Word>,
    tail: Word,
}

impl Words {
    fn new(capacity: usize) -> Self {
        Words { slots: (0..capacity).map(|_| Word::new(0)).collect(), tail: Word::new(0) }
    }

    fn ring(&self) -> Ring<'_> {
        Ring::new(&self.slots, &self.tail)
    }

    fn publish(&self, index: u32) -> u64 {
        self.ring().publish(chunk(index), |_| true, |_| ()).unwrap()
    }
}

fn chunk(index: u32) -> ChunkId {
    ChunkId::new(1, index)
}

/// Polls and releases at once.
fn next(reader: &mut Reader, words: &Words) -> Option<(u64, u32)> {
    let hold = Word::new(0);
    match reader.poll(words.ring(), &hold, |_| ()) {
        Poll::Pinned { position, chunk } => {
            assert_eq!(hold.load(Ordering::Relaxed), chunk.hold_word());
            Some((position, chunk.index()))
        }
        Poll::Empty | Poll::Damaged => {
            assert_eq!(hold.load(Ordering::Relaxed), 0);
            None
        }
    }
}

struct Holds<'a>(&'a [Word]);

impl Holder for Holds<'_> {
    fn each_hold(&self, mut found: impl FnMut(u64)) {
        self.0.iter().map(|hold| hold.load(Ordering::Acquire)).filter(|&word| word != 0).for_each(&mut found);
    }
}

#[test]
fn zeroed_memory_is_an_empty_ring() {
    let words = Words::new(4);
    assert_eq!(words.ring().end(), 4);
    assert_eq!(words.ring().chunks().count(), 0);
    let mut reader = Reader::join(words.ring(), None, u64::MAX);
    assert_eq!(next(&mut reader, &words), None);
    assert_eq!(words.publish(7), 4);
    assert_eq!(next(&mut reader, &words), Some((4, 7)));
    assert_eq!(next(&mut reader, &words), None);
}

#[test]
fn the_smallest_ring_works() {
    let words = Words::new(2);
    let mut reader = Reader::join(words.ring(), None, 0);
    for n in 0..10 {
        words.publish(n);
        assert_eq!(next(&mut reader, &words), Some((2 + u64::from(n), n)));
    }
    for n in 0..10 {
        words.publish(n);
    }
    assert_eq!(next(&mut reader, &words), Some((21, 9)));
    assert_eq!(reader.lost(), 9);
}

#[test]
fn a_lapped_reader_counts_every_message_it_missed() {
    // Miri takes a thousand times as long.
    let capacities: &[usize] = if cfg!(miri) { &[2, 8] } else { &[2, 4, 8, 64] };
    for &capacity in capacities {
        for published in 1..5 * capacity as u64 {
            let words = Words::new(capacity);
            let mut reader = Reader::join(words.ring(), None, 0);
            for n in 0..published {
                words.publish(n as u32);
            }
            let mut got = 0;
            let mut last = None;
            while let Some((position, index)) = next(&mut reader, &words) {
                assert_eq!(position, capacity as u64 + u64::from(index));
                assert!(last.is_none_or(|last| position > last));
                last = Some(position);
                got += 1;
            }
            assert_eq!(got + reader.lost(), published, "capacity {capacity}");
            assert_eq!(last, Some(capacity as u64 + published - 1), "the newest is never lost");
        }
    }
}

#[test]
fn an_evicted_message_is_lost_to_readers_and_known_as_a_hole_to_late_ones() {
    let words = Words::new(8);
    let mut early = Reader::join(words.ring(), None, 0);
    let positions: Vec<u64> = (0..5).map(|n| words.publish(n)).collect();
    words.ring().evict(positions[1], chunk(1));
    words.ring().evict(positions[3], chunk(3));
    let mut late = Reader::join(words.ring(), None, u64::MAX);
    let mut latest = Reader::join(words.ring(), None, 2);
    let all = |reader: &mut Reader| -> Vec<u32> {
        std::iter::from_fn(|| next(reader, &words).map(|(_, index)| index)).collect()
    };
    assert_eq!((all(&mut early), early.lost()), (vec![0, 2, 4], 2));
    assert_eq!((all(&mut late), late.lost()), (vec![0, 2, 4], 0));
    assert_eq!((all(&mut latest), latest.lost()), (vec![2, 4], 0));
}

#[test]
fn holes_that_were_lapped_are_no_losses_either() {
    let words = Words::new(4);
    let positions: Vec<u64> = (0..4).map(|n| words.publish(n)).collect();
    words.ring().evict(positions[1], chunk(1));
    let mut reader = Reader::join(words.ring(), None, u64::MAX);
    for n in 4..14 {
        words.publish(n);
    }
    let mut got = 0;
    while next(&mut reader, &words).is_some() {
        got += 1;
    }
    assert_eq!(got + reader.lost(), 13, "three of the history and ten new ones");
}

#[test]
fn whoever_finds_the_hint_behind_moves_it() {
    let words = Words::new(4);
    words.publish(0);
    // As if the publisher of 0 had been killed between its slot and the hint.
    words.tail.store(0, Ordering::Relaxed);
    assert_eq!(words.ring().end(), 5);
    assert_eq!(words.publish(1), 5);
    assert_eq!(words.tail.load(Ordering::Relaxed), 6);
}

#[test]
fn a_tail_that_contradicts_the_slots_is_an_error_not_a_hang() {
    let words = Words::new(4);
    for n in 0..20 {
        words.publish(n);
    }
    words.tail.store(6, Ordering::Relaxed);
    assert!(words.ring().publish(chunk(99), |_| true, |_| ()).is_err());
    for tail in [u64::MAX, u64::MAX - 1, 1 << 63, 0] {
        words.tail.store(tail, Ordering::Relaxed);
        let _ = words.ring().publish(chunk(99), |_| true, |_| ());
        let mut reader = Reader::join(words.ring(), None, u64::MAX);
        for _ in 0..100 {
            next(&mut reader, &words);
        }
    }
}

#[test]
fn a_slot_from_the_future_is_damage_to_a_reader_too() {
    let words = Words::new(4);
    let mut reader = Reader::join(words.ring(), None, 0);
    for slot in &words.slots {
        slot.store(0x7fff_0000 << 32, Ordering::Relaxed);
    }
    assert_eq!(reader.poll(words.ring(), &Word::new(0), |_| ()), Poll::Damaged);
}

#[test]
fn random_words_give_outcomes() {
    // Any deterministic source does: xorshift.
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    // Miri takes a thousand times as long.
    for _ in 0..if cfg!(miri) { 50 } else { 2000 } {
        let words = Words::new(8);
        for slot in &words.slots {
            slot.store(random(), Ordering::Relaxed);
        }
        words.tail.store(random() >> (random() % 64), Ordering::Relaxed);
        let mut reader = Reader::join(words.ring(), None, random() % 10);
        for _ in 0..20 {
            next(&mut reader, &words);
        }
        let mut retiring = Retiring::default();
        retiring.adopt(words.ring().chunks().collect(), []);
        while retiring.evict_oldest(words.ring(), u64::MAX) {}
        let _ = words.ring().publish(chunk(1), |_| true, |_| ());
    }
}

struct Nobody;

impl Gates for Nobody {
    fn each_gate(&self, _found: impl FnMut(Gated)) {}
}

#[test]
fn where_nobody_gates_nobody_waits_however_far_on_the_tail_is() {
    let words = Words::new(4);
    for position in [4, 5, 1 << 40, u64::MAX - 4, u64::MAX - 3, u64::MAX] {
        let limit = Limit::default();
        assert!(limit.admits(words.ring(), &Nobody, position), "first look, at {position}");
        assert!(limit.admits(words.ring(), &Nobody, position), "once more, at {position}");
    }
}

#[test]
fn reclaim_frees_what_left_the_ring_and_is_not_held() {
    let words = Words::new(4);
    let holds = [Word::new(chunk(1).hold_word()), Word::new(0)];
    let mut retiring = Retiring::default();
    for n in 0..7 {
        retiring.published(words.publish(n), chunk(n));
    }
    let mut free = Vec::new();
    assert_eq!(retiring.reclaim(words.ring(), &Holds(&holds), |id| free.push(id.index())), 2);
    assert_eq!(free, [0, 2]);
    assert_eq!(retiring.limbo(), [chunk(1)]);
    holds[0].store(0, Ordering::Relaxed);
    assert_eq!(retiring.reclaim(words.ring(), &Holds(&holds), |id| free.push(id.index())), 1);
    assert_eq!(free, [0, 2, 1]);
}

#[test]
fn a_chunk_that_comes_back_at_the_same_place_is_a_later_message() {
    let words = Words::new(2);
    let mut reader = Reader::join(words.ring(), None, 0);
    words.publish(5);
    words.publish(6);
    words.publish(5);
    assert_eq!(next(&mut reader, &words), Some((4, 5)), "a lapped reader keeps a slack of one here");
    assert_eq!(reader.lost(), 2);
}

/// A slot has the lower 32 bits of its lap only.
#[test]
fn positions_are_whole_beyond_all_tags() {
    for laps in [0, 1 << 31, (1 << 32) - 2, (1 << 32) - 1, 1 << 32, (1 << 32) + 1, 77 << 32, u64::MAX >> 3] {
        let words = Words::new(4);
        // As if all had been published that often.
        let end = (laps + 1) * 4;
        words.tail.store(end, Ordering::Relaxed);
        for (index, slot) in (0..).zip(&words.slots).filter(|_| laps > 0) {
            slot.store(Slot::new(laps as u32, chunk(index)).0, Ordering::Relaxed);
        }
        let mut expected: Vec<_> = (end - 4..end).filter(|_| laps > 0).zip((0..4).map(chunk)).collect();
        for published in 0..10 {
            let ring = words.ring();
            let mut found: Vec<_> = ring.chunks().collect();
            found.sort_unstable();
            assert_eq!(found, expected, "{laps} laps");
            assert_eq!((ring.gaps(), ring.hint_lag()), (vec![], 0), "{laps} laps");
            // A publisher that died before it moved the hint.
            words.tail.store(end + published - u64::from(published > 0), Ordering::Relaxed);
            assert_eq!(ring.hint_lag(), i64::from(published > 0), "{laps} laps");
            expected.push((words.publish(10 + published as u32), chunk(10 + published as u32)));
            expected.drain(..expected.len().saturating_sub(4));
        }
        // One that still has what it had a lap ago.
        let position = end + 9;
        let before = Slot::new(words.ring().tag(position - 4), chunk(0));
        words.ring().slot(position).store(before.0, Ordering::Relaxed);
        words.publish(0);
        assert_eq!(words.ring().gaps(), [position], "{laps} laps");
    }
}
