// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files of a topic that say what they shouldn't: cut off, overwritten before somebody joins or while it is used.
//! Whatever they say, no call crashes, hangs or reads beyond them; what can't be used is a clear error.

#[path = "support/mod.rs"]
mod support;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use shm::{Error, Publisher, PublisherOptions, Sample, Subscriber, SubscriberOptions};
use support::child::{Child, Parent};
use support::random::Random;
use support::{files_below, publishing, subscribing, Root};

const TOPIC: &str = "t";

#[test]
#[ignore = "a child's part: the other tests start it"]
fn child() {
    support::child::run(&[("mutate", mutate)]);
}

fn publisher(root: &Path) -> shm::Result<Publisher> {
    Publisher::with_options(TOPIC, &PublisherOptions { memory: 300 << 10, ..publishing(root) })
}

fn subscriber(root: &Path) -> shm::Result<Subscriber> {
    Subscriber::with_options(TOPIC, &SubscriberOptions { history: u32::MAX, ..subscribing(root) })
}

/// A file of a topic in use, put back as it was when this is dropped. Nobody uses the topic while it is changed.
struct Victim {
    path: PathBuf,
    content: Vec<u8>,
}

impl Victim {
    fn new(path: PathBuf) -> Victim {
        let content = std::fs::read(&path).unwrap();
        Victim { path, content }
    }

    fn file(&self) -> File {
        File::options().read(true).write(true).open(&self.path).unwrap()
    }

    fn write(&self, offset: usize, bytes: &[u8]) {
        self.file().write_all_at(bytes, offset as u64).unwrap();
    }

    fn cut(&self, len: usize) {
        self.file().set_len(len as u64).unwrap();
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        self.cut(self.content.len());
        self.write(0, &self.content);
    }
}

/// A topic with a publisher, a subscriber and a message, and what to do with one of its files.
fn with_victim(name: &str, body: impl Fn(&Root, &Victim)) {
    let root = Root::new();
    let (publisher, subscriber) = (publisher(root.path()).unwrap(), subscriber(root.path()).unwrap());
    publisher.publish(&[1; 100]).unwrap();
    let starts = |path: &&PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(name);
    let files = root.files();
    body(&root, &Victim::new(files.iter().find(starts).unwrap().clone()));
    // The file is whole again, and so is the topic.
    assert_eq!(subscriber.try_receive().unwrap().unwrap().len(), 100);
    publisher.publish(b"more").unwrap();
    assert_eq!(&*subscriber.try_receive().unwrap().unwrap(), b"more");
    drop((publisher, subscriber));
    root.assert_empty();
}

/// Joins as both and uses what it joined, or says why it can't.
fn attach(root: &Root) -> shm::Result<()> {
    let subscriber = subscriber(root.path())?;
    drop(publisher(root.path())?);
    while subscriber.try_receive()?.is_some() {}
    Ok(())
}

fn is_corrupt(result: &shm::Result<()>) -> bool {
    matches!(result, Err(Error::Corrupt { .. }))
}

/// Bytes of the headers of `ring` and `peers`, and of a segment.
const HEADER: usize = 256;
const SEGMENT_HEADER: usize = 128;

#[test]
fn a_wrong_first_word_is_damage() {
    for name in ["ring", "peers", "seg."] {
        with_victim(name, |root, victim| {
            for magic in [[0; 8], [0xff; 8], *b"shm:shm:"] {
                victim.write(0, &magic);
                assert!(is_corrupt(&attach(root)), "{name}: {magic:?}");
            }
        });
    }
}

#[test]
fn another_version_is_named() {
    for name in ["ring", "peers", "seg."] {
        with_victim(name, |root, victim| {
            for version in [0u32, 2, u32::MAX] {
                victim.write(8, &version.to_ne_bytes());
                match attach(root) {
                    Err(Error::Version { file, found, supported: 1 }) => {
                        assert_eq!((Path::new(&file), found), (&*victim.path, version));
                    }
                    other => panic!("{name}, version {version}: {other:?}"),
                }
            }
        });
    }
}

#[test]
fn a_header_that_contradicts_itself_or_others_is_damage() {
    for (name, header) in [("ring", 40), ("peers", 40), ("seg.", 40)] {
        with_victim(name, |root, victim| {
            // All words from the version on that say anything: sizes, counts, places, instance.
            for offset in (12..header).step_by(4) {
                let word = u32::from_ne_bytes(victim.content[offset..offset + 4].try_into().unwrap());
                for other in [word ^ 1, word.wrapping_add(2), word << 1 | 1 << 31, !word] {
                    victim.write(offset, &other.to_ne_bytes());
                    let found = attach(root);
                    assert!(is_corrupt(&found), "{name}, {other:#x} at {offset}: {found:?}");
                }
                victim.write(offset, &word.to_ne_bytes());
            }
        });
    }
}

#[test]
fn a_file_that_was_cut_off_is_damage() {
    for (name, header) in [("ring", HEADER), ("peers", HEADER), ("seg.", SEGMENT_HEADER)] {
        with_victim(name, |root, victim| {
            let whole = victim.content.len();
            let cuts =
                [0, 1, 8, header - 1, header, header + 1, header + 128, whole / 2, whole - 4096, whole - 1];
            for len in cuts {
                victim.cut(len);
                let found = attach(root);
                assert!(is_corrupt(&found), "{name} of {len} bytes: {found:?}");
            }
        });
    }
}

#[test]
fn a_chunk_that_contradicts_the_ring_is_damage() {
    with_victim("seg.", |root, victim| {
        // The first chunk's position and its length.
        for (offset, value) in [(0, 3), (8, 129), (8, 1 << 20), (8, u64::MAX)] {
            victim.write(SEGMENT_HEADER + offset, &u64::to_ne_bytes(value));
            assert!(is_corrupt(&attach(root)), "{value} at {offset}");
            victim.write(0, &victim.content);
        }
    });
}

/// Where the ring's first slot is; its word is `{tag: 32 | segment: 12 | index: 20}`.
const SLOTS: usize = 384;

#[test]
fn a_slot_that_names_what_is_not_there_is_damage() {
    with_victim("ring", |root, victim| {
        let slot = u64::from_ne_bytes(victim.content[SLOTS..SLOTS + 8].try_into().unwrap());
        assert_ne!(slot, 0, "the only message");
        let tag = slot >> 32 << 32;
        for chunk in [slot | 0xf_ffff, slot + 1000, 0x77 << 20, 0xfff << 20 | 0xf_ffff] {
            victim.write(SLOTS, &(tag | chunk & 0xffff_ffff).to_ne_bytes());
            assert!(is_corrupt(&attach(root)), "{chunk:#x}");
        }
    });
}

#[test]
fn a_slot_ahead_of_all_others_is_damage_and_no_hang() {
    let root = Root::new();
    let (publisher, subscriber) = (publisher(root.path()).unwrap(), subscriber(root.path()).unwrap());
    let ring = Victim::new(root.path().join(TOPIC).join("ring"));
    ring.write(SLOTS, &(7u64 << 32 | 1 << 20).to_ne_bytes());
    assert!(matches!(subscriber.try_receive(), Err(Error::Corrupt { .. })));
    assert!(matches!(subscriber.receive_timeout(PATIENCE), Err(Error::Corrupt { .. })));
    assert!(matches!(publisher.publish(b"x"), Err(Error::Corrupt { .. })));
    drop(ring);
    publisher.publish(b"x").unwrap();
    assert_eq!(&*subscriber.try_receive().unwrap().unwrap(), b"x");
    drop((publisher, subscriber));
    root.assert_empty();
}

#[test]
fn random_content_is_damage() {
    let random = std::cell::RefCell::new(Random::printed());
    for (name, from) in [("ring", 0), ("peers", 0), ("seg.", 0), ("ring", 8), ("peers", 8), ("seg.", 8)] {
        with_victim(name, |root, victim| {
            for _ in 0..20 {
                let mut noise = victim.content.clone();
                noise[from..].fill_with(|| random.borrow_mut().next() as u8);
                victim.write(0, &noise);
                assert!(attach(root).is_err(), "{name} was used");
            }
        });
    }
}

#[test]
fn litter_in_the_root_is_in_nobodys_way() {
    let root = Root::new();
    let path = |name: &str| root.path().join(name);
    std::fs::write(path(".new-00000000000000f1"), "x").unwrap();
    std::fs::write(path(".dead-00000000000000f1"), "x").unwrap();
    std::os::unix::fs::symlink("/tmp", path(".new-00000000000000a1")).unwrap();
    std::fs::create_dir_all(path(".new-00000000000000d1/peers/deep")).unwrap();
    std::fs::create_dir(path(".new-00000000000000e1")).unwrap();
    std::fs::write(path("a file"), "x").unwrap();
    attach(&root).unwrap();
    assert!(!path(".new-00000000000000e1").exists());
    for path in root.files() {
        let _ = std::fs::remove_file(path);
    }
}

/// In how long every call must be back.
const PATIENCE: Duration = Duration::from_secs(10);

/// Topics in use, whose files are overwritten here and there.
fn mutate(mut parent: Parent) {
    let root = PathBuf::from(parent.text());
    let (seed, rounds) = (parent.number(), parent.number());
    for round in 0..rounds {
        let mut random = Random::new(seed + round);
        // The last number said tells which round it was that crashed.
        parent.say(seed + round);
        Mutation { root: &root, random: &mut random }.run();
        // What is left of a damaged topic is the user's to remove.
        let _ = std::fs::remove_dir_all(root.join(TOPIC));
    }
}

struct Mutation<'a> {
    root: &'a Path,
    random: &'a mut Random,
}

impl Mutation<'_> {
    fn run(&mut self) {
        let capacity = 2 << self.random.below(6);
        let options = PublisherOptions { capacity, memory: 200 << 10, ..publishing(self.root) };
        let (mut publishers, mut subscribers) = (Vec::new(), Vec::new());
        publishers.extend(Publisher::with_options(TOPIC, &options));
        subscribers.extend(subscriber(self.root));
        for _ in 0..12 {
            self.timed(|of| of.publish(&publishers));
            self.timed(|of| of.receive(&subscribers));
            let times = self.random.below(8);
            (0..times).for_each(|_| self.overwrite());
            self.timed(|of| of.publish(&publishers));
            self.timed(|of| of.receive(&subscribers));
            match self.random.below(8) {
                0 => self.timed(|of| publishers.extend(publisher(of.root))),
                1 => self.timed(|of| subscribers.extend(subscriber(of.root))),
                2 => self.timed(|_| drop(publishers.pop())),
                3 => self.timed(|_| drop(subscribers.pop())),
                _ => {}
            }
        }
        self.timed(|_| drop(publishers));
        self.timed(|_| drop(subscribers));
    }

    fn timed(&mut self, call: impl FnOnce(&mut Self)) {
        let start = Instant::now();
        call(self);
        assert!(start.elapsed() < PATIENCE, "a call took {:?}", start.elapsed());
    }

    fn publish(&mut self, publishers: &[Publisher]) {
        for publisher in publishers {
            let mut loans = Vec::new();
            for _ in 0..self.random.below(20) {
                let most = 1 << self.random.below(16);
                let len = self.random.below(most) as usize;
                if let Ok(mut loan) = publisher.loan(len) {
                    loan.fill(0xab);
                    if self.random.below(4) == 0 {
                        loans.push(loan);
                    } else {
                        // Not for ever: a word that was written may say of a living subscriber that it is reliable.
                        let _ = loan.publish_timeout(Duration::from_micros(self.random.below(300)));
                    }
                }
            }
        }
    }

    fn receive(&mut self, subscribers: &[Subscriber]) {
        for subscriber in subscribers {
            let mut held: Vec<Sample> = Vec::new();
            for _ in 0..self.random.below(20) {
                let received = match self.random.below(2) {
                    0 => subscriber.try_receive(),
                    _ => subscriber.receive_timeout(Duration::from_micros(300)),
                };
                if self.random.below(3) == 0 {
                    held.clear();
                }
                held.extend(received.ok().flatten());
                // Every byte that it claims to have can be read.
                held.iter().for_each(|sample| {
                    assert!(sample.iter().map(|&byte| u64::from(byte)).sum::<u64>() < 1 << 40)
                });
            }
            let _ = subscriber.lost();
        }
    }

    /// Writes a word somewhere into one of the files, more often where much hangs on it.
    fn overwrite(&mut self) {
        let files = files_below(&self.root.join(TOPIC));
        let Some(path) = files.get(self.random.below(files.len().max(1) as u64) as usize) else { return };
        let Ok(file) = File::options().read(true).write(true).open(path) else { return };
        let words = file.metadata().unwrap().len() / 8;
        if self.random.below(50) == 0 {
            let noise: Vec<u8> = (HEADER as u64..words * 8).map(|_| self.random.next() as u8).collect();
            let _ = file.write_all_at(&noise, HEADER as u64);
            return;
        }
        let range = [words, 64, 512].map(|range| range.min(words))[self.random.below(3) as usize];
        let at = |random: &mut Random| random.below(range.max(1)) * 8;
        let mut word = [0; 8];
        let _ = file.read_exact_at(&mut word, at(self.random));
        let copied = u64::from_ne_bytes(word);
        let noise = self.random.next();
        let value = match self.random.below(7) {
            0 => 0,
            1 => u64::MAX,
            2 => noise,
            3 => noise % 5000,
            4 => copied.wrapping_add(noise % 5).wrapping_sub(2),
            5 => copied ^ 1 << (noise % 64),
            _ => copied,
        };
        let _ = file.write_all_at(&value.to_ne_bytes(), at(self.random));
    }
}

#[test]
fn files_overwritten_while_in_use_harm_nobody() {
    let root = Root::new();
    let seed = Random::printed().next() >> 1;
    let rounds = support::rounds(60);
    let mut child = Child::start("mutate", &[&root.text(), &seed, &rounds]);
    let mut last = String::new();
    while let Some(said) = child.try_hear() {
        last = said;
    }
    let status = child.wait();
    assert!(status.success(), "{status}, in the round with seed {last}");
    root.assert_empty();
}

/// Where the first participant's status word is, and its cursor.
const STATUS: usize = 640;
const CURSOR: usize = 640 + 1024;
/// Of a reliable subscriber: joining, and live.
const JOINING: u64 = 1 << 9 | 1;
const RELIABLE: u64 = 1 << 9 | 2;

/// Whoever says that publishers wait for it, but from where nobody can be, is waited for by nobody.
#[test]
fn a_reliable_subscriber_in_an_impossible_place_is_not_waited_for() {
    for published in [0, 1, 5, 64, 65, 200] {
        let root = Root::new();
        // The first entry is that of one who lives: its lock says so, as long as it is there.
        let (liar, publisher) = (subscriber(root.path()).unwrap(), publisher(root.path()).unwrap());
        (0..published).for_each(|_| assert!(publisher.publish(b"before").is_ok()));
        let peers = Victim::new(root.path().join(TOPIC).join("peers"));
        let at = |offset| u64::from_ne_bytes(peers.content[offset..][..8].try_into().unwrap());
        assert_eq!((at(STATUS) & 0xffff, at(CURSOR)), (2, 64), "the layout changed");
        let end: u64 = 64 + published;
        let everywhere = [0, 1, 63, u64::MAX / 2, u64::MAX];
        // Before the first position, and ahead of all; who is live isn't more than a lap behind either.
        let places = everywhere.map(|cursor| (RELIABLE, cursor)).into_iter();
        let places = places.chain(everywhere.map(|cursor| (JOINING, cursor)));
        for (status, cursor) in places.chain([(RELIABLE, end.saturating_sub(65))]) {
            peers.write(CURSOR, &cursor.to_ne_bytes());
            peers.write(STATUS, &(at(STATUS) & !0xffff | status).to_ne_bytes());
            // More than a look at the gate lets through.
            for _ in 0..65 {
                let loan = publisher.loan(1).unwrap();
                let published = loan.publish_timeout(Duration::from_millis(1)).unwrap();
                assert!(published.is_ok(), "it waited for one at {cursor} ({status}), with the end at {end}");
            }
        }
        drop(peers);
        drop((liar, publisher));
        root.assert_empty();
    }
}

#[test]
fn a_publisher_whose_own_entry_says_that_it_is_waited_for_does_not_wait_for_itself() {
    let root = Root::new();
    let publisher = publisher(root.path()).unwrap();
    (0..64).for_each(|_| assert!(publisher.publish(b"before").is_ok()));
    let peers = Victim::new(root.path().join(TOPIC).join("peers"));
    peers.write(CURSOR, &64u64.to_ne_bytes());
    peers.write(STATUS, &RELIABLE.to_ne_bytes());
    let loan = publisher.loan(1).unwrap();
    assert!(loan.publish_timeout(Duration::from_millis(1)).unwrap().is_ok());
    drop(peers);
    drop(publisher);
    root.assert_empty();
}
