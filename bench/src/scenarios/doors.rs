// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an operation costs through Rust, C and C++: the same loops, each in a program of its language.
//!
//! The Rust program is this one, which has the crate linked in. The C and C++ programs are compiled here, by the
//! machine's own compiler, and load `libshm.so` as their users' programs do: calls go through the PLT. Each
//! program publishes and receives in one thread, so that no other core has a part in the figures.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use serde_json::json;

use super::Bench;
use crate::peers::{Peer, Shape, Shm};
use crate::process::{Parent, Side};
use crate::report::{Goal, Row};
use crate::room::Room;
use crate::stats::{Better, Measured};
use crate::Result;

const NAME: &str = "doors";
const SIZE: usize = 64;
const CAPACITY: usize = 1024;
const OPERATIONS: [&str; 3] = ["loan", "publish", "receive"];
const LANGUAGES: [&str; 3] = ["Rust", "C", "C++"];
const BATCH: u64 = 512;

/// Operation, batches, and operations in a batch.
type Order = (String, usize, u64);

pub fn run(bench: &Bench) -> Result<Vec<Row>> {
    let workshop = Workshop::set_up()?;
    let c = workshop.compile(["CC", "cc"], "door.c", &["-std=c11"], &["include"])?;
    let cpp = workshop.compile(["CXX", "c++"], "door.cpp", &["-std=c++17"], &["include", "cpp/include"])?;
    let mut measured = OPERATIONS.map(|_| LANGUAGES.map(|_| Measured::new(Better::Less)));
    // New programs each time: where the kernel puts a process's memory makes some nanoseconds of difference.
    for _ in 0..bench.either(25, 9) {
        let rust = Side::start(&bench.room, 0, &super::Task::Doors)?;
        let mut doors = [rust, start(&bench.room, &c)?, start(&bench.room, &cpp)?];
        for (operation, row) in OPERATIONS.iter().zip(&mut measured) {
            for (door, measured) in doors.iter_mut().zip(row) {
                let _warm: Vec<f64> = door.ask(&(operation, 20, BATCH))?;
                let samples: Vec<f64> = door.ask(&(operation, bench.either(100, 50), BATCH))?;
                measured.round(&samples);
            }
        }
    }
    let mut rows = Vec::new();
    for (operation, measured) in OPERATIONS.iter().zip(&measured) {
        for (language, door) in LANGUAGES.iter().zip(measured) {
            let params = json!({"door": language, "operation": operation, "size": "64 B"});
            let row = Row::new(NAME, "shm", params, door, "ns");
            let goal = || Goal::at_most(door.excess_over(&measured[0]), 5.0, "ns more than Rust");
            rows.push(if *language == "Rust" { row } else { row.goal(goal()) });
        }
    }
    Ok(rows)
}

/// Where the other languages' programs are made: beside this one.
struct Workshop {
    path: PathBuf,
}

impl Workshop {
    fn set_up() -> Result<Workshop> {
        let program = env::current_exe()?;
        let beside = program.parent().ok_or("this program lies nowhere")?;
        let library = [beside.join("deps/libshm.so"), beside.join("libshm.so")]
            .into_iter()
            .find(|library| library.is_file())
            .ok_or_else(|| format!("no libshm.so in {}: build it with this program", beside.display()))?;
        let path = beside.join("bench-doors");
        fs::create_dir_all(&path)?;
        fs::copy(library, path.join("libshm.so.0"))?;
        Ok(Workshop { path })
    }

    /// Compiles a door with the compiler that the environment names.
    fn compile(
        &self,
        compiler: [&str; 2],
        source: &str,
        flags: &[&str],
        include: &[&str],
    ) -> Result<PathBuf> {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR"));
        let compiler = env::var(compiler[0]).unwrap_or_else(|_| compiler[1].to_owned());
        let program = self.path.join(source.replace('.', "-"));
        let mut command = Command::new(&compiler);
        command.args(flags).args(["-O2", "-Wall", "-Wextra", "-Werror"]);
        for directory in include {
            command.arg("-I").arg(sources.join("..").join(directory));
        }
        command.arg(sources.join("doors").join(source)).arg("-o").arg(&program);
        command.arg(self.path.join("libshm.so.0")).arg(format!("-Wl,-rpath,{}", self.path.display()));
        let status = command.status().map_err(|error| format!("cannot run {compiler}: {error}"))?;
        if !status.success() {
            return Err(format!("{compiler} does not compile {source}").into());
        }
        Ok(program)
    }
}

fn start(room: &Room, program: &Path) -> Result<Side> {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let mut command = Command::new(program);
    command.arg(&*name).env("SHM_ROOT", room.shm_root());
    Side::start_program(command, room.cpus[0], name.into_owned())
}

/// The Rust door.
pub fn side(room: &Room, parent: &Parent) -> Result<()> {
    let shm = Shm::open(room)?;
    let shape = Shape::one_to_one(SIZE, CAPACITY);
    let publisher = shm.publisher("doors-rust", shape)?;
    let subscriber = shm.subscriber("doors-rust", shape)?;
    let payload = [1; SIZE];
    parent.ready()?;
    while let Some((operation, batches, count)) = parent.hear::<Order>()? {
        let mut samples = Vec::with_capacity(batches);
        for _ in 0..batches {
            let produced = match operation.as_str() {
                "publish" => timed(count, || publish(&publisher, &payload, count))?,
                _ => timed(count, || loan(&publisher, &payload, count))?,
            };
            let received = timed(count, || receive(&subscriber, &payload, count))?;
            samples.push(if operation == "receive" { received } else { produced });
        }
        parent.tell(&samples)?;
    }
    Ok(())
}

fn timed(count: u64, work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed().as_nanos() as f64 / count as f64)
}

fn loan(publisher: &shm::Publisher, payload: &[u8; SIZE], count: u64) -> Result<()> {
    for _ in 0..count {
        let mut loan = publisher.loan(SIZE)?;
        loan[..8].copy_from_slice(&payload[..8]);
        loan.publish()?;
    }
    Ok(())
}

fn publish(publisher: &shm::Publisher, payload: &[u8; SIZE], count: u64) -> Result<()> {
    for _ in 0..count {
        publisher.publish(payload)?;
    }
    Ok(())
}

fn receive(subscriber: &shm::Subscriber, payload: &[u8; SIZE], count: u64) -> Result<()> {
    let word = |bytes: &[u8]| bytes[..8].try_into().map(u64::from_ne_bytes);
    let mut sum: u64 = 0;
    for _ in 0..count {
        let Some(sample) = subscriber.try_receive()? else { return Err("nothing there".into()) };
        sum = sum.wrapping_add(word(&sample)?);
    }
    if sum == word(payload)?.wrapping_mul(count) {
        Ok(())
    } else {
        Err("received something else than was published".into())
    }
}
