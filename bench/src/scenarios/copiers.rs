// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ways to copy with the CPU that the library has, against memcpy.
//!
//! Out of the user's memory into shared memory, in three states of the caches: hot, the same buffers again and again; cold,
//! buffers that were flushed out of all caches; and cold with every line of the target read afterwards, which who receives a
//! message does, and which stores past the caches make dearer. In one process, all in turn, each batch timed as a whole.

use std::hint::black_box;
use std::time::Instant;

use memmap2::MmapMut;
use serde::{Deserialize, Serialize};
use serde_json::json;
use shm::copier::cpu::{CpuCopy, ParallelCopy, ParallelOptions};

use super::{human, Bench};
use crate::floor::map;
use crate::machine::{pin, pin_to_both};
use crate::process::{Parent, Side};
use crate::report::{Goal, Row};
use crate::room::Room;
use crate::stats::{Better, Measured};
use crate::Result;

const NAME: &str = "copiers";
const LINE: usize = 64;
/// Bytes from which on the copy with several threads is measured too.
const PARALLEL_FROM: usize = 1 << 20;
/// Bytes that a batch copies, at least.
const BATCH: usize = 1 << 20;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Task {
    size: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Caches {
    Hot,
    Cold,
    ColdThenRead,
}

impl Caches {
    /// Emptying them needs an instruction that other CPUs keep to themselves.
    const ALL: &[Caches] = if cfg!(target_arch = "x86_64") {
        &[Caches::Hot, Caches::Cold, Caches::ColdThenRead]
    } else {
        &[Caches::Hot]
    };

    fn name(self) -> &'static str {
        match self {
            Caches::Hot => "hot",
            Caches::Cold => "cold",
            Caches::ColdThenRead => "cold, then read",
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Order {
    /// `None`: with several threads.
    copier: Option<String>,
    caches: Caches,
    batches: usize,
}

pub fn run(bench: &Bench) -> Result<Vec<Row>> {
    let exponents: &[usize] = bench.either(&[6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26], &[6, 12, 18, 22]);
    let mut rows = Vec::new();
    for size in exponents.iter().map(|exponent| 1 << exponent) {
        if bench.affords(NAME, size, 1) {
            rows.extend(measure(bench, size)?);
        }
    }
    Ok(rows)
}

/// memcpy first: it is the floor.
fn copiers(size: usize) -> Vec<Option<CpuCopy>> {
    let own = |copy: &CpuCopy| *copy == CpuCopy::Auto || copy.implementation(size) == *copy;
    let mut copiers: Vec<_> = CpuCopy::ALL.into_iter().filter(own).map(Some).collect();
    copiers.sort_by_key(|copy| *copy != Some(CpuCopy::Libc));
    if size >= PARALLEL_FROM {
        copiers.push(None);
    }
    copiers
}

fn measure(bench: &Bench, size: usize) -> Result<Vec<Row>> {
    let copiers = copiers(size);
    let batches = bench.either(((8 << 20) / size.max(BATCH)).max(1), 1);
    let mut side = Side::start(&bench.room, 0, &super::Task::Copiers(Task { size }))?;
    let mut rows = Vec::new();
    for &caches in Caches::ALL {
        let mut measured: Vec<Measured> = copiers.iter().map(|_| Measured::new(Better::More)).collect();
        for round in 0..bench.either(9, 4) {
            for (copier, measured) in copiers.iter().zip(&mut measured) {
                let copier = copier.map(|copy| copy.name().to_owned());
                let rates: Vec<f64> = side.ask(&Order { copier, caches, batches })?;
                if round > 0 {
                    measured.round(&rates);
                }
            }
        }
        for (copier, rates) in copiers.iter().zip(&measured) {
            let ratio = rates.ratio_to(&measured[0]);
            let params = json!({"caches": caches.name(), "size": human(size)});
            let name = copier.map_or("parallel", CpuCopy::name);
            let row = Row::new(NAME, name, params, rates, "GB/s").over_floor(ratio);
            let goal = Goal::at_least(ratio, 0.95, "x memcpy");
            rows.push(if *copier == Some(CpuCopy::Auto) { row.goal(goal) } else { row });
        }
    }
    Ok(rows)
}

pub fn side(task: &Task, room: &Room, parent: &Parent) -> Result<()> {
    let mut buffers = Buffers::new(room, task.size)?;
    // Its threads run where the one that makes it may.
    pin_to_both(room.cpus)?;
    let options = ParallelOptions { threads: 2, threshold: PARALLEL_FROM, ..Default::default() };
    let parallel = ParallelCopy::new(options)?;
    pin(room.cpus[0])?;
    parent.ready()?;
    while let Some(order) = parent.hear::<Order>()? {
        let copy = match &order.copier {
            Some(name) => Some(CpuCopy::from_name(name).ok_or("no copier has this name")?),
            None => None,
        };
        let mut rates = Vec::new();
        // What the turn before has left in the caches is not this one's business.
        let unheard = usize::from(order.caches == Caches::Hot);
        for batch in 0..order.batches + unheard {
            let rate = buffers.batch(order.caches, |dst, src| {
                assert_eq!(dst.len(), src.len());
                // SAFETY: two buffers of one length, of which one may be written to, so that they don't overlap.
                unsafe {
                    match copy {
                        Some(copy) => copy.copy(dst.as_mut_ptr(), src.as_ptr(), src.len()),
                        None => parallel.copy(dst.as_mut_ptr(), src.as_ptr(), src.len()),
                    }
                }
            });
            if batch >= unheard {
                rates.push(rate);
            }
        }
        parent.tell(&rates)?;
    }
    Ok(())
}

/// As many pairs of buffers as a batch copies.
struct Buffers {
    source: Vec<u8>,
    target: MmapMut,
    size: usize,
    stride: usize,
    count: usize,
}

impl Buffers {
    fn new(room: &Room, size: usize) -> Result<Buffers> {
        // Two lines apart, and not a power of two: neither neighbours nor all in one set of the caches.
        let stride = size.next_multiple_of(LINE) + 2 * LINE;
        let count = (BATCH / size).max(1);
        let mut target = map(room, NAME, stride * count)?;
        target.fill(1); // no page fault is left for the measurement
        Ok(Buffers { source: vec![2; stride * count], target, size, stride, count })
    }

    /// Gigabytes per second.
    fn batch(&mut self, caches: Caches, copy: impl Fn(&mut [u8], &[u8])) -> f64 {
        if caches != Caches::Hot {
            flush(&self.source);
            flush(&self.target);
        }
        let start = Instant::now();
        for index in 0..self.count {
            // In no order that a prefetcher follows; hot, the first one again and again.
            let at = if caches == Caches::Hot { 0 } else { index * 37 % self.count * self.stride };
            let target = &mut self.target[at..at + self.size];
            copy(target, &self.source[at..at + self.size]);
            if caches == Caches::ColdThenRead {
                black_box(target.iter().step_by(LINE).fold(0, |sum: u8, byte| sum.wrapping_add(*byte)));
            }
        }
        (self.size * self.count) as f64 / start.elapsed().as_nanos() as f64
    }
}

#[cfg(target_arch = "x86_64")]
fn flush(bytes: &[u8]) {
    for line in bytes.chunks(LINE) {
        // SAFETY: the address of a line of the slice; its contents stay.
        unsafe { core::arch::x86_64::_mm_clflush(line.as_ptr()) };
    }
    // SAFETY: orders the flushes before the copies.
    unsafe { core::arch::x86_64::_mm_mfence() };
}

#[cfg(not(target_arch = "x86_64"))]
fn flush(_: &[u8]) {}
