// SPDX-License-Identifier: MIT OR Apache-2.0
//! A call: a request to another process, and its reply.
//!
//! The client writes the first cache line of a loaned request and sends it, the server reads that and writes the first line of a loaned
//! reply, the client reads that. Both poll. The client takes the loan for its next request while the server is at it; the server's
//! systems lend a reply only for a request in hand. The socket is what one would take without any of this: both ends block in it, and it
//! copies all there is. Beside them plays `pingpong`, one way, with its floor: what a call costs in messages.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::pingpong::{check, play, read_line, write_line, Order, Pair, Player};
use super::{human, Bench, System};
use crate::peers::{iceoryx2, Iceoryx2, Peer};
use crate::process::Parent;
use crate::report::{Goal, Row};
use crate::room::Room;
use crate::stats::Measured;
use crate::Result;

const NAME: &str = "rpc";
const LINE: usize = 64;
/// Messages' worth of shared memory that all systems together take.
const CHUNKS: usize = 256;
const WAYS: [Way; 3] = [Way::Raw, Way::Iceoryx2, Way::Socket];
/// What `add(int, int)` may take beyond the raw call.
const TYPED_NS: f64 = 150.0;

/// How a function of another process is called.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Way {
    /// This library, on bytes.
    Raw,
    /// This library: `add(i32, i32)` by msgpack.
    Typed,
    Iceoryx2,
    Socket,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Way::Raw => "shm raw",
            Way::Typed => "shm typed",
            Way::Iceoryx2 => "iceoryx2",
            Way::Socket => "unix socket",
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Task {
    way: Way,
    size: usize,
    calls: bool,
}

struct Group {
    size: usize,
    /// As in `WAYS`.
    pairs: Vec<Pair>,
}

pub fn run(bench: &Bench) -> Result<Vec<Row>> {
    let sizes: &[usize] = bench.either(&[64, 1 << 10, 64 << 10, 1 << 20], &[64, 64 << 10, 1 << 20]);
    let order = Order { batches: bench.either(200, 100), count: 100, singly: false };
    let mut floor = Pair::start(bench, System::Floor, LINE)?;
    let mut message = Pair::start(bench, System::Shm, LINE)?;
    let typed = |calls| super::Task::Rpc(Task { way: Way::Typed, size: LINE, calls });
    let mut typed = Pair::of(bench, typed)?;
    let mut groups = Vec::new();
    for &size in sizes.iter().filter(|&&size| bench.affords(NAME, size, CHUNKS)) {
        let pair = |way| Pair::of(bench, |calls| super::Task::Rpc(Task { way, size, calls }));
        groups.push(Group { size, pairs: WAYS.into_iter().map(pair).collect::<Result<_>>()? });
    }
    let mut turns = |turn: fn(&mut Pair, Order) -> Result<()>| -> Result<()> {
        turn(&mut floor, order)?;
        turn(&mut message, order)?;
        turn(&mut typed, order)?;
        for group in &mut groups {
            for (way, pair) in WAYS.into_iter().zip(&mut group.pairs) {
                turn(pair, patience(way, group.size, order))?;
            }
        }
        Ok(())
    };
    turns(|pair, order| pair.play(order).map(drop))?; // warm
    for _ in 0..bench.either(25, 9) {
        turns(Pair::round)?;
    }
    turns(Pair::singles)?;
    Ok(rows(&floor.measured, &message.measured, &typed.measured, &groups))
}

/// The socket takes a thousand times longer for the large ones, and its ends sleep.
fn patience(way: Way, size: usize, order: Order) -> Order {
    match way {
        Way::Socket if size > 64 << 10 => Order { batches: order.batches / 10, count: 2, ..order },
        Way::Socket => Order { batches: order.batches / 2, count: 10, ..order },
        _ => order,
    }
}

fn rows(floor: &Measured, message: &Measured, typed: &Measured, groups: &[Group]) -> Vec<Row> {
    let row = |system: &str, size: usize, measured: &Measured| {
        Row::new(NAME, system, json!({"size": human(size)}), measured, "ns")
            .over_floor(measured.ratio_to(floor))
    };
    let mut rows = vec![row("floor, one way", LINE, floor), row("shm message, one way", LINE, message)];
    if let [Group { pairs, .. }, ..] = groups {
        let excess = typed.excess_over(&pairs[0].measured);
        let params = json!({"function": "add(i32, i32)"});
        let row = Row::new(NAME, Way::Typed.name(), params, typed, "ns").over_floor(typed.ratio_to(floor));
        rows.push(row.goal(Goal::at_most(excess, TYPED_NS, "ns more than raw")));
    }
    for Group { size, pairs } in groups {
        let measured: Vec<&Measured> = pairs.iter().map(|pair| &pair.measured).collect();
        rows.extend(WAYS.into_iter().zip(&measured).map(|(way, measured)| {
            let row = row(way.name(), *size, measured);
            if way != Way::Raw {
                return row;
            }
            row.goal(Goal::at_most(measured.ratio_to(message), 2.5, "x one message")).goal(Goal::at_least(
                pairs[1].measured.ratio_to(measured),
                2.0,
                "x faster than iceoryx2",
            ))
        }));
    }
    rows
}

pub fn side(task: &Task, room: &Room, parent: &Parent) -> Result<()> {
    let name = format!("call-{}", task.size);
    match task.way {
        Way::Raw => play(task.calls, 1, parent, Raw::open(task, &name, room)?),
        Way::Typed => play(task.calls, 1, parent, Typed::open(task, room)?),
        Way::Iceoryx2 => play(task.calls, 1, parent, Iceoryx2End::open(task, &name, room)?),
        Way::Socket => play(task.calls, 1, parent, Socket::open(task, &name, room)?),
    }
}

const WRONG_PART: &str = "clients call and servers answer";

enum Raw {
    Client(shm::Client, usize),
    Server(shm::Server, usize),
}

impl Raw {
    fn open(task: &Task, name: &str, room: &Room) -> Result<Raw> {
        let root = Some(room.shm_root());
        Ok(if task.calls {
            let options = shm::ClientOptions { root, ..Default::default() };
            Raw::Client(shm::Client::with_options(name, &options)?, task.size)
        } else {
            let options = shm::ServerOptions { root, ..Default::default() };
            Raw::Server(shm::Server::with_options(name, &options)?, task.size)
        })
    }
}

impl Player for Raw {
    fn serve(&mut self, from: u64, count: u64, mut each: impl FnMut()) -> Result<()> {
        let Raw::Client(client, size) = self else { return Err(WRONG_PART.into()) };
        let mut loan = client.loan(*size)?;
        for number in from + 1..=from + count {
            write_line(&mut loan, number);
            let mut pending = loan.send()?;
            loan = client.loan(*size)?;
            let reply = loop {
                if let Some(reply) = pending.try_reply()? {
                    break reply;
                }
            };
            check(read_line(&reply), number)?;
            each();
        }
        Ok(())
    }

    fn answer(&mut self, from: u64, count: u64) -> Result<()> {
        let Raw::Server(server, size) = self else { return Err(WRONG_PART.into()) };
        for number in from + 1..=from + count {
            let request = loop {
                if let Some(request) = server.try_receive()? {
                    break request;
                }
            };
            check(read_line(&request), number)?;
            let mut reply = request.loan(*size)?;
            write_line(&mut reply, number);
            reply.send()?;
        }
        Ok(())
    }
}

/// Both ends wait as the library does by itself: they spin before they sleep.
enum Typed {
    Caller(shm::FunctionCaller),
    Function(shm::Function),
}

impl Typed {
    fn open(task: &Task, room: &Room) -> Result<Typed> {
        let root = Some(room.shm_root());
        Ok(if task.calls {
            let options = shm::ClientOptions { root, ..Default::default() };
            Typed::Caller(shm::FunctionCaller::with_options("add", None, &options)?)
        } else {
            let options = shm::ServerOptions { root, ..Default::default() };
            Typed::Function(shm::Function::with_options("add", &options, |a: i32, b: i32| a.wrapping_add(b))?)
        })
    }
}

impl Player for Typed {
    fn serve(&mut self, from: u64, count: u64, mut each: impl FnMut()) -> Result<()> {
        let Typed::Caller(add) = self else { return Err(WRONG_PART.into()) };
        for number in from + 1..=from + count {
            let sum: i32 = add.call((number as i32, 1))?;
            check((sum - 1) as u32 as u64, number as u32 as u64)?;
            each();
        }
        Ok(())
    }

    fn answer(&mut self, _: u64, count: u64) -> Result<()> {
        let Typed::Function(add) = self else { return Err(WRONG_PART.into()) };
        for _ in 0..count {
            add.serve_once()?;
        }
        Ok(())
    }
}

enum End {
    Client(iceoryx2::Client),
    Server(iceoryx2::Server),
}

struct Iceoryx2End {
    end: End,
    size: usize,
    _peer: Iceoryx2,
}

impl Iceoryx2End {
    fn open(task: &Task, name: &str, room: &Room) -> Result<Iceoryx2End> {
        let peer = Iceoryx2::open(room)?;
        let end = match task.calls {
            true => End::Client(peer.client(name, task.size)?),
            false => End::Server(peer.server(name, task.size)?),
        };
        Ok(Iceoryx2End { end, size: task.size, _peer: peer })
    }
}

impl Player for Iceoryx2End {
    fn serve(&mut self, from: u64, count: u64, mut each: impl FnMut()) -> Result<()> {
        let End::Client(client) = &self.end else { return Err(WRONG_PART.into()) };
        let mut loan = Iceoryx2::loan_request(client, self.size)?;
        for number in from + 1..=from + count {
            write_line(&mut loan, number);
            let pending = Iceoryx2::send_request(loan)?;
            loan = Iceoryx2::loan_request(client, self.size)?;
            let reply = Iceoryx2::spin_for_reply(&pending)?;
            check(read_line(&Iceoryx2::bytes(&reply)), number)?;
            each();
        }
        Ok(())
    }

    fn answer(&mut self, from: u64, count: u64) -> Result<()> {
        let End::Server(server) = &self.end else { return Err(WRONG_PART.into()) };
        for number in from + 1..=from + count {
            let request = Iceoryx2::spin_for_request(server)?;
            check(read_line(&Iceoryx2::bytes(&request)), number)?;
            let mut reply = Iceoryx2::loan_reply(&request, self.size)?;
            write_line(&mut reply, number);
            Iceoryx2::send_reply(reply)?;
        }
        Ok(())
    }
}

/// Where a stream comes from: a server's waits for its client until the first call.
enum Source {
    Listener(UnixListener),
    Stream(UnixStream),
}

struct Socket {
    source: Source,
    buffer: Vec<u8>,
}

impl Socket {
    fn open(task: &Task, name: &str, room: &Room) -> Result<Socket> {
        let path = room.path().join(name);
        let source = match task.calls {
            true => Source::Stream(UnixStream::connect(path)?),
            false => Source::Listener(UnixListener::bind(path)?),
        };
        Ok(Socket { source, buffer: vec![0; task.size] })
    }

    fn stream(&mut self) -> Result<(&mut UnixStream, &mut [u8])> {
        if let Source::Listener(listener) = &self.source {
            self.source = Source::Stream(listener.accept()?.0);
        }
        match &mut self.source {
            Source::Stream(stream) => Ok((stream, &mut self.buffer)),
            Source::Listener(_) => Err("no stream".into()),
        }
    }
}

impl Player for Socket {
    fn serve(&mut self, from: u64, count: u64, mut each: impl FnMut()) -> Result<()> {
        let (stream, buffer) = self.stream()?;
        for number in from + 1..=from + count {
            write_line(buffer, number);
            stream.write_all(buffer)?;
            stream.read_exact(buffer)?;
            check(read_line(buffer), number)?;
            each();
        }
        Ok(())
    }

    fn answer(&mut self, from: u64, count: u64) -> Result<()> {
        let (stream, buffer) = self.stream()?;
        for number in from + 1..=from + count {
            stream.read_exact(buffer)?;
            check(read_line(buffer), number)?;
            write_line(buffer, number);
            stream.write_all(buffer)?;
        }
        Ok(())
    }
}
