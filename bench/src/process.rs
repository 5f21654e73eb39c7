// SPDX-License-Identifier: MIT OR Apache-2.0
//! The sides of a measurement: processes of their own, pinned, spoken to in lines of JSON over their pipes.
//!
//! No side outlives its parent (the kernel kills it), and the parent waits for no answer longer than
//! `PATIENCE`: a side that spins for a message which never comes ends the run with an error, not with a hang.

use std::io::{BufRead, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::process::{set_parent_process_death_signal, Signal};
use serde::de::DeserializeOwned;
use serde::Serialize;

use crate::machine::pin;
use crate::room::Room;
use crate::scenarios::Task;
use crate::Result;

/// The hidden subcommand that makes this program a side.
pub const SIDE: &str = "__side";

const PATIENCE: Duration = Duration::from_secs(60);
const LEAVE: Duration = Duration::from_secs(5);

/// A side, seen from the parent. Dropping it lets the process leave in order, or kills it.
pub struct Side {
    name: String,
    process: Child,
    orders: Option<ChildStdin>,
    answers: ChildStdout,
    unread: Vec<u8>,
}

impl Side {
    /// Starts this program again for `task`, on the first (0) or the second (1) of the room's CPUs, and waits
    /// until it says that it is ready.
    pub fn start(room: &Room, cpu: usize, task: &Task) -> Result<Side> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(SIDE).arg(serde_json::to_string(room)?).arg(serde_json::to_string(task)?);
        Side::start_program(command, room.cpus[cpu], format!("{task:?}"))
    }

    /// Starts another program that speaks the same way.
    pub fn start_program(mut command: Command, cpu: usize, name: String) -> Result<Side> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // SAFETY: between fork and exec only two system calls are made, which allocate and lock nothing.
        unsafe {
            command.pre_exec(move || {
                set_parent_process_death_signal(Some(Signal::KILL))?;
                Ok(pin(cpu)?)
            });
        }
        let mut process = command.spawn().map_err(|error| format!("cannot start {name}: {error}"))?;
        let orders = process.stdin.take();
        let answers = process.stdout.take().ok_or("no pipe from the side")?;
        let mut side = Side { name, process, orders, answers, unread: Vec::new() };
        side.hear::<Ready>()?;
        Ok(side)
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    pub fn tell(&mut self, order: &impl Serialize) -> Result<()> {
        let orders = self.orders.as_mut().ok_or("the side was dismissed")?;
        Ok(write_line(orders, order)?)
    }

    pub fn hear<T: DeserializeOwned>(&mut self) -> Result<T> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(end) = self.unread.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                return Ok(serde_json::from_slice(&line)?);
            }
            self.fill(deadline)?;
        }
    }

    pub fn ask<T: DeserializeOwned>(&mut self, order: &impl Serialize) -> Result<T> {
        self.tell(order)?;
        self.hear()
    }

    fn fill(&mut self, deadline: Instant) -> Result<()> {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        if poll(&mut [PollFd::new(&self.answers, PollFlags::IN)], Some(&timeout))? == 0 {
            return Err(format!("no answer within {PATIENCE:?} from {}", self.name).into());
        }
        let mut bytes = [0; 4096];
        match self.answers.read(&mut bytes)? {
            0 => Err(format!("{} ended too early: {}", self.name, self.process.wait()?).into()),
            read => {
                self.unread.extend_from_slice(&bytes[..read]);
                Ok(())
            }
        }
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        drop(self.orders.take());
        let start = Instant::now();
        while start.elapsed() < LEAVE {
            match self.process.try_wait() {
                Ok(None) => sleep(Duration::from_millis(1)),
                _ => return,
            }
        }
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// The parent, seen from a side.
pub struct Parent;

/// What a side says when it has set up everything.
#[derive(serde::Serialize, serde::Deserialize)]
pub enum Ready {
    Ready,
}

impl Parent {
    pub fn ready(&self) -> Result<()> {
        self.tell(&Ready::Ready)
    }

    pub fn tell(&self, answer: &impl Serialize) -> Result<()> {
        Ok(write_line(&mut std::io::stdout().lock(), answer)?)
    }

    /// Does an order wait, or is the parent gone?
    pub fn has_spoken(&self) -> Result<bool> {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        Ok(poll(&mut [PollFd::new(&std::io::stdin(), PollFlags::IN)], Some(&now))? > 0)
    }

    /// The next order, or `None` when there are no more.
    pub fn hear<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        let mut line = String::new();
        match std::io::stdin().lock().read_line(&mut line)? {
            0 => Ok(None),
            _ => Ok(Some(serde_json::from_str(&line)?)),
        }
    }
}

fn write_line(to: &mut impl Write, what: &impl Serialize) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    to.write_all(&line)?;
    to.flush()
}
