// SPDX-License-Identifier: MIT OR Apache-2.0
//! How long a message takes from one process to another, beside the floor: a bare cache line that two processes pass to and
//! fro. Both are halves of round trips, taken in turn, on two processors. Usage: latency
//!
//! `make bench` measures in earnest; this says in a second what to expect here.

use shm::{Publisher, Subscriber};
use std::error::Error;
use std::hint::spin_loop;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const ROUNDS: usize = 15;
const TRIPS: u64 = 20_000;

fn main() -> Result<(), Box<dyn Error>> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    match &given[..] {
        [] => measure(),
        [role, file] if role == "peer" => answer(file),
        _ => Err("usage: latency".into()),
    }
}

fn measure() -> Result<(), Box<dyn Error>> {
    if std::thread::available_parallelism()?.get() < 2 {
        println!("SKIPPED: two processes that spin need two processors");
        return Ok(());
    }
    let file = tempfile::NamedTempFile::new_in("/dev/shm")?;
    file.as_file().set_len(4096)?;
    let line = Line::map(file.path().to_str().ok_or("a strange temporary directory")?)?;
    let there = Publisher::new("/latency.there")?;
    let back = Subscriber::new("/latency.back")?;
    let peer = Peer::start(file.path())?;
    pin(0);
    // The peer says that it is there, by the line.
    spin_until(|| Ok((line.load() == 1).then_some(())))?;
    let (mut floor, mut message) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        floor.push(nanoseconds_one_way(|n| {
            line.store(2 * n);
            spin_until(|| Ok((line.load() == 2 * n + 1).then_some(())))
        })?);
        message.push(nanoseconds_one_way(|n| {
            let mut loan = there.loan(64)?;
            loan[..8].copy_from_slice(&n.to_le_bytes());
            loan.publish()?;
            let sample = spin_until(|| back.try_receive())?;
            if sample[..8] != n.to_le_bytes() {
                return Err("another message came back".into());
            }
            Ok(())
        })?);
    }
    peer.end()?;
    let (floor, message) = (median(floor), median(message));
    println!(
        "a message of 64 bytes: {message:.0} ns one way; a bare cache line: {floor:.0} ns; {:.2} x",
        message / floor
    );
    Ok(())
}

/// The other process: gives each line and each message back.
fn answer(file: &str) -> Result<(), Box<dyn Error>> {
    let line = Line::map(file)?;
    let there = Subscriber::new("/latency.there")?;
    let back = Publisher::new("/latency.back")?;
    pin(1);
    line.store(1);
    for _ in 0..ROUNDS {
        for n in 1..=TRIPS {
            spin_until(|| Ok((line.load() == 2 * n).then_some(())))?;
            line.store(2 * n + 1);
        }
        for _ in 0..TRIPS {
            let sample = spin_until(|| there.try_receive())?;
            let mut loan = back.loan(64)?;
            loan[..8].copy_from_slice(&sample[..8]);
            loan.publish()?;
        }
    }
    // Stays until the other side has seen the last answer.
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}

fn nanoseconds_one_way(
    mut round_trip: impl FnMut(u64) -> Result<(), Box<dyn Error>>,
) -> Result<f64, Box<dyn Error>> {
    let start = Instant::now();
    for n in 1..=TRIPS {
        round_trip(n)?;
    }
    Ok(start.elapsed().as_nanos() as f64 / TRIPS as f64 / 2.0)
}

/// Spins: with a processor each, nobody needs to sleep. Gives up on a peer that is silent for ten seconds.
fn spin_until<T>(mut look: impl FnMut() -> shm::Result<Option<T>>) -> Result<T, Box<dyn Error>> {
    let mut since = None;
    loop {
        for _ in 0..1 << 16 {
            if let Some(found) = look()? {
                return Ok(found);
            }
            spin_loop();
        }
        if since.get_or_insert_with(Instant::now).elapsed() > Duration::from_secs(10) {
            return Err("the other process is silent for 10 s".into());
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// One word in a shared mapping.
struct Line(memmap2::MmapRaw);

impl Line {
    fn map(path: &str) -> std::io::Result<Line> {
        let file = std::fs::File::options().read(true).write(true).open(path)?;
        memmap2::MmapRaw::map_raw(&file).map(Line)
    }

    fn word(&self) -> &AtomicU64 {
        // SAFETY: the mapping is a page, aligned and alive as long as `self`, and only ever used as this atomic word.
        unsafe { &*self.0.as_ptr().cast::<AtomicU64>() }
    }

    fn load(&self) -> u64 {
        self.word().load(Ordering::Acquire)
    }

    fn store(&self, value: u64) {
        self.word().store(value, Ordering::Release);
    }
}

/// The child, ended with us whatever happens.
struct Peer(Child);

impl Peer {
    fn start(file: &std::path::Path) -> std::io::Result<Peer> {
        let program = std::env::current_exe()?;
        Command::new(program).arg("peer").arg(file).stdin(Stdio::piped()).spawn().map(Peer)
    }

    fn end(mut self) -> Result<(), Box<dyn Error>> {
        self.0.stdin.take().ok_or("no pipe to the peer")?.write_all(b"\n")?;
        let status = self.0.wait()?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("the peer ended with {status}").into())
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Keeps this process on one processor, if there are several.
fn pin(processor: usize) {
    let mut set = rustix::thread::CpuSet::new();
    let allowed = rustix::thread::sched_getaffinity(None);
    let mut processors = (0..1024).filter(|&cpu| allowed.as_ref().is_ok_and(|allowed| allowed.is_set(cpu)));
    if let Some(cpu) = processors.nth(processor) {
        set.set(cpu);
        // Only a better measurement is lost without it.
        let _ = rustix::thread::sched_setaffinity(None, &set);
    }
}
