// SPDX-License-Identifier: MIT OR Apache-2.0
//! fork(2): a handle is its maker's. In the child every call on it says so, and nothing that the child does with it, nor
//! its living on, matters to anybody else.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use shm::{
    Client, ClientOptions, Error, Loan, PlainLoan, Publisher, PublisherOptions, Sample, Server,
    ServerOptions, Subscriber,
};

use crate::support::child::{Child, Parent};
use crate::support::{publishing, subscribing, Root};

const TOPIC: &str = "t";
const PARTICIPANTS: u32 = 2;
const LONG: Duration = Duration::from_secs(60);

fn both(root: &Path) -> (Publisher, Subscriber) {
    let options = PublisherOptions { participants: PARTICIPANTS, ..publishing(root) };
    let publisher = Publisher::with_options(TOPIC, &options).unwrap();
    (publisher, Subscriber::with_options(TOPIC, &subscribing(root)).unwrap())
}

/// 0 in the child, which may do anything: the only other thread of this process is the test harness's, and that one
/// waits, with no lock in its hands.
fn fork() -> i32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    assert!(status.lines().any(|line| line == "Threads:\t2"), "{status}");
    // SAFETY: see above.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    child
}

fn succeeds(body: impl FnOnce()) -> bool {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).is_ok()
}

/// The end of a child. Nothing of the parent's is dropped or flushed.
fn end(done: bool) -> ! {
    // SAFETY: always; it doesn't return.
    unsafe { libc::_exit(i32::from(!done)) }
}

fn wait_for(child: i32) -> i32 {
    let mut status = 0;
    // SAFETY: waits for one child, into a local.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    status
}

fn assert_forked<T>(result: shm::Result<T>) {
    assert!(matches!(result, Err(Error::Forked)), "{:?}", result.err());
}

/// Every call of a publisher and its loans, in a child.
fn publish_everything(publisher: &Publisher, mut loan: Loan, plain: PlainLoan<u64>) {
    assert_forked(publisher.loan(1));
    assert_forked(publisher.loan_plain::<u64>());
    assert_forked(publisher.publish(b"x"));
    assert_forked(publisher.publish_plain(&1u64));
    assert_forked(publisher.publish_message("x"));
    assert_forked(publisher.memory());
    assert_forked(loan.resize(1));
    assert_forked(loan.resize(100_000));
    // These need no topic, and no memory of it.
    assert!(loan.len() == 5 && loan.capacity() >= 5);
    assert!(format!("{publisher:?} {loan:?}").contains("len: 5"));
    assert_forked(loan.publish());
    assert_forked(plain.publish());
}

/// Every call of a subscriber and its samples, in a child.
fn receive_everything(subscriber: &Subscriber, samples: [Sample; 2]) {
    assert_forked(subscriber.try_receive());
    assert_forked(subscriber.receive());
    assert_forked(subscriber.receive_timeout(LONG));
    assert_forked(subscriber.receive_timeout(Duration::ZERO));
    // These need no topic, and no memory of it.
    assert_eq!((subscriber.lost(), samples[0].position() + 1), (0, samples[1].position()));
    assert!(format!("{subscriber:?} {samples:?}").contains("len: 5"));
    let kept = samples.map(Sample::keep);
    assert!(kept.iter().all(|sample| sample.len() == 5 && sample.timestamp().is_none()));
}

/// Forks with all kinds of things in its hands; afterwards all of them still work.
pub fn forks(mut parent: Parent) {
    let (publisher, subscriber) = both(Path::new(&parent.text()));
    for text in [b"first", b"other"] {
        publisher.publish(text).unwrap();
    }
    let samples = [subscriber.receive().unwrap(), subscriber.receive().unwrap().keep()];
    let mut loan = publisher.loan(5).unwrap();
    loan.copy_from_slice(b"third");
    let mut plain = publisher.loan_plain().unwrap();
    *plain = 4;
    let child = fork();
    if child == 0 {
        let done = succeeds(|| {
            publish_everything(&publisher, loan, plain);
            receive_everything(&subscriber, samples);
            assert_eq!(publisher.info(), subscriber.info());
        });
        end(done && succeeds(|| drop((publisher, subscriber))));
    }
    assert_eq!(wait_for(child), 0);
    assert_eq!((&*samples[0], &*samples[1]), (&b"first"[..], &b"other"[..]));
    loan.publish().unwrap();
    plain.publish().unwrap();
    assert_eq!(&*subscriber.receive().unwrap(), b"third");
    assert_eq!(subscriber.receive().unwrap().plain::<u64>().unwrap(), &4);
    for _ in 0..1000 {
        publisher.publish(b"more").unwrap();
    }
    assert_eq!((&*samples[0], &*samples[1]), (&b"first"[..], &b"other"[..]), "the child gave them back");
    assert!(subscriber.try_receive().unwrap().is_some());
    parent.say_and_wait("unharmed");
}

#[test]
fn handles_are_dead_in_a_child_and_alive_in_the_parent() {
    let root = Root::new();
    let mut forks = Child::start("forked::forks", &[&root.text()]);
    forks.expect("unharmed");
    // The child's drops didn't end the participants: both entries are taken.
    let full = Subscriber::with_options(TOPIC, &subscribing(root.path()));
    assert!(matches!(full, Err(Error::NoParticipant { limit: PARTICIPANTS })));
    forks.say("leave");
    forks.finish();
    root.assert_empty();
}

/// Its child writes to the parent's loan, and reads its sample.
pub fn forks_and_touches(mut parent: Parent) {
    let (publisher, subscriber) = both(Path::new(&parent.text()));
    publisher.publish(b"first").unwrap();
    let sample = subscriber.receive().unwrap();
    let mut loan = publisher.loan(5).unwrap();
    loan.copy_from_slice(b"third");
    for touch in [true, false] {
        let child = fork();
        if child == 0 {
            end(succeeds(|| if touch { loan[0] = b'X' } else { assert_eq!(sample[0], b'f') }));
        }
        let status = wait_for(child);
        assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGSEGV, "{status:#x}");
    }
    loan.publish().unwrap();
    assert_eq!(&*subscriber.receive().unwrap(), b"third");
}

#[test]
fn a_child_has_no_access_to_the_parents_messages() {
    let root = Root::new();
    Child::start("forked::forks_and_touches", &[&root.text()]).finish();
    root.assert_empty();
}

/// Its child makes handles of its own.
pub fn forks_and_both_talk(mut parent: Parent) {
    let root = PathBuf::from(parent.text());
    let subscriber = Subscriber::with_options(TOPIC, &subscribing(&root)).unwrap();
    let child = fork();
    if child == 0 {
        end(succeeds(|| {
            let (publisher, own) = both(&root);
            publisher.publish(b"from the child").unwrap();
            assert_eq!(&*own.receive().unwrap(), b"from the child");
            assert_forked(subscriber.try_receive());
        }));
    }
    assert_eq!(&*subscriber.receive_timeout(LONG).unwrap().unwrap(), b"from the child");
    assert_eq!(wait_for(child), 0);
}

#[test]
fn a_child_can_make_handles_of_its_own() {
    let root = Root::new();
    let mut talk = Child::start("forked::forks_and_both_talk", &[&root.text()]);
    assert!(talk.wait().success());
    root.assert_empty();
}

/// Its child lives on.
pub fn forks_and_is_killed(mut parent: Parent) {
    let (publisher, subscriber) = both(Path::new(&parent.text()));
    publisher.publish(b"first").unwrap();
    let sample = subscriber.receive().unwrap();
    let (mut from_child, to_parent) = std::io::pipe().unwrap();
    let child = fork();
    if child == 0 {
        // It lets go of the parent's locks before fork() returns here, but not before it returns in the parent.
        let told = (&to_parent).write_all(b"!").is_ok();
        // SAFETY: plain system calls. Nobody waits for this child, so it ends itself in the end.
        unsafe {
            libc::alarm(60);
            libc::pause();
        }
        end(told);
    }
    from_child.read_exact(&mut [0]).unwrap();
    parent.say_and_wait(&child.to_string());
    drop(sample);
}

/// A process that is this test's to end, whatever happens.
struct Orphan(i32);

impl Drop for Orphan {
    fn drop(&mut self) {
        // SAFETY: a plain system call; the process ends only here.
        assert_eq!(unsafe { libc::kill(self.0, libc::SIGKILL) }, 0, "it should have been alive");
    }
}

#[test]
fn the_child_of_a_dead_parent_does_not_keep_it_alive() {
    let root = Root::new();
    let mut dead = Child::start("forked::forks_and_is_killed", &[&root.text()]);
    let orphan = Orphan(dead.hear_number() as i32);
    dead.kill();
    // Both of the dead's entries are free for others, though the orphan is there.
    let (publisher, subscriber) = both(root.path());
    publisher.publish(b"anew").unwrap();
    assert_eq!(&*subscriber.receive().unwrap(), b"anew");
    drop(orphan);
    drop((publisher, subscriber));
    root.assert_empty();
}

/// Forks with calls in all states; afterwards all of them still work.
pub fn calls_and_forks(mut parent: Parent) {
    let root = Some(PathBuf::from(parent.text()));
    let server =
        Server::with_options("s", &ServerOptions { root: root.clone(), ..Default::default() }).unwrap();
    let client = Client::with_options("s", &ClientOptions { root, ..Default::default() }).unwrap();
    let (server, client) = (&server, &client);
    let [begun, replying, mut streaming, answered, mut queued] = [(); 5].map(|()| client.send(b"?").unwrap());
    let [request, to_reply, mut stream, to_answer] = [(); 4].map(|()| server.receive().unwrap());
    assert!(to_answer.reply(b"!").unwrap() && stream.send_part(b"1").unwrap());
    let (reply, part) = (answered.wait().unwrap(), streaming.next().unwrap().unwrap());
    let (mut loan, mut reply_loan) = (client.loan(5).unwrap(), to_reply.loan(5).unwrap());
    let child = fork();
    if child == 0 {
        end(succeeds(move || {
            assert_forked(client.loan(1));
            assert_forked(client.send(b"x"));
            assert_forked(client.call_timeout(b"x", Duration::ZERO));
            assert_forked(client.memory());
            assert_forked(loan.resize(1));
            assert_forked(loan.resize(100_000));
            assert_forked(loan.send());
            assert_forked(queued.try_reply());
            assert_forked(queued.wait_timeout(Duration::ZERO));
            assert_forked(queued.next());
            assert_forked(begun.wait());
            replying.cancel();
            assert_forked(streaming.next());
            assert_forked(server.try_receive());
            assert_forked(server.receive_timeout(LONG));
            assert_forked(server.memory());
            assert_eq!(server.waiting(), 0);
            assert!(request.is_cancelled() && request.function() == 0);
            assert_forked(stream.send_part(b"2"));
            assert_forked(stream.finish());
            assert_forked(request.fail(1, "no"));
            assert_forked(reply_loan.resize(1));
            assert_forked(reply_loan.resize(100_000));
            assert_forked(reply_loan.send());
            assert!(format!("{client:?} {server:?} {reply:?} {queued:?}").contains("len: 1"));
            drop((reply, part, queued, streaming));
        }));
    }
    assert_eq!(wait_for(child), 0);
    assert_eq!((&*reply, &*part), (&b"!"[..], &b"1"[..]));
    assert!(stream.finish().unwrap() && streaming.next().unwrap().is_none());
    reply_loan.fill(7);
    assert!(reply_loan.send().unwrap() && request.reply(b"late").unwrap());
    assert_eq!((&*replying.wait().unwrap(), &*begun.wait().unwrap()), (&[7; 5][..], &b"late"[..]));
    assert_eq!(server.waiting(), 1);
    server.receive().unwrap().reply(b"last").unwrap();
    assert_eq!(&*queued.next().unwrap().unwrap(), b"last");
    loan.fill(1);
    drop(loan.send().unwrap());
}

#[test]
fn calls_are_their_makers_too() {
    let root = Root::new();
    Child::start("forked::calls_and_forks", &[&root.text()]).finish();
    root.assert_empty();
}
