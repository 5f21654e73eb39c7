// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sleeping, waking, and needing the kernel for neither publishing nor receiving.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use shm::{Publisher, PublisherOptions, Subscriber, SubscriberOptions};

use crate::support::child::{this_thread, Child, Parent};
use crate::support::{publishing, skipped, subscribing, Root};

const TOPIC: &str = "t";
const BACK: &str = "back";

/// Receives each message by sleeping for it, and says so.
pub fn sleeper(mut parent: Parent) {
    let root = PathBuf::from(parent.text());
    let subscriber = Subscriber::with_options(TOPIC, &subscribing(&root)).unwrap();
    parent.say(this_thread());
    loop {
        let sample = subscriber.receive().unwrap();
        if sample.is_empty() {
            return;
        }
        parent.say(u64::from_le_bytes(sample[..].try_into().unwrap()));
    }
}

/// A child in the role `sleeper`, and its thread that sleeps.
struct Sleeper {
    child: Child,
    thread: u64,
}

impl Sleeper {
    fn start(root: &Root) -> Sleeper {
        let mut child = Child::start("waking::sleeper", &[&root.text()]);
        let thread = child.hear_number();
        Sleeper { child, thread }
    }

    /// Until it sleeps in futex(2), as the kernel tells.
    fn wait_until_asleep(&self) {
        self.child.wait_until_asleep(self.thread);
    }
}

/// How long it takes to wake `sleeper` a few times.
fn wake(publisher: &Publisher, sleeper: &mut Sleeper, rounds: u64) -> Duration {
    (0..rounds)
        .map(|round| {
            sleeper.wait_until_asleep();
            let start = Instant::now();
            publisher.publish(&round.to_le_bytes()).unwrap();
            assert_eq!(sleeper.child.hear_number(), round);
            start.elapsed()
        })
        .sum()
}

#[test]
fn a_sleeper_in_another_process_is_woken() {
    let root = Root::new();
    let publisher = root.publisher(TOPIC);
    let mut sleeper = Sleeper::start(&root);
    // A wake that is missed costs the rest of a sleep of 50 ms. Others use the machine too, hence the best of some tries.
    let best = (0..5).map(|_| wake(&publisher, &mut sleeper, 20)).min().unwrap();
    assert!(best < Duration::from_millis(20 * 15), "20 wakes took {best:?}: it woke up by itself");
    publisher.publish(b"").unwrap();
    sleeper.child.finish();
    drop(publisher);
    root.assert_empty();
}

#[test]
fn sleepers_that_are_stopped_or_killed_are_in_nobodys_way() {
    let root = Root::new();
    let publisher = root.publisher(TOPIC);
    let [mut alive, stopped, dead] = [0; 3].map(|_| Sleeper::start(&root));
    stopped.wait_until_asleep();
    stopped.child.signal(libc::SIGSTOP);
    dead.wait_until_asleep();
    dead.child.kill();
    wake(&publisher, &mut alive, 200);
    stopped.child.kill();
    wake(&publisher, &mut alive, 200);
    publisher.publish(b"").unwrap();
    alive.child.finish();
    drop(publisher);
    root.assert_empty();
}

/// How many messages are under way at a time: the partner needn't be running for each.
const WINDOW: u64 = 256;

fn ends(root: &std::path::Path, topics: [&str; 2]) -> (Publisher, Subscriber) {
    let capacity = 2 * WINDOW as u32;
    let publisher = PublisherOptions { capacity, ..publishing(root) };
    let subscriber = SubscriberOptions { capacity, ..subscribing(root) };
    (
        Publisher::with_options(topics[0], &publisher).unwrap(),
        Subscriber::with_options(topics[1], &subscriber).unwrap(),
    )
}

/// The next message, without sleeping; the only system call is the yield.
fn take(subscriber: &Subscriber) -> u64 {
    loop {
        if let Some(sample) = subscriber.try_receive().unwrap() {
            return u64::from_le_bytes(sample[..].try_into().unwrap());
        }
        std::thread::yield_now();
    }
}

/// Sends numbers and takes each back.
pub fn pinger(mut parent: Parent) {
    let root = PathBuf::from(parent.text());
    let count = parent.number();
    let (publisher, subscriber) = ends(&root, [TOPIC, BACK]);
    parent.say_and_wait("ready");
    for sent in 0..count + WINDOW {
        if sent < count {
            publisher.publish(&sent.to_le_bytes()).unwrap();
        }
        if sent >= WINDOW {
            assert_eq!(take(&subscriber), sent - WINDOW);
        }
    }
    assert_eq!(subscriber.lost(), 0);
    parent.say("done");
}

/// Sends back what comes.
pub fn ponger(mut parent: Parent) {
    let root = PathBuf::from(parent.text());
    let count = parent.number();
    let (publisher, subscriber) = ends(&root, [BACK, TOPIC]);
    parent.say_and_wait("ready");
    for _ in 0..count {
        publisher.publish(&take(&subscriber).to_le_bytes()).unwrap();
    }
    assert_eq!(subscriber.lost(), 0);
    parent.say("done");
}

/// How many system calls the two make, other than the test's own yields, for `count` messages there and back.
fn system_calls(count: u64) -> [u64; 2] {
    let (root, beside) = (Root::new(), tempfile::tempdir().unwrap());
    let logs = ["ping", "pong"].map(|name| beside.path().join(name));
    let mut ends = [("waking::pinger", &logs[0]), ("waking::ponger", &logs[1])].map(|(role, log)| {
        let mut strace = Command::new("strace");
        strace.args(["-f", "--seccomp-bpf", "-c", "-U", "calls,name", "-e", "trace=!sched_yield", "-o"]);
        strace.arg(log).arg(std::env::current_exe().unwrap());
        Child::start_with(strace, role, &[&root.text(), &count])
    });
    ends.iter_mut().for_each(|child| child.expect("ready"));
    ends.iter_mut().for_each(|child| child.say("go"));
    ends.iter_mut().for_each(|child| child.expect("done"));
    ends.into_iter().for_each(Child::finish);
    root.assert_empty();
    logs.map(|log| {
        let counts = std::fs::read_to_string(log).unwrap();
        let total = counts.lines().find_map(|line| line.trim().strip_suffix(" total"));
        total.unwrap_or_else(|| panic!("strace said: {counts}")).parse().unwrap()
    })
}

#[test]
fn a_message_needs_no_system_call() {
    let usable =
        Command::new("strace").args(["-f", "--seccomp-bpf", "-c", "-o", "/dev/null", "true"]).output();
    if !usable.as_ref().is_ok_and(|output| output.status.success()) {
        return skipped(&format!("strace can't be used here: {usable:?}"));
    }
    let (few, many) = (system_calls(50_000), system_calls(100_000));
    for (few, many) in few.into_iter().zip(many) {
        assert!(few > 0, "nothing was counted");
        // What the processes start with, and how often a pool grows, differs by some dozens from run to run; a call a message
        // would be 50,000 more.
        assert!(many <= few + 500, "{few} calls for 50,000 messages, {many} for 100,000");
    }
}
