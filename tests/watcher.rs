// SPDX-License-Identifier: MIT OR Apache-2.0
//! The thread that wakes tasks which await replies, as the rest of the program sees it.

#[path = "support/mod.rs"]
mod support;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake};
use std::time::{Duration, Instant};

use shm::{Client, ClientOptions, Pending, Server, ServerOptions};
use support::Root;

const LONG: Duration = Duration::from_secs(5);

fn pair(root: &Root) -> (Client, Server) {
    let options = ServerOptions { root: Some(root.path().into()), ..Default::default() };
    let server = Server::with_options("s", &options).unwrap();
    let options = ClientOptions { root: options.root, ..Default::default() };
    (Client::with_options("s", &options).unwrap(), server)
}

/// Tells where in /proc the thread is that wakes it.
struct Tells(Mutex<Sender<PathBuf>>);

impl Wake for Tells {
    fn wake(self: Arc<Self>) {
        let _ = self.0.lock().unwrap().send(std::fs::canonicalize("/proc/thread-self").unwrap());
    }
}

/// Begins to await `pending`; who wakes it is told.
fn begin_to_await(pending: &mut Pending<'_>) -> Receiver<PathBuf> {
    let (tell, told) = channel();
    let waker = Arc::new(Tells(Mutex::new(tell))).into();
    assert!(Pin::new(pending).poll(&mut Context::from_waker(&waker)).is_pending());
    told
}

/// The thread that wakes a task which gets no reply, and gives up then.
fn watcher_of(client: &Client) -> PathBuf {
    begin_to_await(&mut client.send(b"1").unwrap()).recv_timeout(LONG).expect("nobody looks after tasks")
}

/// What the `status` of a thread in /proc says of `name`.
fn status_of(thread: &Path, name: &str) -> String {
    let status = std::fs::read_to_string(thread.join("status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').trim().to_owned()
}

#[test]
fn it_takes_no_signals() {
    let root = Root::new();
    let (client, _server) = pair(&root);
    let own = std::fs::canonicalize("/proc/thread-self").unwrap();
    let before = status_of(&own, "SigBlk");
    let watcher = watcher_of(&client);
    let blocked = u64::from_str_radix(&status_of(&watcher, "SigBlk"), 16).unwrap();
    for (signal, name) in
        [(1, "HUP"), (2, "INT"), (10, "USR1"), (14, "ALRM"), (15, "TERM"), (17, "CHLD"), (64, "RTMAX")]
    {
        assert!(blocked >> (signal - 1) & 1 == 1, "SIG{name} isn't among {blocked:x}");
    }
    assert!(blocked >> 10 & 1 == 0, "a fault of a waker's is for the program's SIGSEGV handler");
    assert_eq!(status_of(&own, "SigBlk"), before, "who starts it takes signals as before");
}

#[test]
fn it_sleeps_while_nobody_awaits() {
    let root = Root::new();
    let (client, server) = pair(&root);
    let watcher = watcher_of(&client);
    let switches = || status_of(&watcher, "voluntary_ctxt_switches");
    let from = Instant::now();
    let sleeps = || {
        let before = switches();
        std::thread::sleep(Duration::from_millis(300));
        switches() == before
    };
    while !sleeps() {
        assert!(from.elapsed() < LONG, "it wakes all the time");
    }
    // It looks after tasks again, those that get no reply and those that do.
    assert_eq!(watcher_of(&client), watcher);
    while !sleeps() {}
    let mut pending = client.send(b"2").unwrap();
    let told = begin_to_await(&mut pending);
    server.receive().unwrap().reply(b"3").unwrap();
    assert_eq!(told.recv_timeout(LONG).unwrap(), watcher);
    let Poll::Ready(reply) = Pin::new(&mut pending).poll(&mut Context::from_waker(std::task::Waker::noop()))
    else {
        panic!("it was woken, but there is no reply")
    };
    assert_eq!(*reply.unwrap(), *b"3");
}
