// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files that cases start from: what live topics looked like at a moment. Put elsewhere, all who took part are dead, as
//! after a kill, but for those whose bytes of `peers` the case locks.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::OnceLock;

use shm::{Publisher, PublisherOptions, Sample, Subscriber, SubscriberOptions};

use super::place::{segments, CAPACITY, HOLDS, PARTICIPANTS, TOPIC};

/// A file's name, its size, and those of its pages that aren't holes.
pub struct Image {
    name: String,
    size: u64,
    pages: Vec<(u64, Vec<u8>)>,
}

const PAGE: usize = 4096;

/// All headers say so, so that a case means the same files in each run.
const INSTANCE: [u8; 8] = *b"instance";
/// Where they do, in `ring` and `peers` and in segments alike.
const INSTANCE_OFFSET: usize = 24;

/// Puts the files of template `which` in place; the last template is none.
pub fn put(which: u8, topic: &Path) {
    static TEMPLATES: OnceLock<Vec<Vec<Image>>> = OnceLock::new();
    let templates = TEMPLATES.get_or_init(make);
    let Some(files) = templates.get(which as usize % (templates.len() + 1)) else { return };
    write(files, topic);
}

/// Makes the directory `topic` of `files`.
pub fn write(files: &[Image], topic: &Path) {
    std::fs::create_dir(topic).unwrap();
    for image in files {
        let file = File::create(topic.join(&image.name)).unwrap();
        file.set_len(image.size).unwrap();
        image.pages.iter().for_each(|(offset, bytes)| file.write_all_at(bytes, *offset).unwrap());
    }
}

/// Keeps participants alive: a bit each. It has the locks as long as it lives.
pub fn keep_alive(bits: u8, topic: &Path) -> Option<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let flags = libc::O_NONBLOCK;
    let peers = File::options().read(true).write(true).custom_flags(flags).open(topic.join("peers")).ok()?;
    for q in (0..PARTICIPANTS).filter(|q| bits >> q & 1 != 0) {
        // SAFETY: flock is plain data, and all zeroes is a valid value of it.
        let mut lock: libc::flock = unsafe { std::mem::zeroed() };
        lock.l_type = libc::F_WRLCK as libc::c_short;
        (lock.l_start, lock.l_len) = (q.into(), 1);
        // SAFETY: the descriptor is open, and `lock` is a valid flock.
        unsafe { libc::fcntl(peers.as_raw_fd(), libc::F_OFD_SETLK, &lock) };
    }
    Some(peers)
}

pub fn publisher(root: &Path, memory: u64) -> shm::Result<Publisher> {
    let sizes = PublisherOptions {
        capacity: CAPACITY,
        participants: PARTICIPANTS,
        holds: HOLDS,
        ..Default::default()
    };
    Publisher::with_options(TOPIC, &PublisherOptions { root: Some(root.into()), memory, ..sizes })
}

pub fn subscriber(root: &Path, history: u32, reliable: bool) -> shm::Result<Subscriber> {
    let sizes = SubscriberOptions {
        capacity: CAPACITY,
        participants: PARTICIPANTS,
        holds: HOLDS,
        ..Default::default()
    };
    Subscriber::with_options(
        TOPIC,
        &SubscriberOptions { root: Some(root.into()), history, reliable, ..sizes },
    )
}

fn make() -> Vec<Vec<Image>> {
    let root = tempfile::Builder::new().prefix("shm-fuzz-").tempdir_in("/dev/shm").unwrap();
    let path = root.path();
    let mut made = Vec::new();
    let first = publisher(path, 1 << 20).unwrap();
    made.push(snapshot(&path.join(TOPIC)));
    let second = publisher(path, 200 << 10).unwrap();
    let (near, far) = (subscriber(path, 0, false).unwrap(), subscriber(path, 0, false).unwrap());
    let mut held: Vec<Sample> = Vec::new();
    for len in [0, 64, 100, 1000, 20_000, 5000, 64, 200, 30_000, 1, 64, 300] {
        first.publish(&vec![len as u8; len]).unwrap();
        // Its budget is small: some of these evict others.
        second.publish(&vec![!len as u8; len * 3]).unwrap();
        if held.len() < 3 {
            held.extend(near.try_receive().unwrap());
        }
    }
    held.extend(far.try_receive().unwrap());
    made.push(snapshot(&path.join(TOPIC)));
    drop(second);
    made.push(snapshot(&path.join(TOPIC)));
    drop(held);
    drop(near);
    made.push(snapshot(&path.join(TOPIC)));
    // One that publishers wait for, with as much unread as there is room for.
    let _reliable = subscriber(path, 0, true).unwrap();
    while first.try_publish(b"unread").unwrap().is_some() {}
    made.push(snapshot(&path.join(TOPIC)));
    made
}

/// What the files in the directory `topic` are like now.
pub fn snapshot(topic: &Path) -> Vec<Image> {
    let of = |path: std::path::PathBuf| {
        let mut content = std::fs::read(&path).unwrap();
        content[INSTANCE_OFFSET..][..8].copy_from_slice(&INSTANCE);
        let pages = (0..).step_by(PAGE).zip(content.chunks(PAGE).map(<[u8]>::to_vec));
        Image {
            name: path.file_name().unwrap().to_str().unwrap().to_owned(),
            size: content.len() as u64,
            pages: pages.filter(|(_, bytes)| bytes.iter().any(|&byte| byte != 0)).collect(),
        }
    };
    [topic.join("peers"), topic.join("ring")].into_iter().chain(segments(topic)).map(of).collect()
}
