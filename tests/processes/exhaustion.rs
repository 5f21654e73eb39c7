// SPDX-License-Identifier: MIT OR Apache-2.0
//! Running out of anything is an error that says of what, and what to do; others go on meanwhile, and when there is some
//! again, so does who ran out.

use std::fs::File;
use std::path::{Path, PathBuf};

use shm::{Error, Publisher, PublisherOptions, Subscriber, SubscriberOptions};

use crate::support::child::{Child, Parent};
use crate::support::{publishing, run_mounted, subscribing, Root};

const TOPIC: &str = "t";
const SMALL: usize = 1000;
/// More than the limits below leave room for.
const LARGE: usize = 32 << 20;
const LEEWAY: u64 = 16 << 20;
/// What makes a ring of 8 MiB, of which not even two fit.
const WIDE: u32 = 1 << 20;

/// What a call that ran out of something says, which has to name all of `words`.
#[track_caller]
fn words_of<T>(result: shm::Result<T>, words: &[&str]) -> Error {
    let error = result.map(|_| "there was enough").unwrap_err();
    let said = error.to_string();
    for word in words {
        assert!(said.contains(word), "{said:?} doesn't say {word:?}");
    }
    error
}

fn exchange(publisher: &Publisher, subscriber: &Subscriber, byte: u8) {
    publisher.publish(&[byte; SMALL]).unwrap();
    let sample = subscriber.try_receive().unwrap().expect("a message");
    assert_eq!(&*sample, &[byte; SMALL]);
}

#[test]
fn the_last_entry_is_taken() {
    let root = Root::new();
    let options = PublisherOptions { participants: 2, ..publishing(root.path()) };
    let publisher = Publisher::with_options(TOPIC, &options).unwrap();
    let subscriber = root.subscriber(TOPIC);
    let words = ["all 2 participants that it takes", "end one", "`participants`"];
    for byte in 0..3 {
        let (publishing, subscribing) = (publishing(root.path()), subscribing(root.path()));
        words_of(Publisher::with_options(TOPIC, &publishing), &words);
        words_of(Subscriber::with_options(TOPIC, &subscribing), &words);
        exchange(&publisher, &subscriber, byte);
    }
    drop(subscriber);
    exchange(&publisher, &root.subscriber(TOPIC), 9);
    drop(publisher);
    root.assert_empty();
}

#[test]
fn the_last_hold_is_taken() {
    let root = Root::new();
    let options = PublisherOptions { holds: 2, ..publishing(root.path()) };
    let publisher = Publisher::with_options(TOPIC, &options).unwrap();
    let (greedy, modest) = (root.subscriber(TOPIC), root.subscriber(TOPIC));
    let mut held = std::collections::VecDeque::new();
    for byte in 0..50 {
        exchange(&publisher, &modest, byte);
        if held.len() == 2 {
            let words = ["all 2 that may be held", "release one", "`holds`"];
            words_of(greedy.try_receive(), &words);
            words_of(greedy.receive(), &words);
            held.pop_front();
        }
        let sample = greedy.try_receive().unwrap().expect("it isn't lost");
        assert_eq!(sample[0], byte);
        held.push_back(sample);
    }
    assert_eq!(greedy.lost(), 0);
}

fn limit(what: libc::__rlimit_resource_t, soft: u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: plain system calls, with a valid struct.
    unsafe {
        assert_eq!(libc::getrlimit(what, &mut limit), 0);
        limit.rlim_cur = soft.min(limit.rlim_max);
        assert_eq!(libc::setrlimit(what, &limit), 0);
    }
}

/// This process may map `LEEWAY` more than it has.
fn limit_mappings() {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = pages.split(' ').next().unwrap().parse().unwrap();
    limit(libc::RLIMIT_AS, pages * 4096 + LEEWAY);
}

fn lift(what: libc::__rlimit_resource_t) {
    limit(what, libc::RLIM_INFINITY);
}

#[track_caller]
fn assert_not_mapped<T>(result: shm::Result<T>, file: &Path) {
    let file = file.display().to_string();
    let error = words_of(result, &["mmap", &file, "bytes)", "Cannot allocate memory", "RLIMIT_AS"]);
    assert!(matches!(error, Error::Os { source, .. } if source.raw_os_error() == Some(libc::ENOMEM)));
}

/// Its own topic beside, which it uses all the time.
struct Neighbour {
    publisher: Publisher,
    subscriber: Subscriber,
}

impl Neighbour {
    fn new(root: &Path) -> Neighbour {
        let publisher = Publisher::with_options("beside", &publishing(root)).unwrap();
        let subscriber = Subscriber::with_options("beside", &subscribing(root)).unwrap();
        let new = Neighbour { publisher, subscriber };
        new.goes_on();
        new
    }

    #[track_caller]
    fn goes_on(&self) {
        exchange(&self.publisher, &self.subscriber, 77);
    }
}

pub fn too_little_address_space(mut parent: Parent) {
    let root = PathBuf::from(parent.text());
    let ring = root.join(TOPIC).join("ring");
    let neighbour = Neighbour::new(&root);
    let wide = PublisherOptions { capacity: WIDE, participants: 1024, ..publishing(&root) };
    let join = || -> shm::Result<(Publisher, Subscriber)> {
        let publisher = Publisher::with_options(TOPIC, &wide)?;
        let options = SubscriberOptions { history: u32::MAX, ..subscribing(&root) };
        Ok((publisher, Subscriber::with_options(TOPIC, &options)?))
    };
    // Making a topic, and with somebody's there, coming to it: its other mapping fits.
    limit_mappings();
    assert_not_mapped(join(), &ring);
    assert!(!root.join(TOPIC).exists(), "a topic without anybody");
    neighbour.goes_on();
    lift(libc::RLIMIT_AS);
    let (publisher, subscriber) = join().unwrap();
    limit_mappings();
    assert_not_mapped(join(), &ring);

    // A loan that needs a new segment.
    exchange(&publisher, &subscriber, 1);
    assert_not_mapped(publisher.loan(LARGE), &root.join(TOPIC).join("seg.2.0"));
    exchange(&publisher, &subscriber, 2);
    assert!(!root.join(TOPIC).join("seg.2.0").exists());
    neighbour.goes_on();
    lift(libc::RLIMIT_AS);
    let mut loan = publisher.loan(LARGE).unwrap();
    loan[LARGE - 1] = 3;
    loan.publish().unwrap();

    // A message in a segment that isn't mapped yet: it stays the next one.
    limit_mappings();
    for _ in 0..3 {
        assert_not_mapped(subscriber.try_receive(), &root.join(TOPIC).join("seg.2.1"));
        publisher.publish(&[4; SMALL]).unwrap();
        neighbour.goes_on();
    }
    lift(libc::RLIMIT_AS);
    assert_eq!(subscriber.try_receive().unwrap().unwrap()[LARGE - 1], 3);
    (0..3).for_each(|_| assert_eq!(subscriber.try_receive().unwrap().unwrap()[0], 4));
    assert_eq!(subscriber.lost(), 0);
    join().unwrap();
}

#[test]
fn address_space_runs_out_at_each_mapping() {
    let root = Root::new();
    Child::start("exhaustion::too_little_address_space", &[&root.text()]).finish();
    root.assert_empty();
}

pub fn too_large_files(mut parent: Parent) {
    let root = PathBuf::from(parent.text());
    // Its default is to end the process, which is the process's business.
    // SAFETY: a plain system call.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    let neighbour = Neighbour::new(&root);
    let wanted = ["no room for", "seg.", "bytes: no file of this process may be that large", "RLIMIT_FSIZE"];
    limit(libc::RLIMIT_FSIZE, 4096);
    for result in [
        Publisher::with_options(TOPIC, &publishing(&root)).map(drop),
        Subscriber::with_options(TOPIC, &subscribing(&root)).map(drop),
    ] {
        let error = words_of(result, &[wanted[0], "peers", wanted[2], wanted[3]]);
        assert!(matches!(error, Error::NoSpace { .. }), "{error:?}");
    }
    assert!(!root.join(TOPIC).exists());
    neighbour.goes_on();

    limit(libc::RLIMIT_FSIZE, 1 << 20);
    let publisher = Publisher::with_options(TOPIC, &publishing(&root)).unwrap();
    let subscriber = Subscriber::with_options(TOPIC, &subscribing(&root)).unwrap();
    exchange(&publisher, &subscriber, 1);
    for _ in 0..3 {
        words_of(publisher.loan(LARGE), &wanted);
        exchange(&publisher, &subscriber, 2);
        neighbour.goes_on();
    }
    // A segment of fewer chunks fits.
    publisher.publish(&[3; 400_000]).unwrap();
    assert_eq!(subscriber.try_receive().unwrap().unwrap().len(), 400_000);
    lift(libc::RLIMIT_FSIZE);
    publisher.publish(&vec![4; LARGE]).unwrap();
    assert_eq!(subscriber.try_receive().unwrap().unwrap().len(), LARGE);
}

#[test]
fn files_may_not_become_large_enough() {
    let root = Root::new();
    Child::start("exhaustion::too_large_files", &[&root.text()]).finish();
    root.assert_empty();
}

/// In a file system that takes few files, but many bytes.
pub fn too_many_files(mut parent: Parent) {
    let space = PathBuf::from(parent.text());
    let root = space.join("root");
    let neighbour = Neighbour::new(&root);
    let publisher = Publisher::with_options(TOPIC, &publishing(&root)).unwrap();
    let subscriber = Subscriber::with_options(TOPIC, &subscribing(&root)).unwrap();
    exchange(&publisher, &subscriber, 1);
    let mut fillers: Vec<PathBuf> = (0..1000).map(|n| space.join(format!("filler{n}"))).collect();
    let full = fillers.iter().position(|path| File::create(path).is_err()).unwrap();
    fillers.truncate(full);
    let words = ["no room for", root.to_str().unwrap(), "no room for one more file", "df -i"];
    words_of(Publisher::with_options("another", &publishing(&root)), &words);
    // The memory that it has isn't given up for a file that nobody can make, nor are its messages.
    for byte in 2..5 {
        publisher.publish(&[byte; SMALL]).unwrap();
        words_of(publisher.loan(LARGE), &words);
        assert_eq!(&*subscriber.try_receive().unwrap().expect("it stays"), &[byte; SMALL]);
        exchange(&publisher, &subscriber, byte);
    }
    neighbour.goes_on();
    fillers.iter().for_each(|path| std::fs::remove_file(path).unwrap());
    publisher.publish(&vec![4; LARGE]).unwrap();
    assert_eq!(subscriber.try_receive().unwrap().unwrap().len(), LARGE);
    Publisher::with_options("another", &publishing(&root)).unwrap();
    // Bytes are another matter.
    words_of(publisher.loan(200 << 20), &["seg.", "its file system is full", "--shm-size"]);
    exchange(&publisher, &subscriber, 5);
}

#[test]
fn the_file_system_takes_no_more_files() {
    let root = Root::new();
    let space = root.path().join("space");
    std::fs::create_dir(&space).unwrap();
    run_mounted("size=100m,nr_inodes=60", &space, "exhaustion::too_many_files");
    std::fs::remove_dir(&space).unwrap();
    root.assert_empty();
}

pub fn too_few_descriptors(mut parent: Parent) {
    let root = PathBuf::from(parent.text());
    let neighbour = Neighbour::new(&root);
    limit(libc::RLIMIT_NOFILE, 100);
    let taken: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    let words = ["open", root.to_str().unwrap(), "Too many open files", "ulimit -n"];
    words_of(Publisher::with_options(TOPIC, &publishing(&root)), &words);
    words_of(Subscriber::with_options(TOPIC, &subscribing(&root)), &words);
    words_of(neighbour.publisher.loan(LARGE), &words);
    neighbour.goes_on();
    drop(taken);
    let publisher = Publisher::with_options(TOPIC, &publishing(&root)).unwrap();
    exchange(&publisher, &Subscriber::with_options(TOPIC, &subscribing(&root)).unwrap(), 1);
}

#[test]
fn descriptors_run_out() {
    let root = Root::new();
    Child::start("exhaustion::too_few_descriptors", &[&root.text()]).finish();
    root.assert_empty();
}

#[test]
fn a_name_that_cannot_be_says_why() {
    let root = Root::new();
    let long = "x".repeat(10 << 10);
    for (name, words) in [
        ("", ["the name \"\"", "empty", "one character"]),
        ("a\0b", ["the name \"a\\0b\"", "NUL byte", "leave that out"]),
        (&long, [&long[..64], "longer than 255 bytes", "shorten it"]),
    ] {
        words_of(Publisher::with_options(name, &publishing(root.path())), &words);
        let error = words_of(Subscriber::with_options(name, &subscribing(root.path())), &words);
        assert!(error.to_string().len() < 300, "{error}");
    }
    root.assert_empty();
}
