// SPDX-License-Identifier: MIT OR Apache-2.0
//! A file system that is full, at whatever step it becomes so, is an error and never a signal; when there is room again,
//! everything works again.

use std::fs::File;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use shm::{Error, Loan, Publisher, PublisherOptions, Subscriber, SubscriberOptions};

use crate::support::child::{Child, Parent};
use crate::support::payload::Id;
use crate::support::{assert_nothing_in, publishing, run_mounted, subscribing, Root};

const TOPIC: &str = "t";
const PAGE: u64 = 4096;
/// Bytes of the small file system.
const SIZE: &str = "size=1m,nr_inodes=40";

/// Runs `role` with a small file system of its own mounted, which goes with it.
fn run_in_small_space(role: &str) {
    let root = Root::new();
    let space = root.path().join("space");
    std::fs::create_dir(&space).unwrap();
    run_mounted(SIZE, &space, role);
    std::fs::remove_dir(&space).unwrap();
    root.assert_empty();
}

/// The root in the small file system, and what else takes room there.
struct Space {
    dir: PathBuf,
    root: PathBuf,
}

impl Space {
    fn new(parent: &mut Parent) -> Space {
        let dir = PathBuf::from(parent.text());
        let root = dir.join("root");
        std::fs::DirBuilder::new().mode(0o700).create(&root).unwrap();
        Space { dir, root }
    }

    /// Takes all bytes but `left` pages.
    fn fill_but(&self, left: u64) {
        let filler = self.dir.join("filler");
        let file = File::create(&filler).unwrap();
        let mut free = 0;
        while allocate(&file, free, PAGE) {
            free += PAGE;
        }
        file.set_len(free.saturating_sub(left * PAGE)).unwrap();
    }

    /// Gives them back.
    fn empty(&self) {
        std::fs::remove_file(self.dir.join("filler")).unwrap();
    }

    fn publisher(&self, memory: u64) -> shm::Result<Publisher> {
        Publisher::with_options(TOPIC, &PublisherOptions { memory, ..publishing(&self.root) })
    }

    fn subscriber(&self) -> shm::Result<Subscriber> {
        Subscriber::with_options(TOPIC, &SubscriberOptions { ..subscribing(&self.root) })
    }

    #[track_caller]
    fn assert_empty(&self) {
        assert_nothing_in(&self.root);
    }
}

fn allocate(file: &File, offset: u64, len: u64) -> bool {
    use std::os::fd::AsRawFd;
    // SAFETY: a plain system call on an open file.
    unsafe { libc::fallocate(file.as_raw_fd(), 0, offset as i64, len as i64) == 0 }
}

fn is_no_space<T>(result: &shm::Result<T>) -> bool {
    matches!(result, Err(Error::NoSpace { .. }))
}

/// Everything once, as far as the room goes; whether it went to the end.
fn use_topic(space: &Space, sizes: &[usize]) -> shm::Result<()> {
    let subscriber = space.subscriber()?;
    let publisher = space.publisher(0)?;
    for (sequence, &len) in (0..).zip(sizes) {
        let id = Id { publisher: 1, sequence };
        let mut loan = publisher.loan(len)?;
        id.fill(&mut loan);
        loan.publish()?;
        assert_eq!(Id::of(&subscriber.try_receive()?.expect("a message")), id);
    }
    Ok(())
}

/// With every amount of room that is too little, in pages and then in files.
pub fn too_little_room(mut parent: Parent) {
    let space = Space::new(&mut parent);
    let mut pages = 0;
    loop {
        space.fill_but(pages);
        let used = use_topic(&space, &[100, 5000, 100_000]);
        space.assert_empty();
        space.empty();
        match used {
            Ok(()) => break,
            Err(error) => assert!(matches!(error, Error::NoSpace { .. }), "{pages} pages: {error}"),
        }
        pages += 1;
    }
    assert!(pages > 20, "{pages} pages were enough");
    assert!(use_topic(&space, &[100, 200_000]).is_ok());
    too_few_files(&space);
}

fn too_few_files(space: &Space) {
    let mut fillers: Vec<PathBuf> =
        (0..).map(|n| space.dir.join(format!("filler{n}"))).take(100_000).collect();
    let full = fillers.iter().position(|path| File::create(path).is_err()).expect("tmpfs limits its inodes");
    fillers.truncate(full);
    let mut files = 0;
    while let Err(error) = use_topic(space, &[100, 5000, 100_000]) {
        assert!(matches!(error, Error::NoSpace { .. }), "{files} files: {error}");
        space.assert_empty();
        std::fs::remove_file(fillers.pop().unwrap()).unwrap();
        files += 1;
    }
    // The temporary directory, two files, three segments.
    assert!((4..10).contains(&files), "{files} files were enough");
    fillers.iter().for_each(|path| std::fs::remove_file(path).unwrap());
}

#[test]
fn too_little_room_is_an_error_at_each_step() {
    run_in_small_space("full::too_little_room");
}

/// With every number of file descriptors that is too small.
pub fn too_few_descriptors(mut parent: Parent) {
    let root = PathBuf::from(parent.text());
    let space = Space { dir: root.clone(), root };
    let open = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    let mut more = 0;
    loop {
        limit_descriptors(open + more);
        let used = use_topic(&space, &[100, 5000, 100_000]);
        limit_descriptors(1000);
        // What couldn't be deleted is deleted by the next.
        use_topic(&space, &[100]).unwrap();
        space.assert_empty();
        match used {
            Ok(()) => break,
            Err(Error::Os { source, .. }) => assert_eq!(source.raw_os_error(), Some(libc::EMFILE)),
            Err(error) => panic!("{more} more descriptors: {error}"),
        }
        more += 1;
    }
    assert!((2..20).contains(&more), "{more} more descriptors were enough");
}

fn limit_descriptors(most: u64) {
    let limit = libc::rlimit { rlim_cur: most, rlim_max: 1000 };
    // SAFETY: a plain system call, from a valid struct.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
}

#[test]
fn too_few_descriptors_are_an_error_at_each_step() {
    let root = Root::new();
    Child::start("full::too_few_descriptors", &[&root.text()]).finish();
    root.assert_empty();
}

/// A publisher whose budget is far beyond what there is.
pub fn more_than_there_is(mut parent: Parent) {
    let space = Space::new(&mut parent);
    let subscriber = space.subscriber().unwrap();
    let publisher = space.publisher(64 << 20).unwrap();
    let mut received = 0;
    const COUNT: u64 = 500;
    for sequence in 0..COUNT {
        let mut loan = publisher.loan(64 << 10).unwrap();
        Id { publisher: 1, sequence }.fill(&mut loan);
        loan.publish().unwrap();
        if sequence.is_multiple_of(3) {
            let sample = subscriber.try_receive().unwrap().expect("the newest is there");
            received += 1;
            Id::of(&sample);
        }
    }
    while let Some(sample) = subscriber.try_receive().unwrap() {
        received += 1;
        Id::of(&sample);
    }
    assert_eq!(received + subscriber.lost(), COUNT);
    // All that there is, as loans.
    let loans = loan_until_full(&publisher);
    assert!(loans.len() >= 10, "{}", loans.len());
    let (late, late_subscriber) = (space.publisher(0).unwrap(), space.subscriber().unwrap());
    assert!(is_no_space(&late.loan(64 << 10)), "joining needs no room, publishing does");
    drop(loans);
    drop(publisher);
    late.publish(&[1; 64 << 10]).unwrap();
    assert_eq!(late_subscriber.try_receive().unwrap().unwrap().len(), 64 << 10);
    drop((late, late_subscriber, subscriber));
    space.assert_empty();
}

fn loan_until_full(publisher: &Publisher) -> Vec<Loan<'_>> {
    let mut loans = Vec::new();
    loop {
        match publisher.loan(64 << 10) {
            Ok(mut loan) => {
                loan.fill(0xaa);
                loans.push(loan);
            }
            full => {
                assert!(is_no_space(&full), "{full:?}");
                return loans;
            }
        }
    }
}

#[test]
fn a_budget_beyond_the_file_system_is_lived_with() {
    run_in_small_space("full::more_than_there_is");
}

/// The publisher's own free memory makes room, and its messages stay.
pub fn room_of_its_own(mut parent: Parent) {
    let space = Space::new(&mut parent);
    let subscriber = space.subscriber().unwrap();
    let publisher = space.publisher(64 << 20).unwrap();
    (0..5).for_each(|n| assert!(publisher.publish(&[n; 100]).is_ok()));
    let loans = [0; 4].map(|_| publisher.loan(64 << 10).unwrap());
    drop(loans);
    space.fill_but(2);
    let mut loan = publisher.loan(200 << 10).unwrap();
    loan.fill(0xaa);
    for n in 0..5 {
        let sample = subscriber.try_receive().unwrap().expect("it was evicted, though there was room");
        assert_eq!((&*sample, subscriber.lost()), (&[n; 100][..], 0));
    }
    drop(loan);
    drop((publisher, subscriber));
    space.assert_empty();
}

#[test]
fn free_memory_makes_room_before_messages_do() {
    run_in_small_space("full::room_of_its_own");
}
