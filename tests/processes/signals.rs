// SPDX-License-Identifier: MIT OR Apache-2.0
//! Signals, thousands a second: no call fails or returns early because of one.
//!
//! The handler only counts: handles must not be used in it (see `Publisher`).

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use shm::{Publisher, Sample, Subscriber};

use crate::support::child::{this_thread, Child, Parent};
use crate::support::payload::Id;
use crate::support::{publishing, rounds, subscribing, Root};

const THERE: &str = "there";
const BACK: &str = "back";
const LONG: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_micros(100);
/// The longest message: what goes with it is several segments' worth of work.
const LARGEST: usize = 200_000;

/// Signals that came so far. Relaxed everywhere: their thread itself counts them.
static SIGNALS: AtomicU64 = AtomicU64::new(0);

fn signals() -> u64 {
    SIGNALS.load(Ordering::Relaxed)
}

extern "C" fn count(_signal: libc::c_int) {
    SIGNALS.fetch_add(1, Ordering::Relaxed);
}

/// Interrupts the thread that started it, and no other, as long as it lives. Not with setitimer(2), whose signals may go to
/// any thread, and which has one timer with alarm(2), by which children end.
struct Interruptions(libc::timer_t);

impl Interruptions {
    fn start() -> Interruptions {
        // SAFETY: plain data, of which all zeroes are values; the handler does nothing that it mustn't. Without SA_RESTART, so
        // that system calls end early.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = count as *const () as usize;
            assert_eq!(libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()), 0);
            let mut event: libc::sigevent = std::mem::zeroed();
            event.sigev_notify = libc::SIGEV_THREAD_ID;
            event.sigev_signo = libc::SIGUSR1;
            event.sigev_notify_thread_id = this_thread();
            let mut timer = std::mem::zeroed();
            assert_eq!(libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, &mut timer), 0);
            let interval = libc::timespec { tv_sec: 0, tv_nsec: INTERVAL.as_nanos() as i64 };
            let setting = libc::itimerspec { it_interval: interval, it_value: interval };
            assert_eq!(libc::timer_settime(timer, 0, &setting, std::ptr::null_mut()), 0);
            Interruptions(timer)
        }
    }
}

impl Drop for Interruptions {
    fn drop(&mut self) {
        // SAFETY: it was made above, and ends once.
        assert_eq!(unsafe { libc::timer_delete(self.0) }, 0);
    }
}

fn publish(publisher: &Publisher, id: Id) {
    let mut loan = publisher.loan(id.len(LARGEST)).unwrap();
    id.fill(&mut loan);
    loan.publish().unwrap();
}

/// Whose the messages are that come back: the last one says that it is.
const REPLY: u64 = 2;
const LAST: u64 = 3;

/// The next message, in each of the ways to wait for it.
fn next(subscriber: &Subscriber, round: u64) -> Sample<'_> {
    match round % 3 {
        0 => subscriber.receive().unwrap(),
        1 => subscriber.receive_timeout(LONG).unwrap().expect("a message"),
        _ => loop {
            if let Some(sample) = subscriber.try_receive().unwrap() {
                return sample;
            }
            std::thread::yield_now();
        },
    }
}

/// Sends back what comes, until enough signals came.
pub fn echo(mut parent: Parent) {
    let root = PathBuf::from(parent.text());
    let wanted = parent.number();
    let subscriber = Subscriber::with_options(THERE, &subscribing(&root)).unwrap();
    let publisher = Publisher::with_options(BACK, &publishing(&root)).unwrap();
    parent.say("there");
    let interruptions = Interruptions::start();
    for sequence in 0.. {
        let sample = next(&subscriber, sequence);
        assert_eq!(Id::of(&sample), Id { publisher: 1, sequence });
        let enough = signals() >= wanted;
        publish(&publisher, Id { publisher: if enough { LAST } else { REPLY }, sequence });
        if enough {
            break;
        }
    }
    drop(interruptions);
    assert_eq!(subscriber.lost(), 0);
    parent.say_and_wait("done");
}

#[test]
fn messages_are_whole_and_in_order_under_thousands_of_signals() {
    let root = Root::new();
    let back = root.subscriber(BACK);
    let mut echo = Child::start("signals::echo", &[&root.text(), &rounds(5000)]);
    echo.expect("there");
    let publisher = root.publisher(THERE);
    'all: for burst in 0.. {
        // Fewer than the ring keeps, so that none may be lost; one at a time now and then, so that both have to sleep.
        let size = [1, 8, 30][burst as usize % 3];
        let first = burst / 3 * 39 + [0, 1, 9][burst as usize % 3];
        (first..first + size).for_each(|sequence| publish(&publisher, Id { publisher: 1, sequence }));
        for sequence in first..first + size {
            let reply = Id::of(&back.receive_timeout(LONG).unwrap().expect("a reply"));
            assert!([REPLY, LAST].contains(&reply.publisher) && reply.sequence == sequence, "{reply:?}");
            if reply.publisher == LAST {
                break 'all;
            }
        }
    }
    echo.expect("done");
    echo.say("leave");
    echo.finish();
    assert_eq!(back.lost(), 0);
    drop((publisher, back));
    root.assert_empty();
}

/// Waits where nothing comes.
pub fn waits(mut parent: Parent) {
    let subscriber = Subscriber::with_options(THERE, &subscribing(Path::new(&parent.text()))).unwrap();
    let interruptions = Interruptions::start();
    let wanted = rounds(500);
    let mut wait = Duration::from_millis(1);
    while signals() < wanted {
        let start = Instant::now();
        assert!(subscriber.receive_timeout(wait).unwrap().is_none());
        let waited = start.elapsed();
        assert!(waited >= wait, "{waited:?} of {wait:?}, {} signals", signals());
        // Some are longer than one sleep.
        wait = (2 * wait).min(Duration::from_millis(120));
    }
    drop(interruptions);
}

#[test]
fn a_timeout_is_waited_for_whatever_interrupts() {
    let root = Root::new();
    Child::start("signals::waits", &[&root.text()]).finish();
    root.assert_empty();
}

/// Makes, uses and leaves a topic, over and over.
pub fn comes_and_goes(mut parent: Parent) {
    let root = PathBuf::from(parent.text());
    let wanted = rounds(2000);
    let interruptions = Interruptions::start();
    for round in 0.. {
        let subscriber = Subscriber::with_options(THERE, &subscribing(&root)).unwrap();
        let publisher = Publisher::with_options(THERE, &publishing(&root)).unwrap();
        for sequence in [2 * round, 2 * round + 1] {
            publish(&publisher, Id { publisher: 1, sequence });
            assert_eq!(Id::of(&subscriber.try_receive().unwrap().unwrap()), Id { publisher: 1, sequence });
        }
        // Some hundred signals long.
        if round == 0 {
            publisher.publish(&vec![7; 40 << 20]).unwrap();
            let sample = subscriber.receive().unwrap();
            assert!(sample.len() == 40 << 20 && sample.iter().all(|&byte| byte == 7));
        }
        if signals() >= wanted {
            break;
        }
    }
    drop(interruptions);
}

#[test]
fn topics_and_segments_are_made_and_removed_under_signals() {
    let root = Root::new();
    Child::start("signals::comes_and_goes", &[&root.text()]).finish();
    root.assert_empty();
}
